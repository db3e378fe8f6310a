"""Stage 2: init systems. One file per init system; each implements `ports.InitSystem`.

An adapter is imported only where its init system runs: each costs memory and time.
"""

from pathlib import Path

from steadyd.inits.processes import running
from steadyd.ports import InitSystem

# in the order in which they are asked: those that can be PID 1 first
INIT_SYSTEMS = ("systemd", "upstart", "openrc", "sysvinit", "runit", "s6", "supervisord", "process")
AUTO = "auto"
SUPERVISORD_SOCKETS = ("run/supervisor.sock", "var/run/supervisor.sock", "tmp/supervisor.sock")


def detect(
    only: str = AUTO, *, supervisord: str = "", processes: bool = False, root: Path = Path("/")
) -> tuple[InitSystem, ...]:
    """Return an adapter for each init system that runs here; what lies on disk does not count.

    `only` names the single one that may be asked; `supervisord` is the URL of a supervisord that
    is not at one of its usual places; `processes` adds the adapter of mere processes. Raises
    ValueError: one of the two cannot be had.
    """
    asked = (*_first(root), *_suites(root), _supervisord(supervisord, root))
    found = tuple(init for init in asked if init is not None)
    mere: tuple[InitSystem, ...] = ()
    if processes:
        from steadyd.inits.process import Process  # noqa: PLC0415

        mere = (Process(),)
    if only == AUTO:
        return found + mere
    chosen = tuple(init for init in found if init.name == only)
    if not chosen:
        names = ", ".join(init.name for init in found) or "none"
        raise ValueError(f"init system {only} does not run here (found: {names})")
    return chosen + mere


def _first(root: Path) -> tuple[InitSystem | None, ...]:
    """Return what runs as PID 1."""
    if (root / "run/systemd/system").is_dir():
        from steadyd.inits.systemd import Systemd  # noqa: PLC0415

        return (Systemd.detect(root),)
    found: list[InitSystem | None] = []
    if (root / "etc/init").is_dir():
        from steadyd.inits.upstart import Upstart  # noqa: PLC0415

        found.append(Upstart.detect(root))
    if (root / "run/openrc").is_dir():
        from steadyd.inits.openrc import Openrc  # noqa: PLC0415

        found.append(Openrc.detect(root))
    if not any(found) and (root / "etc/init.d").is_dir():
        from steadyd.inits.sysvinit import Sysvinit  # noqa: PLC0415

        found.append(Sysvinit.detect(root))
    return tuple(found)


def _suites(root: Path) -> tuple[InitSystem | None, ...]:
    scanners = running("runsvdir", "s6-svscan")
    found: list[InitSystem | None] = []
    if scanners["runsvdir"]:
        from steadyd.inits.runit import Runit  # noqa: PLC0415

        found.append(Runit.detect(root))
    if scanners["s6-svscan"]:
        from steadyd.inits.s6 import S6  # noqa: PLC0415

        found.append(S6.detect(root))
    return tuple(found)


def _supervisord(url: str, root: Path) -> InitSystem | None:
    places = [root / place for place in SUPERVISORD_SOCKETS]
    if not url and not any(place.exists() for place in places):
        return None
    # XML-RPC costs half a MiB: only who has a supervisord pays
    from steadyd.inits.supervisord import Supervisord  # noqa: PLC0415

    return Supervisord.detect(url, places)
