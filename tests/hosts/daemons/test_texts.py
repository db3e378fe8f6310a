"""What is told of servers, what is a number, when a certificate ends: pure, of any input."""

import base64
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadyd.probes.catalogue import CATALOGUE
from steadyd.probes.daemons import FAMILIES, Where
from steadyd.probes.daemons.certificate import not_after
from steadyd.probes.daemons.told import LONGEST, count, hidden, line, number, ratio, shown, why
from tests.hosts.daemons.kit import certificate

LATER = {"memory", "process", "init", "cpu", "io", "pressure"}


def test_the_catalogue_and_the_probes_are_of_the_same_families() -> None:
    named = {each.id.family for each in CATALOGUE.metrics if each.subject == "service"}

    assert named - LATER == FAMILIES
    assert all(each.probed for each in CATALOGUE.metrics if each.id.family in FAMILIES)


def test_a_client_is_imported_when_it_is_needed() -> None:
    code = (
        "import sys, steadyd.probes.catalogue, steadyd.probes.daemons as d\n"
        "print([m for m in ('h11', 'pymysql', 'pg8000', 'steadyd.probes.daemons.redis')"
        " if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0.0), ("-1", -1.0), ("12.5", 12.5), ("1e3", 1000.0), ("+7", 7.0), ("1.", 1.0)],
)
def test_a_number(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "nan", "inf", "0x1", "1_000", "١", "1e", "--1", "9" * 31, "1\n"]
)
def test_no_number(text: str) -> None:
    assert number(text) is None


@given(st.text())
def test_a_line_is_short_and_printable(text: str) -> None:
    assert line(text).isprintable()
    assert len(line(text)) <= LONGEST + 1


@given(st.binary())
def test_bytes_are_a_line_too(data: bytes) -> None:
    assert line(data).isprintable()


@given(st.text(min_size=4).filter(str.isprintable), st.text(max_size=5))
def test_no_form_of_a_secret_is_told(secret: str, user: str) -> None:
    raw = secret.encode()
    forms = (secret, quote(raw, safe=""), base64.b64encode(raw).decode())

    text = hidden(" | ".join(forms), user, secret)

    for form in forms:
        assert form not in text or form in "*** | *** | ***"


def test_without_a_secret_nothing_is_hidden() -> None:
    assert hidden("as it is", "me", "") == "as it is"


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [
        ("/status", "/status"),
        ("", ""),
        ("/stats?token=abc", "/stats?***"),
        ("http://me:pw@h:1/x?y#z", "http://***@h:1/x?***"),
        ("http://me:p/w?#@x@h/", "http://***@h/"),
        ("/stats?at=a@b", "/stats?***"),
        ("https://h/#secret", "https://h/"),
        ("http://[::1/x", "http://[::1/x"),
    ],
)
def test_an_endpoint_is_shown_without_user_and_query(endpoint: str, text: str) -> None:
    assert shown(endpoint) == text
    assert text in repr(Where(endpoint=endpoint))


@given(st.binary(max_size=200))
def test_no_certificate_is_a_value_error(der: bytes) -> None:
    with pytest.raises(ValueError):
        not_after(der)


@pytest.mark.parametrize("days", ["1", "400", "12000"])  # the last is a time of the longer form
def test_a_certificate_ends_when_openssl_says(tmp_path: Path, days: str) -> None:
    certificate(tmp_path, days)
    der = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "pem", "-outform", "der"],
        check=True,
        capture_output=True,
    ).stdout
    said = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "pem", "-noout", "-enddate"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    true = subprocess.run(
        ["date", "-d", said.partition("=")[2].strip(), "+%s"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert not_after(der) == float(true)
    for size in range(len(der) // 2):
        with pytest.raises(ValueError):
            not_after(der[:size])


def test_a_json_value_that_is_no_number_has_a_reason() -> None:
    assert (count(5), count(2.5), count(True)) == (5.0, 2.5, 1.0)
    assert "does not report" in str(count(None))
    assert "no number" in str(count("5"))
    assert "too large" in str(count(10**400))


def test_a_part_of_nothing_is_no_percentage() -> None:
    assert ratio(1.0, 4.0) == 25.0
    assert "no limit" in str(ratio(1.0, 0.0))
    assert ratio("why", 1.0) == "why"
    assert ratio(1.0, "because") == "because"


@pytest.mark.parametrize(
    "error", [OSError(), OSError(5, None), EOFError(), KeyError("x"), MemoryError(), ValueError()]
)
def test_whatever_was_raised_has_a_reason(error: Exception) -> None:
    assert why(error)
