"""The command line: one module per command, imported only when it is chosen."""

import argparse
import importlib
import os
import sys
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Final

import steadyd

COMMANDS: Final = {
    "run": "the daemon",
    "demo": "the main job on one screen, without privileges",
    "check": "judge rule files",
    "fmt": "rule files in their usual dress",
    "lsp": "rule files in an editor: a language server",
    "import": "rules from the files of Inspeqtor or Monit",
    "services": "which unit each checked service resolves to, and why not",
    "init": "a first configuration and rules for the services of this host",
    "status": "services, open incidents, rule files, outbox",
    "top": "what services use, live",
    "why": "every decision about a service",
    "replay": "what rules would have done in the past",
    "show": "the last readings of a metric, with a curve",
    "export": "all numbers as JSON",
    "silence": "mute messages and verbs for a while",
    "deploy": "mute them around a deployment",
    "job-done": "tell that a recurring job ran",
    "reload": "read the rule files again",
    "test-alert": "send a test message through a route",
    "doctor": "what is dark, and the line that lights it",
    "grants": "the rights that the loaded rules need",
}


def main(argv: Sequence[str]) -> int:
    """Run the command that `argv` names; wrong use ends with SystemExit(2)."""
    module, args = _chosen(argv)
    return int(module.run(args))


def _chosen(argv: Sequence[str]) -> tuple[ModuleType, argparse.Namespace]:
    """Return a command and its options; the parser itself is not kept while the command runs."""
    name = next((word for word in argv if not word.startswith("-")), "")
    parser, modules = build({name})
    args = parser.parse_args(argv)
    if name not in modules:
        parser.error(f"unknown command {name}")
    return modules[name], args


def whole() -> argparse.ArgumentParser:
    """Return the parser of all commands, for manuals and completions."""
    return build(COMMANDS)[0]


def build(wanted: Container[str]) -> tuple[argparse.ArgumentParser, dict[str, ModuleType]]:
    """Return a parser, and the modules of the commands that are wanted: only these have options."""
    parser = argparse.ArgumentParser(
        prog="steadyd", description=steadyd.__doc__, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"steadyd {steadyd.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    modules = {}
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        if name in wanted:
            file = "import_" if name == "import" else name.replace("-", "_")
            modules[name] = importlib.import_module(f"steadyd.cli.{file}")
            modules[name].configure(command)
    return parser, modules


@contextmanager
def told() -> Iterator[None]:
    """Print inside: that the reader of a pipe has gone changes no verdict."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        hush()


def hush() -> None:
    """Print to nobody from now on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def fail(text: str, code: int) -> int:
    """Print one line for the user and return the exit code."""
    print(f"steadyd: {text}", file=sys.stderr)
    return code
