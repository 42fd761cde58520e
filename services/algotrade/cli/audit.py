"""`algotrade audit`: what was done in accounts' names, and whether the log of it is whole."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import orjson
import typer

from algotrade.cli.failure import CommandError, failures_told, print_json
from algotrade.cli.options import JsonOption
from algotrade.cli.platforms_database import platforms_database

if TYPE_CHECKING:
    from algotrade.forward_test.postgres_seals import Finding
    from algotrade.platform.audit import AuditEvent


audit = typer.Typer(name="audit", rich_markup_mode=None)


@audit.callback(invoke_without_command=True)
def look(
    context: typer.Context,
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
    kept elsewhere can. `verify` holds the trades against the log as well.
    """
    if context.invoked_subcommand is not None:
        return
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


@audit.command()
def verify(json: JsonOption = False) -> None:
    """Follow the whole chain, and hold every trade against what the log has of it: an edited or missing one is told."""
    with failures_told(as_json=json):
        events, trades, gone = asyncio.run(_verify())
        if json:
            print_json({"whole": True, "events": events, "trades": trades, "deleted_trades": gone})
            return
        typer.echo(f"{events} events: the chain is whole. {trades} trades are as they were; {gone} were deleted since.")


async def _verify() -> tuple[int, int, int]:
    """Return how many events there are, trades that are as they were, and trades that went with what users deleted."""
    from algotrade.forward_test.postgres_seals import SealCheck
    from algotrade.platform.audit import Chain, entries

    async with platforms_database() as database, database.connect() as connection, database.connect() as beside:
        chain, check = Chain(), SealCheck(beside)
        async for entry in entries(connection):
            if not chain.follows(entry):
                raise _broken(chain.next)
            async for finding in check.follow(entry):
                raise _wrong(finding)
        for finding in check.missing():
            raise _wrong(finding)
        return chain.next - 1, check.trades, check.gone


def _wrong(finding: Finding) -> CommandError:
    place = {"session_id": finding.session_id} if finding.session_id else {}
    return CommandError("audited_trades_differ", str(finding), number=finding.number, **place)


async def _read(last: int, export: Path | None, against: Path | None) -> tuple[list[AuditEvent], str]:
    """Return the newest events and the chain's last hash, after the whole of it was followed."""
    from algotrade.platform.audit import Chain, entries

    known = _exported(against) if against else {}
    newest: deque[AuditEvent] = deque(maxlen=last)
    chain = Chain()
    output: TextIO | None = export.open("w", encoding="utf-8") if export else None
    try:
        async with platforms_database() as database, database.connect() as connection:
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
