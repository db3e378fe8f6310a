"""A steadyd and a supervisord of its own in a temporary folder, on loopback: quick to start."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from steadyd.inits.supervisord_rpc import Connection, call

SLEEPER = "sleep infinity"


class Local:
    """`folder` holds everything; `rules` is the watched folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rules = folder, folder / "rules"
        self.rules.mkdir()
        self.port = free_port()
        self.control = folder / "control.sock"
        self.daemon: subprocess.Popen[bytes] | None = None
        self.supervisord: subprocess.Popen[bytes] | None = None
        self.environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        self.under: list[str] = []  # a command that starts the daemon by exec

    def rule(self, name: str, text: str) -> Path:
        path = self.rules / f"{name}.inq"
        path.write_text(text)
        return path

    def keep(self, **programs: str) -> None:
        """Start a supervisord that keeps these programs: name=command."""
        conf = self.folder / "supervisord.conf"
        conf.write_text(
            f"[unix_http_server]\nfile={self.folder}/s.sock\n[supervisord]\nnodaemon=true\n"
            f"logfile={self.folder}/s.log\npidfile={self.folder}/s.pid\n"
            f"childlogdir={self.folder}\n{'user=root' if os.geteuid() == 0 else ''}\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            + _sections(programs)
        )
        code = "from supervisor.supervisord import main; main()"
        self.supervisord = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, "-c", str(conf)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until((self.folder / "s.sock").exists, what="supervisord's socket")

    def keep_too(self, **programs: str) -> None:
        """Let the running supervisord keep these programs as well."""
        with open(self.folder / "supervisord.conf", "a") as conf:
            conf.write(_sections(programs))
        self.supervise("reloadConfig")
        for name in programs:
            self.supervise("addProcessGroup", name)

    def supervise(self, method: str, *values: str | bool) -> Any:
        """Call a method of the supervisord."""
        return call(Connection(f"unix://{self.folder}/s.sock", 20), method, values)

    def states(self) -> set[str]:
        """Return the states in which the supervisord says its programs are."""
        return {program["statename"] for program in self.supervise("getAllProcessInfo")}

    def config(self, text: str = "", cycle: str = "1s") -> Path:
        path = self.folder / "steadyd.toml"
        head = (
            f'rules = ["{self.rules}"]\nstate = "{self.folder}/state"\n'
            f'control = "{self.control}"\ncycle = "{cycle}"\n'
        )
        tables = (
            f'[web]\nlisten = ["127.0.0.1:{self.port}"]\n'
            f'[actions]\nkill_switch = "{self.folder}/STOP"\n'
            f'[inits.supervisord]\nurl = "unix://{self.folder}/s.sock"\n'
        )
        path.write_text(head + tables + text)
        return path

    def start(
        self, *arguments: str, ready: bool = True, program: Sequence[str] = ("-m", "steadyd")
    ) -> None:
        """Start the daemon; wait until it is ready. `program` is what Python is to run."""
        config = self.folder / "steadyd.toml"
        if not config.exists():
            self.config()
        with open(self.folder / "steadyd.log", "ab") as log:
            self.daemon = subprocess.Popen(
                [*self.under, sys.executable, *program, "run", "--config", str(config), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        if ready:
            until(self.is_ready, what=f"readiness; {self.log()}")

    def is_ready(self) -> bool:
        assert self.daemon is not None
        assert self.daemon.poll() is None, self.log()
        try:
            return self.http("GET", "/-/ready")[0] == 200
        except OSError:
            return False

    def log(self) -> str:
        try:
            return (self.folder / "steadyd.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def http(self, method: str, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def api(self, path: str) -> Any:
        return json.loads(self.http("GET", f"/api/v1/{path}")[1])

    def metric(self, name: str) -> float:
        for line in self.http("GET", "/metrics")[1].splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return float("nan")

    def ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "steadyd", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment,
        )

    def ask(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that talks to this daemon."""
        return self.ctl(command, *arguments, "--control", str(self.control))

    def incidents(self, service: str) -> list[dict[str, Any]]:
        found = self.api("incidents?limit=100")["incidents"]
        return [i for i in found if i["service"] == service]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the daemon; return its exit code."""
        assert self.daemon is not None
        self.daemon.send_signal(number)
        return self.daemon.wait(20)

    def close(self) -> None:
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGCONT)
            self.daemon.terminate()
            try:
                self.daemon.wait(20)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
        if self.supervisord is not None:
            end_tree(self.supervisord)


def end_tree(supervisord: subprocess.Popen[bytes]) -> None:
    """Kill a supervisord and what it keeps: its own farewell takes seconds."""
    if supervisord.poll() is None:
        supervisord.send_signal(signal.SIGSTOP)
        kept = Path(f"/proc/{supervisord.pid}/task/{supervisord.pid}/children").read_text()
        supervisord.kill()
        for pid in map(int, kept.split()):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # each program leads a group of its own
    supervisord.wait()


def _sections(programs: Mapping[str, str]) -> str:
    return "".join(
        f"[program:{name}]\ncommand={command}\nstartsecs=0\n"
        f"autorestart={'false' if 'once' in name else 'true'}\n"
        for name, command in programs.items()
    )


@contextmanager
def local(folder: Path) -> Iterator[Local]:
    made = Local(folder)
    try:
        yield made
    finally:
        made.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(test: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """Return the first true value of `test()`; fail after a deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = test()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or test}"
        time.sleep(0.02)
