import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadyd.model.metric import MetricId, Sample
from steadyd.model.service import ProcessId
from steadyd.probes.catalogue import metric_id
from steadyd.probes.host import cpu_seconds, disk_percent, loads, memory
from steadyd.probes.rates import FIRST, NO_PROCESS, host_readings, service_readings

MAIN = ProcessId(7, 1000)
OTHER = ProcessId(7, 2000)
RAW = {
    "rss": 10.0,
    "total_rss": 30.0,
    "user_seconds": 1.0,
    "system_seconds": 2.0,
    "total_user_seconds": 4.0,
    "total_system_seconds": 8.0,
    "processes": 3.0,
    "threads": 5.0,
    "zombies": 1.0,
    "open_fds": 12.0,
    "worst_fd_ratio": 0.5,
}


def sample(at: float, main: ProcessId | None = MAIN, **changes: float) -> Sample:
    return Sample(at, RAW | changes, main=main)


def one(name: str, previous: Sample | None, current: Sample | None) -> tuple[float | None, str]:
    metric = metric_id(name)
    reading = service_readings([metric], previous, current)[metric]
    return reading.value, reading.why_missing


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory:rss", 10),
        ("memory:total_rss", 30),
        ("process:count", 3),
        ("process:threads", 5),
        ("process:zombies", 1),
        ("process:fds", 12),
        ("process:fd_ratio", 50),
    ],
)
def test_a_gauge_is_the_newest_sample(name: str, value: float) -> None:
    assert one(name, None, sample(5)) == (value, "")


@pytest.mark.parametrize(
    ("name", "changes", "value"),
    [
        ("cpu:user", {"user_seconds": 2.0}, 50),
        ("cpu:system", {"system_seconds": 5.0}, 150),
        ("cpu:total_user", {"total_user_seconds": 4.5}, 25),
        ("cpu:total_system", {"total_system_seconds": 8.0}, 0),
        ("cpu:tree", {"total_user_seconds": 5.0, "total_system_seconds": 9.0}, 100),
    ],
)
def test_cpu_is_percent_of_one_core_over_the_true_time(
    name: str, changes: dict[str, float], value: float
) -> None:
    metric = metric_id(name)
    reading = service_readings([metric], sample(10), sample(12, MAIN, **changes))[metric]
    assert (reading.value, reading.elapsed) == (value, 2)


@pytest.mark.parametrize(
    ("previous", "current", "why"),
    [
        pytest.param(None, sample(1), FIRST, id="nothing before"),
        pytest.param(sample(1), None, NO_PROCESS, id="nothing now"),
        pytest.param(sample(1), sample(2, OTHER), FIRST, id="the pid is the same, not the process"),
        pytest.param(sample(1, None), sample(2), FIRST, id="a main process appeared"),
        pytest.param(sample(2), sample(2), "no time passed since the last reading", id="no time"),
        pytest.param(
            sample(1, user_seconds=3.0), sample(2), "the counter went back", id="went back"
        ),
    ],
)
def test_a_counter_that_cannot_be_told_is_unknown(
    previous: Sample | None, current: Sample | None, why: str
) -> None:
    assert one("cpu:user", previous, current) == (None, why)


def test_the_cpu_of_a_unit_without_a_main_process_is_known() -> None:
    later = sample(2, None, total_user_seconds=5.0)
    assert one("cpu:total_user", sample(1, None), later) == (100, "")


def test_a_missing_number_says_why() -> None:
    raw = {name: number for name, number in RAW.items() if name != "open_fds"}
    current = Sample(1, raw, {"open_fds": "no right"}, main=MAIN)
    assert one("process:fds", None, current) == (None, "no right")


def test_what_is_not_measured_is_unknown_and_the_inits_metrics_are_left_out() -> None:
    dark, init = MetricId("memory", "some"), MetricId("init", "up")
    readings = service_readings([dark, init], None, sample(1))
    assert list(readings) == [dark]
    assert readings[dark].value is None
    assert "memory:some" in readings[dark].why_missing


numbers = st.floats(0, 1e9)


@given(numbers, numbers, st.floats(0, 1e6), st.floats(0, 1e6))
def test_no_counter_is_ever_negative_or_infinite(a: float, b: float, t: float, u: float) -> None:
    value, why = one("cpu:user", sample(t, user_seconds=a), sample(u, user_seconds=b))
    assert (value is None) == bool(why)
    assert value is None or (value >= 0 and not math.isnan(value))


@given(st.lists(st.floats(0.001, 100), min_size=2, max_size=9))
def test_a_busy_core_is_100_percent_whatever_the_ticks_between(gaps: list[float]) -> None:
    at = 0.0
    for gap in gaps:
        before, after = sample(at, user_seconds=at), sample(at + gap, user_seconds=at + gap)
        value, _ = one("cpu:user", before, after)
        assert value == pytest.approx(100)
        at += gap


# the host

STAT = "cpu  100 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3\nbtime 1\n"


def test_host_cpu_sums_all_but_idle_and_guest() -> None:
    first = Sample(0, cpu_seconds(STAT, 100))
    busier = STAT.replace("100 20 30 400 50", "200 20 30 400 150")
    second = Sample(1, cpu_seconds(busier, 100))
    wanted = [metric_id(name) for name in ("cpu", "cpu:user", "cpu:system", "cpu:iowait")]
    values = {str(m): r.value for m, r in host_readings(wanted, first, second).items()}
    assert values == {"cpu": 200, "cpu:user": 100, "cpu:system": 0, "cpu:iowait": 100}


def test_a_kernel_without_steal_still_has_cpu() -> None:
    first, second = (Sample(at, cpu_seconds("cpu 1 2 3 4 5\n", 1)) for at in (0.0, 1.0))
    steal, cpu = metric_id("cpu:steal"), metric_id("cpu")
    readings = host_readings([steal, cpu], first, second)
    assert readings[cpu].value == 0
    assert readings[steal].value is None


@pytest.mark.parametrize(
    ("total", "free", "percent"),
    [(1000, 1000, 0), (1000, 0, 100), (1000, 999, 1), (1000, 500, 50), (3, 1, 67)],
)
def test_swap_is_rounded_up_as_in_the_ancestor(total: int, free: int, percent: float) -> None:
    text = f"MemTotal: 8 kB\nMemAvailable: 4 kB\nSwapTotal: {total} kB\nSwapFree: {free} kB\n"
    assert memory(text)["swap_used_percent"] == percent


def test_a_host_without_swap_has_no_swap() -> None:
    assert "swap_used_percent" not in memory("MemTotal: 8 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")


@pytest.mark.parametrize(
    ("blocks", "free", "available", "percent"),
    [
        pytest.param(100, 50, 50, 50, id="half"),
        pytest.param(1000, 999, 999, 1, id="rounded up"),
        pytest.param(100, 10, 0, 100, id="only root's reserve is left"),
        pytest.param(100, 100, 90, 0, id="empty"),
        pytest.param(0, 0, 0, None, id="no size"),
    ],
)
def test_disk_use_is_that_of_df(
    blocks: int, free: int, available: int, percent: float | None
) -> None:
    assert disk_percent(blocks, free, available) == percent


def test_loads() -> None:
    assert loads("0.50 1.25 2.00 1/99 4\n") == {"load1": 0.5, "load5": 1.25, "load15": 2}
