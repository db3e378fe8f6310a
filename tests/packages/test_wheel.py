"""The wheel in an environment of its own, and the sdist that it is made of."""

import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from steadyd import __version__
from tests.packages.kit import DEBIAN_PYTHON, ROOT, dist, one, wheels


def run(*command: str | Path, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=clean | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with steadyd[demo] from the wheel, as pipx makes it."""
    folder = tmp_path_factory.mktemp("fresh")
    run(DEBIAN_PYTHON, "-m", "venv", folder)
    found = ["--no-index", "--find-links", str(wheels()), "--find-links", str(dist())]
    run(folder / "bin/pip", "install", "-q", *found, f"steadyd[demo]=={__version__}")
    return folder


def test_its_commands_run(fresh: Path) -> None:
    assert run(fresh / "bin/steadyd", "--version") == f"steadyd {__version__}\n"
    assert (fresh / "bin/inspeqtorctl").exists()


def test_the_rules_to_start_from_come_with_it_and_are_good(fresh: Path) -> None:
    rules = fresh / "share/steadyd/rules"

    assert {path.name for path in rules.iterdir()} == {p.name for p in (ROOT / "rules").iterdir()}
    assert "no errors" in run(fresh / "bin/steadyd", "check", rules)
    assert (fresh / "share/steadyd/systemd/steadyd.service").exists()


def test_the_demo_runs_from_it(fresh: Path, tmp_path: Path) -> None:
    said = run(fresh / "bin/steadyd", "demo", "--once", TMPDIR=str(tmp_path))

    assert "Healed and told" in said
    assert list(tmp_path.iterdir()) == []


def test_the_sdist_builds_the_same_wheel_as_the_tree(tmp_path: Path) -> None:
    with tarfile.open(one(dist(), "*.tar.gz")) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    sums = {
        hashlib.sha256(built(source, tmp_path / name).read_bytes()).hexdigest()
        for name, source in (("a", ROOT), ("b", unpacked))
    }

    assert len(sums) == 1
    assert (unpacked / "package/build.py").exists()
    assert (unpacked / "tests/packages/test_wheel.py").exists()


def built(source: Path, into: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(into)]
    run(*command, source, SOURCE_DATE_EPOCH="1790000000")
    return one(into, "*.whl")
