"""What can be measured: catalogue entries, raw samples, and the readings that rules compare."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

from steadyd.model.service import ProcessId


class Kind(StrEnum):
    """A gauge is compared as it is, a counter by what it gained between two ticks."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Dimension(StrEnum):
    """What a value counts; an amount in a rule must be of the same."""

    BYTES = "bytes"
    PERCENT = "percent"
    COUNT = "count"
    SECONDS = "seconds"


class Subject(StrEnum):
    """What has the metric: a service, or the host itself."""

    SERVICE = "service"
    HOST = "host"


class MetricId(Struct, frozen=True, order=True):
    """The name that a rule uses: `memory:rss` is MetricId("memory", "rss")."""

    family: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.family}:{self.name}" if self.name else self.family


class Metric(Struct, frozen=True):
    """One line of the catalogue: serves rules, exposition, documentation and completion.

    `id.name` is `*` where the name is the user's (`disk:MOUNT`). `probed` is false for what this
    version cannot measure yet: its reading is unknown, and `steadyd check` warns.
    `per_process` marks what starts again when the service's process does.
    """

    id: MetricId
    subject: Subject
    kind: Kind
    dimension: Dimension
    help: str
    probed: bool = True
    per_process: bool = False

    @property
    def gains(self) -> bool:
        """Tell whether a reading is what was gained; a share of time is read as a percentage."""
        return self.kind is Kind.COUNTER and self.dimension is not Dimension.PERCENT


class Reading(Struct, frozen=True):
    """The value that a rule is held against. None: there is none, and `why_missing` says why.

    For a counter the value is its gain over the last `elapsed` seconds.
    """

    value: float | None
    why_missing: str = ""
    elapsed: float = 0.0


class Sample(Struct, frozen=True):
    """Raw numbers of one service (or of the host) at one instant.

    `at` is CLOCK_MONOTONIC in seconds. `raw` holds numbers under the names that
    `probes.rates` turns into readings; `missing` says for such a name why there is none.
    `processes` lists all processes of the service, the main one first where there is one.
    """

    at: float
    raw: Mapping[str, float]
    missing: Mapping[str, str] = field(default_factory=dict)
    processes: tuple[ProcessId, ...] = ()
    main: ProcessId | None = None


Readings = Mapping[MetricId, Reading]
