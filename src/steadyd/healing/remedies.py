"""Carry a verb out through the init system, or run a program, and say what came of it."""

from steadyd.model.fact import Answered, Fact, Intent, UnitSeen
from steadyd.model.incident import Suppression
from steadyd.model.rule import Verb
from steadyd.ports import InitError, InitSystem, NotPermitted, NotSupported

DEADLINE = 100.0  # seconds; systemd gives a job 90 s by default


async def run_program(intent: Intent, hostname: str) -> list[Fact]:
    """Run the program of an `exec` and return the answer."""
    from steadyd.healing.execution import NotRun, execute  # noqa: PLC0415 - few rules run one

    action = intent.action
    variables = {
        "STEADYD_HOST": hostname,
        "STEADYD_SERVICE": action.service,
        "STEADYD_UNIT": action.unit,
        "STEADYD_INIT": action.init,
        "STEADYD_INCIDENT": action.incident,
        "STEADYD_MAIN_PID": str(action.main_pid or ""),
    }
    try:
        return [Answered(action.id, await execute(intent.command, variables))]
    except NotRun as error:
        return [Answered(action.id, str(error), Suppression.IMPOSSIBLE)]


async def carry_out(intent: Intent, init: InitSystem) -> list[Fact]:
    """Ask the init system; return the unit's state afterwards and the answer, in this order."""
    action = intent.action
    try:
        await init.perform(Verb(action.verb), action.unit, signal=intent.signal, deadline=DEADLINE)
        answer = Answered(action.id)
    except NotPermitted as error:
        answer = Answered(action.id, _why(error), Suppression.RIGHTS)
    except NotSupported as error:
        answer = Answered(action.id, _why(error), Suppression.IMPOSSIBLE)
    except InitError as error:
        answer = Answered(action.id, _why(error))
    try:
        return [UnitSeen(await init.find(action.unit)), answer]
    except InitError:  # the follower of this init reports the same, with the reason
        return [answer]


def _why(error: InitError) -> str:
    return f"{error.why}; {error.mend}" if error.mend else error.why
