"""The recordings, run again against the stand-in; what differs is kept by case."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.hosts.upstart.host import LIBRARY, UpstartHost

RECORDED = Path(__file__).parent / "recorded"
SECONDS = 12.0
NO_PLACE = ("EventEmitted",)  # its place among the others is not to be relied on
# the client waits without a limit: that 32 seconds are not too long need not be shown again
SHORTER = (("exec sleep 32", "exec sleep 1"), ("kill timeout 32", "kill timeout 1"))
# written before the first case that needs it
LATER = ("crashdefault", "exforktwice", "shpuma", "shnoexec", "suexec", "exnone", "defaultkill")
NEW_BOOT = "follower-puma-restart"
# a client that waits while the case runs: its command, the state to wait for, its own case
# what happened between two cases
BETWEEN = {
    "two-starts-at-once": "rm /etc/init/follower.conf; stop follower",
    "list-before-reexec": "start worker N=1; start prepost",
    "telinit-u": "start --no-wait taskinst ID=7",
    "limit-start": "stop puma",
}
# which of the jobs that one event starts or stops is first is up to a hash table
BY_JOB = ("telinit-0-like-event", "event-runlevel-2")
# which of the instances that are stopped together ends first is up to their processes
BY_INSTANCE = ("puma-manager-stop",)
# the program dies at once: the client may see it start, or what became of it
SHORT_LIVED = ("crash-start", "crash-start-again")
# the program forks in the while: who is killed by its pid must be the child already
ONCE_FORKED = ("exwrong-kill-by-hand", "exwrong2-kill")
_FORKED_NO_EXEC = 0x40  # PF_FORKNOEXEC, linux/sched.h
BESIDE = {
    "prepost-stop-cancels-a-start": (
        ["start", "prepost"],
        "prepost start/pre-start, process N",
        "prepost-start-cancelled",
    ),
    "task-stop-from-elsewhere": (
        ["start", "task1"],
        "task1 start/running, process N",
        "task-start-stopped-from-elsewhere",
    ),
    "telinit-u": (
        ["start", "task1"],
        "task1 start/running, process N",
        "start-waiting-over-reexec",
    ),
}


def written(name: str) -> str:
    """Return a file that a case writes."""
    return (RECORDED / "jobs/written-by-cases" / name).read_text("utf-8")


def _in_place(name: str, text: str) -> Callable[[Any], None]:
    return lambda host: host.run(f"cat > /etc/init/{name}", input=text)


def _renamed(name: str, text: str) -> Callable[[Any], None]:
    return lambda host: host.put(f"/etc/init/{name}", text)


def _shell(command: str) -> Callable[[Any], None]:
    return lambda host: host.run(command)


CHANGES: dict[str, Callable[[Any], None]] = {
    "config-add": _in_place("newjob.conf", written("newjob.conf")),
    "config-modify-stopped": _in_place("newjob.conf", written("newjob.conf.second")),
    "config-modify-running": _in_place("newjob.conf", written("newjob.conf")),
    "config-replace-by-rename-running": _renamed("newjob.conf", written("newjob.conf.second")),
    "config-remove-running": _shell("rm /etc/init/newjob.conf"),
    "config-add-by-rename": _renamed("newjob.conf", written("newjob.conf")),
    "config-syntax-error": _in_place("newjob.conf", written("newjob.conf.broken")),
    "config-repair": _in_place("newjob.conf", written("newjob.conf")),
    "config-syntax-error-running": _in_place("newjob.conf", written("newjob.conf.broken")),
    "config-remove-stopped": _shell("rm /etc/init/newjob.conf"),
    "override-add": _in_place("plain.override", written("plain.override")),
    "override-remove": _shell("rm /etc/init/plain.override"),
    "override-add-running": _shell("start plain; echo manual > /etc/init/plain.override"),
    "directory-add": _shell("mkdir /etc/init/sub; echo 'exec sleep 9' > /etc/init/sub/job.conf"),
    "directory-remove": _shell("rm -r /etc/init/sub"),
    "kill-HUP-1": _shell("kill -HUP 1"),
    "follower-add": _renamed("follower.conf", written("follower.conf")),
}


def plain(text: str) -> str:
    """Return a text without what differs from run to run: pids, names on the bus."""
    text = re.sub(r"process \d+", "process N", text)
    text = re.sub(r'sender=":[\d.]+" \(uid=(\d+) pid=\d+ comm="[^"]*"\)', r"uid \1", text)
    return re.sub(r'\(uid=0 pid=1 comm="[^"]*"\)', "init", text)


class Watcher:
    """The program listen.py in a host, and what it told."""

    def __init__(self, host: Any) -> None:
        stub = f"import sys; sys.path.insert(0, {LIBRARY!r}); import tests.hosts.upstart.listen"
        self._process = host.popen(
            ["/usr/bin/python3", "-IS", "-c", stub],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.signals: list[tuple[str, str, Any]] = []
        self._replies: dict[int, dict[str, Any]] = {}
        self._more = threading.Condition()
        self._tag = 0
        self._up = False
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        self._until(lambda: self._up, SECONDS)

    def call(self, **call: Any) -> dict[str, Any] | None:
        """Make a call; None: there was no reply."""
        self._tag += 1
        tag = self._tag
        self._process.stdin.write(json.dumps({**call, "tag": tag}).encode() + b"\n")
        self._process.stdin.flush()
        self._until(lambda: tag in self._replies, SECONDS)
        return self._replies.pop(tag, None)

    def ping(self) -> None:
        """Return when all has come that was sent up to now."""
        peer = "org.freedesktop.DBus.Peer"
        self.call(
            channel="private",
            path="/com/ubuntu/Upstart",
            interface=peer,
            member="Ping",
            destination="",
            in_signature="",
            in_args=[],
        )

    def settle(self, since: int, count: int) -> list[tuple[str, str, Any]]:
        """Return the signals since a place, once there are so many or the time is over."""
        self._until(lambda: len(self.signals) - since >= count, SECONDS)
        self.ping()
        return self.signals[since:]

    def close(self) -> None:
        self._process.stdin.close()
        self._thread.join()
        self._process.wait()
        self._process.stdout.close()

    def _until(self, test: Callable[[], bool], seconds: float) -> None:
        with self._more:
            self._more.wait_for(test, seconds)

    def _read(self) -> None:
        for line in self._process.stdout:
            news = json.loads(line)
            with self._more:
                if "signal" in news:
                    path, member, body = news["signal"]
                    self.signals.append((path, member, body))
                elif "reply" in news:
                    self._replies[news["reply"]] = news
                else:
                    self._up = True
                self._more.notify_all()


def boot(*extra: str) -> Any:
    """Return a host with the recorded jobs, and further ones that cases write."""
    jobs = {}
    for file in sorted((RECORDED / "jobs").rglob("*")):
        name = str(file.relative_to(RECORDED / "jobs"))
        if file.is_file() and not name.startswith("written-by-cases"):
            jobs[name] = file.read_text("utf-8")
            for long, short in SHORTER:
                jobs[name] = jobs[name].replace(long, short)
    jobs |= {f"{name}.conf": written(f"{name}.conf") for name in extra}
    files = {f"/srv/{file.name}": file.read_text("utf-8") for file in RECORDED.glob("srv/*.py")}
    host = UpstartHost(jobs, files=files)
    host.run("mkdir -p /var/log/app; chmod 1777 /var/log/app; chown deploy /home/deploy")
    deadline = time.monotonic() + SECONDS
    while "myapp start/running" not in host.out(["initctl", "list"]):
        if time.monotonic() > deadline:
            host.close()
            raise TimeoutError("runlevel 2 was not reached")
    return host


class Replay:
    """Runs all cases in their order, as states carry over from one to the next."""

    def __init__(self, not_run: dict[str, str]) -> None:
        self.cases = json.loads((RECORDED / "transcript.json").read_text("utf-8"))["cases"]
        self._signals = json.loads((RECORDED / "signals.json").read_text("utf-8"))["signals"]
        self._not_run = not_run
        self.differences: dict[str, list[str]] = {}
        self._beside: dict[str, Any] = {}
        self._host: Any = None
        self._watcher: Any = None

    def run(self) -> None:
        for names in self._boots():
            with boot() as self._host:
                self._watcher = Watcher(self._host)
                try:
                    for case in names:
                        self._prepare(case)
                        if case["case"] not in self._not_run:
                            self.differences[case["case"]] = list(self._differs(case))
                finally:
                    self._watcher.close()

    def _boots(self) -> list[list[dict[str, Any]]]:
        at = [case["case"] for case in self.cases].index(NEW_BOOT)
        return [self.cases[:at], self.cases[at:]]

    def _prepare(self, case: dict[str, Any]) -> None:
        if command := BETWEEN.get(case["case"]):
            self._host.run(command, check=False)
        if case["case"] == NEW_BOOT:
            CHANGES["follower-add"](self._host)
            self._state("follower", "stop/waiting")
        if case["case"] in ONCE_FORKED:
            self._forked(case["state_before"].split()[0])
        for name in LATER:
            if f"{name}-start" == case["case"] or case["argv"] == ["start", name]:
                self._host.put(f"/etc/init/{name}.conf", written(f"{name}.conf"))
                self._state(name, "stop/waiting")

    def _forked(self, name: str) -> None:
        """Wait until the process of a job is one that was forked and executed nothing since."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            pid = self._host.out(["status", name]).split()[-1]
            stat = self._host.run(["cat", f"/proc/{pid}/stat"], check=False).stdout
            if stat and int(stat.rpartition(")")[2].split()[6]) & _FORKED_NO_EXEC:
                return
        raise TimeoutError(name)

    def _differs(self, case: dict[str, Any]) -> Iterator[str]:
        name = case["case"]
        beside = BESIDE.get(name)
        if beside:
            argv, state, result = beside
            self._beside[result] = self._popen(argv)
            self._state(state.split()[0], state)
            self._watcher.ping()
        since = len(self._watcher.signals)
        yield from self._commands(case)
        expected = self._expected(name)
        if expected is not None:
            found = self._watcher.settle(since, len(expected))
            yield from _unlike(expected, found, name)
        after = case.get("state_after")
        if after and not after.startswith("initctl"):
            yield from self._state(after.split()[0], plain(after))

    def _commands(self, case: dict[str, Any]) -> Iterator[str]:
        name, argv = case["case"], _argv(case, self._host)
        if name in CHANGES:
            CHANGES[name](self._host)
        elif name in self._beside:
            yield from self._ended(self._beside.pop(name), case)
        elif "results" in case and argv is None:
            yield from self._at_once(case["results"])
        elif case["exit"] is None:
            self._hangs(argv or [])
        elif argv is not None:
            yield from self._ended(self._popen(argv, case), case)

    def _hangs(self, argv: list[str]) -> None:
        """Start a client that never returns, and end it once it has asked."""
        process = self._popen(argv)
        goal = "start" if argv[0] == "start" else "stop"
        self._state(argv[1], f"{argv[1]} {goal}/spawned, process N")
        process.kill()
        process.communicate()

    def _popen(self, argv: list[str], case: dict[str, Any] | None = None) -> Any:
        case = case or {}
        if case.get("user") not in (None, "root"):
            argv = ["setpriv", "--reuid=1001", "--regid=1001", "--clear-groups", *argv]
        return self._host.popen(
            argv,
            env=case.get("env"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _ended(self, process: Any, case: dict[str, Any]) -> Iterator[str]:
        out, err = process.communicate(timeout=SECONDS * 3)
        for what, expected, found in (
            ("exit", case["exit"], process.returncode),
            ("stdout", plain(case["stdout"]), plain(out)),
            ("stderr", plain(case["stderr"]), plain(err)),
        ):
            if what == "stdout" and "list" in " ".join(case["argv"] or ()).split():
                expected, found = sorted(expected.splitlines()), sorted(found.splitlines())
            short = what == "stdout" and case["case"] in SHORT_LIVED
            if expected != found and not (short and str(found).strip() == case["state_after"]):
                yield f"{what}: recorded {expected!r}, found {found!r}"

    def _at_once(self, results: list[Any]) -> Iterator[str]:
        processes = [self._popen(argv) for argv, *_ in results]
        found = []
        for process in processes:
            out, err = process.communicate(timeout=SECONDS * 3)
            found.append((process.returncode, plain(out), plain(err)))
        expected = [(code, plain(out), plain(err)) for _, code, out, err in results]
        if sorted(expected) != sorted(found):
            yield f"results: recorded {expected}, found {found}"

    def _expected(self, name: str) -> list[tuple[str, str, Any]] | None:
        entry = self._signals.get(name)
        if entry is None:
            return None
        if "private_same_as" in entry:
            return self._expected(entry["private_same_as"])
        return [(s["path"], s["member"], s["args"]) for s in entry["private"] if "path" in s]

    def _state(self, name: str, expected: str) -> Iterator[str] | list[str]:
        """Wait for a status; say what it is instead."""
        shown = re.match(r"(\S+) \((.*)\)", expected)
        key = {"worker": "N", "pumaapp": "app", "taskinst": "ID"}.get(name, "")
        argv = ["status", name, *([f"{key}={shown[2] if shown else ''}"] if key else [])]
        deadline = time.monotonic() + SECONDS
        while True:
            found = plain(self._host.run(argv, check=False).stdout).strip()
            if found.endswith(expected):
                return []
            if time.monotonic() > deadline:
                return [f"state: recorded {expected!r}, found {found!r}"]


def _unlike(expected: list[Any], found: list[Any], case: str) -> Iterator[str]:
    if case in BY_JOB:
        expected, found = (sorted(side, key=_job) for side in (expected, found))
    for events in (False, True):
        recorded, seen = (
            [tuple(s) for s in side if (s[1] in NO_PLACE) is events] for side in (expected, found)
        )
        if events:
            recorded, seen = sorted(recorded, key=repr), sorted(seen, key=repr)
        elif case in BY_INSTANCE:
            recorded, seen = _by_instance(recorded), _by_instance(seen)
        if recorded != seen:
            yield f"signals: recorded {_short(recorded)}, found {_short(seen)}"


def _short(signals: list[Any]) -> str:
    return " ".join(f"{path.rpartition('jobs/')[2]}.{m}{args}" for path, m, args in signals)


def _job(told: tuple[str, str, Any]) -> str:
    path, member, args = told
    return str(args[0] if member.startswith("Job") else path).partition("/jobs/")[2].split("/")[0]


def _by_instance(signals: list[tuple[str, str, Any]]) -> list[tuple[str, str, Any]]:
    """Put what is told of one job in a row in the order of its instances."""
    runs = (list(some) for _, some in groupby(signals, _job))
    return [told for some in runs for told in sorted(some, key=_instance)]


def _instance(told: tuple[str, str, Any]) -> str:
    path, member, args = told
    return str(args[0] if member.startswith("Instance") else path)


def _argv(case: dict[str, Any], host: Any) -> list[str] | None:
    """Return the command as it is run here: other pids; sudo left out where it lets through."""
    argv: list[str] | None = case["argv"]
    if argv is None:
        return None
    if argv[:2] == ["sudo", "-n"] and argv[2].startswith(("/sbin/", "restart")):
        case["user"] = "root"
        return argv[2:]
    if argv[0].startswith("/etc/init.d/"):
        return ["service", *argv[0].split("/")[-1:], *argv[1:]]
    if argv[0] == "kill":
        name = case["state_before"].split()[0]
        line = host.out(["status", name]).splitlines()[0]
        return [*argv[:-1], line.rpartition(" ")[2]]
    return argv


class Calls:
    """Makes the recorded D-Bus calls again, in their order."""

    def __init__(self) -> None:
        self._calls = json.loads((RECORDED / "dbus.json").read_text("utf-8"))["calls"]
        self.differences: dict[str, list[str]] = {}
        self._watcher: Any = None
        self._host: Any = None

    def run(self) -> None:
        with boot() as self._host:
            self._watcher = Watcher(self._host)
            try:
                for call in self._calls:
                    self.differences[call["case"]] = list(self._differs(call))
            finally:
                self._watcher.close()

    def _differs(self, call: dict[str, Any]) -> Iterator[str]:
        keys = ("channel", "path", "interface", "member", "in_signature", "in_args", "destination")
        asked = {key: call.get(key) for key in keys}
        if call["case"].endswith("Job.Stop-nowait"):
            self._listening("puma")
        expected = (call.get("error_name"), _values(call.get("body")))
        deadline = time.monotonic() + SECONDS
        while True:
            reply = self._watcher.call(**asked)
            found = (reply["error"], _values(reply["body"])) if reply else (None, "no reply")
            if expected == found:
                return
            # a state that is passed through is waited for
            if call["member"] != "GetAll" or time.monotonic() > deadline:
                yield f"recorded {expected!r}, found {found!r}"
                return

    def _listening(self, name: str) -> None:
        """Wait until the program of a job has set its signal handlers: then it says so."""
        pid = self._host.out(["status", name]).split()[-1]
        deadline = time.monotonic() + SECONDS
        while f"pid={pid} start " not in self._host.get("/var/log/app/app.log"):
            if time.monotonic() > deadline:
                raise TimeoutError(name)


def _values(body: Any) -> str:
    """Return a reply's values as text: other pids and ids, paths in any order."""
    if body and isinstance(body[0], list) and all(isinstance(each, str) for each in body[0]):
        body = [sorted(body[0]), *body[1:]]
    if body and isinstance(body[0], str):
        body = [plain(body[0]), *body[1:]]
    text = json.dumps(body, sort_keys=True)
    text = re.sub(r'(\["(?:main|pre-start|post-start|pre-stop|post-stop)", )\d+', r"\1N", text)
    return re.sub(r'"[0-9a-f]{32}"', "ID", text)
