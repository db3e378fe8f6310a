"""What `init:up` reads. Pure.

    state                                            init:up
    active, reloading                                1
    failed, or inactive with no job queued           0
    a oneshot, socket or timer unit at rest          unknown: it is meant to rest
    the init acts (activating, auto-restart, a job)  unknown for `settle`, then 0
    a verb of ours is under way                      unknown
    no status                                        unknown, with the reason

Source: language.md, "Up, down and events".
"""

from steadyd.model.metric import Reading
from steadyd.model.service import ServiceState, UnitStatus


def acts(status: UnitStatus) -> bool:
    """Tell whether the init is about to change the state of the unit by itself or on request."""
    return status.acting or status.state in (ServiceState.ACTIVATING, ServiceState.DEACTIVATING)


def up(status: UnitStatus, acting_for: float, settle: float, ours: bool) -> Reading:
    """Read `init:up`; `acting_for` is how many seconds the init has been acting."""
    if status.state in (ServiceState.ACTIVE, ServiceState.RELOADING):
        return Reading(1.0)
    if ours:
        return Reading(None, "a verb of steadyd is under way")
    if status.state is ServiceState.UNKNOWN:
        return Reading(None, status.reason or "the init system does not say")
    if acts(status):
        if acting_for < settle:
            return Reading(None, f"{status.init} is acting: {status.state}")
        return Reading(0.0)
    if status.by_design:
        return Reading(None, "at rest by design")
    return Reading(0.0)
