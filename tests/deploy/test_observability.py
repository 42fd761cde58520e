"""Rules and dashboards: every expression parses, every metric and label in it exists, every alert has its page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml
from deploy.manifests import ROOT

from algotrade.platform.metrics import Metrics

FOLDER = ROOT / "deploy" / "observability"
RULES = [
    rule
    for path in sorted((FOLDER / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARDS = [json.loads(path.read_text()) for path in sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))]
TARGET_LABELS = {"job", "instance", "service"}  # what a scrape adds


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]
    for dashboard in DASHBOARDS:
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


EXPRESSIONS = list(expressions())


def exported() -> dict[str, set[str]]:
    """Return the labels of every series that a process exports, by its name as it is scraped."""
    found: dict[str, set[str]] = {}
    metrics = Metrics()
    for kind in vars(metrics).values():
        names = getattr(kind, "_labelnames", None)
        if names is None:
            continue
        for metric in kind.describe():
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(metric.type, [""])
            for suffix in suffixes:
                found[metric.name + suffix] = {*names, *(["le"] if suffix == "_bucket" else [])}
    for metric in metrics.registry.collect():  # of the process itself
        if metric.name.startswith("process_"):
            found[metric.name] = set()
    return found


SERIES = exported()
RECORDED = {rule["record"]: {"grpc_service"} for rule in RULES if "record" in rule}


def selectors(node: Any) -> Iterator[Any]:
    """Yield the vector selectors of a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "args", "param"):
        child = getattr(node, name, None)
        for one in child if isinstance(child, list) else [child]:
            if one is not None and not isinstance(one, str):
                yield from selectors(one)


def test_there_is_something_to_look_at() -> None:
    assert len(RULES) >= 10
    assert DASHBOARDS
    assert len(EXPRESSIONS) >= 30
    assert {"algotrade_worker_lag_records", "grpc_server_handling_seconds_bucket"} <= SERIES.keys()


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[f"{n}-{w}" for n, (w, _) in enumerate(EXPRESSIONS)])
def test_what_an_expression_names_exists(where: str, expression: str) -> None:
    found = list(selectors(promql_parser.parse(expression)))
    assert found
    labels: set[str] = set()
    for selector in found:
        known = SERIES | RECORDED | {"up": set[str]()}
        assert selector.name in known, selector.name
        labels |= known[selector.name] | TARGET_LABELS
        for matcher in selector.matchers.matchers:
            assert matcher.name in known[selector.name] | TARGET_LABELS, (selector.name, matcher.name)
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {name.strip() for name in group.split(",")} <= labels, group


def test_every_alert_has_its_page_of_the_runbook() -> None:
    runbook = (ROOT / "docs" / "operations.md").read_text()
    anchors = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", runbook, re.MULTILINE)}
    alerts = [rule for rule in RULES if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/operations.md"
        assert anchor == rule["alert"].lower()
        assert anchor in anchors
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())
    uid = provisioned["datasources"][0]["uid"]
    for dashboard in DASHBOARDS:
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(ids) == len(set(ids))
        for panel in dashboard["panels"]:
            assert panel["datasource"]["uid"] == uid
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
