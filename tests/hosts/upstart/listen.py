"""What a client of D-Bus sees: calls in, replies and signals out, as lines of JSON.

Run as a program in the host. A line on standard input is a call, or a ping of the private socket:
its answer comes after all signals that Upstart sent before.
"""

import json
import os
import selectors
import socket
import sys
from typing import Any

from tests.hosts.upstart.wire import CALL, ERROR, SIGNAL, Message, dump, load

PRIVATE, BUS = "\0/com/ubuntu/upstart", "/run/dbus/system_bus_socket"


def tell(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


class Channel:
    """One connection; a lost one is made again at the next use."""

    def __init__(self, name: str) -> None:
        self.name, self.data, self.serial = name, b"", 0
        self.socket = socket.socket(socket.AF_UNIX)
        self.open()

    def open(self) -> None:
        self.data = b""
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(PRIVATE if self.name == "private" else BUS)
                break
            except OSError:
                self.socket.close()
        self.socket.sendall(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")
        while not self.data.endswith(b"\r\n"):
            self.data += self.socket.recv(1)
        self.data = b""
        if self.name == "system":
            bus = "org.freedesktop.DBus"
            self.send(Message(CALL, 0, 0, "/org/freedesktop/DBus", bus, "Hello", "", 0, bus), 0)

    def send(self, message: Message, tag: int) -> None:
        message.serial = tag + 1
        self.socket.sendall(dump(message))

    def take(self) -> bool:
        """Tell what came; False: the connection ended."""
        try:
            piece = self.socket.recv(65536)
        except OSError:
            piece = b""
        self.data += piece
        while found := load(self.data):
            message, used = found
            self.data = self.data[used:]
            if message.type == SIGNAL:
                if self.name == "private":
                    tell(signal=[message.path, message.member, message.body])
            elif message.reply > 1:
                error = message.error if message.type == ERROR else None
                tell(reply=message.reply - 1, error=error, body=message.body)
        return bool(piece)


def main() -> None:
    channels = {"private": Channel("private")}
    select = selectors.DefaultSelector()
    select.register(0, selectors.EVENT_READ)
    select.register(channels["private"].socket, selectors.EVENT_READ, channels["private"])
    lines = b""
    tell(ready=True)
    while True:
        for key, _ in select.select():
            channel = key.data
            if channel is None:
                piece = os.read(0, 65536)
                if not piece:
                    sys.exit()
                lines += piece
            elif not channel.take():
                select.unregister(channel.socket)
                channel.socket.close()
                channel.open()
                select.register(channel.socket, selectors.EVENT_READ, channel)
        while b"\n" in lines:
            line, _, lines = lines.partition(b"\n")
            call = json.loads(line)
            if call["channel"] not in channels:
                channel = channels[call["channel"]] = Channel(call["channel"])
                select.register(channel.socket, selectors.EVENT_READ, channel)
            message = Message(CALL, 0, 0, call["path"], call["interface"] or "", call["member"])
            message.destination = call["destination"] or ""
            message.signature, message.body = call["in_signature"], call["in_args"]
            channels[call["channel"]].send(message, call["tag"])


main()
