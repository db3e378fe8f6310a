"""steadyd check: judge rule files. Exit 0 good, 1 errors, 2 wrong use or configuration."""

import argparse
import os
import stat
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from steadyd.cli import fail, told
from steadyd.cli.openings import Openings
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles import inspeqtorconf, tree
from steadyd.rulefiles.compile import Compiled, compile_file
from steadyd.rulefiles.diagnostics import Diagnostic, Level, printable, render
from steadyd.rulefiles.folder import parse_file
from steadyd.rulefiles.judging import Known
from steadyd.rulefiles.merge import merge
from steadyd.rulefiles.reading import Refused, find, read_text
from steadyd.rulefiles.traps import traps

_CYCLE: Final = 15.0  # seconds between two ticks, where no configuration says it


class Entry(Struct, frozen=True):
    """What is said of one file; `conf` and `lent` of an inspeqtor.conf and the routes it names."""

    path: str
    text: str
    file: tree.File | None
    compiled: Compiled | None
    diagnostics: tuple[Diagnostic, ...]
    conf: inspeqtorconf.Conf | None = None
    lent: frozenset[str] = frozenset()

    @property
    def ok(self) -> bool:
        """Tell whether there is no error."""
        return not any(d.is_error for d in self.diagnostics)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `check`."""
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="files or folders; none: the configured rules"
    )
    parser.add_argument("--config", metavar="FILE", help="configuration, for routes and defaults")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="form of the answer (text)"
    )
    parser.add_argument(
        "--actions", action="store_true", help="also tell which verbs could not run now"
    )


def run(args: argparse.Namespace) -> int:
    """Judge and print."""
    folders, known = list(args.paths), Known(CATALOGUE, cycle=_CYCLE)
    if args.config or not args.paths:
        from steadyd.rulefiles.folder import defaults_of
        from steadyd.settings import SettingsError, load

        try:
            settings = load(args.config, strict=True)
            settings.alone().targets()
        except SettingsError as error:
            return fail(str(error), 2)
        folders = folders or list(settings.rules)
        defaults = defaults_of(settings.defaults)
        routes = frozenset(settings.routes)
        known = Known(CATALOGUE, routes, defaults, settings.cycle_seconds)
    entries = judge(folders, known)
    if args.actions:
        return _with_actions(args, entries)
    with told():
        _show(as_json(entries) if args.format == "json" else None, entries)
    return 0 if all(entry.ok for entry in entries) else 1


def _show(data: dict[str, Any] | None, entries: Sequence[Entry]) -> None:
    if data is None:
        _print(entries)
        return
    import json

    print(json.dumps(data, ensure_ascii=True))


def _with_actions(args: argparse.Namespace, entries: Sequence[Entry]) -> int:
    """Print the judgement and which verbs could not run now; return the exit code."""
    from steadyd.cli.actions import look
    from steadyd.cli.offline import NoAnswer
    from steadyd.settings import SettingsError

    checks = merge([entry.compiled for entry in entries if entry.compiled]).rules.checks
    try:
        found = look(args, checks)
    except SettingsError as error:
        return fail(str(error), 2)
    except NoAnswer as error:
        return fail(str(error), 1)
    lines = {"impossible": found.impossible, "warnings": found.warnings}
    data = {**as_json(entries), **lines} if args.format == "json" else None
    with told():
        _show(data, entries)
        for line in (*found.impossible, *found.warnings) if data is None else ():
            print(printable(line))
    return 0 if all(entry.ok for entry in entries) and not found.impossible else 1


def judge(paths: Sequence[str], known: Known) -> list[Entry]:
    """Judge files alone as they are named, and the files of a folder together."""
    entries: list[Entry] = []
    for path in paths:
        if not os.path.isdir(path):
            entries += _together([_judge(path, known)])
            continue
        found, troubles = find([path])
        conf = os.path.join(path, inspeqtorconf.FILE_NAME)
        confs = [_judge_conf(conf)] if os.path.lexists(conf) else []
        entries += confs
        own = replace(known, routes=_routes(confs, known))
        judged = [_judge(file, own) for file in found]
        entries += _together(list(map(_with_traps, judged)) if confs else judged)
        entries += [
            Entry(t.path, "", None, None, (t.diagnostic,)) for t in troubles if t.path != conf
        ]
    return entries


def _routes(confs: Sequence[Entry], known: Known) -> frozenset[str] | None:
    """Return the routes that the files of a folder may name, None if they are not known."""
    routes = set(known.routes or ())
    for entry in confs:
        if entry.conf is None or entry.conf.bad:
            return None
        routes |= entry.lent
    return None if known.routes is None and not confs else frozenset(routes)


def _judge_conf(path: str) -> Entry:
    from steadyd import inspeqtor

    try:
        text, warnings = read_text(path, strict=False)
    except Refused as refused:
        return Entry(path, "", None, None, (Diagnostic(Level.ERROR, 1, 1, str(refused)),))
    conf = inspeqtorconf.parse(text)
    meaning = inspeqtor.meaning(conf)
    if inspeqtorconf.masked(text) != text and _is_open(path):
        warnings.append(f"it holds secrets and may be read by everybody; chmod o-r {path}")
    told = tuple(Diagnostic(Level.WARNING, 1, 1, printable(warning)) for warning in warnings)
    lent, shown = frozenset(meaning.routes), inspeqtorconf.masked(text)
    return Entry(path, shown, None, None, (*told, *meaning.diagnostics), conf, lent)


def as_json(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return what `--format json` prints."""
    files = [
        {
            "path": entry.path,
            "ok": entry.ok,
            "diagnostics": [
                {
                    "severity": str(d.severity),
                    "line": d.line,
                    "column": d.column,
                    "message": d.message,
                    "help": d.help or None,
                }
                for d in entry.diagnostics
            ],
            "checks": _parsed(entry),
            **(_conf(entry.conf) if entry.conf else {}),
        }
        for entry in entries
    ]
    return {"ok": all(entry.ok for entry in entries), "files": files}


def _is_open(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:  # gone since it was read
        return False


def _conf(conf: inspeqtorconf.Conf) -> dict[str, Any]:
    routes = [
        {"route": route.name, "channel": route.channel, "params": route.params}
        for route in conf.in_force
    ]
    return {"variables": conf.variables, "routes": routes}


def _judge(path: str, known: Known) -> Entry:
    if os.path.basename(path) == inspeqtorconf.FILE_NAME:
        return _judge_conf(path)
    try:
        text, warnings = read_text(path, strict=False)
    except Refused as refused:
        return Entry(path, "", None, None, (Diagnostic(Level.ERROR, 1, 1, str(refused)),))
    said = tuple(Diagnostic(Level.WARNING, 1, 1, f"refused by the daemon: {w}") for w in warnings)
    file = parse_file(path, text)
    if file.bad:
        return Entry(path, text, file, None, (*file.diagnostics, *said))
    compiled = compile_file(path, file, known)
    return Entry(path, text, file, compiled, (*file.diagnostics, *compiled.diagnostics, *said))


def _together(entries: list[Entry]) -> list[Entry]:
    """Add what is found only by looking at files together."""
    found = merge(entry.compiled for entry in entries if entry.compiled).diagnostics
    return [
        replace(entry, diagnostics=(*entry.diagnostics, *found.get(entry.path, ())))
        for entry in entries
    ]


def _with_traps(entry: Entry) -> Entry:
    """Add where Inspeqtor, whose file this is, does something else."""
    if entry.compiled is None:
        return entry
    return replace(entry, diagnostics=(*entry.diagnostics, *traps(entry.compiled, CATALOGUE)))


def _parsed(entry: Entry) -> list[dict[str, Any]]:
    if entry.file is None:
        return []
    openings = Openings(entry.compiled)
    jobs = [
        {
            "check": "jobs",
            "params": _params(some.params),
            "jobs": [{"job": j.name, "interval_ns": j.every * 10**9} for j in some.jobs],
        }
        for some in entry.file.jobs
    ]
    return [*(_check(check, openings) for check in entry.file.checks), *jobs]


def _params(params: Sequence[tree.Param]) -> dict[str, str]:
    found: dict[str, str] = {}
    for param in params:
        found.setdefault(param.key, param.value)
    return found


def _check(check: tree.Check, openings: Openings) -> dict[str, Any]:
    params = _params(check.params)
    rules = [_rule(rule, openings.of(rule.start)) for rule in check.rules]
    if check.name is None:
        return {"check": "host", "params": params, "rules": rules}
    exposed = [word.text for word in check.exposed]
    return {
        "check": "service",
        "service": check.name.text,
        "params": params,
        "exposed": exposed,
        "rules": rules,
    }


def _rule(rule: tree.Rule, openings: list[str] | None) -> dict[str, Any]:
    hold, compared = rule.hold, rule.condition
    result: dict[str, Any] = {"condition": tree.text_of(compared)}
    if isinstance(compared, tree.Comparison):
        result |= {
            "metric": compared.metric,
            "family": compared.family,
            "name": compared.name,
            "op": compared.operator,
            "amount_raw": compared.raw,
            "amount_value": compared.quantity.value,
            "per_sec": compared.quantity.per == 1,
        }
    elif isinstance(compared, tree.Event):
        result["event"] = compared.word
    result["cycles"] = 1 if hold is None or hold.cycles is None else hold.cycles
    result["of"] = None if hold is None else hold.of
    result["seconds"] = None if hold is None else hold.seconds
    result["until"] = None if rule.until is None else tree.text_of(rule.until.condition)
    if openings is not None:
        result["openings"] = openings
    result["actions"] = [_action(action) for action in rule.actions]
    return result


def _action(action: tree.Action) -> dict[str, Any]:
    said: dict[str, Any] = {"name": action.name}
    if action.argument:
        said["route" if action.name == "alert" else "argument"] = action.argument
    return said | ({"after": action.after} if action.after else {})


def _print(entries: Sequence[Entry]) -> None:
    for entry in entries:
        for diagnostic in entry.diagnostics:
            print(render(entry.path, entry.text, diagnostic), end="\n\n")
        for source, line in Openings(entry.compiled).lines():
            print(f"{source}: note: {line}", end="\n\n")
    errors = sum(d.is_error for e in entries for d in e.diagnostics)
    warnings = sum(len(e.diagnostics) for e in entries) - errors
    rules = sum(len(c.rules) for e in entries if e.compiled for c in _checks(e.compiled))
    said = [f"{len(entries)} file{_s(len(entries))}", f"{rules} rule{_s(rules)} in force"]
    said += [f"{errors} error{_s(errors)}"] if errors else ["no errors"]
    said += [f"{warnings} warning{_s(warnings)}"] if warnings else []
    print(", ".join(said))


def _checks(compiled: Compiled) -> list[Any]:
    return [draft.check for draft in compiled.drafts]


def _s(count: int) -> str:
    return "" if count == 1 else "s"
