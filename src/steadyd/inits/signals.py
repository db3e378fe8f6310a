"""The names of signals in rules."""

import signal as signals

from steadyd.model.rule import Verb
from steadyd.ports import NotSupported


def signal_number(init: str, unit: str, verb: Verb, name: str) -> signals.Signals:
    """Return the signal that a verb is to send, `HUP` or `SIGHUP`. Raises NotSupported."""
    number = getattr(signals, f"SIG{name.upper().removeprefix('SIG')}", None)
    if not isinstance(number, signals.Signals):
        raise NotSupported(init, unit, verb, f"{name[:20]!a} is no signal")
    if verb is Verb.RELOAD and number in (signals.SIGKILL, signals.SIGSTOP):
        raise NotSupported(init, unit, verb, f"{number.name} is no signal to reload by")
    return number
