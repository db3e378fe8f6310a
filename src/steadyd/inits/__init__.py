"""Stage 2: init systems. One file per init system; each implements `ports.InitSystem`."""

from pathlib import Path

from steadyd.inits.supervisord import Supervisord
from steadyd.inits.systemd import Systemd
from steadyd.ports import InitSystem

INIT_SYSTEMS = (Systemd, Supervisord)  # in the order in which they are asked


def detect(root: Path = Path("/"), *, supervisord: str = "") -> tuple[InitSystem, ...]:
    """Return an adapter for each init system that runs here; what lies on disk does not count.

    `supervisord` is the URL of a supervisord that is not at one of its usual places. Raises
    ValueError if that is no URL of a supervisord.
    """
    found = (Systemd.detect(root), Supervisord.detect(supervisord, root))
    return tuple(init for init in found if init is not None)
