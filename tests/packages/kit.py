"""What `make dist` builds, built once for each state of the sources."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from tests.hosts.inithost import Host, SystemdHost

ROOT = Path(__file__).resolve().parents[2]
DEBIAN_PYTHON = "/usr/bin/python3"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SHIPPED = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
SOURCES = sorted(
    found.name
    for pattern in ("pyproject.toml", *SHIPPED)
    for found in ROOT.glob(pattern)
    if found.name != "tests"
)
VERSION = ROOT / "src/steadyd/__init__.py"
NEWER = "99.0"


@cache
def dist() -> Path:
    """Return the folder of what is built from the sources."""
    return _built("dist", ROOT)


@cache
def newer() -> Path:
    """Return the same of a higher version."""
    work = ROOT / ".cache" / f"sources-{os.getpid()}"
    work.mkdir(parents=True)
    try:
        for name in SOURCES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, work / name)
        (work / VERSION.relative_to(ROOT)).write_text(
            f'"""A later one."""\n\n__version__ = "{NEWER}"\n'
        )
        (work / ".cache").symlink_to(ROOT / ".cache")
        return _built("newer", work)
    finally:
        (work / ".cache").unlink(missing_ok=True)
        shutil.rmtree(work)


def one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def wheels() -> Path:
    """Return the folder of the pinned libraries' wheels, which the build has downloaded."""
    dist()
    (found,) = (ROOT / ".cache").glob("wheels-" + "[0-9a-f]" * 12)
    return found


def _built(kind: str, sources: Path) -> Path:
    final = ROOT / ".cache" / f"{kind}-{_digest()}"
    if not final.is_dir():
        for old in final.parent.glob(f"{kind}-*"):
            shutil.rmtree(old, ignore_errors=True)
        work = final.with_name(f"{kind}.new-{os.getpid()}")
        command = [sys.executable, str(sources / "package/build.py"), "--into", str(work)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        work.rename(final)
    return final


def _digest() -> str:
    paths = [path for name in SOURCES for path in (ROOT / name, *sorted((ROOT / name).rglob("*")))]
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


class Installing(Host):  # type: ignore[misc]  # inithost is not typed
    """A host on which packages may start their services."""

    absent = (*Host.absent, "/usr/sbin/policy-rc.d")

    def base_files(self) -> dict[str, Any]:
        # runit of this machine takes part in every installation, and its folders are hidden
        return {**super().base_files(), "/etc/dpkg/dpkg.cfg.d/inithost": "no-triggers\n"}

    def install(self, package: Path) -> str:
        """Run `dpkg --install`; return what it says."""
        shutil.copy(package, self.share)
        return self.dpkg("--install", f"{self.share}/{package.name}")

    def dpkg(self, *arguments: str) -> str:
        done = self.run(
            ["dpkg", *arguments],
            timeout=120,
            env={"DEBIAN_FRONTEND": "noninteractive"},
        )
        return str(done.stdout + done.stderr)


class CleanHost(Installing, SystemdHost):  # type: ignore[misc]
    """One with systemd."""

    def ctl(self, *arguments: str) -> Any:
        """Return the JSON that a command of steadyd prints."""
        return json.loads(self.out(["steadyd", *arguments, "--json"]))
