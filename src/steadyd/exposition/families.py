"""A metric family that is cheap to fill and to write, and still is prometheus_client's Metric.

prometheus_client needs about 6 µs a sample: 1,000 services (30,000 samples) would take longer
than a scrape may. Here a row is a tuple; the library's samples are made only when they are asked
for. That both ways write the same text is tested.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

Row = tuple[tuple[str, ...], float]  # the values of the labels, and the number
Rows = list[Row]
_SHORT = {0.0: "0.0", 1.0: "1.0"}


class Family(Metric):
    """The rows of one metric: the values of its labels, in their order, and a number.

    `labels` must be sorted, as the text shows them so. A counter's `name` lacks its `_total`.
    """

    def __init__(
        self, name: str, kind: Literal["gauge", "counter"], help: str, labels: Sequence[str] = ()
    ) -> None:
        self.rows: Rows = []
        self.labels = tuple(labels)
        super().__init__(name, help, kind)

    def add(self, values: tuple[str, ...], number: float) -> None:
        """Add a row."""
        self.rows.append((values, number))

    @property
    def sample_name(self) -> str:
        """Return the name that the rows have."""
        return f"{self.name}_total" if self.type == "counter" else self.name

    @property
    def samples(self) -> list[Sample]:
        """Return the rows as the library wants them."""
        return [
            Sample(self.sample_name, dict(zip(self.labels, values, strict=True)), number)
            for values, number in self.rows
        ]

    @samples.setter
    def samples(self, samples: list[Sample]) -> None:
        if samples:
            raise ValueError("rows are added with add()")


class Lines:
    """The lines of the last scrape: most numbers stay the same from one to the next.

    By sample name the rows and the line of each.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Rows, list[str]]] = {}

    def of(self, family: "Family") -> str:
        """Return the lines of a family."""
        name, rows = family.sample_name, family.rows
        known, lines = self._known.get(name, ([], []))
        if known != rows:
            self._known[name] = (rows, lines := _renewed(family, known, lines))
        return "".join(lines)


def _renewed(family: "Family", known: Rows, lines: list[str]) -> list[str]:
    """Return the lines of the rows; where the series are the same, only their numbers are new."""
    rows = family.rows
    if len(known) != len(rows):
        return [_line(family, row) for row in rows]
    return [
        line
        if row == before
        else f"{line[: line.rindex(' ')]} {_number(row[1])}\n"
        if row[0] == before[0]
        else _line(family, row)
        for before, row, line in zip(known, rows, lines, strict=True)
    ]


def _line(family: "Family", row: Row) -> str:
    return f"{family.sample_name}{_labels(family.labels, row[0])} {_number(row[1])}\n"


def write(collector: Collector, lines: Lines, *, as_openmetrics: bool) -> bytes:
    """Return the text of all families, in format 0.0.4 or OpenMetrics 1.0.0.

    Bytes that are no UTF-8 become question marks.
    """
    parts: list[str] = []
    for family in collector.collect():
        if isinstance(family, Family):
            parts.append(_header(family, as_openmetrics))
            parts.append(lines.of(family))
        elif as_openmetrics:
            text: bytes = openmetrics.generate_latest(_One(family))  # type: ignore[no-untyped-call]
            parts.append(text.decode().removesuffix("# EOF\n"))
        else:
            parts.append(generate_latest(_One(family)).decode())
    if as_openmetrics:
        parts.append("# EOF\n")
    return "".join(parts).encode("utf-8", "replace")


class _One(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _header(family: Family, as_openmetrics: bool) -> str:
    name = family.name if as_openmetrics else family.sample_name
    return f"# HELP {name} {family.documentation}\n# TYPE {name} {family.type}\n"


def _labels(labels: Sequence[str], values: Sequence[str]) -> str:
    if not labels:
        return ""
    pairs = zip(labels, map(_escaped, values), strict=True)
    return "{" + ",".join(f'{label}="{value}"' for label, value in pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def go_float(number: float) -> str:
    """Return a number as the formats want it."""
    text: str = floatToGoString(number)  # type: ignore[no-untyped-call]
    return text


def _number(number: float) -> str:
    return _SHORT.get(number) or go_float(number)
