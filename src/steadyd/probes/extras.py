"""What a sample holds beyond the processes' own numbers, for units whose rules name it.

This module and what it needs are loaded when the first rule does. The names in `Sample.raw` are
those of `probes.controllers`, and

read_bytes, write_bytes   where no cgroup counts them: the sum over the living processes, with
                          those of their children that were waited for (proc(5), /proc/PID/io)
pss                       proportional memory in bytes
"""

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from steadyd.model.metric import Sample
from steadyd.probes import texts
from steadyd.probes.cgroup import KeptUnit
from steadyd.probes.controllers import UNIFIED, Controllers, Unknown
from steadyd.probes.kept import Budget, of_process
from steadyd.probes.pss import Measurer, Proportional

PSS = "pss"
_IO = frozenset(("read_bytes", "write_bytes"))
NO_GROUP = "its init gives it no cgroup of its own"
NO_RIGHT_IO = (
    "no right to see the I/O of another user's process:"
    " set IOAccounting=yes in the unit, then its cgroup tells it"
)


class Extras:
    """Adds it to samples. `mounts` are the hierarchies of v1 by controller."""

    def __init__(self, proc: str, mounts: Mapping[str, str], budget: Budget) -> None:
        self._proc, self._mounts, self._budget = proc, mounts, budget
        self._measurer = Measurer()

    def add(self, unit: KeptUnit, names: Collection[str], sample: Sample) -> Sample:
        """Return the sample with what is wanted under these names, or why it is missing."""
        if unit.extras is None:
            controllers = _controllers(unit, self._mounts, self._budget) if unit.folder else None
            unit.extras = UnitExtras(self._proc, controllers, self._measurer)
        raw, missing = dict(sample.raw), dict(sample.missing)
        for name in names:
            if name in raw:  # one file told both read and write
                continue
            try:
                raw.update(unit.extras.read(name, sample))
            except Unknown as error:
                missing[name] = str(error)
        return replace(sample, raw=raw, missing=missing)

    def close(self) -> None:
        """Let the thread that measures end."""
        self._measurer.close()


class UnitExtras:
    """What is kept of one unit for it."""

    def __init__(self, proc: str, controllers: Controllers | None, measurer: Measurer) -> None:
        self._proc, self._controllers = proc, controllers
        self._pss = Proportional(proc, measurer)
        self._io_of_group = True

    def close(self) -> None:
        """Let go of all descriptors."""
        if self._controllers is not None:
            self._controllers.close()

    def read(self, name: str, sample: Sample) -> Mapping[str, float]:
        """Return the raw numbers that are wanted under a name. Raises Unknown."""
        if name == PSS:
            return {PSS: self._pss.read(sample)}
        if name in _IO:
            return self._io(sample)
        if self._controllers is None:
            raise Unknown(NO_GROUP)
        return self._controllers.read(name)

    def _io(self, sample: Sample) -> Mapping[str, float]:
        """Read it; once of the processes, always so: what two sources tell is no gain."""
        found = self._controllers.io() if self._controllers and self._io_of_group else None
        if found is None:
            self._io_of_group = False
            return _io_of(self._proc, sample)
        return found


def _io_of(proc: str, sample: Sample) -> Mapping[str, float]:
    read = written = counted = 0
    for process in sample.processes:
        try:
            text = of_process(proc, process, "io")
            read += texts.value(text, b"read_bytes:")
            written += texts.value(text, b"write_bytes:")
            counted += 1
        except ProcessLookupError:
            continue
        except PermissionError:
            raise Unknown(NO_RIGHT_IO) from None
        except FileNotFoundError:
            raise Unknown("this kernel does not count the I/O of processes") from None
        except (OSError, ValueError) as error:
            raise Unknown(f"io of process {process.pid} cannot be read: {error}") from None
    if not counted:
        raise Unknown("its processes ended meanwhile")
    return {"read_bytes": read, "write_bytes": written}


def _controllers(unit: KeptUnit, mounts: Mapping[str, str], budget: Budget) -> Controllers:
    folders = {controller: f"{mount}{unit.cgroup}" for controller, mount in mounts.items()}
    if unit.unified:
        folders[UNIFIED] = unit.folder
    mount, parts = unit.folder.removesuffix(unit.cgroup), unit.cgroup.split("/")
    above = ("/".join((mount, *parts[1:end])) for end in range(1, len(parts)))
    return Controllers(folders, tuple(above) if unit.unified else (), budget)
