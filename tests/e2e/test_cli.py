"""Every command against a live daemon: what people read, what scripts read, and the exit codes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from steadyd.cli.grants import polkit
from tests.e2e.local import SLEEPER, Local, local, until
from tests.fakes.target import SECRET, Target, target

# -- shapes (contract.md, section 4)

Shape = Any  # a test, a tuple of shapes (any of them), [shape] (a list of it), {key: shape}


def text(value: object) -> bool:
    return isinstance(value, str)


def number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def boolean(value: object) -> bool:
    return isinstance(value, bool)


def time(value: object) -> bool:
    return isinstance(value, str) and bool(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value)
        and datetime.fromisoformat(value)
    )


def identity(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[0-9A-Za-z-]+", value))


def one_of(*words: str | None) -> Callable[[object], bool]:
    return lambda value: value in words


def null(value: object) -> bool:
    return value is None


STATES = ("active", "activating", "reloading", "deactivating", "inactive", "failed", "unknown")
SERVICE = {
    "name": text,
    "unit": (text, null),
    "init": (text, null),
    "state": one_of(*STATES),
    "reason": text,
    "pids": [whole],
    "main_pid": (whole, null),
    "since": (time, null),
    "why": (text, null),
}
OUTCOMES = ("healed", "not_healed", "came_back", "failed", "suppressed", "unknown", None)
ACTION = {
    "id": identity,
    "incident": identity,
    "service": text,
    "verb": one_of("reload", "restart"),
    "asked_at": time,
    "finished_at": (time, null),
    "outcome": one_of(*OUTCOMES),
    "reason": text,
}
INCIDENT = {
    "id": identity,
    "service": text,
    "rule": text,
    "state": one_of("open", "closed"),
    "close_reason": one_of("recovered", "withdrawn", None),
    "opened_at": time,
    "closed_at": (time, null),
    "severity": one_of("info", "warning", "critical"),
    "value": (number, null),
    "threshold": (number, null),
    "actions": [ACTION],
}
KINDS = ("opened", "action", "outcome", "suppressed", "deferred", "notification", "closed")
EVENT = {
    "at": time,
    "kind": one_of(*KINDS),
    "text": text,
    "value": (number, null),
    "threshold": (number, null),
}
STATUS = {
    "version": text,
    "started_at": time,
    "rules": {"loaded": whole, "disabled": whole},
    "inits": [{"name": text, "up": boolean, "reason": text}],
    "services": [SERVICE | {"metrics": {}}],
    "incidents": [INCIDENT],
    "files": [{"path": text, "ok": boolean, "error": (text, null)}],
    "outbox": {"pending": whole, "dead": whole, "oldest_age_seconds": number},
}
WHY = {"service": SERVICE, "incidents": [INCIDENT | {"events": [EVENT]}]}
CHECK = {
    "ok": boolean,
    "files": [
        {
            "path": text,
            "ok": boolean,
            "diagnostics": [
                {
                    "severity": one_of("error", "warning"),
                    "line": whole,
                    "column": whole,
                    "message": text,
                    "help": (text, null),
                }
            ],
            "checks": [{"check": one_of("service", "host"), "params": {}, "rules": [{}]}],
        }
    ],
}


def fits(value: Any, shape: Shape, where: str = "") -> None:
    """Fail where a value has not the shape. More keys are good."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        for key, inner in shape.items():
            assert key in value, f"{where}.{key} is missing"
            fits(value[key], inner, f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for number_, item in enumerate(value):
            fits(item, shape[0], f"{where}[{number_}]")
    elif isinstance(shape, tuple):
        assert any(test(value) for test in shape), f"{where}: {value!r}"
    else:
        assert shape(value), f"{where}: {value!r}"


# -- a live daemon with a healed incident, an open one, and a service that is not there

LEAKS = """
import signal, time
kept = []
signal.signal(signal.SIGHUP, lambda *_: kept.clear())
signal.signal(signal.SIGUSR1, lambda *_: kept.append(bytearray(b"x" * (90 << 20))))
while True:
    time.sleep(1)
"""
RULES = """\
check service leaky
  with reload_signal HUP
  if memory:total_rss > 60m then alert, reload
check service big
  if memory:rss > 90k then alert
check service ghost
"""


@pytest.fixture(scope="module")
def there() -> Iterator[Target]:
    with target() as made:
        yield made


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, there: Target) -> Iterator[Local]:
    with local(tmp_path_factory.mktemp("cli")) as made:
        (made.folder / "leaks.py").write_text(LEAKS)
        made.keep(leaky=f"{sys.executable} {made.folder}/leaks.py", big=SLEEPER)
        made.rule("all", RULES)
        secret = made.folder / "hook"
        secret.touch(0o600)
        secret.write_text(there.url)
        made.config(
            '[routes]\ndefault = ["file:hook"]\n'
            f'ops = ["json://me:{SECRET}@127.0.0.1:9/", "file:hook"]\nempty = []\n'
        )
        made.start()
        until(lambda: made.metric('steadyd_rule_evaluations_total{group="1s"}') > 10)
        (leaky,) = until(lambda: _pids(made, "leaky"), 10)
        os.kill(leaky, 10)
        until(lambda: [i for i in made.incidents("leaky") if i["state"] == "closed"], 30)
        yield made
        assert "Traceback" not in made.log()


def _pids(made: Local, name: str) -> list[int]:
    return next(s["pids"] for s in made.api("services")["services"] if s["name"] == name)


def test_status(daemon: Local) -> None:
    fits(answer(daemon, "status"), STATUS)
    said = good(daemon, "status")
    for shown in ("2 of 3 services active", "1 open incident", "no program ghost", "SERVICE"):
        assert shown in said
    assert re.search(r"^big +active ", said, re.M)


def test_services(daemon: Local) -> None:
    found = answer(daemon, "services")
    fits(found, {"services": [SERVICE]})
    ghost = next(s for s in found["services"] if s["name"] == "ghost")
    assert (ghost["state"], ghost["unit"], ghost["pids"]) == ("unknown", None, [])
    assert "no program ghost" in ghost["why"]
    big = next(s for s in found["services"] if s["name"] == "big")
    assert (big["main_pid"], big["unit"], big["init"]) == (big["pids"][0], "big", "supervisord")
    assert re.search(r"^big +active +supervisord +big +\d+ +1$", good(daemon, "services"), re.M)


def test_services_without_a_daemon_tells_the_same(daemon: Local, tmp_path: Path) -> None:
    asked = answer(daemon, "services")["services"]
    arguments = ("services", "--rules", str(daemon.rules), "--config", str(daemon.folder))
    assert daemon.ctl(*arguments).returncode == 2
    config = str(daemon.folder / "steadyd.toml")
    done = daemon.ctl("services", "--rules", str(daemon.rules), "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout)
    fits(alone, {"services": [SERVICE]})
    keys = ("name", "unit", "init", "state", "main_pid", "pids", "why")
    same = [[{k: s[k] for k in keys} for s in some] for some in (asked, alone["services"])]
    assert sorted(same[0], key=str) == sorted(same[1], key=str)
    text_ = daemon.ctl("services", "--rules", str(daemon.rules), "--config", config)
    assert "no program ghost" in text_.stdout
    none = daemon.ctl("services", "--rules", str(tmp_path))
    assert (none.returncode, none.stdout) == (0, "no rule file names a service\n")


def test_why(daemon: Local) -> None:
    story = answer(daemon, "why", "leaky")
    fits(story, WHY)
    (incident,) = story["incidents"]
    kinds = [event["kind"] for event in incident["events"]]
    assert kinds[0] == "opened"
    assert kinds[-1] == "notification"
    told = list(dict.fromkeys(kind for kind in kinds if kind != "notification"))
    assert told == ["opened", "action", "outcome", "closed"]
    assert [event["at"] for event in incident["events"]] == sorted(
        event["at"] for event in incident["events"]
    )
    assert incident["value"] > incident["threshold"] == 60 << 20
    said = good(daemon, "why", "leaky")
    for shown in ("reload", "healed", "recovered after", "60.0 MiB", incident["id"], "all.inq:3"):
        assert shown in said
    fits(answer(daemon, "why", "ghost"), WHY)
    assert "no rule has fired" in good(daemon, "why", "ghost")


def test_what_nobody_watches_has_no_why(daemon: Local) -> None:
    for name in ("nobody", "host", "--json", "a/b", "../status", "\x1b[2J"):
        done = daemon.ctl("why", "--control", str(daemon.control), "--", name)
        assert (done.returncode, done.stdout) == (1, ""), name
        assert done.stderr.startswith("steadyd: ")
        assert done.stderr.count("\n") == 1


def test_the_http_interface_has_the_same_shapes(daemon: Local) -> None:
    fits(daemon.api("status"), STATUS)
    fits(daemon.api("services"), {"services": [SERVICE]})
    fits(daemon.api("incidents"), {"incidents": [INCIDENT]})
    fits(daemon.api("actions"), {"actions": [ACTION]})
    found = daemon.api("incidents")["incidents"]
    assert len(found) == 2
    assert found[0]["opened_at"] >= found[1]["opened_at"]
    assert len(daemon.api("incidents?limit=1")["incidents"]) == 1


def test_a_test_alert_is_sent_and_told_target_by_target(daemon: Local, there: Target) -> None:
    before = len(there.bodies)
    assert re.fullmatch(r"ok  default  json://[^\n]+\n", good(daemon, "test-alert"))
    assert "test of route default" in there.bodies[before]
    bad = daemon.ask("test-alert", "ops")
    assert bad.returncode == 1
    assert re.search(r"^failed  ops  json://.*refused", bad.stdout, re.M)
    assert re.search(r"^ok  ops  ", bad.stdout, re.M)
    assert SECRET not in bad.stdout + bad.stderr
    told = daemon.ask("test-alert", "ops", "--json")
    assert told.returncode == 1
    shape = {"targets": [{"route": text, "target": text, "ok": boolean, "reason": text}]}
    fits(json.loads(told.stdout), shape)
    for route, said in (("nowhere", "there is no route nowhere"), ("empty", "has no targets")):
        done = daemon.ask("test-alert", route)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr


def test_reload(daemon: Local) -> None:
    assert good(daemon, "reload") == ""
    assert good(daemon, "reload", "--wait") == "5 rules in force\n"
    fits(answer(daemon, "reload", "--wait"), {"ok": boolean, "loaded": whole, "errors": [text]})
    bad = daemon.rule("bad", "check service x\n  if memory:rss > then alert\n")
    try:
        wrong = daemon.ask("reload", "--wait")
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert "bad.inq:2:19: error: expected an amount" in wrong.stderr
        told = daemon.ask("reload", "--wait", "--json")
        assert told.returncode == 1
        assert json.loads(told.stdout)["ok"] is False
        assert daemon.ask("reload").returncode == 0
    finally:
        bad.unlink()
    assert daemon.ask("reload", "--wait").returncode == 0


def answer(daemon: Local, *command: str) -> Any:
    done = daemon.ask(*command, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    return json.loads(done.stdout)


def good(daemon: Local, *command: str) -> str:
    done = daemon.ask(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    return done.stdout


# -- check


def check(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "steadyd", "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def test_check_exits_0_1_or_2(tmp_path: Path) -> None:
    fine, bad = tmp_path / "fine.inq", tmp_path / "bad.inq"
    fine.write_text(RULES)
    bad.write_text("check service a\n  if memory:rss > 5 thn alert\n")
    done = check(fine)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "1 file, 2 rules in force, no errors\n",
        "",
    )
    done = check(tmp_path)
    assert done.returncode == 1
    assert f"{bad}:2:21: error: " in done.stdout
    assert "    " + " " * 20 + "^" in done.stdout
    assert "did you mean then?" in done.stdout
    for arguments in (("--nonsense",), ("--format", "xml"), ("--config", tmp_path / "no.toml")):
        done = check(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Traceback" not in done.stderr
    for missing in (tmp_path / "nowhere.inq", tmp_path / "nowhere"):
        done = check(missing)
        assert (done.returncode, done.stderr) == (1, "")
        assert f"{missing}:1:1: error: " in done.stdout


def test_check_prints_json_whatever_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "a.inq").write_text(RULES)
    (tmp_path / "b.inq").write_text("check host\n  if load:1 > then alert\n")
    os.mkfifo(tmp_path / "c.inq")
    (tmp_path / os.fsdecode(b"\xff\x1b.inq")).write_text("check")
    for paths, code in (([tmp_path / "a.inq"], 0), ([tmp_path], 1)):
        done = check("--format", "json", *paths)
        assert (done.returncode, done.stderr) == (code, "")
        assert done.stdout.isascii()
        told = json.loads(done.stdout)
        fits(told, CHECK)
        assert told["ok"] is (code == 0)
    assert len(told["files"]) == 4


def test_check_without_a_path_judges_the_configured_rules(daemon: Local) -> None:
    config = daemon.folder / "steadyd.toml"
    assert check("--config", config).returncode == 0
    (daemon.folder / "else").mkdir()
    other = daemon.folder / "else" / "x.inq"
    other.write_text("check service a\n  if memory:rss > 1g then alert nowhere\n")
    assert check(other).returncode == 0  # routes are not known without a configuration
    done = check("--config", config, other)
    assert done.returncode == 1
    assert "nowhere" in done.stdout


def test_check_tells_which_verbs_could_not_run(daemon: Local, tmp_path: Path) -> None:
    config = daemon.folder / "steadyd.toml"
    rule = tmp_path / "x.inq"
    rule.write_text(
        "check service big\n  if memory:rss > 1g then reload\n"
        "check service ghost\n  if memory:rss > 1g then restart\n"
        "check service leaky\n  if memory:rss > 1g then restart\n"
        "check service leakky\n  if memory:rss > 1g then restart\n"
    )
    done = check("--config", config, "--actions", rule)
    assert done.returncode == 1
    assert f"{rule}:2: big has no reload; " in done.stdout
    assert f"{rule}:4: no restart now: supervisord: no program ghost" in done.stdout
    assert f"{rule}:6" not in done.stdout
    assert f"{rule}:8: no restart now: supervisord: no program leakky" in done.stdout
    assert "; did you mean leaky?\n" in done.stdout
    told = check("--config", config, "--actions", "--format", "json", rule)
    assert len(json.loads(told.stdout)["impossible"]) == 3


# -- without a daemon, without a terminal, without a reader


COMMANDS = ("status", "services", "why x", "reload", "reload --wait", "test-alert")


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_daemon_the_place_is_named_and_the_code_is_3(
    tmp_path: Path, command: str
) -> None:
    with local(tmp_path) as made:
        done = made.ask(*command.split())
    assert (done.returncode, done.stdout) == (3, "")
    assert re.fullmatch(r"steadyd: cannot reach the daemon at \S+: [^\n]+\n", done.stderr)
    assert str(made.control) in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [(), ("nonsense",), ("status", "--nope"), ("why",), ("grants", "sudo"), ("run", "x")],
)
def test_wrong_use_exits_2_with_the_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with local(tmp_path) as made:
        done = made.ctl(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: steadyd" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version_exit_0(tmp_path: Path) -> None:
    with local(tmp_path) as made:
        assert re.fullmatch(r"steadyd \d+\.\d+\.\d+\n", made.ctl("--version").stdout)
        listed = made.ctl("--help").stdout
        for name in ("run", "demo", "check", "services", "status", "why", "reload", "test-alert"):
            assert re.search(f"^    {name}\\b", listed, re.M)
            assert made.ctl(name, "--help").returncode == 0


@pytest.mark.parametrize("command", ["status", "services", "why leaky", "check", "status --json"])
def test_a_reader_that_goes_away_is_no_error(daemon: Local, command: str) -> None:
    words = ["check", "--config", daemon.folder / "steadyd.toml"] if command == "check" else [
        *command.split(), "--control", daemon.control
    ]  # fmt: skip
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "steadyd", *map(str, words)], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    os.close(read)
    _, said = process.communicate(timeout=60)
    assert said == b""
    assert process.returncode in (0, 141)


@pytest.mark.parametrize("command", ["status", "check", "why x"])
def test_a_command_that_only_asks_starts_without_the_daemons_libraries(
    tmp_path: Path, command: str
) -> None:
    code = (
        "import sys\nfrom steadyd.__main__ import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "heavy = 'asyncio prometheus_client apprise starlette h11 dbus_fast apscheduler'\n"
        "heavy += ' watchdog psutil bcrypt yaml sqlite3'\n"
        "print('loaded', *[m for m in heavy.split() if m in sys.modules])"
    )
    (tmp_path / "a.inq").write_text(RULES)
    place = [str(tmp_path)] if command == "check" else ["--control", str(tmp_path / "c")]
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split(), *place],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "loaded", done.stdout


# -- grants

EVALUATE = """
let rule;
const polkit = {Result: {YES: "yes", NO: "no", NOT_HANDLED: null}, addRule: f => { rule = f; }};
const source = require("fs").readFileSync(0, "utf-8");
const [script, questions] = JSON.parse(source);
(new Function("polkit", script))(polkit);
const ask = ([id, user, details]) => rule(
  {id: id, lookup: key => details[key]}, {user: user, isInGroup: () => true});
console.log(JSON.stringify(questions.map(ask)));
"""
MANAGE = "org.freedesktop.systemd1.manage-units"
VERBS = ("start", "stop", "restart", "try-restart", "reload", "kill", "reload-or-restart", "", None)


Question = tuple[str, str, Mapping[str, str | None]]  # action id, user, details


def evaluate(script: str, questions: Sequence[Question]) -> list[Any]:
    done = subprocess.run(
        ["node", "-e", EVALUATE],
        input=json.dumps([script, questions]),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return list(json.loads(done.stdout))


def allowed(script: str, unit: str, user: str = "steadyd") -> set[str | None]:
    questions = [(MANAGE, user, {"unit": unit, "verb": verb}) for verb in VERBS]
    answers = evaluate(script, questions)
    assert set(answers) <= {"yes", "no", None}
    return {verb for verb, said in zip(VERBS, answers, strict=True) if said == "yes"}


def test_the_polkit_rule_allows_exactly_the_verbs_of_the_rules(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "a.inq").write_text(
        "check service web\n  if memory:rss > 1g then alert, reload\n"
        "check service worker with unit jobs.socket\n  if memory:rss > 1g then restart\n"
        "check service node.js\n  if memory:rss > 1g then reload, restart\n"
        "check service quiet\n  if memory:rss > 1g then alert\n"
        "check service signalled with reload_signal HUP\n  if memory:rss > 1g then reload\n"
        'check service "a/../b"\n  if memory:rss > 1g then restart\n'
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with local(scratch) as made:
        done = made.ctl("grants", "polkit", "--rules", str(rules))
    assert done.returncode == 0
    script = done.stdout
    assert allowed(script, "web.service") == {"reload"}
    assert allowed(script, "jobs.socket") == {"restart", "try-restart"}
    assert allowed(script, "node.js.service") == {"reload", "restart", "try-restart"}
    for unit in ("quiet.service", "worker.service", "node.js", "web", "", "web.service "):
        assert allowed(script, unit) == set()
    for unit in ("__proto__", "constructor", "hasOwnProperty", "toString"):
        assert allowed(script, unit) == set()
    assert "a/../b" not in script
    assert "no unit can have this name" in done.stderr
    others: list[Question] = [
        (MANAGE, "root", {"unit": "web.service", "verb": "reload"}),
        (MANAGE, "nobody", {"unit": "web.service", "verb": "stop"}),
        ("org.freedesktop.login1.reboot", "steadyd", {}),
        ("org.freedesktop.systemd1.manage-unit-files", "steadyd", {"unit": "web.service"}),
    ]
    assert evaluate(script, others) == [None] * len(others)
    assert evaluate(script, [(MANAGE, "steadyd", {})]) == ["no"]


@pytest.mark.parametrize(
    "name",
    [
        'x"; polkit.addRule(function(){return "yes"}); "',
        "x\\",
        "x\n//",
        "*/ x /*",
        "</script>",
        "\u2028\u2029",
        "__proto__",
        "constructor",
        "${x}",
        "ünï\U0001f600",
    ],
)
def test_a_hostile_name_is_a_name(name: str) -> None:
    script = polkit({name: ("reload",), "web.service": ("restart",)}, name)
    assert allowed(script, name, name) in ({"reload"}, set())
    assert allowed(script, "web.service", name) == {"restart"}
    assert allowed(script, "other.service", name) == set()
    assert allowed(script, name, "root") == set()
    assert script.isascii()


def test_grants_with_a_bad_configuration_is_one_line(tmp_path: Path) -> None:
    with local(tmp_path) as made:
        for command in (("grants", "polkit"), ("services",), ("check",)):
            done = made.ctl(*command, "--config", str(tmp_path / "nowhere.toml"))
            assert (done.returncode, done.stdout) == (2, "")
            assert re.fullmatch(r"steadyd: [^\n]+no such file\n", done.stderr)
        config = made.config('init = "runit"\n')
        config.write_text('init = "runit"\n' + config.read_text().partition("init =")[0])
        made.rule("a", "check service a\n  if memory:rss > 1g then restart\n")
        for command in (("grants", "polkit"), ("services",), ("check", "--actions")):
            done = made.ctl(*command, "--config", str(config))
            assert (done.returncode, done.stdout) == (2, ""), command
            assert "init system runit does not run here" in done.stderr
            assert done.stderr.count("\n") == 1
