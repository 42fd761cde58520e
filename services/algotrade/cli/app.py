"""The commands of `algotrade`, and how a mistake in calling them is reported."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from algotrade.cli.admins import admins
from algotrade.cli.audit import audit
from algotrade.cli.backtest import backtest
from algotrade.cli.certs import certs
from algotrade.cli.compile import compile_
from algotrade.cli.data import data
from algotrade.cli.doctor import doctor
from algotrade.cli.events import events
from algotrade.cli.explain import explain
from algotrade.cli.failure import print_failure
from algotrade.cli.keys import keys
from algotrade.cli.migrate import migrate
from algotrade.cli.nodes import nodes
from algotrade.cli.optimize import optimize
from algotrade.cli.stack import stack
from algotrade.cli.topics import topics
from algotrade.cli.up import up

app = typer.Typer(
    name="algotrade",
    help="Draw a trading strategy; compile it once; backtest, paper-trade and explain the same bytes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("algotrade"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.add_typer(admins)
app.add_typer(audit)
app.command()(backtest)
app.add_typer(certs)
app.command("compile")(compile_)
app.add_typer(data)
app.add_typer(events)
app.command()(doctor)
app.command()(explain)
app.add_typer(keys)
app.command()(migrate)
app.command()(nodes)
app.command()(optimize)
app.add_typer(stack)
app.command()(topics)
app.command()(up)


def main() -> None:
    """Run the command line. A wrong call exits with 2, a failure with 1."""
    if "--json" not in sys.argv[1:]:
        app()
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        print_failure("usage", error.format_message())
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    sys.exit(code if isinstance(code, int) else 0)
