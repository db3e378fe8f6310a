"""Certificates for tests."""

import shutil
from pathlib import Path

import pytest

from tests.fakes.pki import make


@pytest.fixture(scope="session")
def made_pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    make(folder)
    return folder


@pytest.fixture
def pki(made_pki: Path, tmp_path: Path) -> Path:
    """Return a folder of certificates that a test may change."""
    return Path(shutil.copytree(made_pki, tmp_path / "pki"))
