"""PURE: the meaning of `with KEY VALUE, …` (language.md, Parameters)."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from steadyd.model.rule import Budget, CheckParams, Severity
from steadyd.rulefiles import amounts
from steadyd.rulefiles.diagnostics import Report, quoted
from steadyd.rulefiles.tree import Param

INITS: Final = ("systemd", "upstart", "sysvinit", "openrc", "runit", "s6", "supervisord")
_SIGNALS: Final = ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH", "TTIN", "TTOU", "CONT")
MIGHTY: Final = ("KILL", "STOP")  # end or freeze whatever they meet
_LONGEST: Final = 1000  # characters of a path or of a text to match
_LOOK_BACK: Final = 7 * 86_400.0  # seconds for which verbs are remembered
_BUDGET: Final = re.compile(r"([0-9]{1,6})/(.*)", re.DOTALL)


class _BadValue(ValueError):
    """str() says what is wanted instead."""


def _text(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise _BadValue("text without control characters")
    return value


def _duration(value: str) -> float:
    try:
        return amounts.duration(value)
    except amounts.BadNumber:
        raise _BadValue("a duration such as 90s, 5m or 2h") from None


def _yes(value: str) -> bool:
    if value not in ("yes", "no"):
        raise _BadValue("yes or no")
    return value == "yes"


def _budget(value: str) -> Budget:
    found = _BUDGET.fullmatch(value)
    try:
        if found is not None and 0 < (seconds := amounts.duration(found[2])) <= _LOOK_BACK:
            return Budget(int(found[1]), seconds)
    except amounts.BadNumber:
        pass
    raise _BadValue("a number and a duration of at most 7d, such as 3/1h")


def _cooldown(value: str) -> float:
    seconds = _duration(value)
    if seconds > _LOOK_BACK:
        raise _BadValue("a duration of at most 7d, such as 90s or 5m")
    return seconds


def _severity(value: str) -> Severity:
    if value not in list(Severity):
        raise _BadValue("info, warning or critical")
    return Severity(value)


def _init(value: str) -> str:
    if value not in INITS:
        raise _BadValue("one of " + " ".join(INITS))
    return value


def _signal(value: str) -> str:
    name = value.upper().removeprefix("SIG")
    if name not in _SIGNALS:
        raise _BadValue("one of " + " ".join(_SIGNALS))
    return name


def signal_name(value: str) -> str:
    """Return the signal of a step `signal NAME`. Raises ValueError: what is wanted instead."""
    name = value.upper().removeprefix("SIG")
    return name if name in MIGHTY else _signal(value)


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[!-~]+", value):
        raise _BadValue('a URL in quotes such as "https://wiki.example.org/puma"')
    return value


def _path(value: str) -> str:
    if not value.startswith("/") or not value.isprintable() or len(value) > _LONGEST:
        raise _BadValue("an absolute path such as /run/puma.pid")
    return value


def _part(value: str) -> str:
    if not value.strip() or not value.isprintable() or len(value) > _LONGEST:
        raise _BadValue("text that stands in the command line, such as bin/worker")
    return value


def _port(value: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", value) or int(value) > 65535:
        raise _BadValue("a number from 0 to 65535")
    return int(value)


# Obeyed: the keys are the names of the fields of CheckParams.
_OBEYED: Final[dict[str, Callable[[str], object]]] = {
    "owner": _text,
    "cooldown": _cooldown,
    "budget": _budget,
    "dry_run": _yes,
    "verify": _duration,
    "settle": _duration,
    "severity": _severity,
    "runbook": _url,
    "watch": _yes,
    "init": _init,
    "unit": _text,
    "pidfile": _path,
    "match": _part,
    "reload_signal": _signal,
    "depends": _text,
    "group": _text,
    "warmup": _duration,
    "quiet": _duration,
}
# Those of the daemon families; kept for them as they are.
_FAMILIES: Final[dict[str, Callable[[str], object]]] = dict.fromkeys(
    ("hostname", "socket", "username", "password", "endpoint", "database"), str
) | {"port": _port}
_KNOWN: Final = {"alert_label": _text} | _OBEYED | _FAMILIES

# A bad value of these decides about verbs: the check may only alert.
_DECISIVE: Final = frozenset(
    ("dry_run", "init", "unit", "pidfile", "match", "depends", "budget", "cooldown")
)


def read(params: Sequence[Param], defaults: CheckParams, report: Report) -> CheckParams:
    """Return what the parameters of a check mean. Of a repeated key the first written wins."""
    given: dict[str, Param] = {}
    for param in params:
        if param.key in given:
            report.warning(
                param.start, f"{quoted(param.key)} was given before; the first one counts"
            )
        else:
            given[param.key] = param
    meaning: dict[str, Any] = {"given": tuple((each.key, each.value) for each in given.values())}
    for param in given.values():
        meaning |= _meaning(param, report)
    return replace(defaults, **meaning)


def _meaning(param: Param, report: Report) -> dict[str, object]:
    key = param.key
    if key not in _KNOWN:
        near = report.nearest(key, _KNOWN)
        report.warning(param.start, f"the parameter {quoted(key)} is not known", near)
        return {}
    try:
        value = _KNOWN[key](param.value)
    except _BadValue as wanted:
        shown = "" if key == "password" else f" {quoted(param.value)}"
        effect = "; this check only alerts" if key in _DECISIVE else "; the default is used"
        report.error(param.value_start, f"bad value{shown} of {quoted(key)}{effect}", f"{wanted}")
        return {"alert_only": True} if key in _DECISIVE else {}
    return {key: value} if key in _OBEYED else {}
