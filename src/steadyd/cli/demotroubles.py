"""The troubles of the demo: small apps that go wrong when a file appears, and their rules."""

from pathlib import Path

from msgspec import Struct

LIMIT_MIB = 120
BUSY_PERCENT = 60

_HEAD = """\
import os, signal, sys, time
trigger = sys.argv[1]
asked = lambda: os.path.exists(trigger)
def calm(*_):
    if asked():
        os.unlink(trigger)
"""
_LEAK = """\
kept = []
signal.signal(signal.SIGHUP, lambda *_: kept.clear())
while True:
    if asked():
        kept.append(bytearray(6 * 1024 * 1024))
    time.sleep(0.5)
"""
_CRASH = """\
while not asked():
    time.sleep(0.3)
calm()
sys.exit("it crashed")
"""
_BUSY = """\
signal.signal(signal.SIGHUP, calm)
while True:
    until = time.monotonic() + 0.5
    while asked() and time.monotonic() < until:
        pass
    time.sleep(0.02 if asked() else 0.3)
"""
_STUCK = """\
import http.server, threading
if asked() and time.time() - os.stat(trigger).st_mtime > 2:
    calm()  # it was started again
lock = threading.Lock()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with lock:
            if asked():
                lock.acquire()  # waits for itself, for ever
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Answer).serve_forever()
"""


class Trouble(Struct, frozen=True):
    """One trouble: the service that has it, what is seen of it, and how it is healed.

    `about` is for people; `rule` may name `{port}`. `limit` is what the metric is compared with,
    in its own unit.
    """

    name: str
    service: str
    about: str
    app: str
    rule: str
    metric: str = ""
    limit: float = 0.0
    respawn: bool = True  # by supervisord

    @property
    def key(self) -> str:
        """Return the key that brings it about."""
        return {"cpu": "u"}.get(self.name, self.name[0])

    def program(self) -> str:
        """Return the app, as Python."""
        return _HEAD + self.app

    def trigger(self, folder: Path) -> Path:
        """Return the file whose appearance brings it about."""
        return folder / f"trouble-{self.name}"


TROUBLES = (
    Trouble(
        "leak",
        "leaky",
        "it leaks; a reload frees the memory",
        _LEAK,
        "check service leaky\n"
        "  with reload_signal HUP, cooldown 10s, verify 30s, budget 20/1h\n"
        f"  if memory:total_rss > {LIMIT_MIB}m for 2 cycles then alert, reload\n",
        "memory:total_rss",
        LIMIT_MIB * 2**20,
    ),
    Trouble(
        "crash",
        "crashy",
        "it ends with an error and nobody starts it again",
        _CRASH,
        "check service crashy with cooldown 10s, verify 20s, budget 20/1h\n"
        "  if down for 2s then alert, restart\n",
        respawn=False,
    ),
    Trouble(
        "cpu",
        "busy",
        "a loop eats a core; a reload ends it",
        _BUSY,
        "check service busy\n"
        "  with reload_signal HUP, cooldown 10s, verify 20s, budget 20/1h\n"
        f"  if cpu:tree > {BUSY_PERCENT}% for 3s then alert, reload\n",
        "cpu:tree",
        BUSY_PERCENT,
    ),
    Trouble(
        "deadlock",
        "stuck",
        "it runs, and answers no more",
        _STUCK,
        "check service stuck\n"
        '  with endpoint "http://127.0.0.1:{port}/", cooldown 10s, verify 20s, budget 20/1h\n'
        "  if http:status != 200 for 2s then alert, restart\n",
        "http:status",
    ),
)
BY_NAME = {trouble.name: trouble for trouble in TROUBLES}
