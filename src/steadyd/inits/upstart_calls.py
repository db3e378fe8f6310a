"""The questions that the adapter asks of Upstart, and what its errors mean."""

import os
import socket
import struct
import time
from pathlib import Path

from steadyd.inits.link import Call, Link, Refused
from steadyd.inits.upstart_status import (
    INSTANCE,
    JOB,
    MANAGER,
    NAME,
    ROOT_PATH,
    SERVICE,
    Instance,
    instance_of,
    unit_of,
)
from steadyd.inits.upstart_sudo import MEND
from steadyd.model.rule import Verb
from steadyd.ports import InitError, NotPermitted, UnitNotFound, VerbFailed

MATCH = f"type='signal',sender='{SERVICE}'"
ABSTRACT = "\0/com/ubuntu/upstart"
_ERROR = f"{MANAGER}.Error"
_BUS = "org.freedesktop.DBus"
_INSTANCES_MAX = 1024
_PROBE_SECONDS = 1.0


async def jobs_of(link: Link) -> list[str]:
    """Return the names of all jobs. Raises Refused, LinkLost."""
    (paths,) = await link.call(ROOT_PATH, MANAGER, "GetAllJobs")
    return [name for path in paths if (name := unit_of(str(path)))]


async def instances_of(link: Link, job: str) -> list[str]:
    """Return the paths of a job's instances. Raises Refused (no such job), LinkLost."""
    ((paths,),) = await link.questions(Call(job, JOB, "GetAllInstances"))
    return [str(path) for path in paths[:_INSTANCES_MAX]]


async def read_instance(link: Link, path: str) -> Instance | None:
    """Return an instance, None if it is gone. Raises Refused, LinkLost."""
    try:
        call = Call(path, f"{_BUS}.Properties", "GetAll", "s", (INSTANCE,))
        ((found,),) = await link.questions(call)
    except Refused as refused:
        if has_gone(refused):
            return None
        raise
    return instance_of(path, {key: variant.value for key, variant in found.items()})


async def ping(link: Link) -> None:
    """Have Upstart itself answer, in a way that everybody may ask. Raises LinkLost, Refused."""
    await link.call(ROOT_PATH, f"{_BUS}.Properties", "Get", "ss", (MANAGER, "version"))


def has_gone(refused: Refused) -> bool:
    """Tell whether an error says that the job or instance is not there (any more)."""
    return refused.name in (
        f"{_BUS}.Error.UnknownMethod",
        f"{_BUS}.Error.UnknownObject",
        f"{_ERROR}.UnknownInstance",
        f"{_ERROR}.UnknownJob",
    )


def denied(refused: Refused) -> bool:
    """Tell whether the bus lets only root do this."""
    return refused.name == f"{_BUS}.Error.AccessDenied"


def refusal(unit: str, verb: Verb, refused: Refused) -> InitError:
    """Return the error of our own kind for Upstart's answer to a verb."""
    text = str(refused).strip()
    if denied(refused):
        return NotPermitted(NAME, unit, verb, text, mend=MEND)
    if refused.name == f"{_ERROR}.UnknownJob":
        return UnitNotFound(NAME, unit, verb, text)
    return VerbFailed(NAME, unit, verb, text)


def running(root: Path = Path("/")) -> bool:
    """Tell whether PID 1 is Upstart: `init`, and the one who listens on its private socket."""
    try:
        if (root / "run/systemd/system").is_dir():
            return False
        if (root / "proc/1/comm").read_text("ascii", "replace").strip() != "init":
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_SECONDS)
            probe.connect(ABSTRACT)
            # anybody may take an abstract name that is free
            raw = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return False
    pid, uid, _ = struct.unpack("3i", raw)
    return bool(pid == 1 and uid == 0)


def start_wall_clock(ticks: int) -> float:
    """Return when that was, in wall-clock seconds; 0 if it is not known."""
    if not ticks:
        return 0.0
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
