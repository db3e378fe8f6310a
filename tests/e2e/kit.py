"""Steadyd as it ships, on a real systemd host: installed, under its unit, as its user.

Sinks for mail and Slack run inside the host and write what arrives as lines of JSON into the
shared folder.
"""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hosts.inithost import SystemdHost

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_PYTHON = "/usr/bin/python3"
STUB = """#!/usr/bin/python3 -I
import sys
sys.path[:0] = ["/usr/lib/steadyd-app", "/usr/lib/steadyd"]
from steadyd.__main__ import main
sys.exit(main())
"""
MAIL, SLACK, WEB, PROMETHEUS = 2525, 443, 10870, 9090


def installed() -> tuple[Path, Path]:
    """Return the folders of steadyd's dependencies and of steadyd, compiled as pip compiles."""
    pins = (ROOT / "requirements-demo.txt").read_bytes()
    libraries = _made("lib", pins, _install)
    files = (ROOT / "src/steadyd").rglob("*")
    sources = sorted(path for path in files if path.is_file() and path.suffix != ".pyc")
    text = b"".join(str(path).encode() + path.read_bytes() for path in sources)
    return libraries, _made("app", text, _copy)


def _made(kind: str, content: bytes, make: Callable[[Path], None]) -> Path:
    """Return a folder below .cache that depends on nothing but `content`."""
    final = ROOT / ".cache" / f"{kind}-{hashlib.sha256(content).hexdigest()[:12]}"
    if not final.is_dir():
        for old in final.parent.glob(f"{kind}-*"):
            shutil.rmtree(old, ignore_errors=True)
        work = final.with_name(f"{kind}.new-{os.getpid()}")
        work.mkdir(parents=True)
        make(work)
        subprocess.run([DEBIAN_PYTHON, "-m", "compileall", "-q", str(work)], capture_output=True)
        work.rename(final)
    return final


def _install(work: Path) -> None:
    command = [DEBIAN_PYTHON, "-m", "pip", "install", "-q", "--require-hashes", "--no-compile"]
    command += ["--target", str(work), "-r", str(ROOT / "requirements-demo.txt")]
    subprocess.run(command, check=True, capture_output=True)


def _copy(work: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src/steadyd", work / "steadyd", ignore=ignore)


class SteadyHost(SystemdHost):  # type: ignore[misc]
    """A systemd host with steadyd installed and not yet started.

    `config` is the text of steadyd.toml, `rules` {file name: text}, `services` {unit: text}.
    """

    def __init__(
        self,
        *,
        config: str = "",
        rules: dict[str, str] | None = None,
        services: dict[str, str] | None = None,
        files: dict[str, Any] | None = None,
        default: str = "",
        **kw: Any,
    ) -> None:
        shipped = ROOT / "systemd"
        every: dict[str, Any] = {
            "/usr/bin/steadyd": (STUB, 0o755),
            "/usr/lib/systemd/system/steadyd.service": (shipped / "steadyd.service").read_text(),
            "/usr/lib/sysusers.d/steadyd.conf": (shipped / "sysusers.conf").read_text(),
            "/usr/lib/tmpfiles.d/steadyd.conf": (shipped / "tmpfiles.conf").read_text(),
            "/etc/steadyd/steadyd.toml": (config, 0o644),
            "/etc/default/steadyd": default,
        }
        every |= {f"/etc/steadyd/rules.d/{name}": text for name, text in (rules or {}).items()}
        every |= {f"/usr/lib/systemd/system/{n}": text for n, text in (services or {}).items()}
        every |= files or {}
        libraries, app = installed()
        binds = [(str(libraries), "/usr/lib/steadyd", True)]
        binds += [(str(app), "/usr/lib/steadyd-app", True)]
        super().__init__(files=every, binds=binds, **kw)
        self.run(["systemd-sysusers", "steadyd.conf"])
        self.run(["systemd-tmpfiles", "--create", "steadyd.conf"])
        self._children: list[Any] = []

    # -- steadyd

    def grant(self) -> str:
        """Install the polkit rule that steadyd prints for its rules; return it."""
        text = str(self.out(["steadyd", "grants", "polkit"]))
        self.put("/etc/polkit-1/rules.d/50-steadyd.rules", text + "\n")
        return text

    def start_steadyd(self) -> None:
        """Start the unit; READY means that it watches."""
        try:
            self.run(["systemctl", "start", "steadyd.service"])
        except Exception:
            print(self.journal("-u", "steadyd.service"))
            raise

    def steadyd_pid(self) -> int:
        return int(self.show("steadyd.service", "MainPID")["MainPID"])

    def ctl(self, *arguments: str) -> Any:
        """Return the JSON that a command of steadyd prints."""
        return json.loads(self.out(["steadyd", *arguments, "--json"]))

    def api(self, path: str, port: int = WEB) -> Any:
        """GET a JSON document."""
        return json.loads(self.get_text(path, port))

    def get_text(self, path: str, port: int = WEB) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.sock = self.connect(port)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def incidents(self, service: str) -> list[dict[str, Any]]:
        found = self.api("/api/v1/incidents?limit=500")["incidents"]
        return [i for i in found if i["service"] == service]

    # -- programs beside

    def beside(self, code: str, *arguments: object, name: str = "") -> Any:
        """Run Python code inside the host, with the tests' own libraries, until the host ends."""
        paths = [p for p in sys.path if p.endswith("site-packages")]
        with open(f"{self.share}/{name or 'beside'}.log", "w") as log:
            process = self.popen(
                [sys.executable, "-c", code, *map(str, arguments)],
                env={"PYTHONPATH": ":".join(paths)},
                stdout=log,
                stderr=log,
            )
        self._children.append(process)
        return process

    def sinks(self) -> None:
        """Start a mail server and an HTTPS server that looks like Slack's."""
        self.beside(MAIL_SINK, MAIL, f"{self.share}/mails", name="mail")
        self.wait_listening(MAIL)
        self.run(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hooks.slack.com"
            " -addext subjectAltName=DNS:hooks.slack.com"
            f" -keyout {self.share}/slack.key -out {self.share}/slack.pem 2>/dev/null"
        )
        self.run(f"chmod 755 {self.share} && chmod 644 {self.share}/slack.pem")
        self.beside(SLACK_SINK, SLACK, self.share, name="slack")
        self.wait_listening(SLACK)

    def wait_listening(self, port: int) -> None:
        def listening() -> bool:
            try:
                self.connect(port).close()
            except OSError:
                return False
            return True

        self.wait_for(listening, what=f"port {port}")

    def arrived(self, sink: str) -> list[dict[str, Any]]:
        """Return what a sink got so far: `mails` or `posts`."""
        try:
            lines = Path(f"{self.share}/{sink}").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        for process in getattr(self, "_children", []):
            process.kill()
            process.wait()
        super().close()


def until(test: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """Return the first true value of `test()`; fail after a deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = test()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or test}"
        time.sleep(0.02)


MAIL_SINK = """
import asyncio, json, sys
from aiosmtpd.controller import UnthreadedController
from email import message_from_bytes, policy
class Sink:
    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=policy.default)
        part = mail.get_body(("plain", "html"))
        with open(sys.argv[2], "a") as f:
            f.write(json.dumps({"to": envelope.rcpt_tos, "subject": str(mail["Subject"]),
                                "body": part.get_content() if part else ""}) + "\\n")
        return "250 taken"
async def main():
    loop = asyncio.get_running_loop()
    where = ("127.0.0.1", int(sys.argv[1]))
    smtp = UnthreadedController(Sink(), hostname=where[0], port=where[1], loop=loop)
    smtp.server = await loop.create_server(smtp._factory_invoker, *where)
    await asyncio.Event().wait()
asyncio.run(main())
"""

SLACK_SINK = """
import http.server, json, ssl, sys
class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[2] + "/posts", "a") as f:
            f.write(json.dumps({"path": self.path, "body": json.loads(body)}) + "\\n")
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *a): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Sink)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2] + "/slack.pem", sys.argv[2] + "/slack.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
