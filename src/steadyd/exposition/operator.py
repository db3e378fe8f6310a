"""What an operator and recurring jobs tell the daemon: silences, deploys, `job-done`."""

import hmac
import logging
from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from steadyd.exposition import api
from steadyd.exposition.answer import answer, caller_of
from steadyd.model.fact import ForeignAlert
from steadyd.model.metric import MetricId
from steadyd.model.service import printable_name
from steadyd.model.silence import SilenceKind
from steadyd.ports import Daemon

log = logging.getLogger(__name__)

MOST_SERVICES, MOST_COMMENT = 100, 500
MOST_ALERTS = 1000  # of one post
LONGEST = 30 * 86_400.0  # seconds of a silence


class _Wish(msgspec.Struct):
    """A silence that is asked for, or one that is to end."""

    kind: SilenceKind = SilenceKind.SILENCE
    seconds: float = 0.0
    services: tuple[str, ...] = ()
    comment: str = ""
    id: str = ""


class _Alert(msgspec.Struct):
    status: str
    labels: dict[str, str]


class _Webhook(msgspec.Struct):
    """What Alertmanager posts (its documentation, webhook_config), as far as it is used."""

    alerts: list[_Alert]


class Operator:
    """The answers to those who may act. `token` opens `job-done` over TCP, "" for nobody."""

    def __init__(self, daemon: Daemon, token: str) -> None:
        self._daemon, self._token = daemon, token

    async def answer(self, request: Request) -> Response:
        """Return the answer. Raises HTTPException."""
        what = request.url.path.removeprefix("/api/v1/")
        reads = request.method != "POST"
        if what == "silences":
            return await (self._list if reads else self._add)(request)
        answers = {
            "silences/expire": self._expire,
            "jobs": self._jobs,
            "alertmanager": self._alerted,
            "export": self._export,
        }
        if found := answers.get(what):
            return await found(request)
        return await (self._show if reads else self._job_done)(request)

    async def _list(self, request: Request) -> Response:
        return answer(api.silences(self._daemon.silences(), caller_of(request).trusted))

    async def _add(self, request: Request) -> Response:
        wish = await _wish(request)
        seconds = wish.seconds
        if wish.kind is SilenceKind.DEPLOY and not seconds:
            seconds = self._daemon.deploy_seconds
        if not 0 < seconds <= LONGEST:
            raise HTTPException(400, "a silence lasts from a moment to 30 days: --for 1h")
        silence = await self._daemon.silence(
            wish.kind, wish.services, seconds, wish.comment, caller_of(request).who
        )
        return answer(api.silence(silence, True))

    async def _expire(self, request: Request) -> Response:
        wish = await _wish(request)
        ended = await self._daemon.expire(wish.id, wish.kind, wish.services)
        return answer({"ended": [each.id for each in ended]})

    async def _jobs(self, request: Request) -> Response:
        return answer({"jobs": api.jobs(self._daemon.snapshot())})

    async def _export(self, request: Request) -> Response:
        return answer(api.export(await self._daemon.fresh()))

    async def _show(self, request: Request) -> Response:
        service, metric = request.path_params["service"], request.path_params["metric"]
        family, _, name = metric.partition(":")
        values = self._daemon.curve(service, MetricId(family, name))
        if not values:
            shown = f"{printable_name(service)} {printable_name(metric)}"
            raise HTTPException(404, f"there are no readings of {shown}: does a rule name it?")
        return answer(api.curve(values, self._daemon.cycle_seconds))

    async def _alerted(self, request: Request) -> Response:
        if not caller_of(request).known:
            raise HTTPException(403, "alerts are taken with authentication only")
        try:
            told = msgspec.json.decode(await request.body(), type=_Webhook)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise HTTPException(400, str(error)) from None
        if len(told.alerts) > MOST_ALERTS:
            raise HTTPException(413, f"more than {MOST_ALERTS} alerts in one post")
        self._daemon.alerted(
            [
                ForeignAlert(each.labels.get("alertname", ""), each.labels, each.status == "firing")
                for each in told.alerts
            ]
        )
        return answer({"ok": True})

    async def _job_done(self, request: Request) -> Response:
        caller = caller_of(request)
        if not (caller.may_act or caller.may_report or self._knows_token(request.headers)):
            raise HTTPException(403, "it takes the control socket, the job socket, or the token")
        name = request.path_params["name"]
        if not await self._daemon.job_done(name):
            shown = printable_name(name)
            raise HTTPException(404, f"there is no job {shown}; check the name, or reload")
        return answer({"ok": True})

    def _knows_token(self, headers: Mapping[str, str]) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        known = self._token.encode()
        return (
            bool(known)
            and kind.lower() == "bearer"
            and hmac.compare_digest(given.strip().encode("utf-8", "replace"), known)
        )


async def _wish(request: Request) -> _Wish:
    if not caller_of(request).may_act:
        raise HTTPException(403, "silences are made over the control socket only")
    try:
        wish = msgspec.json.decode(await request.body() or b"{}", type=_Wish)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HTTPException(400, str(error)) from None
    if len(wish.services) > MOST_SERVICES or len(wish.comment) > MOST_COMMENT:
        raise HTTPException(400, "too many services, or too long a comment")
    if not all(text.isprintable() for text in (*wish.services, wish.comment)):
        raise HTTPException(400, "a name or the comment holds a control character")
    return wish
