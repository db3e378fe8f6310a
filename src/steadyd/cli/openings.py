"""When the windows of rules open next, for `steadyd check`."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from steadyd.evaluation.windows import openings
from steadyd.model.condition import Window
from steadyd.model.rule import Source
from steadyd.rulefiles.compile import Compiled
from steadyd.rulefiles.diagnostics import printable
from steadyd.zone import local_zone


class Openings:
    """The next openings of the rules of one file, by the offset at which a rule begins."""

    def __init__(self, compiled: Compiled | None) -> None:
        self._windows: Mapping[int, tuple[Source, Window]] = {
            start: (rule.source, rule.window)
            for draft in (compiled.drafts if compiled else ())
            for rule, start in zip(draft.check.rules, draft.starts, strict=True)
            if rule.window is not None
        }

    def of(self, start: int) -> list[str] | None:
        """Return three times in the host's zone (RFC 3339), None for a rule without a window."""
        found = self._windows.get(start)
        return None if found is None else [at.isoformat() for at in _next(found[1])]

    def lines(self) -> list[tuple[str, str]]:
        """Return the places of rules with windows, and the same for people, also in UTC."""
        return [
            (f"{printable(source.path)}:{source.line}:{source.column}", _line(window))
            for source, window in self._windows.values()
        ]


@lru_cache(maxsize=256)
def _next(window: Window) -> list[datetime]:
    zone = local_zone()
    return [datetime.fromtimestamp(at, zone) for at in openings(window, time.time(), zone)]


def _line(window: Window) -> str:
    times = _next(window)
    if not times:
        return "the window does not open within the next weeks"
    return "opens next at " + ", ".join(
        f"{at:%a %Y-%m-%d %H:%M %Z} ({at.astimezone(UTC):%a %H:%M} UTC)" for at in times
    )
