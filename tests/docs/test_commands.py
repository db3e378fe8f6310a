"""Every command of the documentation is understood; those that can run here are run.

They are run against a real daemon whose services, rules and routes have the names of the pages.
"""

import json
import os
import pwd
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import mkdtemp

import pytest

from steadyd.cli import COMMANDS, whole
from tests.docs.blocks import PAGES, ROOT, blocks, commands, inline, typed
from tests.e2e.local import SLEEPER, Local, local, until
from tests.fakes.target import target

# They do not end, or act on this machine; other tests run them. So it is with what asks a
# Prometheus (tests/contract/test_replay_prometheus.py).
NOT_RUN = {"run", "demo", "lsp", "top"}
OFFLINE = {"init", "check", "fmt", "import", "doctor", "grants"}
MAY_SAY_NO = {"doctor", "fmt"}  # something is dark in a sandbox; a page may be dressed unusually

RULES = {
    "puma": "check service puma\n  if memory:total_rss > 2g for 2 cycles then alert, restart\n",
    "nginx": "check service nginx\n  if memory:total_rss > 2g then alert\n",
    "host": "check host\n  if load:5 > 1000 then alert\n",
    "jobs": "check jobs\n  backup happens every day\n",
}
INSPEQTOR = {
    "inspeqtor.conf": "set cycle_time 15\n",
    "host.inq": "check host\n  if load:1 > 10 then alert\n",
    "services.d/puma.inq": "check service puma\n  if memory:rss > 1g then alert, restart\n",
}
MONIT = "check process puma with pidfile /run/puma.pid\n  if totalmem > 1 GB then restart\n"


def written() -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the arguments of every command that a person reads."""
    for block in blocks("console", "sh", ""):
        for line in typed(block) if block.language else block.text.splitlines():
            if block.language or line.startswith("steadyd "):
                yield from ((str(block), argv) for argv in commands(line))
    for page in PAGES:
        for text in inline(page):
            for argv in commands(text.replace("\n", " ").replace("…", "")):
                if argv[:1] != ["COMMAND"]:
                    yield from ((page.name, each) for each in variants(argv))


def variants(argv: list[str]) -> Iterator[list[str]]:
    """Yield what a usage stands for: `[--wait]` with and without, `add|list` as each of them."""
    some = []
    for word in argv:
        if word.startswith("["):
            some.append([[], [word.strip("[]")]] if word != "[]" else [[]])
        else:
            some.append([[each] for each in word.split("|")])
    for chosen in product(*some):
        yield [word for words in chosen for word in words if word]


WRITTEN = list(dict.fromkeys((place, tuple(argv)) for place, argv in written()))


@pytest.mark.parametrize(("place", "argv"), WRITTEN, ids=lambda value: str(value)[:60])
def test_every_command_is_one_that_the_parser_takes(
    place: str, argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        whole().parse_args(filled(argv))
    except SystemExit as end:
        if end.code:
            pytest.fail(capsys.readouterr().err)


def filled(argv: tuple[str, ...]) -> list[str]:
    """Return the arguments with values for what stands for one, and what a mention leaves out."""
    left_out: dict[tuple[str, ...], list[str]] = {
        ("why",): ["puma"],
        ("show",): ["puma", "memory:total_rss"],
        ("silence",): ["list"],
        ("deploy",): ["status"],
        ("grants",): ["polkit"],
        ("replay",): ["/etc/steadyd/rules.d"],
        ("job-done",): ["backup"],
        ("fmt",): ["/etc/steadyd/rules.d"],
        ("silence", "expire"): ["ID"],
    }
    if argv[:1] == ("import",):
        tool = argv[1] if argv[1:] else "monit"
        return ["import", tool, f"/etc/{'monit/monitrc' if tool == 'monit' else tool}"]
    return [*argv, *left_out.get(argv, [])]


def test_every_command_is_told_of() -> None:
    named = {argv[0] for _, argv in WRITTEN if argv}

    assert COMMANDS.keys() <= named
    page = (ROOT / "docs/commands.md").read_text("utf-8")
    assert [name for name in COMMANDS if f"\n## steadyd {name}\n" not in page] == []


# -- run


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    folder = tmp_path_factory.mktemp("docs")
    with local(folder) as made, target() as sink:
        made.keep(puma=SLEEPER, nginx=SLEEPER)
        for name, text in RULES.items():
            made.rule(name, text)
        url = f"json://127.0.0.1:{sink.server.server_port}/"
        made.config(f'[routes]\ndefault = ["{url}"]\nops = ["{url}"]\n')
        for name, text in INSPEQTOR.items():
            path = folder / "inspeqtor" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (folder / "monitrc").write_text(MONIT)
        made.start()
        shown = ["show", "puma", "memory:total_rss"]
        until(lambda: made.ask(*shown).returncode == 0, what="readings")
        yield made


RUN = dict.fromkeys(
    argv
    for _, argv in WRITTEN
    if argv and argv[0] not in NOT_RUN and "--watch" not in argv and "--prometheus" not in argv
)


@pytest.mark.parametrize("argv", RUN, ids=" ".join)
def test_a_command_does_what_it_is_to_do(argv: tuple[str, ...], daemon: Local) -> None:
    words = [here(word, daemon, argv[0]) for word in filled(argv)]
    if words[:2] == ["silence", "expire"]:
        daemon.ask("silence", "add", "puma")
        listed = json.loads(daemon.ask("silence", "list", "--json").stdout)
        words[2] = listed["silences"][0]["id"]
    if words[:2] == ["deploy", "finish"]:
        daemon.ask("deploy", "start", *words[2:])
    if words[0] == "init":  # else it would write where this machine has its own
        words = ["init", "--print"] if "--into" not in words else [*words[:2], str(first(daemon))]
    done = daemon.ctl(*placed(words, daemon))

    assert done.returncode in ((0, 1) if argv[0] in MAY_SAY_NO else (0,)), done.stderr
    assert "Traceback" not in done.stderr


def first(daemon: Local) -> Path:
    """Return a folder that is not there yet."""
    return Path(mkdtemp(dir=daemon.folder)) / "first"


def placed(words: list[str], daemon: Local) -> list[str]:
    """Return the arguments with the place of the daemon, or of its configuration."""
    config = ["--config", str(daemon.folder / "steadyd.toml")]
    if words[0] in ("check", "doctor", "grants"):
        return [*words, *config]
    if words[0] == "services" and "--rules" in words:
        return [*words, *config]
    return words if words[0] in OFFLINE else [*words, "--control", str(daemon.control)]


def here(word: str, daemon: Local, command: str) -> str:
    """Return a word with the places of a host in the sandbox; what stands for a value is one."""
    for there, place in (
        ("/etc/steadyd/rules.d", daemon.rules),
        ("/etc/inspeqtor", daemon.folder / "inspeqtor"),
        ("/etc/monit/monitrc", daemon.folder / "monitrc"),
    ):
        word = word.replace(there, str(place))
    filled = {
        "NAME": "backup" if command == "job-done" else "puma",
        "METRIC": "memory:total_rss",
        "ROUTE": "ops",
        "PATH": str(daemon.rules),
        "RULES": str(daemon.rules),
        "steadyd": user(),
    }
    return filled.get(word, word)


def user() -> str:
    """Return the user that runs this: there may be none called steadyd."""
    return pwd.getpwuid(os.geteuid()).pw_name
