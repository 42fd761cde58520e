"""`algotrade admins`: who may call AdminService. No call can say so: it takes the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from algotrade.cli.failure import CommandError, failures_told, print_json
from algotrade.cli.options import JsonOption
from algotrade.cli.platforms_database import platforms_database

if TYPE_CHECKING:
    from algotrade.identity.postgres_admin import PostgresAdminStore

admins = typer.Typer(name="admins", help="Who administers.", no_args_is_help=True, rich_markup_mode=None)

EmailArgument = Annotated[str, typer.Argument(help="The address of an account.")]
Answer = TypeVar("Answer")


@admins.command("list")
def list_(json: JsonOption = False) -> None:
    """Print the addresses of the administrators."""
    with failures_told(as_json=json):
        found = asyncio.run(_with_store(lambda store: store.admins()))
        if json:
            print_json({"admins": [one.email for one in found]})
            return
        for one in found:
            typer.echo(one.email)


@admins.command()
def add(email: EmailArgument, json: JsonOption = False) -> None:
    """Make an account an administrator's. Its user logs in anew: tokens given before end within a second."""
    _set(email, is_admin=True, json=json)


@admins.command()
def remove(email: EmailArgument, json: JsonOption = False) -> None:
    """Make an administrator a user like others; tokens given before end within a second."""
    _set(email, is_admin=False, json=json)


def _set(email: str, *, is_admin: bool, json: bool) -> None:
    with failures_told(as_json=json):
        found = asyncio.run(_with_store(lambda store: store.set_admin(email, is_admin=is_admin)))
        if found is None:
            raise CommandError("user_not_found", f"{email}: no account has that address", email=email)
        if json:
            print_json({"email": found.email, "user_id": found.user_id, "admin": is_admin})
        else:
            typer.echo(f"{found.email} is {'an' if is_admin else 'no'} administrator.")


async def _with_store(ask: Callable[[PostgresAdminStore], Awaitable[Answer]]) -> Answer:
    from algotrade.identity.postgres_admin import PostgresAdminStore

    async with platforms_database() as database:
        return await ask(PostgresAdminStore(database))
