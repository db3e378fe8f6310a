"""steadyd replay: what rules would have done in the past. Exit 0, 1 bad rules or no history."""

import argparse
import json
import sys
import time

from steadyd.cli import fail
from steadyd.cli.check import Entry, judge
from steadyd.cli.client import Unreachable, unreachable
from steadyd.cli.recordings import NoHistory, between, from_daemon, from_file, when, with_members
from steadyd.cli.terminal import clean
from steadyd.model.rule import RuleSet
from steadyd.probes.catalogue import CATALOGUE
from steadyd.replaying.recording import Recording
from steadyd.replaying.replay import replay
from steadyd.replaying.story import Story
from steadyd.rulefiles.amounts import BadNumber, duration
from steadyd.rulefiles.diagnostics import printable
from steadyd.rulefiles.judging import Known
from steadyd.rulefiles.merge import merge
from steadyd.zone import local_zone

STEP = 15.0  # seconds between two ticks
DAY = 86_400.0  # seconds that are asked of Prometheus without --start


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `replay`."""
    parser.add_argument("paths", nargs="+", metavar="RULES", help="rule files or folders")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--from", dest="file", metavar="FILE", help="a recording as JSON")
    source.add_argument("--prometheus", metavar="URL", help="a Prometheus that scrapes steadyd")
    parser.add_argument(
        "--start", metavar="T", help="RFC 3339, or an age such as 7d; of Prometheus: 1d"
    )
    parser.add_argument("--end", metavar="T", help="the same; the default is now")
    parser.add_argument("--step", metavar="DURATION", help="of Prometheus: the cycle (15s)")
    parser.add_argument("--host", metavar="NAME", help="of Prometheus: the label instance")
    parser.add_argument(
        "--format",
        choices=("text", "json", "svg"),
        default="text",
        help="form of the answer (text)",
    )
    parser.add_argument("--control", metavar="SOCKET", help="the daemon's control socket")


def run(args: argparse.Namespace) -> int:
    """Replay and print."""
    entries = judge(args.paths, Known(CATALOGUE, cycle=STEP))
    errors = list(_errors(entries))
    for line in errors:
        print(line, file=sys.stderr)
    if errors:
        return 1
    rules = merge(entry.compiled for entry in entries if entry.compiled).rules
    if not rules.rules:
        return fail("these files hold no rule for a service or the host", 2)
    try:
        recording = _recording(args, rules)
    except NoHistory as error:
        return fail(str(error), error.code)
    except Unreachable as error:
        return unreachable(error)
    rules = with_members(rules, recording.series)
    per_process = frozenset(metric.id for metric in CATALOGUE.metrics if metric.per_process)
    story = replay(rules, recording, per_process=per_process, zone=local_zone())
    _print(args.format, story, recording)
    return 0


def _errors(entries: list[Entry]) -> list[str]:
    return [
        printable(f"{entry.path}:{d.line}:{d.column}: error: {d.message}")
        for entry in entries
        for d in entry.diagnostics
        if d.is_error
    ]


def _recording(args: argparse.Namespace, rules: RuleSet) -> Recording:
    now = time.time()
    start = when(args.start, now) if args.start else None
    end = when(args.end, now) if args.end else None
    if start is not None and start >= (now if end is None else end):
        raise NoHistory("--start is not before --end")
    if args.step and not args.prometheus:
        raise NoHistory("--step is for --prometheus: other histories have a step of their own")
    if args.host and not args.prometheus:
        raise NoHistory("--host is for --prometheus: other histories are of one host")
    if args.prometheus:
        from steadyd.cli.prometheus import from_prometheus

        end = now if end is None else end
        start = end - DAY if start is None else start
        step = STEP if args.step is None else _step(args.step)
        return from_prometheus(args.prometheus, rules, start, end, step, args.host or "")
    found = from_file(args.file) if args.file else from_daemon(args, rules)
    return between(found, start, end)


def _step(text: str) -> float:
    try:
        return duration(text)
    except BadNumber as error:
        raise NoHistory(f"--step {clean(text)[:80]} {error}") from None


def _print(form: str, story: Story, recording: Recording) -> None:
    from steadyd.cli.replaytold import as_json, as_text

    if form == "json":
        print(json.dumps(as_json(story), ensure_ascii=True))
    elif form == "svg":
        from steadyd.replaying.svg import svg

        sys.stdout.flush()
        sys.stdout.buffer.write(svg(story, recording).encode())
    else:
        print("\n".join(as_text(story)))
