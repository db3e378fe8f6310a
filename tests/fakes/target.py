"""Where alerts go in tests: a webhook that takes, refuses, redirects or hangs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "TopSecretToken"


class Target:
    """A real HTTP server on loopback; `status` 0 hangs until released, 3xx leads elsewhere.

    `bodies` are the messages that it took, `asked` counts all, `followed` those led elsewhere.
    """

    def __init__(self, status: int = 200) -> None:
        self.status, self.bodies, self.asked, self.followed = status, list[str](), 0, 0
        self.released = threading.Event()
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                target.asked += 1
                target.followed += self.path == "/elsewhere"
                if not target.status:
                    target.released.wait(60)
                    return
                if target.status == 200:
                    target.bodies.append(body)
                self.send_response(target.status)
                if 300 <= target.status < 400:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://user:{SECRET}@127.0.0.1:{self.server.server_port}/{SECRET}/"

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def target(status: int = 200) -> Iterator[Target]:
    made = Target(status)
    try:
        yield made
    finally:
        made.close()
