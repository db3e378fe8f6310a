"""`tls_server_config` of a web config file, as a context of Python's ssl.

What this TLS library cannot do is refused, or where it is a mere preference, logged.
"""

import contextlib
import logging
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)


class TlsError(ValueError):
    """It cannot be obeyed; str() says what and why."""


_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_VERIFY = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    # nobody would look at a certificate that was not verified
    "RequestClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_CURVES = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}
# Go's names (crypto/tls, CipherSuites) and OpenSSL's
_TLS13 = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
}
_CIPHERS = {
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}


class TlsServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tls_server_config`; the texts without `_file` are PEM."""

    cert_file: str = ""
    key_file: str = ""
    cert: str = ""
    key: str = ""
    client_auth_type: str = ""
    client_ca_file: str = ""
    client_ca: str = ""
    client_allowed_sans: tuple[str, ...] = ()
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[str, ...] = ()

    def files(self, beside: Path) -> list[Path]:
        """Return the files it names."""
        return [beside / f for f in (self.cert_file, self.key_file, self.client_ca_file) if f]


def make_context(tls: TlsServer, beside: Path) -> ssl.SSLContext:
    """Return the context; paths are relative to `beside`.

    Raises TlsError, ssl.SSLError, OSError.
    """
    _complete(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _version(tls.min_version)
    context.maximum_version = _version(tls.max_version)
    _load(context, tls, beside)
    _clients(context, tls, beside)
    _ciphers(context, tls)
    _curves(context, tls)
    return context


def _complete(tls: TlsServer) -> None:
    for what in ("cert", "key", "client_ca"):
        if getattr(tls, what) and getattr(tls, f"{what}_file"):
            raise TlsError(f"both {what} and {what}_file are given; keep one")
    for what in ("cert", "key"):
        if not getattr(tls, what) and not getattr(tls, f"{what}_file"):
            raise TlsError(f"{what}_file is missing")


def _version(name: str) -> ssl.TLSVersion:
    if name not in _VERSIONS:
        raise TlsError(f"unknown TLS version {name}; known: {', '.join(_VERSIONS)}")
    return _VERSIONS[name]


def _load(context: ssl.SSLContext, tls: TlsServer, beside: Path) -> None:
    with (
        _file(tls.cert, tls.cert_file, beside) as cert,
        _file(tls.key, tls.key_file, beside) as key,
    ):
        for name in (cert, key):
            Path(name).open("rb").close()  # the library's own error does not name the file
        try:
            # the empty password: an encrypted key must not ask on our terminal
            context.load_cert_chain(cert, key, password="")
        except ssl.SSLError as error:
            names = f"{tls.cert_file or 'cert'} and {tls.key_file or 'key'}"
            raise TlsError(f"{names} are no certificate with its key: {error.reason}") from error


def _clients(context: ssl.SSLContext, tls: TlsServer, beside: Path) -> None:
    kind = tls.client_auth_type
    if kind == "RequireAnyClientCert":
        raise TlsError(
            f"client_auth_type {kind}: this TLS library verifies what it requires; use "
            "RequireAndVerifyClientCert with client_ca_file"
        )
    if kind not in _VERIFY:
        raise TlsError(
            f"unknown client_auth_type {kind}; known: {', '.join(filter(None, _VERIFY))}"
        )
    authority = tls.client_ca or tls.client_ca_file
    if authority and kind in ("", "NoClientCert"):
        raise TlsError("client_ca_file is of no use without client_auth_type")
    if tls.client_allowed_sans and _VERIFY[kind] is ssl.CERT_NONE:
        raise TlsError("client_allowed_sans is of no use without a client_auth_type that verifies")
    context.verify_mode = _VERIFY[kind]
    if authority:
        with _file(tls.client_ca, tls.client_ca_file, beside) as name:
            context.load_verify_locations(name)
    elif context.verify_mode is not ssl.CERT_NONE:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)


def _ciphers(context: ssl.SSLContext, tls: TlsServer) -> None:
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if not tls.cipher_suites:
        return
    unknown = [name for name in tls.cipher_suites if name not in _CIPHERS and name not in _TLS13]
    if unknown:
        raise TlsError(f"unknown cipher suite {unknown[0]}; they have Go's names")
    ours = [_CIPHERS[name] for name in tls.cipher_suites if name in _CIPHERS]
    if ours:
        context.set_ciphers(":".join(ours))
    else:
        context.minimum_version = ssl.TLSVersion.TLSv1_3


def _curves(context: ssl.SSLContext, tls: TlsServer) -> None:
    unknown = [name for name in tls.curve_preferences if name not in _CURVES]
    if unknown:
        raise TlsError(f"unknown curve {unknown[0]}; known: {', '.join(_CURVES)}")
    if len(tls.curve_preferences) == 1 and tls.curve_preferences != ("X25519",):
        context.set_ecdh_curve(_CURVES[tls.curve_preferences[0]])
    elif tls.curve_preferences:
        log.warning("curve_preferences: this TLS library keeps its own order of curves")


@contextlib.contextmanager
def _file(text: str, name: str, beside: Path) -> Iterator[str]:
    """Give the path of a file, or of a text held in memory."""
    if not text:
        yield str(beside / name)
        return
    memory = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(memory, text.encode())
        yield f"/proc/self/fd/{memory}"
    finally:
        os.close(memory)
