"""The rules for Prometheus, judged by promtool."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dashboards.grafana import queries

FOLDER = Path(__file__).resolve().parents[2] / "dashboards/prometheus"
needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)"
)


def rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*words: str, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@needs_promtool
def test_promtool_takes_the_rules() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml", "recording.yml")

    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_each_alert_fires_when_it_should_and_not_otherwise() -> None:
    done = promtool("test", "rules", "tests.yml")

    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("alert", [rule["alert"] for rule in rules("alerts.yml")])
def test_an_alert_that_never_or_always_fires_is_found(alert: str, tmp_path: Path) -> None:
    for path in FOLDER.glob("*.yml"):
        shutil.copy(path, tmp_path)
    groups = yaml.safe_load((tmp_path / "alerts.yml").read_text())
    (rule,) = (r for g in groups["groups"] for r in g["rules"] if r.get("alert") == alert)
    for expr in (f"({rule['expr']}) and on () vector(1) == 0", "vector(1)"):
        rule["expr"] = expr
        (tmp_path / "alerts.yml").write_text(yaml.safe_dump(groups))
        done = promtool("test", "rules", "tests.yml", folder=tmp_path)

        assert done.returncode == 1
        assert alert in done.stdout + done.stderr


def test_alerts_say_what_is_wrong_and_the_mend_with_labels_that_they_have() -> None:
    tests = yaml.safe_load((FOLDER / "tests.yml").read_text())["tests"]
    samples = [
        sample["labels"]
        for test in tests
        for case in test["promql_expr_test"]
        for sample in case.get("exp_samples") or ()
    ]
    for rule in rules("alerts.yml"):
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        own = [labels for labels in samples if f'alertname="{rule["alert"]}"' in labels]
        assert own
        for labels in own:
            assert named <= set(re.findall(r'(\w+)="', labels)), rule["alert"]


def test_what_is_recorded_is_named_as_level_metric_operations() -> None:
    for rule in rules("recording.yml"):
        assert re.fullmatch(r"(instance|instance_name):steadyd_\w+:\w+", rule["record"])


def asked(board: str, place: str) -> str:
    """What a number of a board asks where all hosts are chosen."""
    found = json.loads((FOLDER.parent / f"{board}.json").read_text())
    (expr,) = (query.expr for query in queries(found) if query.place == place)
    return re.sub(r"\$\w+", ".+", expr)


@needs_promtool
@pytest.mark.parametrize(
    ("board", "place"), [("fleet", "Silent hosts A"), ("services", "Out of sight A")]
)
def test_dead_targets_of_other_jobs_are_not_counted_as_daemons(
    board: str, place: str, tmp_path: Path
) -> None:
    """Daemon a dies after two minutes; the target of job `node` never answered, nor is it ours."""
    a, b, other = (
        f'{{instance="{instance}", job="{job}"}}'
        for instance, job in (("a:1", "steadyd"), ("b:1", "steadyd"), ("a:2", "node"))
    )
    series = {
        f"up{a}": "1 1 1 0x9", f"steadyd_build_info{a}": "1 1 1 stale", f"up{b}": "1x12",
        f"steadyd_build_info{b}": "1x12", f"up{other}": "0x12",
        f"steadyd_init_up{a}": "1 1 1 stale", f"steadyd_init_up{b}": "1x12",
    }  # fmt: skip
    expr = asked(board, place)
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": expr, "eval_time": at, "exp_samples": [{"labels": "{}", "value": value}]}
            for at, value in (("1m", 0), ("10m", 1))
        ],
    }
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"rule_files": [], "tests": [case]}))

    done = promtool("test", "rules", "tests.yml", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
