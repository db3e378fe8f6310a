"""steadyd why: every decision about a service, with the numbers it was made on."""

import argparse
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from steadyd.cli import fail
from steadyd.cli.client import Unreachable, add_options, ask, print_json, unreachable
from steadyd.cli.status import moment, since
from steadyd.cli.terminal import clean, paint, plain
from steadyd.exposition.human import measure, span

Json = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `why`."""
    parser.add_argument("name", metavar="NAME", help="a service, or host")
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and print. Exit 1 if nobody watches such a service."""
    try:
        answer = ask(args, f"/api/v1/why/{quote(args.name, safe='')}")
    except Unreachable as error:
        return unreachable(error)
    if answer.error:
        return fail(plain(answer.error), 1)
    if args.json:
        print_json(answer.data)
    else:
        print("\n".join(lines(answer.data, datetime.now(UTC))))
    return 0


def lines(why: Json, now: datetime) -> list[str]:
    """Return what is printed: the service, then each incident, newest first."""
    service = why["service"]
    found = [f"{clean(service['name'])}: {paint(service['state'])}"]
    if service["unit"]:
        pid = f", main pid {service['main_pid']}" if service["main_pid"] else ""
        found[0] += f", {clean(service['unit'])} of {clean(service['init'])}{pid}"
    if service["why"] or service["reason"]:
        found.append(f"  {clean(service['why'] or service['reason'])}")
    if not why["incidents"]:
        found.append("  no rule has fired")
    for incident in why["incidents"]:
        found += ["", *_incident(incident, now)]
    return found


def _incident(incident: Json, now: datetime) -> list[str]:
    metric = incident.get("metric", "")
    if incident["state"] == "open":
        how = f"{paint('open')} for {span(since(incident['opened_at'], now))}"
    else:
        end = moment(incident["closed_at"]) or now
        how = f"{incident['close_reason']} after {span(since(incident['opened_at'], end))}"
    source = f"  ({clean(incident['source'])})" if incident.get("source") else ""
    return [
        f"incident {incident['id']}: {paint(incident['severity'])}, {how}",
        f"  {clean(incident['rule'])}{source}",
        *(_event(event, metric) for event in incident["events"]),
    ]


def _event(event: Json, metric: str) -> str:
    at = (event["at"] or "").replace("T", " ").removesuffix("Z")
    numbers = ""
    if event["value"] is not None:
        numbers = f"  [{measure(metric, event['value'])}"
        if event["threshold"] is not None:
            numbers += f" against {measure(metric, event['threshold'])}"
        numbers += "]"
    return f"  {at}  {event['kind']:<12}  {clean(event['text'])}{numbers}"
