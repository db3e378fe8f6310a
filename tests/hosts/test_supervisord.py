"""What is supervisord's own; what every init must do is in tests/contract."""

import asyncio
import os
import socket
import sys
import time
import xmlrpc.client
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from steadyd.inits import SUPERVISORD_SOCKETS, detect
from steadyd.inits import supervisord as module
from steadyd.inits.supervisord import Supervisord
from steadyd.inits.supervisord_rpc import LONGEST
from steadyd.model.rule import Verb
from steadyd.model.service import ServiceState, UnitStatus
from steadyd.ports import (
    InitError,
    InitLost,
    InitReached,
    InitUnreachable,
    NotPermitted,
    UnitNotFound,
    VerbFailed,
)
from tests.contract.rigs import ENV, SUPERVISORD, Service, SupervisordRig, following
from tests.hosts.inithost import HostError, SupervisordHost

pytestmark = pytest.mark.host

PROGRAMS = SUPERVISORD["programs"] + (
    "[inet_http_server]\nport=127.0.0.1:9001\nusername=ada\npassword=s3cret word\n"
    "[program:pool]\ncommand=sleep infinity\nnumprocs=2\nprocess_name=%(process_num)d\n"
    + "".join(
        f"[program:{name}]\ncommand=sleep infinity\nstartsecs=0\n"
        for name in ("x.y@z", "--help", "ünï", "*", "$(id)")
    )
)


@pytest.fixture(scope="module")
def host() -> Iterator[Any]:
    try:
        host = SupervisordHost(supervisord=SUPERVISORD["supervisord"], programs=PROGRAMS)
    except (HostError, OSError) as error:
        pytest.skip(str(error))
    with host:
        yield host


@pytest.fixture
def rig(host: Any) -> SupervisordRig:
    return SupervisordRig(host)


def is_up(status: UnitStatus) -> bool:
    return status.state is ServiceState.ACTIVE


# names


@pytest.mark.parametrize("name", ["x.y@z", "--help", "ünï", "*", "$(id)"])
async def test_odd_names_are_names_and_verbs_act_on_them_alone(
    rig: SupervisordRig, name: str
) -> None:
    async with rig.adapter() as init:
        before = await init.find(name)
        bystander = await init.find("pool:0")
        assert (before.unit, await init.find(f"{name}:{name}")) == (name, before)
        await init.perform(Verb.RESTART, name, deadline=20)
        after = await init.find(name)
        assert is_up(after)
        assert after.main_pid != before.main_pid
        assert (await init.find("pool:0")).main_pid == bystander.main_pid


async def test_a_process_of_a_group_is_named_with_it_and_a_group_alone_says_so(
    rig: SupervisordRig,
) -> None:
    async with rig.adapter() as init:
        assert (await init.find("pool:1")).unit == "pool:1"
        with pytest.raises(UnitNotFound, match=r"pool is a group .*: pool:0"):
            await init.find("pool")
        with pytest.raises(UnitNotFound, match="no program 1"):
            await init.find("1")


# verbs and events


async def test_a_stop_that_lasts_longer_than_the_deadline_says_how_to_mend(
    rig: SupervisordRig,
) -> None:
    script = "trap '' TERM; while :; do sleep 1; done"
    rig.host.put("/srv/stubborn.sh", f"#!/bin/sh\n{script}\n", 0o755)
    rig.program("stubborn", "command=/srv/stubborn.sh\nstopwaitsecs=60")
    rig.start("stubborn")
    async with rig.adapter() as init:
        await asyncio.sleep(0.1)  # the shell sets its trap
        started = time.monotonic()
        with pytest.raises(VerbFailed, match=r"0\.5 s") as caught:
            await init.perform(Verb.RESTART, "stubborn", deadline=0.5)
        assert time.monotonic() - started < 2
        assert caught.value.mend == "supervisorctl start stubborn"
        assert (await init.find("stubborn")).state is ServiceState.DEACTIVATING
    rig.kill("stubborn", "KILL")


async def test_a_program_that_cannot_start_says_so(rig: SupervisordRig) -> None:
    rig.program("broken", "command=/bin/false\nstartsecs=2\nstartretries=0")
    async with rig.adapter() as init:
        with pytest.raises(VerbFailed, match="stop"):
            await init.perform(Verb.RESTART, "broken", deadline=20)
        rig.start("broken")
        async with asyncio.timeout(20):
            while (status := await init.find("broken")).state is not ServiceState.FAILED:
                await asyncio.sleep(0.05)
        assert "too quickly" in status.reason
        with pytest.raises(VerbFailed, match="does not stay up"):
            await init.perform(Verb.RESTART, "broken", deadline=20)


async def test_a_respawn_is_seen_as_one_and_soon(rig: SupervisordRig) -> None:
    rig.install(Service("immortal", respawn=True))
    rig.start("immortal")
    async with rig.adapter() as init, following(init, "immortal") as follower:
        _, first = await follower.until(lambda r: isinstance(r, UnitStatus) and is_up(r))
        assert isinstance(first, UnitStatus)
        for count in (1, 2, 3):
            seen = len(follower.reports)
            killed = time.monotonic()
            rig.kill("immortal", "KILL")
            at, again = await follower.until(lambda r: isinstance(r, UnitStatus) and is_up(r), seen)
            assert at - killed < 0.5  # far from the next poll
            assert isinstance(again, UnitStatus)
            assert again.respawns == first.respawns + count


async def test_a_restart_that_was_asked_for_is_no_respawn(rig: SupervisordRig) -> None:
    rig.install(Service("asked", respawn=True))
    rig.start("asked")
    async with rig.adapter() as init, following(init, "asked") as follower:
        _, first = await follower.until(lambda r: isinstance(r, UnitStatus) and is_up(r))
        assert isinstance(first, UnitStatus)
        for ask in (lambda: rig.host.ctl("restart", "asked"), None):
            seen = len(follower.reports)
            if ask is None:
                await init.perform(Verb.RESTART, "asked", deadline=20)
            else:
                await asyncio.to_thread(ask)
            _, again = await follower.until(lambda r: isinstance(r, UnitStatus) and is_up(r), seen)
            assert isinstance(again, UnitStatus)
            assert again.respawns == first.respawns


# a supervisord that hangs or has a password


async def test_a_supervisord_that_hangs_is_lost_and_reached_again(rig: SupervisordRig) -> None:
    rig.install(Service("patient"))
    rig.start("patient")
    async with rig.adapter() as init, following(init, "patient") as follower:
        await follower.until(lambda r: isinstance(r, UnitStatus) and is_up(r))
        seen = len(follower.reports)
        rig.hang()
        try:
            _, lost = await follower.until(lambda r: isinstance(r, InitLost), seen, 15)
            with pytest.raises(InitUnreachable, match="no answer"):
                await init.find("patient")
        finally:
            rig.unhang()
        assert isinstance(lost, InitLost)
        assert "no answer" in lost.reason
        await follower.until(lambda r: isinstance(r, InitReached), seen, 15)
        told = [r.state for _, r in follower.reports if isinstance(r, UnitStatus)]
        assert set(told) == {ServiceState.ACTIVE}


@pytest.mark.parametrize(
    ("user", "right"),
    [
        ("ada:s3cret%20word@", True),
        ("ada:wrong@", False),
        ("", False),
        ("eve:s3cret%20word@", False),
    ],
)
async def test_a_password_opens_and_is_not_told(host: Any, user: str, right: bool) -> None:
    url = f"http://{user}127.0.0.1:9001"
    code = (
        "import asyncio, sys\n"
        "from steadyd.inits.supervisord import Supervisord\n"
        "from steadyd.ports import InitError\n"
        "try:\n"
        "    print(asyncio.run(Supervisord(sys.argv[1]).find('pool:0')).state)\n"
        "except InitError as error:\n"
        "    print(type(error).__name__, error, error.mend)\n"
    )
    said = host.out([sys.executable, "-c", code, url], env=ENV)
    if right:
        assert said in ("active", "activating")  # it may still be starting
    else:
        assert said.startswith(NotPermitted.__name__)
        assert "password is wrong" in said
        assert "inits.supervisord" in said
    assert "s3cret" not in said


# whoever answers there


def answer(value: object) -> bytes:
    return http(
        xmlrpc.client.dumps((cast("Any", value),), methodresponse=True, allow_none=True).encode()
    )


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


GOOD = {
    "name": "web",
    "group": "web",
    "state": 20,
    "statename": "RUNNING",
    "exitstatus": 0,
    "spawnerr": "",
    "pid": 1,
    "start": 1,
    "stop": 0,
}
NESTED = b"<array><data><value>" * 5000
GARBAGE = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": http(b"x" * 100)[:-50],
    "an error": http(b"no", "500 Oops"),
    "a redirect": http(b"", "302 Found"),
    "no length": b"HTTP/1.1 401 No\r\nContent-Length: 99999999999\r\n\r\n",
    "a bad length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "no XML": http(b"\x00\xff<"),
    "other XML": http(b"<html></html>"),
    "deep XML": http(b"<methodResponse><params><param><value>" + NESTED),
    "a bad number": http(
        b"<methodResponse><params><param><value><i4>x</i4></value></param></params></methodResponse>"
    ),
    "a string": answer("abc"),
    "a number": answer(5),
    "None": answer(None),
    "a list of numbers": answer([1, 2]),
    "a list of lists": answer([[1]]),
    "an empty struct": answer([{}]),
    "a state of text": answer([{**GOOD, "state": "up"}]),
    "a pid below zero": answer([{**GOOD, "pid": -1}]),
    "a pid that no kernel has": answer([{**GOOD, "pid": 2**31 - 1}]),
    "a start that never was": answer([{**GOOD, "start": float("inf")}]),
    "more than fits": http(b" " * (LONGEST + 1)),
}


@asynccontextmanager
async def pretender(path: Path, data: bytes, pause: float | None = None) -> AsyncIterator[str]:
    """Somebody who answers everything with `data`: byte by byte, each after `pause` seconds."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"</methodCall>")
            for piece in (data[i : i + 1] for i in range(len(data))) if pause else (data,):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause or 0)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    async with await asyncio.start_unix_server(serve, path):
        yield f"unix://{path}"


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
async def test_nonsense_is_an_init_that_cannot_be_reached(tmp_path: Path, data: bytes) -> None:
    async with pretender(tmp_path / "s", data) as url:
        init = Supervisord(url)
        with pytest.raises(InitError) as caught:
            await init.find("web")
        assert isinstance(caught.value, InitUnreachable | NotPermitted)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500
        async with following(init, "web") as follower:
            await follower.until(lambda report: isinstance(report, InitLost))
        assert [type(report) for _, report in follower.reports] == [InitLost]


async def test_what_is_good_is_taken(tmp_path: Path) -> None:
    async with pretender(tmp_path / "s", answer([GOOD])) as url:
        assert (await Supervisord(url).find("web")).main_pid == 1


@pytest.mark.parametrize("pause", [60.0, 0.05], ids=["silent", "byte by byte"])
async def test_an_answer_that_does_not_end_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.5)
    path = tmp_path / "s"
    async with pretender(path, http(b" " * 10_000), pause):
        started = time.monotonic()
        with pytest.raises(InitUnreachable, match=r"no answer .* in 0\.5 s"):
            await Supervisord(f"unix://{path}").find("web")
        assert time.monotonic() - started < 1.5
        started = time.monotonic()
        await asyncio.get_running_loop().shutdown_default_executor()  # as the daemon's end does
        assert time.monotonic() - started < 1.0


def test_a_socket_that_anybody_made_is_not_detected(tmp_path: Path) -> None:
    place = tmp_path / SUPERVISORD_SOCKETS[-1]
    place.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        assert [init.name for init in detect(root=tmp_path)] == ["supervisord"]
        os.chown(place, 65534, 65534)
        assert detect(root=tmp_path) == ()


@pytest.mark.parametrize("url", ["ftp://u:hidden@h", "unix", "http://h:99999"])
def test_a_url_that_cannot_be_meant_is_a_value_error_without_its_password(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        detect(supervisord=url)
    assert "hidden" not in str(caught.value)
