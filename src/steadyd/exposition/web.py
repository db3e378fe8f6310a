"""The listeners: TCP and the control socket, one application behind both.

Import this module only where it is served: starlette and h11 cost memory and time.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING

from steadyd.exposition.application import Gate, Handlers
from steadyd.exposition.connection import Caller, Door
from steadyd.exposition.control import ControlSocket, JobSocket
from steadyd.exposition.listen import WebConfigError, WebError, bind, shown
from steadyd.ports import Daemon

if TYPE_CHECKING:
    from steadyd.exposition.webconfig import WebConfig

__all__ = ["Web", "WebConfigError", "WebError"]

log = logging.getLogger(__name__)

MOST_TCP, MOST_CONTROL = 256, 64  # open connections: strangers cannot lock the operator out
TCP_SECONDS, CONTROL_SECONDS = 20.0, 300.0  # for one request
MOST_JOBS, JOB_SECONDS = 64, 10.0
CLOSE_SECONDS = 1.0


class Web:
    """The listeners; `start` binds them all, `run` serves until cancelled."""

    def __init__(
        self,
        daemon: Daemon,
        *,
        listen: Sequence[str],
        config_file: str,
        lifecycle: bool,
        control: str,
        jobs: str = "",
        token: str = "",
        details: bool = False,
    ) -> None:
        """`listen` holds addresses (see `listen.parse`); `control`, `jobs` are paths, "" for none.

        `token` lets jobs report over TCP; with `details` every reader sees free text.
        """
        self.addresses: tuple[str, ...] = ()
        self._listen, self._config_file, self._control_path = tuple(listen), config_file, control
        self._config: WebConfig | None = None
        self._control: ControlSocket | None = None
        self._jobs_path, self._details = jobs, details
        self._job_socket: JobSocket | None = None
        self._listeners: list[socket.socket] = []
        self._handlers = Handlers(daemon, lifecycle, token)
        self._doors: list[tuple[Door, socket.socket]] = []

    async def start(self) -> None:
        """Bind everything. Raises WebError; then nothing is bound."""
        try:
            if self._config_file:
                # bcrypt and yaml cost 3 MiB: only who has a web config file pays
                from steadyd.exposition.webconfig import WebConfig  # noqa: PLC0415

                self._config = WebConfig(self._config_file)
            for address in self._listen:
                self._listeners.append(await bind(address))
            if self._control_path:
                self._control = ControlSocket(self._control_path)
            if self._jobs_path:
                self._job_socket = JobSocket(self._jobs_path)
        except WebError:
            self.close()
            raise
        config = self._config
        scheme = "https" if config is not None and config.context is not None else "http"
        self.addresses = tuple(shown(listener, scheme) for listener in self._listeners)
        self._open_doors()

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for door, listener in self._doors:
                    group.create_task(door.serve(listener))
                if not self._doors:
                    await asyncio.Event().wait()
        finally:
            self.close()
            await asyncio.gather(*(door.close(CLOSE_SECONDS) for door in dict(self._doors)))

    def close(self) -> None:
        """Let go of the listeners; for who started and will not run."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._job_socket is not None:
            self._job_socket.close()
            self._job_socket = None

    def _open_doors(self) -> None:
        gate = Gate(self._handlers.application(), self._config)
        if self._listeners:
            tcp = Door(
                gate,
                self._welcome_tcp,
                most=MOST_TCP,
                request_seconds=TCP_SECONDS,
                context=self._context,
            )
            self._doors += [(tcp, listener) for listener in self._listeners]
        if self._control is not None:
            control = Door(
                gate,
                self._welcome_control,
                most=MOST_CONTROL,
                request_seconds=CONTROL_SECONDS,
            )
            self._doors.append((control, self._control.listener))
        if self._job_socket is not None:
            jobs = Door(gate, self._welcome_job, most=MOST_JOBS, request_seconds=JOB_SECONDS)
            self._doors.append((jobs, self._job_socket.listener))

    def _context(self) -> ssl.SSLContext | None:
        return self._config.context if self._config is not None else None

    def _welcome_tcp(self, transport: asyncio.Transport) -> Caller | None:
        name = transport.get_extra_info("peername")
        certificate = transport.get_extra_info("peercert")  # empty unless it was verified
        if self._config is not None and not self._config.welcomes(certificate):
            return None
        known = bool(certificate)
        who = str(name[0]) if name else "?"
        return Caller(False, who, trusted=known or self._details, known=known)

    def _welcome_job(self, transport: asyncio.Transport) -> Caller | None:
        if self._job_socket is None:
            return None
        try:
            return self._job_socket.caller(transport.get_extra_info("socket"))
        except OSError:
            return None

    def _welcome_control(self, transport: asyncio.Transport) -> Caller | None:
        if self._control is None:
            return None
        try:
            return self._control.caller(transport.get_extra_info("socket"))
        except OSError as error:
            log.warning("the control socket cannot tell who asks: %s", error)
            return None
