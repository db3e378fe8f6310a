"""Every expression against a real Prometheus that scraped a real steadyd, and the pictures."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.generate import BOARDS
from tests.dashboards import render
from tests.dashboards.check import check, unexplained, unmeasured
from tests.dashboards.grafana import Query, metrics_of, view
from tests.dashboards.story import Told, story

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / ".cache/dashboards"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("prometheus"), reason="prometheus is not installed (Debian: prometheus)"
    ),
]
SHOWN = {"services": {}, "service": {"name": "leaks"}, "fleet": {}}


def board(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / f"dashboards/{name}.json").read_text())
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with story(tmp_path_factory.mktemp("s")) as found:
        yield found


def choices(told: Told, name: str) -> list[dict[str, str]]:
    """All that the reader of a board of one service may choose."""
    if name != "service":
        return [{}]
    return [{"name": each["name"]} for each in told.daemon.api("services")["services"]]


def test_every_expression_finds_something_or_is_named_as_not_measured(told: Told) -> None:
    wrong, missing = list[str](), list[Query]()
    for name in BOARDS:
        some, empty = check(told.prometheus, board(name), told.span, choices(told, name))
        wrong, missing = wrong + some, missing + empty
    silent, stale = unexplained(missing, unmeasured())

    assert not wrong, "\n".join(wrong)
    assert not silent, "\n".join(silent)
    assert not stale, f"{stale}: named in unmeasured.toml and measured all the same"


def test_a_planted_fault_is_found(told: Told) -> None:
    found = board("fleet")
    panel = next(panel for panel in found["panels"] if panel["type"] == "timeseries")
    (target,) = panel["targets"]
    for expr, what in (
        ("sum by (instance) (steadyd_alertz)", "finds nothing"),
        ("sum by (instance) (steadyd_alerts", "unclosed"),
        ("steadyd_alerts", "share the name"),
        ("sum (steadyd_alerts)", "the legend names instance"),
        ("sum by (instance) (steadyd_alerts) or steadyd_alertz", "no such metric"),
        ('sum by (instance) (steadyd_alerts{name!="$nobody"})', "not defined"),
    ):
        target["expr"] = expr
        wrong, missing = check(told.prometheus, found, told.span, [{}])
        silent, _ = unexplained(missing, unmeasured())

        assert [text for text in wrong + silent if expr in text and what in text], what


def test_prometheus_evaluates_all_rules_and_their_metrics_exist(told: Told) -> None:
    groups = told.prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 20
    assert [f"{r['name']}: {r['lastError']}" for r in rules if r.get("lastError")] == []
    assert {rule["health"] for rule in rules} == {"ok"}

    known, excused = told.prometheus.known(), [each.text for each in unmeasured()]
    for rule in rules:
        if rule["type"] == "recording":
            assert told.prometheus.ask("query", query=rule["name"])["result"], rule["name"]
        strange = {m for m in metrics_of(rule["query"]) - known if m not in excused}
        assert strange == set(), rule["name"]
        for alert in rule.get("alerts", ()):
            texts = " ".join(alert["annotations"].values())
            assert "<no value>" not in texts
            assert "error" not in re.sub(r"The log has the error", "", texts), texts


def test_what_went_wrong_in_the_story_is_alerted(told: Told) -> None:
    firing = told.prometheus.ask("query", query='ALERTS{alertstate="firing"}')["result"]

    assert {each["metric"]["alertname"] for each in firing} >= {
        "SteadydActionFailed",
        "SteadydActionDidNotHeal",
        "SteadydActionsHeldBack",
        "SteadydMessagesGivenUp",
    }


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
@pytest.mark.parametrize("opened", [False, True], ids=["as it comes", "all rows open"])
@pytest.mark.parametrize("name", BOARDS)
def test_a_picture_of_the_board_can_be_looked_at(told: Told, name: str, opened: bool) -> None:
    """They are left in .cache/dashboards."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"dashboard-{name}{'-open' if opened else ''}.png"
    path.unlink(missing_ok=True)
    seen = view(told.prometheus, told.span)
    seen.choose(board(name), SHOWN[name])
    text, height = render.page(seen, board(name), opened=opened)
    assert "class=e" not in text
    render.picture(text, height, path)

    assert path.stat().st_size > 20_000
