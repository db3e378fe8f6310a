"""Whether Grafana 11 knows each field of a board: the classes of the SDK are made of its schema.

A board is read into them and written again: what they do not know is lost, and shows. Values of
enumerations are compared as well, which reading alone does not do.
"""

import enum
import json
import typing
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import common, dashboard, prometheus, table

from tests.dashboards.grafana import Board

# what the data source reads of an annotation, and the schema leaves open
ANNOTATION = frozenset(("titleFormat", "tagKeys", "textFormat"))
MODELS = {**vars(common), **vars(dashboard), **vars(prometheus), **vars(table)}


def problems(board: Board) -> Iterator[str]:
    """Yield what the schema does not know, with its place."""
    register_default_plugins()
    given = json.loads(json.dumps(board))
    for annotation in given["annotations"]["list"]:
        for key in ANNOTATION:
            annotation.pop(key, None)
    read = dashboard.Dashboard.from_json(given)
    again = json.loads(json.dumps(read, cls=JSONEncoder))
    again["id"] = None  # the SDK leaves out what is null
    yield from _lost("", given, again)
    yield from _wrong("", read)


def _lost(place: str, given: Any, again: Any) -> Iterator[str]:
    if isinstance(given, dict) and isinstance(again, dict):
        for key, value in given.items():
            if key not in again:
                yield f"{place}.{key} is not in the schema"
            else:
                yield from _lost(f"{place}.{key}", value, again[key])
    elif isinstance(given, list) and isinstance(again, list) and len(given) == len(again):
        for n, pair in enumerate(zip(given, again, strict=True)):
            yield from _lost(f"{place}[{n}]", *pair)
    elif given != again:
        yield f"{place}: {given!r} became {again!r}"


def _wrong(place: str, value: object) -> Iterator[str]:
    """Yield the values that are not of the type that a class of the SDK says."""
    if isinstance(value, list):
        for n, each in enumerate(value):
            yield from _wrong(f"{place}[{n}]", each)
        return
    if not type(value).__module__.startswith("grafana_foundation_sdk.models"):
        return
    module = vars(__import__(type(value).__module__, fromlist=["_"]))
    hints: dict[str, object] = {}
    for kind in reversed(type(value).__mro__):
        hints |= getattr(kind, "__annotations__", {})
    for name, text in hints.items():
        held = getattr(value, name, None)
        yield from _wrong(f"{place}.{name}", held)
        hint = typing.ForwardRef(text) if isinstance(text, str) else text
        for choice in _choices(hint, module):
            if held is not None and held not in choice:
                yield f"{place}.{name}: {held!r} is none of {', '.join(map(str, choice))}"


def _choices(hint: object, module: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield the values of an enumeration, if a hint is one or may be."""
    if isinstance(hint, typing.ForwardRef):
        hint = module.get(hint.__forward_arg__, MODELS.get(hint.__forward_arg__))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        yield list(hint)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        yield list(arguments)
    elif typing.get_origin(hint) is typing.Union and len(arguments) == 2:
        yield from _choices(arguments[0], module)
