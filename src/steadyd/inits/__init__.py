"""Stage 2: init systems. One file per init system; each implements `ports.InitSystem`."""

from pathlib import Path

from steadyd.inits.systemd import Systemd
from steadyd.ports import InitSystem

INIT_SYSTEMS = ("systemd", "supervisord")  # in the order in which they are asked
AUTO = "auto"
SUPERVISORD_SOCKETS = ("run/supervisor.sock", "var/run/supervisor.sock", "tmp/supervisor.sock")


def detect(
    only: str = AUTO, *, supervisord: str = "", root: Path = Path("/")
) -> tuple[InitSystem, ...]:
    """Return an adapter for each init system that runs here; what lies on disk does not count.

    `only` names the single one that may be asked; `supervisord` is the URL of a supervisord that
    is not at one of its usual places. Raises ValueError: one of the two cannot be had.
    """
    systemd = Systemd.detect(root)
    asked = (systemd, _supervisord(supervisord, root))
    found = tuple(init for init in asked if init is not None)
    if only == AUTO:
        return found
    chosen = tuple(init for init in found if init.name == only)
    if not chosen:
        names = ", ".join(init.name for init in found) or "none"
        raise ValueError(f"init system {only} does not run here (found: {names})")
    return chosen


def _supervisord(url: str, root: Path) -> InitSystem | None:
    places = [root / place for place in SUPERVISORD_SOCKETS]
    if not url and not any(place.exists() for place in places):
        return None
    # XML-RPC costs half a MiB: only who has a supervisord pays
    from steadyd.inits.supervisord import Supervisord  # noqa: PLC0415

    return Supervisord.detect(url, places)
