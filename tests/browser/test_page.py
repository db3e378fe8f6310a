"""The page of a real daemon in a real browser: what it shows, and that it stays true by itself."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.local import Local, local

Open = Callable[..., Page]

HOSTILE = "<img src=x onerror=document.title=1>"
LEAK = """
import pathlib, time
keep = []
while True:
    if pathlib.Path({switch!r}).exists():
        keep.append(bytearray(b"x" * 2**21))
    time.sleep(0.05)
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path) as host:
        program = tmp_path / "leak.py"
        program.write_text(LEAK.format(switch=str(tmp_path / "leak")))
        host.keep(app=f"{sys.executable} {program}", idle="sleep infinity")
        host.rule(
            "app",
            "check service app with settle 1s, verify 3s\n"
            "  if memory:total_rss > 60m then alert, restart\n  if down then alert\n",
        )
        host.rule("idle", f'check service idle\ncheck service "{HOSTILE}"\n  if down then alert\n')
        host.rule("host", "check host\n  if load:1 > 500 then alert\n")
        config = host.config(cycle="1s")
        config.write_text(config.read_text().replace("[web]\n", "[web]\nshow_details = true\n"))
        host.start()
        yield host


def address(host: Local, path: str = "/") -> str:
    return f"http://127.0.0.1:{host.port}{path}"


def test_it_shows_the_services_and_stays_live(host: Local, open_page: Open) -> None:
    page = open_page(address(host))
    row = page.locator("tr[data-name=app]")
    expect(row).to_contain_text("active")
    expect(row).to_contain_text("memory:total_rss")
    expect(page.locator("#live")).to_be_visible()
    expect(page.locator("#host")).to_contain_text("load:1")
    page.evaluate("window.same = true")
    (host.folder / "leak").touch()
    expect(page.locator("#incidents")).to_contain_text("memory:total_rss", timeout=20_000)
    expect(page).to_have_title(re.compile("1 open"))
    (host.folder / "leak").unlink()
    expect(page.locator("#actions")).to_contain_text("restart: healed", timeout=20_000)
    expect(page.locator("#incidents")).to_be_empty()
    expect(page.locator("#said")).to_have_text("app: memory:total_rss closed")
    assert page.evaluate("window.same"), "it was loaded again"


def test_a_broken_rule_file_shows_its_caret_and_a_mended_one_is_good(
    host: Local, open_page: Open
) -> None:
    page = open_page(address(host))
    rule = host.rules / "app.inq"
    good = rule.read_text()
    rule.write_text(good.replace("> 60m", "> sixty"))
    report = page.locator("#files pre")
    expect(report).to_contain_text("^")
    expect(report).to_contain_text("app.inq:2:")
    expect(page.locator("#files")).to_contain_text("Its last good text is in force.")
    expect(page.locator("tr[data-name=app]")).to_contain_text("memory:total_rss")
    rule.write_text(good)
    expect(report).to_have_count(0)


def test_a_hostile_name_is_text_everywhere(host: Local, open_page: Open) -> None:
    page = open_page(address(host))
    row = page.locator("tr", has_text=HOSTILE)
    expect(row).to_contain_text("unknown")
    row.locator("a").click()
    expect(page.locator("#head h2")).to_have_text(HOSTILE)
    expect(page.locator("#live")).to_be_visible()
    assert page.locator("img").count() == 0
    assert page.title() != "1"


def test_the_page_of_a_service_tells_why(host: Local, open_page: Open) -> None:
    page = open_page(address(host, "/service/app"))
    expect(page.locator("figure.chart svg")).to_have_count(1)
    (host.folder / "leak").touch()
    story = page.locator("#story")
    expect(story).to_contain_text("restart asked of supervisord", timeout=20_000)
    (host.folder / "leak").unlink()
    expect(story).to_contain_text("healed", timeout=20_000)
    page.locator("h1 a").click()
    expect(page.locator("tr[data-name=app]")).to_be_visible()


def test_without_javascript_it_is_a_table_that_reloads_itself(host: Local, open_page: Open) -> None:
    page = open_page(address(host), java_script_enabled=False)
    expect(page.locator("tr[data-name=app]")).to_contain_text("active")
    assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "30"
    assert re.fullmatch(r"\d+s", page.locator("header time").inner_text())
    page.locator("input[name=q]").fill("idl")
    page.locator("button").click()
    expect(page.locator("tr[data-name]")).to_have_count(1)


def test_a_daemon_that_is_gone_is_told_and_its_return_too(host: Local, open_page: Open) -> None:
    page = open_page(address(host), alone=True)
    expect(page.locator("#live")).to_be_visible()
    host.stop()
    expect(page.locator("#lost")).to_be_visible()
    expect(page.locator("#live")).to_be_hidden()
    host.start()
    expect(page.locator("#live")).to_be_visible(timeout=20_000)
    expect(page.locator("#lost")).to_be_hidden()


def test_it_is_used_by_keyboard(host: Local, open_page: Open) -> None:
    page = open_page(address(host))
    page.keyboard.press("Tab")
    expect(page.locator("a.skip")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("input[type=search]")).to_be_focused()
    page.keyboard.type("app")
    page.keyboard.press("Enter")
    expect(page.locator("tr[data-name]")).to_have_count(1)
    link = page.locator("tr[data-name=app] a")
    link.focus()
    page.evaluate("document.querySelector('tr[data-name=app]').setAttribute('old', '')")
    (host.folder / "leak").touch()  # the row is replaced while it has the focus
    expect(page.locator("tr[data-name=app][old]")).to_have_count(0)
    expect(link).to_be_focused()


def test_tables_have_heads_and_pictures_have_words(host: Local, open_page: Open) -> None:
    page = open_page(address(host))
    expect(page.locator("#live")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("main").count() == page.locator("h1").count() == 1
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("svg:not([aria-label]):not([aria-hidden=true])").count() == 0
    assert page.locator(".spark:has(svg[aria-hidden]) small:text(':')").count() == 2
    assert page.locator("input:not(label input), select:not(label select)").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(host: Local, open_page: Open, scheme: str) -> None:
    page = open_page(address(host), color_scheme=scheme)
    expect(page.locator("tr[data-name=app]")).to_be_visible()
    contrast = page.evaluate(
        """() => {
          const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
          const light = (text) => {
            const [r, g, b] = rgb(text).map((v) => v / 255)
              .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = (node) => {
            for (let at = node; at; at = at.parentElement) {
              const colour = getComputedStyle(at).backgroundColor;
              if (!/, 0\\)$/.test(colour) && colour !== "transparent") return colour;
            }
            return "rgb(255, 255, 255)";
          };
          let worst = 21;
          for (const node of document.querySelectorAll("a, b, td, th, small, p, span, .state")) {
            if (!node.innerText || node.classList.contains("skip")) continue;
            const pair = [light(getComputedStyle(node).color), light(ground(node))];
            pair.sort((a, b) => b - a);
            worst = Math.min(worst, (pair[0] + 0.05) / (pair[1] + 0.05));
          }
          return worst;
        }"""
    )
    assert contrast >= 4.5  # WCAG 2, 1.4.3


def test_a_chapter_that_was_opened_stays_open_and_keeps_the_focus(
    host: Local, open_page: Open
) -> None:
    page = open_page(address(host, "/service/app"))
    (host.folder / "leak").touch()
    chapters = page.locator("#story details")
    expect(chapters).to_have_count(1, timeout=20_000)
    (host.folder / "leak").unlink()
    expect(chapters).to_contain_text("healed", timeout=20_000)
    expect(page.locator("#open")).to_be_empty(timeout=20_000)
    # as it comes when it is closed; the reader opens it, and goes through it by keyboard
    page.reload()
    expect(page.locator("#live")).to_be_visible()
    assert chapters.get_attribute("open") is None
    chapters.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(chapters).to_have_attribute("open", "")
    chapters.first.evaluate("node => node.setAttribute('old', '')")
    (host.folder / "leak").touch()  # another incident: the story is told anew
    expect(chapters).to_have_count(2, timeout=20_000)
    expect(page.locator("#story details[old]")).to_have_count(0)
    expect(chapters.nth(1)).to_have_attribute("open", "")
    expect(chapters.nth(1).locator("summary")).to_be_focused()


def test_a_stale_link_leads_to_a_page_with_the_way_back(host: Local, open_page: Open) -> None:
    page = open_page(address(host), alone=True)
    answer = page.goto(address(host, "/service/nosuch"))
    assert answer is not None
    assert answer.status == 404
    expect(page.locator("#missing h2")).to_have_text("nosuch")
    host.rule("late", "check service nosuch\n")  # now one does name it
    expect(page.locator("#head h2")).to_have_text("nosuch", timeout=20_000)
    (host.rules / "late.inq").unlink()
    expect(page.locator("#missing h2")).to_have_text("nosuch", timeout=20_000)
    page.locator("#missing a").first.click()
    expect(page.locator("tr[data-name=app]")).to_be_visible()


def test_a_phone_shows_all_of_a_row_without_going_aside(host: Local, open_page: Open) -> None:
    phone = {"width": 360, "height": 700}
    page = open_page(address(host), viewport=phone)
    row = page.locator("tr[data-name=app]")
    expect(row.locator(".spark")).to_be_visible()
    (host.folder / "leak").touch()
    expect(page.locator("#incidents tbody td").last).to_be_visible(timeout=20_000)
    wide = """() => [document.documentElement, ...document.querySelectorAll(".scroll")]
      .map((node) => node.scrollWidth - node.clientWidth)"""
    assert set(page.evaluate(wide)) == {0}
    for cell in row.locator("td:visible").all():
        box = cell.bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= phone["width"]
    page.goto(address(host, "/service/app"))
    expect(page.locator("#charts svg").first).to_be_visible()
    assert set(page.evaluate(wide)) == {0}
