"""What Upstart says, in our words. Pure: names, signals and properties in, values out.

Goals, states and events: init(5), upstart-events(7); object paths and signals as Upstart 1.12
and 1.13 send them.
"""

import re
import signal
import string
from collections.abc import Iterable, Sequence

from msgspec import Struct

from steadyd.model.service import ServiceState, UnitStatus

NAME = "upstart"
ROOT_PATH = "/com/ubuntu/Upstart"
SERVICE = "com.ubuntu.Upstart"
MANAGER = "com.ubuntu.Upstart0_6"
JOB, INSTANCE = f"{MANAGER}.Job", f"{MANAGER}.Instance"

_JOBS = f"{ROOT_PATH}/jobs/"
_LETTERS = frozenset((string.ascii_letters + string.digits).encode())
_NAME_MAX = 255
_LARGEST_PID = 2**22  # proc(5), pid_max
_TOO_FAST = "respawning too fast, stopped"
_TEXT_MAX = 200
# the most telling first: what a service over several instances is called by
_WORST = (
    ServiceState.FAILED,
    ServiceState.DEACTIVATING,
    ServiceState.ACTIVATING,
    ServiceState.ACTIVE,
    ServiceState.INACTIVE,
)


class Instance(Struct, frozen=True):
    """An instance as its properties tell it: one that is not stop/waiting."""

    path: str
    name: str
    goal: str
    state: str
    main_pid: int = 0


class Course(Struct):
    """What signals told of an instance; the properties keep no trace of it.

    failed    why it failed, "" if it did not since its last start
    result    the same as one word
    asked     its goal is to stop, or to start again, since somebody asked
    respawns  how often Upstart started it again by itself
    runs      how often it was seen to come up
    unsure    signals may be missing: a read that finds it running settles `asked`
    since     wall-clock seconds of the last signal
    """

    failed: str = ""
    result: str = "success"
    asked: bool = True
    respawns: int = 0
    runs: int = 0
    unsure: bool = False
    since: float = 0.0

    def goal(self, goal: str) -> None:
        """Take note of GoalChanged."""
        self.asked, self.unsure = True, False
        if goal == "start":
            self.failed, self.result = "", "success"

    def state(self, state: str) -> None:
        """Take note of StateChanged."""
        if state == "running":
            self.respawns += not (self.asked or self.unsure)
            self.runs += 1
            self.asked = self.unsure = False

    def found_running(self) -> None:
        """Take note that a read found it up, with the goal to stay so.

        Where all signals came they know better: a later one may have been taken already.
        """
        if self.unsure:
            self.failed, self.result = "", "success"
            self.asked = self.unsure = False

    def fail(self, status: int) -> None:
        """Take note of Failed: 0 the respawn limit, -1 no process, else as waitpid(2) has it."""
        self.unsure = False
        if status == 0:
            self.failed, self.result = _TOO_FAST, "respawn-limit"
        elif status < 0:
            self.failed, self.result = "a process of it could not be started", "exec"
        elif status >> 8:
            self.failed, self.result = f"killed by {_signal_name(status >> 8)}", "signal"
        else:
            self.failed, self.result = f"exited with status {status}", "exit-code"

    def end(self, words: dict[str, str]) -> None:
        """Take note of the variables of a stopping or stopped event."""
        if words.get("RESULT") != "failed":
            return
        process, end = words.get("PROCESS", "main")[:_TEXT_MAX], ""
        if process == "respawn":
            self.fail(0)
            return
        if name := words.get("EXIT_SIGNAL"):
            end, self.result = f"killed by SIG{name}"[:_TEXT_MAX], "signal"
        elif number := words.get("EXIT_STATUS"):
            end, self.result = f"exited with status {number}"[:_TEXT_MAX], "exit-code"
        if end:
            self.failed = end if process == "main" else f"{process} {end}"
        else:
            self.failed, self.result = f"its {process} process could not be started", "exec"


def split(name: str) -> tuple[str, str | None]:
    """Return job and instance of `NAME` or `NAME (INSTANCE)`; without one the instance is None.

    Raises ValueError, with the reason, for what cannot be a job's name.
    """
    if not name:
        raise ValueError("the name is empty")
    if len(name.encode("utf-8", "replace")) > _NAME_MAX:
        raise ValueError(f"the name is longer than {_NAME_MAX} bytes")
    if not name.isprintable():
        raise ValueError("a job's name is printable")
    job, blank, rest = name.partition(" (")
    if job and blank and rest.endswith(")"):
        return job, rest[:-1]
    return name, None


def job_path(job: str) -> str:
    """Return the object path of a job: letters and digits stay, all else is _xx."""
    return _JOBS + _encoded(job)


def instance_path(job: str, instance: str) -> str:
    """Return the object path of an instance; the nameless one is `_`."""
    return f"{job_path(job)}/{_encoded(instance)}"


def job_of(path: str) -> str:
    """Return the path of the job that an object path belongs to, "" for another object."""
    if not path.startswith(_JOBS):
        return ""
    return _JOBS + path.removeprefix(_JOBS).split("/")[0]


def unit_of(path: str) -> str:
    """Return the unit that an object path of a job or an instance names, "" if it names none."""
    job, _, instance = path.removeprefix(_JOBS).partition("/")
    name, named = _decoded(job), _decoded(instance)
    unit = f"{name} ({named})" if named else name
    try:
        split(unit)
    except ValueError:
        return ""
    return unit


def instance_of(path: str, properties: dict[str, object]) -> Instance:
    """Return an instance from its properties; what is not of their type reads as empty."""
    found = properties.get("processes")
    pids = [
        row[1]
        for row in (found if isinstance(found, list) else [])
        if len(row) == 2 and row[0] == "main" and isinstance(row[1], int)
    ]
    main = pids[0] if pids and 0 < pids[0] <= _LARGEST_PID else 0
    name, goal, state = (
        str(properties.get(key, ""))[:_NAME_MAX] for key in ("name", "goal", "state")
    )
    return Instance(path, name, goal, state, main)


def status(
    unit: str,
    instances: Sequence[Instance],
    courses: dict[str, Course],
    started: dict[int, int],
) -> UnitStatus:
    """Return a unit's status: of one instance, or of a service over all of them.

    `courses` are those of its instances by path, also of such as ended; `started` the start
    times of main pids (field 22 of /proc/PID/stat), where they could be read.
    """
    mains = [instance for instance in instances if instance.main_pid]
    parts = [_part(instance, courses.get(instance.path, Course())) for instance in instances]
    gone = set(courses) - {instance.path for instance in instances}
    parts += [
        (ServiceState.FAILED, courses[path].failed, False)
        for path in sorted(gone)
        if courses[path].failed
    ]
    parts = parts or [(ServiceState.INACTIVE, "stopped", False)]
    state, reason, respawning = min(parts, key=lambda part: _WORST.index(part[0]))
    results = [course.result for course in courses.values() if course.result != "success"]
    return UnitStatus(
        init=NAME,
        unit=unit,
        state=state,
        reason=reason,
        main_pid=mains[0].main_pid if mains else 0,
        others=tuple(instance.main_pid for instance in mains[1:]),
        invocation=_invocation(instances, courses, started),
        respawns=sum(course.respawns for course in courses.values()),
        result=results[0] if results and state is ServiceState.FAILED else "success",
        acting=state in (ServiceState.ACTIVATING, ServiceState.DEACTIVATING),
        respawning=respawning,
        stopped=state is ServiceState.INACTIVE,
        can_reload=True,
        since=max((course.since for course in courses.values()), default=0.0),
    )


def ordered(instances: Iterable[Instance]) -> list[Instance]:
    """Return instances in the order of their names, `9` before `10`."""
    return sorted(instances, key=lambda instance: (len(instance.name), instance.name))


def _part(instance: Instance, course: Course) -> tuple[ServiceState, str, bool]:
    """Return state, reason and whether Upstart starts it again by itself."""
    where = f"{instance.goal}/{instance.state}"
    if instance.goal == "start":
        if instance.state == "running":
            return ServiceState.ACTIVE, "", False
        again = bool(course.runs) and not course.asked
        text = f"Upstart starts it again: {where}" if again else where
        return ServiceState.ACTIVATING, text, again
    if instance.state == "waiting":
        kind = ServiceState.FAILED if course.failed else ServiceState.INACTIVE
        return kind, course.failed or "stopped", False
    return ServiceState.DEACTIVATING, course.failed or where, False


def _invocation(
    instances: Sequence[Instance], courses: dict[str, Course], started: dict[int, int]
) -> str:
    """Return what changes with every main process, or run of a job that has none."""
    words = []
    for instance in instances:
        if instance.main_pid:
            words.append(f"{instance.main_pid}:{started.get(instance.main_pid, 0)}")
        elif instance.path in courses and instance.state == "running":
            words.append(f"run {courses[instance.path].runs}")
    return " ".join(words)


def _encoded(name: str) -> str:
    escaped = "".join(
        chr(byte) if byte in _LETTERS else f"_{byte:02x}"
        for byte in name.encode("utf-8", "surrogateescape")
    )
    return escaped or "_"


def _decoded(part: str) -> str:
    """Return the name that a part of an object path was made of, "" if it is none."""
    if part in ("", "_"):
        return ""
    try:
        codes = re.sub(r"_([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), part)
        return codes.encode("latin-1").decode()
    except UnicodeError:
        return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
