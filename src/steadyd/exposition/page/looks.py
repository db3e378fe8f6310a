"""The answers to those who look: pages, their events, and the files that pages need."""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from steadyd.exposition.answer import Pieces, caller_of, policy
from steadyd.exposition.api import seen_by
from steadyd.exposition.metrics import accepts_gzip, compress
from steadyd.exposition.page import overview, service
from steadyd.exposition.page.live import MOST_READERS, Live, Page, Stream
from steadyd.exposition.page.parts import STYLE
from steadyd.exposition.page.rows import Beside, View, view_of
from steadyd.model.metric import MetricId
from steadyd.model.service import printable_name
from steadyd.ports import Daemon

_ASSETS = {
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_POLICY = policy(f"'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'")


class Looks:
    """Answers requests for what is to be looked at."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._beside = Beside(self._curve, daemon.states, daemon.watched)
        self._live = Live(daemon, self._beside)

    async def answer(self, request: Request) -> Response:
        """Return the answer to a request for a page or what belongs to it. Raises HTTPException."""
        path = request.url.path
        if (name := path.removeprefix("/")) in _ASSETS:
            return _asset(name)
        if path == "/events":
            return self._events(request)
        view = view_of(request.query_params, caller_of(request).trusted)
        if path == "/":
            snapshot = seen_by(self._daemon.snapshot(detail=False), view.trusted)
            return _page(request, overview.page(snapshot, view, self._beside, self._feed(view)))
        return await self._service(request, request.path_params["name"], view)

    def _curve(self, service: str, metric: MetricId, most: int) -> tuple[float | None, ...]:
        return tuple(self._daemon.curve(service, metric, most) or ())

    async def _service(self, request: Request, name: str, view: View) -> Response:
        snapshot = seen_by(await self._daemon.fresh(), view.trusted)
        found = service.find(snapshot, name)
        if found is None:
            name = printable_name(name)
            feed = self._feed(View(trusted=view.trusted), name)
            return _page(request, service.missing(snapshot, name, feed), 404)
        why = await self._daemon.why(name) if view.trusted else None
        feed = self._feed(View(trusted=view.trusted), name)
        cycle = self._daemon.cycle_seconds
        return _page(request, service.page(snapshot, found, why, self._beside, cycle, feed))

    def _feed(self, view: View, name: str = "") -> str:
        """Return the parameters with which a page asks for its events."""
        more = {"name": name} if name else {}
        rest = urlencode({**more, "since": str(self._daemon.revision)})
        return f"{view.query()}&{rest}" if view.query() else rest

    def _events(self, request: Request) -> Response:
        if self._live.readers >= MOST_READERS:
            raise HTTPException(503, f"{MOST_READERS} pages are open", {"retry-after": "10"})
        query = request.query_params
        view, name = view_of(query, caller_of(request).trusted), query.get("name", "")
        page = Page(View(trusted=view.trusted) if name else view, name)
        return Stream(self._daemon, self._live, page, query.get("since", ""))


def _page(request: Request, html: str, status: int = 200) -> Response:
    body = html.encode("utf-8", "replace")
    headers = {"vary": "accept-encoding", "content-security-policy": _POLICY}
    if accepts_gzip(",".join(request.headers.getlist("accept-encoding"))):
        body, headers["content-encoding"] = compress(body), "gzip"
    return Pieces(body, status, headers=headers, media_type="text/html")


def _asset(name: str) -> Response:
    body = Path(__file__).with_name(name).read_bytes()
    return Pieces(body, headers={"cache-control": "max-age=300"}, media_type=_ASSETS[name])
