"""PURE: a monitrc as rules and settings of ours. What its statements mean: monit(1) 5.33."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from steadyd.importing.monitmail import Mail, settings
from steadyd.importing.monitrc import Check, File, Include, Statement, parse
from steadyd.importing.monittests import (
    Condition,
    Machine,
    Untranslated,
    connection,
    exec_step,
    held,
    hold,
    resource,
)
from steadyd.importing.product import (
    RULES,
    Left,
    OutFile,
    Product,
    one_line,
    settings_file,
    word,
)
from steadyd.model.rule import HOST

_NAME: Final = r"([\w@.:+-]{1,200})"
_VERBS: Final = r"(?:start|stop|restart|up|down|reload)"
_PROGRAMS: Final = tuple(
    re.compile(each)
    for each in (
        rf"/etc/(?:rc\.d/)?(?:init|rc)\.d/{_NAME}",
        rf"\bsystemctl\s+(?:-\S+\s+)*{_VERBS}\s+(?:-\S+\s+)*{_NAME}",
        rf"\b(?:rc-)?service\s+{_NAME}\s+{_VERBS}",
        rf"\binvoke-rc\.d\s+{_NAME}\s+{_VERBS}",
        rf"\b(?:initctl|supervisorctl|sv)\s+(?:-\S+\s+)*{_VERBS}\s+{_NAME}",
        rf"/sbin/{_VERBS}\s+{_NAME}\s*$",
    )
)
_FOUND_BY: Final = {"pidfile": "pidfile", "matching": "match", "match": "match"}
_LONGEST: Final = 2000  # characters of a test or a program
_CYCLE: Final = 30  # seconds; Monit's own default
_NO_CHECK: Final = "steadyd watches services, the host and endpoints, not this"
_MONITOR: Final = "steadyd never stops watching: a budget of verbs bounds what it does"


def convert(path: str, text: str, include: Include, folder: str, machine: Machine) -> Product:
    """Return rules and settings for a monitrc; `folder` is where rules.d will be."""
    file = parse(path, text, include)
    return _Conversion(file, machine).product(path, folder)


class _Service:
    """A check of a process, or of a server, while it is put together."""

    def __init__(self, check: Check) -> None:
        self.check, self.name, self.unit = check, check.name, ""
        self.programs: dict[str, str] = {}
        self.params: dict[str, str] = {}
        self.address, self.passive, self.factor = "localhost", False, 1
        self.rules: dict[tuple[tuple[str, str], ...], list[str]] = {(): []}

    def text(self) -> str:
        head = self.check.head
        lines = [f"# {_place(head)}"]
        blocks = {extra: rules for extra, rules in self.rules.items() if rules} or {(): []}
        for extra, rules in blocks.items():
            given = [*self.params.items(), *extra]
            written = ", ".join(f"{key} {word(value)}" for key, value in given)
            lines.append(f"check service {word(self.name)}")
            lines += [f"  with {written}"] if given else []
            lines += rules
        return "\n".join(lines) + "\n"


class _Conversion:
    def __init__(self, file: File, machine: Machine) -> None:
        self._file, self._machine = file, machine
        self._left: list[Left] = []
        self._mail = Mail(self._leave)
        self._host: list[str] = []
        self._cycle = _CYCLE

    def product(self, path: str, folder: str) -> Product:
        self._cycle = settings(self._file.globals, self._mail, self._leave) or _CYCLE
        made = [self._service(check) for check in self._file.checks]
        services = [each for each in made if each is not None]
        names = {service.check.name: service.name for service in services}
        for service in services:
            if "depends" in service.params:
                service.params["depends"] = names[service.params["depends"]]
        files = [
            OutFile(f"{RULES}/{name}.inq", service.text()) for service, name in _named(services)
        ]
        if self._host:
            text = "check host\n" + "\n".join(self._host) + "\n"
            files.insert(0, OutFile(f"{RULES}/host.inq", text))
        head = {"cycle": f"{self._cycle}s"}
        toml = settings_file(folder, head, self._mail.routes, [f"From {path} of Monit."])
        return Product((*toml, *files), tuple(self._left), self._file.errors)

    def _leave(self, statement: Statement, why: str) -> None:
        token = statement.tokens[0]
        self._left.append(Left(token.path, token.line, statement.text, why))

    # Checks

    def _service(self, check: Check) -> _Service | None:
        """Return what a check becomes; rules of the host are put with the host's."""
        if not check.name or check.kind not in ("process", "host", "system", "filesystem"):
            for statement in (check.head, *check.body):
                self._leave(statement, _NO_CHECK)
            return None
        if check.name == HOST or not check.name.isprintable():
            for statement in (check.head, *check.body):
                self._leave(statement, "a service cannot have this name")
            return None
        service = _Service(check)
        self._about(service)
        for statement in check.body:
            if statement.word == "if":
                self._rule(service, statement)
        if check.kind in ("system", "filesystem"):
            self._host += service.rules[()]
            return None
        if check.kind == "process":
            self._down(service)
        else:
            service.params["watch"] = "no"
            self._leave(
                check.head, f"its rules say something once a service {check.name} exists here"
            )
        return service

    def _about(self, service: _Service) -> None:
        """Take in all that is not a rule, so that rules know their service."""
        check = service.check
        words = check.head.tokens[3:]
        for key, token in pairwise(words):
            if key.low not in ("path", "address", *_FOUND_BY):
                continue
            if not _is_text(token.text):
                self._leave(check.head, f"{key.low}: no text that could be looked for")
            elif key.low in ("path", "address"):
                service.address = token.text
            elif key.low == "pidfile" and not token.text.startswith("/"):
                self._leave(check.head, "the pid file has no absolute path")
            else:
                service.params[_FOUND_BY[key.low]] = token.text
        for statement in check.body:
            self._statement(service, statement)
        self._find_unit(service)

    def _statement(self, service: _Service, statement: Statement) -> None:
        words = [token.text for token in statement.tokens]
        match statement.word:
            case "if":
                return
            case "start" | "stop" | "restart":
                self._program(service, statement)
            case "alert":
                self._mail.local(service.name, statement)
                service.params["owner"] = service.name
            case "group" if self._takes_group(service, words[1:2]):
                service.params["group"] = words[1]
            case "depends" | "depend":
                self._depends(service, statement)
            case "mode" if words[1:2] == ["passive"]:
                service.passive = True
            case "mode" if words[1:2] == ["active"]:
                return
            case "every" if words[2:3] and words[1].isdigit() and words[2].startswith("cycle"):
                service.factor = max(1, min(int(words[1]), 1000))
            case _:
                self._leave(statement, "steadyd has nothing of the kind")

    def _takes_group(self, service: _Service, group: list[str]) -> bool:
        new = "group" not in service.params and service.check.kind == "process"
        return new and any(map(_is_text, group))

    def _program(self, service: _Service, statement: Statement) -> None:
        verb = statement.word
        quoted_ = [token.text for token in statement.tokens if token.raw[:1] in "\"'"]
        if service.check.kind != "process" or not quoted_:
            self._leave(statement, "only a service can be started or stopped")
            return
        service.programs[verb] = quoted_[0]
        if re.search(r"\bas\s+(?:uid|gid)\b", statement.text, re.IGNORECASE):
            self._leave(statement, "the init system decides whose process it is: User= of the unit")

    def _depends(self, service: _Service, statement: Statement) -> None:
        processes = {check.name for check in self._file.checks if check.kind == "process"}
        names = [
            each.text for each in statement.tokens[1:] if each.low != "on" and each.text != ","
        ]
        for name in names:
            if name in processes and "depends" not in service.params and _is_text(name):
                service.params["depends"] = name
            else:
                why = "one service is depended on at most" if name in processes else _NO_CHECK
                self._leave(statement, f"{name}: {why}")

    def _find_unit(self, service: _Service) -> None:
        """Find which unit of the init system the programs start."""
        for verb, program in service.programs.items():
            found = (each.search(program[:_LONGEST]) for each in _PROGRAMS)
            unit = next((each[1].removesuffix(".service") for each in found if each), "")
            if unit and not service.unit:
                service.unit = service.name = unit
                for key in ("pidfile", "match"):
                    service.params.pop(key, None)
            elif not unit or unit != service.unit:
                statement = next(s for s in service.check.body if s.word == verb)
                self._leave(statement, "no command of an init system: make a unit of it")
        if service.params.get("owner") == service.check.name != service.name:
            service.params["owner"] = service.name
            self._mail.rename(service.check.name, service.name)

    def _down(self, service: _Service) -> None:
        """Restart what is not there, as Monit does unless the check says otherwise."""
        if any(" if down " in line for lines in service.rules.values() for line in lines):
            return
        steps = self._steps(service, "restart", service.check.head)
        service.rules[()] += [
            "  # Monit restarts by itself what does not run.",
            f"  if down for 10s then {', '.join(steps)}",
        ]

    # Rules

    def _rule(self, service: _Service, statement: Statement) -> None:
        try:
            test, action, more = _parts(statement)
            if len(test) > _LONGEST:
                raise Untranslated("the test is too long to be one")
            restarts = re.fullmatch(
                r"(\d{1,3}) restarts? (?:with|within|in) (\d{1,4}) cycles?", test, re.IGNORECASE
            )
            if restarts:
                self._budget(service, statement, restarts, action)
                return
            condition = self._condition(service, test)
            steps = self._steps(service, action, statement)
        except Untranslated as why:
            self._leave(statement, str(why))
            return
        if more and not re.fullmatch(
            r"(?:if )?(?:succeeded|passed|recovered)?.*then alert|alert", more, re.IGNORECASE
        ):
            self._leave(statement, f"steadyd tells when it is over, and runs nothing: else {more}")
        for lost in condition.lost:
            self._leave(statement, lost)
        lines = [f"  # {_place(statement)}"]
        lines += [f"  # {note}." for note in condition.notes]
        lines.append(f"  if {condition.text}{condition.hold} then {', '.join(steps)}")
        service.rules.setdefault(condition.params, []).extend(lines)

    def _condition(self, service: _Service, test: str) -> Condition:
        kind = service.check.kind
        test, count, of = hold(test, service.factor)
        if kind == "process" and re.fullmatch(r"(?:does )?not exists?", test, re.IGNORECASE):
            seconds = max(1, of) * self._cycle if count > 1 else 10
            return Condition("down", f" for {seconds}s")
        if kind in ("process", "host") and re.match(r"(?:failed|succeeded)\b", test, re.I):
            found = connection(test, service.address if kind == "host" else "localhost")
        else:
            found = resource(kind, test, service.address, self._machine)
        return found._replace(hold=held(count, of))

    def _budget(
        self, service: _Service, statement: Statement, found: re.Match[str], action: str
    ) -> None:
        """Take `N restarts within M cycles` for the budget of verbs."""
        seconds = int(found[2]) * self._cycle * service.factor
        if action.split()[0].lower() not in ("timeout", "unmonitor", "stop"):
            raise Untranslated(_MONITOR)
        if "budget" in service.params or service.check.kind != "process" or not seconds:
            raise Untranslated("a check has one budget")
        service.params["budget"] = f"{int(found[1])}/{seconds}s"
        if action.split()[0].lower() == "stop":
            self._leave(statement, "the budget ends the restarts; the service is not stopped")

    def _steps(self, service: _Service, action: str, statement: Statement) -> list[str]:
        """Return the steps of an action; all of them alert first, as in Monit."""
        verb, _, rest = action.partition(" ")
        verb = verb.lower()
        if verb == "alert":
            return ["alert"]
        if verb in ("unmonitor", "timeout", "monitor"):
            self._leave(statement, _MONITOR)
            return ["alert"]
        if verb == "exec":
            found = re.match(r"""("[^"]*"|'[^']*'|\S+)\s*(.*)""", rest, re.DOTALL)
            if found is None:
                raise Untranslated("exec names no program")
            if found[2]:
                self._leave(statement, f"the program runs as steadyd does: {found[2]}")
            return ["alert", *self._program_step(found[1].strip("\"'"), statement)]
        if verb not in ("restart", "start", "stop"):
            raise Untranslated(f"there is no action {one_line(verb, 40)}")
        return ["alert", *self._verb(service, verb, statement)]

    def _program_step(self, command: str, statement: Statement) -> list[str]:
        """Return the step that runs a program, none for one that cannot be one of ours."""
        if command.lstrip().startswith("/") and command.isprintable():
            return [exec_step(command)]
        self._leave(statement, "exec wants a program with its absolute path, in printable text")
        return []

    def _verb(self, service: _Service, verb: str, statement: Statement) -> list[str]:
        if service.check.kind != "process":
            self._leave(statement, f"only a service can {verb}: the rule alerts")
            return []
        if service.passive:
            return []
        if service.unit:
            return [verb]
        wanted = "start" if verb == "restart" and statement.word == "check" else verb
        if wanted in service.programs:
            return self._program_step(service.programs[wanted], statement)
        self._leave(statement, f"no init system keeps it, so that nobody can {verb} it: it alerts")
        return []


def _is_text(text: str) -> bool:
    """Tell whether a text can be the value of a parameter."""
    return bool(text.strip()) and text.isprintable() and len(text) <= 1000


def _place(statement: Statement) -> str:
    token = statement.tokens[0]
    return f"{one_line(token.path)}:{token.line}: {one_line(statement.text)}"


def _parts(statement: Statement) -> tuple[str, str, str]:
    """Split `if TEST then ACTION [else MORE]`. Raises Untranslated."""
    lows = [token.low for token in statement.tokens]
    if "then" not in lows:
        raise Untranslated("there is no `then`")
    then = lows.index("then")
    otherwise = lows.index("else") if "else" in lows else len(lows)
    action = _joined(statement, then + 1, otherwise)
    if not action:
        raise Untranslated("there is no action")
    return _joined(statement, 1, then), action, _joined(statement, otherwise + 1, len(lows))


def _joined(statement: Statement, start: int, end: int) -> str:
    return " ".join(token.raw for token in statement.tokens[start:end])


def _named(services: Iterable[_Service]) -> Sequence[tuple[_Service, str]]:
    """Give each service a file of its own."""
    names: list[tuple[_Service, str]] = []
    taken = {"host"}
    for service in services:
        name = plain = re.sub(r"[^\w@.-]", "_", service.name, flags=re.ASCII).lstrip(".") or "x"
        number = 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        names.append((service, name[:200]))
    return names
