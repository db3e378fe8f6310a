"""Did it help? Pure.

A verb that returned is not a restart that worked: the condition of its rule must close within
`verify` seconds after the init's answer. What comes back within that time after it had healed
came back.
"""

from steadyd.model.incident import Outcome


def verdict(now: float, until: float, *, closed: bool, recovering: bool) -> Outcome | None:
    """Judge an answered action at the monotonic time `now`; None: it is too early to tell.

    `until` is the end of the time to heal; a condition that is false just then may still close.
    """
    if closed:
        return Outcome.HEALED
    if now >= until and not recovering:
        return Outcome.NOT_HEALED
    return None
