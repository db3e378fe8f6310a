"""steadyd status: services, open incidents, rule files, outbox."""

import argparse
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from steadyd.cli import fail
from steadyd.cli.client import Unreachable, add_options, ask, print_json, unreachable
from steadyd.cli.keys import keys, lively
from steadyd.cli.terminal import clean, columns, cut, fold, paint, plain, table
from steadyd.exposition.human import measure, number, size, span

Json = dict[str, Any]

WATCH_SECONDS = 2.0
# ECMA-48 and xterm: another screen and back; to the corner; erase the rest of the line, of all
_ENTER, _LEAVE, _HOME, _REST, _BELOW = (
    "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l", "\x1b[H", "\x1b[K", "\x1b[J",
)  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `status`."""
    add_options(parser)
    parser.add_argument("--watch", action="store_true", help="show it for ever, on a terminal")


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    if args.watch:
        if args.json or not lively():
            return fail("--watch needs a terminal, and shows no JSON", 2)
        return _watch(args)
    try:
        answer = ask(args, "/api/v1/status")
    except Unreachable as error:
        return unreachable(error)
    if answer.error:
        return fail(plain(answer.error), 1)
    if args.json:
        print_json(answer.data)
    else:
        print("\n".join(lines(answer.data)))
    return 0


def _watch(args: argparse.Namespace) -> int:
    """Show the status anew every few seconds until `q` or Ctrl-C."""
    print(_ENTER, end="")
    try:
        with keys() as key:
            while key(WATCH_SECONDS if _shown(args) else 1.0) != "q":
                pass
    except KeyboardInterrupt:
        pass
    finally:
        print(_LEAVE, end="", flush=True)
    return 0


def _shown(args: argparse.Namespace) -> bool:
    """Draw what the daemon says now, as much as fits; False if it does not answer."""
    try:
        answer = ask(args, "/api/v1/status", deadline=5.0)
        found = fold(plain(answer.error), columns()) if answer.error else lines(answer.data)
    except Unreachable as error:
        answer, found = None, fold(str(error), columns())
    height = shutil.get_terminal_size().lines - 1
    if len(found) > height:
        found = [*found[: height - 1], f"… {len(found) - height + 1} lines more"]
    print(_HOME + "".join(f"{line}{_REST}\n" for line in found) + _BELOW, end="", flush=True)
    return answer is not None


def lines(status: Json) -> list[str]:
    """Return what is printed."""
    now = moment(status.get("at")) or datetime.now(UTC)
    services, incidents = status["services"], status["incidents"]
    active = sum(1 for each in services if each["state"] == "active")
    up = span(since(status["started_at"], now))
    parts = [
        f"{clean(status.get('hostname', ''))}: steadyd {clean(status['version'])}, up {up}",
        f"{active} of {len(services)} services active",
        number(len(incidents), "open incident"),
    ]
    found = _folded([", ".join(parts), *_troubles(status)])
    if services:
        found += ["", *_services(services, now), *_folded(_denied(services))]
    for incident in incidents:
        found += ["", *_folded(_incident(incident, now))]
    return found


def _folded(found: Iterable[str]) -> list[str]:
    return [part for line in found for part in fold(line, columns())]


def _denied(services: Iterable[Json]) -> list[str]:
    return [
        f"{paint('no right')}: {clean(service['name'])}: {clean(verb)}: {clean(why)}"
        for service in services
        for verb, why in service.get("denied", {}).items()
    ]


def moment(text: str | None) -> datetime | None:
    """Return the time that a text of the interface stands for."""
    return datetime.fromisoformat(text) if text else None


def since(text: str | None, now: datetime) -> float | None:
    """Return how many seconds ago that was."""
    at = moment(text)
    return None if at is None else (now - at).total_seconds()


def _services(services: Iterable[Json], now: datetime) -> list[str]:
    rows = []
    for service in services:
        metrics = service.get("metrics", {})
        rows.append(
            (
                service["name"],
                service["state"],
                span(since(service["since"], now)),
                size(metrics.get("memory:total_rss")),
                f"{metrics['process:count']:.0f}" if metrics.get("process:count") else "–",
                service["why"] or service["reason"] or "",
            )
        )
    return table(("SERVICE", "STATE", "SINCE>", "MEMORY>", "PROCESSES>", ""), rows)


def _incident(incident: Json, now: datetime) -> list[str]:
    metric, severity = incident.get("metric", ""), incident["severity"]
    what = clean(metric)
    if incident["value"] is not None:
        value, limit = incident["value"], incident["threshold"]
        what += f" {measure(metric, value)} (limit {measure(metric, limit)})"
    age = span(since(incident["opened_at"], now))
    head = f"{paint(severity)} {clean(incident['service'])}: {what}, open for {age}"
    if dark := incident.get("no_data_since"):
        head += f", no data since {clean(dark)}"
    acts = [
        f"  {act['verb']}: {paint(act['outcome'] or 'under way')}"
        + (f" ({clean(act['reason'])})" if act["reason"] else "")
        for act in incident["actions"]
    ]
    rule = clean(incident["rule"])
    return [head, f"  {rule}", *acts, f"  incident {incident['id']}"]


def _troubles(status: Json) -> list[str]:
    found = []
    if not status.get("ready", True):
        found.append("not ready: not all services have been looked up yet")
    if status.get("dry_run"):
        found.append("dry run: no verb is carried out")
    for each in status.get("silences", ()):
        what = clean(" ".join(each["services"])) or "everything"
        found.append(f"muted by a {clean(each['kind'])} until {clean(each['until'])}: {what}")
    found += [clean(text) for text in status.get("trouble", ())]
    found += [
        f"init {i['name']} does not answer: {clean(i['reason'])}"
        for i in status["inits"]
        if not i["up"]
    ]
    for file in status["files"]:
        if not file["ok"]:
            found += [
                f"{clean(file['path'])} has errors:",
                *_indented(file.get("report") or file["error"]),
            ]
    outbox, rules = status["outbox"], status["rules"]
    if rules["disabled"]:
        found.append(f"{rules['disabled']} of the rules disabled, {rules['loaded']} in force")
    if outbox["pending"]:
        age = span(outbox["oldest_age_seconds"])
        found.append(
            f"{number(outbox['pending'], 'message')} not delivered yet, the oldest for {age}"
        )
    if outbox["dead"]:
        found.append(f"{number(outbox['dead'], 'message')} given up")
    return found


def _indented(text: str | None) -> list[str]:
    """Return a report; what a mark stands under is cut, not folded, so that it stays there."""
    found = [f"  {plain(line)}" for line in (text or "").splitlines()]
    marks = [set(line) <= set(" ^~") for line in [*found, "no mark"]]
    return [
        cut(line, columns()) if mark or below else line
        for line, mark, below in zip(found, marks, marks[1:], strict=False)
    ]
