"""How deep is looked, and at what: nothing is read that no rule names."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

import pytest

from steadyd.model.metric import MetricId, Sample
from steadyd.ports import Depth, SampleTarget
from steadyd.probes.catalogue import metric_id
from steadyd.probes.observer import Observer, Wanted, wanted_depth


class Asked:
    """A sampler that notes what it is asked for."""

    def __init__(self) -> None:
        self.targets: list[SampleTarget] = []
        self.host_asked: tuple[Sequence[str], Collection[str]] = ((), ())

    def sample(self, targets: Sequence[SampleTarget]) -> Mapping[str, Sample]:
        self.targets += targets
        return {}

    def own(self) -> Mapping[str, float]:
        return {}

    def host(self, mounts: Sequence[str], extra: Collection[str] = ()) -> Sample:
        self.host_asked = (mounts, extra)
        return Sample(1.0, {"load1": 1.0, "pressure_io_percent": 7.0})


def metrics(names: str) -> frozenset[MetricId]:
    return frozenset(map(metric_id, names.split()))


@pytest.mark.parametrize(
    ("names", "depth"),
    [
        ("", Depth.MEMORY),
        ("init:up memory:total_rss process:count", Depth.MEMORY),
        ("init:oom_kills memory:pss cpu:throttled io:read pressure:cpu", Depth.MEMORY),
        ("redis:used_memory", Depth.MEMORY),
        ("memory:rss cpu:user", Depth.USUAL),
        ("process:threads io:read", Depth.USUAL),
        ("process:fds", Depth.FULL),
        ("memory:rss process:fd_ratio", Depth.FULL),
    ],
)
def test_a_tick_looks_as_deep_as_the_rules_need(names: str, depth: Depth) -> None:
    assert wanted_depth(metrics(names)) is depth


def want(name: str, names: str) -> Wanted:
    full = SampleTarget(name, f"/{name}.service", 7)
    light = SampleTarget(name, f"/{name}.service", 7, Depth.MEMORY)
    return Wanted(name, metrics(names), light, full)


async def test_what_rules_name_is_asked_for_at_ticks_and_at_scrapes() -> None:
    asked = Asked()
    observer = Observer(asked)
    wanted = [want("plain", "memory:rss"), want("named", "init:oom_kills memory:limit_ratio")]
    await observer.tick(wanted)
    await observer.look(wanted[1:])
    await observer.refresh(wanted, 0.0)
    extra = frozenset(("oom_kills", "memory_limit_ratio"))
    told = [(each.unit, each.depth, each.extra) for each in asked.targets]
    assert told == [
        ("plain", Depth.MEMORY, frozenset()),
        ("named", Depth.MEMORY, extra),
        ("named", Depth.MEMORY, extra),
        ("plain", Depth.FULL, frozenset()),
        ("named", Depth.FULL, extra),
    ]


async def test_of_the_host_only_what_rules_name() -> None:
    asked = Asked()
    observer = Observer(asked)
    named = Wanted("host", metrics("load:1 disk:/srv pressure:io net:eth0"), host=True)
    readings = await asyncio.wait_for(observer.tick([named]), 10)
    assert asked.host_asked[0] == ["/srv"]
    assert set(asked.host_asked[1]) == {"pressure_io_percent", "net_bytes:eth0"}
    assert readings["host"][metric_id("pressure:io")].value == 7
    await observer.tick([Wanted("host", metrics("load:1"), host=True)])
    assert asked.host_asked == ([], frozenset())
