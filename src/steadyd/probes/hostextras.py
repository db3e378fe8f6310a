"""What a sample of the host holds only where a rule names it: file systems, pressure, interfaces.

The names in `Sample.raw` are those of `probes.host`. Loaded when the first rule needs it.
"""

import errno
from collections.abc import Collection

from steadyd.probes import texts
from steadyd.probes.disks import Disks
from steadyd.probes.host import mount_points
from steadyd.probes.kept import Budget, KeptFile

DISK = "disk_used_percent:"
NET = "net_bytes:"
NO_PRESSURE = "this kernel tells no pressure (CONFIG_PSI, 4.20)"
_PRESSURE_OFF = "the kernel's pressure is turned off: boot with psi=1"
_PRESSURES = {
    "pressure_cpu_percent": ("cpu", b"some"),
    "pressure_memory_percent": ("memory", b"some"),
    "pressure_memory_full_percent": ("memory", b"full"),
    "pressure_io_percent": ("io", b"some"),
}


class HostExtras:
    """Reads them. `root` is the directory in which proc lies."""

    def __init__(self, root: str) -> None:
        self._proc = f"{root}/proc"
        self._disks = Disks(root)

    def add(
        self,
        mounts: Collection[str],
        names: Collection[str],
        raw: dict[str, float],
        missing: dict[str, str],
    ) -> None:
        """Add what is wanted to the numbers of the host, or why it is missing."""
        if mounts:
            self._file_systems(mounts, raw, missing)
        for name in names:
            try:
                if name in _PRESSURES:
                    raw[name] = self._pressure(*_PRESSURES[name])
                elif name.startswith(NET):
                    raw[name] = self._interface(name.removeprefix(NET))
            except (OSError, ValueError) as error:
                missing[name] = _why(error)

    def _file_systems(
        self, mounts: Collection[str], raw: dict[str, float], missing: dict[str, str]
    ) -> None:
        try:
            text = self._text("self/mountinfo")
        except OSError as error:
            missing |= {f"{DISK}{mount}": _why(error) for mount in mounts}
            return
        known = mount_points(text.decode("utf-8", "surrogateescape"))
        for mount, found in self._disks.percent(mounts, known).items():
            if isinstance(found, str):
                missing[f"{DISK}{mount}"] = found
            else:
                raw[f"{DISK}{mount}"] = found

    def _pressure(self, resource: str, share: bytes) -> float:
        try:
            return texts.pressure(self._text(f"pressure/{resource}"), share)
        except FileNotFoundError:
            raise ValueError(NO_PRESSURE) from None
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise ValueError(_PRESSURE_OFF) from None
            raise

    def _interface(self, name: str) -> float:
        counts = texts.interface_bytes(self._text("self/net/dev"))
        if name not in counts:
            raise ValueError(f"there is no network interface {name}")
        return counts[name]

    def _text(self, name: str) -> bytes:
        return KeptFile(f"{self._proc}/{name}", Budget(0)).read()


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or '/proc'}: {error.strerror}"
    return str(error)
