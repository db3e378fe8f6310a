"""Inspeqtor's socket: one line in, an answer, the end (inspeqtor.md, section 7).

So that cron lines and deployment hooks go on working. Who may do what is the same as on the
control socket, but that every local user may report a job.
"""

import asyncio
import contextlib
import logging
import os
import time
from itertools import islice

import msgspec

from steadyd.exposition import api
from steadyd.exposition.connection import Caller
from steadyd.exposition.control import ControlSocket, open_socket
from steadyd.exposition.human import measure, span, sparkline
from steadyd.model.metric import MetricId
from steadyd.model.silence import SilenceKind
from steadyd.model.snapshot import ServiceView, Snapshot
from steadyd.ports import Daemon

log = logging.getLogger(__name__)

LONGEST = 4096  # bytes of a line
SECONDS = 2.0  # for the line to come
MOST = 32  # connections at the same time
HELP = """\
Commands:
start deploy    silence all alerts
finish deploy   end the silence
status          what is watched, and where it stands
show NAME FAMILY:NAME
export          everything as JSON
job_done NAME   report a recurring job
"""
_RIGHT = "No right: it takes root or the group steadyd-admin\n"


class InspeqtorSocket:
    """The listener at Inspeqtor's old path."""

    def __init__(self, daemon: Daemon, path: str) -> None:
        """Bind it. Raises WebError."""
        self.path, self._daemon = path, daemon
        self._rights = ControlSocket.rights()
        self._listener = open_socket(path)
        self._gate = asyncio.Semaphore(MOST)

    async def run(self) -> None:
        """Serve until cancelled."""
        server = await asyncio.start_unix_server(self._serve, sock=self._listener, limit=LONGEST)
        try:
            async with server:
                await server.serve_forever()
        finally:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._gate:
                caller = self._rights.caller(writer.get_extra_info("socket"))
                async with asyncio.timeout(SECONDS):
                    line = (await reader.readline()).decode("utf-8", "replace")
                writer.write((await self._answer(line.split(), caller)).encode("utf-8", "replace"))
                async with asyncio.timeout(SECONDS):
                    await writer.drain()
        except (OSError, ValueError, TimeoutError, asyncio.LimitOverrunError):
            pass  # who says nothing, or too much, gets no answer
        finally:
            writer.close()

    async def _answer(self, words: list[str], caller: Caller) -> str:
        match words:
            case ["job_done", *names]:
                return await self._job_done(names)
            case ["start" | "finish" as verb, *_]:
                return await self._deploy(verb, caller)
            case ["♡"]:
                return "Awwww, I love you too.\n"
            case [] | ["help" | "--help", *_]:
                return HELP
            case _:
                return await self._read(words) if caller.may_read else _RIGHT

    async def _job_done(self, names: list[str]) -> str:
        if len(names) != 1:
            return "Usage: job_done <name>\n"
        if await self._daemon.job_done(names[0]):
            return "OK\n"
        return f'Error: no such job "{names[0][:80]}", verify spelling or reload Inspeqtor\n'

    async def _read(self, words: list[str]) -> str:
        match words:
            case ["status", *_]:
                return status(await self._daemon.fresh())
            case ["export", *_]:
                told = api.export(await self._daemon.fresh())
                return msgspec.json.encode(told).decode() + "\n"
            case ["show", service, metric]:
                return self._show(service, metric)
            case _:
                return f"Unknown command: {' '.join(words)[:200]}\n"

    async def _deploy(self, verb: str, caller: Caller) -> str:
        if not caller.may_act:
            return _RIGHT
        log.info("inspeqtor socket: %s asks to %s a deploy", caller.who, verb)
        if verb == "finish":
            await self._daemon.expire("", SilenceKind.DEPLOY, ())
            return "Finished deploy, volume turned to 11\n"
        seconds = self._daemon.deploy_seconds
        await self._daemon.silence(SilenceKind.DEPLOY, (), seconds, "", caller.who)
        return "Starting deploy, now silenced\n"

    def _show(self, service: str, metric: str) -> str:
        family, _, name = metric.replace("(", ":").rstrip(")").partition(":")
        curve = self._daemon.curve(service, MetricId(family, name))
        known = [value for value in curve or () if value is not None]
        if not known:
            return f"Cannot show {service[:80]} {metric[:80]}: there are no readings\n"
        low, high, mean = min(known), max(known), sum(known) / len(known)
        shown = " ".join(
            f"{word} {measure(metric, value)}"
            for word, value in (("min", low), ("max", high), ("avg", mean))
        )
        return f"{service} {metric} {shown}\n{sparkline(known)}\n"


def status(snapshot: Snapshot) -> str:
    """Return what `status` answers."""
    uptime = span(snapshot.at - snapshot.started_at)
    lines = [f"steadyd {snapshot.version}, uptime: {uptime}, pid: {os.getpid()}"]
    lines += [
        f"Silenced until: {_rfc3339(each.until)}" for each in snapshot.silences if not each.services
    ]
    lines += ["", f"Host: {snapshot.hostname}"]
    firing = {(i.service, i.topic) for i in snapshot.open}
    if snapshot.host is not None:
        lines += _metrics(snapshot.host, firing)
    for service in snapshot.services:
        state = "Up" if service.main_pid else service.state.capitalize()
        lines += ["", f"Service: {service.name} [{state}/{service.main_pid}]"]
        lines += _metrics(service, firing)
    return "\n".join(lines) + "\n"


def _metrics(view: ServiceView, firing: set[tuple[str, str]]) -> list[str]:
    lines = []
    for watched in view.watched:
        for compared in islice(watched.compared, 1):
            metric, reading = str(compared.metric), view.readings.get(compared.metric)
            now = reading.value if reading is not None else None
            value = "?" if now is None else measure(metric, now)
            mark = "!" if (view.name, metric) in firing else " "
            lines.append(f"{mark} {metric:<35} {value:<15} {compared.amount.raw}")
    return lines


def _rfc3339(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
