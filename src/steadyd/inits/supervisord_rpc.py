"""XML-RPC of supervisord over its unix socket or inet port: one call per connection."""

import contextlib
import http.client
import socket
import xmlrpc.client
from base64 import b64encode
from typing import Any
from urllib.parse import unquote, urlsplit

LONGEST = 8 * 2**20  # bytes of one answer


class Connection(http.client.HTTPConnection):
    """HTTP over a unix socket or TCP; `timeout` seconds for each wait, `abort` ends them all."""

    def __init__(self, url: str, timeout: float) -> None:
        """`url` is `unix:///PATH` or `http://[USER:PASSWORD@]HOST:PORT`. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("unix", "http"):
            raise ValueError(
                f"{without_password(url)} is neither unix:///PATH nor http://HOST:PORT"
            )
        super().__init__(parts.hostname or "localhost", parts.port or 9001, timeout=timeout)
        self._path = parts.path if parts.scheme == "unix" else ""
        self._wire: socket.socket | None = None  # `sock` is let go of before the answer is read
        self.credentials: dict[str, str] = {}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.credentials["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"

    def connect(self) -> None:
        """Connect as the URL says."""
        if self._path:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        else:
            super().connect()
        self._wire = self.sock

    def abort(self) -> None:
        """End every wait on this connection, from any thread."""
        if self._wire is not None:
            with contextlib.suppress(OSError):
                self._wire.shutdown(socket.SHUT_RDWR)


def call(connection: Connection, method: str, values: tuple[str | bool, ...]) -> Any:
    """Call a method of the namespace `supervisor` and return its answer. Blocking.

    Raises OSError (PermissionError without errno: the password), http.client.HTTPException,
    xmlrpc.client.Error, and whatever xmlrpc.client makes of a garbled answer.
    """
    body = xmlrpc.client.dumps(values, f"supervisor.{method}").encode()
    headers = {"Content-Type": "text/xml", "Connection": "close", **connection.credentials}
    with contextlib.closing(connection):
        connection.request("POST", "/RPC2", body, headers)
        response = connection.getresponse()
        if response.status == http.HTTPStatus.UNAUTHORIZED:
            raise PermissionError("the user or the password is wrong")
        if response.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"status {response.status}")
        text = response.read(LONGEST + 1)
    if len(text) > LONGEST:
        raise http.client.HTTPException(f"the answer has more than {LONGEST} bytes")
    return xmlrpc.client.loads(text)[0][0]


def without_password(url: str) -> str:
    """Return a URL as it may be shown."""
    return url.rpartition("@")[2]
