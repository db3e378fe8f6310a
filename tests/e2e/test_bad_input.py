"""Whatever is wrong around it, the daemon says so in one line or goes on; never a traceback."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from steadyd.store import VERSION
from tests.e2e.local import SLEEPER, Local, free_port, local, until
from tests.fakes.target import SECRET, Target, target

RULE = "check service app\n  if memory:rss > 1g then alert\n"
LEAKING = "check service app\n  if memory:rss > 90k then alert\n"  # every process is over this
# the daemon with short waits of its outbox and courier: there is no setting for them
IMPATIENT = """
import sys
from steadyd.delivery import dispatch, outbox
outbox.WAITS, outbox.GATHER, dispatch.TIMEOUT = (0.5,), 0.1, 2.0
from steadyd.__main__ import main
sys.exit(main())
"""


# the daemon that finds a handful of facts too many
NARROW = """
import sys
from steadyd import app
app.MOST_FACTS = 6
from steadyd.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path) as each:
        yield each
        assert "Traceback" not in each.log()
        assert SECRET not in each.log()


@pytest.fixture
def daemon(made: Local) -> Local:
    made.keep(app=SLEEPER)
    made.rule("app", RULE)
    made.start()
    return made


def status(made: Local) -> Any:
    """What `steadyd status --json` prints."""
    return json.loads(made.ask("status", "--json").stdout)


def state_of(made: Local, service: str) -> str:
    found = made.api("services")["services"]
    return next(str(s["state"]) for s in found if s["name"] == service)


# what cannot start


def refused(made: Local, code: int, *arguments: str, under: tuple[str, ...] = ()) -> str:
    """Start the daemon, which cannot start; return the one line that it says."""
    command = [*under, sys.executable, "-m", "steadyd", "run", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=made.environment, check=False
    )
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert re.fullmatch(r"steadyd: [^\n]+\n", done.stderr), done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules = [\n1 2]", r"steadyd\.toml: .*line [23]"),
        ("routs = {}", r"steadyd\.toml: unknown key routs; did you mean routes\?"),
        ("[web]\nport = 1", r"unknown key web\.port"),
        ('cycle = "often"', "cycle: `often`"),
        ('cycle = "1ms"', "between 50ms and 24h"),
        ("rules = 5", r"steadyd\.toml: .*rules"),
        ('[actions]\nhost_budget = "lots"', "host_budget"),
        ('[defaults]\ncooldown = "soon"', "cooldown"),
        ('[routes]\ndefault = ["file:nowhere"]', "route default: there is no .*/nowhere"),
        ('[routes]\ndefault = ["file:open"]', "may be read by everybody: chmod o-r"),
        ('[routes]\ndefault = ["file:empty"]', "is empty"),
        ('[routes]\ndefault = ["file:rules"]', "no regular file"),
        ('[inits.supervisord]\nurl = "ftp://u:hidden@h"', "neither unix:///PATH nor http"),
        ('[web]\nlisten = ["nonsense"]', "is no HOST:PORT"),
        ('control = "/%s"' % ("x" * 200), "longer than 107 bytes"),
        ('init = "runit"', "runit"),
        (b"\xff\xfe", r"steadyd\.toml: .*utf-8"),
    ],
)
def test_a_wrong_configuration_exits_2_and_says_where(
    made: Local, text: str | bytes, said: str
) -> None:
    (made.folder / "open").write_text(f"json://{SECRET}")
    (made.folder / "open").chmod(0o644)
    (made.folder / "empty").touch(0o600)
    path = made.folder / "steadyd.toml"
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(data if b"control" in data else _places(made) + data)
    line = refused(made, 2, "--config", str(path), "--state", str(made.folder / "state"))
    assert re.search(said, line), line
    assert SECRET not in line
    assert "hidden" not in line


def _places(made: Local) -> bytes:
    return f'control = "{made.control}"\n'.encode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--config", "/nowhere/steadyd.toml"), "there is no such file"),
        (("--config", "/"), "Is a directory"),
        (("--init", "upstart9"), "init system upstart9 does not run here"),
        (("--web.config.file", "/nowhere/web.yml"), r"/nowhere/web\.yml: No such file"),
        (("--web.listen-address", "::1:80"), "in brackets"),
        (("--web.listen-address", "127.0.0.1:99999"), "is no HOST:PORT"),
        (("--route", "default"), "write NAME=URL"),
        (("--cycle", "0"), "cycle"),
    ],
)
def test_a_wrong_option_exits_2(made: Local, arguments: tuple[str, ...], said: str) -> None:
    config = () if "--config" in arguments else ("--config", str(made.config()))
    assert re.search(said, refused(made, 2, *config, *arguments))


def test_a_bad_web_config_file_exits_2_with_its_place(made: Local) -> None:
    web = made.folder / "web.yml"
    web.write_text("tls_server_config: {cert_file: nowhere.pem, key_file: nowhere.key}\n")
    line = refused(made, 2, "--config", str(made.config()), "--web.config.file", str(web))
    assert "web.yml: " in line
    assert "nowhere.pem" in line


def test_a_port_that_is_taken_exits_1_and_names_it(made: Local) -> None:
    with socket.create_server(("127.0.0.1", made.port)):
        line = refused(made, 1, "--config", str(made.config()))
    assert f"another program has port {made.port}" in line
    assert not made.control.exists()
    made.start()  # nothing of the failed start is in the way


def test_a_second_instance_exits_1_whatever_it_shares(daemon: Local) -> None:
    assert daemon.daemon is not None
    config = ("--config", str(daemon.config()))
    other = ("--web.listen-address", f"127.0.0.1:{free_port()}")
    line = refused(daemon, 1, *config, *other, "--control", str(daemon.folder / "other.sock"))
    assert f"another steadyd (pid {daemon.daemon.pid}) uses the state folder" in line
    line = refused(daemon, 1, *config, *other, "--state", str(daemon.folder / "other"))
    assert f"another steadyd answers at {daemon.control}" in line
    assert daemon.ask("status").returncode == 0


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_control_path_that_is_something_else_exits_1_and_stays(made: Local, kind: str) -> None:
    made.control.write_text("precious") if kind == "file" else made.control.mkdir()
    assert "something else has this name" in refused(made, 1, "--config", str(made.config()))
    assert made.control.exists()


def test_a_stale_control_socket_is_no_obstacle(made: Local) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(made.control))
    made.start()
    assert made.ask("status").returncode == 0


@pytest.mark.parametrize("kind", ["below a file", "read-only", "full", "linked lock"])
def test_a_state_folder_that_cannot_be_used_exits_1(made: Local, kind: str) -> None:
    state = made.folder / "state"
    under: tuple[str, ...] = ()
    match kind:
        case "below a file":
            (made.folder / "file").touch()
            state = made.folder / "file" / "state"
        case "linked lock":
            state.mkdir()
            (state / "lock").symlink_to("/etc/passwd")
        case _:
            state.mkdir()
            size = "ro" if kind == "read-only" else "size=16k"
            under = mounted(state, size)
    line = refused(made, 1, "--config", str(made.config()), "--state", str(state), under=under)
    assert str(state) in line


def mounted(folder: Path, options: str) -> tuple[str, ...]:
    """Return a command that runs another one where a small file system lies on a folder."""
    script = f'mount -t tmpfs -o {options} none "{folder}" && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "sh")


# rule files and services


def test_bad_rule_files_of_every_kind_take_nothing_down_with_them(made: Local) -> None:
    made.keep(app=SLEEPER, web=SLEEPER)
    made.rule("app", RULE)
    made.rule("web", "check service web\n  if memory:total_rs > 1g then alert\n")
    made.rule("syntax", "check service app\n  if memory:rss > then alert\n")
    made.rule("writable", RULE).chmod(0o666)
    os.chown(made.rule("foreign", RULE), 65534, 65534)
    made.rule("empty", "")
    os.mkfifo(made.rules / "fifo.inq")
    with open(made.rules / "huge.inq", "wb") as huge:
        huge.truncate(2**30)
    (made.rules / "loop.inq").symlink_to("loop.inq")
    (made.rules / "gone.inq").symlink_to("nowhere")
    (made.rules / "device.inq").symlink_to("/dev/zero")
    (made.rules / "folder.inq").mkdir()
    (made.rules / "latin.inq").write_bytes("check service café\n".encode("latin-1"))
    (made.rules / "nul.inq").write_bytes(b"check service a\0b\n")
    (made.rules / os.fsdecode(b"na\xffme.inq")).write_text("check service\n")
    (made.rules / "control\x1b[2J\n.inq").write_text("check service\n")
    made.start()

    now = status(made)
    wrong = {Path(file["path"]).stem: file["error"] for file in now["files"] if not file["ok"]}
    for name, said in {
        "web": "2:6: error: ",
        "syntax": "2:19: error: ",
        "writable": "written by everybody",
        "foreign": "belongs to another user",
        "fifo": "no regular file",
        "huge": "larger than 1 MiB",
        "loop": "cannot be read",
        "gone": "cannot be read",
        "device": "no regular file",
        "folder": "no regular file",
        "latin": "not UTF-8",
        "nul": "error",
    }.items():
        assert said in wrong[name], wrong
    assert len(wrong) == 14
    assert all(error.replace("\ufffd", "").isprintable() for error in wrong.values()), wrong
    assert now["rules"]["disabled"] == 1
    assert {s["name"]: s["state"] for s in now["services"]} == {"app": "active", "web": "active"}
    assert made.metric("steadyd_config_last_reload_successful") == 0
    assert made.stop() == 0


@pytest.mark.parametrize("kind", ["missing", "file", "empty"])
def test_a_rules_folder_that_is_not_there_is_read_when_it_is(made: Local, kind: str) -> None:
    made.keep(app=SLEEPER)
    if kind != "empty":
        made.rules.rmdir()
    if kind == "file":
        made.rules.write_text(RULE)
    made.start()
    assert made.api("services")["services"] == []
    assert made.metric("steadyd_config_last_reload_successful") == (kind == "empty")
    if kind == "file":
        made.rules.unlink()
    made.rules.mkdir(exist_ok=True)
    made.rule("app", RULE)
    until(lambda: made.api("services")["services"], 10, "the rules that came late")
    until(lambda: state_of(made, "app") == "active", 10, "the service of these rules")


def test_an_unknown_service_is_told_and_picked_up_when_it_appears(made: Local) -> None:
    made.keep(app=SLEEPER)
    made.rule("ghost", "check service ghost\n  if memory:rss > 90k then alert\n")
    made.start()
    assert state_of(made, "ghost") == "unknown"
    for said in (made.ask("services"), made.ask("status"), made.ask("why", "ghost")):
        assert said.returncode == 0
        assert "no program ghost in" in said.stdout
    until(lambda: made.metric("steadyd_rules") == 2)
    assert made.incidents("ghost") == []

    made.keep_too(ghost=SLEEPER)
    until(lambda: state_of(made, "ghost") == "active", 10, "the ghost")
    until(lambda: made.incidents("ghost"), 10, "its rule works")
    assert made.metric('steadyd_service_processes{name="ghost"}') == 1


def test_a_supervisord_that_hangs_or_dies_is_no_service_that_is_down(made: Local) -> None:
    made.keep(app=SLEEPER)
    made.rule("app", "check service app\n  if down then alert\n")
    made.start()
    assert made.supervisord is not None
    up = 'steadyd_init_up{init="supervisord"}'
    assert made.metric(up) == 1
    made.supervisord.send_signal(signal.SIGSTOP)
    until(lambda: made.metric(up) == 0, 15, "the hang is noticed")
    assert state_of(made, "app") == "unknown"
    assert "no answer" in made.ask("status").stdout
    made.supervisord.send_signal(signal.SIGCONT)
    until(lambda: made.metric(up) == 1, 15, "it answers again")
    until(lambda: state_of(made, "app") == "active", 5)
    assert made.incidents("app") == []

    (pid,) = until(lambda: made.api("services")["services"][0]["pids"], 5)
    made.supervisord.send_signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    made.supervisord.send_signal(signal.SIGCONT)
    until(lambda: made.metric('steadyd_service_restarts_total{cause="init",name="app"}') == 1, 10)
    assert made.incidents("app") == []  # supervisord respawned it by itself


NAMED = """
import ctypes, os, sys, time
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)  # PR_SET_NAME
kept = bytearray(b"x" * (20 << 20))
for _ in range(2):
    if not os.fork():
        break
time.sleep(3600)
"""


@pytest.mark.parametrize("name", ["a b) R 1 (c", ") (", "((", "\n) S 1 1", "x\x1b[2J", "     "])
def test_processes_with_blanks_and_parentheses_in_their_names_are_measured(
    made: Local, name: str
) -> None:
    script = made.folder / "named.py"
    script.write_text(NAMED.replace("sys.argv[1]", repr(name)))
    made.keep(app=f"{sys.executable} {script}")
    made.rule("app", RULE.replace("rss", "total_rss"))
    made.start()
    until(lambda: made.metric('steadyd_service_processes{name="app"}') == 3, 10)
    (app,) = made.api("services")["services"]
    names = [Path(f"/proc/{pid}/comm").read_text() for pid in app["pids"]]
    assert names == [f"{name[:15]}\n"] * 3
    rss = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in app["pids"])
    told = made.metric('steadyd_service_memory_bytes{memtype="resident",name="app"}')
    assert told == pytest.approx(rss * os.sysconf("SC_PAGESIZE"), rel=0.02)
    assert told > 3 * 20 << 20


# alert targets


@contextmanager
def targets(made: Local, **kinds: int) -> Iterator[dict[str, Target]]:
    """Make alert targets, all of the default route: kind=status."""
    with ExitStack() as stack:
        there = {kind: stack.enter_context(target(status)) for kind, status in kinds.items()}
        for kind, each in there.items():
            secret = made.folder / f"url-{kind}"
            secret.touch(0o600)
            secret.write_text(each.url)
        names = ", ".join(f'"file:url-{kind}"' for kind in there)
        made.config(f"[routes]\ndefault = [{names}]\n")
        yield there


def test_targets_that_hang_refuse_or_redirect_hold_up_nobody_and_lose_nothing(
    made: Local,
) -> None:
    made.keep(app=SLEEPER)
    made.rule("app", LEAKING)
    with targets(made, good=200, hangs=0, fails=500, forbids=403, leads=302, moved=308) as there:
        made.start(program=("-c", IMPATIENT))
        until(lambda: there["good"].bodies, 10, "the good target gets its message")
        until(lambda: made.metric('steadyd_outbox_parcels{state="dead"}') == 0)
        until(lambda: made.metric("steadyd_undelivered_oldest_age_seconds") > 4, 10)
        bad = {kind: each for kind, each in there.items() if kind != "good"}
        assert all(each.asked > 1 for kind, each in bad.items() if kind != "hangs"), "tried again"
        assert status(made)["outbox"]["pending"] == len(bad)
        assert [each.followed for each in bad.values()] == [0] * len(bad)
        assert made.metric('steadyd_notifications_failed_total{integration="json"}') > len(bad)
        assert "5 messages not delivered yet" in made.ask("status").stdout

        for each in bad.values():
            each.status = 200
            each.released.set()
        until(lambda: status(made)["outbox"]["pending"] == 0, 30)
        (incident,) = made.incidents("app")
        for kind, each in there.items():
            assert incident["id"] in "".join(each.bodies), kind
        assert len(there["good"].bodies) == 1
        assert made.metric("steadyd_undelivered_oldest_age_seconds") == 0


def test_a_message_on_its_way_at_the_end_is_delivered_after_the_next_start(made: Local) -> None:
    made.keep(app=SLEEPER)
    made.rule("app", LEAKING)
    with targets(made, slow=0) as there:
        made.start()
        until(lambda: there["slow"].asked, 10, "the message is on its way")
        assert made.stop() == 0
        there["slow"].status = 200
        there["slow"].released.set()
        assert there["slow"].bodies == []
        made.start()
        until(lambda: there["slow"].bodies, 10, "the kept message")
        (incident,) = made.incidents("app")
        assert incident["id"] in there["slow"].bodies[0]


def test_the_end_comes_at_once_whatever_is_under_way(made: Local) -> None:
    """Ticks all the time, then a supervisord that does not answer."""
    made.keep(app=SLEEPER)
    made.config(cycle="50ms")
    made.rule("app", RULE)
    for count in (0, 10, 25, 45):
        made.start()
        until(lambda count=count: made.metric(EVALUATIONS) > count)  # type: ignore[misc]
        assert made.stop() == 0
    made.start()
    assert made.supervisord is not None
    made.supervisord.send_signal(signal.SIGSTOP)
    until(lambda: made.metric('steadyd_init_up{init="supervisord"}') == 0, 15)
    assert made.daemon is not None
    made.daemon.send_signal(signal.SIGINT)
    assert made.daemon.wait(3) == 0
    assert not made.control.exists()


EVALUATIONS = 'steadyd_rule_evaluations_total{group="0.05s"}'
STUBBORN = """
import signal, time
kept = []
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, lambda *_: kept.append(bytearray(b"x" * (90 << 20))))
while True:
    time.sleep(1)
"""


def test_a_verb_under_way_does_not_hold_the_end_up_and_is_not_asked_twice(made: Local) -> None:
    script = made.folder / "stubborn.py"
    script.write_text(STUBBORN)
    made.keep(stubborn=f"{sys.executable} {script}")
    made.rule("stubborn", "check service stubborn\n  if memory:total_rss > 60m then restart\n")
    made.start()
    (pid,) = until(lambda: made.api("services")["services"][0]["pids"], 5)
    until(lambda: made.metric('steadyd_rule_evaluations_total{group="1s"}') > 2)
    os.kill(pid, signal.SIGUSR1)
    until(lambda: made.api("actions")["actions"], 10, "the restart is asked")
    until(lambda: state_of(made, "stubborn") == "deactivating", 10)
    assert made.daemon is not None
    made.daemon.terminate()
    assert made.daemon.wait(3) == 0
    made.start()
    (action,) = made.api("actions")["actions"]
    assert action["outcome"] in (None, "unknown"), action
    os.kill(pid, signal.SIGKILL)


# who connects


def test_silent_and_greedy_clients_leave_everybody_else_served(daemon: Local) -> None:
    before = daemon.metric("process_resident_memory_bytes")
    with ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(
                socket.create_connection(("127.0.0.1", daemon.port), timeout=10)
            )

        for _ in range(300):
            connect()  # says nothing
        half = connect()
        half.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        greedy = connect()
        with suppress(OSError):
            for _ in range(64):
                greedy.sendall(b"X: " + b"y" * 65_536)
        for path in ("/-/healthy", "/metrics", "/", "/api/v1/status"):
            assert daemon.http("GET", path)[0] == 200
        for method, path in (("POST", "/-/reload"), ("DELETE", "/"), ("GET", "/../etc/passwd")):
            assert 400 <= daemon.http(method, path)[0] < 500
        assert raw(daemon, b"\x16\x03\x01\x02\x00" * 100)[:12] in (b"", b"HTTP/1.1 400")
        assert raw(daemon, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50_000)[:10] in (
            b"",
            b"HTTP/1.1 4",
        )
        huge = b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
        assert raw(daemon, huge)[:10] in (b"", b"HTTP/1.1 4")
        assert daemon.metric("process_resident_memory_bytes") < before + (32 << 20)
    assert daemon.ask("status").returncode == 0
    assert daemon.stop() == 0


def raw(made: Local, data: bytes) -> bytes:
    """Send bytes to the port; return what comes back at first."""
    with socket.create_connection(("127.0.0.1", made.port), timeout=30) as there:
        try:
            there.sendall(data)
            return there.recv(4096)
        except ConnectionError:
            return b""


# the state


def _text(path: Path) -> None:
    path.write_text("this is no database, and long enough to be looked at closely" * 100)


def _torn(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(8192))


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def _other_tables(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB)")
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.close()


def _odd_rows(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("REPLACE INTO units VALUES ('supervisord app', ?)", (b'{"invocation": 5',))
    db.close()


def _newer(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


@pytest.mark.parametrize("damage", [_text, _torn, _cut, _other_tables, _odd_rows, _newer])
def test_a_state_db_that_cannot_be_used_is_moved_aside_and_told(
    made: Local, damage: Callable[[Path], None]
) -> None:
    made.keep(app=SLEEPER)
    made.rule("app", RULE)
    made.start()
    assert made.stop() == 0
    database = made.folder / "state" / "state.db"
    damage(database)
    damaged = database.read_bytes()
    made.start()

    what = "newer" if damage is _newer else "corrupt"
    (trouble,) = status(made)["trouble"]
    assert f"was {what}; it is kept as state.db.{what}" in trouble
    assert trouble in made.ask("status").stdout
    assert what in made.log()
    (aside,) = database.parent.glob(f"state.db.{what}-*[0-9]")
    assert aside.read_bytes()[100:4096] == damaged[100:4096]
    assert state_of(made, "app") == "active"
    assert made.stop() == 0


@pytest.mark.parametrize("kind", ["folder", "fifo", "loop"])
def test_a_state_db_that_is_no_file_is_one_clear_line(made: Local, kind: str) -> None:
    database = made.folder / "state" / "state.db"
    database.parent.mkdir()
    match kind:
        case "folder":
            database.mkdir()
        case "fifo":
            os.mkfifo(database)
        case _:
            database.symlink_to(database)
    assert str(database) in refused(made, 1, "--config", str(made.config()))


def test_a_disk_that_fills_up_stops_no_watching_and_no_alert(made: Local) -> None:
    state = made.folder / "state"
    state.mkdir()
    made.under = list(mounted(state, "size=1m"))
    made.keep(app=SLEEPER)
    made.rule("app", RULE)
    with targets(made, good=200) as there:
        made.start()
        assert made.daemon is not None
        inside = Path(f"/proc/{made.daemon.pid}/root{state}")
        fill(inside / "filler")
        made.rule("app", LEAKING)
        until(lambda: there["good"].bodies, 20, "the alert")
        (trouble,) = status(made)["trouble"]
        assert "state.db" in trouble
        assert "full" in trouble
        assert "state.db" in made.log()
        (incident,) = status(made)["incidents"]

        (inside / "filler").unlink()
        until(lambda: not status(made)["trouble"], 20, "the disk takes it again")
        assert [i["id"] for i in made.incidents("app")] == [incident["id"]]
        assert made.stop() == 0


def fill(path: Path) -> None:
    """Fill a file system to its last byte."""
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert os.statvfs(path).f_bavail == 0


def test_a_full_disk_at_the_end_is_told_in_one_line(made: Local) -> None:
    state = made.folder / "state"
    state.mkdir()
    made.under = list(mounted(state, "size=1m"))
    made.keep(app=SLEEPER)
    made.rule("app", RULE)
    made.start()
    assert made.daemon is not None
    fill(Path(f"/proc/{made.daemon.pid}/root{state}/filler"))
    made.rule("app", LEAKING)
    until(lambda: status(made)["trouble"], 20)
    assert made.stop() == 1
    assert made.log().splitlines()[-1].startswith("steadyd: ")


def test_a_state_folder_that_is_deleted_meanwhile_ends_nothing(daemon: Local) -> None:
    shutil.rmtree(daemon.folder / "state")
    daemon.rule("app", LEAKING)
    until(lambda: status(daemon)["incidents"], 10)
    assert daemon.is_ready()


def test_the_api_survives_odd_questions(daemon: Local) -> None:
    for path in ("incidents?limit=-1", "incidents?limit=x", "actions?limit=99999999999999999999"):
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
        connection.request("GET", f"/api/v1/{path}")
        answer = connection.getresponse()
        body = json.loads(answer.read())
        connection.close()
        assert (answer.status, "error" in body) in ((200, False), (400, True)), body
    assert daemon.is_ready()


def test_a_state_db_that_rots_while_we_run_costs_the_history_and_nothing_else(
    daemon: Local,
) -> None:
    for file in (daemon.folder / "state").glob("state.db*"):
        with open(file, "r+b") as rotten:
            rotten.write(b"\xa5" * file.stat().st_size)
    daemon.rule("app", LEAKING)
    until(lambda: status(daemon)["incidents"], 10)

    assert daemon.http("GET", "/api/v1/incidents")[0] == 503
    why = daemon.ask("why", "app")
    assert (why.returncode, why.stderr.count("\n")) == (1, 1)
    assert "state.db" in why.stderr
    assert daemon.is_ready()


def test_too_many_facts_lose_none_that_counts(made: Local) -> None:
    names = [f"s{number}" for number in range(12)]
    made.keep(**dict.fromkeys(names, SLEEPER))
    made.rule("all", "".join(f"check service {name}\n" for name in names))
    made.start(program=("-c", NARROW))
    until(lambda: {state_of(made, name) for name in names} == {"active"}, 10)

    assert made.metric("steadyd_fact_queue_overflows_total") > 0


def test_a_hang_up_while_it_starts_is_a_reload(made: Local) -> None:
    made.keep(app=SLEEPER)
    for number in range(40):
        made.rule(f"app{number}", LEAKING.replace("90k", f"{number + 1}g") * 20)
    made.start(ready=False)
    assert made.daemon is not None
    until(lambda: (made.folder / "state" / "lock").exists())
    while not made.is_ready():
        if "SigCgt" in (caught := Path(f"/proc/{made.daemon.pid}/status").read_text()):
            mask = int(caught.partition("SigCgt:")[2].split()[0], 16)
            if mask >> (signal.SIGHUP - 1) & 1:
                made.daemon.send_signal(signal.SIGHUP)
    assert made.is_ready()


def test_a_kill_switch_that_cannot_be_looked_for_is_set(made: Local) -> None:
    made.keep(app=SLEEPER)
    (made.folder / "STOP").symlink_to(made.folder / "STOP")
    made.rule("app", RULE)
    made.start()
    made.rule("app", "check service app\n  if memory:rss > 90k for 2 cycles then alert, restart\n")
    until(lambda: "the kill switch is set" in made.log(), 10)


def test_a_manager_that_does_not_listen_ends_nothing(made: Local) -> None:
    made.environment["NOTIFY_SOCKET"] = str(made.folder / "nobody")
    made.keep(app=SLEEPER)
    made.rule("app", RULE)
    made.start("--ready", "notify")
    assert "cannot tell" in made.log()
    assert made.is_ready()


def test_the_verdict_of_check_stays_where_nobody_reads_it_all(made: Local) -> None:
    made.rule("bad", "check service app\n" + "  if nonsense\n" * 5000)
    for form in ("text", "json"):
        check = subprocess.Popen(
            [sys.executable, "-m", "steadyd", "check", str(made.rules), "--format", form],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert check.stdout is not None
        assert check.stderr is not None
        check.stdout.read(1)
        check.stdout.close()
        assert (check.stderr.read(), check.wait()) == (b"", 1)
        check.stderr.close()


def test_an_answer_that_cannot_be_written_is_one_line(made: Local) -> None:
    made.rule("app", RULE)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "steadyd", "check", str(made.rules)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "steadyd: cannot write the answer: No space left on device\n"
