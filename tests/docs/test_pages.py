"""The site is whole: it builds without a warning, fetches nothing, and leaves nothing out."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs import generate
from steadyd.probes.catalogue import CATALOGUE
from tests.docs.blocks import ROOT
from tests.e2e.local import SLEEPER, local

PICTURES = {"page-light.png", "page-service-dark.png"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


class Fetched(HTMLParser):
    """What a browser fetches by itself for a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "link"):
            url = given.get("href" if tag == "link" else "src")
            if url and given.get("rel") != "canonical":
                self.urls.append(url)


def test_troubleshooting_quotes_what_is_printed() -> None:
    source = " ".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    text = re.sub(r'"\s+f?"', "", source)  # strings that go on in the next line
    rows = re.findall(r"^\| (.+?) \|", (ROOT / "docs/troubleshooting.md").read_text(), re.M)
    quoted = [quote for row in rows for quote in re.findall("`([^`]+)`", row)]
    parts = [part.strip(" ;?/") for quote in quoted for part in quote.split("…")]
    assert len(quoted) > 25
    assert [part for part in parts if part.lower() not in text.lower()] == []


def pages(site: Path) -> Iterator[tuple[Path, list[str]]]:
    found = sorted(site.glob("*.html"))
    assert len(found) > 12
    for page in found:
        yield page, Fetched(page.read_text("utf-8")).urls


def test_a_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page, urls in pages(site):
        assert urls
        assert [url for url in urls if re.match(r"(https?:)?//", url)] == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text("utf-8"))


def test_what_a_page_fetches_is_there(site: Path) -> None:
    for page, urls in pages(site):
        if page.name != "404.html":  # served from anywhere, so its links begin at the root
            gone = [u for u in urls if not (site / u.partition("?")[0]).exists()]
            assert gone == [], page.name


def test_rules_are_coloured(site: Path) -> None:
    page = (site / "rules.html").read_text("utf-8")

    assert re.search(r'<span class="k">check</span>', page)
    assert re.search(r'<span class="nv">memory:total_rss</span>', page)


def test_the_pictures_of_the_page_are_shown(site: Path) -> None:
    shown = {Path(url).name for _, urls in pages(site) for url in urls if "pictures/" in url}

    assert shown >= PICTURES


@pytest.mark.parametrize("name", sorted(generate.PAGES))
def test_what_is_made_is_as_it_would_be_made_now(name: str) -> None:
    committed = (ROOT / "docs" / name).read_text("utf-8")

    assert committed == generate.page(name), "run: python docs/generate.py"


def test_every_metric_that_a_rule_may_name_is_told() -> None:
    page = (ROOT / "docs/metrics.md").read_text("utf-8")

    assert [str(m.id) for m in CATALOGUE.metrics if f"| `{m.id}` |" not in page] == []


def test_every_metric_that_a_daemon_publishes_is_told(tmp_path: Path) -> None:
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    with local(tmp_path) as made:
        made.keep(puma=SLEEPER)
        made.rule("puma", "check service puma\n  if memory:rss > 1g then alert\n")
        made.rule("host", "check host\n  if load:5 > 1000 then alert\n")
        made.start()
        text = made.http("GET", "/metrics")[1]
    names = re.findall(r"^# HELP (\S+)", text, re.MULTILINE)

    assert len(names) > 30
    assert [name for name in names if f"| `{name}` |" not in page] == []
