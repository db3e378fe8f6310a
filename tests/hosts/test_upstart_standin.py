"""The stand-in for Upstart, held to the recordings of the real one."""

import json

import pytest

from tests.hosts.inithost import HostError
from tests.hosts.upstart.host import UpstartHost
from tests.hosts.upstart.replay import RECORDED, Calls, Replay

pytestmark = [pytest.mark.host, pytest.mark.slow]

CASES = [case["case"] for case in json.loads((RECORDED / "transcript.json").read_text())["cases"]]
CALLS = [call["case"] for call in json.loads((RECORDED / "dbus.json").read_text())["calls"]]

_CONFIG = "the stand-in's client has no show-config, check-config, init-checkconf"
_TEXT = "a text of the client's help, that nobody reads by program"
_SUDO = "what sudo refuses; the stand-in is Upstart's"
_TOOL = "another program's text"
_LOOK = "looks at processes by ps, not at Upstart"
_SCRIPT = "the text of the script that links of /etc/init.d lead to"
_PILE = "expect fork with two forks: which process is tracked is a race"

# cases that are not run, and why
NOT_RUN = {
    **dict.fromkeys(
        (
            *("show-config", "show-config-e", "show-config-all", "show-config-runas"),
            *("show-config-runas-e", "show-config-manual", "show-config-overridden"),
            *("show-config-unknown", "check-config", "check-config-warn", "check-config-job"),
            *("check-config-runas", "check-config-runas-ignore", "check-config-unknown"),
            *("deploy-show-config", "deploy-check-config", "worker-show-config"),
            *("init-checkconf-good", "init-checkconf-broken", "init-checkconf-broken2"),
            *("init-checkconf-deploy", "init-checkconf-good-2", "init-checkconf-broken-2"),
            *("init-checkconf-broken2-2", "init-checkconf-deploy-2", "init-checkconf-missing"),
            "init-checkconf-deploy-good",
        ),
        _CONFIG,
    ),
    **dict.fromkeys(
        (
            *("help", "usage-status-help", "usage-reload-help", "usage-list-help"),
            *("usage-show-config-help", "emit-rotate"),
        ),
        _TEXT,
    ),
    **dict.fromkeys(
        (
            *("sudo-list", "sudo-status-not-allowed", "sudo-other-job", "sudo-extra-argument"),
            *("sudo-option-before", "sudo-initctl", "sudo-service", "sudo-no-n-no-tty"),
            *("sudo-list-one-allowed", "sudo-list-one-denied", "nobody-sudo"),
        ),
        _SUDO,
    ),
    **dict.fromkeys(
        (
            *("tool-dbus-send-peer", "tool-dbus-send-bus", "tool-dbus-send-address-alias"),
            *("tool-dbus-send-system", "tool-dbus-send-job", "tool-dbus-send-unknown"),
            *("tool-gdbus-introspect-system", "tool-gdbus-introspect-private"),
            *("tool-gdbus-call-private", "tool-gdbus-monitor-system"),
            *("tool-dbus-monitor-private", "tool-dbus-monitor-system", "runlevel"),
        ),
        _TOOL,
    ),
    **dict.fromkeys(("exforktwice-start", "exforktwice-ps", "exforktwice-stop"), _PILE),
    "log-priority-get": "the log's priority",
    "deploy-log-priority": "the log's priority",
    "list-sessions": "session inits",
    "user-mode": "session inits",
    "session-mode": "session inits",
    "root-status-bus-without-upstart": "a second system bus, on which Upstart is not",
}
# cases that are run for what they do, and not compared
NOT_COMPARED = {
    **dict.fromkeys(
        (
            *("upstart-job-script", "init.d-status", "init.d-reload", "init.d-restart"),
            *("init.d-stop", "init.d-status-again", "init.d-start", "init.d-frob"),
            *("init.d-no-action", "service-frob-with-init.d", "deploy-init.d-restart"),
            "service-status-all",
        ),
        _SCRIPT,
    ),
    **dict.fromkeys(
        (
            *("runas-proc", "runas-log", "exdaemon-ps", "logged-log", "exwrong-ps", "exwrong-end"),
            *("newjob-ps", "newjob-desc-after-stop", "newjob-ps2", "newjob-ps3", "plain-ps"),
            *("exnone-ps", "shpuma-ps", "shnoexec-ps", "shnoexec-ps-after", "suexec-ps"),
            *("proc-1", "exwrong2-end"),
        ),
        _LOOK,
    ),
    "dbus-restart": "the recording ends before the last event",
    "task-start-stopped-from-elsewhere": "a race of the client with sleep, which dies at once",
    "telinit-u-2": "a state of before the second re-exec",
}
CALLS_NOT_COMPARED = {
    "private-Start-waiting-over-reexec": "the re-exec is not among the calls",
    "call-on-old-private-connection": "the re-exec is not among the calls",
    **{call: "the stand-in has no introspection" for call in CALLS if "introspect" in call},
}


@pytest.fixture(scope="module")
def replay() -> Replay:
    _can_boot()
    replay = Replay(NOT_RUN)
    replay.run()
    return replay


@pytest.fixture(scope="module")
def calls() -> Calls:
    _can_boot()
    calls = Calls()
    calls.run()
    return calls


def _can_boot() -> None:
    try:
        UpstartHost().close()
    except (HostError, OSError) as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("case", [c for c in CASES if c not in NOT_RUN | NOT_COMPARED])
def test_a_recorded_case_comes_out_as_it_was(replay: Replay, case: str) -> None:
    assert replay.differences[case] == []


@pytest.mark.parametrize("call", [c for c in CALLS if c not in CALLS_NOT_COMPARED])
def test_a_recorded_call_is_answered_as_it_was(calls: Calls, call: str) -> None:
    assert calls.differences[call] == []


def test_what_is_left_out_is_there() -> None:
    assert not {*NOT_RUN, *NOT_COMPARED} - {*CASES}
    assert not {*NOT_RUN} & {*NOT_COMPARED}
    assert not {*CALLS_NOT_COMPARED} - {*CALLS}
