"""steadyd fmt: rule files in their usual dress. Exit 0 done, 1 errors or (--check) work left."""

import argparse
import contextlib
import difflib
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence

from steadyd.cli import fail
from steadyd.rulefiles.diagnostics import printable, render
from steadyd.rulefiles.format import formatted
from steadyd.rulefiles.jobs import scan as scan_jobs
from steadyd.rulefiles.parser import parse, parse_jobs
from steadyd.rulefiles.reading import BOM, LARGEST, Refused, find, is_of_jobs, read_text

STDIN = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fmt`."""
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="files or folders; - reads standard input"
    )
    parser.add_argument("--check", action="store_true", help="write nothing, tell what would be")
    parser.add_argument("--diff", action="store_true", help="write nothing, show the changes")


def run(args: argparse.Namespace) -> int:
    """Format each file; go on behind one that cannot be."""
    code = 0
    for path in _files(args.paths):
        try:
            text = _stdin() if path == STDIN else read_text(path)[0]
            code = max(code, _format(path, text, args))
        except Refused as refused:
            print(f"{printable(path)}:1:1: error: {refused}", file=sys.stderr)
            code = 1
        except OSError as error:
            code = fail(f"{printable(path)} cannot be written: {error.strerror}", 1)
    return code


def _files(paths: Sequence[str]) -> Iterator[str]:
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        found, troubles = find([path])
        yield from found
        for trouble in troubles:
            print(trouble.diagnostic.at(trouble.path), file=sys.stderr)


def _stdin() -> str:
    data = sys.stdin.buffer.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Refused("the text is larger than 1 MiB")
    try:
        return data.decode("utf-8").removeprefix(BOM)
    except UnicodeDecodeError as error:
        raise Refused("the text is not UTF-8") from error


def _dressed(path: str, text: str) -> str | None:
    """Return a text in its usual dress, None for one with errors, which are told.

    Raises Refused.
    """
    of_jobs = is_of_jobs(path)
    file = parse_jobs(text) if of_jobs else parse(text)
    for error in file.diagnostics:
        if error.is_error:
            print(render(path, text, error), file=sys.stderr)
    if file.bad:
        return None
    dressed = formatted(text)
    if of_jobs and _words(dressed) != _words(text):  # there, `#` may be part of a word
        raise Refused("the file cannot be formatted without a change of its meaning")
    return dressed


def _format(path: str, text: str, args: argparse.Namespace) -> int:
    dressed = _dressed(path, text)
    if dressed is None:
        return 1
    same = dressed == text
    if args.diff and not same:
        lines = _diff(path, text, dressed)
        if sys.stdout.isatty():  # which what is quoted in a rule could give orders
            lines = (printable(line[:-1]) + "\n" for line in lines)
        sys.stdout.writelines(lines)
    elif args.check and not same:
        print(f"{printable(path)} would be formatted")
    if args.check or args.diff:
        return 1 if args.check and not same else 0
    if path == STDIN:
        sys.stdout.write(dressed)
    elif not same:
        _write(os.path.realpath(path), dressed.encode(), lambda: read_text(path)[0] == text)
    return 0


def _words(text: str) -> list[str]:
    return scan_jobs(text).texts


def _diff(path: str, before: str, after: str) -> Iterator[str]:
    shown = printable(path)
    now, then = before.splitlines(keepends=True), after.splitlines(keepends=True)
    for line in difflib.unified_diff(now, then, f"{shown} (now)", f"{shown} (formatted)"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _write(path: str, data: bytes, is_unchanged: Callable[[], bool]) -> None:
    """Put a new file in the place of an old one, with its mode and owner.

    Raises OSError; Refused if the old one was changed since it was read.
    """
    folder, name = os.path.split(path)
    draft = os.path.join(folder, f".{name[:200]}.{secrets.token_hex(4)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(draft, flags, 0o600)
    try:
        with open(fd, "wb") as file:
            old = os.lstat(path)
            file.write(data)
            file.flush()
            new = os.fstat(fd)
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
                os.fchown(fd, old.st_uid, old.st_gid)
            os.fchmod(fd, old.st_mode & 0o7777)
            os.fsync(fd)
        if not is_unchanged():
            raise Refused("the file was changed meanwhile; it is left as it is")
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
