"""The web config file of the Prometheus exporter-toolkit: TLS, users, headers.

Format: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. It is
read again when it, a certificate or a key changes; a bad edit keeps what was good, and so does one
that would take TLS or all users away (a half-written file looks like that).

`http2` and `rate_limit` are accepted and have no effect: we speak HTTP/1.1, and count connections.
"""

import asyncio
import base64
import binascii
import hashlib
import logging
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from ssl import SSLContext, SSLError
from typing import Any

import bcrypt
import msgspec
import yaml
from msgspec import Struct

from steadyd.exposition.listen import WebConfigError
from steadyd.exposition.tls import TlsError, TlsServer, make_context

log = logging.getLogger(__name__)

LARGEST = 1 << 20  # bytes
_HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
# compared for users that do not exist, so that they take as long; of a password nobody knows
_NOBODY = "$2b$10$tvaWmYqMFC5vTQ2bEK4cRO8MafHOYnBXjbrCB6xgn1Pa3kVnqN5aK"
_BCRYPT_TAKES = 72  # bytes of a password
_REMEMBERED = 100  # answers


class _Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    http2: bool = True
    headers: dict[str, str] = {}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tls_server_config: TlsServer | None = None
    http_server_config: _Http | None = None
    basic_auth_users: dict[str, str] | None = None
    rate_limit: dict[str, Any] | None = None


class _Loaded(Struct, frozen=True):
    """What one reading of the file came to; `sans` are the names a client may have, () any."""

    context: SSLContext | None
    users: Mapping[str, str]
    headers: Mapping[str, str]
    sans: frozenset[str]


class WebConfig:
    """The file as it is now."""

    def __init__(self, path: str) -> None:
        """Read it. Raises WebConfigError."""
        self._path = Path(path)
        self._watched = [self._path]
        self._stamps = self._stamp()
        self._loaded = self._load()
        self._stamps = self._stamp()
        self._one = asyncio.Lock()
        self._answers: OrderedDict[bytes, bool] = OrderedDict()
        self._salt = secrets.token_bytes(32)

    @property
    def context(self) -> SSLContext | None:
        """Return the TLS context for the next connection, None for plain HTTP."""
        self._refresh()
        return self._loaded.context

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers that every answer is to have."""
        return self._loaded.headers

    @property
    def has_users(self) -> bool:
        """Tell whether a name and a password are asked for."""
        self._refresh()
        return bool(self._loaded.users)

    def welcomes(self, certificate: Mapping[str, Any] | None) -> bool:
        """Tell whether a verified client certificate has a name that is allowed."""
        if not self._loaded.sans:
            return True
        names = (certificate or {}).get("subjectAltName", ())
        return any(name in self._loaded.sans for _, name in names)

    async def admits(self, authorization: str) -> bool:
        """Tell whether an Authorization header carries a known name and its password."""
        user, password = _credentials(authorization)
        known = self._loaded.users.get(user)
        hashed = known or _NOBODY
        key = hashlib.blake2b(
            b"\0".join((user.encode(), hashed.encode(), password)), key=self._salt
        ).digest()
        if key not in self._answers:
            async with self._one:  # bcrypt is meant to cost much
                if key not in self._answers:
                    right = await asyncio.to_thread(_matches, password, hashed)
                    self._answers[key] = right and known is not None
                    if len(self._answers) > _REMEMBERED:
                        self._answers.popitem(last=False)
        return self._answers.get(key, False)

    def _refresh(self) -> None:
        stamps = self._stamp()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            loaded = self._load()
            self._must_not_weaken(loaded)
        except WebConfigError as error:
            log.error("%s; what was good before stays in force", error)
        else:
            self._loaded = loaded
            self._stamps = self._stamp()
            log.info("%s was read again", self._path)

    def _must_not_weaken(self, loaded: _Loaded) -> None:
        for what, before, after in (
            ("TLS", self._loaded.context, loaded.context),
            ("all users", self._loaded.users, loaded.users),
        ):
            if before and not after:
                raise WebConfigError(
                    f"{self._path}: this takes {what} away; restart steadyd to do that"
                )

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp_of(path) for path in self._watched)

    def _load(self) -> _Loaded:
        file = _parse(self._path)
        context, sans = None, frozenset[str]()
        tls = file.tls_server_config
        if tls is not None and tls != TlsServer():
            self._watched = [self._path, *tls.files(self._path.parent)]
            try:
                context = make_context(tls, self._path.parent)
            except (TlsError, SSLError, OSError, ValueError) as error:
                raise WebConfigError(f"{self._path}: tls_server_config: {_text(error)}") from error
            sans = frozenset(tls.client_allowed_sans)
        headers = file.http_server_config.headers if file.http_server_config else {}
        users = file.basic_auth_users or {}
        _check_headers(headers, self._path)
        for user, hashed in users.items():
            if not _HASH.fullmatch(hashed):
                raise WebConfigError(
                    f"{self._path}: basic_auth_users: {user}: this is no bcrypt hash; make one "
                    "with `htpasswd -nBC 10 ''`"
                )
        return _Loaded(context, users, headers, sans)


class _Strict(yaml.SafeLoader):
    """YAML in which a key stands once and is a text, whatever it looks like."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [str(key.value) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key} stands twice", node.start_mark
                )
        self.flatten_mapping(node)
        return {str(key.value): self.construct_object(value, deep) for key, value in node.value}


def _parse(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise WebConfigError(f"{path}: the file is larger than 1 MiB")
        data = yaml.load(text, _Strict)  # noqa: S506  a SafeLoader with one more check
        return msgspec.convert({} if data is None else data, _File)
    except OSError as error:
        raise WebConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError, ValueError) as error:
        raise WebConfigError(f"{path}: {' '.join(str(error).split())}") from error


def _check_headers(headers: Mapping[str, str], path: Path) -> None:
    for name, value in headers.items():
        allowed = _HEADERS.get(name)
        if allowed is None:
            raise WebConfigError(
                f"{path}: http_server_config: the header {name} cannot be set; those that can: "
                f"{', '.join(_HEADERS)}"
            )
        if allowed and value not in allowed:
            raise WebConfigError(
                f"{path}: http_server_config: {name} must be {' or '.join(allowed)}"
            )
        if not value.isascii() or not value.isprintable():
            raise WebConfigError(f"{path}: http_server_config: {name} holds odd characters")


def _credentials(authorization: str) -> tuple[str, bytes]:
    """Return name and password of `Basic …`, empty ones for anything else."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", b""
    try:
        user, _, password = base64.b64decode(token.strip(), validate=True).partition(b":")
        return user.decode(), password
    except (binascii.Error, ValueError):
        return "", b""


def _matches(password: bytes, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password[:_BCRYPT_TAKES], hashed.encode())
    except ValueError:  # a NUL in it, or a variant that the library does not know
        return False


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, SSLError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
