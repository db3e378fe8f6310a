"""steadyd demo: the main job on one screen, without privileges or a running init system.

A supervisord of its own keeps a small app that leaks; a steadyd of its own watches it. All files
live in a temporary folder, all sockets on loopback or in that folder; nothing is left behind.
"""

import argparse
import contextlib
import http.server
import importlib.util
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from msgspec import Struct

from steadyd.delivery.render import amount
from steadyd.model.metric import Dimension

PORT = 10870
LIMIT_MIB = 120
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEADLINE = 90.0  # seconds for the first healed incident with --once
SERVICE = "leaky"
METRIC = "memory:total_rss"

APP = """\
import signal, time
kept = []
signal.signal(signal.SIGHUP, lambda *_: kept.clear())
while True:
    kept.append(bytearray(6 * 1024 * 1024))
    time.sleep(0.5)
"""
RULES = f"""\
# The demo's rule. Edit it while the demo runs: it takes effect at once. Break it: nothing happens
# but a report.
check service {SERVICE}
  with reload_signal HUP, cooldown 10s, verify 30s, budget 20/1h
  if {METRIC} > {LIMIT_MIB}m for 2 cycles then alert, reload
"""


class DemoError(Exception):
    """The demo cannot run; str() is one clear line."""


class Place(Struct, frozen=True):
    """The temporary folder and the port of this demo."""

    folder: Path
    port: int

    @property
    def rules(self) -> Path:
        """Return the rule file."""
        return self.folder / "rules" / f"{SERVICE}.inq"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `demo`."""
    parser.add_argument("--once", action="store_true", help="end after the first healed incident")
    parser.add_argument("--route", metavar="URL", help="tell there (any Apprise URL) too")


def run(args: argparse.Namespace) -> int:
    """Run until Ctrl-C, or with --once until the first incident is healed and told."""
    for number in ENDINGS:
        signal.signal(number, _interrupt)
    try:
        with _sink() as (sink, mails), _place() as place:
            return _play(args, place, sink, mails)
    except DemoError as error:
        print(f"steadyd demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo has ended; nothing of it is left.")
        return 1 if args.once else 0


def _play(args: argparse.Namespace, place: Place, sink: str, mails: "queue.Queue[str]") -> int:
    routes = [sink, *([args.route] if args.route else [])]
    _write(place, routes)
    with (
        _running(place, _supervisord(place), "supervisord"),
        _running(place, _steadyd(place), "steadyd") as daemon,
    ):
        print(
            f"A small app leaks under a supervisord of its own; steadyd watches it.\n"
            f"  page     http://127.0.0.1:{place.port}/\n"
            f"  rule     {place.rules}\n"
            f"           {RULES.strip().splitlines()[-1].strip()}"
        )
        return _tell(args, place, mails, daemon)


def _tell(
    args: argparse.Namespace,
    place: Place,
    mails: "queue.Queue[str]",
    daemon: "subprocess.Popen[bytes]",
) -> int:
    teller, started = _Teller(), time.monotonic()
    while True:
        if daemon.poll() is not None:
            raise DemoError(f"steadyd has ended: {_log(place)}")
        status, incidents = _get(place, "status"), _get(place, "incidents?limit=20")
        if status is not None and incidents is not None:
            teller.memory(status)
            for incident in reversed(incidents["incidents"]):
                teller.incident(incident)
        while not mails.empty():
            teller.message(mails.get())
        if args.once and teller.done:
            print(f"Healed and told in {time.monotonic() - started:.0f} s.")
            return 0
        if args.once and time.monotonic() - started > DEADLINE:
            raise DemoError(f"nothing was healed within {DEADLINE:.0f} s; see {_log(place)}")
        time.sleep(0.25)


class _Teller:
    """Prints what is new, once."""

    def __init__(self) -> None:
        self._told: set[tuple[object, ...]] = set()
        self._memory = 0.0
        self._healed = False
        self._messages = 0

    @property
    def done(self) -> bool:
        return self._healed and self._messages > 1

    def memory(self, status: dict[str, Any]) -> None:
        value = next(
            (s["metrics"].get(METRIC) for s in status["services"] if s["name"] == SERVICE), None
        )
        if value is None or abs(value - self._memory) < 2**20:
            return
        self._memory = value
        bar = "█" * min(40, round(value / 2**20 / LIMIT_MIB * 30))
        self._say("memory", f"{amount(value, Dimension.BYTES):>10}  {bar:<30}│ {LIMIT_MIB} MiB")

    def incident(self, incident: dict[str, Any]) -> None:
        id_ = incident["id"]
        if self._new(id_, "open"):
            value = amount(incident["value"] or 0, Dimension.BYTES)
            self._say("incident", f"{incident['rule']}: {value}")
        for action in incident["actions"]:
            if self._new(action["id"], "asked"):
                self._say("action", f"{action['verb']} asked of supervisord")
            if action["outcome"] and self._new(action["id"], action["outcome"]):
                self._say("outcome", f"{action['verb']}: {action['outcome']}")
                self._healed |= action["outcome"] == "healed"
        if incident["state"] == "closed" and self._new(id_, "closed"):
            self._say("closed", str(incident["close_reason"]))

    def message(self, text: str) -> None:
        self._messages += 1
        first, *rest = text.splitlines()
        self._say("message", first)
        for line in rest:
            print(f"           │ {line}")

    def _new(self, *what: object) -> bool:
        known = what in self._told
        self._told.add(what)
        return not known

    def _say(self, what: str, text: str) -> None:
        print(f"  {what:<8} {text}", flush=True)


# -- what runs


@contextlib.contextmanager
def _place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="steadyd-demo-"))
    try:
        yield Place(folder, _free_port())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    for port in (PORT, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError("no port of 127.0.0.1 can be used")


def _write(place: Place, routes: list[str]) -> None:
    place.rules.parent.mkdir()
    place.rules.write_text(RULES)
    (place.folder / "app.py").write_text(APP)
    secret = place.folder / "routes"
    lines = []
    for number, url in enumerate(routes):
        path = secret.with_suffix(f".{number}")
        path.touch(0o600)
        path.write_text(url)
        lines.append(f'"file:{path.name}"')
    (place.folder / "steadyd.toml").write_text(
        f"rules = [{json.dumps(str(place.rules.parent))}]\n"
        f"state = {json.dumps(str(place.folder / 'state'))}\n"
        f"control = {json.dumps(str(place.folder / 'control.sock'))}\n"
        'cycle = "1s"\ninit = "supervisord"\n'
        f'[web]\nlisten = ["127.0.0.1:{place.port}"]\n'
        f"[routes]\ndefault = [{', '.join(lines)}]\n"
        f'[inits.supervisord]\nurl = "unix://{place.folder}/supervisor.sock"\n'
    )
    (place.folder / "supervisord.conf").write_text(
        f"""\
[unix_http_server]
file={place.folder}/supervisor.sock
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile={place.folder}/supervisord.pid
childlogdir={place.folder}
{"user=root" if os.geteuid() == 0 else ""}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:{SERVICE}]
command={sys.executable} -I {place.folder}/app.py
startsecs=0
autorestart=true
"""
    )


def _supervisord(place: Place) -> list[str]:
    if importlib.util.find_spec("supervisor") is None:
        raise DemoError("supervisor is missing; install it with: pip install 'steadyd[demo]'")
    code = "from supervisor.supervisord import main; main()"
    return [sys.executable, "-c", code, "-c", str(place.folder / "supervisord.conf")]


def _steadyd(place: Place) -> list[str]:
    _wait_for(place.folder / "supervisor.sock", "supervisord")
    config = str(place.folder / "steadyd.toml")
    return [sys.executable, "-m", "steadyd", "run", "--config", config, "--log.level", "warn"]


def _wait_for(path: Path, what: str) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise DemoError(f"{what} did not start within 20 s")
        time.sleep(0.05)


def _log(place: Place) -> str:
    text = (place.folder / "steadyd.log").read_text(errors="replace")
    return text.strip()[-2000:] or "its log, which is empty"


@contextlib.contextmanager
def _running(place: Place, command: list[str], name: str) -> "Iterator[subprocess.Popen[bytes]]":
    with open(place.folder / f"{name}.log", "wb") as log:
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


def _get(place: Place, what: str) -> Any:
    """GET a document of the page's API; None while the daemon does not answer."""
    url = f"http://127.0.0.1:{place.port}/api/v1/{what}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return None


@contextlib.contextmanager
def _sink() -> Iterator[tuple[str, "queue.Queue[str]"]]:
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


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in ENDINGS:  # a second Ctrl-C must not cut the tidying up short
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
