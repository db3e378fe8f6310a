import json

import msgspec
import pytest
from msgspec.structs import replace

from steadyd.exposition import api
from steadyd.model.metric import MetricId, Reading
from steadyd.ports import ReloadReport
from tests.fakes.exposition import (
    AT,
    SECRET,
    FakeDaemon,
    action,
    gone,
    incident,
    service,
    snapshot,
)

SERVICE = {"name", "unit", "init", "state", "reason", "pids", "main_pid", "since", "why"}
INCIDENT = {
    "id", "service", "rule", "state", "close_reason", "opened_at", "closed_at", "severity",
    "value", "threshold", "actions",
}  # fmt: skip
ACTION = {
    "id", "incident", "service", "verb", "asked_at", "finished_at", "outcome", "reason",
}  # fmt: skip
STATUS = {"version", "started_at", "inits", "services", "incidents", "rules", "files", "outbox"}


def test_a_service_has_the_keys_agreed() -> None:
    shown = api.service(service("puma", pid=7))
    assert set(shown) >= SERVICE
    assert (shown["pids"], shown["main_pid"], shown["why"]) == ([7, 8], 7, None)
    assert shown["since"] == "2026-11-23T07:00:41.123Z"


def test_a_service_without_a_unit_says_why() -> None:
    shown = api.service(gone("ghost", "systemd: there is no unit ghost.service"))
    assert (shown["unit"], shown["init"], shown["main_pid"], shown["since"]) == (None,) * 4
    assert shown["why"] == "systemd: there is no unit ghost.service"


def test_an_incident_has_the_keys_agreed() -> None:
    shown = api.incident(incident(), [action()])
    assert set(shown) >= INCIDENT
    assert set(shown["actions"][0]) >= ACTION
    assert (shown["state"], shown["close_reason"], shown["closed_at"]) == ("open", None, None)
    closed = api.incident(incident(closed=True), [])
    assert (closed["state"], closed["close_reason"]) == ("closed", "recovered")


def test_status_has_the_keys_agreed() -> None:
    shown = api.status(snapshot())
    assert set(shown) >= STATUS
    assert [each["no_data_since"] for each in shown["incidents"]] == [
        None,
        "2026-11-23T07:59:26.123Z",
    ]
    puma = shown["services"][0]
    assert puma["metrics"]["memory:total_rss"] == 250e6
    assert puma["metrics"]["process:fd_ratio"] == 6.25
    assert (puma["metrics"]["cpu:user"], puma["missing"]["cpu:user"]) == (
        None,
        "first reading of this process",
    )
    assert shown["outbox"] == {"pending": 3, "dead": 1, "oldest_age_seconds": 42.5}
    assert shown["incidents"][0]["actions"][0]["id"] == "act-1"


async def test_why_tells_the_story_in_order() -> None:
    why = await FakeDaemon().why("puma")
    assert why is not None
    shown = api.why(why)
    events = shown["incidents"][0]["events"]
    assert [event["kind"] for event in events] == ["opened", "action", "outcome"]
    assert events[0] == {
        "at": "2026-11-23T07:57:29.123Z",
        "kind": "opened",
        "text": "memory:total_rss 238.4 MiB > 200 MiB",
        "value": 250e6,
        "threshold": 209715200.0,
    }


def test_those_we_do_not_know_see_states_and_numbers_only() -> None:
    for shown in (
        api.status(snapshot(), trusted=False),
        api.incidents([(incident(), [action()])], trusted=False),
        api.actions([action()], trusted=False),
    ):
        assert SECRET not in json.dumps(shown)
    assert SECRET in json.dumps(api.status(snapshot(), trusted=True))


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_null_with_a_reason(odd: float) -> None:
    view = replace(service("puma"), readings={MetricId("cpu", "user"): Reading(odd)})
    text = msgspec.json.encode(api.measured(view))
    shown = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert (shown["metrics"]["cpu:user"], shown["missing"]["cpu:user"]) == (None, "it is no number")


@pytest.mark.parametrize("seconds", [None, 0.0, -1.0, 1e18, float("inf"), float("nan")])
def test_what_is_no_time_is_null(seconds: float | None) -> None:
    assert api.rfc3339(seconds) is None


def test_times_have_milliseconds() -> None:
    assert api.rfc3339(AT) == "2026-11-23T08:00:41.123Z"
    assert api.rfc3339(1.0) == "1970-01-01T00:00:01.000Z"


def test_a_bad_reload_names_its_reasons() -> None:
    shown = api.reloaded(ReloadReport(False, 3, 1, ("a.inq:1:1: no", "b.inq:2:1: no")))
    assert shown["error"] == "a.inq:1:1: no\nb.inq:2:1: no"
    assert "error" not in api.reloaded(ReloadReport(True, 3, 0))
