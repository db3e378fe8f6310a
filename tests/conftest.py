"""Golden files (`pytest --update-golden` rewrites them), and what a run left out."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.inithost import cgroup2_mount

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/*")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the golden file of that name."""

    def compare(name: str, text: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, "utf-8")
        assert text == file.read_text("utf-8")

    return compare


# -- what was left out is told, and with CI=true it fails the run

GROUPS = (
    "unit",
    "simulation",
    "architecture",
    "contract",
    "dashboards",
    "hosts",
    "e2e",
    "browser",
    "packages",
    "docs",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    why = _no_hosts()
    if why:
        for item in items:
            if item.get_closest_marker("host"):
                item.add_marker(pytest.mark.skip(reason=why))


def _no_hosts() -> str:
    """Say why this machine cannot boot test hosts, "" if it can."""
    if os.geteuid() != 0:
        return "needs root: it boots a real init system"
    if cgroup2_mount() is None:
        return "needs a cgroup v2 mount"
    return ""


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and os.environ.get("CI") == "true" and exitstatus == 0:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]) for report in skipped)
    for reason, count in reasons.items():
        terminalreporter.write_line(f"left out: {count} tests: {reason.removeprefix('Skipped: ')}")
    ran = {Path(r.nodeid).parts[1] for r in terminalreporter.stats.get("passed", []) if r.nodeid}
    missing = [group for group in GROUPS if group not in ran]
    if missing and len(ran) > 1:
        terminalreporter.write_line(f"no test ran in: {', '.join(missing)}")
