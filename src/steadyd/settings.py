"""steadyd.toml: read once, checked, frozen. Format: contract.md, section 2.

The command line goes over the file, and both over an `inspeqtor.conf` in a folder of rules. Every
error names the file, the key and the mend; an unknown key names the nearest known one.
"""

import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from steadyd.model.rule import Budget
from steadyd.rulefiles.amounts import duration
from steadyd.rulefiles.folder import defaults_of

if TYPE_CHECKING:
    from steadyd.confs import ConfFile

DEFAULT_FILE = "/etc/steadyd/steadyd.toml"
CONF = "inspeqtor.conf"  # in a folder of rules
LARGEST_SECRET = 65_536
LARGEST_FILE = 1_048_576
LONGEST_BUDGET = 7 * 86_400.0  # seconds for which verbs are remembered
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class SettingsError(Exception):
    """The configuration cannot be used; str() is ready to print."""


class Web(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[web]`; `show_details`: free text without authentication too."""

    listen: tuple[str, ...] = ("127.0.0.1:10870",)
    config_file: str = ""
    enable_lifecycle: bool = False
    show_details: bool = False


class Actions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[actions]`; `host_budget` as written."""

    host_budget: str = "10/1h"
    kill_switch: str = "/etc/steadyd/STOP"


class Exec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[exec]`; `allow` names the programs that rules may run, by absolute path."""

    allow: tuple[str, ...] = ()


class Jobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[jobs]`; `token` (or `file:NAME`) lets jobs report over HTTP, "" lets none."""

    token: str = ""


class Inspeqtor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[inspeqtor]`; `socket` is where its old protocol is served, "" for nowhere."""

    socket: str = ""


class Supervisord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[inits.supervisord]`; an empty `url` leaves the usual places to be looked at."""

    url: str = ""


class Inits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[inits]`."""

    supervisord: Supervisord = Supervisord()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration, with the defaults of the user who runs us.

    `cycle` and `deploy` are durations as written, `cycle_seconds` and `deploy_seconds` their
    values. `routes` holds Apprise URLs as written, `targets()` the URLs themselves. `statsd` is
    HOST:PORT, "" if nothing is sent there.

    Not of the file: `path` is where it was read from, "" if nowhere; `over` what the command line
    put over it; `borrowed` the routes that are an inspeqtor.conf's, read while `confs` is true.
    """

    rules: tuple[str, ...] = ("/etc/steadyd/rules.d",)
    state: str = ""
    control: str = ""
    cycle: str = "15s"
    deploy: str = "5m"
    dry_run: bool = False
    statsd: str = ""
    init: str = "auto"
    web: Web = Web()
    routes: Mapping[str, tuple[str, ...]] = {}
    defaults: Mapping[str, str] = {}
    actions: Actions = Actions()
    exec: Exec = Exec()
    jobs: Jobs = Jobs()
    inspeqtor: Inspeqtor = Inspeqtor()
    inits: Inits = Inits()
    path: str = ""
    over: Mapping[str, Any] = {}
    borrowed: frozenset[str] = frozenset()
    confs: bool = True

    @property
    def cycle_seconds(self) -> float:
        """Return the cycle in seconds."""
        return duration(self.cycle)

    @property
    def deploy_seconds(self) -> float:
        """Return how long a deploy lasts that nobody ends, in seconds."""
        return duration(self.deploy)

    @property
    def host_budget(self) -> Budget:
        """Return `[actions] host_budget`."""
        return budget(self.actions.host_budget)

    @property
    def job_socket(self) -> str:
        """Return the path of the socket at which every local user may tell that a job ran."""
        return job_socket(self.control)

    def again(self) -> "Settings":
        """Return what the file and the same command line say now. Raises SettingsError."""
        return load(self.path or None, self.over, strict=True)

    def secret(self, text: str, what: str) -> str:
        """Return a value, with `file:NAME` read from that file. Raises SettingsError."""
        return _url(text, what, Path(self.path).parent if self.path else Path.cwd())

    def alone(self) -> "Settings":
        """Return the same without routes of an inspeqtor.conf, so that a bad one does no harm."""
        own = {name: urls for name, urls in self.routes.items() if name not in self.borrowed}
        return msgspec.structs.replace(self, routes=own, borrowed=frozenset(), confs=False)

    def targets(self) -> dict[str, tuple[str, ...]]:
        """Return the URLs of every route, with `file:NAME` and each inspeqtor.conf read now.

        Raises SettingsError, also for an inspeqtor.conf that cannot be understood.
        """
        beside = Path(self.path).parent if self.path else Path.cwd()
        own = {
            name: tuple(_target(text, f"route {name}", beside) for text in urls)
            for name, urls in self.alone().routes.items()
        }
        lent: dict[str, tuple[str, ...]] = {}
        for conf in _confs(self.rules) if self.confs else ():
            if conf.meaning is None:
                raise SettingsError("; ".join(conf.errors))
            conf.tell()
            lent = {**conf.meaning.routes, **lent}
        return lent | own

    def warnings(self) -> list[str]:
        """Return what of each inspeqtor.conf has no effect, or another."""
        return [warning for conf in _confs(self.rules) for warning in conf.warnings]


def load(
    path: str | None, over: Mapping[str, Any] | None = None, *, strict: bool = False
) -> Settings:
    """Read a configuration; None: the one at its default place, if there is one.

    `over` has the form of the file and goes over it; a `strict` reader must be able to read what
    is there. Raises SettingsError.
    """
    named, data = _read(path, strict)
    over = over or {}
    for key, value in over.items():
        table = data.get(key, {})
        merged = isinstance(value, Mapping) and isinstance(table, Mapping)
        data[key] = {**table, **value} if merged else value
    where = named or "steadyd"
    _known(data, Settings, where, "", internal=("path", "over", "borrowed", "confs"))
    try:
        settings = msgspec.convert({**data, "path": named, "over": over}, Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {_without_root(str(error))}") from error
    return check(_borrow(_with_places(settings), frozenset(data)))


def _confs(folders: Sequence[str]) -> "list[ConfFile]":
    """Read the `inspeqtor.conf` of each folder that has one."""
    paths = [os.path.join(folder, CONF) for folder in map(str, folders)]
    found = [path for path in paths if os.path.lexists(path)]
    if not found:
        return []
    from steadyd.confs import read_conf  # noqa: PLC0415 - few hosts have one, and it takes 10 ms

    return [read_conf(path) for path in found]


def _borrow(settings: Settings, given: frozenset[str]) -> Settings:
    """Fill in from each inspeqtor.conf what was not given; of two the first one counts."""
    lent: dict[str, Any] = {}
    routes: dict[str, tuple[str, ...]] = {}
    for conf in _confs(settings.rules):
        if conf.meaning is not None:
            said = conf.meaning
            known = {"cycle": said.cycle, "deploy": said.deploy, "statsd": said.statsd}
            lent = {key: value for key, value in known.items() if value} | lent
            routes = {**said.routes, **routes}
    lent = {key: value for key, value in lent.items() if key not in given}
    return msgspec.structs.replace(
        settings,
        **lent,
        routes={**routes, **settings.routes},
        borrowed=frozenset(routes.keys() - settings.routes.keys()),
    )


def _read(path: str | None, strict: bool) -> tuple[str, dict[str, Any]]:
    """Return the path and the contents of a file; the default one may be missing.

    Unless `strict` it may also be one that we may not read: then we are somebody who only asks.
    """
    named = path or DEFAULT_FILE
    try:
        with open(named, "rb") as file:
            text = file.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise SettingsError(f"{named}: it is larger than {LARGEST_FILE} bytes")
        return named, tomllib.loads(text.decode("utf-8"))
    except FileNotFoundError as error:
        if path is not None:
            raise SettingsError(f"{named}: there is no such file") from error
    except PermissionError as error:
        if path is not None or strict:
            raise SettingsError(
                f"{named}: {error.strerror}; who runs this must be able to read it"
            ) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{named}: {_one_line(error)}") from error
    return "", {}


def check(settings: Settings) -> Settings:
    """Return the settings if their values can be meant. Raises SettingsError."""
    where = settings.path or "steadyd"
    for what, text, parse in (
        ("cycle", settings.cycle, duration),
        ("deploy", settings.deploy, duration),
        ("actions.host_budget", settings.actions.host_budget, budget),
    ):
        try:
            parse(text)
        except ValueError as error:
            said = f"`{_one_line(text)}` {error}"
            raise SettingsError(f"{where}: {what}: {said}") from error
    for what, texts in (
        ("rules", settings.rules),
        ("state", (settings.state,)),
        ("control", (settings.control,)),
        ("web.config_file", (settings.web.config_file,)),
    ):
        if any("\0" in str(text) for text in texts):
            raise SettingsError(f"{where}: {what}: a path cannot hold a NUL")
    try:
        defaults_of(settings.defaults)
    except ValueError as error:
        raise SettingsError(f"{where}: defaults: {error}") from error
    if not 0.05 <= settings.cycle_seconds <= 86_400:
        raise SettingsError(f"{where}: cycle: {settings.cycle} is not between 50ms and 24h")
    return settings


def budget(text: str) -> Budget:
    """Read `3/1h`. Raises ValueError."""
    count, slash, window = text.partition("/")
    if not slash or not count.isascii() or not count.isdigit():
        raise ValueError("is no budget; write a count, a slash and a duration: 3/1h")
    seconds = duration(window)
    if not 0 < seconds <= LONGEST_BUDGET:
        raise ValueError("is no budget; its duration must be above zero, and at most 7d")
    return Budget(int(count), seconds)


def job_socket(control: str) -> str:
    """Return the path of the job socket that belongs to a control socket."""
    return str(Path(control).with_name("jobs.sock")) if control else ""


def user_paths() -> tuple[str, str]:
    """Return the default state folder and control socket of the user who runs us."""
    if os.geteuid() == 0 or "STATE_DIRECTORY" in os.environ:
        return "/var/lib/steadyd", "/run/steadyd/control.sock"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    state = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return f"{state}/steadyd", f"{runtime}/steadyd/control.sock"


def _with_places(settings: Settings) -> Settings:
    state, control = user_paths()
    return msgspec.structs.replace(
        settings, state=settings.state or state, control=settings.control or control
    )


def _known(
    data: Mapping[str, Any], kind: type, path: str, prefix: str, internal: tuple[str, ...] = ()
) -> None:
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name not in internal}
    for key, value in data.items():
        if key not in hints:
            from difflib import get_close_matches  # noqa: PLC0415 - few files have a slip

            near = get_close_matches(key, hints, 1)
            help_ = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(hints)}"
            raise SettingsError(f"{path}: unknown key {prefix}{key}; {help_}")
        inner = hints[key]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            if not isinstance(value, dict):
                raise SettingsError(f"{path}: {prefix}{key} must be a table: [{prefix}{key}]")
            _known(value, inner, path, f"{prefix}{key}.")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _without_root(text: str) -> str:
    return text.replace("`$.", "`")


def _url(text: str, what: str, beside: Path) -> str:
    """Return a text as it is to be used; `file:NAME` is looked up among the credentials first."""
    if not text.startswith("file:") or text.startswith("file://"):
        return text
    name = text.removeprefix("file:")
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    places = [Path(credentials) / name] if credentials and "/" not in name else []
    places.append(beside / name)
    for place in places:
        if _is_there(place, what):
            return _secret(place, what)
    looked = " or ".join(str(place) for place in places)
    raise SettingsError(f"{what}: there is no {looked}")


def _is_there(place: Path, what: str) -> bool:
    try:
        os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise SettingsError(f"{what}: cannot read {_one_line(place)}: {_why(error)}") from error
    return True


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or _one_line(error)


def _target(text: str, what: str, beside: Path) -> str:
    """Return an Apprise URL. Raises SettingsError, which does not say what it is: a secret."""
    url = _url(text, what, beside)
    if not _SCHEME.match(url):
        raise SettingsError(f"{what}: a target is no URL; write SCHEME://…, or file:NAME")
    return url


def _secret(place: Path, what: str) -> str:
    try:
        fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            os.close(fd)
            raise SettingsError(f"{what}: {place} is no regular file")
        with open(fd, encoding="utf-8") as file:
            if mode & 0o004:
                raise SettingsError(f"{what}: {place} may be read by everybody: chmod o-r {place}")
            text = file.read(LARGEST_SECRET).strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{what}: cannot read {_one_line(place)}: {_why(error)}") from error
    if not text:
        raise SettingsError(f"{what}: {place} is empty; write one URL into it")
    return text
