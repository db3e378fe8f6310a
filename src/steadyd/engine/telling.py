"""Who is told what of an incident; each word to a route is a line of its story too."""

from msgspec.structs import replace

from steadyd.engine.silences import Silences
from steadyd.engine.subjects import Subjects
from steadyd.engine.turn import Turn
from steadyd.healing.ladder import Ladder
from steadyd.model.incident import Action, Incident, Line, LineKind
from steadyd.model.notification import DEFAULT_ROUTE, Notification, Occasion
from steadyd.model.rule import Alert, Rule


class Telling:
    """`routes` are the names that are configured."""

    def __init__(self, turn: Turn, subjects: Subjects, silences: Silences, ladder: Ladder) -> None:
        self.routes: frozenset[str] = frozenset()
        self._turn, self._subjects = turn, subjects
        self._silences, self._ladder = silences, ladder

    def route(self, name: str) -> str:
        """Return the route itself, or the default one if it is not configured."""
        return name if name in self.routes else DEFAULT_ROUTE

    def routes_of(self, rule: Rule) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return whom a rule tells as it opens, and what is to be remarked of that."""
        routes: dict[str, None] = {}
        remarks: list[str] = []
        for step in rule.steps:
            if isinstance(step, Alert) and not step.after:
                name, remark = self._route_of(rule, step)
                routes[name] = None
                remarks += remark
        return tuple(routes), tuple(remarks)

    def tell(
        self, what: Occasion, incident: Incident, rule: Rule | None, remarks: tuple[str, ...] = ()
    ) -> None:
        """Tell the routes of an incident, unless a silence mutes it."""
        silence = self._silences.muting(incident.service, incident.rule_key)
        if silence is not None:
            self.line(incident, LineKind.NOTIFICATION, f"{what}: muted by {silence}")
            return
        if self._subjects.is_stopped(incident.service):
            remarks = ("somebody stopped it; that is not undone", *remarks)
        self._send(what, incident, rule, self._ladder.of(incident), remarks)

    def closed(self, incident: Incident, rule: Rule | None, actions: tuple[Action, ...]) -> None:
        """Tell those who were told that it opened; no silence keeps them waiting."""
        self._send(Occasion.CLOSED, incident, rule, actions, ())

    def escalate(self, incident: Incident, rule: Rule, alert: Alert) -> Incident:
        """Tell one route more, as a later step wants; return the incident with that route."""
        route, remark = self._route_of(rule, alert)
        routes = tuple(dict.fromkeys((*incident.routes, route)))
        incident = replace(incident, routes=routes)
        lasted = f"it goes on since {_span(self._turn.now.wall - incident.opened_at)}"
        actions = self._ladder.of(incident)
        self._post(Occasion.ESCALATED, route, incident, rule, actions, (lasted, *remark))
        self.line(incident, LineKind.NOTIFICATION, f"escalated: to {route}")
        return incident

    def line(
        self, incident: Incident, kind: LineKind, text: str, value: float | None = None
    ) -> None:
        """Write a line of the story of an incident."""
        line = Line(incident.id, self._turn.now.wall, kind, text, value, incident.threshold)
        self._turn.out.lines.append(line)

    def _route_of(self, rule: Rule, alert: Alert) -> tuple[str, tuple[str, ...]]:
        wanted = alert.route or rule.params.owner or DEFAULT_ROUTE
        found = self.route(wanted)
        if found == wanted:
            return found, ()
        return found, (f"route {wanted} is not defined: told to the default route",)

    def _send(
        self,
        what: Occasion,
        incident: Incident,
        rule: Rule | None,
        actions: tuple[Action, ...],
        remarks: tuple[str, ...],
    ) -> None:
        for route in incident.routes:
            self._post(what, route, incident, rule, actions, remarks)
            self.line(incident, LineKind.NOTIFICATION, f"{what.replace('_', ' ')}: to {route}")

    def _post(
        self,
        what: Occasion,
        route: str,
        incident: Incident,
        rule: Rule | None,
        actions: tuple[Action, ...],
        remarks: tuple[str, ...],
    ) -> None:
        at = self._turn.now.wall
        told = Notification(what, route, at, incident, rule, actions, remarks)
        self._turn.out.notifications.append(told)


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
