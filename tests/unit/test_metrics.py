import os
import shutil
import subprocess
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from steadyd.exposition import delivery, itself, rules, services
from steadyd.exposition.families import Lines, write
from steadyd.exposition.metrics import Metrics, accepts_gzip, negotiate
from steadyd.model.metric import MetricId
from steadyd.model.service import ServiceState
from steadyd.model.snapshot import Snapshot
from steadyd.probes.procfs import ProcSampler
from tests.fakes.exposition import HOSTILE, gone, service, snapshot

GROUPS = {
    "services": services.collect,
    "rules": rules.collect,
    "delivery": delivery.collect,
    "itself": itself.collect,
}
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"


EXTRA = {
    "pss": 200e6,
    "user_seconds": 1.5,
    "memory_current": 300e6,
    "memory_working_set": 280e6,
    "memory_swap": 1e6,
    "memory_limit": 400e6,
    "throttled_seconds": 1.5,
    "read_bytes": 4096.0,
    "write_bytes": 8192.0,
    "oom_kills": 1.0,
    "pressure_cpu_percent": 2.41,
    "pressure_memory_percent": 12.0,
    "pressure_memory_full_percent": 0.5,
    "pressure_io_percent": 0.0,
}


def rich() -> Snapshot:
    """Return the snapshot with a service of which rules name all that can be measured."""
    now = snapshot()
    puma = now.services[0]
    assert puma.sample is not None
    sample = replace(puma.sample, raw={**puma.sample.raw, **EXTRA})
    daemon = {MetricId("puma", "backlog"): 3.0, MetricId("sidekiq", "queue:mail"): 7.0}
    named = frozenset((MetricId("memory", "rss"), MetricId("cpu", "user")))
    puma = replace(puma, sample=sample, daemon=daemon, named=named)
    host = replace(puma, name="host", sample=None, daemon={MetricId("disk", "/"): 42.0})
    return replace(now, services=(puma, *now.services[1:]), host=host)


def value(now: Snapshot, name: str, /, **labels: str) -> float | None:
    return Metrics().registry(now).get_sample_value(name, labels)


def test_the_whole_text_is_as_agreed(golden: Callable[[str, str], None]) -> None:
    text = Metrics(GROUPS).text(rich())[0].decode()
    stable = "".join(
        line
        for line in text.splitlines(keepends=True)
        if "steadyd_scrape_duration_seconds{" not in line and "_build_info{" not in line
    )
    golden("metrics.prom", stable)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_finds_nothing_to_complain_about() -> None:
    text = Metrics().text(rich())[0]
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_both_ways_of_writing_give_the_same_text() -> None:
    registry = Metrics(GROUPS).registry(rich())
    families = list(registry.collect())  # once: durations differ between two collections

    class Same:
        def collect(self) -> list[object]:
            return list(families)

    same = Same()
    assert write(same, Lines(), as_openmetrics=False) == generate_latest(same)  # type: ignore[arg-type]
    assert write(same, Lines(), as_openmetrics=True) == openmetrics.generate_latest(same)  # type: ignore[arg-type, no-untyped-call]


def test_parsers_read_hostile_names_back() -> None:
    text = Metrics().text(snapshot())[0].decode()
    open_text = Metrics().text(snapshot(), "application/openmetrics-text; version=1.0.0")[0]
    for families in (parse_text(text), parse_openmetrics(open_text.decode())):  # type: ignore[no-untyped-call]
        names = {s.labels.get("name") for family in families for s in family.samples}
        assert {"puma", HOSTILE, "ghost"} <= names


def test_a_name_that_is_no_utf8_does_not_break_the_scrape() -> None:
    now = replace(snapshot(), services=(service("caf\udce9"),))
    assert b'name="caf?"' in Metrics().text(now)[0]


def test_each_service_is_in_exactly_one_of_seven_states() -> None:
    now = snapshot()
    for view in now.services:
        ones = [value(now, "steadyd_service_state", name=view.name, state=s) for s in ServiceState]
        assert (len(ones), sum(one or 0 for one in ones)) == (7, 1)


def test_what_has_no_process_has_no_numbers_and_no_series_once_gone() -> None:
    now = snapshot()
    text = Metrics().text(now)[0].decode()
    assert 'steadyd_service_processes{name="ghost"}' not in text
    assert 'steadyd_service_restarts_total{cause="rule",name="ghost"} 0.0' in text
    after = Metrics().text(replace(now, services=now.services[:1], alerts=()))[0].decode()
    assert "ghost" not in after


def test_what_no_rule_names_has_no_family() -> None:
    text = Metrics().text(snapshot())[0].decode()
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    more = {line.split()[2] for line in _lines(rich()) if line.startswith("# TYPE")} - families
    assert {"steadyd_daemon_metric", "steadyd_service_oom_kills_total"} <= more
    assert len(more) == 13
    one = replace(rich().services[0], sample=None, daemon={MetricId("puma", "backlog"): 3.0})
    found = value(
        replace(snapshot(), services=(one,)),
        "steadyd_daemon_metric",
        name="puma",
        family="puma",
        metric="backlog",
    )
    assert found == 3.0


def _lines(now: Snapshot) -> list[str]:
    return Metrics().text(now)[0].decode().splitlines()


def test_ratios_are_of_one() -> None:
    labels = {"name": "puma", "resource": "memory"}
    assert value(rich(), "steadyd_service_pressure_ratio", kind="some", **labels) == 0.12
    assert value(rich(), "steadyd_service_pressure_ratio", kind="full", **labels) == 0.005


def test_two_rules_on_one_metric_are_one_series() -> None:
    text = Metrics().text(snapshot())[0].decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    series = [line.rpartition(" ")[0] for line in lines]
    assert len(series) == len(set(series))


def test_no_pid_no_created_and_no_label_that_targets_use() -> None:
    taken = {
        "region",
        "zone",
        "cluster",
        "az",
        "dc",
        "owner",
        "stage",
        "service",
        "environment",
        "env",
        "pid",
        "job",
        "instance",
    }
    for family in Metrics().registry(snapshot()).collect():
        assert family.name.startswith(("steadyd_", "process_"))
        assert not family.name.endswith("_created")
        for sample in family.samples:
            assert not taken & set(sample.labels)


def test_our_own_process_is_there() -> None:
    own = ProcSampler().own()
    now = replace(snapshot(), own=own)
    assert value(now, "process_resident_memory_bytes") == own["rss"] > 5e6
    assert value(now, "process_open_fds") == len(os.listdir("/proc/self/fd")) - 1


def test_a_broken_collector_is_a_metric_and_not_a_failed_scrape(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: Snapshot) -> list[object]:
        raise RuntimeError("no")

    text = Metrics({"broken": broken, **GROUPS}).text(snapshot())[0].decode()  # type: ignore[dict-item]
    assert 'steadyd_scrape_collector_success{collector="broken"} 0.0' in text
    assert 'steadyd_scrape_collector_success{collector="services"} 1.0' in text
    assert 'steadyd_service_state{name="puma",state="active"} 1.0' in text
    assert "the collector broken failed" in caplog.text


def test_parcels_are_in_one_state_each() -> None:
    now = snapshot()
    states = {s: value(now, "steadyd_outbox_parcels", state=s) for s in ("pending", "sending")}
    assert states == {"pending": 2.0, "sending": 1.0}


def test_a_service_without_a_unit_is_unknown() -> None:
    now = replace(snapshot(), services=(gone("ghost"),))
    assert value(now, "steadyd_service_state", name="ghost", state="unknown") == 1.0
    assert value(now, "steadyd_service_info", name="ghost", init="", unit="", type="") == 1.0


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;version=9.9.9\x01", OPENMETRICS),
        ("application/openmetrics-text", None),
        ("application/openmetrics-text;version=x", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_format_is_the_one_asked_for(accept: str, content_type: str | None) -> None:
    assert content_type is None or negotiate(accept) == content_type
    text, answered = Metrics(GROUPS).text(snapshot(), accept)
    assert text.endswith(b"# EOF\n") == answered.startswith("application/openmetrics-text")


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("*", True),
    ],
)
def test_gzip_only_for_who_asks(header: str, wanted: bool) -> None:
    assert accepts_gzip(header) is wanted
