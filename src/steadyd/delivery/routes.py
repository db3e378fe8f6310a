"""Where the names of routes lead."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from steadyd.model.notification import DEFAULT_ROUTE, Parcel, Target


class Routes:
    """Targets by route, and the URL behind each target. The URLs never leave this object's use."""

    def __init__(self, urls: Mapping[str, Sequence[str]], key: bytes) -> None:
        """Make the targets; their ids are hashes keyed with `key`, safe to store and to show."""
        self._urls: dict[str, str] = {}
        self.targets: dict[str, tuple[Target, ...]] = {}
        for name, some in urls.items():
            self.targets[name] = tuple(self._target(name, url, key) for url in some)

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the routes; one without targets is meant to tell nobody."""
        return frozenset(self.targets)

    @property
    def schemes(self) -> frozenset[str]:
        """Return the kinds of targets."""
        return frozenset(t.scheme for some in self.targets.values() for t in some)

    def to(self, route: str) -> tuple[Target, ...]:
        """Return the targets of a route, of the default route if there is no such route."""
        known = route if route in self.targets else DEFAULT_ROUTE
        return self.targets.get(known, ())

    def url(self, target: Target) -> str:
        """Return the URL of a target."""
        return self._urls[target.id]

    def url_of(self, parcel: Parcel) -> str | None:
        """Return the URL of a parcel's target, or of what replaced it in its route."""
        if parcel.target in self._urls:
            return self._urls[parcel.target]
        instead = self.to(parcel.route)
        return self.url(instead[0]) if instead else None

    def _target(self, route: str, url: str, key: bytes) -> Target:
        id_ = hmac.new(key, url.encode(), hashlib.sha256).hexdigest()[:16]
        self._urls[id_] = url
        return Target(id_, route, url.partition("://")[0])
