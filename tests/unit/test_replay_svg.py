"""The picture of a replay."""

from xml.etree import ElementTree

from steadyd.model.rule import RuleSet
from steadyd.probes.catalogue import metric_id
from steadyd.replaying.recording import Recording, column
from steadyd.replaying.replay import replay
from steadyd.replaying.svg import LARGEST, svg
from steadyd.rulefiles.globs import Member, expand
from tests.fakes.rulefiles import rules

NS = "{http://www.w3.org/2000/svg}"
COUNT = metric_id("process:count")
HOSTILE = 'a</text><script>alert(1)</script>"\x1b\x00&'


def picture(known: RuleSet, recording: Recording) -> str:
    return svg(replay(known, recording), recording)


def of_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [each for each in root.iter() if each.get("class") == name]


def test_spans_verbs_the_limit_and_the_curve_are_drawn() -> None:
    text = (
        "check service web with budget 1/1h if process:count > 5 for 2 cycles then alert, restart"
    )
    values = [1, *[9] * 10, *[1] * 10, None, None, *[9] * 10, *[1] * 7]
    recording = Recording(1.79e9, 15.0, 40, {"web": {COUNT: column(values)}})
    root = ElementTree.fromstring(picture(rules(text), recording))

    assert len(of_class(root, "o")) == 2
    assert [mark[0].text for mark in of_class(root, "v")] == ["restart"]
    assert ["budget" in (mark[0].text or "") for mark in of_class(root, "s")] == [True]
    assert len(of_class(root, "l")) == 1
    (curve,) = of_class(root, "c")
    assert (curve.get("d") or "").count("M") == 2  # the gap is a gap


def test_a_hostile_name_is_only_text() -> None:
    check = rules("check service 'a*'\n if process:count > 5 then alert")
    known = expand(check, {check.checks[0].service: [Member("", HOSTILE)]})
    recording = Recording(1.79e9, 15.0, 2, {HOSTILE: {COUNT: column([1, 9])}})
    drawn = picture(known, recording)
    root = ElementTree.fromstring(drawn)

    assert {each.tag.removeprefix(NS) for each in root.iter()} <= {
        "svg", "title", "style", "rect", "text", "g", "path",
    }  # fmt: skip
    assert "<script>alert(1)</script>" in "".join(root.itertext())
    assert "\x1b" not in drawn


def test_it_is_light_and_dark_and_needs_nothing_from_elsewhere() -> None:
    recording = Recording(1.79e9, 15.0, 2, {"web": {COUNT: column([1, 9])}})
    drawn = picture(rules("check service web if process:count > 5 then alert"), recording)

    assert "prefers-color-scheme:dark" in drawn
    assert "href" not in drawn
    assert "url(" not in drawn


def test_many_rules_stay_below_the_limit_and_none_is_dropped_unsaid() -> None:
    names = [f"svc-{n}" for n in range(900)]
    known = rules("".join(f"check service {n}\n if process:count > 5 then alert\n" for n in names))
    values = column([1, 9, 9, 1, 1, 1] * 100)
    recording = Recording(1.79e9, 15.0, 600, {name: {COUNT: values} for name in names})
    drawn = picture(known, recording)
    rows = drawn.count("<g ")

    assert len(drawn.encode()) <= LARGEST
    assert 0 < rows < 900
    assert f"{900 - rows} more rules do not fit" in drawn


def test_what_has_no_history_says_so() -> None:
    recording = Recording(1.79e9, 15.0, 2, {})
    drawn = picture(rules("check service web if process:count > 5 then alert"), recording)

    assert "process:count: no history" in drawn
