"""What a message says (contract.md, section 6)."""

from msgspec.structs import replace

from steadyd.delivery.redact import redact, shown
from steadyd.delivery.render import amount, duration, folded, render, together
from steadyd.model.condition import Amount, Comparison, Hold, Operator
from steadyd.model.incident import Action, CloseReason, Incident, Outcome
from steadyd.model.metric import Dimension, MetricId
from steadyd.model.notification import Notification, Occasion, Tone
from steadyd.model.rule import Act, Alert, CheckParams, Rule, Severity, Source, Verb

GIB = 2**30
RULE = Rule(
    "puma",
    Comparison(MetricId("memory", "total_rss"), Operator.ABOVE, Amount("2g", 2 * GIB)),
    Hold(),
    (Alert(), Act(Verb.RELOAD)),
    Source("/etc/steadyd/rules.d/puma.inq", 3),
    CheckParams(runbook="https://wiki/puma"),
)
INCIDENT = Incident(
    "abc123",
    "puma",
    RULE.key,
    str(RULE),
    str(RULE.source),
    "memory:total_rss",
    Severity.WARNING,
    1763884841.0,
    2.14 * GIB,
    2.0 * GIB,
    ("default",),
    operator=">",
)
ACTION = Action("a", "abc123", "puma", "systemd", "puma.service", Verb.RELOAD, 1, 1763884841.5)
OPENED = Notification(Occasion.OPENED, "default", 1763884842.0, INCIDENT, RULE, (ACTION,))
CLOSED = replace(
    OPENED,
    occasion=Occasion.CLOSED,
    incident=replace(
        INCIDENT, closed_at=INCIDENT.opened_at + 192, close_reason=CloseReason.RECOVERED
    ),
    actions=(replace(ACTION, finished_at=1763884842.0, outcome=Outcome.HEALED),),
)


def bytes_(_: str) -> Dimension:
    return Dimension.BYTES


def test_an_opening_says_what_since_when_by_which_rule_and_what_is_done() -> None:
    message = render(OPENED, "web1", bytes_)

    assert message.title == "web1 puma: memory:total_rss 2.1 GiB > 2 GiB"
    assert message.body.splitlines() == [
        "Reload asked of systemd.",
        "Since 2025-11-23 08:00:41 UTC.",
        "Rule: if memory:total_rss > 2g then alert, reload (/etc/steadyd/rules.d/puma.inq:3)",
        "Runbook: https://wiki/puma",
        "Incident abc123. More: steadyd why puma",
    ]
    assert message.tone is Tone.WARNING


def test_a_closing_says_after_how_long_and_what_healed_it() -> None:
    message = render(CLOSED, "web1", bytes_)

    assert message.title.startswith("web1 puma: recovered after 3m 12s")
    assert "Reload healed it." in message.body
    assert "abc123" in message.body
    assert message.tone is Tone.SUCCESS


def test_down_is_down() -> None:
    incident = replace(INCIDENT, topic="down", severity=Severity.CRITICAL, value=None)
    message = render(replace(OPENED, incident=incident), "web1", bytes_)

    assert message.title == "web1 puma: is down"
    assert message.tone is Tone.FAILURE


def test_an_opening_and_a_closing_that_both_wait_are_one_sentence() -> None:
    message = folded(CLOSED, "web1", bytes_)

    assert message is not None
    assert message.title == "web1 puma: was memory:total_rss 2.1 GiB > 2 GiB 08:00–08:03"
    assert folded(OPENED, "web1", bytes_) is None


def test_a_suppressed_verb_says_why() -> None:
    action = replace(ACTION, finished_at=1.0, outcome=Outcome.SUPPRESSED, reason="dry run")
    message = render(replace(OPENED, actions=(action,)), "web1", bytes_)

    assert "No reload: dry run." in message.body


def test_a_message_for_a_rule_that_is_gone_can_be_rendered() -> None:
    incident = replace(
        INCIDENT, close_reason=CloseReason.WITHDRAWN, close_text="the rule is gone", closed_at=1.0
    )
    message = render(
        replace(OPENED, occasion=Occasion.CLOSED, incident=incident, rule=None), "web1", bytes_
    )

    assert message.title == "web1 puma: memory:total_rss withdrawn: the rule is gone"


def test_several_messages_become_one_with_all_texts_and_the_loudest_tone() -> None:
    one, two = render(OPENED, "web1", bytes_), render(CLOSED, "web1", bytes_)
    message = together([two, one], "web1")

    assert message.title == "web1: 2 messages"
    assert one.title in message.body
    assert two.body in message.body
    assert message.tone is Tone.WARNING
    assert together([one], "web1") is one


def test_values_read_like_a_person_writes_them() -> None:
    assert amount(1536, Dimension.BYTES) == "1.5 KiB"
    assert amount(512, Dimension.BYTES) == "512 B"
    assert amount(95.25, Dimension.PERCENT) == "95.2 %"
    assert amount(12, Dimension.COUNT) == "12"
    assert amount(0.25, Dimension.SECONDS) == "0.25 s"
    assert amount(90, Dimension.SECONDS) == "1m 30s"
    assert [duration(s) for s in (0, 59, 3600, 90061)] == ["0s", "59s", "1h", "1d 1h"]


def test_no_part_of_a_url_that_could_be_a_secret_survives() -> None:
    url = "slack://TokenAAAA/TokenBBBB/Tok%20enC/#channel"
    text = f"POST {url} failed: /TokenAAAA/TokenBBBB/ said Tok enC"

    assert redact(text, url) == "POST slack://*** failed: /***/***/ said ***"
    mail = "mailtos://user:hunter2secret@mail.example.com:587/?to=ops@example.com"
    assert "hunter2secret" not in redact("auth hunter2secret at mail.example.com", mail)
    assert "mail.example.com" in redact("auth hunter2secret at mail.example.com", mail)
    assert shown(url) == "slack://***"
    for bare in ("json://h:1?-token=hunter2secret", "json://h:1#hunter2secret"):
        assert "hunter2secret" not in redact(f"said hunter2secret of {bare}", bare)
        assert shown(bare) == "json://h:1/***"
    assert shown(mail) == "mailtos://mail.example.com:587/***"
