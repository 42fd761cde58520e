"""Setting the demo up against real services: once, again, and where something is in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from algotrade.cli.demo import Demo
from algotrade.cli.failure import CommandError
from algotrade.cli.serve import SERVICES, fixed_addresses
from algotrade.engine.compile import compile_strategy
from algotrade.platform.settings import Settings
from algotrade.strategy import __file__ as strategy_package
from algotrade.v1 import forward_test_service_pb2 as pb


@pytest.fixture
def settings(session_settings: Settings) -> Settings:
    """Return settings with a known address: the services of one process find each other there."""
    return fixed_addresses(session_settings.model_copy(update={"replay_speed": 1.0}))


@pytest.fixture
async def address(serve) -> str:
    server = await serve(*SERVICES)
    return f"127.0.0.1:{server.port}"


@asynccontextmanager
async def demo_at(address: str, password_file: Path) -> AsyncIterator[Demo]:
    demo = Demo(address, password_file)
    try:
        yield demo
    finally:
        await demo.close()


async def test_a_second_set_up_finds_what_the_first_made(address, tmp_path):
    async with demo_at(address, tmp_path / "demo" / "password") as demo:
        first = await demo.set_up()
    async with demo_at(address, tmp_path / "demo" / "password") as demo:
        again = await demo.set_up()
        assert await demo.ill() == []
    assert [one.session.session_id for one in again] == [one.session.session_id for one in first]
    assert {one.session.status for one in again} == {pb.SESSION_STATUS_RUNNING}
    assert [(one.session.symbol, one.feed, one.live) for one in first] == [
        ("AAPL", "replay", False),
        ("AAPL", "replay", False),
        ("BTC-USD", "synthetic", True),
        ("BTC-USD", "synthetic", True),
        ("ETH-USD", "synthetic", True),
        ("ETH-USD", "synthetic", True),
    ]
    template = Path(strategy_package).parent / "templates" / "sma_cross.json"
    artefact = compile_strategy(template.read_text()).artefact
    assert artefact is not None
    assert {one.session.artefact_hash for one in first if one.title == "SMA cross"} == {artefact.hash}


async def test_a_session_that_was_stopped_is_followed_by_another(address, tmp_path):
    async with demo_at(address, tmp_path / "password") as demo:
        first = [one.session.session_id for one in await demo.set_up()]
        request = pb.StopSessionRequest(session_id=first[0], mode=pb.STOP_MODE_KEEP)
        await demo.forward_test.StopSession(request)
        again = [one.session.session_id for one in await demo.set_up()]
        assert again[0] not in first
        assert again[1:] == first[1:]
        assert [one.session.session_id for one in await demo.set_up()] == again


async def test_a_password_that_is_not_the_accounts_is_told(address, tmp_path):
    async with demo_at(address, tmp_path / "one") as demo:
        await demo.set_up()
    async with demo_at(address, tmp_path / "other") as demo:
        with pytest.raises(CommandError) as caught:
            await demo.set_up()
    assert caught.value.code == "demo_password"
    assert str(tmp_path / "other") in caught.value.message


async def test_a_token_is_renewed_within_its_login_and_by_a_new_login_where_that_has_ended(address, tmp_path, database):
    async def logins(demo: Demo) -> int:
        await demo.session(session_id)  # the token is good
        async with database.connect() as connection:
            return int((await connection.execute(text("SELECT count(*) FROM logins"))).scalar_one())

    async with demo_at(address, tmp_path / "password") as demo:
        session_id = (await demo.set_up())[0].session.session_id
        seen = {demo.account.token()}
        for _ in range(2):
            await demo.account.renew()
            seen.add(demo.account.token())
            assert await logins(demo) == 1
        async with database.begin() as connection:
            await connection.execute(text("UPDATE logins SET end_time = now()"))
        await demo.account.renew()
        seen.add(demo.account.token())
        assert await logins(demo) == 2
        assert len(seen) == 4
