"""D-Bus messages as bytes, little-endian (D-Bus specification, "Message Protocol").

Only what the stand-in and its client exchange: no descriptors, no doubles. A variant is a pair
(signature, value). Standard library only: it runs under the host's own python.
"""

import struct
from dataclasses import dataclass, field
from typing import Any

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
NO_REPLY = 1
_FIELDS = {1: "path", 2: "interface", 3: "member", 4: "error", 5: "reply", 6: "destination"}
_FIELDS |= {7: "sender", 8: "signature"}
_TYPES = {"path": "o", "reply": "u", "signature": "g"}
_ALIGN = {"y": 1, "g": 1, "v": 1, "(": 8, "{": 8}
_NUMBERS = {"y": "B", "b": "I", "u": "I", "i": "i"}


@dataclass
class Message:
    """One message; an empty field is one that is not there."""

    type: int
    serial: int = 0
    flags: int = 0
    path: str = ""
    interface: str = ""
    member: str = ""
    error: str = ""
    reply: int = 0
    destination: str = ""
    sender: str = ""
    signature: str = ""
    body: list[Any] = field(default_factory=list)


def types(signature: str) -> list[str]:
    """Return the complete types of a signature."""
    found, at = [], 0
    while at < len(signature):
        end = _end(signature, at)
        found.append(signature[at:end])
        at = end
    return found


def dump(message: Message) -> bytes:
    """Return a message's bytes."""
    body = bytearray()
    for kind, value in zip(types(message.signature), message.body, strict=True):
        _write(body, kind, value)
    fields = [
        (code, (_TYPES.get(name, "s"), getattr(message, name)))
        for code, name in _FIELDS.items()
        if getattr(message, name)
    ]
    head = bytearray(b"l" + bytes((message.type, message.flags, 1)))
    head += struct.pack("<II", len(body), message.serial)
    _write(head, "a(yv)", fields)
    _pad(head, 8)
    return bytes(head + body)


def load(data: bytes) -> tuple[Message, int] | None:
    """Return the first message and its length, None while it is not complete."""
    if len(data) < 16:
        return None
    size, serial, fields = struct.unpack_from("<III", data, 4)
    start = 16 + fields + -fields % 8
    if len(data) < start + size:
        return None
    message = Message(data[1], serial, data[2])
    for code, (_, value) in _read(data[:start], "a(yv)", 12)[0]:
        if code in _FIELDS:
            setattr(message, _FIELDS[code], value)
    body, at = data[start : start + size], 0
    for kind in types(message.signature):
        value, at = _read(body, kind, at)
        message.body.append(value)
    return message, start + size


def _end(signature: str, at: int) -> int:
    if signature[at] == "a":
        return _end(signature, at + 1)
    if signature[at] not in "({":
        return at + 1
    depth = 0
    for place in range(at, len(signature)):
        depth += (signature[place] in "({") - (signature[place] in ")}")
        if not depth:
            return place + 1
    raise ValueError(signature)


def _pad(out: bytearray, align: int) -> None:
    out += b"\0" * (-len(out) % align)


def _write(out: bytearray, kind: str, value: Any) -> None:
    first = kind[0]
    _pad(out, _ALIGN.get(first, 4))
    if first in _NUMBERS:
        out += struct.pack("<" + _NUMBERS[first], value)
    elif first in "sog":
        text = value.encode("utf-8", "surrogateescape")
        out += struct.pack("<B" if first == "g" else "<I", len(text)) + text + b"\0"
    elif first == "v":
        _write(out, "g", value[0])
        _write(out, value[0], value[1])
    elif first == "a":
        place = len(out)
        out += b"\0\0\0\0"
        _pad(out, _ALIGN.get(kind[1], 4))
        start = len(out)
        for item in value.items() if isinstance(value, dict) else value:
            _write(out, kind[1:], item)
        struct.pack_into("<I", out, place, len(out) - start)
    else:
        for part, item in zip(types(kind[1:-1]), value, strict=True):
            _write(out, part, item)


def _read(data: bytes, kind: str, at: int) -> tuple[Any, int]:
    first = kind[0]
    at += -at % _ALIGN.get(first, 4)
    if first in _NUMBERS:
        code = "<" + _NUMBERS[first]
        return struct.unpack_from(code, data, at)[0], at + struct.calcsize(code)
    if first in "sog":
        size = data[at] if first == "g" else struct.unpack_from("<I", data, at)[0]
        at += 1 if first == "g" else 4
        return data[at : at + size].decode("utf-8", "surrogateescape"), at + size + 1
    if first == "v":
        inner, at = _read(data, "g", at)
        value, at = _read(data, inner, at)
        return (inner, value), at
    if first == "a":
        size, at = _read(data, "u", at)
        at += -at % _ALIGN.get(kind[1], 4)
        end, items = at + size, []
        while at < end:
            item, at = _read(data, kind[1:], at)
            items.append(item)
        return (dict(items) if kind[1] == "{" else items), at
    parts = []
    for part in types(kind[1:-1]):
        item, at = _read(data, part, at)
        parts.append(item)
    return tuple(parts), at
