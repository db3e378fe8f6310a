"""What the boards are made of: selectors, queries, panels with our defaults, and the frame."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = Builder[model.Panel]
Steps = Sequence[tuple[float | None, str]]
P = TypeVar("P", stat.Panel, timeseries.Panel, statetimeline.Panel, table.Panel, bargauge.Panel)

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "steadyd"
WIDTH = 24

# -- selectors

ON_HOSTS = 'job=~"$job", instance=~"$instance"'


def of_hosts(metric: str, *matchers: str) -> str:
    """Select a metric of the chosen hosts."""
    return f"{metric}{{{', '.join((ON_HOSTS, *matchers))}}}"


def of_services(metric: str, *matchers: str) -> str:
    """Select a metric of the chosen services."""
    return of_hosts(metric, 'name=~"$name"', *matchers)


def of_daemons(metric: str) -> str:
    """Select a metric that every job may have of steadyd's own processes."""
    return f"{of_hosts(metric)} and on (job, instance) {of_hosts('steadyd_build_info')}"


def unscraped() -> str:
    """Count the daemons that do not answer: a dead target has no build info, it once had one."""
    seen = f"present_over_time({of_hosts('steadyd_build_info')}[1d])"
    return f"(count({of_hosts('up')} == 0 and on (job, instance) {seen}) or vector(0))"


def last_gain(counter: str) -> str:
    """Give the time at which a counter rose last within the time range, to one step."""
    rose = f"{counter} > {counter} offset $__interval"
    return f"max_over_time(timestamp({rose})[$__range:$__interval])"


# -- colours

GOOD: Steps = ((None, "green"),)
BAD: Steps = ((None, "green"), (1, "red"))
DOUBTFUL: Steps = ((None, "green"), (1, "orange"))
NEUTRAL: Steps = ((None, "text"),)
CALM: Steps = ((None, "blue"),)
STATES = {
    "active": "green",
    "activating": "light-green",
    "reloading": "blue",
    "deactivating": "yellow",
    "inactive": "text",
    "failed": "red",
    "unknown": "purple",
}


def mapping(words: Mapping[str, tuple[str, str]]) -> model.ValueMap:
    """Show a value as a word: {value: (word, colour)}."""
    return model.ValueMap(
        {
            value: model.ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(words.items())
        }
    )


STATE_NUMBERS = mapping({str(n): (s, c) for n, (s, c) in enumerate(STATES.items(), 1)})
STATE_WORDS = mapping({state: (state, colour) for state, colour in STATES.items()})
ALERT_WORDS = mapping({"firing": ("firing", "red"), "pending": ("pending", "yellow")})


def state_number(by: str) -> str:
    """Give one series per service: the place of its state in STATES, from 1."""
    matchers = {f'state="{state}"': place for place, state in enumerate(STATES, 1)}
    each = (
        f"{of_services('steadyd_service_state', matcher)} * {place}"
        for matcher, place in matchers.items()
    )
    return f"sum by ({by}) ({' or '.join(each)})"


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Colour a value by the highest step that it reaches; None is the lowest."""
    made = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


# -- queries


def lines(expr: str, legend: str = "") -> prometheus.Dataquery:
    """Ask for series over the time range."""
    return prometheus.Dataquery().expr(expr).range().legend_format(legend or "__auto")


def now(expr: str, legend: str = "") -> prometheus.Dataquery:
    """Ask for the value at the end of the time range: what is gone has none."""
    return prometheus.Dataquery().expr(expr).instant().legend_format(legend or "__auto")


def _cells(expr: str) -> prometheus.Dataquery:
    return now(expr).format(PromQueryFormat.TABLE)


def _add(panel: P, queries: Sequence[prometheus.Dataquery]) -> P:
    for letter, query in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", queries, strict=False):
        panel.with_target(query.ref_id(letter).datasource(SOURCE))
    return panel


# -- panels


def number(
    title: str,
    description: str,
    query: prometheus.Dataquery,
    steps: Steps,
    *,
    unit: str = "short",
    words: model.ValueMap | None = None,
    none: str = "no data",
    size: tuple[int, int] = (3, 4),
    link: Builder[model.DashboardLink] | None = None,
) -> Panel:
    """Show one value, large and coloured."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .decimals(0)
        .no_value(none)
        .thresholds(thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .color_mode(kinds.BigValueColorMode.BACKGROUND)
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .span(size[0])
        .height(size[1])
    )
    if words is not None:
        panel.mappings([words])
    if link is not None:
        panel.data_links([link])
    return _add(panel, [query])


class Line(NamedTuple):
    """How the series of one query are drawn: dashed for limits, below zero for what goes out."""

    ref: str
    dashed: bool = False
    negative: bool = False


def curves(
    title: str,
    description: str,
    *queries: prometheus.Dataquery,
    unit: str,
    size: tuple[int, int] = (8, 8),
    steps: Steps | None = None,
    top: float | None = None,
    stacked: bool = False,
    none: str = "no data",
    styles: Sequence[Line] = (),
    links: Sequence[Builder[model.DashboardLink]] = (),
    repeat: str = "",
) -> Panel:
    """Draw values over time; `steps` are drawn as lines at which it becomes bad."""
    panel = _graph(title, description, unit, size).line_width(1).fill_opacity(30 if stacked else 8)
    panel.no_value(none)
    if steps:
        style = common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED)
        panel.thresholds(thresholds(steps)).thresholds_style(style)
    if not any(line.negative for line in styles):
        panel.min(0)
    if top is not None:
        panel.max(top)
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    for line in styles:
        panel.override_by_query(line.ref, _style(line))
    if links:
        panel.data_links(list(links))
    if repeat:
        panel.repeat(repeat).repeat_direction("h").max_per_row(4)
    return _add(panel, queries)


def _style(line: Line) -> list[model.DynamicConfigValue]:
    value = model.DynamicConfigValue
    found = []
    if line.dashed:
        found.append(value("custom.lineStyle", {"fill": "dash", "dash": [8, 8]}))
        found.append(value("custom.fillOpacity", 0))
    if line.negative:
        found.append(value("custom.transform", "negative-Y"))
    return found


def bars(
    title: str,
    description: str,
    *queries: prometheus.Dataquery,
    size: tuple[int, int] = (8, 8),
    colours: Mapping[str, str] | None = None,
) -> Panel:
    """Draw counts of what happened, minute by minute or wider.

    The step is not below a minute, so that the windows of $__rate_interval hardly overlap and an
    event is one bar.
    """
    panel = (
        _graph(title, description, "short", size)
        .interval("1m")
        .min(0)
        .decimals(0)
        .draw_style(kinds.GraphDrawStyle.BARS)
        .line_width(1)
        .fill_opacity(70)
        .no_value("nothing happened")
        .stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL).group("A"))
    )
    for name, colour in (colours or {}).items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        panel.override_by_name(name, [model.DynamicConfigValue("color", fixed)])
    return _add(panel, queries)


def _graph(title: str, description: str, unit: str, size: tuple[int, int]) -> timeseries.Panel:
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .show_points(kinds.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.LIST)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(kinds.TooltipDisplayMode.MULTI)
            .sort(kinds.SortOrder.DESCENDING)
        )
        .span(size[0])
        .height(size[1])
    )


def timeline(
    title: str,
    description: str,
    query: prometheus.Dataquery,
    words: model.ValueMap,
    *,
    size: tuple[int, int] = (WIDTH, 8),
    none: str = "no data",
    links: Sequence[Builder[model.DashboardLink]] = (),
) -> Panel:
    """Draw one row per series, coloured by the word that its value stands for."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .mappings([words])
        .no_value(none)
        .thresholds(thresholds(NEUTRAL))
        .show_value(kinds.VisibilityMode.AUTO)
        .merge_values(True)
        .row_height(0.8)
        .line_width(0)
        .fill_opacity(80)
        .per_page(20)
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.LIST)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(kinds.TooltipDisplayMode.SINGLE)
            .sort(kinds.SortOrder.NONE)
        )
        .span(size[0])
        .height(size[1])
    )
    if links:
        panel.data_links(list(links))
    return _add(panel, [query])


class Column(NamedTuple):
    """A column of a table: a label of the series, or the value of a query."""

    title: str
    label: str = ""
    expr: str = ""
    unit: str = ""
    words: model.ValueMap | None = None
    steps: Steps | None = None
    link: str = ""
    width: int = 0


def rows(
    title: str,
    description: str,
    columns: Sequence[Column],
    *,
    size: tuple[int, int],
    none: str,
    sort: tuple[str, Literal["up", "down"]],
    hidden: Sequence[str] = (),
) -> Panel:
    """Show one row per set of labels; all queries must have the same labels.

    `hidden` are expressions that only decide which rows there are.
    """
    asked = [column for column in columns if column.expr]
    exprs = [*(column.expr for column in asked), *hidden]
    names = {column.label: column.title for column in columns if column.label}
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names |= {f"Value #{letters[n]}": column.title for n, column in enumerate(asked)}
    dropped = [f"Value #{letters[n]}" for n in range(len(asked), len(exprs))]
    # what Grafana calls the values where only one query found anything: the first one, then
    if asked:
        names["Value"] = asked[0].title
    else:
        dropped.append("Value")
    order = {column.title: n for n, column in enumerate(columns)}
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit("short")
        .decimals(0)
        .no_value(none)
        .thresholds(thresholds(NEUTRAL))
        .sort_by([common.TableSortByFieldState().display_name(sort[0]).desc(sort[1] == "down")])
        .cell_height(kinds.TableCellHeight.SM)
        .span(size[0])
        .height(size[1])
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": dict.fromkeys(["Time", *dropped], True),
                    "indexByName": {name: order[shown] for name, shown in names.items()},
                    "renameByName": names,
                },
            )
        )
    )
    for column in columns:
        looks = list(_looks(column))
        if looks:
            panel.override_by_name(column.title, looks)
    return _add(panel, [_cells(expr) for expr in exprs])


def _looks(column: Column) -> Iterator[model.DynamicConfigValue]:
    value = model.DynamicConfigValue
    if column.unit:
        yield value("unit", column.unit)
    if column.words is not None:
        yield value("mappings", [column.words])
    if column.steps:
        steps = [{"value": at, "color": colour} for at, colour in column.steps]
        yield value("thresholds", {"mode": "absolute", "steps": steps})
    if column.words is not None or column.steps:
        yield value("custom.cellOptions", {"type": "color-text"})
    if column.link:
        yield value("links", [{"title": "Look closer", "url": column.link}])
    if column.width:
        yield value("custom.width", column.width)


def ranking(
    title: str,
    description: str,
    query: prometheus.Dataquery,
    *,
    unit: str,
    size: tuple[int, int] = (6, 8),
    none: str = "none",
) -> Panel:
    """Draw a bar for each of a few series, at the end of the time range."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .no_value(none)
        .thresholds(thresholds(CALM))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .orientation(kinds.VizOrientation.HORIZONTAL)
        .display_mode(kinds.BarGaugeDisplayMode.BASIC)
        .value_mode(kinds.BarGaugeValueMode.TEXT)
        .show_unfilled(False)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .span(size[0])
        .height(size[1])
    )
    return _add(panel, [query])


# -- the frame

DETAIL = "/d/steadyd-service/service-detail"


def to_service(name: str, instance: str) -> str:
    """Give the address of the board of one service, on the host and at the time looked at."""
    values = f"var-instance=${{{instance}:percentencode}}&var-name=${{{name}:percentencode}}"
    chosen = f"var-datasource=${{datasource}}&{values}"
    return f"{DETAIL}?{chosen}&${{__url_time_range}}"


SERIES_LINK = (
    dashboard.DashboardLink("This service")
    .type(model.DashboardLinkType.LINK)
    .url(to_service("__field.labels.name", "__field.labels.instance"))
)


def board(uid: str, title: str, description: str) -> dashboard.Dashboard:
    """Begin a board: read only, for the last hour, with links to the others."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(_tagged("steadyd", TAG, variables=True))
        .link(_tagged("Hosts", "linux", variables=False))
    )


def _tagged(title: str, tag: str, *, variables: bool) -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink(title)
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([tag])
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(variables)
    )


def source() -> dashboard.DatasourceVariable:
    """Let the reader choose among the data sources."""
    return dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")


def choice(
    name: str,
    label: str,
    query: str,
    *,
    one: bool = False,
    hide: model.VariableHide = model.VariableHide.DONT_HIDE,
) -> dashboard.QueryVariable:
    """Let the reader choose among label values; all of them at first, unless there is `one`."""
    made = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": f"choice-{name}"})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .hide(hide)
    )
    if one:
        return made
    every = model.VariableOption(text=["All"], value=["$__all"], selected=True)
    return made.multi(True).include_all(True).all_value(".+").current(every)


HOST_CHOICES = (
    choice("job", "Job", "label_values(steadyd_build_info, job)"),
    choice("instance", "Instance", 'label_values(steadyd_build_info{job=~"$job"}, instance)'),
)
OF_NAMES = f"label_values(steadyd_service_state{{{ON_HOSTS}}}, name)"


class Mark(NamedTuple):
    """An annotation. `title` and `tags` name labels; `on`: it is shown at first."""

    name: str
    colour: str
    expr: str
    title: str
    tags: str
    on: bool = True


_RELOADED = "steadyd_config_last_reload_success_timestamp_seconds"
MARKS = (
    Mark(
        "Actions",
        "orange",
        f"changes({of_services('steadyd_actions_total')}[$__rate_interval]) > 0",
        "{{action}} {{name}}",
        "instance,name,action",
    ),
    Mark(
        "Alerts firing",
        "red",
        of_services("steadyd_alerts", 'alertstate="firing"'),
        "{{name}}: {{alertname}}",
        "instance,name,severity",
    ),
    Mark(
        "Rules reloaded",
        "blue",
        f"changes({of_hosts(_RELOADED)}[$__rate_interval]) > 0",
        "rules reloaded",
        "instance",
    ),
    Mark(
        "Services started",
        "purple",
        f"changes({of_services('steadyd_service_start_time_seconds')}[$__rate_interval]) > 0",
        "{{name}} started",
        "instance,name",
    ),
)


def mark(board_: dashboard.Dashboard, marks: Sequence[Mark]) -> None:
    """Add annotations."""
    for each in marks:
        board_.annotation(
            dashboard.AnnotationQuery()
            .name(each.name)
            .datasource(SOURCE)
            .enable(each.on)
            .icon_color(each.colour)
            .expr(each.expr)
        )


def row(title: str, *, collapsed: Sequence[Panel] = ()) -> dashboard.Row:
    """Begin a row; the panels of a collapsed one are inside it."""
    made = dashboard.Row(title)
    if collapsed:
        made.collapsed(True)
        for panel in collapsed:
            made.with_panel(panel)
    return made


def finished(
    board_: dashboard.Dashboard, marks: Sequence[Mark], *, one_name: bool = False
) -> dict[str, Any]:
    """Return the board as Grafana's JSON.

    The SDK leaves panels without ids, which would change with each load, and does not know what
    the Prometheus data source reads of an annotation beside `expr`. `one_name`: only one service
    can be chosen. Grafana does not escape the value of such a variable for a regular expression.
    """
    text = json.dumps(board_.build(), cls=JSONEncoder)
    if one_name:
        text = text.replace(r"name=~\"$name\"", r"name=\"$name\"")
    found: dict[str, Any] = json.loads(text)
    found["id"] = None
    for number_, panel in enumerate(panels(found), 1):
        panel["id"] = number_
    titles = {each.name: each for each in marks}
    for annotation in found.get("annotations", {}).get("list", []):
        each = titles[annotation["name"]]
        annotation |= {"titleFormat": each.title, "tagKeys": each.tags, "textFormat": ""}
    return found


def panels(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all panels of a board and of its rows, the rows too."""
    for panel in found["panels"]:
        yield panel
        yield from panel.get("panels") or ()
