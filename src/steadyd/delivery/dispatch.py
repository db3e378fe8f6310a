"""Hand messages to the courier process and judge its answers.

The courier is started for the first message and ends IDLE seconds after the last one, so that
apprise, third-party network code and secrets stay out of the daemon. It gets URLs on its
standard input only, and inherits no descriptor.
"""

import asyncio
import itertools
import json
import os
import sys

from steadyd.delivery.redact import redact
from steadyd.model.notification import Message, Receipt

IDLE = 30.0
TIMEOUT = 20.0  # seconds for one message inside the courier
GRACE = 10.0  # more for a cold start
PRIVATE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID")
BOOT = (
    "import sys; sys.path[:] = sys.argv[1].split(sys.argv[2]);"
    " from steadyd.delivery.courier import main; main()"
)
LAST_WORDS = 4096  # bytes of the courier's standard error that are kept

_Answer = asyncio.Future[dict[str, str]]


class Dispatch:
    """The courier of this daemon."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._answers: dict[str, tuple[asyncio.subprocess.Process, _Answer]] = {}
        self._numbers = itertools.count()
        self._starting = asyncio.Lock()
        self._readers: dict[asyncio.subprocess.Process, asyncio.Task[None]] = {}
        self._idle: asyncio.TimerHandle | None = None

    async def send(self, url: str, message: Message) -> tuple[Receipt, str]:
        """Send one message to one target; return how it ended and why, without secrets."""
        number = str(next(self._numbers))
        job = {
            "id": number,
            "url": url,
            "title": message.title,
            "body": message.body,
            "type": message.tone,
            "timeout": TIMEOUT,
        }
        try:
            async with asyncio.timeout(TIMEOUT + GRACE):
                answer = await self._ask(number, job)
        except TimeoutError:
            return Receipt.TRY_AGAIN, "the courier did not answer in time"
        except OSError as error:
            return Receipt.TRY_AGAIN, redact(f"the courier cannot be used: {error}", url)
        finally:
            self._answers.pop(number, None)
            self._rest()
        return _receipt(answer["status"]), redact(answer["why"], url) or answer["status"].lower()

    async def close(self) -> None:
        """End the courier."""
        if self._idle is not None:
            self._idle.cancel()
        self._process = None
        for process in self._readers:
            if process.returncode is None:
                process.kill()
        await asyncio.gather(*self._readers.values())

    @property
    def pid(self) -> int | None:
        """Return the pid of the courier, None while none runs."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and alive else None

    async def _ask(self, number: str, job: dict[str, object]) -> dict[str, str]:
        process = await self._courier()
        future: _Answer = asyncio.get_running_loop().create_future()
        self._answers[number] = (process, future)
        if process.stdin is None:
            raise OSError("no standard input")
        process.stdin.write(json.dumps(job).encode() + b"\n")
        await process.stdin.drain()
        return await future

    async def _courier(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._idle is not None:
                self._idle.cancel()
                self._idle = None
            if self._process is None or self._process.returncode is not None:
                environment = {k: v for k, v in os.environ.items() if k not in PRIVATE}
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-I",
                    "-c",
                    BOOT,
                    os.pathsep.join(path for path in sys.path if path),
                    os.pathsep,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    env=environment,
                    start_new_session=True,
                )
                process = self._process
                self._readers[process] = asyncio.create_task(self._read(process))
            return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None or process.stderr is None:
            return
        words = asyncio.create_task(_last_words(process.stderr))
        while line := await process.stdout.readline():
            answer = json.loads(line)
            _, future = self._answers.get(answer["id"], (process, None))
            if future is not None and not future.done():
                future.set_result(answer)
        await process.wait()
        said = await words
        self._readers.pop(process, None)
        for asked, future in self._answers.values():
            if asked is process and not future.done():
                future.set_exception(OSError(f"it ended before it answered{said}"))

    def _rest(self) -> None:
        if not self._answers and self._process is not None and self._idle is None:
            self._idle = asyncio.get_running_loop().call_later(IDLE, self._dismiss)

    def _dismiss(self) -> None:
        self._idle = None
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()


async def _last_words(stream: asyncio.StreamReader) -> str:
    """Read standard error to its end; return its last line."""
    kept = b""
    while some := await stream.read(LAST_WORDS):
        kept = (kept + some)[-LAST_WORDS:]
    lines = kept.decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""


def _receipt(status: str) -> Receipt:
    match status:
        case "SUCCESS":
            return Receipt.DELIVERED
        case "UNKNOWN_URL":
            return Receipt.REFUSED
        case _:
            return Receipt.TRY_AGAIN
