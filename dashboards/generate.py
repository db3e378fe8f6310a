"""Write the boards as JSON: `python -m dashboards.generate`, from the root of the project.

`*.json` are provisioned as they are. `grafana.com/*.json` are the same for sharing: Grafana asks
whoever imports one for the data source.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dashboards.boards import fleet, service, services
from dashboards.parts import panels

FOLDER = Path(__file__).parent
BOARDS = {"services": services.made, "service": service.made, "fleet": fleet.made}
INPUT = "DS_PROMETHEUS"


def texts() -> Iterator[tuple[Path, str]]:
    """Yield each file and what it holds."""
    for name, make in BOARDS.items():
        found = make()
        yield FOLDER / f"{name}.json", _text(found)
        yield FOLDER / "grafana.com" / f"{name}.json", _text(_shared(found))


def _text(found: Mapping[str, Any]) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _shared(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the board as grafana.com wants it: what it needs of a Grafana comes first."""
    plugins = sorted({panel["type"] for panel in panels(found)} - {"row"})
    return {
        "__inputs": [
            {
                "name": INPUT,
                "label": "Prometheus",
                "description": "The Prometheus that scrapes steadyd.",
                "type": "datasource",
                "pluginId": "prometheus",
                "pluginName": "Prometheus",
            }
        ],
        "__elements": {},
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "11.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
            *({"type": "panel", "id": p, "name": p, "version": ""} for p in plugins),
        ],
        **found,
        "templating": {"list": [_chosen(each) for each in found["templating"]["list"]]},
    }


def _chosen(variable: Mapping[str, Any]) -> dict[str, Any]:
    """Let the data source that was given at import be the first choice."""
    if variable["name"] != "datasource":
        return dict(variable)
    given = f"${{{INPUT}}}"
    return {**variable, "current": {"selected": True, "text": given, "value": given}}


def main() -> None:
    """Write all files."""
    for path, text in texts():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
