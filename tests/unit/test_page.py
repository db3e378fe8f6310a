import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from steadyd.exposition import human
from steadyd.exposition.api import WITHHELD
from steadyd.exposition.page import overview, service
from steadyd.exposition.page.draw import Curve, spark, timeline
from steadyd.exposition.page.rows import PER_PAGE, Beside, view_of
from steadyd.model.incident import Line, LineKind
from steadyd.model.metric import MetricId
from steadyd.model.service import ServiceState
from steadyd.model.silence import Silence, SilenceKind
from steadyd.model.snapshot import Chapter, Counters, FileView, JobView, Snapshot, Watched, Why
from tests.fakes.exposition import AT, HOSTILE, RULE, SECRET, snapshot

VOID = {"meta", "link", "br", "path", "rect", "input"}


class Checker(HTMLParser):
    """Tags that are closed in order, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def read(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    assert not checker.tags & {"img", "iframe"}
    assert html.count("<style") == 1
    return checker


def curve(service: str, metric: MetricId, most: int) -> tuple[float | None, ...]:
    values = (*(50e6 + 1e6 * step for step in range(200)), None, 250e6)
    return values[-most:] if metric.family == "memory" else ()


def states(service: str) -> tuple[tuple[float, ServiceState], ...]:
    return ((AT - 7200, ServiceState.ACTIVE), (AT - 300, ServiceState.FAILED))


BESIDE = Beside(curve, states, lambda name: (Watched(RULE, "ok"),))


def page(now: Snapshot, trusted: bool = True, **wanted: str) -> str:
    return overview.page(now, view_of(wanted, trusted), BESIDE)


def test_hostile_names_are_text() -> None:
    html = page(snapshot())
    assert HOSTILE in read(html).text
    assert "<script>alert" not in html


def test_free_text_is_for_the_operator() -> None:
    assert SECRET in page(snapshot())
    stranger = page(snapshot(), trusted=False)
    assert SECRET not in stranger
    assert "disk full" not in stranger


def test_it_shows_what_matters() -> None:
    text = read(page(snapshot())).text
    for shown in ("238.4 MiB", "3m 12s", "restart: not healed", "exited with 1", "no answer in 2 s",
                  "bad.inq", "1 / 3", "Open incidents", "up 1d", "no data for 1m 15s", "slack",
                  "3 messages not delivered yet, the oldest for 42s", "2 GiB"):  # fmt: skip
        assert shown in text


def test_what_is_muted_and_what_ran_late_is_told() -> None:
    muted = Silence("s", SilenceKind.DEPLOY, AT - 5, AT + 55, ("puma",), SECRET, "root")
    late = JobView("backup", 86400.0, AT - 100_000, AT - 13_600, True)
    now = replace(snapshot(), silences=(muted,), jobs=(late,))
    text = read(page(now)).text
    assert "Muted by a deploy for 1m: puma" in text
    assert "overdue" in text
    assert SECRET not in page(replace(now, files=(), actions=()), trusted=False)


def test_a_report_of_a_rule_file_keeps_its_caret_under_its_place() -> None:
    report = "a.inq:2:6: error: nobody knows\n      if memry > 2\n         ^\n    help: <memory>"
    bad = FileView("a.inq", False, "a.inq:2:6: error", report, "Its other rules are in force.")
    html = page(replace(snapshot(), files=(bad,)))
    assert report in read(html).text
    assert "Its other rules are in force." in html
    assert "memry" not in page(replace(snapshot(), files=(bad,)), trusted=False)


def rows_of(html: str) -> list[str]:
    return re.findall(r'<tr data-name="([^"]*)"', html)


def test_failed_services_come_first() -> None:
    assert [unescape(name) for name in rows_of(page(snapshot()))] == [HOSTILE, "ghost", "puma"]


def test_a_thousand_services_come_in_pages_of_which_each_is_small() -> None:
    now = snapshot(1000)
    seen: list[str] = []
    for number in range(1, 21):
        html = page(now, page=str(number))
        read(html)
        assert len(html) < 90_000
        assert ('rel="next"' in html, 'rel="prev"' in html) == (number < 20, number > 1)
        seen += rows_of(html)
    assert seen == [f"app{number:04d}" for number in range(1000)]
    assert rows_of(page(now, page="99999")) == rows_of(page(now, page="20"))


def test_services_are_chosen_by_name_and_state() -> None:
    now = snapshot(1000)
    assert rows_of(page(now, q="APP042")) == [f"app042{digit}" for digit in range(10)]
    assert rows_of(page(now, state="failed")) == []
    assert "No service is like this." in page(now, state="failed")
    assert [unescape(name) for name in rows_of(page(snapshot(), state="failed"))] == [HOSTILE]
    nonsense: Any
    for nonsense in ({"state": "<b>"}, {"page": "-1"}, {"page": "²"}, {"page": "0"}):
        assert len(rows_of(page(now, **nonsense))) == PER_PAGE
    assert 'value="&quot;&gt;&lt;b&gt;"' in page(now, q='"><b>')


def test_the_links_between_pages_keep_what_was_chosen() -> None:
    html = page(snapshot(1000), q="app0", page="2")
    assert './?q=app0&amp;page=1"' not in html
    assert 'rel="prev" href="./?q=app0"' in html


def test_an_empty_host_is_a_page_too() -> None:
    empty = replace(snapshot(), services=(), open=(), actions=(), files=(), inits=(), ready=False,
                    trouble=(), counters=Counters())  # fmt: skip
    text = read(page(empty)).text
    assert "No rule file names a service yet." in text
    assert "Not ready" in text
    assert "No route: alerts go to the log" in text


def test_everything_a_page_weighs_is_below_100_kb() -> None:
    folder = Path(overview.__file__).parent
    assets = sum((folder / name).stat().st_size for name in ("page.js", "icon.svg"))
    assert len(page(snapshot(1000)).encode()) + assets < 100_000


def test_the_page_of_a_service_has_its_curves_and_its_story() -> None:
    now = snapshot()
    view = service.find(now, "puma")
    assert view is not None
    lines = (Line("inc-1", AT - 190, LineKind.ACTION, f"restart asked: {SECRET}"),)
    why = Why(view, (Chapter(now.open[0], now.actions, lines),))
    html = service.page(now, view, why, BESIDE, 15.0, "")
    text = read(html).text
    for shown in ("memory:total_rss", "limit 2 GiB", "least 47.7 MiB", "50m 30s ago",
                  "if memory:total_rss > 2g then alert", "restart asked", SECRET):  # fmt: skip
        assert shown in text
    stranger = service.page(now, view, None, BESIDE, 15.0, "")
    assert SECRET not in stranger
    assert WITHHELD in read(stranger).text


def test_a_service_that_nobody_names_is_not_found() -> None:
    assert service.find(snapshot(), "nobody") is None
    assert service.find(snapshot(), "host") is None


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ((), ""),
        ((5.0,), "M0 20h0"),
        ((0.0, 10.0), "M0 38L1 2"),
        ((0.0, 0.0, 0.0, 10.0, 10.0), "M0 38h2L3 2h1"),
        ((0.0, None, None, 10.0), "M0 38h0M3 2h0"),
        ((None, 4.0, None), "M1 20h0"),
    ],
)
def test_a_curve_is_a_path_with_gaps_where_nothing_was_read(
    values: tuple[float | None, ...], path: str
) -> None:
    html = spark(Curve(MetricId("load", "1"), values))
    assert f'class="line" d="{path}"' in html


def test_a_limit_is_drawn_where_it_is_even_if_the_curve_never_gets_there() -> None:
    html = spark(Curve(MetricId("load", "1"), (0.0, 0.0), (10.0,)))
    assert 'class="limit" d="M0 2h1"' in html
    assert 'd="M0 38h1"' in html


def test_a_timeline_shows_one_hour_up_to_now() -> None:
    html = timeline(states(""), AT)
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)" width="([\d.]+)"', html)
    assert [name for name, *_ in bars] == ["active", "failed"]
    (_, x0, w0), (_, x1, w1) = bars
    assert float(x0) == 0
    assert float(w0) == float(x1)
    assert float(x1) + float(w1) == 60
    assert 5 <= float(w1) <= 6.1
    assert timeline((), AT).count("<rect") == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0 B"), (1023.0, "1023 B"), (1536.0, "1.5 KiB"), (250e6, "238.4 MiB"),
     (3e18, "2664.5 PiB")],
)  # fmt: skip
def test_sizes_are_readable(value: float | None, text: str) -> None:
    assert human.size(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.2, "0s"), (59.6, "1m"), (192, "3m 12s"), (3600, "1h"), (3605, "1h"),
     (86400 + 7200 + 5, "1d 2h"), (-5, "0s")],
)  # fmt: skip
def test_spans_are_readable(seconds: float | None, text: str) -> None:
    assert human.span(seconds) == text


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [("memory:rss", 1048576.0, "1.0 MiB"), ("cpu:user", 12.345, "12.3 %"), ("swap", 5.0, "5.0 %"),
     ("process:fd_ratio", 6.25, "6.2 %"), ("load:5", 1.5, "1.50"), ("process:count", 1234.0,
     "1,234"), ("down", None, "–")],
)  # fmt: skip
def test_values_have_the_unit_of_their_metric(metric: str, value: float | None, text: str) -> None:
    assert human.measure(metric, value) == text
