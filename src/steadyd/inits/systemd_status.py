"""What systemd says, in our words. Pure: names and properties in, values out.

Property names and their values: org.freedesktop.systemd1(5); unit names: systemd.unit(5).
"""

import signal
import string
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus

NAME = "systemd"
ROOT_PATH = "/org/freedesktop/systemd1"

Properties = Mapping[str, Any]

# the words that systemd gives to polkit for the D-Bus calls that a verb may need
POLKIT_WORDS = {
    Verb.RELOAD: ("reload",),
    Verb.RESTART: ("restart", "try-restart"),
    Verb.START: ("start",),
    Verb.STOP: ("stop",),
    Verb.SIGNAL: ("kill",),
}
_SUFFIXES = (
    *(".automount", ".device", ".mount", ".path", ".scope", ".service"),
    *(".slice", ".socket", ".swap", ".target", ".timer"),
)
_LETTERS = frozenset(string.ascii_letters + string.digits + ":-_.\\@")
_WILD = frozenset("*?[]!^")
_UNESCAPED = frozenset((string.ascii_letters + string.digits).encode())
_NAME_MAX = 255

_STATES = {
    "active": ServiceState.ACTIVE,
    "reloading": ServiceState.RELOADING,
    "refreshing": ServiceState.RELOADING,
    "inactive": ServiceState.INACTIVE,
    "failed": ServiceState.FAILED,
    "activating": ServiceState.ACTIVATING,
    "maintenance": ServiceState.ACTIVATING,
    "deactivating": ServiceState.DEACTIVATING,
}
_RUNNING = frozenset((ServiceState.ACTIVE, ServiceState.RELOADING))
_CHANGING = frozenset((ServiceState.ACTIVATING, ServiceState.DEACTIVATING))
# what systemd goes through between a crash and its own restart; the last two since version 254
_RESPAWNING = frozenset(
    (
        "auto-restart",
        "auto-restart-queued",
        "dead-before-auto-restart",
        "failed-before-auto-restart",
    )
)
_CRASHES = frozenset(("exit-code", "signal", "core-dump", "timeout", "watchdog", "oom-kill"))
_RESTARTED_ON = {  # the table of Restart= in systemd.service(5)
    "always": _CRASHES,
    "on-failure": _CRASHES,
    "on-abnormal": _CRASHES - {"exit-code"},
    "on-abort": frozenset(("signal", "core-dump")),
    "on-watchdog": frozenset(("watchdog",)),
}
_RESULTS = {
    "oom-kill": "killed by the kernel: out of memory",
    "watchdog": "watchdog timeout",
    "timeout": "timeout: it did not start or stop in time",
    "protocol": "it did not do what its Type= asks for",
    "resources": "systemd lacked the resources to run it (files, users, namespaces)",
    "exec-condition": "ExecCondition= said no",
    "unmet-condition": "a Condition…= of the unit is not met",
}
_JOB_RESULTS = {
    "canceled": "the job was canceled by another one",
    "timeout": "the job timed out",
    "failed": "the job failed",
    "dependency": "a unit that it depends on failed",
    "skipped": "the job does not apply in the unit's present state",
    "invalid": "the unit is not running",
    "assert": "an Assert…= of the unit is not met",
    "unsupported": "this unit type is not supported on this host",
    "collected": "the unit was unloaded meanwhile",
    "once": "the unit was started already and runs only once",
}
_CLD_EXITED = 1  # codes of waitid(2), as ExecMainCode has them
_CLD_DUMPED = 3


def polkit_words(verb: Verb, *, can_reload: bool, reload_signal: str) -> tuple[str, ...]:
    """Return what polkit is asked for when a verb is carried out."""
    by_signal = verb is Verb.RELOAD and not can_reload and reload_signal
    return POLKIT_WORDS[Verb.SIGNAL if by_signal else verb]


def unit_name(name: str) -> str:
    """Return the unit that a service's name means (contract.md, section 1).

    Raises ValueError, with the reason, for what systemd could not take as a unit's name; the
    rules are those of systemd.unit(5).
    """
    if not name:
        raise ValueError("the name is empty")
    strange = sorted(set(name) - _LETTERS)
    if strange:
        raise ValueError(f"{strange[0]!a} cannot stand in a unit's name")
    unit = name if name.endswith(_SUFFIXES) else f"{name}.service"
    if len(unit) > _NAME_MAX:
        raise ValueError(f"the name is longer than {_NAME_MAX} bytes")
    prefix, at, instance = unit.rpartition(".")[0].partition("@")
    if not prefix:
        raise ValueError("there is nothing before the suffix or the @")
    if at and not instance:
        raise ValueError("it is a template: name an instance of it (NAME@INSTANCE)")
    return unit


def unit_glob(glob: str) -> str:
    """Return the pattern of units that a glob in a rule means: services, if it does not say.

    Raises ValueError: no unit can have such a name.
    """
    if not glob or len(glob) > _NAME_MAX or set(glob) - _LETTERS - _WILD:
        raise ValueError("no unit's name is like this")
    return glob if glob.endswith(_SUFFIXES) else f"{glob}.service"


def unit_path(unit: str) -> str:
    """Return the D-Bus object path of a unit: letters and digits stay, all else is _xx.

    A leading digit is escaped too (sd_bus_path_encode(3)).
    """
    escaped = "".join(
        chr(byte)
        if byte in _UNESCAPED and not (place == 0 and chr(byte).isdigit())
        else f"_{byte:02x}"
        for place, byte in enumerate(unit.encode("utf-8", "surrogateescape"))
    )
    return f"{ROOT_PATH}/unit/{escaped or '_'}"


def own_unit(cgroup_file: str) -> str:
    """Return the system unit that /proc/self/cgroup (cgroups(7)) names, "" if there is none."""
    for line in cgroup_file.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers in ("", "name=systemd"):
            for part in path.split("/"):
                if part.endswith((".service", ".scope")):
                    return part
    return ""


def state_of(active_state: str) -> ServiceState:
    """Return the state that an ActiveState stands for."""
    return _STATES.get(active_state, ServiceState.UNKNOWN)


def why_gone(properties: Properties) -> str:
    """Return why systemd has no such unit to offer, "" if it has one.

    A unit that runs is there, even where its file was deleted or broken meanwhile.
    """
    load = str(properties.get("LoadState", "loaded"))
    state = _state(properties)
    running = state in _RUNNING or state in _CHANGING
    if load in ("loaded", "merged") or running:
        return ""
    _, text = properties.get("LoadError") or ("", "")
    unit = properties.get("Id", "the unit")
    return str(text) or {"not-found": f"there is no {unit}", "masked": f"{unit} is masked"}.get(
        load, f"{unit} could not be loaded ({load})"
    )


_INFINITY = 2**64 - 1
NEVER = "not started since boot"


def remembered(now: UnitStatus, before: object) -> UnitStatus:
    """Return a status with what was told before: systemd forgets a unit that rests."""
    ran = isinstance(before, UnitStatus) and before.reason != NEVER
    return replace(now, reason="stopped") if ran and now.reason == NEVER else now


def status(properties: Properties, unit: str = "") -> UnitStatus:
    """Return a unit's properties (of all its interfaces) as a status.

    `unit` is the name to report it under, by default its canonical id. What an old systemd does
    not have (InvocationID before 232, NRestarts before 235) reads as empty.
    """
    state = _state(properties)
    sub = str(properties.get("SubState", ""))
    result = str(properties.get("Result", "success"))
    job, _ = properties.get("Job") or (0, "/")
    at_rest = state is ServiceState.INACTIVE and result in ("success", "exec-condition")
    acting = bool(job) or state in _CHANGING or sub in _RESPAWNING
    kind = str(properties.get("Type", ""))
    return UnitStatus(
        init=NAME,
        unit=unit or str(properties.get("Id", "")),
        state=state,
        reason=_reason(properties, state, sub, result),
        main_pid=int(properties.get("MainPID", 0)),
        cgroup=str(properties.get("ControlGroup", "")),
        invocation=bytes(properties.get("InvocationID") or b"").hex(),
        respawns=int(properties.get("NRestarts", 0)),
        result=result,
        acting=acting,
        respawning=sub in _RESPAWNING,
        stopped=at_rest and not acting,
        by_design=at_rest and (kind == "oneshot" or bool(properties.get("TriggeredBy"))),
        can_reload=bool(properties.get("CanReload", False)),
        since=int(properties.get("StateChangeTimestamp", 0)) / 1e6,
        type=kind,
        tasks_max=_limit(properties.get("TasksMax", _INFINITY)),
    )


def _limit(value: object) -> int:
    return value if isinstance(value, int) and value < _INFINITY else 0


def job_failure(job_result: str, verb: Verb, properties: Properties) -> str:
    """Return why a job that ended as `job_result` failed, with the unit's own reason."""
    text = _JOB_RESULTS.get(job_result, f"the job ended as {job_result!r}")
    if verb is Verb.RELOAD:
        result = str(properties.get("ReloadResult", "success"))
        own = "" if result == "success" else f"ExecReload= ended with {result}"
    else:
        own = status(properties).reason
    return f"{text}: {own}" if own else text


def shortfall(verb: Verb, before: UnitStatus, after: UnitStatus) -> str:
    """Return what is wrong after a verb that systemd called done, "" if it had its effect."""
    started_anew = (before.invocation, before.main_pid) != (after.invocation, after.main_pid)
    if verb is Verb.RESTART and not started_anew:
        return "systemd says that it is done, but the unit was not started anew"
    if verb is Verb.STOP:
        at_rest = after.state in (ServiceState.INACTIVE, ServiceState.FAILED)
        return "" if at_rest and not after.acting else f"it is {after.state} afterwards"
    if after.state in _RUNNING or (after.by_design and verb is not Verb.RELOAD):
        return ""
    if after.state is ServiceState.ACTIVATING and not after.respawning:
        return ""
    return f"it is {after.state} afterwards" + (f": {after.reason}" if after.reason else "")


def _state(properties: Properties) -> ServiceState:
    return state_of(str(properties.get("ActiveState", "")))


def _reason(properties: Properties, state: ServiceState, sub: str, result: str) -> str:
    if state in _RUNNING:
        return ""
    text = _ending(properties, result)
    if state is ServiceState.FAILED:
        return text + _gave_up(properties, result)
    if state is ServiceState.INACTIVE:
        return text or _at_rest(properties)
    if sub in _RESPAWNING:
        return f"systemd starts it again: {text or 'it ended'}"
    return text or sub


def _ending(properties: Properties, result: str) -> str:
    """Return in words how the last run ended; "" after success."""
    status_number = int(properties.get("ExecMainStatus", 0))
    match result:
        case "success":
            return ""
        case "exit-code":
            if int(properties.get("ExecMainCode", 0)) == _CLD_EXITED and status_number:
                return f"exited with status {status_number}"
            return "a command beside the main process failed (ExecStartPre=, ExecStop= …)"
        case "signal" | "core-dump":
            dumped = int(properties.get("ExecMainCode", 0)) == _CLD_DUMPED
            return f"killed by {_signal_name(status_number)}" + (", core dumped" if dumped else "")
        case "start-limit-hit":
            return f"start limit hit ({_start_limit(properties)})"
        case _:
            return _RESULTS.get(result, result)


def _gave_up(properties: Properties, result: str) -> str:
    """Return that systemd gave up restarting, as far as that can be concluded.

    After a burst of crashes Result keeps the word of the last crash, not start-limit-hit.
    """
    policy = str(properties.get("Restart", "no"))
    wanted = result in _RESTARTED_ON.get(policy, frozenset())
    if not wanted or not int(properties.get("NRestarts", 0)) or _prevented(properties):
        return ""
    limit = _start_limit(properties)
    return f"; failed although Restart={policy} would restart it: start limit ({limit})"


def _prevented(properties: Properties) -> bool:
    prevented: Sequence[Sequence[int]] = properties.get("RestartPreventExitStatus") or ((), ())
    return any(int(properties.get("ExecMainStatus", 0)) in numbers for numbers in prevented)


def _start_limit(properties: Properties) -> str:
    seconds = int(properties.get("StartLimitIntervalUSec", 0)) / 1e6
    return f"{properties.get('StartLimitBurst', '?')} starts in {seconds:g} s"


def _at_rest(properties: Properties) -> str:
    if not int(properties.get("InactiveEnterTimestamp", 0)):
        if int(properties.get("ConditionTimestamp", 0)) and not properties.get("ConditionResult"):
            return _RESULTS["unmet-condition"]
        return NEVER
    return "stopped"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
