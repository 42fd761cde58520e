"""Every RPC has a declared access, or the server does not start."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import ServiceDescriptor

import algotrade.v1
from algotrade.platform import policy
from algotrade.platform.policy import POLICY, Access, PolicyError, accesses


def services() -> list[ServiceDescriptor]:
    found: list[ServiceDescriptor] = []
    for path in Path(algotrade.v1.__path__[0]).glob("*_service_pb2.py"):
        module: Any = import_module(f"algotrade.v1.{path.stem}")
        found.extend(module.DESCRIPTOR.services_by_name.values())
    return found


def test_the_table_covers_the_api_exactly() -> None:
    assert {service.full_name for service in services()} == POLICY.keys()
    table = accesses(services())
    assert len(table) == sum(len(service.methods) for service in services())


def test_only_these_are_public() -> None:
    public = {method for method, access in accesses(services()).items() if access is Access.PUBLIC}
    assert public == {
        "/algotrade.v1.IdentityService/Register",
        "/algotrade.v1.IdentityService/Login",
        "/algotrade.v1.IdentityService/RefreshToken",
        "/algotrade.v1.IdentityService/ExchangeApiKey",
        "/algotrade.v1.HealthService/GetDetailedHealth",
    }


def test_a_method_without_an_access_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    [health] = [service for service in services() if service.name == "HealthService"]
    monkeypatch.setattr(policy, "POLICY", {})
    with pytest.raises(PolicyError, match="GetDetailedHealth"):
        accesses([health])


def test_an_access_for_a_method_that_is_gone_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    [health] = [service for service in services() if service.name == "HealthService"]
    declared = {health.full_name: {"GetDetailedHealth": Access.PUBLIC, "Gone": Access.PUBLIC}}
    monkeypatch.setattr(policy, "POLICY", declared)
    with pytest.raises(PolicyError, match="Gone"):
        accesses([health])
