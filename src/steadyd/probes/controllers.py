"""What the controllers of a unit's cgroup count: memory, CPU quota, I/O, pressure, OOM kills.

Of cgroup v2 where that has the controller, else of v1 where a file there tells the same. The
names in `Sample.raw`:

memory_current, memory_working_set, memory_swap   bytes
memory_limit, memory_limit_ratio   bytes: the lowest limit of the unit and its slices (systemd's
                                   EffectiveMemoryMax=); the unit's memory against it, 0-1
throttled_seconds                  summed over the cores
read_bytes, write_bytes            from and to storage (v2 only)
oom_kills                          since the cgroup was made, those below it too
pressure_cpu_percent, pressure_memory_percent, pressure_memory_full_percent, pressure_io_percent
"""

import errno
from collections.abc import Callable, Mapping
from typing import TypeVar

from steadyd.probes import texts
from steadyd.probes.kept import Budget, KeptFile

UNIFIED = ""  # the hierarchy of cgroup v2 among those of v1, which have the controller's name
_UNLIMITED = 2**62  # v1 says so by a number near 2^63
NO_LIMIT = "neither the unit nor its slices limit its memory: set MemoryMax= in the unit"
NO_PRESSURE = "this kernel tells no pressure of cgroups (CONFIG_PSI, cgroup v2)"
_PRESSURE_OFF = "the pressure of cgroups is turned off: boot with psi=1"
_SWITCHES = {"memory": "MemoryAccounting", "cpu": "CPUAccounting"}


T = TypeVar("T")


class Unknown(Exception):
    """A number that cannot be told. str() says why, and the mend."""


class Controllers:
    """The controller files of one unit's cgroup, opened when they are first wanted.

    `folders` are those of the cgroup by hierarchy; `above` are the v2 folders of its slices.
    """

    def __init__(self, folders: Mapping[str, str], above: tuple[str, ...], budget: Budget) -> None:
        self._folders, self._above, self._budget = folders, above, budget
        self._files: dict[str, KeptFile] = {}
        self._newest = ""  # the path that was read last

    def read(self, name: str) -> Mapping[str, float]:
        """Return the raw numbers that are wanted under a name. Raises Unknown."""
        return self._told(_READERS[name])

    def _told(self, reader: Callable[["Controllers"], T]) -> T:
        try:
            return reader(self)
        except OSError as error:
            raise Unknown(f"{self._newest}: {error.strerror}") from None
        except ValueError as error:
            raise Unknown(f"{self._newest}: {error}") from None

    def close(self) -> None:
        """Let go of all descriptors."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def memory_current(self) -> Mapping[str, float]:
        """Return the memory that is charged to the cgroup."""
        return {"memory_current": self._memory()}

    def working_set(self) -> Mapping[str, float]:
        """Return it without the page cache that was not used for long."""
        current = self._memory()
        idle = self._value("memory.stat", "inactive_file", "memory.stat", "total_inactive_file")
        return {"memory_working_set": max(0, current - idle)}

    def swap(self) -> Mapping[str, float]:
        """Return what of it was swapped out."""
        self._memory()  # where even that is not told, the reason is the controller's
        text = self._text("memory.swap.current")
        if text is not None:
            return {"memory_swap": texts.number(text.strip())}
        text = self._text("memory.stat", "memory")
        if text is None or b"total_swap " not in text:
            raise Unknown("this kernel does not count swap by cgroup")
        return {"memory_swap": texts.value(text, b"total_swap")}

    def limit(self) -> Mapping[str, float]:
        """Return the lowest limit that holds for the cgroup, and its memory against it."""
        current = self._memory()
        text = self._text("memory.max")
        if text is None:
            text = self._needed("memory.stat", "memory")
            lowest = float(texts.value(text, b"hierarchical_memory_limit"))
        else:
            above = [self._at(f"{folder}/memory.max") for folder in self._above]
            lowest = min(texts.limit(each) for each in (text, *above) if each is not None)
        if lowest >= _UNLIMITED:
            raise Unknown(NO_LIMIT)
        ratio = current / lowest if lowest else 1.0
        return {"memory_limit": lowest, "memory_limit_ratio": ratio}

    def throttled(self) -> Mapping[str, float]:
        """Return for how long the CPU quota held it back."""
        text = self._text("cpu.stat")
        if text is not None and b"throttled_usec " in text:
            return {"throttled_seconds": texts.value(text, b"throttled_usec") / 1e6}
        text = self._needed("cpu.stat", "cpu")
        return {"throttled_seconds": texts.value(text, b"throttled_time") / 1e9}

    def io(self) -> Mapping[str, float] | None:
        """Return the bytes read from and written to storage, None: nobody counts them.

        Not those of v1: there buffered writes count for the root, and since Linux 6.10 nothing
        does without a limit. Raises Unknown.
        """
        return self._told(Controllers._io)

    def _io(self) -> Mapping[str, float] | None:
        text = self._text("io.stat")
        if text is None:
            return None
        read, written = (texts.device_bytes(text, key) for key in (b"rbytes", b"wbytes"))
        return {"read_bytes": read, "write_bytes": written}

    def oom_kills(self) -> Mapping[str, float]:
        """Return how many processes the kernel killed in it for lack of memory."""
        kills = self._value("memory.events", "oom_kill", "memory.oom_control", "oom_kill")
        return {"oom_kills": kills}

    def pressure(self, resource: str, share: bytes, name: str) -> Mapping[str, float]:
        """Return how much of the time some task (or all) waited for a resource."""
        file = f"{resource}.pressure"
        try:
            text = self._text(file)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise Unknown(_PRESSURE_OFF) from None
            raise
        if text is None:
            raise Unknown(NO_PRESSURE)
        return {name: texts.pressure(text, share)}

    def _memory(self) -> int:
        text = self._text("memory.current")
        if text is None:
            text = self._needed("memory.usage_in_bytes", "memory")
        return texts.number(text.strip())

    def _value(self, file: str, name: str, old_file: str, old_name: str) -> int:
        """Return a number of the memory controller, of whichever hierarchy has it."""
        text = self._text(file) if self._text("memory.current") is not None else None
        if text is not None:
            return texts.value(text, name.encode())
        text = self._needed(old_file, "memory")
        return texts.value(text, old_name.encode())

    def _needed(self, file: str, controller: str) -> bytes:
        """Return the text of a file of v1. Raises Unknown: no hierarchy has the controller."""
        text = self._text(file, controller)
        if text is None:
            raise Unknown(
                f"its cgroup has no {file} and no counterpart in cgroup v2:"
                f" set {_SWITCHES[controller]}=yes in the unit"
            )
        return text

    def _text(self, file: str, hierarchy: str = UNIFIED) -> bytes | None:
        """Return the text of a file of the cgroup, None: there is none. Raises OSError."""
        folder = self._folders.get(hierarchy)
        return None if folder is None else self._at(f"{folder}/{file}")

    def _at(self, path: str) -> bytes | None:
        self._newest = path
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = KeptFile(path, self._budget)
        try:
            return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        try:  # the cgroup was made anew: this opens the new one
            return file.read()
        except FileNotFoundError:
            return None


_Reader = Callable[[Controllers], Mapping[str, float]]


def _pressure(resource: str, share: bytes, name: str) -> _Reader:
    return lambda files: files.pressure(resource, share, name)


_READERS: Mapping[str, _Reader] = {
    "memory_current": Controllers.memory_current,
    "memory_working_set": Controllers.working_set,
    "memory_swap": Controllers.swap,
    "memory_limit_ratio": Controllers.limit,
    "throttled_seconds": Controllers.throttled,
    "oom_kills": Controllers.oom_kills,
    "pressure_cpu_percent": _pressure("cpu", b"some", "pressure_cpu_percent"),
    "pressure_memory_percent": _pressure("memory", b"some", "pressure_memory_percent"),
    "pressure_memory_full_percent": _pressure("memory", b"full", "pressure_memory_full_percent"),
    "pressure_io_percent": _pressure("io", b"some", "pressure_io_percent"),
}
