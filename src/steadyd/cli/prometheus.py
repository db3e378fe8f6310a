"""Recordings from a Prometheus that scrapes steadyd (its HTTP API: query_range, label values)."""

import base64
import http.client
import time
from collections.abc import Mapping
from contextlib import closing
from typing import TypeVar
from urllib.parse import unquote, urlencode, urlsplit

import msgspec
from msgspec import Struct

from steadyd.cli.recordings import Asked, NoHistory, check, counters, with_members
from steadyd.cli.terminal import clean
from steadyd.model.metric import MetricId
from steadyd.model.rule import RuleSet
from steadyd.model.service import is_glob
from steadyd.replaying.promql import Unsaid, query, services
from steadyd.replaying.recording import Column, Recording, column

POINTS = 11_000  # of one query: the most that Prometheus answers
LARGEST = 64 << 20  # bytes of an answer
DEADLINE = 180.0  # seconds for all queries together

_T = TypeVar("_T")


class _Series(Struct):
    values: list[tuple[float, str]]


class _Result(Struct):
    result: list[_Series]


class _Answer(Struct):
    data: _Result


class _Names(Struct):
    data: list[str]


class _Error(Struct):
    error: str = ""


def from_prometheus(
    url: str, rules: RuleSet, start: float, end: float, step: float, host: str
) -> Recording:
    """Ask a Prometheus for all that the rules read. Times are in seconds. Raises NoHistory."""
    ticks = int((end - start) // step) + 1
    check(step, ticks, 0)
    with closing(_Server(url)) as server:
        if any(is_glob(one.service) for one in rules.checks):
            asked = {"match[]": services(host), "start": f"{start:.3f}", "end": f"{end:.3f}"}
            names = server.ask("label/name/values", asked, _Names).data
            rules = with_members(rules, dict.fromkeys(names))
        series: dict[str, dict[MetricId, Column]] = {}
        missing: dict[tuple[str, MetricId], str] = {}
        for service, metrics in Asked(rules).metrics.items():
            series[service] = {}
            for metric in sorted(metrics):
                try:
                    text = query(service, metric, step, host)
                except Unsaid as why:
                    missing[service, metric] = str(why)
                    continue
                values = _column(server, text, start, ticks, step)
                if values is None:
                    missing[service, metric] = "Prometheus has no such series"
                else:
                    series[service][metric] = values
    if not any(series.values()):
        raise NoHistory(f"{server.shown} has nothing of these services at that time", 1)
    return Recording(start, step, ticks, series, missing, counters(series))


def _column(server: "_Server", text: str, start: float, ticks: int, step: float) -> "Column | None":
    """Return the values of a query, None if there is no series. Raises NoHistory."""
    found: list[float | None] = [None] * ticks
    known = False
    for first in range(0, ticks, POINTS):
        last = min(first + POINTS, ticks) - 1
        asked = {
            "query": text,
            "start": f"{start + first * step:.3f}",
            "end": f"{start + last * step:.3f}",
            "step": f"{step:.3f}",
        }
        result = server.ask("query_range", asked, _Answer).data.result
        if len(result) > 1:
            raise NoHistory(f"{len(result)} instances have that service: name one with --host", 2)
        for series in result:
            for at, value in series.values:
                place = round((at - start) / step)
                if first <= place <= last:
                    found[place] = _number(value)
                    known = True
    return column(found) if known else None


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


class _Server:
    """One connection to a Prometheus. `shown` is its URL without user and password."""

    def __init__(self, url: str) -> None:
        """Raises NoHistory."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        if parts.scheme not in ("http", "https") or not host:
            raise NoHistory("--prometheus wants a URL such as http://localhost:9090")
        self.shown = clean(f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}")
        self._until = time.monotonic() + DEADLINE
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = kind(host, port, timeout=DEADLINE)
        self._base = parts.path.rstrip("/") + "/api/v1/"
        self._headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            told = base64.b64encode(user.encode("utf-8", "replace")).decode("ascii")
            self._headers["Authorization"] = f"Basic {told}"

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(self, path: str, asked: Mapping[str, str], wanted: type[_T]) -> _T:
        """Return an answer of the API. Raises NoHistory."""
        try:
            status, body = self._exchange(path, urlencode(asked, errors="replace"))
        except TimeoutError:
            raise NoHistory(f"{self.shown}: no answer in {DEADLINE:g} s", 1) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = clean(error)[:200] or type(error).__name__
            raise NoHistory(f"cannot ask {self.shown}: {why}", 1) from None
        if status != 200:
            raise NoHistory(f"{self.shown} answers {status}: {_why(body)}", 1)
        try:
            return msgspec.json.decode(body, type=wanted)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise NoHistory(f"what answers at {self.shown} is no Prometheus", 1) from None

    def _exchange(self, path: str, form: str) -> tuple[int, bytes]:
        """Send a request; redirects are not followed: they would take the password along."""
        connection, body = self._connection, bytearray()
        method = "POST" if path == "query_range" else "GET"
        place = self._base + path + (f"?{form}" if method == "GET" else "")
        connection.timeout = self._left()
        if connection.sock is not None:
            connection.sock.settimeout(self._left())
        sent = form.encode("ascii") if method == "POST" else None
        connection.request(method, place, sent, self._headers)
        channel = connection.sock
        response = connection.getresponse()
        while piece := response.read1(65_536):
            body += piece
            if len(body) > LARGEST:
                raise ValueError(f"the answer is larger than {LARGEST >> 20} MiB")
            if not response.isclosed():
                channel.settimeout(self._left())
        response.close()  # it would not know by itself that all was read
        return response.status, bytes(body)

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _why(body: bytes) -> str:
    try:
        told = msgspec.json.decode(body, type=_Error).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        told = ""
    return clean(told)[:200] or "and does not say why"
