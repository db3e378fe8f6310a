"""Jobs and their life: goals, states, processes, events, as the recordings show them."""

import asyncio
import grp
import os
import pwd
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.hosts.upstart.conf import Conf

ROOT = "/com/ubuntu/Upstart"
MANAGER = "com.ubuntu.Upstart0_6"
JOB, INSTANCE = f"{MANAGER}.Job", f"{MANAGER}.Instance"
PATHS = "/usr/local/sbin:/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin"
_ON_STOP = ("starting", "security", "pre-start", "spawned", "post-start")
_NEXT = {
    "waiting": "starting",
    "starting": "security",
    "security": "pre-start",
    "pre-start": "spawned",
    "spawned": "post-start",
    "post-start": "running",
    "stopping": "killed",
    "killed": "post-stop",
}
_POLL = 0.002  # a fork is in no signal


def encoded(name: str) -> str:
    """Return a name as an element of an object path."""
    return (
        "".join(
            chr(byte) if chr(byte).isalnum() and byte < 128 else f"_{byte:02x}"
            for byte in name.encode("utf-8", "surrogateescape")
        )
        or "_"
    )


@dataclass(eq=False)
class Event:
    """An event on its way; `blockers` counts the jobs that it waits for."""

    name: str
    env: list[str]
    done: Callable[[], None] = lambda: None
    blockers: int = 0
    handled: bool = False


class World(Protocol):
    """What a job needs of init."""

    processes: dict[int, "Instance"]

    def signal(self, path: str, interface: str, member: str, kind: str, *body: object) -> None: ...
    def emit(self, event: Event) -> None: ...
    def ended(self, job: "Job", instance: "Instance") -> None: ...
    def poll(self) -> None: ...


@dataclass(eq=False)
class Job:
    """A job as its file was when it was read; `stale`: the file changed since."""

    conf: Conf
    instances: dict[str, "Instance"] = field(default_factory=dict)
    stale: bool = False

    @property
    def path(self) -> str:
        return f"{ROOT}/jobs/{encoded(self.conf.name)}"


class Instance:
    """One instance of a job."""

    def __init__(self, world: World, job: Job, name: str) -> None:
        self.world, self.job, self.conf, self.name = world, job, job.conf, name
        self.path = f"{job.path}/{encoded(name)}"
        self.goal, self.state = "stop", "waiting"
        self.env: list[str] = []
        self.pids: dict[str, int] = {}
        self.waiting: list[Callable[[bool], None]] = []
        self.stop_on = job.conf.stop_on.fresh()
        self.result: list[str] = ["RESULT=ok"]
        self.forks = 0
        self.respawns: list[float] = []
        self.timer: asyncio.TimerHandle | None = None
        job.instances[name] = self
        self.signal("InstanceAdded", "o", self.path, of=job.path, interface=JOB)

    @property
    def shown(self) -> str:
        return f"{self.conf.name} ({self.name})" if self.name else self.conf.name

    def signal(
        self, member: str, kind: str, value: object, of: str = "", interface: str = INSTANCE
    ) -> None:
        self.world.signal(of or self.path, interface, member, kind, value)

    def finish(self, failed: bool = False) -> None:
        """Answer those who wait for this job."""
        waiting, self.waiting = self.waiting, []
        for tell in waiting:
            tell(failed)

    def change(self, goal: str) -> None:
        """Give the job another goal, as somebody asked."""
        if self._aim(goal) and self.state in ("waiting", "running"):
            self._enter(self._next())

    def proceed(self) -> None:
        """Go on to the next state: what this one waited for is there."""
        self._enter(self._next())

    def died(self, process: str, status: int) -> None:
        """Take note of the end of a process; `status` is of wait(2)."""
        del self.pids[process]
        code, killer = os.waitstatus_to_exitcode(status), 0
        if code < 0:
            code, killer = 0, -code
        if process == "main":
            self._main_died(code, killer)
        else:
            if process == "pre-start" and (code or killer) and self.goal == "start":
                self._fail("pre-start", code, killer)
            if self.state == process:
                self.proceed()

    def stopped(self) -> None:
        """Take note that the main process stopped itself (`expect stop`)."""
        if self.state == "spawned" and self.conf.words.get("expect") == "stop":
            os.kill(self.pids["main"], signal.SIGCONT)
            self.proceed()

    def forked(self) -> bool:
        """Follow the main process to its child; tell whether it did."""
        main = self.pids.get("main", 0)
        if self.state != "spawned" or not self.forks or not main:
            return False
        child = _child(main) or _orphan(main, self.world.processes)
        if not child:
            return False
        self.world.processes.pop(main, None)
        self.pids["main"] = child
        self.world.processes[child] = self
        self.forks -= 1
        if not self.forks:
            self.proceed()
        return True

    def _aim(self, goal: str) -> bool:
        if goal == self.goal:
            return False
        self.goal = goal
        self.signal("GoalChanged", "s", goal)
        return True

    def _fail(self, process: str, code: int, killer: int = 0) -> None:
        self.result = ["RESULT=failed", f"PROCESS={process}"]
        if killer:
            self.result.append(f"EXIT_SIGNAL={signal.Signals(killer).name[3:]}")
        elif code > 0:
            self.result.append(f"EXIT_STATUS={code}")
        self.signal("Failed", "i", killer << 8 if killer else code)
        self.finish(failed=True)
        self._aim("stop")

    def _main_died(self, code: int, killer: int) -> None:
        if self.timer:
            self.timer.cancel()
        if self.state == "killed":
            self.proceed()
            return
        if self.goal == "start" and self.state != "stopping":
            end = signal.Signals(killer).name[3:] if killer else str(code)
            normal = end in self.conf.normal
            normal |= end == "0" and (self.conf.task or not self.conf.respawn)
            if normal:
                self._aim("stop")
            elif not self.conf.respawn:
                self._fail("main", code, killer)
            elif self._too_fast():
                self._fail("respawn", 0)
        if self.state in ("running", "spawned"):
            self.proceed()

    def _too_fast(self) -> bool:
        count, seconds = self.conf.limit
        now = time.monotonic()
        if self.respawns and now - self.respawns[0] >= seconds:
            self.respawns.clear()
        self.respawns.append(now)
        return len(self.respawns) > count

    def _next(self) -> str:
        stop = self.goal == "stop"
        if self.state == "running":
            return "pre-stop" if stop and self.pids.get("main") else "stopping"
        if self.state == "pre-stop":
            return "stopping" if stop else "running"
        if self.state == "post-stop":
            return "waiting" if stop else "starting"
        return "stopping" if stop and self.state in _ON_STOP else _NEXT[self.state]

    def _enter(self, state: str) -> None:
        while True:
            came, self.state = self.state, state
            self.signal("StateChanged", "s", state)
            if self._stays(came):
                return
            state = self._next()

    def _stays(self, came: str) -> bool:
        """Do what a state is for; tell whether something is to be waited for."""
        match self.state:
            case "starting" | "stopping":
                self._announce(self.state)
                return True
            case "spawned":
                return self._spawned()
            case "running":
                return self._running(came)
            case "killed":
                return self._killed()
            case "waiting":
                self._ended()
                return True
            case process if process in self.conf.run:
                return self._spawn(process)
            case _:
                return False

    def _announce(self, event: str) -> None:
        if event == "starting":
            self.result = ["RESULT=ok"]
        env = [f"JOB={self.conf.name}", f"INSTANCE={self.name}"]
        env += self.result if event.startswith("stop") else []
        state = self.state

        def done() -> None:
            if event == state == self.state:
                self.proceed()

        self.world.emit(Event(event, env, done))

    def _spawned(self) -> bool:
        if "main" not in self.conf.run or not self._spawn("main"):
            return False
        expect = self.conf.words.get("expect", "")
        self.forks = {"fork": 1, "daemon": 2}.get(expect, 0)
        if self.forks:
            self._watch()
        return bool(expect)

    def _watch(self) -> None:
        if self.forked():
            self.world.poll()
        if self.state == "spawned" and self.forks:
            asyncio.get_running_loop().call_later(_POLL, self._watch)

    def _running(self, came: str) -> bool:
        if came != "pre-stop":
            self._announce("started")
        if not self.conf.task:
            self.finish()
        return "main" not in self.conf.run or "main" in self.pids

    def _killed(self) -> bool:
        if "main" not in self.pids:
            return False
        self._kill(self.conf.kill_signal)
        wait = self.conf.kill_timeout
        self.timer = asyncio.get_running_loop().call_later(wait, self._kill, "KILL")
        return True

    def _kill(self, name: str) -> None:
        number = getattr(signal, f"SIG{name}")
        try:
            os.killpg(os.getpgid(self.pids["main"]), number)
        except (ProcessLookupError, KeyError):
            return

    def _ended(self) -> None:
        self._announce("stopped")
        del self.job.instances[self.name]
        self.world.ended(self.job, self)
        self.finish()

    def _spawn(self, process: str) -> bool:
        pairs = [f"PATH={PATHS}", "TERM=linux", *self.conf.env, *self.env]
        pairs += [f"UPSTART_JOB={self.conf.name}", f"UPSTART_INSTANCE={self.name}"]
        env = dict(pair.split("=", 1) for pair in pairs if "=" in pair[1:])
        try:
            pid = _start(self.conf.run[process], env, self.conf, self.name)
        except OSError:
            self._fail(process, -1)
            return False
        self.pids[process] = pid
        self.world.processes[pid] = self
        return True


def _start(argv: list[str], env: dict[str, str], conf: Conf, instance: str) -> int:
    """Start a process in a session of its own. Raises OSError: it cannot be executed."""
    back, said = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            _become(argv, env, conf, instance)
        except BaseException:
            os.write(said, b"x")
        finally:
            os._exit(255)
    os.close(said)
    with open(back, "rb") as answer:
        if answer.read():
            os.waitpid(pid, 0)
            raise OSError("cannot execute")
    return pid


def _become(argv: list[str], env: dict[str, str], conf: Conf, instance: str) -> None:
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    name = (f"{conf.name}-{instance}" if instance else conf.name).replace("/", "_")
    Path("/var/log/upstart").mkdir(exist_ok=True)
    log = os.open(f"/var/log/upstart/{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    os.dup2(os.open("/dev/null", os.O_RDWR), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(conf.words.get("chdir", "/"))
    if user := conf.words.get("setuid"):
        account = pwd.getpwnam(user)
        group = conf.words.get("setgid")
        gid = grp.getgrnam(group).gr_gid if group else account.pw_gid
        os.initgroups(user, gid)
        os.setgid(gid)
        os.setuid(account.pw_uid)
    os.execvpe(argv[0], argv, env)


def _child(pid: int) -> int:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    except OSError:
        return 0
    return int(found[0]) if found else 0


def _orphan(after: int, known: dict[int, Instance]) -> int:
    """Return the child that a process which ended at once after its fork left to us, 0: none."""
    if Path(f"/proc/{after}/exe").exists():
        return 0
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    ours = [int(pid) for pid in found.read_text("ascii").split()]
    return next((pid for pid in sorted(ours) if pid > after and pid not in known), 0)
