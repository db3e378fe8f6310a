"""The language server: what an editor asks, answered by the parser, the catalogue, the formatter.

Only `steadyd lsp` imports it, since pygls is an extra.
"""

import re
from bisect import bisect_right
from typing import Final

from lsprotocol import types
from pygls.lsp.server import LanguageServer

import steadyd
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles import editing
from steadyd.rulefiles.compile import compile_file
from steadyd.rulefiles.diagnostics import Diagnostic, Level
from steadyd.rulefiles.format import formatted
from steadyd.rulefiles.judging import Known
from steadyd.rulefiles.parser import parse, parse_jobs
from steadyd.rulefiles.reading import BOM, LARGEST, is_of_jobs

_LINE_END: Final = re.compile("\r\n|\n|\r")
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")  # two code units of UTF-16
_WORD: Final = re.compile(r"[^\s,()<>]+|.", re.DOTALL)
_LONGEST: Final = 200  # characters that are underlined

_KINDS: Final = {
    editing.Sort.METRIC: types.CompletionItemKind.Field,
    editing.Sort.KEY: types.CompletionItemKind.Property,
    editing.Sort.ACTION: types.CompletionItemKind.Function,
    editing.Sort.ROUTE: types.CompletionItemKind.Value,
    editing.Sort.WORD: types.CompletionItemKind.Keyword,
}
Changed = (
    types.DidOpenTextDocumentParams
    | types.DidChangeTextDocumentParams
    | types.DidSaveTextDocumentParams
)


class Text:
    """A document, and how the protocol counts in it: lines, and code units of UTF-16, from 0.

    `of_jobs`: it is in a folder `jobs.d`, whose files have words of their own.
    """

    def __init__(self, text: str, of_jobs: bool = False) -> None:
        self.of_jobs = of_jobs
        self.text = text.removeprefix(BOM)
        self.too_large = len(self.text) > LARGEST
        self._before = len(text) - len(self.text)
        self._lines = [0, *(found.end() for found in _LINE_END.finditer(self.text))]
        self._wide = _ASTRAL.search(self.text) is not None

    def position(self, offset: int) -> types.Position:
        """Return the place of an offset."""
        line = bisect_right(self._lines, offset) - 1
        start = self._lines[line]
        units = offset - start
        if self._wide:
            units += len(_ASTRAL.findall(self.text, start, offset))
        return types.Position(line, units + (0 if line else self._before))

    def offset(self, place: types.Position) -> int:
        """Return the offset of a place; one outside the text is moved into it."""
        if place.line >= len(self._lines):
            return len(self.text)
        start, *rest = self._lines[place.line : place.line + 2]
        end = rest[0] if rest else len(self.text)
        end = start + len(self.text[start:end].rstrip("\r\n"))
        units = max(0, place.character - (0 if place.line else self._before))
        if not self._wide:
            return min(start + units, end)
        raw = self.text[start:end].encode("utf-16-le", "surrogatepass")[: units * 2]
        return start + len(raw.decode("utf-16-le", "ignore"))

    def range(self, start: int, end: int) -> types.Range:
        """Return what lies between two offsets."""
        return types.Range(self.position(start), self.position(end))

    def whole(self) -> types.Range:
        """Return the place of everything."""
        return types.Range(types.Position(0, 0), self.position(len(self.text)))


class Server(LanguageServer):
    """Answers one editor; `known` is what files are held against."""

    def __init__(self, known: Known) -> None:
        super().__init__("steadyd", steadyd.__version__)
        self.known = known

    def text_of(self, document: types.TextDocumentIdentifier) -> Text:
        """Return a document that the editor has opened."""
        found = self.workspace.get_text_document(document.uri)
        return Text(found.source, is_of_jobs(found.path or ""))

    def tell(self, uri: str, found: list[types.Diagnostic]) -> None:
        """Show what was found in place of what was before."""
        self.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri, found))


def make(known: Known) -> Server:
    """Return a server with all that it can do."""
    server = Server(known)
    for event in (
        types.TEXT_DOCUMENT_DID_OPEN,
        types.TEXT_DOCUMENT_DID_CHANGE,
        types.TEXT_DOCUMENT_DID_SAVE,
    ):
        server.feature(event)(_judge)
    server.feature(types.TEXT_DOCUMENT_DID_CLOSE)(_close)
    triggers = types.CompletionOptions(trigger_characters=[":", " "])
    server.feature(types.TEXT_DOCUMENT_COMPLETION, triggers)(_complete)
    server.feature(types.TEXT_DOCUMENT_HOVER)(_hover)
    server.feature(types.TEXT_DOCUMENT_FORMATTING)(_format)
    return server


def _judge(server: Server, params: Changed) -> None:
    document = params.text_document
    text = server.text_of(types.TextDocumentIdentifier(document.uri))
    found = _diagnostics(text, document.uri, server.known)
    server.tell(document.uri, [_diagnostic(text, each) for each in found])


def _close(server: Server, params: types.DidCloseTextDocumentParams) -> None:
    server.tell(params.text_document.uri, [])


def _complete(server: Server, params: types.CompletionParams) -> types.CompletionList:
    text = server.text_of(params.text_document)
    if text.too_large or text.of_jobs:
        return types.CompletionList(False, [])
    offset = text.offset(params.position)
    routes = server.known.routes or ()
    found = editing.proposals(text.text, offset, CATALOGUE, routes)
    return types.CompletionList(False, [_item(text, each, offset) for each in found])


def _hover(server: Server, params: types.HoverParams) -> types.Hover | None:
    text = server.text_of(params.text_document)
    if text.too_large or text.of_jobs:
        return None
    found = editing.hover(text.text, text.offset(params.position), CATALOGUE)
    if found is None:
        return None
    told = types.MarkupContent(types.MarkupKind.Markdown, found.text)
    return types.Hover(told, text.range(found.start, found.end))


def _format(server: Server, params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
    text = server.text_of(params.text_document)
    if text.too_large or text.of_jobs or parse(text.text).bad:
        return None
    dressed = formatted(text.text)
    return [] if dressed == text.text else [types.TextEdit(text.whole(), dressed)]


def _diagnostics(text: Text, path: str, known: Known) -> tuple[Diagnostic, ...]:
    """Return what `steadyd check` says of a document."""
    if text.too_large:
        return (Diagnostic(Level.ERROR, 1, 1, "the file is larger than 1 MiB"),)
    file = parse_jobs(text.text) if text.of_jobs else parse(text.text)
    if file.bad:
        return file.diagnostics
    return (*file.diagnostics, *compile_file(path, file, known).diagnostics)


def _diagnostic(text: Text, found: Diagnostic) -> types.Diagnostic:
    start = found.offset
    word = _WORD.match(text.text, start, start + _LONGEST)
    severity = types.DiagnosticSeverity
    return types.Diagnostic(
        text.range(start, word.end() if word else start),
        f"{found.message}\n{found.help}" if found.help else found.message,
        severity=severity.Error if found.is_error else severity.Warning,
        source="steadyd",
    )


def _item(text: Text, found: editing.Proposal, offset: int) -> types.CompletionItem:
    edit = types.TextEdit(text.range(found.start, offset), found.text)
    kind, help = _KINDS[found.sort], found.help or None
    return types.CompletionItem(found.text, kind=kind, documentation=help, text_edit=edit)
