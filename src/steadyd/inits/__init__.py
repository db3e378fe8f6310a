"""Stage 2: init systems. One file per init system; each implements `ports.InitSystem`."""

from pathlib import Path

from steadyd.inits.systemd import Systemd
from steadyd.ports import InitSystem

INIT_SYSTEMS = (Systemd,)  # in the order in which they are asked


def detect(root: Path = Path("/")) -> tuple[InitSystem, ...]:
    """Return an adapter for each init system that runs here; what lies on disk does not count."""
    return tuple(found for kind in INIT_SYSTEMS if (found := kind.detect(root)) is not None)
