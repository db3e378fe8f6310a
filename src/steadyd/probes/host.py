"""PURE: what the kernel's texts about the host mean (proc(5)), under the names of a Sample's raw.

cpu_FIELD_seconds                time since boot, all cores; the fields are _CPU_FIELDS
load1, load5, load15             load averages
memory_total, memory_available   bytes
memory_used                      bytes: the total without what is available
swap_used_percent                0-100
disk_used_percent:MOUNT          0-100, as df(1) shows it
net_bytes:INTERFACE              received and sent since it was made
pressure_NAME_percent            0-100: cpu, memory, memory_full, io
"""

import re
from collections.abc import Mapping

_CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_ESCAPE = re.compile(r"\\([0-7]{3})")
NO_SWAP = "the host has no swap"
_OLD_KERNEL = "this kernel does not tell how much memory is available (MemAvailable, 3.14)"


def cpu_seconds(stat: str, ticks: int) -> dict[str, float]:
    """Return the times in /proc/stat's first line, which counts `ticks` per second (USER_HZ).

    An old kernel has fewer fields. Raises ValueError.
    """
    label, *numbers = stat.partition("\n")[0].split()
    if label != "cpu":
        raise ValueError("/proc/stat does not begin with the line cpu")
    pairs = zip(_CPU_FIELDS, numbers, strict=False)
    return {f"cpu_{field}_seconds": int(number) / ticks for field, number in pairs}


def loads(loadavg: str) -> dict[str, float]:
    """Return the three averages of /proc/loadavg. Raises ValueError."""
    one, five, fifteen = (float(word) for word in loadavg.split()[:3])
    return {"load1": one, "load5": five, "load15": fifteen}


def memory(meminfo: str) -> dict[str, float]:
    """Return what /proc/meminfo says in bytes; without swap there is no `swap_used_percent`.

    Swap is rounded up to whole percents, as in Inspeqtor. Raises ValueError.
    """
    sizes = {}
    for line in meminfo.splitlines():
        name, colon, rest = line.partition(":")
        if colon and (words := rest.split()):
            sizes[name] = int(words[0]) * 1024
    wanted = {"memory_total": "MemTotal", "memory_available": "MemAvailable"}
    raw: dict[str, float] = {ours: sizes[name] for ours, name in wanted.items() if name in sizes}
    if len(raw) == len(wanted):
        raw["memory_used"] = max(0, raw["memory_total"] - raw["memory_available"])
    if (total := sizes.get("SwapTotal", 0)) > 0:
        if "SwapFree" not in sizes:
            raise ValueError("it tells SwapTotal and no SwapFree")
        raw["swap_used_percent"] = 100 - 100 * sizes["SwapFree"] // total
    return raw


def disk_percent(blocks: int, free: int, available: int) -> float | None:
    """Return df's Use%: used against used + available to users, rounded up. None: no size.

    The arguments are f_blocks, f_bfree and f_bavail of statvfs(3).
    """
    used = blocks - free
    whole = used + available
    return None if whole <= 0 else float(-(-100 * used // whole))


def mount_points(mountinfo: str) -> frozenset[str]:
    """Return the mount points in /proc/PID/mountinfo (proc(5)), their escapes undone."""
    return frozenset(
        _unescape(line.split(" ")[4]) for line in mountinfo.splitlines() if line.count(" ") > 4
    )


def cgroup_mounts(mountinfo: str) -> tuple[tuple[str, bool], ...]:
    """Return where systemd's cgroups can be read, and whether that is cgroup2 (else v1).

    Those of cgroup2 come first, then name=systemd. Only mounts of a hierarchy's root count: in
    others the paths that systemd tells are not found.
    """
    unified, named = [], []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(tail) < 3 or fields[3] != "/":
            continue
        if tail[0] == "cgroup2":
            unified.append((_unescape(fields[4]), True))
        elif tail[0] == "cgroup" and "name=systemd" in tail[2].split(","):
            named.append((_unescape(fields[4]), False))
    return (*unified, *named)


def controller_mounts(mountinfo: str) -> dict[str, str]:
    """Return where the controllers of cgroup v1 are mounted, by their names."""
    found: dict[str, str] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        if len(fields) > 4 and len(tail) > 2 and tail[0] == "cgroup" and fields[3] == "/":
            found |= dict.fromkeys(tail[2].split(","), _unescape(fields[4]))
    return found


def host_raw(texts: Mapping[str, str], ticks: int) -> tuple[dict[str, float], dict[str, str]]:
    """Return raw numbers, and reasons for those missing, from the files that could be read.

    `texts` holds the contents of stat, loadavg and meminfo.
    """
    raw: dict[str, float] = {}
    missing: dict[str, str] = {}
    parsers = {"stat": lambda text: cpu_seconds(text, ticks), "loadavg": loads, "meminfo": memory}
    for name, parse in parsers.items():
        try:
            raw |= parse(texts[name])
        except KeyError:
            continue
        except ValueError as error:
            missing[name] = f"/proc/{name}: {error}"
    if "memory_total" in raw and "swap_used_percent" not in raw:
        missing["swap_used_percent"] = NO_SWAP
    if "memory_total" in raw and "memory_available" not in raw:
        missing |= dict.fromkeys(("memory_available", "memory_used"), _OLD_KERNEL)
    return raw, missing


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)
