"""`algotrade certs dev`: certificates by which services know each other, for development."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from algotrade.cli.failure import failures_told, print_json
from algotrade.cli.options import JsonOption

certs = typer.Typer(
    name="certs", help="Certificates by which services know each other.", no_args_is_help=True, rich_markup_mode=None
)


@certs.command()
def dev(
    directory: Annotated[Path, typer.Argument(help="Where they go: a folder a process.")] = Path(".algotrade/certs"),
    days: Annotated[int, typer.Option(min=1, max=365, help="How long they are good.")] = 30,
    trust_domain: Annotated[str, typer.Option(help="The name that all of them have in common.")] = "algotrade.local",
    json: JsonOption = False,
) -> None:
    """Write a certificate for each service and the gateway, of an authority that is made the first time.

    Run again, it writes new ones of the same authority; what runs takes them within a second or two. The authority's
    key lies beside: for development only.
    """
    from algotrade.stack.authority import EVERY_PROCESS, write_development

    with failures_told(as_json=json):
        write_development(directory, trust_domain, timedelta(days=days))
        if json:
            print_json({"directory": str(directory), "processes": list(EVERY_PROCESS), "days": days})
            return
        typer.echo(f"{directory}: certificates of {', '.join(EVERY_PROCESS)}, good for {days} days.")
