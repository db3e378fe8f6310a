"""The troubles of the demo: small apps that go wrong when a file appears, and their rules."""

from pathlib import Path

from msgspec import Struct

LIMIT_MIB = 120
MOST_MIB = 400  # kept by the leak, whatever happens
PIECE_MIB = 6
REST = 60  # seconds without a leak after a reload: what heals lasts, and people can follow
BUSY_PERCENT = 60

_HEAD = """\
import os, signal, sys, time
trigger = sys.argv[1]
asked = lambda: os.path.exists(trigger)
def calm(*_):
    if asked():
        os.unlink(trigger)
"""
_LEAK = f"""\
kept, freed = [], 0.0
def free(*_):
    global freed
    kept.clear()
    freed = time.time()
def leaks():
    rested = time.time() > freed + {REST} or os.stat(trigger).st_mtime > freed
    return rested and len(kept) < {MOST_MIB // PIECE_MIB}
signal.signal(signal.SIGHUP, free)
while True:
    if asked() and leaks():
        kept.append(bytearray({PIECE_MIB} << 20))
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

    `about` is for people; `rule` may name `{port}`. `metric` is what can be drawn, "" for nothing.
    """

    name: str
    service: str
    about: str
    app: str
    rule: str
    metric: str = ""
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
        "  with reload_signal HUP, cooldown 10s, verify 30s, budget 100/1h\n"
        f"  if memory:total_rss > {LIMIT_MIB}m for 2 cycles then alert, reload\n",
        "memory:total_rss",
    ),
    Trouble(
        "crash",
        "crashy",
        "it ends with an error and nobody starts it again",
        _CRASH,
        "check service crashy with cooldown 10s, verify 20s, budget 100/1h\n"
        "  if down for 2s then alert, restart\n",
        respawn=False,
    ),
    Trouble(
        "cpu",
        "busy",
        "a loop eats a core; a reload ends it",
        _BUSY,
        "check service busy\n"
        "  with reload_signal HUP, cooldown 10s, verify 20s, budget 100/1h\n"
        f"  if cpu:tree > {BUSY_PERCENT}% for 3s then alert, reload\n",
        "cpu:tree",
    ),
    Trouble(
        "deadlock",
        "stuck",
        "it runs, and answers no more",
        _STUCK,
        "check service stuck\n"
        '  with endpoint "http://127.0.0.1:{port}/", cooldown 10s, verify 20s, budget 100/1h\n'
        "  if http:status != 200 for 2s then alert, restart\n",
        "http:status",
    ),
)
BY_NAME = {trouble.name: trouble for trouble in TROUBLES}
