"""Where the demo runs: a temporary folder, a supervisord and a steadyd of its own, a sink."""

import contextlib
import http.server
import importlib.util
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from steadyd.cli.demotroubles import TROUBLES, Trouble

PORT = 10870
_RULES_HEAD = """\
# The rules of the demo. Edit them while it runs: they take effect at once. Break them: nothing
# happens but a report, and what was good stays in force.
"""
_HOST_BUDGET = "400/1h"  # a demo may go wrong all day


class DemoError(Exception):
    """The demo cannot run; str() is one clear line."""


class Place(Struct, frozen=True):
    """The temporary folder of this demo, the port of its page and that of the app that answers."""

    folder: Path
    port: int
    app_port: int

    @property
    def rules(self) -> Path:
        """Return the rule file."""
        return self.folder / "rules" / "demo.inq"

    @property
    def control(self) -> Path:
        """Return the control socket."""
        return self.folder / "control"

    @property
    def page(self) -> str:
        """Return the address of the page."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def about_page(self) -> str:
        """Return why the page is not where it usually is, "" if it is."""
        return "" if self.port == PORT else f"  ({PORT} is taken)"

    @property
    def question(self) -> str:
        """Return how to ask the daemon of the demo about a service."""
        return f"{_own_name()} why {TROUBLES[0].service} --control {self.control}"

    def bring(self, trouble: Trouble) -> None:
        """Let a trouble happen."""
        trouble.trigger(self.folder).touch()

    def get(self, what: str) -> Any:
        """GET a document of the page's API; None while the daemon does not answer."""
        try:
            url = f"{self.page}api/v1/{what}"
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - ours, http
                return json.load(answer)
        except OSError:
            return None

    def log(self) -> str:
        """Return what the daemon wrote."""
        return (self.folder / "steadyd.log").read_text(errors="replace")


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """Make the folder; remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="steadyd-demo-"))
    try:
        yield Place(folder, free_port(PORT), free_port(0))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(where: Place, routes: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Run supervisord, the apps and steadyd; yield steadyd. Raises DemoError."""
    _write(where, routes)
    with _process(where, _supervisord(where), "supervisord"):
        _wait_for(where.folder / "supervisor.sock", "supervisord")
        with _process(where, _steadyd(where), "steadyd") as daemon:
            yield daemon


@contextlib.contextmanager
def sink() -> Iterator[tuple[str, "queue.Queue[str]"]]:
    """Serve a webhook on loopback; what arrives is put into the queue as text."""
    arrived: queue.Queue[str] = queue.Queue()

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length", 0)), 2**20)
            document = json.loads(self.rfile.read(length))
            arrived.put(f"{document['title']}\n{document['message']}")
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing: the screen belongs to the demo."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/", arrived
    finally:
        server.shutdown()
        server.server_close()


def free_port(wished: int) -> int:
    """Return that port of loopback if it is free, else another one. Raises DemoError."""
    for port in (wished, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last demo's
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError("no port of 127.0.0.1 can be used")


def _write(where: Place, routes: Sequence[str]) -> None:
    where.rules.parent.mkdir()
    rules = "\n".join(trouble.rule.format(port=where.app_port) for trouble in TROUBLES)
    where.rules.write_text(_RULES_HEAD + rules)
    for trouble in TROUBLES:
        (where.folder / f"{trouble.service}.py").write_text(trouble.program())
    files = []
    for number, url in enumerate(routes):
        path = where.folder / f"routes.{number}"
        path.touch(0o600)
        path.write_text(url)
        files.append(f'"file:{path.name}"')
    (where.folder / "steadyd.toml").write_text(
        f"rules = [{json.dumps(str(where.rules.parent))}]\n"
        f"state = {json.dumps(str(where.folder / 'state'))}\n"
        f"control = {json.dumps(str(where.control))}\n"
        'cycle = "1s"\ninit = "supervisord"\n'
        f'[web]\nlisten = ["127.0.0.1:{where.port}"]\n'
        "show_details = true  # the demo has no secrets\n"
        f"[routes]\ndefault = [{', '.join(files)}]\n"
        f'[actions]\nhost_budget = "{_HOST_BUDGET}"\n'
        f'[inits.supervisord]\nurl = "unix://{where.folder}/supervisor.sock"\n'
    )
    programs = "".join(_program(where, trouble) for trouble in TROUBLES)
    (where.folder / "supervisord.conf").write_text(
        f"""\
[unix_http_server]
file={where.folder}/supervisor.sock
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={where.folder}/supervisord.pid
childlogdir={where.folder}
{"user=root" if os.geteuid() == 0 else ""}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
{programs}"""
    )


def _program(where: Place, trouble: Trouble) -> str:
    app = where.folder / f"{trouble.service}.py"
    return (
        f"[program:{trouble.service}]\n"
        f"command={sys.executable} -I {app} {trouble.trigger(where.folder)} {where.app_port}\n"
        f"startsecs=0\nautorestart={'true' if trouble.respawn else 'false'}\n"
    )


def _supervisord(where: Place) -> list[str]:
    if importlib.util.find_spec("supervisor") is None:
        raise DemoError(
            "supervisor is missing; install it beside steadyd: pipx inject steadyd supervisor,"
            " or in the environment that steadyd is in: pip install supervisor"
        )
    code = "from supervisor.supervisord import main; main()"
    return [sys.executable, "-c", code, "-c", str(where.folder / "supervisord.conf")]


def _own_name() -> str:
    """Return what to type for `steadyd` here."""
    called = sys.argv[0]
    if shutil.which("steadyd") or os.path.basename(called) != "steadyd":
        return "steadyd"
    return min(called, os.path.relpath(called), key=len)


def _steadyd(where: Place) -> list[str]:
    config = str(where.folder / "steadyd.toml")
    return [sys.executable, "-m", "steadyd", "run", "--config", config, "--log.level", "warn"]


def _wait_for(path: Path, what: str) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise DemoError(f"{what} did not start within 20 s")
        time.sleep(0.05)


@contextlib.contextmanager
def _process(where: Place, command: list[str], name: str) -> "Iterator[subprocess.Popen[bytes]]":
    with open(where.folder / f"{name}.log", "wb") as log:
        process = subprocess.Popen(  # noqa: S603 - an argv of our own
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
