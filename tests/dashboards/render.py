"""Draw a board as one page of HTML without scripts, and as a picture with chromium.

It is not Grafana: it follows places, kinds, units, colours, names, mappings and the two
transformations that our boards use, well enough for a person to look at.
"""

import html
import math
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.dashboards.grafana import (
    Board,
    PrometheusError,
    Query,
    Series,
    View,
    legend,
)

CHROMIUM = (
    *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *(
        "--no-first-run",
        "--hide-scrollbars",
        "--force-device-scale-factor=0.8",
        "--disable-background-networking",
    ),
    *("--disable-component-update", "--disable-sync"),
)
PALETTE = (
    *("#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C"),
    *("#5794F2", "#B877D9", "#56A64B", "#E0B400", "#3274D9"),
)
COLOURS = {
    "green": "#56A64B",
    "light-green": "#96D98D",
    "red": "#E02F44",
    "dark-red": "#C4162A",
    "orange": "#FF9830",
    "yellow": "#FADE2A",
    "blue": "#5794F2",
    "purple": "#B877D9",
    "text": "#9fa7b3",
}
WIDTH, ROW = 1600, 36
STYLE = """
body{background:#111217;color:#ccccdc;font:12px 'DejaVu Sans',sans-serif;margin:0;width:1600px}
.p{position:absolute;background:#181b1f;border:1px solid #2c3235;overflow:hidden}
.p h3{font-size:12px;margin:4px 8px;font-weight:600;white-space:nowrap}
.row{position:absolute;font-size:14px;font-weight:600;padding:8px}
.l{padding:0 8px;height:32px;overflow:hidden;font-size:10px}
.l span{margin-right:10px;white-space:nowrap}
.l u{display:inline-block;width:9px;height:3px;margin-right:4px}
.s{display:flex;align-items:center;justify-content:center;height:calc(100% - 24px);color:#fff;
font-size:30px;font-weight:600}
.b{display:flex;align-items:center;font-size:11px;margin:3px 8px}
.b i{font-style:normal;width:45%;white-space:nowrap;overflow:hidden}
.b u{background:#5794F2;height:14px;margin-right:6px}
table{border-collapse:collapse;font-size:11px;width:100%}
td,th{text-align:left;border-bottom:1px solid #2c3235;padding:2px 6px;white-space:nowrap}
.n{color:#888;text-align:center;padding-top:20px}.e{color:#F2495C;padding:8px}
h1{font-size:16px;margin:0;padding:10px}.v{padding:0 10px;color:#999}
"""


def page(view: View, board: Board, *, opened: bool = False) -> tuple[str, int]:
    """Return the page and its height in pixels; `opened`: what is in collapsed rows as well."""
    boxes, drawn, shift, height = list[str](), _Drawing(view, board), 0, 0
    for panel in board["panels"]:
        top = shift + panel["gridPos"]["y"]
        if panel["type"] != "row":
            some = [panel]
        else:
            sign = "▾" if opened or not panel["collapsed"] else "▸"
            style = f"top:{56 + top * ROW}px"
            boxes.append(f'<div class=row style="{style}">{sign} {_text(panel["title"])}</div>')
            height = max(height, top + 1)
            some = panel["panels"] if opened else []
        bottom = height
        for each in some:
            for copy, only in drawn.copies(each):
                place = copy["gridPos"]
                boxes.append(drawn.box(copy, place["y"] + shift, only))
                bottom = max(bottom, place["y"] + shift + place["h"])
        if panel["type"] == "row":
            shift += bottom - height  # in the file a collapsed row takes one line
        height = bottom
    pixels = 56 + height * ROW + 12
    chosen = "   ".join(
        f"{name} = {(variable.raw and 'All') or ', '.join(variable.values)}"
        for name, variable in view.variables.items()
    )
    head = f"<h1>{_text(board['title'])}</h1><div class=v>{_text(chosen)}</div>"
    text = f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>"
    return f"{text}<body style='height:{pixels}px'>{head}{''.join(boxes)}", pixels


def picture(text: str, height: int, path: Path) -> None:
    """Let chromium draw a page."""
    with tempfile.TemporaryDirectory(prefix="pic") as folder:
        file = Path(folder, "page.html")
        file.write_text(text, "utf-8")
        subprocess.run(
            [*CHROMIUM, f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{height}",
             f"--screenshot={path}", file.as_uri()],
            check=True, timeout=120, capture_output=True,
        )  # fmt: skip


class _Drawing:
    def __init__(self, view: View, board: Board) -> None:
        self.view, self.marks = view, list[tuple[float, str]]()
        for each in board["annotations"]["list"]:
            if each["enable"]:
                colour = COLOURS[each["iconColor"]]
                for series in view.run(Query("", "", each["expr"])):
                    self.marks += ((at, colour) for at in _begins(series, view.step()))

    def copies(self, panel: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, str]]]:
        """Return a panel as often as its variable has values."""
        name = panel.get("repeat")
        if not name:
            return [(panel, {})]
        place, found = panel["gridPos"], []
        for n, value in enumerate(self.view.variables[name].values):
            across = 24 // place["w"]
            here = {
                **place,
                "x": n % across * place["w"],
                "y": place["y"] + n // across * place["h"],
            }
            found.append(({**panel, "gridPos": here}, {name: value}))
        return found

    def box(self, panel: Mapping[str, Any], top: int, only: Mapping[str, str] | None = None) -> str:
        place, kept = panel["gridPos"], dict(self.view.variables)
        for name, value in (only or {}).items():
            self.view.variables[name] = type(kept[name])([value], kept[name].multi)
        title = self.view.filled(panel["title"], 1)
        width, height = place["w"] * WIDTH // 24 - 6, place["h"] * ROW - 6
        try:
            body = self._body(panel, width - 8, height - 30)
        except PrometheusError as error:
            body = f"<div class=e>{_text(error)}</div>"
        self.view.variables = kept
        left = place["x"] * WIDTH // 24 + 2
        style = f"left:{left}px;top:{56 + top * ROW + 2}px;width:{width}px;height:{height}px"
        return f'<div class=p style="{style}"><h3>{_text(title)}</h3>{body}</div>'

    def _body(self, panel: Mapping[str, Any], width: int, height: int) -> str:
        asked = []
        for target in panel["targets"]:
            query = Query(
                "",
                "",
                target["expr"],
                instant=bool(target.get("instant")),
                interval=panel.get("interval") or "",
            )
            asked.append((target, self.view.run(query)))
        named = [
            (legend(target.get("legendFormat") or "", series.labels), series, target["refId"])
            for target, found in asked
            for series in found
        ]
        if not named:
            none = panel["fieldConfig"]["defaults"].get("noValue", "")
            return f"<div class=n>{_text(none or 'No data')}</div>"
        match panel["type"]:
            case "stat":
                return _number(panel, named[0][1])
            case "table":
                return _table(panel, [(t["refId"], found) for t, found in asked])
            case "state-timeline":
                return self._timeline(panel, named, width, height)
            case "bargauge":
                return _ranking(panel, named)
            case _:
                return self._graph(panel, named, width, height)

    def _x(self, at: float, width: float) -> float:
        return (at - self.view.start) / (self.view.end - self.view.start) * width

    def _clock(self, left: int, width: int, y: int) -> str:
        ticks = max(2, width // 120)
        span = self.view.end - self.view.start
        return "".join(
            f'<text x="{left + width * n / ticks:.0f}" y="{y}" text-anchor="middle">'
            f"{time.strftime('%H:%M:%S', time.gmtime(self.view.start + span * n / ticks))}</text>"
            for n in range(1, ticks)
        )

    def _timeline(
        self, panel: Mapping[str, Any], named: Sequence[Any], width: int, height: int
    ) -> str:
        words = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
        each = min(26, (height - 40) // len(named))
        left = min(230, max(len(name) for name, *_ in named) * 7 + 16)
        step = self.view.step()
        across = width - left - 8
        wide = across * step / (self.view.end - self.view.start) + 0.6
        out = [f'<svg width="{width}" height="{height - 18}" font-size="10" fill="#9aa">']
        for n, (name, series, _) in enumerate(named):
            middle = n * each + each / 2 + 3
            out.append(f'<text x="{left - 6}" y="{middle}" text-anchor="end">{_text(name)}</text>')
            for at, value in series.points:
                colour = COLOURS[words[f"{value:g}"]["color"]]
                x = left + self._x(at, across)
                out.append(
                    f'<rect x="{x:.1f}" y="{n * each + 1}" width="{wide:.1f}"'
                    f' height="{each - 3}" fill="{colour}"/>'
                )
        out.append(self._clock(left, across, height - 22))
        keys = "".join(
            f'<span><u style="background:{COLOURS[w["color"]]};height:9px"></u>{w["text"]}</span>'
            for w in words.values()
        )
        return f"{''.join(out)}</svg><div class=l>{keys}</div>"

    def _graph(
        self, panel: Mapping[str, Any], named: Sequence[Any], width: int, height: int
    ) -> str:
        defaults = panel["fieldConfig"]["defaults"]
        styles = _overrides(panel)
        unit, left, across, tall = defaults["unit"], 80, width - 88, height - 60
        lines = []
        for n, (name, series, ref) in enumerate(named):
            style = styles.get(ref, {})
            sign = -1 if style.get("custom.transform") == "negative-Y" else 1
            points = [(at, sign * v) for at, v in series.points if math.isfinite(v)]
            fixed = styles.get(name, {}).get("color", {}).get("fixedColor")
            colour = COLOURS.get(fixed, PALETTE[n % len(PALETTE)])
            lines.append((name, points, style, colour))
        custom = defaults.get("custom") or {}
        if (custom.get("stacking") or {}).get("mode") == "normal":
            lines = _stacked(lines)
        steps = defaults.get("thresholds", {}).get("steps", [])
        values = [v for _, points, _, _ in lines for _, v in points] or [0]
        low: float = defaults.get("min", min(0, *values))
        high: float = defaults.get("max") or max(*values, 0) * 1.05 or 1

        def y(value: float) -> float:
            return 6 + tall - (value - low) / (high - low) * tall

        out = [f'<svg width="{width}" height="{height - 34}" font-size="10" fill="#9aa">']
        for n in range(5):
            value = low + (high - low) * n / 4
            out.append(
                f'<line x1="{left}" x2="{width - 8}" y1="{y(value):.1f}" y2="{y(value):.1f}"'
                f' stroke="#2c3235"/><text x="{left - 4}" y="{y(value) + 3:.1f}"'
                f' text-anchor="end">{_amount(abs(value), unit)}</text>'
            )
        for step in steps[1:]:
            if low <= step["value"] <= high:
                place = f'y1="{y(step["value"]):.1f}" y2="{y(step["value"]):.1f}"'
                dash = f'stroke="{COLOURS[step["color"]]}" stroke-dasharray="8 8"'
                out.append(f'<line x1="{left}" x2="{width - 8}" {place} {dash}/>')
        out.append(self._clock(left, across, height - 38))
        for at, colour in self.marks:
            x = left + self._x(at, across)
            dots = 'stroke-dasharray="2 4" opacity=".55"'
            out.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{6 + tall}" stroke="{colour}" {dots}/>'
            )
        wide = (
            across * self.view.step(panel.get("interval") or "") / (self.view.end - self.view.start)
        )
        for _, points, style, colour in reversed(lines):
            if custom.get("drawStyle") == "bars":
                out += (
                    f'<rect x="{left + max(0, self._x(at, across) - wide * 0.9):.1f}"'
                    f' y="{y(v):.1f}"'
                    f' width="{wide * 0.8:.1f}" height="{y(0) - y(v):.1f}" fill="{colour}"/>'
                    for at, v in points
                )
                continue
            path, before = "", -math.inf
            for at, v in points:
                pen = "M" if at - before > 3 * self.view.step() else "L"
                path += f"{pen}{left + self._x(at, across):.1f} {y(v):.1f}"
                before = at
            dash = ' stroke-dasharray="6 4"' if "custom.lineStyle" in style else ""
            out.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.4"{dash}/>')
        keys = "".join(
            f'<span><u style="background:{colour}"></u>{_text(name)}</span>'
            for name, _, _, colour in lines
        )
        return f"{''.join(out)}</svg><div class=l>{keys}</div>"


def _begins(series: Series, step: float) -> list[float]:
    """Return where a series begins anew: Grafana draws one mark for what follows closely."""
    found, before = [], -math.inf
    for at, _ in series.points:
        if at - before > 1.5 * step:
            found.append(at)
        before = at
    return found


def _stacked(lines: Sequence[Any]) -> list[Any]:
    below: dict[float, float] = {}
    found = []
    for name, points, style, colour in lines:
        raised = [(at, v + below.get(at, 0)) for at, v in points]
        below |= dict(raised)
        found.append((name, raised, style, colour))
    return found


def _overrides(panel: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is set for a query (by its letter) or a series (by its name)."""
    return {
        each["matcher"]["options"]: {p["id"]: p["value"] for p in each["properties"]}
        for each in panel["fieldConfig"]["overrides"]
    }


def _number(panel: Mapping[str, Any], series: Series) -> str:
    defaults, value = panel["fieldConfig"]["defaults"], series.points[-1][1]
    if math.isnan(value):
        return f"<div class=n>{_text(defaults['noValue'])}</div>"
    text, colour = _shown(value, defaults)
    return f'<div class=s style="background:{colour}">{text}</div>'


def _shown(value: float | str, looks: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text and the colour of a value."""
    key = value if isinstance(value, str) else f"{value:g}"
    for mapping in looks.get("mappings") or ():
        if key in mapping["options"]:
            word = mapping["options"][key]
            return _text(word["text"]), COLOURS[word["color"]]
    if isinstance(value, str):
        return _text(value), ""
    colour = ""
    for step in (looks.get("thresholds") or {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            colour = COLOURS[step["color"]]
    return _amount(value, looks.get("unit", "short"), "{:.0f}"), colour


def _table(panel: Mapping[str, Any], asked: Sequence[tuple[str, Sequence[Series]]]) -> str:
    """Join what has the same labels (merge), then name and order the columns (organize)."""
    options = panel["transformations"][1]["options"]
    cells: dict[tuple[tuple[str, str], ...], dict[str, float | str]] = {}
    several = sum(bool(found) for _, found in asked) > 1
    for ref, found in asked:
        for series in found:
            labels = {k: v for k, v in series.labels.items() if k != "__name__"}
            row = cells.setdefault(tuple(sorted(labels.items())), dict(labels))
            row[f"Value #{ref}" if several else "Value"] = series.points[-1][1]
    order = sorted(options["indexByName"], key=options["indexByName"].__getitem__)
    order = [column for column in order if any(column in row for row in cells.values())]
    looks = _overrides(panel)
    names = options["renameByName"]
    sort = panel["options"]["sortBy"][0]
    key = next(column for column in order if names[column] == sort["displayName"])

    def place(row: Mapping[str, Any]) -> tuple[bool, Any]:
        return key not in row, row.get(key, 0)

    ordered = sorted(cells.values(), key=place, reverse=sort["desc"])
    head = "".join(f"<th>{_text(names[column])}</th>" for column in order)
    body = "".join(f"<tr>{_row(row, order, names, looks)}</tr>" for row in ordered)
    return f"<table><tr>{head}</tr>{body}</table>"


def _row(
    row: Mapping[str, Any],
    order: Sequence[str],
    names: Mapping[str, str],
    looks: Mapping[str, Mapping[str, Any]],
) -> str:
    found = ""
    for column in order:
        text, colour = ("", "")
        if column in row:
            text, colour = _shown(row[column], looks.get(names[column], {}))
        found += f'<td style="color:{colour}">{text}</td>'
    return found


def _ranking(panel: Mapping[str, Any], named: Sequence[Any]) -> str:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    values = [(name, series.points[-1][1]) for name, series, _ in named]
    most = max((v for _, v in values), default=1) or 1
    return "".join(
        f'<div class=b><i>{_text(name)}</i><u style="width:{40 * v / most:.0f}%"></u>'
        f"{_amount(v, unit)}</div>"
        for name, v in values
    )


def _amount(value: float, unit: str, form: str = "{:.3g}") -> str:
    if unit in ("bytes", "Bps"):
        names = ["B", "KiB", "MiB", "GiB", "TiB"]
        place = min(4, max(0, int(math.log(abs(value), 1024)))) if abs(value) >= 1 else 0
        return f"{form.format(value / 1024**place)} {names[place]}{'/s' if unit == 'Bps' else ''}"
    if unit == "percentunit":
        return f"{form.format(value * 100)}%"
    if unit == "s":
        for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 0.001)):
            if abs(value) >= size:
                return f"{form.format(value / size)} {name}"
        return f"{value * 1e6:.3g} µs" if value else "0 s"
    text = form.format(value) if abs(value) < 1000 else f"{value / 1000:.3g} K"
    return text + (f" {unit.removeprefix('suffix:')}" if unit.startswith("suffix:") else "")


def _text(text: object) -> str:
    return html.escape(re.sub(r"127\.0\.0\.1:(\d+)", r"host:\1", str(text)))
