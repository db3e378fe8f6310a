"""PURE: the `set …` statements of a monitrc: the cycle, and whom to tell by which mail server."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from steadyd.importing.monitrc import Statement
from steadyd.inspeqtor import DEFAULT, mail_url

_FROM: Final = "monit@localhost"
_ADDRESS: Final = re.compile(r"[^@\s,;{}]+@[^@\s,;{}]+")
_ELSEWHERE: Final = {
    "log": "steadyd logs to its standard error: the journal keeps it",
    "logfile": "steadyd logs to its standard error: the journal keeps it",
    "httpd": "the page is [web] listen in steadyd.toml; access is by config_file",
    "eventqueue": "steadyd keeps every message until it is delivered",
    "statefile": "steadyd keeps its state in the folder `state` of steadyd.toml",
    "idfile": "steadyd needs none",
    "pidfile": "the init system knows the process",
    "mmonit": "Prometheus and Alertmanager take this place",
}

Leave = Callable[[Statement, str], None]


class Mail:
    """Mail servers and receivers; `routes` are their URLs."""

    def __init__(self, leave: Leave) -> None:
        self._leave = leave
        self._server, self._port, self._mode, self._sender = "localhost", 25, "insecure", _FROM
        self._login: tuple[str, str] | None = None
        self._receivers: dict[str, list[str]] = {}

    @property
    def routes(self) -> dict[str, tuple[str, ...]]:
        """Return the URLs of every route; who is told of everything is told on each of them."""
        everybody = self._receivers.get(DEFAULT, [])
        return {
            name: tuple(self._url(each) for each in dict.fromkeys([*everybody, *some]))
            for name, some in self._receivers.items()
        }

    def local(self, name: str, statement: Statement) -> None:
        """Take `alert ADDRESS …` in a check for a route of its own."""
        self._receiver(name, statement, 1)

    def rename(self, old: str, new: str) -> None:
        """Give a route another name."""
        self._receivers[new] = self._receivers.pop(old, [])

    def alert(self, statement: Statement) -> None:
        """Take `set alert ADDRESS …`."""
        self._receiver(DEFAULT, statement, 2)

    def server(self, statement: Statement) -> None:
        """Take the first server of `set mailserver`."""
        words = [token.text for token in statement.tokens[2:]]
        commas = [at for at, each in enumerate(words) if each == ","]
        first = words[: commas[0]] if commas else words
        if not first or not re.fullmatch(r"[\w.:-]{1,253}", first[0], re.ASCII):
            self._leave(statement, "there is no mail server in it")
            return
        self._server = first[0]
        fields = dict(zip((each.lower() for each in first), first[1:], strict=False))
        secure = {"ssl", "tls", "sslauto", "tlsauto", "sslv3", "tlsv1", "tlsv12", "tlsv13"}
        tls = any(each.lower() in secure for each in first[1:])
        if fields.get("port", "").isdigit():
            self._port = int(fields["port"])
        self._mode = ("ssl" if self._port == 465 else "starttls") if tls else "insecure"
        if "username" in fields:
            self._login = fields["username"], fields.get("password", "")
        if commas:
            self._leave(statement, "the first mail server is used; steadyd tries until it answers")

    def sender(self, statement: Statement) -> None:
        """Take the sender of `set mail-format { from: … }`; the rest of it is ours."""
        found = re.search(rf"from:?\s+(?:[^@]*?\s)?<?({_ADDRESS.pattern})", statement.text, re.I)
        if found and "$" not in found[1]:
            self._sender = found[1].strip("<>\"'")
        self._leave(statement, "only the sender is taken; messages have a form of their own")

    def _receiver(self, name: str, statement: Statement, at: int) -> None:
        words = statement.tokens[at:]
        if not words or not _ADDRESS.fullmatch(words[0].text):
            self._leave(statement, "there is no mail address in it")
            return
        self._receivers.setdefault(name, []).append(words[0].text)
        if len(words) > 1:
            self._leave(statement, "it is told of everything; a silence or `severity` can filter")

    def _url(self, receiver: str) -> str:
        return mail_url(self._server, self._port, self._sender, receiver, self._login, self._mode)


def settings(statements: Iterable[Statement], mail: Mail, leave: Leave) -> int:
    """Read the global statements; return the cycle in seconds, 0 if none is set."""
    cycle = 0
    for statement in statements:
        key = statement.tokens[1].low if len(statement.tokens) > 1 else ""
        rest = statement.tokens[2:]
        if key == "daemon" and rest and re.fullmatch("[1-9][0-9]{0,4}", rest[0].text):
            cycle = min(int(rest[0].text), 86_400)
            if len(rest) > 1:
                leave(statement, "only the time between two looks is taken")
        elif key == "mailserver":
            mail.server(statement)
        elif key == "alert":
            mail.alert(statement)
        elif key == "mail-format":
            mail.sender(statement)
        else:
            leave(statement, _ELSEWHERE.get(key, "steadyd has no such setting"))
    return cycle
