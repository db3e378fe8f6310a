"""What the kernel's texts mean, and that garbage never passes for a number."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadyd.probes import texts

PSI = (
    b"some avg10=2.41 avg60=1.05 avg300=2.02 total=647749253\n"
    b"full avg10=100.00 avg60=0.00 avg300=0.00 total=0\n"
)
IO_STAT = (
    b"8:0 rbytes=4096 wbytes=100 rios=1 wios=1 dbytes=7 dios=0\n"
    b"253:0 8:16 rbytes=10 wbytes=1 rios=1 wios=0 dbytes=0 dios=0\n"
    b"7:0 \n"
)
NET = (
    b"Inter-|   Receive                |  Transmit\n"
    b" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n"
    b"    lo: 1000 9 0 0 0 0 0 0 1000 9 0 0 0 0 0 0\n"
    b"eth0.7:  5 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n"
)


def test_each_text_tells_its_number() -> None:
    assert texts.number(b"123") == 123
    assert texts.limit(b"max\n") == float("inf")
    assert texts.limit(b"41943040\n") == 41943040
    assert texts.value(b"low 0\noom 2\noom_kill 1\noom_group_kill 0\n", b"oom_kill") == 1
    assert texts.pressure(PSI, b"some") == 2.41
    assert texts.pressure(PSI, b"full") == 100
    assert texts.device_bytes(IO_STAT, b"rbytes") == 4106
    assert texts.device_bytes(IO_STAT, b"wbytes") == 101
    assert texts.device_bytes(b"", b"rbytes") == 0
    assert texts.interface_bytes(NET) == {"lo": 2000, "eth0.7": 7}


PARSERS: list[Callable[[bytes], object]] = [
    texts.number,
    texts.limit,
    lambda text: texts.value(text, b"oom_kill"),
    lambda text: texts.pressure(text, b"some"),
    lambda text: texts.device_bytes(text, b"rbytes"),
    lambda text: texts.interface_bytes(b"1\n2\n" + text),
]


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        *((parser, b"garbage\x1b[31m\n") for parser in PARSERS),
        *((PARSERS[0], word) for word in (b"", b"-1", b"1_0", b"0x1", b"1e3", "٣".encode())),
        (PARSERS[0], b"9" * 5000),
        (PARSERS[1], b"min"),
        (PARSERS[2], b"oom_kill\n"),
        (PARSERS[2], b"oom_kill -1\n"),
        (PARSERS[3], b"some avg10=nan\n"),
        (PARSERS[3], b"some avg10=1e9\n"),
        (PARSERS[3], b"some avg10="),
        (PARSERS[3], b"some avg60=1.00\n"),
        (PARSERS[4], b"8:0 rbytes=x\n"),
        (PARSERS[4], b"8:0 rbytes\n"),
        (PARSERS[5], b"eth0: 1 2 3\n"),
    ],
)
def test_garbage_is_an_error_that_can_be_shown(
    parser: Callable[[bytes], object], text: bytes
) -> None:
    with pytest.raises(ValueError) as caught:
        parser(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 100


@given(st.sampled_from(PARSERS), st.binary(max_size=60))
def test_no_other_error_comes_out(parser: Callable[[bytes], object], text: bytes) -> None:
    with contextlib.suppress(ValueError):
        parser(text)


@pytest.mark.parametrize("resource", ["cpu", "memory", "io"])
def test_this_kernels_own_pressure_is_read(resource: str) -> None:
    try:
        text = Path(f"/proc/pressure/{resource}").read_bytes()
    except OSError as error:
        pytest.skip(f"this kernel tells no pressure: {error}")
    assert 0 <= texts.pressure(text, b"some") <= 100
