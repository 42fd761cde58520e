"""`algotrade audit`: what happened to accounts, and whether the log of it is whole."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from algotrade.cli.failure import CommandError, failures_told, print_json
from algotrade.cli.options import JsonOption

if TYPE_CHECKING:
    from algotrade.platform.audit import AuditEvent


def audit(
    last: Annotated[int, typer.Option(min=0, max=10_000, help="How many events to print.")] = 20,
    json: JsonOption = False,
) -> None:
    """Check the audit log's chain of hashes, and print its newest events. A broken chain is a failure."""
    with failures_told(as_json=json):
        events, broken = asyncio.run(_read(last))
        if broken is not None:
            message = f"the audit log is not as it was written, from event {broken} on"
            raise CommandError("audit_log_broken", message, number=broken)
        if json:
            print_json({"whole": True, "events": [event_json(event) for event in events]})
            return
        for event in events:
            facts = " ".join(f"{name}={value}" for name, value in sorted(event.facts.items()))
            actor = str(event.actor) if event.actor else "-"
            typer.echo(f"{event.time.isoformat(timespec='milliseconds')}  {actor:36}  {event.action}  {facts}".rstrip())
        typer.echo("The chain is whole.")


def event_json(event: AuditEvent) -> dict[str, Any]:
    """An event as a plain object."""
    return {
        "time": event.time.isoformat(),
        "actor": str(event.actor) if event.actor else None,
        "action": event.action,
        "facts": dict(event.facts),
        "correlation_id": event.correlation_id,
    }


async def _read(last: int) -> tuple[list[AuditEvent], int | None]:
    from algotrade.platform import log
    from algotrade.platform.audit import first_broken, newest
    from algotrade.platform.database import open_database
    from algotrade.platform.settings import Settings

    settings = Settings()
    if settings.database_dsn is None and not (settings.data_dir / "postgres").is_dir():
        message = f"{settings.data_dir}: no platform has run here; ALGOTRADE_DATA_DIR names another directory"
        raise CommandError("data_dir_unusable", message, path=str(settings.data_dir))
    log.configure(settings.model_copy(update={"log_level": "warning"}), sys.__stderr__)
    async with open_database(settings) as database, database.connect() as connection:
        return await newest(connection, last), await first_broken(connection)
