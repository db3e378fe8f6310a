"""D-Bus without a bus daemon: systemd's private socket, Upstart's abstract one."""

import os

import dbus_fast.aio.message_bus as low
from dbus_fast.aio import MessageBus
from dbus_fast.aio.message_reader import build_message_reader

_MAX_LINE = 4096


class PeerBus(MessageBus):
    """A connection straight to the other side: no Hello, no names, no match rules.

    AUTH and BEGIN go in one write, and nothing more before the OK: systemd's private socket
    stalls when BEGIN and the first call arrive in one read. Uses private names of dbus-fast 5
    (hence its upper pin), which a test guards.
    """

    async def connect(self) -> "PeerBus":
        """Connect and authenticate as our own user.

        Raises OSError, and PermissionError where the other side rejects us. No deadline of its
        own: the caller sets one.
        """
        sock, stream, address = self._create_socket_for_transport(*self._bus_address[0])
        try:
            sock.setblocking(False)
            await self._loop.sock_connect(sock, address)
            user = str(os.geteuid()).encode().hex().encode()
            await self._loop.sock_sendall(sock, b"\0AUTH EXTERNAL " + user + b"\r\nBEGIN\r\n")
            line = b""
            while not line.endswith(b"\r\n"):  # byte by byte: what follows the OK is D-Bus
                byte = await self._loop.sock_recv(sock, 1)
                if not byte or len(line) > _MAX_LINE:
                    raise ConnectionError("closed during authentication")
                line += byte
            if not line.startswith(b"OK "):
                raise PermissionError(line.decode("ascii", "replace").strip())
        except BaseException:
            stream.close()
            sock.close()
            raise
        self._sock, self._stream, self._fd = sock, stream, sock.fileno()
        self._writer = low._MessageWriter(self)
        self.unique_name = "peer"
        reader = build_message_reader(sock, self._process_message, self._finalize, False)
        self._loop.add_reader(self._fd, reader)
        return self
