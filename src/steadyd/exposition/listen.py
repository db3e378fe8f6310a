"""Listening on the addresses that people write: `HOST:PORT`, `:PORT`, `[::1]:PORT`."""

import asyncio
import errno
import os
import socket

BACKLOG = 512
_LOOK_UP_SECONDS = 5.0


class WebError(Exception):
    """The web part cannot start; str() is one line: who, what, why and the mend."""


class WebConfigError(WebError):
    """The web part is configured wrongly."""


def parse(address: str) -> tuple[str, int]:
    """Return host ("": every interface) and port. Raises WebConfigError."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise WebConfigError(f"listen address `{address}`: write IPv6 in brackets: [::1]:10870")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise WebConfigError(
            f"listen address `{address}` is no HOST:PORT; write 127.0.0.1:10870, :10870 or "
            "[::1]:10870"
        )
    return host, int(port)


async def bind(address: str) -> socket.socket:
    """Return a listening socket. Raises WebError."""
    host, port = parse(address)
    try:
        return await _bound(host, port)
    except socket.gaierror as error:
        raise WebError(f"cannot listen on {address}: {host}: {error.strerror}") from error
    except TimeoutError as error:
        raise WebError(f"cannot listen on {address}: looking {host} up takes too long") from error
    except (OSError, UnicodeError) as error:
        raise WebError(f"cannot listen on {address}: {_why(error, port)}") from error


def shown(listener: socket.socket, scheme: str) -> str:
    """Return the URL of a listening socket, for people."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


async def _bound(host: str, port: int) -> socket.socket:
    if not host:
        return _everywhere(port)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_LOOK_UP_SECONDS):
        # bytes: the codec for names beyond ASCII is not loaded for an address
        name = host.encode() if host.isascii() else host
        found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    # `localhost` is two addresses; scrapers try the IPv4 one first
    family, *_, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    return _listening(family, address)


def _everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return _listening(socket.AF_INET6, ("::", port))
    return _listening(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104  `:PORT` asks for it


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address[0] == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _why(error: OSError | UnicodeError, port: int) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return (
                f"another program has port {port} (`ss -ltnp sport = :{port}` shows it); stop it, "
                "or choose another address with --web.listen-address"
            )
        case errno.EADDRNOTAVAIL:
            return "this host has no such address; `ip addr` lists those it has"
        case errno.EACCES | errno.EPERM:
            return f"no right to port {port}; choose one above 1023"
        case int() as code:
            return os.strerror(code)
        case _:
            return str(error)
