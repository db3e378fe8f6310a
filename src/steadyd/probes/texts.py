"""PURE: what the kernel's texts about memory, I/O and pressure mean; all raise ValueError.

The formats: cgroup-v2.rst and cgroup-v1/memory.rst, accounting/psi.rst of the
kernel's documentation, proc(5).
"""

_DIGITS = 20  # no 64-bit number has more


def number(word: bytes) -> int:
    """Return the number that a word is, and never what only Python takes for one (`1_0`, `-1`)."""
    if not word.isdigit() or len(word) > _DIGITS:
        raise ValueError(f"{_shown(word)} is no number")
    return int(word)


def limit(text: bytes) -> float:
    """Return what memory.max says, in bytes; `max` is infinite."""
    word = text.strip()
    return float("inf") if word == b"max" else float(number(word))


def value(text: bytes, name: bytes) -> int:
    """Return the number behind a name in lines of `name number`."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name:
            return number(words[1])
    raise ValueError(f"it does not tell {name.decode()}")


def pressure(text: bytes, share: bytes) -> float:
    """Return avg10 of the line `some` or `full`: percent of the last 10 s."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == share and words[1].startswith(b"avg10="):
            whole, _, rest = words[1][6:].partition(b".")
            number(whole + rest)
            return float(words[1][6:])
    raise ValueError(f"it has no line {share.decode()}")


def device_bytes(io_stat: bytes, key: bytes) -> int:
    """Return the sum of `rbytes=` or `wbytes=` over the devices of a cgroup's io.stat.

    A device on top of another (LVM, RAID) counts as well as that other, as in systemd's
    IOReadBytes=. A cgroup that never did I/O has an empty text; kernels before 5.16 write a
    device without I/O without keys, and the next one on the same line.
    """
    total = 0
    for line in io_stat.splitlines():
        for word in line.split():
            name, equals, digits = word.partition(b"=")
            if name == key:
                total += number(digits)
            elif not equals:
                _device(word)
    return total


def interface_bytes(net_dev: bytes) -> dict[str, int]:
    """Return bytes received and sent by each interface of /proc/net/dev."""
    found = {}
    for line in net_dev.splitlines()[2:]:
        name, colon, rest = line.rpartition(b":")
        words = rest.split()
        if not colon or len(words) < 9:
            raise ValueError(f"{_shown(line)} is no interface")
        found[name.strip().decode("utf-8", "surrogateescape")] = number(words[0]) + number(words[8])
    return found


def _device(word: bytes) -> None:
    major, colon, minor = word.partition(b":")
    if not (colon and major.isdigit() and minor.isdigit()):
        raise ValueError(f"{_shown(word)} is no device")


def _shown(word: bytes) -> str:
    """Return a word for a message: short and printable."""
    text = word[:40].decode("ascii", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
