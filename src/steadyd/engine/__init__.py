"""The whole daemon without the world: facts go in, one Step comes out. Pure.

Synchronous, holds all state, asks for nothing; app.py pumps facts in, commits the Step, and
then carries its effects out. `now` is always an argument.

    RulesChanged Bound UnitSeen Answered Sampled … ──▶ step() ──▶ Step(states, incidents, actions,
                                                                   lines, notifications, intents)

    engine      facts to the rooms below; which rules are evaluated, and when
    subjects    the names, the units that they stand for, and what was told of those
    standing    where each rule stands
    silences    what mutes a service now
    incidents   what is open: its ladder, its end
    telling     who is told what of an incident
    jobs        recurring jobs that are overdue
    turn        the batch that is under way: its moment, its Step
"""

from steadyd.engine.engine import HOST_BUDGET, Engine, Options

__all__ = ["HOST_BUDGET", "Engine", "Options"]
