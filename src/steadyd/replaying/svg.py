"""PURE: a replay as one picture: for each rule its curve, its limit, when it was open, its verbs.

Self-contained: no script, no font, no link. Every text in it may come from strangers.
"""

import html
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from math import isnan

from steadyd.exposition.human import measure
from steadyd.model.condition import Comparison, Forecast
from steadyd.replaying.recording import Column, Recording
from steadyd.replaying.story import Kind, Story, Told, spans

LARGEST = 200_000  # bytes
_WIDTH, _LEFT, _PLOT = 960, 12, 936
_ROW, _CURVE, _HEAD = 92, 48, 40
_DETAILS = (468, 234, 117, 58, 29)  # columns of a curve: fewer where there are many rules
_LONGEST = 128  # characters of a rule

_STYLE = (
    "svg{--ink:#1f2328;--dim:#656d76;--paper:#fff;--line:#0969da;--open:#cf222e;--limit:#9a6700}"
    "@media(prefers-color-scheme:dark){svg{--ink:#e6edf3;--dim:#8d96a0;--paper:#0d1117;"
    "--line:#4493f8;--open:#f85149;--limit:#d29922}}"
    "text{font:12px system-ui,sans-serif;fill:var(--ink)}.d{fill:var(--dim);font-size:11px}"
    ".p{fill:var(--paper)}.c{fill:none;stroke:var(--line)}"
    ".o{fill:var(--open);fill-opacity:.25}.v{fill:var(--open)}"
    ".s{fill:none;stroke:var(--open)}.l{stroke:var(--limit);stroke-dasharray:4 3}"
    ".b{stroke:var(--dim);stroke-opacity:.4}"
)


def svg(story: Story, recording: Recording) -> str:
    """Return the picture, at most LARGEST bytes of UTF-8."""
    rules = [told for told in story.rules if told.events or not told.rule.implicit]
    shown = len(rules)
    while True:
        for detail in _DETAILS:
            picture = _picture(story, recording, rules[:shown], len(rules), detail)
            if len(picture.encode()) <= LARGEST:
                return picture
        shown = shown * 3 // 4


def _picture(
    story: Story, recording: Recording, rules: Sequence[Told], count: int, detail: int
) -> str:
    height = _HEAD + _ROW * len(rules) + 24
    title = f"{_at(story.start)} to {_at(story.end)} UTC"
    left = count - len(rules)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' width="{_WIDTH}" height="{height}" role="img"><title>{_text(title)}</title>'
        f'<style>{_STYLE}</style><rect class="p" width="100%" height="100%"/>',
        f'<text x="{_LEFT}" y="24">{_text(title)}</text>',
    ]
    for number, told in enumerate(rules):
        row = "".join(_row(story, recording, told, detail))
        parts.append(f'<g transform="translate({_LEFT} {_HEAD + number * _ROW})">{row}</g>')
    if left:
        told_left = f"{left} more rules do not fit"
        parts.append(f'<text class="d" x="{_LEFT}" y="{height - 8}">{told_left}</text>')
    return "".join(parts) + "</svg>\n"


def _row(story: Story, recording: Recording, told: Told, detail: int) -> Iterator[str]:
    name = f"{told.rule.service}: {told.rule}"
    yield f'<text y="12">{_text(name)}</text>'
    top, bottom = 22, 22 + _CURVE
    yield f'<path class="b" d="M0 {bottom}H{_PLOT}"/>'
    yield from _curve(recording, told, detail, top)
    length = (story.end - story.start) or 1.0
    pixels = detail  # per row at most so many spans and marks
    places = _merged(
        (int((a - story.start) / length * pixels), int((b - story.start) / length * pixels))
        for a, b in spans(told, story.end)
    )
    for first, last in places:
        x, width = first * _PLOT / pixels, max(2.0, (last - first) * _PLOT / pixels)
        yield f'<rect class="o" x="{x:.4g}" y="{top}" width="{width:.4g}" height="{_CURVE}"/>'
    marks: dict[tuple[int, bool], str] = {}
    for event in told.events:
        if event.kind in (Kind.ACTED, Kind.SUPPRESSED, Kind.DEFERRED):
            place = int((event.at - story.start) / length * pixels)
            marks.setdefault((place, event.kind is Kind.ACTED), event.text)
    for (place, acted), text in marks.items():
        x = place * _PLOT / pixels
        kind = "v" if acted else "s"
        said = f"<title>{_text(text)}</title>"
        yield f'<path class="{kind}" d="M{x:.4g} {bottom}l-4 8h8z">{said}</path>'


def _curve(recording: Recording, told: Told, detail: int, top: int) -> Iterator[str]:
    leaf = next((x for x in told.rule.leaves if isinstance(x, Comparison | Forecast)), None)
    if leaf is None:
        return
    values = recording.series.get(told.rule.service, {}).get(leaf.metric)
    parts = list(_down(values, recording.ticks, detail)) if values is not None else []
    if not parts:
        yield f'<text class="d" y="{top + 20}">{_text(f"{leaf.metric}: no history")}</text>'
        return
    # an amount per second, or of a function, is no height on the curve of the metric itself
    plain = not leaf.amount.per and not (isinstance(leaf, Comparison) and leaf.over)
    limits = [leaf.amount.value] if plain else []
    low = min([least for _, least, _ in parts] + limits)
    high = max([most for _, _, most in parts] + limits)
    scale = _CURVE / ((high - low) or 1.0)

    def height(value: float) -> str:
        return f"{top + (high - value) * scale:.3g}"

    path, before, many = "", -2, min(detail, max(1, recording.ticks))
    for place, least, most in parts:
        x = f"{place * _PLOT / many:.4g}"
        path += ("L" if place == before + 1 else "M") + f"{x} {height(most)}"
        path += f"V{height(least)}"
        before = place
    yield f'<path class="c" d="{path}"/>'
    for limit in limits:
        yield f'<path class="l" d="M0 {height(limit)}H{_PLOT}"/>'
    metric = str(leaf.metric)
    said = f"{measure(metric, low)} to {measure(metric, high)}"
    yield f'<text class="d" x="{_PLOT}" y="{top - 2}" text-anchor="end">{_text(said)}</text>'


def _down(values: Column, ticks: int, detail: int) -> Iterator[tuple[int, float, float]]:
    """Yield the place, least and most of each part of a column in which something is known."""
    parts = min(detail, max(1, ticks))
    for part in range(parts):
        some = values[part * ticks // parts : (part + 1) * ticks // parts]
        known = [value for value in some if not isnan(value)]
        if known:
            yield part, min(known), max(known)


def _merged(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in places:
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _text(text: str) -> str:
    """Return a text that is nothing but text in XML, however long it was."""
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return html.escape("".join(c if c.isprintable() else "�" for c in short))


def _at(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S")
