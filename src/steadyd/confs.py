"""An `inspeqtor.conf` as a file: read, understood, and what is wrong with it told."""

import logging

from msgspec import Struct

from steadyd.inspeqtor import Meaning, meaning
from steadyd.rulefiles.folder import one_line
from steadyd.rulefiles.inspeqtorconf import parse
from steadyd.rulefiles.reading import Refused, read_text

log = logging.getLogger(__name__)


class ConfFile(Struct, frozen=True):
    """What it means, None where it cannot be read or understood; errors are ready to print."""

    path: str
    meaning: Meaning | None
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def tell(self) -> None:
        """Log what stands in the way of what it says; it is in force otherwise."""
        for error in self.errors:
            log.error("%s", error)


def read_conf(path: str) -> ConfFile:
    """Read one, as carefully as a rule file."""
    try:
        text, _ = read_text(path)
    except Refused as refused:
        return ConfFile(path, None, (f"{path}: {refused}",))
    conf = parse(text)
    found = meaning(conf)
    errors = tuple(one_line(path, each) for each in found.diagnostics if each.is_error)
    warnings = tuple(one_line(path, each) for each in found.diagnostics if not each.is_error)
    return ConfFile(path, None if conf.bad else found, errors, warnings)
