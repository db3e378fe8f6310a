"""The boards as files: made by the script, within the rules, known to Grafana's schema."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.generate import BOARDS, texts
from tests.dashboards import lint, schema
from tests.dashboards.grafana import metrics_of, panels, queries

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "dashboards"


def board(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def test_the_committed_boards_are_what_the_script_makes() -> None:
    made = dict(texts())

    assert set(FOLDER.rglob("*.json")) == set(made)
    for path, text in made.items():
        assert path.read_text() == text, f"{path.name}: run python -m dashboards.generate"


def test_the_boards_keep_the_rules_but_for_exceptions_with_a_reason() -> None:
    allowed = set(lint.entries(lint.excluded(FOLDER)))
    found = {
        (fault.rule, (title := board(name)["title"]), fault.panel): f"{title}: {fault}"
        for name in BOARDS
        for fault in lint.faults(board(name))
    }

    wrong = [text for key, text in found.items() if key not in allowed]
    assert not wrong, "\n".join(wrong)
    assert not allowed - found.keys(), "exceptions that are no longer needed"


@pytest.mark.parametrize("name", BOARDS)
def test_grafanas_schema_knows_every_field(name: str) -> None:
    assert list(schema.problems(board(name))) == []


def _first(found: dict[str, Any], kind: str) -> Any:
    return next(panel for panel in found["panels"] if panel["type"] == kind)


def _misspell(found: dict[str, Any]) -> None:
    _first(found, "stat")["options"]["graphMood"] = "none"


def _no_such_choice(found: dict[str, Any]) -> None:
    _first(found, "timeseries")["fieldConfig"]["defaults"]["custom"]["drawStyle"] = "crayon"


def _no_such_mode(found: dict[str, Any]) -> None:
    _first(found, "stat")["options"]["colorMode"] = "loud"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [(_misspell, "graphMood"), (_no_such_choice, "crayon"), (_no_such_mode, "loud")],
)
def test_the_schema_finds_what_it_does_not_know(spoil: Any, told: str) -> None:
    found = board("services")
    spoil(found)

    (problem,) = schema.problems(found)
    assert told in problem


def _one_id_twice(found: dict[str, Any]) -> None:
    found["panels"][1]["id"] = found["panels"][2]["id"]


def _expr(text: str) -> Any:
    def spoil(found: dict[str, Any]) -> None:
        _first(found, "timeseries")["targets"][0]["expr"] = text

    return spoil


ON = 'job=~"$job", instance=~"$instance"'


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda found: found.update(editable=True), "uneditable-dashboard"),
        (lambda found: found.update(uid=""), "+uid"),
        (lambda found: found.update(id=3), "+id"),
        (_one_id_twice, "+panel-id"),
        (
            lambda found: _first(found, "stat").update(description=""),
            "panel-title-description-rule",
        ),
        (
            lambda found: _first(found, "stat")["fieldConfig"]["defaults"].update(unit="ells"),
            "panel-units-rule",
        ),
        (lambda found: found["templating"]["list"][1].update(multi=False), "template-job-rule"),
        (_expr("steadyd_rules"), "target-job-rule"),
        (_expr('steadyd_rules{job=~"$job"}'), "target-instance-rule"),
        (_expr(f"rate(steadyd_actions_total{{{ON}}}[5m])"), "target-rate-interval-rule"),
        (_expr(f"steadyd_actions_total{{{ON}}}"), "target-counter-agg-rule"),
        (_expr(f'steadyd_rules{{{ON}, name="$nobody"}}'), "+undefined-variable"),
    ],
)
def test_the_linter_finds_a_planted_fault(spoil: Any, rule: str) -> None:
    sound = board("services")
    spoilt = copy.deepcopy(sound)
    spoil(spoilt)

    new = set(lint.faults(spoilt)) - set(lint.faults(sound))
    assert rule in {fault.rule for fault in new}


# what the daemon has and no board nor rule asks for, with the reason
NOT_SHOWN = {
    "process_virtual_memory_bytes": "says nothing of what is used",
    "process_open_fds": "a rule of steadyd's own on itself is the place",
    "process_max_fds": "as above",
}


def test_every_metric_of_the_daemon_is_looked_at() -> None:
    golden = (ROOT / "tests/golden/metrics.prom").read_text()
    own = (ROOT / "src/steadyd/exposition/itself.py").read_text()
    process = re.findall(r'^    \(?"(\w+)", "(?:gauge|counter)"', own, re.MULTILINE)
    known = set(re.findall(r"^# TYPE (\w+)", golden, re.MULTILINE))
    known |= {
        f"process_{name}" + ("_total" if name == "cpu_seconds" else "")
        for name in ("start_time_seconds", *process)
    }
    asked = {
        metric for name in BOARDS for q in queries(board(name)) for metric in metrics_of(q.expr)
    }
    for path in (FOLDER / "prometheus").glob("*.yml"):
        asked |= metrics_of(path.read_text())
    asked = {metric.removesuffix("_bucket") for metric in asked}

    assert known - asked == NOT_SHOWN.keys()


def test_links_lead_to_boards_that_exist_and_the_pictures_are_small() -> None:
    uids = {board(name)["uid"] for name in BOARDS}
    linked = {uid for name in BOARDS for uid in re.findall(r"/d/([\w-]+)", json.dumps(board(name)))}
    assert linked == {"steadyd-service", "steadyd-services"}
    assert linked < uids

    pictures = list((ROOT / "docs/pictures").glob("dashboard-*.png"))
    assert {path.stem for path in pictures} == {f"dashboard-{name}" for name in BOARDS}
    assert all(path.stat().st_size < 200_000 for path in pictures)


def test_the_provisioning_names_the_folder_of_the_readme() -> None:
    (provider,) = yaml.safe_load((FOLDER / "provisioning.yml").read_text())["providers"]

    assert provider["type"] == "file"
    assert provider["options"]["path"] in (FOLDER / "README.md").read_text()


def test_what_is_shared_asks_for_a_data_source_and_is_else_the_same() -> None:
    for name in BOARDS:
        shared = json.loads((FOLDER / f"grafana.com/{name}.json").read_text())
        (asked,) = shared.pop("__inputs")
        plugins = {each["id"] for each in shared.pop("__requires")}
        assert asked["type"] == "datasource"
        assert plugins > {panel["type"] for panel in panels(board(name))}
        assert shared.pop("__elements") == {}
        first = shared["templating"]["list"][0]
        assert first.pop("current")["value"] == f"${{{asked['name']}}}"
        own = board(name)
        own["templating"]["list"][0].pop("current", None)
        assert shared == own
