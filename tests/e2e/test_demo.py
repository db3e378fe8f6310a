"""The README's first command: it heals on one screen and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from steadyd.cli import demo
from steadyd.cli import demoplace as module
from steadyd.cli.demoscreen import curve
from steadyd.model.condition import Amount, Comparison, Operator
from steadyd.model.metric import MetricId
from tests.e2e.local import until
from tests.e2e.terminal import ENTRY, terminal


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for temporary files with a short name: sockets go there."""
    with tempfile.TemporaryDirectory(prefix="d") as folder:
        yield Path(folder)
        assert list(Path(folder).iterdir()) == []
        until(lambda: not of(Path(folder)), 5, f"processes are left: {of(Path(folder))}")


def of(place: Path) -> dict[int, str]:
    """The processes that know this folder for temporary files, with their commands."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"TMPDIR={place}\0".encode() in process.joinpath("environ").read_bytes():
                found[int(process.name)] = process.joinpath("cmdline").read_text(errors="replace")
    return found


def start(place: Path, *arguments: str, before: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", before + ENTRY, "demo", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(place), "PYTHONUNBUFFERED": "1"},
    )


def shown(process: subprocess.Popen[str], text: str) -> str:
    """Read the screen until a line has this text; return all of it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def test_once_it_heals_tells_and_ends_by_itself(place: Path) -> None:
    process = start(place, "--once")
    screen, _ = process.communicate(timeout=100)
    assert process.returncode == 0, screen
    said = [
        r"page     http://127\.0\.0\.1:\d+/",
        r"memory +\d+(\.\d)? MiB  █+",
        r"incident leaky: if memory:total_rss > 120m for 2 cycles then alert, reload: 1[2-9]\d",
        "action   leaky: reload asked of supervisord",
        r"message  \S+ leaky: memory:total_rss 1\d\d\S* MiB > 120\S* MiB",
        "outcome  leaky: reload: healed",
        "closed   leaky: recovered",
        r"message  \S+ leaky: .*(recovered after|was )",
        r"Healed and told in \d+ s\.",
    ]
    for pattern in said:
        assert re.search(pattern, screen), f"{pattern} is not in\n{screen}"
    assert "Traceback" not in screen
    assert "\x1b" not in screen


@pytest.mark.parametrize(
    ("trouble", "healed"),
    [("crash", "crashy: restart"), ("cpu", "busy: reload"), ("deadlock", "stuck: restart")],
)
def test_every_trouble_is_healed_and_told(place: Path, trouble: str, healed: str) -> None:
    process = start(place, "--once", "--trouble", trouble)
    screen, _ = process.communicate(timeout=100)
    assert process.returncode == 0, screen
    assert f"outcome  {healed}: healed" in screen
    assert "message  " in screen


def test_the_time_since_make_began_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(demo.STARTED, str(time.time() - 1000))
    process = start(place, "--once", "--trouble", "crash")
    screen, _ = process.communicate(timeout=100)
    assert re.search(r"in \d+ s, 10[0-9]\d s after `make demo`", screen), screen


def test_a_terminal_has_a_screen_on_which_rules_can_be_broken(place: Path) -> None:
    with terminal("demo", "--trouble", "crash", environment={"TMPDIR": str(place)}) as screen:
        screen.wait_for("break the rules", "what happened")
        screen.wait_for("crashy: restart")
        screen.press("b")
        screen.wait_for("did you mean then?", "mend the rules", "thne alert, reload", "   ^")
        screen.press("q")
        screen.wait_for("The demo has ended", "\x1b[?1049l")  # the terminal is as it was
        assert screen.end() == 0
    assert b"Traceback" not in screen.drawn


def test_the_curve_shows_its_limit_as_a_line() -> None:
    compared = Comparison(MetricId("cpu"), Operator.ABOVE, Amount("10%", 10.0))
    lines = [text.plain for text in curve([0.0, 5.0, 20.0], compared, 6, 4)]
    assert lines == ["  █", "┄┄█┄┄┄", "  █", " ██"]


@pytest.mark.parametrize("presses", [1, 3])
def test_ctrl_c_leaves_nothing_however_often_it_is_pressed(place: Path, presses: int) -> None:
    with start(place) as process:
        shown(process, "memory ")
        assert len(of(place)) >= 7  # the demo, supervisord, the apps, steadyd
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert rest.endswith("The demo has ended; nothing of it is left.\n")


def test_its_daemon_is_asked_as_the_demo_says(place: Path) -> None:
    with start(place) as process:
        (question,) = re.findall(r"ask +steadyd (.*)", shown(process, "memory "))
        asked = [sys.executable, "-m", "steadyd", *question.split()]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("leaky: active, leaky of supervisord")


def test_a_terminal_that_goes_away_leaves_nothing(place: Path) -> None:
    with start(place) as process:
        shown(process, "memory ")
        assert process.stdout is not None
        process.stdout.close()  # the next line has no reader
        assert process.wait(30) == 0


def test_a_port_that_is_taken_means_another_one(place: Path) -> None:
    with ExitStack() as stack:
        with suppress(OSError):  # whoever has it: it is taken
            stack.enter_context(socket.create_server(("127.0.0.1", module.PORT)))
        process = stack.enter_context(start(place))
        (page,) = re.findall(
            r"http://127\.0\.0\.1:(\d+)/  \(10870 is taken\)", shown(process, "page ")
        )
        assert int(page) != module.PORT
        shown(process, "memory ")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def test_without_supervisor_one_line_says_what_to_install(place: Path) -> None:
    hide = (
        "import importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'supervisor' else real(name, *a)\n"
    )
    with start(place, before=hide) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.startswith("steadyd demo: supervisor is missing; ")
    assert "pipx inject steadyd supervisor" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("route", ["foo", "://x", "slack://", "\x1b"])
def test_a_route_that_is_no_url_is_refused_at_once(place: Path, route: str) -> None:
    with start(place, "--once", "--route", route) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said.startswith("steadyd: --route ")
    assert said.count("\n") == 1
    assert "\x1b" not in said


def test_a_message_that_nobody_takes_is_told_as_such(place: Path) -> None:
    process = start(place, "--once", "--trouble", "crash", "--route", "json://127.0.0.1:9/")
    screen, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "outcome  crashy: restart: healed" in screen
    last = screen.splitlines()[-1]
    assert re.match("steadyd demo: healed, but the message was not delivered: .*JSON", last)


def test_a_steadyd_that_ends_ends_the_demo_with_its_last_words(place: Path) -> None:
    with start(place) as process:
        shown(process, "memory ")
        (daemon,) = (pid for pid, command in of(place).items() if "\0run\0" in command)
        os.kill(daemon, signal.SIGKILL)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "steadyd demo: steadyd has ended" in said
    assert "Traceback" not in said
