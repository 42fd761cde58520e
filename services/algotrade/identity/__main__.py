"""Wires identity; `python -m algotrade.identity` runs it alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import grpc
from argon2 import PasswordHasher

from algotrade.identity.authenticate import Authenticator, Lifetimes
from algotrade.identity.build_admin import build_admin
from algotrade.identity.exchange import ApiKeys
from algotrade.identity.passwords import Passwords
from algotrade.identity.postgres import PostgresAccountStore
from algotrade.identity.postgres_api_keys import PostgresApiKeyStore
from algotrade.identity.postgres_guesses import PostgresGuesses
from algotrade.identity.postgres_logins import PostgresLoginStore
from algotrade.identity.servicer import IdentityServicer
from algotrade.identity.upstream import BACKTEST, FORWARD_TEST, Upstream
from algotrade.platform.mesh import Channels
from algotrade.platform.process import Platform, run
from algotrade.platform.server import Mount
from algotrade.platform.settings import Settings
from algotrade.v1 import identity_service_pb2 as pb
from algotrade.v1 import identity_service_pb2_grpc as pb_grpc


@asynccontextmanager
async def build(platform: Platform, upstream: grpc.aio.Channel | None = None) -> AsyncIterator[Mount]:
    """Build the service on a platform.

    ``upstream`` reaches sessions and backtests; without one they are where the settings say.
    """
    settings, database = platform.settings, platform.database
    channels = Channels(settings, upstream, lambda: platform.signer.service_token("identity"))
    authenticator = Authenticator(
        PostgresAccountStore(database),
        PostgresLoginStore(database),
        PostgresGuesses(database, settings.password_guesses, timedelta(seconds=settings.password_rest_seconds)),
        await asyncio.to_thread(Passwords, PasswordHasher()),  # hashes once
        Upstream(channels.to(FORWARD_TEST), channels.to(BACKTEST)),
        platform.signer,
        platform.clock,
        Lifetimes(settings.access_token_seconds, settings.refresh_token_seconds, settings.login_seconds),
        platform.revocations.announce,
    )
    api_keys = ApiKeys(
        PostgresApiKeyStore(database),
        platform.signer,
        platform.clock,
        settings.access_token_seconds,
        platform.revocations.announce,
    )
    try:
        yield Mount(
            pb.DESCRIPTOR.services_by_name["IdentityService"],
            partial(pb_grpc.add_IdentityServiceServicer_to_server, IdentityServicer(authenticator, api_keys)),
            {"database": platform.database_probe} | platform.aids,
            frozenset(platform.aids),
        )
    finally:
        await channels.close()


if __name__ == "__main__":
    asyncio.run(run(Settings(), [build, build_admin]))
