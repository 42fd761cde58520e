"""Every RPC has a declared access, or the server does not start."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import ServiceDescriptor

import algotrade.v1
from algotrade.platform import policy
from algotrade.platform.policy import POLICY, Access, PolicyError, Tier, accesses, rules


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


@pytest.mark.parametrize(
    ("method", "rule", "what"),
    [
        ("GetDetailedHealth", Access.PUBLIC, "no tier declared; add .*POLICY in platform/policy.py.*PASSWORD.*READ"),
        ("GetDetailedHealth", (Access.PUBLIC, Tier.READ), "no token to count by"),
        ("GetDetailedHealth", (Access.PUBLIC, Tier.STREAM), "a stream has the tier STREAM"),
    ],
)
def test_a_method_without_a_fitting_tier_stops_the_start_and_the_error_says_how(
    monkeypatch: pytest.MonkeyPatch, method: str, rule: Any, what: str
) -> None:
    [health] = [service for service in services() if service.name == "HealthService"]
    monkeypatch.setattr(policy, "POLICY", {health.full_name: {method: rule}})
    with pytest.raises(PolicyError, match=what):
        accesses([health])


def test_what_takes_a_password_is_counted_as_such() -> None:
    for service in services():
        for method in service.methods:
            takes = any("password" in field.name for field in method.input_type.fields)
            _, tier = rules([service])[f"/{service.full_name}/{method.name}"]
            assert takes == (tier is Tier.PASSWORD), method.full_name


def test_an_access_for_a_method_that_is_gone_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    [health] = [service for service in services() if service.name == "HealthService"]
    known = (Access.PUBLIC, Tier.OPEN)
    declared = {health.full_name: {"GetDetailedHealth": known, "Gone": known}}
    monkeypatch.setattr(policy, "POLICY", declared)
    with pytest.raises(PolicyError, match="Gone"):
        accesses([health])
