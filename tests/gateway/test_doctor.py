"""What the doctor says of a platform that is well, and of each thing that is not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from algotrade.cli.doctor import Answer, Finding, at_a_process, at_the_gateway, get
from gateway.conftest import Mesh

WELL = {"services": [{"service": "algotrade.v1.X", "dependencies": []}]}


async def test_a_platform_that_is_well(mesh: Mesh) -> None:
    findings = await asyncio.to_thread(lambda: list(at_the_gateway(mesh.url, get)))
    assert [finding.wrong for finding in findings] == [""] * len(findings)
    checks = {finding.check for finding in findings}
    assert {"gateway takes calls", "nothing opens without a token", "IdentityService has what it needs"} <= checks
    assert "clocks agree" in checks


async def test_where_nobody_listens(mesh: Mesh) -> None:
    (finding,) = await asyncio.to_thread(lambda: list(at_the_gateway("http://127.0.0.1:1", get)))
    assert "refused" in finding.wrong


def wrong(findings: Any) -> dict[str, str]:
    found: list[Finding] = list(findings)
    assert all(finding.advice for finding in found)
    return {finding.check: finding.wrong for finding in found if finding.wrong}


def answering(**changed: Answer) -> Any:
    answers = {
        "healthz": Answer(200),
        "detailed": Answer(200, json.dumps(WELL).encode()),
        "strategies": Answer(401),
        "jwks.json": Answer(200, b'{"keys": [{"kid": "a"}]}'),
        "metrics": Answer(200, b"grpc_server_handled_total 0"),
    } | changed
    return lambda url: answers[url.rpartition("/")[2]]


@pytest.mark.parametrize(
    ("changed", "check", "said"),
    [
        ({"healthz": Answer(503)}, "gateway takes calls", "503"),
        ({"detailed": Answer(503)}, "services answer", "503"),
        ({"strategies": Answer(200)}, "nothing opens without a token", "200"),
        ({"strategies": Answer(401, date="Thu, 01 Jan 2026 00:00:00 GMT")}, "", ""),
        ({"healthz": Answer(200, date="Thu, 01 Jan 2015 00:00:00 GMT")}, "clocks agree", "clocks differ"),
        ({"jwks.json": Answer(200, b'{"keys": []}')}, "public keys are served", "no public key"),
        ({"jwks.json": Answer(200, b"<html>")}, "public keys are served", "no public key"),
        ({"jwks.json": Answer(200, b'{"keys": [{"d": "x"}]}')}, "public keys are served", "private"),
        ({"metrics": Answer(0, error="refused")}, "metrics are served", "refused"),
    ],
)
def test_what_is_wrong_is_said(changed: dict[str, Answer], check: str, said: str) -> None:
    ask = answering(**changed)
    found = wrong([*at_the_gateway("http://edge", ask), *at_a_process("http://inner", ask)])
    assert list(found) == ([check] if check else [])
    assert said in found.get(check, "")


def test_what_a_service_lacks_is_named() -> None:
    dependency = {"name": "database", "status": "HEALTH_STATUS_UNHEALTHY", "detail": "no answer in 2 s"}
    health = {"services": [{"service": "algotrade.v1.IdentityService", "dependencies": [dependency]}]}
    found = wrong(at_the_gateway("http://edge", answering(detailed=Answer(200, json.dumps(health).encode()))))
    assert found == {"IdentityService has what it needs": "database (no answer in 2 s)"}
