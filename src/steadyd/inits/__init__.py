"""Stage 2: init systems. One file per init system; each implements `ports.InitSystem`."""

from pathlib import Path

from steadyd.inits.supervisord import Supervisord
from steadyd.inits.systemd import Systemd
from steadyd.ports import InitSystem

INIT_SYSTEMS = (Systemd, Supervisord)  # in the order in which they are asked
AUTO = "auto"


def detect(
    only: str = AUTO, *, supervisord: str = "", root: Path = Path("/")
) -> tuple[InitSystem, ...]:
    """Return an adapter for each init system that runs here; what lies on disk does not count.

    `only` names the single one that may be asked; `supervisord` is the URL of a supervisord that
    is not at one of its usual places. Raises ValueError: one of the two cannot be had.
    """
    found = tuple(
        init
        for init in (Systemd.detect(root), Supervisord.detect(supervisord, root))
        if init is not None
    )
    if only == AUTO:
        return found
    chosen = tuple(init for init in found if init.name == only)
    if not chosen:
        names = ", ".join(init.name for init in found) or "none"
        raise ValueError(f"init system {only} does not run here (found: {names})")
    return chosen
