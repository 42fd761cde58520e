"""`algotrade migrate`: bring the database's schema to what this version needs, before its services start."""

from __future__ import annotations

import asyncio
import sys

import typer

from algotrade.cli.failure import failures_told, print_json
from algotrade.cli.options import JsonOption


def migrate(json: JsonOption = False) -> None:
    """Migrate the database that ALGOTRADE_DATABASE_DSN names. Twice is as good as once."""
    with failures_told(as_json=json):
        asyncio.run(_migrate())
        if json:
            print_json({"migrated": True})
        else:
            typer.echo("The schema is the newest.")


async def _migrate() -> None:
    from algotrade.platform import log
    from algotrade.platform.database import open_database
    from algotrade.platform.settings import Settings

    settings = Settings()
    log.configure(settings.model_copy(update={"log_level": "warning"}), sys.__stderr__)
    async with open_database(settings.model_copy(update={"migrate_at_start": True})):
        pass
