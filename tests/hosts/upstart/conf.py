"""Job files of /etc/init, as far as init(5) is needed: text in, `Conf` out."""

import re
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

_IGNORED = frozenset(
    (
        *("author", "version", "description", "usage", "emits", "console", "umask", "nice"),
        *("limit", "export", "oom", "chroot", "debug", "cgroup", "apparmor", "start", "stop"),
        *("setuid", "setgid", "chdir", "instance", "expect", "respawn", "normal", "reload"),
        *("kill", "env", "task", "manual"),
    )
)
_PROCESSES = ("pre-start", "post-start", "pre-stop", "post-stop", "security")
_SHELL = re.compile(r"[~`!$^&*()=|\\{}\[\];\"'<>?]")
_WORD = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass
class On:
    """`start on` or `stop on`: events and operators in postfix order."""

    postfix: list[list[str]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    events: list[object] = field(default_factory=list)

    def take(self, event: object, name: str, env: list[str]) -> bool:
        """Take note of an event; tell whether that makes the whole true."""
        new = False
        for place, words in enumerate(self.postfix):
            if words[0] == name and place not in self.seen and _matches(words[1:], env):
                self.seen.add(place)
                self.events.append(event)
                new = True
        return new and self._true()

    def fresh(self) -> "On":
        """Return the same condition, nothing seen yet."""
        return On(self.postfix)

    def _true(self) -> bool:
        stack: list[bool] = []
        for place, words in enumerate(self.postfix):
            if words[0] in ("/AND", "/OR"):
                right, left = stack.pop(), stack.pop()
                stack.append(left and right if words[0] == "/AND" else left or right)
            else:
                stack.append(place in self.seen)
        return bool(stack and stack[-1])


@dataclass
class Conf:
    """What one job file says; `run` maps the names of processes to argument lists."""

    name: str
    words: dict[str, str] = field(default_factory=dict)
    run: dict[str, list[str]] = field(default_factory=dict)
    env: list[str] = field(default_factory=list)
    emits: list[str] = field(default_factory=list)
    normal: frozenset[str] = frozenset()
    task: bool = False
    respawn: bool = False
    limit: tuple[int, float] = (10, 5.0)
    reload_signal: str = "HUP"
    kill_signal: str = "TERM"
    kill_timeout: float = 5.0
    start_on: On = field(default_factory=On)
    stop_on: On = field(default_factory=On)
    stamp: tuple[int, ...] = ()


def stamp(file: Path) -> tuple[int, ...]:
    """Return what changes with a file or its override."""
    found: list[int] = []
    for each in (file, file.with_suffix(".override")):
        try:
            about = each.stat()
        except OSError:
            found.append(0)
        else:
            found += [about.st_ino, about.st_mtime_ns, about.st_size]
    return tuple(found)


def read(folder: Path, file: Path) -> Conf | None:
    """Return what a file and its override say, None where init would not take it."""
    conf = Conf(str(file.relative_to(folder).with_suffix("")), stamp=stamp(file))
    try:
        text = file.read_text("utf-8", "replace")
        override = file.with_suffix(".override")
        if override.exists():
            text += "\n" + override.read_text("utf-8", "replace")
        _parse(conf, text.splitlines())
    except (OSError, ValueError, IndexError):
        return None
    return conf


def expand(text: str, env: dict[str, str]) -> str:
    """Replace $X and ${X}. Raises KeyError: there is no such variable."""
    return _WORD.sub(lambda found: env[found[1] or found[2]], text)


def _parse(conf: Conf, lines: list[str]) -> None:
    rest = iter(lines)
    for line in rest:
        word, _, value = line.strip().partition(" ")
        if "\t" in word:
            word, _, value = line.strip().partition("\t")
        value = value.strip()
        if not word or word.startswith("#"):
            continue
        if word in _PROCESSES:
            how, _, value = value.partition(" ")
            _process(conf, word, how, value, rest)
        elif word in ("exec", "script"):
            _process(conf, "main", word, value, rest)
        elif word in _IGNORED:
            _stanza(conf, word, value)
        else:
            raise ValueError(f"Unknown stanza {word}")


def _process(conf: Conf, name: str, how: str, value: str, rest: object) -> None:
    if how == "exec":
        shell = _SHELL.search(value)
        argv = ["/bin/sh", "-e", "-c", f"exec {value}"] if shell else value.split()
        conf.run[name] = argv
        return
    if how != "script":
        raise ValueError(how)
    script: list[str] = []
    for line in rest:  # type: ignore[attr-defined]
        if line.strip() == "end script":
            conf.run[name] = ["/bin/sh", "-e", "-c", "\n".join(script)]
            return
        script.append(line)
    raise ValueError("Unterminated block")


def _stanza(conf: Conf, word: str, value: str) -> None:
    match [word, *value.split()]:
        case ["respawn"]:
            conf.respawn = True
        case ["respawn", "limit", count, seconds]:
            conf.limit = (int(count), float(seconds))
        case ["normal", "exit", *ends]:
            conf.normal = frozenset(ends)
        case ["reload", "signal", name]:
            conf.reload_signal = name.removeprefix("SIG")
        case ["kill", "signal", name]:
            conf.kill_signal = name.removeprefix("SIG")
        case ["kill", "timeout", seconds]:
            conf.kill_timeout = float(seconds)
        case ["task"]:
            conf.task = True
        case ["manual"]:
            conf.start_on = On()
        case ["env", *_]:
            conf.env.append(value)
        case ["emits", *names]:
            conf.emits += names
        case ["start", "on", *_]:
            conf.start_on = On(_postfix(value.removeprefix("on")))
        case ["stop", "on", *_]:
            conf.stop_on = On(_postfix(value.removeprefix("on")))
        case _:
            conf.words[word] = value[1:-1] if value[:1] == value[-1:] == '"' else value


def _postfix(text: str) -> list[list[str]]:
    tokens = shlex.split(text.replace("(", " ( ").replace(")", " ) "))
    out: list[list[str]] = []
    waiting: list[str] = []

    def close() -> None:
        while waiting and waiting[-1] != "(":
            out.append(["/" + waiting.pop().upper()])

    fresh = True
    for token in tokens:
        if token == "(":
            waiting.append(token)
        elif token == ")":
            close()
            waiting.pop()
        elif token in ("and", "or"):
            close()
            waiting.append(token)
            fresh = True
            continue
        elif fresh:
            out.append([token])
            fresh = False
        else:
            out[-1].append(token)
    close()
    return out


def _matches(words: list[str], env: list[str]) -> bool:
    given = dict(pair.split("=", 1) for pair in env)
    values = list(given.values())
    for place, word in enumerate(words):
        key, differs, pattern = word.partition("!=")
        if not differs:
            key, equals, pattern = word.partition("=")
            if not equals:
                key, pattern = "", word
        value = given.get(key) if key else (values[place] if place < len(values) else None)
        if value is None or fnmatchcase(value, pattern) is bool(differs):
            return False
    return True
