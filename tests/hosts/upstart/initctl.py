"""initctl, and what it is called by: start, stop, restart, reload, status, telinit, service.

Texts and exit codes are the recorded ones. Run as a program in the host.
"""

import contextlib
import os
import socket
import sys
from typing import Any

from tests.hosts.upstart.wire import CALL, ERROR, RETURN, Message, dump, load

ROOT, SERVICE = "/com/ubuntu/Upstart", "com.ubuntu.Upstart"
MANAGER = "com.ubuntu.Upstart0_6"
PROPERTIES = "org.freedesktop.DBus.Properties"
BUS = "/run/dbus/system_bus_socket"
UNKNOWN = f"{MANAGER}.Error.UnknownInstance"
COMMANDS = {
    "start": 1,
    "stop": 1,
    "restart": 1,
    "reload": 1,
    "status": 1,
    "list": 0,
    "emit": 1,
    "reload-configuration": 0,
    "version": 0,
    "usage": 1,
    "list-env": 0,
}
OPTIONS = ("--quiet", "-q", "--verbose", "-v", "--system", "--no-wait", "-n")
VERSION = """\
initctl (upstart 1.12.1)
Copyright (C) 2006-2014 Canonical Ltd., 2011 Scott James Remnant

This is free software; see the source for copying conditions.  There is NO
warranty; not even for MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.
"""


class Failure(Exception):
    """What ends the client with 1; `name` is the D-Bus error's."""

    def __init__(self, text: str, name: str = "") -> None:
        super().__init__(text)
        self.name = name


class Client:
    """A connection to init."""

    def __init__(self, system: bool) -> None:
        session = os.environ.get("UPSTART_SESSION")
        self._socket, self._data, self._serial = socket.socket(socket.AF_UNIX), b"", 0
        self.name = SERVICE if system and not session else ""
        where = "system bus" if self.name else "Upstart"
        address = os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={BUS}")
        path = address.partition("=")[2] if self.name else "\0/com/ubuntu/upstart"
        if session:
            path = "\0" + session.partition("=")[2]
        try:
            self._socket.connect(path)
        except OSError as error:
            shown = path.lstrip("\0")
            text = f"Unable to connect to {where}: Failed to connect to socket {shown}: "
            raise Failure(text + (error.strerror or "")) from None
        uid = str(os.geteuid()).encode().hex()
        self._socket.sendall(f"\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n".encode())
        while not self._data.endswith(b"\r\n"):
            self._data += self._socket.recv(1)
        self._data = b""
        if self.name:
            bus = "org.freedesktop.DBus"
            self._ask(Message(CALL, 0, 0, "/org/freedesktop/DBus", bus, "Hello", destination=bus))

    def call(self, path: str, interface: str, member: str, kind: str = "", *body: Any) -> Any:
        message = Message(CALL, 0, 0, path, interface, member, destination=self.name)
        message.signature, message.body = kind, list(body)
        values = self._ask(message)
        return values[0] if values else None

    def get(self, path: str, interface: str, name: str) -> Any:
        return self.call(path, PROPERTIES, "Get", "ss", interface, name)[1]

    def _ask(self, message: Message) -> list[Any]:
        self._serial += 1
        message.serial = self._serial
        self._socket.sendall(dump(message))
        while True:
            found = load(self._data)
            if found is None:
                piece = self._socket.recv(65536)
                if not piece:
                    raise Failure("Connection was disconnected before a reply was received")
                self._data += piece
                continue
            reply, used = found
            self._data = self._data[used:]
            if reply.reply == message.serial and reply.type in (RETURN, ERROR):
                break
        if reply.type == ERROR:
            text = str(reply.body[0])
            if reply.error.endswith((".ServiceUnknown", ".NameHasNoOwner")):
                text = f'Name "{self.name}" does not exist'
            raise Failure(text, reply.error)
        return reply.body


def status(client: Client, job: str, instance: str) -> str:
    """Return the status lines of an instance, "" of a job that has none."""
    name = client.get(job, f"{MANAGER}.Job", "name")
    try:
        if not instance:
            raise Failure("")
        found = client.call(instance, PROPERTIES, "GetAll", "s", f"{MANAGER}.Instance")
    except Failure:
        return f"{name} stop/waiting"
    shown = f"{name} ({found['name'][1]})" if found["name"][1] else name
    line = f"{shown} {found['goal'][1]}/{found['state'][1]}"
    first, *more = found["processes"][1] or [None]
    line += f", process {first[1]}" if first else ""
    return "\n".join([line, *(f"\t{process} process {pid}" for process, pid in more)])


def jobs(client: Client, command: str, words: list[str], wait: bool) -> str:
    """Do a job command; return what to print."""
    name, *env = words
    job = client.call(ROOT, MANAGER, "GetJobByName", "s", name)
    of = f"{MANAGER}.Job"
    instance = ""
    if command in ("stop", "reload", "status"):
        try:
            instance = client.call(job, of, "GetInstance", "as", env)
        except Failure as failure:
            if failure.name != UNKNOWN or command != "status" or env:
                raise
    match command:
        case "start" | "restart":
            instance = client.call(job, of, command.capitalize(), "asb", env, wait)
        case "stop":
            client.call(job, of, "Stop", "asb", env, wait)
        case "reload":
            client.call(instance, f"{MANAGER}.Instance", "Reload")
            return ""
        case "usage":
            return f"Usage: {client.get(job, of, 'usage')}"
        case _:
            pass
    return status(client, job, instance)


def listed(client: Client) -> str:
    """Return the status of all jobs."""
    lines = []
    for job in client.call(ROOT, MANAGER, "GetAllJobs"):
        instances = client.call(job, f"{MANAGER}.Job", "GetAllInstances")
        lines += [status(client, job, instance) for instance in instances or [""]]
    return "\n".join(lines)


def run(name: str, words: list[str]) -> str:
    """Run a command line; return what to print. Raises Failure."""
    options = [word for word in words if word.startswith("-")]
    words = [word for word in words if word not in options]
    if name == "initctl" and "--version" in options:
        return VERSION.rstrip("\n")
    command = name
    if name == "initctl":
        if not words:
            raise Failure("missing command" + _try(name))
        command, *words = words
        if command not in COMMANDS:
            raise Failure(f"invalid command: {command}" + _try(name))
    for option in options:
        known = OPTIONS if command != "reload" else OPTIONS[:-2]
        if option not in known:
            raise Failure(f"invalid option: {option}" + _try(name))
    if COMMANDS[command] and not words and {"UPSTART_JOB", "UPSTART_INSTANCE"} <= {*os.environ}:
        words = [os.environ["UPSTART_JOB"], "N=" + os.environ["UPSTART_INSTANCE"]]
    if COMMANDS[command] and not words:
        raise Failure("missing job name" + _try(name))
    client = Client(system="--system" in options or os.geteuid() != 0)
    wait = not {"--no-wait", "-n"} & {*options}
    text = do(client, command, words, wait)
    return "" if {"-q", "--quiet"} & {*options} else text


def do(client: Client, command: str, words: list[str], wait: bool) -> str:
    """Do what a client was connected for."""
    match command:
        case "version":
            return str(client.get(ROOT, MANAGER, "version"))
        case "list":
            return listed(client)
        case "emit":
            client.call(ROOT, MANAGER, "EmitEvent", "sasb", words[0], words[1:], wait)
            return ""
        case "reload-configuration":
            client.call(ROOT, MANAGER, "ReloadConfiguration")
            return ""
        case "list-env":
            return "\n".join(client.call(ROOT, MANAGER, "ListEnv", "as", []))
        case _:
            return jobs(client, command, words, wait)


def _try(name: str) -> str:
    return f"\nTry `{name} --help' for more information."


def command(name: str, words: list[str]) -> int:
    """Run a command line as a program does; return its exit code."""
    try:
        text = run(name, words)
    except Failure as failure:
        print(f"{name}: {failure}", file=sys.stderr)
        return 1
    if text:
        print(text)
    return 0


def telinit(words: list[str]) -> int:
    if words == ["u"]:
        client = Client(system=False)
        with contextlib.suppress(Failure):  # it closes the connection
            client.call(ROOT, MANAGER, "Restart")
        return 0
    env = [f"RUNLEVEL={words[0]}", "PREVLEVEL=N"]
    return command("initctl", ["emit", "--no-wait", "runlevel", *env])


def service(words: list[str]) -> int:
    """Do what Ubuntu's script does with an Upstart job."""
    os.environ.pop("UPSTART_SESSION", None)
    name, *action = words
    client_says = _silent("initctl", ["status", name])
    if client_says or not action or action[0] not in (*COMMANDS, "force-reload"):
        print(f"{name}: unrecognized service", file=sys.stderr)
        return 1
    if action[0] in ("restart", "force-reload"):
        command("stop", [name])
        return command("start", [name])
    return command(action[0], [name])


def _silent(name: str, words: list[str]) -> int:
    try:
        run(name, words)
    except Failure:
        return 1
    return 0


def main() -> int:
    name = os.path.basename(sys.argv[0])
    if name == "service":
        return service(sys.argv[1:])
    if name == "telinit":
        return telinit(sys.argv[1:])
    return command(name, sys.argv[1:])
