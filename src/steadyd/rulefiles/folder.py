"""The rule files of some folders: each judged alone, a bad one keeps its own last good text.

Blocking: call `RuleFiles.read` in a thread.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from steadyd.model.rule import CheckParams, RuleSet
from steadyd.model.snapshot import FileView
from steadyd.rulefiles import params, tree
from steadyd.rulefiles.compile import Compiled, compile_file
from steadyd.rulefiles.diagnostics import Diagnostic, Level, Report, printable, render
from steadyd.rulefiles.judging import Known, MetricCatalogue
from steadyd.rulefiles.lexer import Places
from steadyd.rulefiles.merge import merge
from steadyd.rulefiles.parser import parse, parse_jobs
from steadyd.rulefiles.reading import Refused, find, is_of_jobs, read_text

REPORTED = 3  # errors of a file that are shown with their place


class LastGood(Protocol):
    """Where the last good text of each file is kept across restarts."""

    def get(self, path: str) -> str | None:
        """Return the last good text of a file."""

    def paths(self) -> Iterable[str]:
        """Return the files of which a text is kept."""

    def put(self, path: str, text: str) -> None:
        """Remember the last good text of a file."""

    def forget(self, path: str) -> None:
        """Forget a file."""


class Judged(Struct, frozen=True):
    """One file: what is in force of it, and what is wrong with its present text.

    `compiled` is None where nothing of it was ever good. `text` is the present text, for carets.
    """

    path: str
    text: str
    compiled: Compiled | None
    diagnostics: tuple[Diagnostic, ...]
    present: bool  # whether the present text is the one in force

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """Return the errors among the diagnostics."""
        return tuple(d for d in self.diagnostics if d.is_error)


class World(Struct, frozen=True):
    """All rules in force, the files they came from, and every error as a line of text."""

    rules: RuleSet
    files: tuple[Judged, ...]
    errors: tuple[str, ...]

    @property
    def views(self) -> tuple[FileView, ...]:
        """Return the files as they are shown."""
        return tuple(map(_view, self.files))


def _view(file: Judged) -> FileView:
    path, errors = printable(file.path), file.errors
    if not errors:
        return FileView(path, True)
    reports = [render(file.path, file.text, error) for error in errors[:REPORTED]]
    if more := len(errors) - len(reports):
        reports.append(f"… and {more} more; `steadyd check` tells all")
    stands = "Nothing of it is in force."
    if file.compiled is not None:
        stands = (
            "Its other rules are in force." if file.present else "Its last good text is in force."
        )
    return FileView(path, False, one_line(file.path, errors[0]), "\n".join(reports), stands)


class RuleFiles:
    """The rule files of some folders. Remembers what it read, and what was good of it."""

    def __init__(
        self,
        folders: Sequence[str],
        catalogue: MetricCatalogue,
        last_good: LastGood | None = None,
        defaults: CheckParams | None = None,
    ) -> None:
        self.views: tuple[FileView, ...] = ()
        self._folders, self._catalogue = tuple(folders), catalogue
        self._defaults = defaults or CheckParams()
        self._last_good = last_good
        self._good: dict[str, str] = {}
        self._parsed: dict[str, tuple[str, tree.File]] = {}
        self._compiled: dict[str, tuple[str, Collection[str] | None, Compiled]] = {}

    def read(self, routes: Collection[str] | None) -> World:
        """Read all files now; `routes` None: they are not known, so that any is good."""
        names = None if routes is None else frozenset(routes)
        known = Known(self._catalogue, names, self._defaults)
        paths, troubles = find(self._folders)
        unread = tuple(trouble.path + "/" for trouble in troubles if trouble.unread)
        paths += sorted(path for path in self._kept() if path.startswith(unread))
        files = [self._judge(path, known) for path in paths]
        self._drop(set(paths))
        merged = merge(f.compiled for f in files if f.compiled is not None)
        found = merged.diagnostics
        files = [
            replace(f, diagnostics=(*f.diagnostics, *found.get(f.path, ()))) if f.present else f
            for f in files
        ]
        files += [Judged(t.path, "", None, (t.diagnostic,), present=False) for t in troubles]
        errors = tuple(one_line(f.path, error) for f in files for error in f.errors)
        world = World(merged.rules, tuple(files), errors)
        self.views = world.views
        return world

    def _judge(self, path: str, known: Known) -> Judged:
        try:
            text, _ = read_text(path)
        except Refused as refused:
            return self._fall_back(path, "", (Diagnostic(Level.ERROR, 1, 1, str(refused)),), known)
        file = self._parse(path, text)
        if file.bad:
            return self._fall_back(path, text, file.diagnostics, known)
        if self._good.get(path) != text:
            self._good[path] = text
            if self._last_good is not None:
                self._last_good.put(path, text)
        compiled = self._compile(path, text, file, known)
        return Judged(
            path, text, compiled, (*file.diagnostics, *compiled.diagnostics), present=True
        )

    def _fall_back(
        self, path: str, text: str, diagnostics: tuple[Diagnostic, ...], known: Known
    ) -> Judged:
        """Keep the last good text of a file in force."""
        if path not in self._good and self._last_good is not None:
            kept = self._last_good.get(path)
            if kept is not None and not parse_file(path, kept).bad:
                self._good[path] = kept
        good = self._good.get(path)
        compiled = None if good is None else self._compile(path, good, None, known)
        return Judged(path, text, compiled, diagnostics, present=False)

    def _parse(self, path: str, text: str) -> tree.File:
        cached = self._parsed.get(path)
        if cached is None or cached[0] != text:
            cached = self._parsed[path] = (text, parse_file(path, text))
        return cached[1]

    def _compile(self, path: str, text: str, file: tree.File | None, known: Known) -> Compiled:
        cached = self._compiled.get(path)
        if cached is None or cached[:2] != (text, known.routes):
            compiled = compile_file(path, file or parse_file(path, text), known)
            cached = self._compiled[path] = (text, known.routes, compiled)
        return cached[2]

    def _kept(self) -> set[str]:
        """Return the files of which there is a last good text."""
        return set(self._good).union(() if self._last_good is None else self._last_good.paths())

    def _drop(self, paths: set[str]) -> None:
        """Forget the files that are gone, also those that went while nobody looked."""
        for path in self._kept() - paths:
            self._good.pop(path, None)
            if self._last_good is not None:
                self._last_good.forget(path)
        for cache in (self._parsed, self._compiled):
            for path in cache.keys() - paths:
                del cache[path]


def parse_file(path: str, text: str) -> tree.File:
    """Return the parse of a text, by the words of the folder that its file is in."""
    return parse_jobs(text) if is_of_jobs(path) else parse(text)


def defaults_of(values: Mapping[str, str]) -> CheckParams:
    """Return what `[defaults]` of the configuration means. Raises ValueError."""
    report = Report(Places(""))
    given = [tree.Param(key, str(value), 0, 0) for key, value in values.items()]
    meaning = params.read(given, CheckParams(), report)
    for diagnostic in report.done():
        mend = f"; {diagnostic.help}" if diagnostic.help else ""
        raise ValueError(diagnostic.message + mend)
    return replace(meaning, given=())


def one_line(path: str, diagnostic: Diagnostic) -> str:
    """Return a diagnostic as one line with its mend."""
    mend = f"; {diagnostic.help}" if diagnostic.help else ""
    return diagnostic.at(path) + mend
