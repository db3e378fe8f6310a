"""The courier against real targets: what works, refuses, redirects, hangs; and its own death."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from steadyd.delivery import dispatch as module
from steadyd.delivery.dispatch import Dispatch
from steadyd.delivery.outbox import Outbox
from steadyd.delivery.post import PostOffice
from steadyd.delivery.routes import Routes
from steadyd.model.notification import Message, Occasion, Parcel, ParcelState, Receipt, Tone
from tests.fakes.target import SECRET, target

HELLO = Message("box web: is down", "The body, with ünïcode.", Tone.FAILURE)


@pytest.fixture
async def dispatch() -> AsyncIterator[Dispatch]:
    made = Dispatch()
    yield made
    await made.close()


async def eventually(test: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not test():
            await asyncio.sleep(0.01)


async def test_a_message_arrives_whole(dispatch: Dispatch) -> None:
    with target() as there:
        assert await dispatch.send(there.url, HELLO) == (Receipt.DELIVERED, "success")

        assert len(there.bodies) == 1
        assert "is down" in there.bodies[0]
        assert "\\u00fcn\\u00efcode" in there.bodies[0] or "ünïcode" in there.bodies[0]


@pytest.mark.parametrize("status", [302, 403, 429, 500])
async def test_what_is_not_taken_is_kept_with_a_reason_without_secrets(
    dispatch: Dispatch, status: int
) -> None:
    with target(status) as there:
        receipt, why = await dispatch.send(there.url, HELLO)

        assert receipt is Receipt.TRY_AGAIN
        assert str(status) in why
        assert SECRET not in why


async def test_a_closed_port_is_told_as_such(dispatch: Dispatch) -> None:
    with target() as there:
        url = there.url
    receipt, why = await dispatch.send(url, HELLO)

    assert receipt is Receipt.TRY_AGAIN
    assert "refused" in why
    assert SECRET not in why


async def test_an_unknown_kind_of_url_is_refused_for_good(dispatch: Dispatch) -> None:
    receipt, why = await dispatch.send(f"nosuch://{SECRET}/x", HELLO)

    assert receipt is Receipt.REFUSED
    assert SECRET not in why


async def test_a_target_that_hangs_ends_at_its_deadline_and_holds_nobody(
    dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 1.5)
    with target(0) as hangs, target() as works:
        slow = asyncio.create_task(dispatch.send(hangs.url, HELLO))
        receipt, _ = await dispatch.send(works.url, HELLO)
        assert receipt is Receipt.DELIVERED
        assert not slow.done()
        receipt, why = await slow

        assert receipt is Receipt.TRY_AGAIN
        assert why


async def test_the_url_is_in_no_process_list_and_no_descriptor_is_inherited(
    dispatch: Dispatch,
) -> None:
    secret = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        with target() as there:
            await dispatch.send(there.url, HELLO)
            assert dispatch.pid is not None
            process = Path(f"/proc/{dispatch.pid}")

            assert SECRET not in process.joinpath("cmdline").read_text()
            assert SECRET.encode() not in process.joinpath("environ").read_bytes()
            files = [os.readlink(fd) for fd in process.joinpath("fd").iterdir()]
            assert not [name for name in files if name.startswith("/etc/")]
    finally:
        os.close(secret)


async def test_the_courier_ends_when_nothing_is_to_be_sent(
    dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE", 0.05)
    with target() as there:
        await dispatch.send(there.url, HELLO)
        pid = dispatch.pid
        await eventually(lambda: not os.path.exists(f"/proc/{pid}"))

        assert (await dispatch.send(there.url, HELLO))[0] is Receipt.DELIVERED


def parcel(number: int, routes: Routes) -> Parcel:
    to = routes.to("default")[number % len(routes.to("default"))]
    text = Message(f"box s{number}: is down", f"Incident <{number}>.", Tone.FAILURE)
    now = time.time()
    return Parcel(
        f"p{number}", to.id, "default", to.scheme, f"i{number}", Occasion.OPENED, text, now, now
    )


async def test_ten_thousand_alerts_and_a_courier_killed_at_random_lose_nothing(
    dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from steadyd.delivery import outbox as policy

    monkeypatch.setattr(policy, "WAITS", (0.2,))
    monkeypatch.setattr(policy, "GATHER", 0.05)
    settled: dict[str, Parcel] = {}

    async def save(parcels: Sequence[Parcel]) -> None:
        settled.update((p.id, p) for p in parcels)

    with target() as one, target() as two:
        routes = Routes({"default": [one.url, two.url]}, b"key")
        box = Outbox()
        post = PostOffice(box, dispatch.send, save, routes.url_of, "box")
        for number in range(10_000):
            box.post(parcel(number, routes))
        running = asyncio.create_task(post.run())
        kills = 0
        while len(box):
            if dispatch.pid and kills < 5 and sum(map(len, (one.bodies, two.bodies))) >= kills:
                os.kill(dispatch.pid, signal.SIGKILL)
                kills += 1
            post.nudge()
            await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        text = "".join(one.bodies + two.bodies)
        lost = [n for n in range(10_000) if f"<{n}>" not in text]

        assert kills == 5
        assert lost == []
        assert {p.state for p in settled.values()} == {ParcelState.DELIVERED}
