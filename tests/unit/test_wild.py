"""Rule files as people wrote them for Inspeqtor in public: what each of their rules means here."""

import pytest

from steadyd.model.condition import Comparison
from steadyd.model.rule import HOST
from tests.fakes.rulefiles import rules

M, G = 1 << 20, 1 << 30
SERVICE, REDIS = "check service puma", "check service redis-server"
PORT, ACTIVE = "check service agendrix-web@5000.service", "nginx:Active_connections"
QUOTED = 'check service "nginx" with hostname "localhost", port "80", endpoint "/stats"'

# file, metric, limit, cycles, verbs
RULES = [
    (f"{SERVICE} if memory:rss > 500m then alert", "memory:rss", 500 * M, 1, ""),
    (f"{SERVICE} if memory:rss > 1g then alert, restart", "memory:rss", G, 1, "restart"),
    (f"{SERVICE} if memory:rss > 1.5g then restart", "memory:rss", 1.5 * G, 1, "restart"),
    (f"{SERVICE} if memory:rss > 2g then alert, reload", "memory:rss", 2 * G, 1, "reload"),
    (f"{REDIS} if memory:rss > 6g then alert", "memory:rss", 6 * G, 1, ""),
    (f"{SERVICE} if memory:total_rss > 2g then restart", "memory:total_rss", 2 * G, 1, "restart"),
    (f"{SERVICE} if cpu:user > 60% for 2 cycles then alert", "cpu:user", 60, 2, ""),
    (f"{SERVICE} if cpu:user > 90% for 2 cycles then alert", "cpu:user", 90, 2, ""),
    (f"{SERVICE} if cpu:user > 95% for 2 cycles then restart", "cpu:user", 95, 2, "restart"),
    (f"{PORT} if memory:rss > 1g then reload", "memory:rss", G, 1, "reload"),
    (f"{QUOTED} if {ACTIVE} > 100 then alert", ACTIVE, 100, 1, ""),
    ("check host if disk:/ > 90% then alert", "disk:/", 90, 1, ""),
    ("check host if load:5 > 10 then alert", "load:5", 10, 1, ""),
    ("check host if swap > 20% then alert", "swap", 20, 1, ""),
]


@pytest.mark.parametrize(("text", "metric", "limit", "cycles", "verbs"), RULES)
def test_a_rule_of_the_wild_means_what_it_meant(
    text: str, metric: str, limit: float, cycles: int, verbs: str
) -> None:
    for layout in (text, text.replace(" if ", "\n  if "), text.replace(" if ", "\r\n\tif ")):
        (rule,) = (rule for rule in rules(layout).rules if not rule.implicit)
        condition = rule.condition
        assert isinstance(condition, Comparison)
        assert (str(condition.metric), condition.operator) == (metric, ">")
        assert condition.amount.value == pytest.approx(limit)
        assert (rule.hold.cycles or 1) == cycles
        assert " ".join(str(verb) for verb in rule.verbs) == verbs
        assert (rule.service == HOST) is ("host if" in text)


def test_a_check_without_rules_which_inspeqtor_refused_watches_the_service() -> None:
    (rule,) = rules("check service redis-server\n").rules

    assert rule.implicit
    assert rule.topic == "down"
