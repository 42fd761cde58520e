"""Whatever breaks a field rule is refused, with the field named, in every protocol alike."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from algotrade.platform import limits
from clients.api import BY_NAME, RPCS, Rpc
from clients.callers import Answer
from clients.conftest import Stage
from clients.rules import Violation, violations
from clients.samples import ENDS_LOGIN, World, sample

ALL = [violation for rpc in RPCS for violation in violations(rpc)]


@cache
def per_service() -> dict[str, list[Violation]]:
    found: dict[str, list[Violation]] = {}
    for violation in ALL:
        found.setdefault(violation.rpc.service, []).append(violation)
    return found


async def broken(violation: Violation, world: World, kept: dict[Rpc, Any]) -> Any:
    """Return a good request with one thing wrong."""
    if violation.rpc not in kept:
        kept[violation.rpc] = await sample(violation.rpc, world)
    request = violation.rpc.request.FromString(kept[violation.rpc].SerializeToString())
    violation.apply(request)
    return request


def check(violation: Violation, answer: Answer) -> None:
    assert answer.error == ("INVALID_ARGUMENT", "FIELD_INVALID"), (str(violation), answer)
    assert violation.path in {path.replace('"', "") for path in answer.violations}, (str(violation), answer)
    assert all(answer.violations.values())
    assert any(path in answer.message for path in answer.violations)
    assert len(answer.violations) <= limits.MAX_VIOLATIONS


def test_every_field_that_names_something_has_rules() -> None:
    ruled = {(str(violation.rpc), violation.path) for violation in ALL}
    for rpc in RPCS:
        for field in rpc.method.input_type.fields:
            if field.name.endswith("_id") or field.name in {"symbol", "page_size", "page_token", "artefact_hash"}:
                assert (str(rpc), field.name) in ruled, (str(rpc), field.name)


@pytest.mark.parametrize("service", per_service())
async def test_the_field_is_named(stage: Stage, ada: World, service: str) -> None:
    kept: dict[Rpc, Any] = {}
    for violation in per_service()[service]:
        request = await broken(violation, ada, kept)
        check(violation, await stage.direct(violation.rpc, request, ada.token))


# A value that has to be in the path of REST has to be a path's word; what is too long for a path is cut by HTTP itself.
ESSENTIAL = [
    one for one in ALL if one.rule in {"uuid", "gte", "lte", "in", "email", "not_in", "update_mask.paths", "required"}
]


@pytest.mark.parametrize("way", ["grpc", "web", "rest"])
async def test_through_the_gateway_too(stage: Stage, ada: World, way: str) -> None:
    kept: dict[Rpc, Any] = {}
    for violation in ESSENTIAL:
        if str(violation.rpc) in ENDS_LOGIN:
            continue
        unsaid = violation.rule == "required" and "." in violation.path  # a query cannot say a message without fields
        if unsaid and way == "rest" and violation.rpc.http[0] == "GET":
            continue
        request = await broken(violation, ada, kept)
        check(violation, await stage.through[way](violation.rpc, request, ada.token))


@pytest.mark.parametrize("way", ["direct", "grpc", "web", "rest"])
async def test_however_much_is_wrong_the_answer_can_be_read(stage: Stage, ada: World, way: str) -> None:
    """An error travels in headers: one that does not fit them would come without its reason."""
    create = BY_NAME["ForwardTestService.CreateSession"]
    request: Any = await sample(create, ada)
    request.settings.interval = "日" * 30_000
    answer = await stage.through[way](create, request, ada.token)
    assert answer.error == ("INVALID_ARGUMENT", "SETTINGS_INVALID")
    assert list(answer.violations) == ["settings.interval"]
    request = create.request()
    request.parameters.update({f"{number}" + "日" * 2_000: "1" for number in range(100)})
    answer = await stage.through[way](create, request, ada.token)
    assert answer.error == ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert len(answer.violations) > 1
