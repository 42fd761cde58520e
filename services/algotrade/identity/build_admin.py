"""Composes AdminService, which lives in identity's process: it is about accounts, and ends their tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from algotrade.identity.admin_servicer import AdminServicer
from algotrade.identity.administer import Administrator
from algotrade.identity.postgres_admin import PostgresAdminStore
from algotrade.platform.process import Platform
from algotrade.platform.server import Mount
from algotrade.v1 import admin_service_pb2 as pb
from algotrade.v1 import admin_service_pb2_grpc as pb_grpc


@asynccontextmanager
async def build_admin(platform: Platform) -> AsyncIterator[Mount]:
    """Build the service on a platform."""
    administrator = Administrator(PostgresAdminStore(platform.database), platform.clock, platform.revocations.announce)
    yield Mount(
        pb.DESCRIPTOR.services_by_name["AdminService"],
        partial(pb_grpc.add_AdminServiceServicer_to_server, AdminServicer(administrator)),
        {"database": platform.database_probe},
    )
