"""An adapter in another process: as another user, or inside a host's own namespaces.

Run as a program with the name of an init system and a place (a D-Bus address, a URL, a folder) it
serves that adapter over its standard input and output; `Remote` is the other end and an
`InitSystem` as well. Pickles over pipes, tests on both ends.
"""

import asyncio
import pickle
import struct
import sys
from collections.abc import Callable, Collection, Mapping
from typing import IO, Any

from steadyd.inits.link import Address
from steadyd.inits.runit import Runit
from steadyd.inits.s6 import S6
from steadyd.inits.supervisord import Supervisord
from steadyd.inits.systemd import Systemd
from steadyd.model.rule import Verb
from steadyd.model.service import UnitStatus
from steadyd.ports import InitError, InitReport, InitSystem


def _pack(value: object) -> bytes:
    data = pickle.dumps(value)
    return struct.pack("<I", len(data)) + data


def _error(error: InitError) -> tuple[Any, ...]:
    return type(error), error.init, error.unit, error.doing, error.why, error.mend


class Remote:
    """An `InitSystem` that asks the one in another process."""

    def __init__(self, to: IO[bytes], back: IO[bytes], name: str = "systemd") -> None:
        self.name, self._to, self._back = name, to, back
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._serial = 0
        self._report: Callable[[InitReport], None] = lambda _: None
        self._reader: asyncio.Task[None] | None = None

    async def run(self, report: Callable[[InitReport], None]) -> None:
        self._report = report
        await self._ask("run")

    async def find(self, name: str) -> UnitStatus:
        found: UnitStatus = await self._ask("find", name)
        return found

    async def units(self, glob: str) -> Collection[str]:
        units: Collection[str] = await self._ask("units", glob)
        return units

    async def watch(self, units: Collection[str]) -> None:
        await self._ask("watch", tuple(units))

    async def perform(self, verb: Verb, unit: str, *, signal: str = "", deadline: float) -> None:
        await self._ask("perform", verb, unit, signal=signal, deadline=deadline)

    async def denied(self, unit: str, verbs: Collection[Verb]) -> Mapping[Verb, str]:
        found: Mapping[Verb, str] = await self._ask("denied", unit, tuple(verbs))
        return found

    async def close(self) -> None:
        await self._ask("close")

    async def _ask(self, method: str, *args: object, **options: object) -> Any:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        self._serial += 1
        answer = self._answers[self._serial] = asyncio.get_running_loop().create_future()
        self._to.write(_pack((self._serial, method, args, options)))
        self._to.flush()
        return await answer

    async def _read(self) -> None:
        stream = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pipe, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), self._back
        )
        try:
            while True:
                size = struct.unpack("<I", await stream.readexactly(4))[0]
                serial, value, error = pickle.loads(await stream.readexactly(size))
                if serial == 0:
                    self._report(value)
                elif error is not None:
                    self._answers.pop(serial).set_exception(error[0](*error[1:]))
                else:
                    self._answers.pop(serial).set_result(value)
        except asyncio.IncompleteReadError:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_result(None)
        finally:
            pipe.close()


def _made(name: str, place: str) -> InitSystem:
    if name == "supervisord":
        return Supervisord(place)
    if name == "runit":
        return Runit(place)
    if name == "s6":
        return S6(place)
    return Systemd([Address(place, peer="private" in place)])


async def _serve(init: InitSystem) -> None:
    stdout = sys.stdout.buffer
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    stream = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), sys.stdin.buffer)

    def tell(serial: int, value: object, error: object = None) -> None:
        lines.put_nowait(_pack((serial, value, error)))
        stdout.write(lines.get_nowait())
        stdout.flush()

    async def answer(serial: int, method: str, args: Any, options: Any) -> None:
        try:
            if method == "run":
                args = (lambda report: tell(0, report),)
            tell(serial, await getattr(init, method)(*args, **options))
        except InitError as error:
            tell(serial, None, _error(error))

    tasks = set()
    while True:
        try:
            size = struct.unpack("<I", await stream.readexactly(4))[0]
        except asyncio.IncompleteReadError:
            await init.close()
            return
        serial, method, args, options = pickle.loads(await stream.readexactly(size))
        task = asyncio.create_task(answer(serial, method, args, options))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    asyncio.run(_serve(_made(sys.argv[1], sys.argv[2])))
