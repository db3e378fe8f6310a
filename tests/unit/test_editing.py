"""What an editor asks: what may stand here, and what is this."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles import editing, params
from tests.fakes import ruletexts
from tests.fakes.rulefiles import MARK, compiled

ROUTES = ("ops", "dev")


def offered(marked: str) -> list[str]:
    offset = marked.index(MARK)
    found = editing.proposals(marked.replace(MARK, ""), offset, CATALOGUE, ROUTES)
    return [each.text for each in found]


OFFERED = {
    "§": {"check"},
    "ch§": {"check"},
    "check §": {"service", "host", "jobs"},
    "check jobs sweep happens §": {"every"},
    "check jobs sweep happens every §": {"hour", "minutes"},
    "check service a §": {"with", "expose", "if"},
    "check service a with §": {"owner", "cooldown", "budget", "pidfile"},
    "check service a with owner ops, §": {"cooldown"},
    "check service a with owner ops §": {"if", "expose"},
    "check service a expose §": {"memstats"},
    "check service a if §": {"memory:rss", "cpu:user", "init:up", "down", "avg", "not"},
    "check service a if memory:§": {"memory:rss", "memory:total_rss"},
    "check service a if x > 1 and §": {"memory:rss", "oom"},
    "check service a if not (§": {"memory:rss", "flapping"},
    "check service a if avg §": {"memory:rss"},
    "check service a if x > 1 §": {"for", "and", "until", "between", "then"},
    "check service a if x > 1 then §": {"alert", "restart", "signal", "after"},
    "check service a if x > 1 then alert, §": {"alert", "reload"},
    "check service a if x > 1 then after 5m §": {"restart"},
    "check service a if x > 1 then alert §": {"ops", "dev"},
    "check service a if x > 1 then signal §": {"USR1", "HUP"},
    "check service a if x > 1 then restart §": {"if", "check"},
    "check host if §": {"load:1", "swap", "memory:used"},
    "check service a\ncheck host if §\ncheck service b": {"load:1"},
}


@pytest.mark.parametrize("marked", OFFERED)
def test_what_may_stand_here_is_offered(marked: str) -> None:
    assert set(offered(marked)) >= OFFERED[marked]


@pytest.mark.parametrize(
    ("marked", "absent"),
    [
        ("check host if §", {"memory:rss", "down"}),
        ("check service a if §", {"load:1", "alert", "owner"}),
        ("check service a if avg §", {"down", "avg", "not"}),
        ("check service a with owner §", set(editing.KEYS)),
        ("check service §", {"with", "if"}),
        ("check service a if x > §", {"memory:rss", "for"}),
        ("check service a if down then reload §", {"restart", "ops"}),
        ("check service a if down then alert ops §", {"restart", "ops"}),
        ("check service a # if §", {"memory:rss"}),
        ('check service a with k "if §', {"memory:rss"}),
    ],
)
def test_what_may_not_stand_here_is_not_offered(marked: str, absent: set[str]) -> None:
    assert not set(offered(marked)) & absent


def test_a_proposal_takes_the_place_of_what_is_written_of_it() -> None:
    text = "check service a if x > 1 and memory:to"

    found = editing.proposals(text, len(text), CATALOGUE)

    assert {each.start for each in found} == {text.index("memory")}
    assert all(each.help for each in found if each.sort is editing.Sort.METRIC)


def test_every_key_that_is_offered_is_known_and_the_other_way_round() -> None:
    assert set(editing.KEYS) == set(params._KNOWN)


def test_every_metric_that_is_offered_can_be_named() -> None:
    for head, amount in (("service a", "> 1"), ("host", "< 1")):
        for metric in offered(f"check {head} if §"):
            if ":" in metric and "*" not in metric:
                assert not compiled(f"check {head} if {metric} {amount} then alert").disabled


HOVERS = {
    "check service a if mem§ory:rss > 1 then alert": ("memory:rss", "Resident memory of the main"),
    "check service a if memory:r§ss > 1 then alert": ("memory:rss", "bytes, gauge of a service"),
    "check service a if memory§:rss > 1 then alert": ("memory:rss", "Resident memory"),
    "check service a if cpu(u§ser) > 1 then alert": ("cpu(user)", "percent, counter"),
    "check host if dis§k:/srv > 1 then alert": ("disk:/srv", "Space in use"),
    "check host if swa§p > 1 then alert": ("swap", "Swap in use"),
    "check service a if dow§n then alert": ("down", "not up"),
    "check service a with coo§ldown 5m": ("cooldown", "between two verbs"),
    "check service a if down then resta§rt": ("restart", "Ask the init system"),
}


@pytest.mark.parametrize("marked", HOVERS)
def test_a_word_is_explained(marked: str) -> None:
    text = marked.replace(MARK, "")

    found = editing.hover(text, marked.index(MARK), CATALOGUE)

    assert found is not None
    assert text[found.start : found.end] == HOVERS[marked][0]
    assert HOVERS[marked][1] in found.text


@pytest.mark.parametrize("marked", ["§", "check service a §", "check service a§", "# mem§ory:rss"])
def test_what_is_not_known_is_not_explained(marked: str) -> None:
    text = marked.replace(MARK, "")

    assert editing.hover(text, marked.index(MARK), CATALOGUE) is None


@given(st.text(alphabet=ruletexts.LETTERS, max_size=60) | ruletexts.garbled(), st.data())
@settings(max_examples=200, deadline=None)
def test_no_text_and_no_place_breaks_it(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))

    for each in editing.proposals(text, offset, CATALOGUE, ROUTES):
        assert 0 <= each.start <= offset
    found = editing.hover(text, offset, CATALOGUE)
    assert found is None or 0 <= found.start <= offset <= found.end <= len(text)
