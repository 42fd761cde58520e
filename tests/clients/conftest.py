"""The whole platform, as `algotrade up` runs it, behind its gateway; once a worker of the tests."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.cli.serve import everything, fixed_addresses
from algotrade.identity.postgres_admin import PostgresAdminStore
from algotrade.platform.database import open_engine
from algotrade.platform.settings import Settings
from clients.callers import Caller, Grpc, Rest, Web
from clients.samples import World

STREAMS_PER_USER = 6
ADDRESSES = ("grpc_address", "http_address", "gateway_address", "envoy_admin_address")


@dataclass
class Stage:
    """Where the platform is, how to call it, and who has done so already."""

    settings: Settings
    database: AsyncEngine
    direct: Grpc
    through: dict[str, Caller]  # by the way: direct, grpc, web, rest
    worlds: dict[str, World] = field(default_factory=dict)

    async def world(self, name: str = "ada") -> World:
        """Return a user of this name, the same for every test that asks. Ada is an administrator too."""
        if name not in self.worlds:
            self.worlds[name] = await (self.administrator() if name == "ada" else self.newcomer())
        return self.worlds[name]

    async def administrator(self) -> World:
        """Return a new user whom the command line has made an administrator."""
        world = await self.newcomer()
        assert await PostgresAdminStore(self.database).set_admin(world.email, is_admin=True)
        await world.log_in()
        return world

    async def newcomer(self) -> World:
        return await World.registered(self.direct)


@asynccontextmanager
async def own_database(url: URL, name: str, settings: Settings) -> AsyncIterator[URL]:
    """Make a database that no other test empties."""
    async with open_engine(url, settings) as engine:
        plain = engine.execution_options(isolation_level="AUTOCOMMIT")
        async with plain.connect() as connection:
            await connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield url.set(database=name)
        finally:
            async with plain.connect() as connection:
                await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="package")  # it trades and polls as long as it runs, and takes that from all other tests
async def stage(database_url: URL, migrated: Any, session_settings: Settings) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(own_database(database_url, "clients", session_settings))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="at-clients-"))
        free = dict.fromkeys(ADDRESSES, "127.0.0.1:0")
        given = {
            "data_dir": Path(folder),
            "database_dsn": SecretStr(url.render_as_string(hide_password=False)),
            "streams_per_user": STREAMS_PER_USER,
            "rate_limits": False,
            "synthetic_ticks_per_second": 5,
            "bus_poll_seconds": 1,  # all is in one process, where nobody need look to be told
            "access_token_seconds": 3600,  # they are kept for as long as the tests run
        }
        settings = fixed_addresses(session_settings.model_copy(update=free | given))
        await stack.enter_async_context(everything(settings))
        database = await stack.enter_async_context(open_engine(url, settings))
        direct, edge = Grpc(settings.grpc_address), settings.gateway_address
        through: dict[str, Caller] = {"direct": direct, "grpc": Grpc(edge), "web": Web(edge), "rest": Rest(edge)}
        for caller in through.values():
            stack.push_async_callback(caller.close)
        yield Stage(settings, database, direct, through)


@pytest.fixture
async def ada(stage: Stage) -> World:
    """Return the user who owns things, and administers."""
    return await stage.world("ada")


@pytest.fixture
async def root(stage: Stage) -> World:
    """Return another administrator, who has nothing."""
    if "root" not in stage.worlds:
        stage.worlds["root"] = await stage.administrator()
    return stage.worlds["root"]


@pytest.fixture
async def bob(stage: Stage) -> World:
    """Return another user."""
    return await stage.world("bob")


@pytest.fixture
async def eve(stage: Stage) -> World:
    """Return a user who has nothing, not even what others have alike."""
    return await stage.world("eve")
