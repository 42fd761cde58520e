"""Ready-made strategies to start from: the graphs of this package's folder ``templates``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Template:
    """``graph`` is the JSON text; name and description are those in it."""

    template_id: str
    name: str
    description: str
    graph: str


def templates() -> list[Template]:
    """Read every template, by name."""
    found = [
        _template(entry.name.removesuffix(".json"), entry.read_text(encoding="utf-8"))
        for entry in (files("algotrade.strategy") / "templates").iterdir()
        if entry.name.endswith(".json")
    ]
    return sorted(found, key=lambda template: template.name)


def _template(template_id: str, graph: str) -> Template:
    document = json.loads(graph)
    return Template(template_id, document["name"], document["description"], graph)
