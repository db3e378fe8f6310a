"""The rules and routes that are in force, and what is wrong with the files they come from."""

import asyncio
import logging
import time
from collections.abc import Callable

from steadyd.delivery.notifier import Notifier
from steadyd.delivery.routes import Routes
from steadyd.model.fact import Fact, RulesChanged
from steadyd.model.rule import HOST
from steadyd.model.service import is_glob
from steadyd.model.snapshot import FileView
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.folder import LastGood, RuleFiles, World, defaults_of
from steadyd.rulefiles.globs import expand
from steadyd.settings import Settings, SettingsError
from steadyd.watch import Watch

log = logging.getLogger(__name__)


class Reloading:
    """Reads everything again when asked; a bad file or configuration changes nothing.

    `config_error` is what is wrong with the configuration, "" if nothing is; `loaded_at` is the
    wall-clock time at which all was good last, 0 if never; `disabled` is how many rules are off.
    """

    def __init__(
        self,
        settings: Settings,
        kept: LastGood,
        key: bytes,
        notifier: Notifier,
        watch: Watch,
        tell: Callable[[Fact], None],
    ) -> None:
        """`kept` are the last good texts, `key` is that of the ids of targets."""
        self.config_error, self.loaded_at, self.disabled = "", 0.0, 0
        self._settings, self._key = settings, key
        self._files = RuleFiles(settings.rules, CATALOGUE, kept, defaults_of(settings.defaults))
        self._notifier, self._watch, self._tell = notifier, watch, tell
        self._errors: tuple[str, ...] = ()  # as they were logged
        # the rules as the files have them, and with the units of each glob
        self._loaded: RulesChanged | None = None
        self._in_force: RulesChanged | None = None

    @property
    def good(self) -> bool:
        """Tell whether everything was good when it was read last."""
        return not self._errors

    @property
    def views(self) -> tuple[FileView, ...]:
        """Return the files as they are shown."""
        return self._files.views

    async def read(self) -> tuple[World, tuple[str, ...]]:
        """Read all again and put it into force; return the rules, and everything that is wrong."""
        self._read_routes()
        names = self._notifier.routes.names
        world = await asyncio.to_thread(self._files.read, names)
        errors = (*world.errors, *([self.config_error] if self.config_error else []))
        await self._tell_errors(errors)
        self.disabled = world.rules.disabled
        self._take(RulesChanged(world.rules, names))
        return world, errors

    def regroup(self) -> None:
        """Other units are members of the globs than before."""
        if self._loaded is not None:
            self._take(self._loaded)

    def _take(self, loaded: RulesChanged) -> None:
        """Put rules into force; the same ones again cost nothing."""
        self._loaded = loaded
        checks = loaded.rules.checks
        self._watch.globs({c.service: c.params for c in checks if is_glob(c.service)})
        now = RulesChanged(expand(loaded.rules, self._watch.members), loaded.routes)
        if now == self._in_force:
            return
        self._in_force = now
        checks = now.rules.checks[::-1]
        self._watch.services({c.service: c.params for c in checks if c.service != HOST})
        self._tell(now)

    def _read_routes(self) -> None:
        self.config_error = ""
        try:
            settings = self._settings.again() if self._settings.path else self._settings
            self._notifier.routes = Routes(settings.targets(), self._key)
        except SettingsError as error:
            self.config_error = str(error)

    async def _tell_errors(self, errors: tuple[str, ...]) -> None:
        """Tell the default route once when the files become bad, and once when good again."""
        before, self._errors = self._errors, errors
        if not errors:
            self.loaded_at = time.time()
        for error in errors if errors != before else ():
            log.error("%s", error)
        if bool(before) == bool(errors):
            return
        if errors:
            told = ["a rule file or a route is wrong", *errors]
            told.append("What was good before stays in force.")
        else:
            told = ["rule files are good again", "All files are in force."]
        await self._notifier.tell("\n".join(told))
