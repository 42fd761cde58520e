"""The database of a platform that runs, or has run, for commands that look into it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from algotrade.cli.failure import CommandError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


@asynccontextmanager
async def platforms_database() -> AsyncIterator[AsyncEngine]:
    """Open the database of the settings. Raises CommandError where no platform has run."""
    from algotrade.platform import log
    from algotrade.platform.database import open_database
    from algotrade.platform.settings import Settings

    settings = Settings()
    if settings.database_dsn is None and not (settings.data_dir / "postgres").is_dir():
        message = f"{settings.data_dir}: no platform has run here; ALGOTRADE_DATA_DIR names another directory"
        raise CommandError("data_dir_unusable", message, path=str(settings.data_dir))
    log.configure(settings.model_copy(update={"log_level": "warning"}), sys.__stderr__)
    async with open_database(settings) as database:
        yield database
