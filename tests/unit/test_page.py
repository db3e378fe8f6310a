import random
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
from steadyd.exposition.page.draw import Curve, compared, spark, timeline
from steadyd.exposition.page.rows import PER_PAGE, Beside, Rows, view_of
from steadyd.model.condition import Amount, Comparison, Operator
from steadyd.model.incident import Line, LineKind
from steadyd.model.metric import MetricId
from steadyd.model.rule import Rule
from steadyd.model.service import ServiceState
from steadyd.model.silence import Silence, SilenceKind
from steadyd.model.snapshot import Chapter, Counters, FileView, JobView, Snapshot, Watched, Why
from tests.fakes.exposition import AT, HOSTILE, RULE, SECRET, action, incident, snapshot

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
BESIDE_EMPTY = Beside(lambda *_: (), states, lambda name: (Watched(RULE, "ok"),))


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
    for number in range(1, 26):
        html = page(now, page=str(number))
        read(html)
        assert len(html) < 90_000
        assert ('rel="next"' in html, 'rel="prev"' in html) == (number < 25, number > 1)
        seen += rows_of(html)
    assert seen == [f"app{number:04d}" for number in range(1000)]
    assert rows_of(page(now, page="99999")) == rows_of(page(now, page="25"))


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


def test_a_page_of_busy_services_weighs_no_more() -> None:
    dice = random.Random(1)
    jagged = Beside(
        lambda _name, _metric, most: tuple(dice.uniform(1e8, 9e8) for _ in range(most)),
        states,
        lambda name: tuple(
            Watched(replace(RULE, condition=replace(RULE.condition, metric=metric)), "firing")
            for metric in (MetricId("memory", f"metric{number}") for number in range(4))
        ),
    )
    now = replace(
        snapshot(1000),
        open=tuple(incident(f"inc-{n}", f"app{n:04d}") for n in range(1000)),
        actions=tuple(action(f"act-{n}", f"inc-{n}") for n in range(50)),
    )
    html = overview.page(now, view_of({}, True), jagged)
    folder = Path(overview.__file__).parent
    assets = sum((folder / name).stat().st_size for name in ("page.js", "icon.svg"))
    assert len(html.encode()) + assets < 100_000


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
    assert text.count("2 GiB") == 2  # the limit, and the height of it
    assert "200 MiB" in text
    assert not re.search(r"\b(2|200)\.0 [GM]iB", text)
    stranger = service.page(now, view, None, BESIDE, 15.0, "")
    assert SECRET not in stranger
    assert WITHHELD in read(stranger).text


def test_a_thousand_incidents_files_and_jobs_are_cut_and_counted() -> None:
    now = snapshot(1000)
    report = "a.inq:2:6: error: nobody knows the metric `memory:total_rs`\n    help: total_rss"
    now = replace(
        now,
        open=tuple(incident(f"inc-{n}", f"app{n:04d}") for n in range(1000)),
        actions=tuple(action(f"act-{n}", f"inc-{n}") for n in range(50)),
        files=tuple(FileView(f"/rules.d/{n}.inq", n % 2 == 0, report, report) for n in range(900)),
        jobs=tuple(JobView(f"job{n}", 60.0, AT, AT, n == 799) for n in range(800)),
    )
    html = page(now)
    read(html)
    folder = Path(overview.__file__).parent
    assets = sum((folder / name).stat().st_size for name in ("page.js", "icon.svg"))
    assert len(html.encode()) + assets < 100_000
    text = read(html).text
    for shown in ("980 more; steadyd status tells all", "885 more; steadyd check", "785 more; /api",
                  "overdue"):  # fmt: skip
        assert shown in text
    assert "/rules.d/1.inq" in text  # those with errors first
    assert "more;" not in page(snapshot())
    view = service.find(now, "app0000")
    assert view is not None
    many = replace(now, open=tuple(incident(f"inc-{n}", "app0000") for n in range(500)))
    assert "485 more" in service.page(many, view, None, BESIDE, 15.0, "")


def test_a_rule_on_what_cannot_be_read_is_not_ok() -> None:
    memory = MetricId("memory", "total_rss")
    dark = Watched(RULE, "ok", {memory: "no right to <read> it"}, unknown=True)
    nothing = Beside(lambda *_: (None, None), states, lambda name: (dark,))
    now = snapshot()
    view = service.find(now, "puma")
    assert view is not None
    made = service.parts(now, view, nothing, 15.0, now.at)
    assert '<td class="state warn">unknown</td>' in made["rules"]
    rests = replace(view, processes=(), main_pid=0, sample=None)
    made_of_none = service.parts(now, rests, nothing, 15.0, now.at)
    assert '<td class="state calm">unknown</td>' in made_of_none["rules"]
    assert "no reading of memory:total_rss: no right to &lt;read&gt; it" in made["rules"]
    assert "no reading: no right to &lt;read&gt; it" in made["charts"]
    firing = Beside(lambda *_: (), states, lambda name: (replace(dark, phase="firing"),))
    assert "firing</td>" in service.parts(now, view, firing, 15.0, now.at)["rules"]
    assert "no reading yet" in service.parts(now, view, BESIDE_EMPTY, 15.0, now.at)["charts"]


def test_memory_is_told_by_the_reading_that_is_drawn_beside_it() -> None:
    now = snapshot()  # the sample says 250e6 bytes
    drawn = Beside(lambda *_: (10e6,), states, lambda name: (Watched(RULE, "ok"),))
    row = Rows(drawn).still(now.services[0], AT, 3)
    assert row.count("9.5 MiB") == 2  # beside the curve, and in the column
    assert "238.4 MiB" not in row
    assert "238.4 MiB" in Rows(BESIDE_EMPTY).still(now.services[0], AT, 3)  # no rule names it


def compares(metric: str, operator: Operator = Operator.ABOVE) -> Rule:
    condition = Comparison(MetricId(metric), operator, Amount("2", 2.0))
    return replace(RULE, condition=condition)


def test_a_row_counts_the_curves_that_it_does_not_draw_and_draws_what_fires() -> None:
    rules = tuple(
        Watched(compares(name), "firing" if name == "e" else "ok") for name in ("a", "b", "c", "e")
    )
    row = Rows(Beside(lambda *_: (1.0,), states, lambda name: rules)).still(
        snapshot().services[0], AT, 3
    )
    assert row.count('<span class="spark">') == 3
    assert "<small>e " in row
    assert "<small>1 more</small>" in row
    few = Rows(Beside(lambda *_: (1.0,), states, lambda name: rules[:3]))
    assert "more" not in few.still(snapshot().services[0], AT, 3)


def test_what_is_wished_is_not_drawn_as_a_limit() -> None:
    (unequal,) = compared((Watched(compares("a", Operator.UNEQUAL), "ok"),))
    (above,) = compared((Watched(compares("a"), "ok"),))
    assert (unequal.limits, above.limits) == ((), (2.0,))


def test_a_state_that_goes_on_is_not_said_to_last_longer_than_it_does() -> None:
    told = timeline(((AT - 1341, ServiceState.ACTIVE), (AT - 141, ServiceState.FAILED)), AT)
    assert 'aria-label="states: active for 20m, failed for 2m"' in told
    assert "failed just now" in timeline(((AT - 41, ServiceState.FAILED),), AT)


def test_the_title_of_a_service_tells_of_its_incidents() -> None:
    now = snapshot()
    assert service.title(now, now.services[0]) == "puma: active, 1 open, web1"
    assert service.title(replace(now, open=()), now.services[0]) == "puma: active, web1"


def test_each_page_skips_to_what_it_has() -> None:
    now = snapshot()
    html = service.page(now, now.services[0], None, BESIDE, 15.0, "")
    for text, target in ((html, "main"), (page(now), "services")):
        assert f'class="skip" href="#{target}"' in text
        assert text.count(f'id="{target}"') == 1
    assert "Skip to the services" not in html


def test_the_foot_names_the_command_only_to_whom_the_page_tells_no_why() -> None:
    now = snapshot()
    why = Why(now.services[0], ())
    hint = "steadyd why NAME"
    assert hint in page(now, trusted=False)
    assert hint not in page(now)
    assert hint in service.page(now, now.services[0], None, BESIDE, 15.0, "")
    assert hint not in service.page(now, now.services[0], why, BESIDE, 15.0, "")


def test_what_is_withheld_names_the_mend() -> None:
    now = snapshot()
    for html in (page(now, trusted=False), service.page(now, now.services[0], None, BESIDE, 9, "")):
        assert "show_details = true under [web]" in html
        assert "authentication" in html
    assert "show_details" not in page(now)


def test_a_verb_of_less_than_a_second_took_some_time() -> None:
    quick = replace(action(), finished_at=AT - 189.8)
    assert '<td class="n">0.2s</td>' in page(replace(snapshot(), actions=(quick,)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0, "under 0.1s"),
        (0.2, "0.2s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (75.0, "1m 15s"),
    ],
)
def test_what_is_short_is_told_in_tenths(seconds: float | None, text: str) -> None:
    assert human.took(seconds) == text


def test_a_service_that_nobody_names_has_a_page_with_the_way_back() -> None:
    html = service.missing(snapshot(), HOSTILE, "")
    assert HOSTILE in read(html).text
    assert '<a href="../">' in html
    assert 'href="../?q=%3Cscript' in html


def test_a_service_that_nobody_names_is_not_found() -> None:
    assert service.find(snapshot(), "nobody") is None
    assert service.find(snapshot(), "host") is None


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ((), ""),
        ((5.0,), "M0 20h0"),
        ((0.0, 10.0), "M0 38l1-36"),
        ((0.0, 0.0, 0.0, 10.0, 10.0), "M0 38h2l1-36h1"),
        ((10.0, 5.0, 0.0, None, 5.0), "M0 2l1 18 1 18M4 20h0"),
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
