"""PURE: when a certificate ends. The ssl module tells it only of one that it verified."""

from datetime import UTC, datetime
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_FORMS: Final = {_UTC_TIME: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}


def not_after(der: bytes) -> float:
    """Return the Unix time at which a certificate ends (RFC 5280, 4.1). Raises ValueError."""
    _, certificate, _ = _element(der)
    _, signed, _ = _element(certificate)
    tag, _, rest = _element(signed)
    before = 3 if tag == _VERSION else 2  # serial number, signature, issuer; the first is read
    for _ in range(before):
        _, _, rest = _element(rest)
    tag, validity, _ = _element(rest)
    if tag != _SEQUENCE:
        raise ValueError("the certificate has no validity")
    _, _, rest = _element(validity)
    tag, text, _ = _element(rest)
    if tag not in _FORMS:
        raise ValueError("the certificate has no end")
    return datetime.strptime(text.decode("ascii"), _FORMS[tag]).replace(tzinfo=UTC).timestamp()


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Return tag and content of the first element, and what follows it (X.690, 8.1)."""
    if len(der) < 2:
        raise ValueError("the certificate is cut")
    tag, size, start = der[0], der[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(der[2:start], "big")
    if start > len(der) or start + size > len(der):
        raise ValueError("the certificate is cut")
    return tag, der[start : start + size], der[start + size :]
