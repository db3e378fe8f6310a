"""Amounts, counts and durations: exact values, Inspeqtor's spellings and the new ones."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadyd.rulefiles.amounts import BadNumber, Unit, amount, duration, integer

K, M, G, T, P = (1024**power for power in range(1, 6))


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5", 5, Unit.NONE),
        ("+5", 5, Unit.NONE),
        ("-5", -5, Unit.NONE),
        ("007", 7, Unit.NONE),
        ("0" * 5000 + "7.50", 7.5, Unit.NONE),
        ("80%", 80, Unit.PERCENT),
        ("-1.5%", -1.5, Unit.PERCENT),
        ("-0.5", -0.5, Unit.NONE),
        ("2k", 2 * K, Unit.BINARY),
        ("2K", 2 * K, Unit.BINARY),
        ("2m", 2 * M, Unit.BINARY),
        ("2g", 2 * G, Unit.BINARY),
        ("2T", 2 * T, Unit.BINARY),
        ("2p", 2 * P, Unit.BINARY),
        ("1.5g", 3 * G // 2, Unit.BINARY),
        ("1.50g", 3 * G // 2, Unit.BINARY),
        ("0.1k", 102.4, Unit.BINARY),
        ("2kb", 2 * K, Unit.BYTES),
        ("2MB", 2 * M, Unit.BYTES),
        ("1.5gb", 3 * G // 2, Unit.BYTES),
        ("2tb", 2 * T, Unit.BYTES),
        ("250ms", 0.25, Unit.TIME),
        ("2000ms", 2, Unit.TIME),
        ("90s", 90, Unit.TIME),
        ("5min", 300, Unit.TIME),
        ("2h", 7200, Unit.TIME),
        ("1.5d", 129600, Unit.TIME),
        ("9223372036854775807", 2**63 - 1, Unit.NONE),
        ("-9223372036854775808", -(2**63), Unit.NONE),
    ],
)
def test_an_amount_has_an_exact_value(text: str, value: float, unit: Unit) -> None:
    found = amount(text)

    assert (found.value, found.unit, found.per, found.overflows) == (value, unit, 0.0, False)
    assert isinstance(found.value, int) == (value == int(value))


@pytest.mark.parametrize(
    ("text", "value", "per"),
    [
        ("5/sec", 5, 1),
        ("1k/sec", K, 1),
        ("5%/sec", 5, 1),
        ("30/min", 30, 60),
        ("1.5m/h", 1.5 * M, 3600),
    ],
)
def test_an_amount_may_be_a_rate(text: str, value: float, per: float) -> None:
    assert (amount(text).value, amount(text).per) == (value, per)


BAD_AMOUNTS = """
x g % /sec 5/ 5/s 5/day 5/sec/sec 5%% 5kk 5b 5pb 5S 5Ms 5MIN 1.g .5 1.5.5 1_000 0x10 1e3 5,0 ++5 - +
5! é 五 ٥ 9223372036854775808 -9223372036854775809 9223372036854775808.5 12345678901234567890k
"""


@pytest.mark.parametrize("text", [*BAD_AMOUNTS.split(), "", " 5", "5 ", "1." + "1" * 31, '"5"'])
def test_what_is_no_amount_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(BadNumber, match=r"is no|has|does not fit"):
        amount(text)


@pytest.mark.parametrize(
    ("text", "overflows"),
    [
        ("8191p", False),
        ("8192p", True),
        ("-8192p", False),
        ("-8193p", True),
        ("8191.9999p", False),
        ("9007199254740993k", True),
        ("9223372036854775807.5", True),
        ("9223372036854775807ms", False),
        ("9223372036854775807d", True),
    ],
)
def test_more_than_64_bits_are_seen(text: str, overflows: bool) -> None:
    assert amount(text).overflows == overflows


@given(
    st.integers(-(10**18), 10**18),
    st.none() | st.integers(0, 10**30 - 1).map(lambda number: f"{number:030}"),
    st.sampled_from(["", "%", "k", "m", "g", "t", "p", "mb", "ms", "s", "min", "h", "d"]),
)
def test_values_are_those_of_exact_arithmetic(whole: int, rest: str | None, unit: str) -> None:
    text = f"{whole}" if rest is None else f"{whole}.{rest}"
    factor = {"k": K, "m": M, "g": G, "t": T, "p": P, "mb": M, "ms": Fraction(1, 1000), "min": 60}
    exact = Fraction(text) * factor.get(unit, {"h": 3600, "d": 86400}.get(unit, 1))

    found = amount(text + unit)

    assert found.value == (int(exact) if exact.denominator == 1 else float(exact))
    assert found.overflows == (not -(2**63) <= exact < 2**63)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("90s", 90),
        ("5m", 300),
        ("5min", 300),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1d", 86400),
        ("3650d", 315360000),
        ("0s", 0),
    ],
)
def test_in_a_duration_m_is_minutes(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "-5s", "+5s", "5S", "5k", "5 s", "1.s", "5w", "3651d", "9" * 13 + "s", "٥s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadNumber):
        duration(text)


def test_a_count_is_a_64_bit_integer_with_a_sign() -> None:
    assert [integer(text) for text in ("3", "+3", "-3", "0", "007")] == [3, 3, -3, 0, 7]
    for text in ("", "3.0", "3k", "٣", "9223372036854775808", "1e3"):
        with pytest.raises(BadNumber):
            integer(text)
