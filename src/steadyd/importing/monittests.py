"""PURE: one test of Monit as a condition of ours. What the tests mean: monit(1) 5.33."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from steadyd.importing.product import quoted, word


class Untranslated(Exception):
    """There is no such condition; str() says why, and what to do."""


class Machine(NamedTuple):
    """The host for which amounts are reckoned that Monit measures against it; memory in bytes."""

    cores: int
    memory: int


class Condition(NamedTuple):
    """`text` is the condition, `hold` what follows it; `params` must stand in its check's `with`.

    `notes` are for a comment; `lost` says what of the test is not in the condition.
    """

    text: str
    hold: str = ""
    notes: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    lost: tuple[str, ...] = ()


_OPERATORS: Final[Mapping[str, str]] = {
    **{sign: sign for sign in (">", "<", ">=", "<=", "==", "!=")},
    **dict.fromkeys(("=", "eq", "equal"), "=="),
    **dict.fromkeys(("ne", "notequal"), "!="),
    **dict.fromkeys(("gt", "greater"), ">"),
    **dict.fromkeys(("lt", "less"), "<"),
}
_ANY_OPERATOR: Final = "|".join(sorted(_OPERATORS, key=len, reverse=True))
_MIRRORED: Final = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "==", "!=": "!="}
_COMPARED: Final = re.compile(
    rf"""(?P<what> [a-z][a-z0-9\ ()]*? ) \s+
    (?P<op> {_ANY_OPERATOR} ) \s+ (?: than \s+ | to \s+ )?
    (?P<number> [0-9]{{1,15}} (?: \.[0-9]{{1,6}} )? ) \s*
    (?P<unit> % | [a-z]+ (?: /s[a-z]* )? )?""",
    re.VERBOSE | re.IGNORECASE,
)
_HOLD: Final = re.compile(
    r"(?P<rest>.*?)\s+(?:for\s+)?(?P<count>[0-9]{1,3})\s+"
    r"(?:(?:times?\s+)?within\s+(?P<of>[0-9]{1,3})\s+cycles?|cycles?|times?)",
    re.IGNORECASE | re.DOTALL,
)
_NOISE: Final = re.compile(r"[()]|\b(?:usage|is|are|the|activity|if)\b")
_ALIASES: Final = {
    "mem": "memory",
    "totalmem": "total memory",
    "total mem": "total memory",
    "totalmemory": "total memory",
    "totalcpu": "total cpu",
    "cpu total": "total cpu",
    "filedescriptors": "file descriptors",
    "total filedescriptors": "file descriptors",
    "total file descriptors": "file descriptors",
    "child": "children",
    "space used": "space",
    "cpu nice": "",
}

_TREE: Final = (
    "Monit: of the process itself, against its threads; here: of the whole unit, 100 is one core"
)
_STORAGE: Final = "what really went to or from storage"

# By the kind of check: metric, what it is measured in, and a note.
_METRICS: Final[Mapping[str, Mapping[str, tuple[str, str, str]]]] = {
    "process": {
        "cpu": ("cpu:tree", "percent", _TREE),
        "total cpu": ("cpu:tree", "percent", "100 is one core"),
        "memory": ("memory:rss", "bytes", ""),
        "total memory": ("memory:total_rss", "bytes", ""),
        "children": ("process:count", "children", "the main process counts too"),
        "threads": ("process:threads", "count", "of all processes of the unit"),
        "uptime": ("init:uptime", "seconds", ""),
        "file descriptors": ("process:fds", "descriptors", ""),
        "disk read": ("io:read", "rate", _STORAGE),
        "disk write": ("io:write", "rate", _STORAGE),
        "read": ("io:read", "rate", _STORAGE),
        "write": ("io:write", "rate", _STORAGE),
    },
    "system": {
        "cpu": ("cpu", "cores", ""),
        "cpu user": ("cpu:user", "cores", ""),
        "cpu system": ("cpu:system", "cores", ""),
        "cpu wait": ("cpu:iowait", "cores", ""),
        "cpu steal": ("cpu:steal", "cores", ""),
        "memory": ("memory:used", "bytes", ""),
        "swap": ("swap", "percent", ""),
        **{
            f"loadavg {minutes}min{per}": (f"load:{minutes}", unit, "")
            for minutes in (1, 5, 15)
            for per, unit in (("", "count"), (" per core", "per core"))
        },
    },
    "filesystem": {"space": ("disk", "percent", ""), "space free": ("disk", "free", "")},
}
_SIZES: Final = {"k": "kb", "m": "mb", "g": "gb", "t": "tb"}
_TIMES: Final = {"s": "s", "m": "min", "h": "h", "d": "d"}


def hold(text: str, factor: int = 1) -> tuple[str, int, int]:
    """Split `TEST for N cycles` or `TEST for N times within M cycles`: the test, N, M.

    `factor` is the cycles of steadyd in one of the check's; 0 and 0 where nothing is said.
    """
    found = _HOLD.fullmatch(text)
    if found is None:
        return text, 0, 0
    count, of = int(found["count"]), int(found["of"] or found["count"])
    return found["rest"].strip(), count * factor, of * factor


def held(count: int, of: int) -> str:
    """Return a hold as it is written."""
    if count <= 1 and of <= 1:
        return ""
    return f" for {count} of {of} cycles" if of > count else f" for {count} cycles"


def resource(kind: str, test: str, place: str, machine: Machine) -> Condition:
    """Return a test of a resource; `place` is the path of a file system. Raises Untranslated."""
    found = _COMPARED.fullmatch(test)
    if found is None:
        raise Untranslated("steadyd has no such test")
    what = " ".join(_NOISE.sub(" ", found["what"].lower()).split())
    what = _ALIASES.get(what, what)
    known = _METRICS.get(kind, {})
    if what not in known:
        raise Untranslated("steadyd has no such metric")
    metric, measure, note = known[what]
    operator = _OPERATORS[found["op"].lower()]
    number, unit = float(found["number"]), (found["unit"] or "").lower()
    notes = [note] if note else []
    if metric == "disk":
        if place.startswith("/dev/") or not place.startswith("/"):
            raise Untranslated("name the mount point: disk:/srv")
        metric = f"disk:{word(place)}"
    if measure == "free":
        operator, number, measure = _MIRRORED[operator], 100 - number, "percent"
    if measure == "descriptors":
        metric, measure = ("process:fd_ratio", "percent") if unit == "%" else (metric, "count")
    reckoned = f"reckoned for this host: {found['number']}{found['unit'] or ''} in Monit"
    if measure in ("cores", "per core") or (measure == "bytes" and unit in ("%", "percent")):
        notes.append(reckoned)
    return Condition(
        f"{metric} {operator} {_amount(number, unit, measure, machine)}", notes=tuple(notes)
    )


def _amount(number: float, unit: str, measure: str, machine: Machine) -> str:
    percent = unit in ("%", "percent")
    if measure == "bytes":
        part = machine.memory * number / 100 / 2**20
        return f"{round(part)}mb" if percent else _size(number, unit)
    if measure == "rate" and "/" in unit and not unit.startswith("operation"):
        return _size(number, unit.partition("/")[0]) + "/sec"
    if measure == "seconds":
        return _plain(number) + _time(unit)
    if measure in ("cores", "per core"):
        number *= machine.cores
    elif measure == "children":
        number += 1
    if measure in ("percent", "cores") and (percent or not unit):
        return f"{_plain(number)}%"
    if measure in ("count", "children", "per core") and not unit:
        return _plain(number)
    raise Untranslated(f"the metric is not measured in {unit or 'plain numbers'}")


def _size(number: float, unit: str) -> str:
    if unit in ("", "b", "byte", "bytes"):
        return _plain(number)
    size = _SIZES.get(unit[0]) if unit[1:] in ("b", "", "ilobyte", "egabyte", "igabyte") else None
    if size is None:
        raise Untranslated(f"{unit} is no size; write kb, mb or gb")
    return _plain(number) + size


def _time(unit: str) -> str:
    if unit.startswith(("millisecond", "ms")):
        return "ms"
    if unit[:1] not in _TIMES:
        raise Untranslated(f"{unit or 'a plain number'} is no time; write s, min, h or d")
    return _TIMES[unit[0]]


def _plain(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")


# Connections

_UNKNOWN: Final = (
    "no answer at all is unknown to steadyd, and unknown runs nothing: `down` is what tells of it"
)
_FIELD: Final = r"""(?:^|\s){}\s+(?:=\s*)?("[^"]*"|'[^']*'|\S+)"""
_STATUS: Final = re.compile(rf"\bstatus\s+({_ANY_OPERATOR})?\s*([0-9]{{3}})", re.IGNORECASE)
_EXTRA: Final = re.compile(
    r"\b(content|checksum|certificate|send|expect|username|password|hostheader|http headers|retry"
    r"|ipv4|ipv6|address|method|responsetime)\b",
    re.IGNORECASE,
)


def connection(test: str, address: str) -> Condition:
    """Return `failed … port N …`; `address` is the host if none is named. Raises Untranslated."""
    if not re.match(r"failed\b", test, re.IGNORECASE):
        raise Untranslated("steadyd has no such test")
    if _value(test, "type").lower() == "udp":
        raise Untranslated("steadyd connects by TCP only")
    lost = [_UNKNOWN]
    extras = sorted({each.lower() for each in _EXTRA.findall(test)})
    if extras:
        lost.append(f"not looked at: {', '.join(extras)}")
    protocol = _value(test, r"proto(?:col)?").lower()
    socket, port = _value(test, "unix(?:socket)?"), _value(test, "port")
    if not socket and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise Untranslated("steadyd needs a port to connect to; it does not ping")
    host = _value(test, "host(?:name)?") or address
    if not re.fullmatch(r"[\w.:-]{1,253}", host, re.ASCII):
        raise Untranslated("the host has no name that could be asked")
    if socket or not protocol.startswith("http"):
        if protocol not in ("", "default"):
            lost.append(f"only the connection is tested, not that it speaks {protocol}")
        where = (("socket", socket),) if socket else (("hostname", host), ("port", port))
        seconds = _seconds(test)
        return Condition(f"tcp:seconds > {seconds}s", params=where, lost=tuple(lost))
    tls = protocol == "https" or re.search(r"\b(?:ssl|tls)\b", test, re.IGNORECASE)
    place = f"[{host}]" if ":" in host else host
    path = _value(test, "request") or "/"
    url = f"{'https' if tls else 'http'}://{place}:{port}{path if path[0] == '/' else '/' + path}"
    return Condition(_status(test), params=(("endpoint", url),), lost=tuple(lost))


def _status(test: str) -> str:
    """Return when the status is not what Monit expects (200 or a status below 400)."""
    found = _STATUS.search(test)
    if found is None:
        return "http:status >= 400"
    contrary = {"==": "!=", "!=": "==", ">": "<=", "<": ">=", ">=": "<", "<=": ">"}
    return f"http:status {contrary[_OPERATORS[(found[1] or '=').lower()]]} {found[2]}"


def _seconds(test: str) -> str:
    found = re.search(r"\btimeout\s+([0-9]{1,5})\s", test + " ", re.IGNORECASE)
    return found[1] if found else "5"


def _value(test: str, key: str) -> str:
    found = re.search(_FIELD.format(key), test, re.IGNORECASE)
    return found[1].strip("\"'") if found else ""


def exec_step(command: str) -> str:
    """Return the step that runs a command."""
    return f"exec {quoted(command)}"
