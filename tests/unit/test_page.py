from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from steadyd.exposition import human
from steadyd.exposition.page import page
from tests.fakes.exposition import HOSTILE, SECRET, snapshot

VOID = {"meta", "link", "br"}


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

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    assert not checker.tags & {"script", "style", "img", "iframe", "form"}
    return checker


def test_hostile_names_are_text() -> None:
    assert HOSTILE in read(page(snapshot(), trusted=True)).text


def test_free_text_is_for_the_operator() -> None:
    assert SECRET in page(snapshot(), trusted=True)
    stranger = page(snapshot(), trusted=False)
    assert SECRET not in stranger
    assert "disk full" not in stranger


def test_it_shows_what_matters() -> None:
    text = read(page(snapshot(), trusted=True)).text
    for shown in ("238.4 MiB", "3m 12s", "restart: not healed", "exited with 1", "no answer in 2 s",
                  "bad.inq", "1 / 3", "Open incidents", "up 1d", "no data for 1m 15s"):  # fmt: skip
        assert shown in text


def test_failed_services_come_first() -> None:
    text = read(page(snapshot(), trusted=True)).text
    section = text[text.index("CPU time") :]
    assert section.index(HOSTILE) < section.index("ghost") < section.index("puma")


def test_a_thousand_services_fit() -> None:
    html = page(snapshot(1000), trusted=True)
    read(html)
    assert html.count("app0999") == 2
    assert len(html) < 500_000


def test_an_empty_host_is_a_page_too() -> None:
    empty = replace(snapshot(), services=(), open=(), actions=(), files=(), inits=(), ready=False,
                    trouble=())  # fmt: skip
    text = read(page(empty, trusted=True)).text
    assert "No rule file names a service yet." in text
    assert "Not ready" in text


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
