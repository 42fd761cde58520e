"""What the overlays of deploy/k8s come to, as kustomize builds them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = ("dev", "stage", "prod")
Resource = dict[str, Any]


@cache
def built(overlay: str) -> list[Resource]:
    """Build an overlay; once."""
    tool = Path(sys.executable).with_name("kustomize")
    assert tool.exists(), f"{tool} is missing: `make clients` builds it"
    command = [tool, "build", ROOT / "deploy" / "k8s" / "overlays" / overlay]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return list(yaml.load_all(text, yaml.CSafeLoader))


def named(resource: Resource) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


def of_kind(overlay: str, *kinds: str) -> list[Resource]:
    return [one for one in built(overlay) if one["kind"] in kinds]


def pods(overlay: str) -> Iterator[tuple[str, Resource]]:
    """Yield the template of every pod, by what makes it."""
    for one in of_kind(overlay, "Deployment", "StatefulSet", "Job"):
        yield named(one), one["spec"]["template"]


def containers(pod: Resource) -> list[Resource]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def selected(resource: Resource, labels: dict[str, str]) -> bool:
    """Tell whether a label selector takes something with these labels."""
    expressions = resource.get("matchExpressions", [])
    return all(labels.get(key) == value for key, value in resource.get("matchLabels", {}).items()) and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )
