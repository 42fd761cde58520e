"""Every RPC of the API answers, to the services' own port and through the gateway in each of its protocols."""

from __future__ import annotations

import pytest

from algotrade.platform.policy import Access
from clients.api import RPCS, Rpc
from clients.conftest import Stage
from clients.samples import ENDS_LOGIN, SAMPLED, World, sample


def test_every_rpc_has_a_sample() -> None:
    assert {str(rpc) for rpc in RPCS} == SAMPLED


@pytest.mark.parametrize("rpc", RPCS, ids=str)
@pytest.mark.parametrize("way", ["direct", "grpc", "web", "rest"])
async def test_it_answers(stage: Stage, ada: World, rpc: Rpc, way: str) -> None:
    caller = await stage.newcomer() if str(rpc) in ENDS_LOGIN else ada
    request = await sample(rpc, caller)
    answer = await stage.through[way](rpc, request, caller.token)
    assert answer.code == "OK", answer
    assert isinstance(answer.reply, rpc.reply)


@pytest.mark.parametrize("way", ["direct", "grpc", "web", "rest"])
async def test_without_a_token_it_says_so(stage: Stage, way: str) -> None:
    for rpc in RPCS:
        if rpc.access is not Access.PUBLIC:
            answer = await stage.through[way](rpc, rpc.request(), None)
            assert answer.error == ("UNAUTHENTICATED", "TOKEN_MISSING"), rpc
