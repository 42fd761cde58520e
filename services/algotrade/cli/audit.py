"""`algotrade audit`: what was done in accounts' names, and whether the log of it is whole."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import orjson
import typer

from algotrade.cli.failure import CommandError, failures_told, print_json
from algotrade.cli.options import JsonOption

if TYPE_CHECKING:
    from algotrade.platform.audit import AuditEvent


def audit(
    last: Annotated[int, typer.Option(min=0, max=10_000, help="How many events to print.")] = 20,
    export: Annotated[
        Path | None, typer.Option(help="Write the whole log there, an entry a line, with its hash; to keep elsewhere.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="An earlier export: see that all it has is in the log, as it was.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check the audit log's chain of hashes, and print its newest events. A broken chain is a failure.

    The chain alone cannot tell that its newest events are gone, or that all of it was written anew: an export that is
    kept elsewhere can.
    """
    with failures_told(as_json=json):
        events, head = asyncio.run(_read(last, export, against))
        if json:
            print_json({"whole": True, "head": head, "events": [event.as_json() for event in events]})
            return
        for event in events:
            facts = " ".join(f"{name}={value}" for name, value in sorted(event.facts.items()))
            actor = str(event.actor) if event.actor else "-"
            typer.echo(f"{event.time.isoformat(timespec='milliseconds')}  {actor:36}  {event.action}  {facts}".rstrip())
        typer.echo("The chain is whole.")


async def _read(last: int, export: Path | None, against: Path | None) -> tuple[list[AuditEvent], str]:
    """Return the newest events and the chain's last hash, after the whole of it was followed."""
    from algotrade.platform import log
    from algotrade.platform.audit import Chain, entries
    from algotrade.platform.database import open_database
    from algotrade.platform.settings import Settings

    settings = Settings()
    if settings.database_dsn is None and not (settings.data_dir / "postgres").is_dir():
        message = f"{settings.data_dir}: no platform has run here; ALGOTRADE_DATA_DIR names another directory"
        raise CommandError("data_dir_unusable", message, path=str(settings.data_dir))
    log.configure(settings.model_copy(update={"log_level": "warning"}), sys.__stderr__)
    known = _exported(against) if against else {}
    newest: deque[AuditEvent] = deque(maxlen=last)
    chain = Chain()
    output: TextIO | None = export.open("w", encoding="utf-8") if export else None
    try:
        async with open_database(settings) as database, database.connect() as connection:
            async for entry in entries(connection):
                if not chain.follows(entry) or known.pop(entry.number, entry.hash) != entry.hash:
                    raise _broken(chain.next if entry.number >= chain.next else entry.number)
                newest.append(entry.event)
                if output:
                    output.write(orjson.dumps(entry.as_json()).decode() + "\n")
    finally:
        if output:
            output.close()
    if known:
        raise _broken(min(known))
    return list(newest), chain.hash.hex()


def _broken(number: int) -> CommandError:
    message = f"the audit log is not as it was written, from event {number} on"
    return CommandError("audit_log_broken", message, number=number)


def _exported(path: Path) -> dict[int, bytes]:
    """Return the hash of each entry of an export, which must be whole itself. Raises CommandError."""
    from algotrade.platform.audit import Chain, Entry

    chain, found = Chain(), {}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                entry = Entry.of_json(orjson.loads(line))
                if not chain.follows(entry):
                    break
                found[entry.number] = entry.hash
            else:
                return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError("audit_export_unusable", f"{path}: {error}", path=str(path)) from None
    message = f"{path}: entry {chain.next} is missing or was changed"
    raise CommandError("audit_export_unusable", message, path=str(path))
