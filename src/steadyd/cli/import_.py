"""steadyd import: the same host's rules, from the files of Inspeqtor or Monit.

Exit 0 done, 1 a file could not be read or was bad, 2 wrong use. What has no translation is listed.
"""

import argparse
import glob
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from steadyd.cli import fail
from steadyd.importing.product import LEFT, RULES, Left, OutFile, Product
from steadyd.rulefiles.diagnostics import printable
from steadyd.rulefiles.reading import Refused, find, read_text

ETC: Final = "/etc/steadyd"
SHOWN: Final = 20  # lines of the summary


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `import`."""
    parser.add_argument("tool", choices=("inspeqtor", "monit"), help="what PATH belongs to")
    parser.add_argument("path", metavar="PATH", help="/etc/inspeqtor, or /etc/monit/monitrc")
    parser.add_argument(
        "--output", metavar="DIR", help="write files there (none is overwritten); else print them"
    )


def run(args: argparse.Namespace) -> int:
    """Convert and write."""
    if not os.path.exists(args.path):
        return fail(f"{printable(args.path)}: there is no such file or folder", 2)
    if args.tool == "inspeqtor" and not os.path.isdir(args.path):
        return fail(f"{printable(args.path)} is no folder; name the one of inspeqtor.conf", 2)
    if args.tool == "monit" and os.path.isdir(args.path):
        return fail(f"{printable(args.path)} is a folder; name the monitrc in it", 2)
    folder = os.path.join(os.path.abspath(args.output or ETC), RULES)
    product = (_inspeqtor if args.tool == "inspeqtor" else _monit)(args.path, folder)
    files = [*product.files, *_left(product.left)]
    if args.output:
        try:
            _write(Path(args.output), files)
        except OSError as error:
            return fail(
                f"{error.filename or args.output}: {error.strerror}; nothing is replaced", 2
            )
    else:
        print("\n".join(map(_printed, files)), end="")
    _summary(product, args.output)
    return 1 if product.errors else 0


def _inspeqtor(path: str, folder: str) -> Product:
    from steadyd.importing.inspeqtor import convert

    errors: list[str] = []
    read = _reader(errors)
    name = os.path.join(path, "inspeqtor.conf")
    conf = read(name) if os.path.lexists(name) else None
    found, troubles = find([path])
    jobs = os.path.join(path, "jobs.d")
    paths = [*found, *(find([jobs])[0] if os.path.isdir(jobs) else [])]
    errors += [t.diagnostic.at(t.path) for t in troubles if t.diagnostic.is_error]
    rules: dict[str, tuple[str, str]] = {}
    for each in dict.fromkeys(paths):
        text = read(each)
        if text is not None:
            new = os.path.basename(each)
            job = os.path.basename(os.path.dirname(each)) == "jobs.d"
            new = f"jobs.d/{new}" if job else new
            rules[f"services-{new}" if new in rules else new] = (each, text)
    made = convert(None if conf is None else (name, conf), rules, folder)
    return Product(made.files, made.left, (*errors, *made.errors))


def _monit(path: str, folder: str) -> Product:
    from steadyd.importing.monit import convert
    from steadyd.importing.monittests import Machine

    errors: list[str] = []
    read = _reader(errors)

    def include(pattern: str) -> list[tuple[str, str]]:
        paths = [each for each in sorted(glob.glob(pattern)) if os.path.isfile(each)]
        return [(each, text) for each in paths if (text := read(each)) is not None]

    text = read(path)
    if text is None:
        return Product((), (), tuple(errors))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    made = convert(path, text, include, folder, Machine(os.cpu_count() or 1, memory))
    return Product(made.files, made.left, (*errors, *made.errors))


def _reader(errors: list[str]) -> Callable[[str], str | None]:
    """Return what reads a file, and notes one that cannot be read."""

    def read(path: str) -> str | None:
        try:
            return read_text(path, strict=False)[0]
        except Refused as refused:
            errors.append(f"{printable(path)}: {refused}")
            return None

    return read


def _left(left: tuple[Left, ...]) -> list[OutFile]:
    if not left:
        return []
    head = "# What was not translated, or not as a whole: FILE:LINE: text: why.\n"
    return [OutFile(LEFT, head + "".join(f"# {each}\n" for each in left))]


def _printed(file: OutFile) -> str:
    if file.secret:
        return f"# file: {file.name} (0600) holds a secret: --output DIR writes it\n"
    return f"# file: {file.name}\n{file.text}"


def _write(folder: Path, files: list[OutFile]) -> None:
    """Write all files, or none if one of them is there. Raises OSError."""
    for file in files:
        if os.path.lexists(folder / file.name):
            raise FileExistsError(0, "is there already", str(folder / file.name))
    for file in files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = 0o600 if file.secret else 0o644
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, mode), "w", encoding="utf-8") as out:
            out.write(file.text)


def _summary(product: Product, output: str | None) -> None:
    say = [f"error: {error}" for error in product.errors]
    if product.left:
        where = os.path.join(output, LEFT) if output else "the end of the output"
        say.append(f"{len(product.left)} statements were not translated as a whole, see {where}:")
        say += [f"  {each}" for each in product.left[:SHOWN]]
        say += ["  …"] if len(product.left) > SHOWN else []
    for line in say:
        print(f"steadyd: {line}", file=sys.stderr)
    if output:
        done = f"steadyd check --config {os.path.join(output, 'steadyd.toml')}"
        print(f"{len(product.files)} files in {output}; look at them, then: {done}")
