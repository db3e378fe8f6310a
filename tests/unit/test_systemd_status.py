from typing import Any

import dbus_fast.aio.message_bus as low
import pytest
from dbus_fast.aio import MessageBus
from dbus_fast.aio.message_reader import build_message_reader
from hypothesis import given
from hypothesis import strategies as st

from steadyd.inits.systemd_status import (
    job_failure,
    own_unit,
    shortfall,
    status,
    unit_name,
    unit_path,
    why_gone,
)
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState

RUNNING: dict[str, Any] = {
    "Id": "web.service",
    "LoadState": "loaded",
    "LoadError": ("", ""),
    "ActiveState": "active",
    "SubState": "running",
    "Job": (0, "/"),
    "InvocationID": bytes(range(16)),
    "StateChangeTimestamp": 1_795_426_807_334_388,
    "InactiveEnterTimestamp": 1,
    "CanReload": True,
    "TriggeredBy": [],
    "ControlGroup": "/system.slice/web.service",
    "Type": "simple",
    "MainPID": 14,
    "NRestarts": 0,
    "Result": "success",
    "ExecMainCode": 0,
    "ExecMainStatus": 0,
    "Restart": "no",
    "StartLimitBurst": 5,
    "StartLimitIntervalUSec": 10_000_000,
    "RestartPreventExitStatus": ([], []),
}
FAILED = RUNNING | {"ActiveState": "failed", "SubState": "failed", "MainPID": 0}
INACTIVE = RUNNING | {"ActiveState": "inactive", "SubState": "dead", "MainPID": 0}


def test_a_running_unit_in_full() -> None:
    found = status(RUNNING)
    assert (found.init, found.unit, found.state) == ("systemd", "web.service", "active")
    assert (found.main_pid, found.cgroup) == (14, "/system.slice/web.service")
    assert found.invocation == "000102030405060708090a0b0c0d0e0f"
    assert (found.since, found.type, found.can_reload) == (1795426807.334388, "simple", True)
    assert (found.acting, found.stopped, found.by_design, found.reason) == (False,) * 3 + ("",)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("active", "active"),
        ("reloading", "reloading"),
        ("refreshing", "reloading"),
        ("inactive", "inactive"),
        ("failed", "failed"),
        ("activating", "activating"),
        ("maintenance", "activating"),
        ("deactivating", "deactivating"),
        ("a word of the future", "unknown"),
    ],
)
def test_every_word_has_a_state(word: str, state: str) -> None:
    assert status(RUNNING | {"ActiveState": word}).state == state


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 3}, "exited with status 3"),
        ({"Result": "signal", "ExecMainCode": 2, "ExecMainStatus": 9}, "killed by SIGKILL"),
        (
            {"Result": "core-dump", "ExecMainCode": 3, "ExecMainStatus": 11},
            "killed by SIGSEGV, core dumped",
        ),
        ({"Result": "signal", "ExecMainCode": 2, "ExecMainStatus": 99}, "killed by signal 99"),
        ({"Result": "oom-kill"}, "killed by the kernel: out of memory"),
        ({"Result": "watchdog"}, "watchdog timeout"),
        ({"Result": "start-limit-hit"}, "start limit hit (5 starts in 10 s)"),
        ({"Result": "a new one"}, "a new one"),
    ],
)
def test_the_reason_of_a_failure(changes: dict[str, Any], reason: str) -> None:
    assert status(FAILED | changes).reason == reason


def test_a_command_beside_the_main_process_is_not_blamed_on_it() -> None:
    found = status(FAILED | {"Result": "exit-code", "ExecMainCode": 1, "ExecMainStatus": 0})
    assert "ExecStartPre=" in found.reason


CRASHED = {"Result": "signal", "ExecMainCode": 2, "ExecMainStatus": 9, "NRestarts": 5}


@pytest.mark.parametrize(
    ("changes", "gave_up"),
    [
        ({"Restart": "always"}, True),
        ({"Restart": "on-failure"}, True),
        ({"Restart": "on-abort"}, True),
        ({"Restart": "no"}, False),
        ({"Restart": "on-watchdog"}, False),
        ({"Restart": "always", "NRestarts": 0}, False),
        ({"Restart": "always", "RestartPreventExitStatus": ([], [9])}, False),
    ],
)
def test_a_unit_that_systemd_gave_up_on(changes: dict[str, Any], gave_up: bool) -> None:
    assert ("start limit" in status(FAILED | CRASHED | changes).reason) == gave_up


@pytest.mark.parametrize(
    ("changes", "stopped", "by_design"),
    [
        ({}, True, False),
        ({"Type": "oneshot"}, True, True),
        ({"TriggeredBy": ["web.socket"]}, True, True),
        ({"Job": (7, "/job/7")}, False, False),
        ({"Result": "exit-code", "Type": "oneshot"}, False, False),
    ],
)
def test_rest(changes: dict[str, Any], stopped: bool, by_design: bool) -> None:
    found = status(INACTIVE | changes)
    assert (found.stopped, found.by_design) == (stopped, by_design)


@pytest.mark.parametrize(
    ("changes", "acting", "respawning"),
    [
        ({}, False, False),
        ({"Job": (7, "/job/7")}, True, False),
        ({"ActiveState": "activating", "SubState": "start"}, True, False),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, True, True),
        ({"ActiveState": "activating", "SubState": "auto-restart-queued"}, True, True),
        ({"ActiveState": "failed", "SubState": "failed-before-auto-restart"}, True, True),
    ],
)
def test_acting(changes: dict[str, Any], acting: bool, respawning: bool) -> None:
    found = status(RUNNING | changes)
    assert (found.acting, found.respawning) == (acting, respawning)


def test_an_old_systemd_that_lacks_properties_is_understood() -> None:
    found = status({"Id": "web.service", "ActiveState": "active", "SubState": "running"})
    assert (found.state, found.invocation, found.respawns) == (ServiceState.ACTIVE, "", 0)


@pytest.mark.parametrize(
    ("load", "state", "gone"),
    [
        ("loaded", "inactive", False),
        ("merged", "inactive", False),
        ("not-found", "inactive", True),
        ("not-found", "failed", True),
        ("not-found", "active", False),
        ("masked", "inactive", True),
        ("bad-setting", "inactive", True),
        ("error", "deactivating", False),
    ],
)
def test_what_is_not_there(load: str, state: str, gone: bool) -> None:
    assert bool(why_gone(RUNNING | {"LoadState": load, "ActiveState": state})) == gone


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("web", "web.service"),
        ("web.timer", "web.timer"),
        ("my.app", "my.app.service"),
        ("puma@1", "puma@1.service"),
        ("-", "-.service"),
        ("-.mount", "-.mount"),
        ("service", "service.service"),
    ],
)
def test_names(name: str, unit: str) -> None:
    assert unit_name(name) == unit


@given(st.text())
def test_a_name_becomes_a_unit_or_an_error_that_can_be_printed(name: str) -> None:
    why = ""
    try:
        unit = unit_name(name)
    except ValueError as error:
        unit, why = name, str(error)
    assert unit.startswith(name)
    assert why.isprintable()
    assert why or (unit.isascii() and "/" not in unit)


@given(st.text(), st.text())
def test_paths_are_valid_and_tell_units_apart(one: str, other: str) -> None:
    paths = [unit_path(unit).rpartition("/")[2] for unit in (one, other)]
    assert all(each.replace("_", "x").isalnum() and each.isascii() for each in paths)
    assert (paths[0] == paths[1]) == (one == other)


def test_paths_are_those_of_systemd() -> None:
    assert unit_path("web-1.service").endswith("/unit/web_2d1_2eservice")
    assert unit_path("1a.service").endswith("/unit/_31a_2eservice")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/steadyd.service\n", "steadyd.service"),
        ("3:cpu:/x.service\n1:name=systemd:/system.slice/a.service/sub\n", "a.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", "session-1.scope"),
        ("0::/user.slice/user@0.service/app.slice/b.service\n", "user@0.service"),
        ("0::/\n", ""),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_our_own_unit(text: str, unit: str) -> None:
    assert own_unit(text) == unit


def test_a_verb_without_effect_is_no_success() -> None:
    before = status(RUNNING)
    anew = status(RUNNING | {"InvocationID": b"\1" * 16, "MainPID": 15})
    dead = status(FAILED | CRASHED | {"InvocationID": b"\1" * 16})
    assert "not started anew" in shortfall(Verb.RESTART, before, before)
    assert shortfall(Verb.RESTART, before, anew) == ""
    assert "SIGKILL" in shortfall(Verb.RESTART, before, dead)
    assert shortfall(Verb.RELOAD, before, before) == ""
    assert "SIGKILL" in shortfall(Verb.RELOAD, before, dead)


def test_the_reason_of_a_job_names_the_units_own() -> None:
    assert "exit-code" in job_failure("failed", Verb.RELOAD, {"ReloadResult": "exit-code"})
    assert "SIGKILL" in job_failure("failed", Verb.RESTART, FAILED | CRASHED)
    assert job_failure("a new one", Verb.RELOAD, {}) == "the job ended as 'a new one'"


def test_dbus_fast_still_has_the_private_names_that_peerbus_uses() -> None:
    assert callable(low._MessageWriter)
    assert callable(build_message_reader)
    for name in ("_create_socket_for_transport", "_process_message", "_finalize"):
        assert callable(getattr(MessageBus, name))
    slots = {slot for kind in MessageBus.__mro__ for slot in getattr(kind, "__slots__", ())}
    assert {"_bus_address", "_sock", "_stream", "_fd", "_writer", "_loop", "unique_name"} <= slots
