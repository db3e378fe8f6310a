"""PID 1 of a host: jobs of /etc/init, D-Bus on the private socket and on the system bus.

Run as a program. What it does is held to the recordings by tests/hosts/test_upstart_standin.py.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from tests.hosts.upstart.conf import read, stamp
from tests.hosts.upstart.job import JOB, MANAGER, ROOT, Event, Instance, Job
from tests.hosts.upstart.objects import Objects
from tests.hosts.upstart.wire import CALL, SIGNAL, Message, dump, load

ADDRESS = "\0/com/ubuntu/upstart"
BUS = "/run/dbus/system_bus_socket"
FOLDER = Path("/etc/init")
GUID = "97f12a9a6e948c9613ff7d006b03f7d0"
_REEXEC_SECONDS = 0.015
_CLOSE_WRITE, _MOVED, _CREATE, _DELETE, _DIR = 0x8, 0xC0, 0x100, 0x200, 0x40000000


class Init:
    """All jobs, and everybody who is connected."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.processes: dict[int, Instance] = {}
        self.events: list[Event] = []
        self.objects = Objects(self)
        self._peers: set[asyncio.StreamWriter] = set()
        self._bus: asyncio.StreamWriter | None = None
        self._serial = 0
        self._server: asyncio.Server | None = None
        self._watches: dict[int, Path] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # what jobs need

    def signal(self, path: str, interface: str, member: str, kind: str, *body: object) -> None:
        message = Message(SIGNAL, 0, 1, path, interface, member, signature=kind, body=list(body))
        for peer in [*self._peers, *([self._bus] if self._bus else [])]:
            self.send(peer, message)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def ended(self, job: Job, instance: Instance) -> None:
        if job.stale and not job.instances:
            self._replace(job.conf.name)
        else:
            self.signal(job.path, JOB, "InstanceRemoved", "o", instance.path)

    def poll(self) -> None:
        """Handle events until nothing moves any more."""
        moved = True
        while moved:
            moved = False
            for event in [event for event in self.events if not event.handled]:
                event.handled = moved = True
                self._stop_and_start(event)
            for event in [event for event in self.events if not event.blockers]:
                if event.handled and event in self.events:
                    self.events.remove(event)
                    moved = True
                    event.done()
                    self.signal(ROOT, MANAGER, "EventEmitted", "sas", event.name, event.env)

    def _stop_and_start(self, event: Event) -> None:
        for job in list(self.jobs.values()):
            for instance in list(job.instances.values()):
                if instance.stop_on.take(event, event.name, event.env):
                    events, instance.stop_on = instance.stop_on.events, job.conf.stop_on.fresh()
                    if instance.goal != "stop":
                        instance.finish()
                        self._block(instance, events)
                        instance.change("stop")
            if job.conf.start_on.take(event, event.name, event.env):
                events, job.conf.start_on = job.conf.start_on.events, job.conf.start_on.fresh()
                with contextlib.suppress(KeyError):
                    env = [pair for each in events for pair in each.env]  # type: ignore[attr-defined]
                    names = " ".join(each.name for each in events)  # type: ignore[attr-defined]
                    instance = self.objects.instance(job, env)
                    if instance.goal != "start":
                        instance.finish()
                        instance.env = [*env, f"UPSTART_EVENTS={names}"]
                        self._block(instance, events)
                        instance.change("start")

    def _block(self, instance: Instance, events: list[object]) -> None:
        for event in events:
            event.blockers += 1  # type: ignore[attr-defined]

            def release(failed: bool, event: object = event) -> None:
                event.blockers -= 1  # type: ignore[attr-defined]

            instance.waiting.append(release)

    # job files

    def load_all(self) -> None:
        for file in sorted(FOLDER.rglob("*.conf")):
            self.file_changed(file)

    def file_changed(self, file: Path) -> None:
        name = str(file.relative_to(FOLDER).with_suffix(""))
        job = self.jobs.get(name)
        if job and job.instances:
            job.stale = True
        else:
            self._replace(name)

    def _seen(self, file: Path) -> None:
        """Take what inotify tells, but not twice: a new folder is read, and watched, at once."""
        job = self.jobs.get(str(file.relative_to(FOLDER).with_suffix("")))
        if job is None or job.conf.stamp != stamp(file):
            self.file_changed(file)

    def _replace(self, name: str) -> None:
        if old := self.jobs.pop(name, None):
            self.signal(ROOT, MANAGER, "JobRemoved", "o", old.path)
        file = FOLDER / f"{name}.conf"
        if conf := read(FOLDER, file):
            job = self.jobs[name] = Job(conf)
            self.signal(ROOT, MANAGER, "JobAdded", "o", job.path)

    def reload_configuration(self) -> None:
        for name in sorted(self.jobs):
            self.file_changed(FOLDER / f"{name}.conf")
        for file in sorted(FOLDER.rglob("*.conf")):
            if str(file.relative_to(FOLDER).with_suffix("")) not in self.jobs:
                self.file_changed(file)

    def watch_files(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)

        def add(folder: Path) -> None:
            mask = _CLOSE_WRITE | _MOVED | _CREATE | _DELETE
            self._watches[libc.inotify_add_watch(fd, os.fsencode(folder), mask)] = folder
            for inner in folder.iterdir():
                if inner.is_dir():
                    add(inner)

        def changed() -> None:
            data, at = os.read(fd, 65536), 0
            while at < len(data):
                watch, mask, _, size = struct.unpack_from("iIII", data, at)
                name = os.fsdecode(data[at + 16 : at + 16 + size].rstrip(b"\0"))
                at += 16 + size
                file = self._watches.get(watch, FOLDER) / name
                if mask & _DIR and mask & (_CREATE | _MOVED) and file.is_dir():
                    add(file)
                    for conf in sorted(file.rglob("*.conf")):
                        self._seen(conf)
                elif mask & _CREATE or name.startswith("."):
                    continue
                elif file.suffix in (".conf", ".override"):
                    self._seen(file.with_suffix(".conf"))
            self.poll()

        add(FOLDER)
        asyncio.get_running_loop().add_reader(fd, changed)

    # processes

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                break
            if not pid:
                break
            instance = self.processes.get(pid)
            if instance is None:
                continue
            if os.WIFSTOPPED(status):
                instance.stopped()
            elif instance.pids.get("main") != pid or not instance.forked():
                del self.processes[pid]
                instance.died(next(k for k, v in instance.pids.items() if v == pid), status)
            self.poll()

    # connections

    def send(self, to: asyncio.StreamWriter, message: Message) -> None:
        self._serial += 1
        message.serial = self._serial
        if not to.is_closing():
            to.write(dump(message))

    async def listen(self) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(ADDRESS)
        self._server = await asyncio.start_unix_server(self._accept, sock=listener)

    async def connect_bus(self) -> None:
        """Take the name on the system bus, if there is one and we have not got it."""
        if self._bus is not None:
            return
        try:
            reader, writer = await asyncio.open_unix_connection(BUS)
        except OSError:
            return
        writer.write(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")
        await reader.readline()
        bus, name = "org.freedesktop.DBus", "com.ubuntu.Upstart"
        call = Message(CALL, 0, 0, "/org/freedesktop/DBus", bus, "Hello", destination=bus)
        self.send(writer, call)
        call.member, call.signature, call.body = "RequestName", "su", [name, 0]
        self.send(writer, call)
        self._bus = writer
        self._keep(self._serve_bus(reader, writer))

    async def _serve_bus(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve(reader, writer)
        if self._bus is writer:
            self._bus = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        uid = struct.unpack("iii", raw)[1]
        try:
            await reader.readexactly(1)
            while (line := await reader.readline()) != b"BEGIN\r\n":
                words = line.decode("ascii", "replace").split()
                if not words:
                    raise ConnectionError
                own = str(uid).encode().hex()
                if words == ["AUTH", "EXTERNAL", own]:
                    writer.write(f"OK {GUID}\r\n".encode())
                elif words[0] == "NEGOTIATE_UNIX_FD":
                    writer.write(b"AGREE_UNIX_FD\r\n")
                else:
                    writer.write(b"REJECTED EXTERNAL DBUS_COOKIE_SHA1 ANONYMOUS\r\n")
            if uid == 0:
                self._peers.add(writer)
                await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._peers.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                data += piece
                while found := load(data):
                    message, used = found
                    data = data[used:]
                    if message.type == CALL:
                        self.objects.call(message, self._answering(writer, message))
                        self.poll()

    def _answering(self, writer: asyncio.StreamWriter, call: Message) -> Callable[[Message], None]:
        def answer(reply: Message) -> None:
            reply.reply, reply.flags = call.serial, 1
            reply.destination = call.sender
            if not call.flags & 1:
                self.send(writer, reply)

        return answer

    def reexec(self) -> None:
        """Do what the others see of `telinit u`: all connections end, the jobs stay."""
        self._keep(self._reexec())

    async def _reexec(self) -> None:
        if self._server:
            self._server.close()
        for writer in [*self._peers, *([self._bus] if self._bus else [])]:
            writer.close()
        had_bus = self._bus is not None
        self._peers.clear()
        self._bus = None
        await asyncio.sleep(_REEXEC_SECONDS)
        for job in self.jobs.values():
            job.stale = bool(job.instances)
        await self.listen()
        if had_bus:
            await self.connect_bus()
            if self._bus:
                self.send(self._bus, Message(SIGNAL, 0, 1, ROOT, MANAGER, "Restarted"))

    def _keep(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def main(self, ready: str) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self.reap)
        loop.add_signal_handler(signal.SIGUSR1, lambda: self._keep(self.connect_bus()))
        loop.add_signal_handler(signal.SIGHUP, self.reload_configuration)
        loop.add_signal_handler(signal.SIGTERM, self.reexec)
        FOLDER.mkdir(exist_ok=True)
        self.load_all()
        self.watch_files()
        await self.listen()
        self.emit(Event("startup", []))
        self.poll()
        Path(ready).touch()
        await asyncio.Event().wait()


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(15, b"init", 0, 0, 0)
    asyncio.run(Init().main(sys.argv[1]))
