"""The tutorial, as it stands in the page: on a real systemd host with Debian's real puma.

The files are those of its blocks, the commands are typed in their order, and what they print
has the form that the page shows: numbers, times and ids are others.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks
from tests.e2e.kit import ROOT, SteadyHost, until

pytestmark = pytest.mark.host

PAGE = ROOT / "docs/tutorial.md"
SLACK_URL = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops"
APP_PORT = 9292
FIRST, BAD = 0, 1  # the rule files of the page, in their order

_VARIES = (
    (r"\b[0-9a-f]{16}\b", "ID"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", "TIME"),
    (r"\d[\d.]* [KM]iB", "SIZE"),
    (r"\b(\d+[dhm] )?\d+[dhms]\b(?!:)", "SPAN"),
    (r"[▁▂▃▄▅▆▇█]+", "CURVE"),
    (r"steadyd \d+\.\d+\.\d+", "VERSION"),
    (r"pid \d+", "PID"),
    (r" +", " "),
)


def form(text: str) -> list[str]:
    """Return the lines of a text without what differs from run to run."""
    for pattern, instead in _VARIES:
        text = re.sub(pattern, instead, text)
    return [line.strip() for line in text.strip().splitlines()]


def story() -> list[Block]:
    """Return the blocks of the part that is about systemd."""
    end = PAGE.read_text("utf-8").partition("\n## The same on Upstart")[0].count("\n")
    return [block for block in blocks(pages=(PAGE,)) if block.line <= end]


def titled(title: str) -> list[str]:
    return [block.text for block in story() if block.title == title]


def typed_and_told(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a block with what it prints."""
    for part in re.split(r"^[$#] ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@pytest.fixture
def host() -> Iterator[SteadyHost]:
    rules = titled("/etc/steadyd/rules.d/puma.inq")
    with SteadyHost(
        config='cycle = "1s"\n' + titled("/etc/steadyd/steadyd.toml")[0],
        default="REQUESTS_CA_BUNDLE=/etc/steadyd/slack.pem\n",
        rules={"puma.inq": rules[FIRST]},
        files={
            "/srv/app/config.ru": titled("/srv/app/config.ru")[0],
            "/srv/app/config/puma.rb": titled("/srv/app/config/puma.rb")[0],
            "/srv/puma.service": (ROOT / "systemd/examples/puma.service").read_text(),
            "/etc/steadyd/slack": (SLACK_URL + "\n", 0o640),
            "/etc/hosts": "127.0.0.1 localhost web1 hooks.slack.com\n",
        },
        hostname="web1",
    ) as made:
        made.run(["chgrp", "steadyd", "/etc/steadyd/slack"])
        made.sinks()
        made.put("/etc/steadyd/slack.pem", Path(f"{made.share}/slack.pem").read_text())
        yield made
        print(made.journal("-u", "steadyd.service")[-4000:])


def test_the_tutorial(host: SteadyHost) -> None:
    consoles = [block for block in story() if block.language == "console"]
    assert len(consoles) == 7
    for block in consoles:
        for command, output in typed_and_told(block):
            if "--wait" in command:
                host.put(
                    "/etc/steadyd/rules.d/puma.inq", titled("/etc/steadyd/rules.d/puma.inq")[BAD]
                )
            done = host.run(command.replace("systemd/examples/", "/srv/"), check=False)
            assert form(done.stdout + done.stderr) == form(output), command
            settle(host, command)


def settle(host: SteadyHost, command: str) -> None:
    """Wait for what a reader would see happen before the next command."""
    if command == "systemctl start puma":
        host.wait_listening(APP_PORT)
        workers = "pgrep -cP $(systemctl show -p MainPID --value puma)"
        until(lambda: host.run(workers, check=False).stdout.strip() == "2", what="two workers")
    elif command == "systemctl start steadyd":
        until(lambda: host.api("/api/v1/status")["services"][0]["metrics"], what="readings")
    elif "/leak" in command:
        until(lambda: host.incidents("puma"), what="the incident")
        until(lambda: host.incidents("puma")[0]["state"] == "closed", 60, "its end")
        (incident,) = host.incidents("puma")
        assert [(a["verb"], a["outcome"]) for a in incident["actions"]] == [("reload", "healed")]
        until(lambda: len(told(host)) == 3, 60, "test, opening and closing in Slack")
        for shown, text in zip(("opened", "closed"), told(host)[1:], strict=True):
            assert form(text) == form(titled(shown)[0])


def told(host: SteadyHost) -> list[str]:
    """Return the messages that Slack got, as people read them."""
    found = [post["body"]["attachments"][0] for post in host.arrived("posts")]
    return [f"{each['title']}\n{each['text']}".replace("&gt;", ">") for each in found]
