"""Answers in JSON, in pieces; and who asked."""

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from steadyd.exposition import api
from steadyd.exposition.connection import Caller

PIECE = 65_536  # bytes handed over at a time: a slow reader costs no more


def policy(style: str = "'none'") -> str:
    """Return the Content-Security-Policy of an answer with that source of styles."""
    return (
        f"default-src 'none'; style-src {style}; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


class Pieces(Response):
    """A body that is handed over as fast as it is taken, not all at once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": list(self.raw_headers)})
        body = memoryview(self.body)
        for at in range(0, len(body), PIECE):
            piece = bytes(body[at : at + PIECE])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def answer(
    value: api.Json, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON answer."""
    body = msgspec.json.encode(value)
    return Pieces(body, status, headers=headers, media_type="application/json")


def caller_of(request: Request) -> Caller:
    """Return who asks."""
    caller: Caller = request.state.caller
    return caller
