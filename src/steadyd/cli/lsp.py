"""steadyd lsp: rule files in an editor, over standard input and output."""

import argparse
import logging
import sys

from steadyd.cli import fail
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.judging import Known


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `lsp`."""
    parser.add_argument("--config", metavar="FILE", help="configuration, for routes and defaults")
    parser.add_argument("--stdio", action="store_true", help="what it does anyway")


def run(args: argparse.Namespace) -> int:
    """Serve one editor until it hangs up."""
    try:
        from steadyd.cli.language import make
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol"):
            raise
        return fail("lsp wants pygls, which is an extra: pip install 'steadyd[lsp]'", 2)
    from steadyd.settings import SettingsError

    try:
        known = what_is_known(args.config)
    except SettingsError as error:
        return fail(str(error), 2)
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
    make(known).start_io()
    return 0


def what_is_known(config: str | None) -> Known:
    """Return what files are held against. Raises SettingsError for a file that was named.

    The one at its default place may be bad: then routes and defaults are not known.
    """
    from steadyd.rulefiles.folder import defaults_of
    from steadyd.settings import Settings, SettingsError, load

    try:
        settings = load(config)
    except SettingsError as error:
        if config is not None:
            raise
        fail(str(error), 0)
        settings = Settings()
    routes = frozenset(settings.routes) if settings.path else None
    return Known(CATALOGUE, routes, defaults_of(settings.defaults), settings.cycle_seconds)
