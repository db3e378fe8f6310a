"""The application behind every door: metrics, JSON, the page, and the few things that act.

What can act is for the control socket only, but for `/-/reload` where the lifecycle flag allows it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from steadyd.exposition import api
from steadyd.exposition.answer import Pieces, answer, caller_of, policy
from steadyd.exposition.connection import Caller
from steadyd.exposition.metrics import Metrics, accepts_gzip, compress
from steadyd.model.snapshot import Snapshot
from steadyd.ports import Daemon, HistoryUnreadable

if TYPE_CHECKING:
    from steadyd.exposition.operator import Operator
    from steadyd.exposition.page.looks import Looks
    from steadyd.exposition.webconfig import WebConfig

log = logging.getLogger(__name__)

T = TypeVar("T")

FRESH_SECONDS = 5.0  # a sample that takes longer is not waited for
MANY = 150  # services, from which an answer is made in a thread
BUSY = 8  # scrapes under way, from which a text may serve several
SHARED_SECONDS = 1.0
MOST, USUAL = 1000, 100  # entries of a list

# what is for people: page/looks.py
_LOOKS = ("/", "/service/{name:path}", "/events", "/page.js", "/icon.svg")
# what operators and jobs tell: operator.py
_OPERATE = (
    ("/api/v1/silences", ("GET", "POST")),
    ("/api/v1/silences/expire", ("POST",)),
    ("/api/v1/jobs", ("GET",)),
    ("/api/v1/alertmanager", ("POST",)),
    ("/api/v1/export", ("GET",)),
    ("/api/v1/show/{service:path}/{metric}", ("GET",)),
    ("/api/v1/job-done/{name:path}", ("POST",)),
)
JOB_DONE = "/api/v1/job-done/"  # all that the job socket takes

_SECURITY = {
    b"content-security-policy": policy().encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"deny",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}


class Gate:
    """Before the application: may they ask at all? After it: the headers of every answer."""

    def __init__(self, app: ASGIApp, config: "WebConfig | None") -> None:
        self._app, self._config = app, config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._headers(message["headers"])
            await send(message)

        answer = await self._refusal(Request(scope)) or self._app
        await answer(scope, receive, with_headers)

    async def _refusal(self, request: Request) -> Response | None:
        caller: Caller = request.state.caller
        acts = request.method not in ("GET", "HEAD")
        if caller.control:
            return _refused_control(caller, acts, request)
        if acts and _from_a_page(request):
            return _error(403, "requests from web pages cannot act")
        if self._config is not None and self._config.has_users:
            if not await self._config.admits(request.headers.get("authorization", "")):
                return _error(
                    401, "a name and a password are needed", {"www-authenticate": "Basic"}
                )
            request.scope["state"]["caller"] = replace(caller, trusted=True, known=True)
        return None

    def _headers(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return ours, those of the answer, and those of the configuration, which win."""
        headers = {b"date": formatdate(usegmt=True).encode(), **_SECURITY, **dict(given)}
        if self._config is not None:
            for name, text in self._config.headers.items():
                headers[name.lower().encode()] = text.encode()
        return list(headers.items())


def _refused_control(caller: Caller, acts: bool, request: Request) -> Response | None:
    if caller.may_report and request.url.path.startswith(JOB_DONE):
        return None
    if acts:
        log.info("control: %s asks for %s", caller.who, request.url.path)
    if caller.may_act or (caller.may_read and not acts):
        return None
    log.warning("control: %s may not %s", caller.who, "act" if acts else "read")
    needed = "root or the group steadyd-admin" if caller.may_read else "the group steadyd-admin"
    return _error(403, f"{caller.who} may not do this; it takes {needed}")


def _from_a_page(request: Request) -> bool:
    """Tell whether a browser sent this for some page; ours has nothing that acts."""
    site = request.headers.get("sec-fetch-site", "none")
    return "origin" in request.headers or site != "none"


class Handlers:
    """The answers."""

    def __init__(self, daemon: Daemon, lifecycle: bool, token: str = "") -> None:
        self._daemon, self._lifecycle = daemon, lifecycle
        self._token = token
        self._operator: Operator | None = None
        self._metrics = Metrics()
        self._looks: Looks | None = None
        self._scrapes = 0
        self._texts: dict[tuple[str, bool], tuple[float, Response]] = {}

    def application(self) -> ASGIApp:
        """Return the ASGI application."""
        acting = ["POST", "PUT"]
        return Starlette(
            routes=[
                *(Route(path, self._look) for path in _LOOKS),
                Route("/metrics", self._scrape),
                Route("/-/healthy", self._healthy),
                Route("/-/ready", self._ready),
                Route("/-/reload", self._reload, methods=acting),
                Route("/-/reload", self._only_post),
                Route("/api/v1/status", self._status),
                Route("/api/v1/services", self._services),
                Route("/api/v1/incidents", self._incidents),
                Route("/api/v1/actions", self._actions),
                Route("/api/v1/why/{name:path}", self._why),
                *(Route(path, self._operate, methods=list(some)) for path, some in _OPERATE),
                Route("/api/v1/rights", self._rights),
                Route("/api/v1/rights", self._deny, methods=acting),
                Route("/api/v1/test-alert", self._test_alert, methods=acting),
                Route("/api/v1/test-alert/{route:path}", self._test_alert, methods=acting),
            ],
            exception_handlers={
                HTTPException: _http_error,
                HistoryUnreadable: _unreadable,
                500: _bug,
            },
        )

    async def _look(self, request: Request) -> Response:
        if self._looks is None:
            from steadyd.exposition.page.looks import Looks  # noqa: PLC0415 - most are only scraped

            self._looks = Looks(self._daemon)
        return await self._looks.answer(request)

    async def _operate(self, request: Request) -> Response:
        if self._operator is None:
            from steadyd.exposition.operator import Operator  # noqa: PLC0415 - seldom used

            self._operator = Operator(self._daemon, self._token)
        return await self._operator.answer(request)

    async def _healthy(self, request: Request) -> Response:
        return PlainTextResponse("steadyd is healthy.\n")

    async def _ready(self, request: Request) -> Response:
        if self._daemon.snapshot().ready:
            return PlainTextResponse("steadyd is ready.\n")
        return PlainTextResponse("steadyd is not ready yet.\n", 503)

    async def _scrape(self, request: Request) -> Response:
        accept = ",".join(request.headers.getlist("accept"))
        zipped = accepts_gzip(",".join(request.headers.getlist("accept-encoding")))
        shared = self._texts.get((accept, zipped))
        if self._scrapes < BUSY or not shared or time.monotonic() - shared[0] > SHARED_SECONDS:
            text = await self._text(accept, zipped)
            self._texts = {(accept, zipped): (time.monotonic(), text)}
        else:
            text = shared[1]
        return _Counted(self, text)

    async def _text(self, accept: str, zipped: bool) -> Response:
        snapshot = await self._fresh(detail=False)

        def work() -> tuple[bytes, str]:
            text, content_type = self._metrics.text(snapshot, accept)
            return compress(text) if zipped else text, content_type

        text, content_type = await _apart(snapshot, work)
        headers = {"content-type": content_type, "vary": "accept, accept-encoding"}
        return Pieces(text, headers=headers | ({"content-encoding": "gzip"} if zipped else {}))

    @contextlib.contextmanager
    def scraping(self) -> Iterator[None]:
        """Count a scrape that is under way."""
        self._scrapes += 1
        try:
            yield
        finally:
            self._scrapes -= 1
            if not self._scrapes:
                self._texts = {}

    async def _reload(self, request: Request) -> Response:
        if not (caller_of(request).may_act or self._lifecycle):
            raise HTTPException(
                403, "this is off; start with --web.enable-lifecycle, or use `steadyd reload`"
            )
        report = await self._daemon.reload()
        return answer(api.reloaded(report), 200 if report.ok else 500)

    async def _only_post(self, request: Request) -> Response:
        text = "Only POST or PUT requests allowed"
        return PlainTextResponse(text, 405, headers={"allow": "POST, PUT"})

    async def _status(self, request: Request) -> Response:
        snapshot, trusted = await self._fresh(), caller_of(request).trusted
        return await _answer(snapshot, lambda: api.status(snapshot, trusted))

    async def _services(self, request: Request) -> Response:
        limit = _limit(request, None)
        snapshot = await self._fresh()
        seen = api.seen_by(snapshot, caller_of(request).trusted)
        return await _answer(seen, lambda: api.services(seen, limit))

    async def _incidents(self, request: Request) -> Response:
        found = await self._daemon.incidents(_limit(request, USUAL) or USUAL)
        return answer(api.incidents(found, caller_of(request).trusted))

    async def _actions(self, request: Request) -> Response:
        found = await self._daemon.actions(_limit(request, USUAL) or USUAL)
        return answer(api.actions(found, caller_of(request).trusted))

    async def _why(self, request: Request) -> Response:
        if not caller_of(request).trusted:
            raise HTTPException(403, f"{request.url.path} is {api.WITHHELD}")
        name = request.path_params["name"]
        why = await self._daemon.why(name)
        if why is None:
            raise HTTPException(404, f"nobody watches a service {name}; `steadyd services` lists")
        return answer(api.why(why))

    async def _rights(self, request: Request) -> Response:
        if not caller_of(request).trusted:
            raise HTTPException(403, f"{request.url.path} is {api.WITHHELD}")
        return answer(api.rights(self._daemon.rights_wanted()))

    async def _deny(self, request: Request) -> Response:
        if not caller_of(request).may_act:
            raise HTTPException(403, "only root may tell which rights are missing")
        known = {(right.service, str(right.verb)) for right in self._daemon.rights_wanted()}
        denied: dict[str, dict[str, str]] = {}
        try:
            told = msgspec.json.decode(await request.body(), type=list[_Denied])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HTTPException(400, str(error)) from None
        for each in told:
            if (each.service, each.verb) in known:
                denied.setdefault(each.service, {})[each.verb] = each.why[:MOST]
        self._daemon.deny(denied)
        return answer({"ok": True})

    async def _test_alert(self, request: Request) -> Response:
        if not caller_of(request).may_act:
            raise HTTPException(403, "test alerts are sent from the control socket only")
        route = request.path_params.get("route", "")
        try:
            reports = await self._daemon.test_alert(route)
        except KeyError as error:
            raise HTTPException(404, f"there is no route {route or 'default'}") from error
        return answer(api.tested(reports))

    async def _fresh(self, *, detail: bool = True) -> Snapshot:
        try:
            async with asyncio.timeout(FRESH_SECONDS):
                return await self._daemon.fresh(detail=detail)
        except TimeoutError:
            log.warning("sampling takes longer than %g s; an older sample is shown", FRESH_SECONDS)
            return self._daemon.snapshot()


class _Denied(msgspec.Struct):
    service: str
    verb: str
    why: str


class _Counted(Response):
    """A scrape's text; it is under way until the last byte was taken."""

    def __init__(self, handlers: Handlers, text: Response) -> None:
        super().__init__()
        self._handlers, self._text = handlers, text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._handlers.scraping():
            await self._text(scope, receive, send)


def _limit(request: Request, usual: int | None) -> int | None:
    text = request.query_params.get("limit")
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST):
        raise HTTPException(400, f"limit must be a whole number from 1 to {MOST}")
    return int(text)


async def _apart(snapshot: Snapshot, work: Callable[[], T]) -> T:
    """Do the work where it does not hold the loop up, if there is much of it."""
    if len(snapshot.services) < MANY:
        return work()
    return await asyncio.to_thread(work)


async def _answer(snapshot: Snapshot, make: Callable[[], api.Json]) -> Response:
    body = await _apart(snapshot, lambda: msgspec.json.encode(make()))
    return Pieces(body, media_type="application/json")


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return answer({"error": text}, status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _error(error.status_code, error.detail, error.headers)


async def _unreadable(request: Request, error: Exception) -> Response:
    return _error(503, str(error))


async def _bug(request: Request, error: Exception) -> Response:
    return _error(500, "this is a bug of ours; the log tells more")
