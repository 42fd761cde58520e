"""`algotrade keys rotate`: another key signs tokens, and no good token is refused meanwhile."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from algotrade.cli.failure import failures_told, print_json
from algotrade.cli.options import JsonOption

keys = typer.Typer(name="keys", help="The keys that sign tokens.", no_args_is_help=True, rich_markup_mode=None)

_SAID: Final = {
    "nothing": "No rotation goes on.",
    "waiting": "Not yet.",
    "published": "A new key is published.",
    "promoted": "The new key signs; the old one is still published.",
    "retired": "The old key is gone; the rotation is over.",
}


@keys.command()
def rotate(
    begin: Annotated[bool, typer.Option(help="Begin a rotation where none goes on.")] = True,
    json: JsonOption = False,
) -> None:
    """Do the step of a rotation that is due: publish a new key, let it sign, retire the old one.

    Run it again for the next step. It works on the files of identity's data directory, or of ALGOTRADE_KEYS_DIR.
    """
    from algotrade.platform.key_ring import rotate as rotate_keys
    from algotrade.platform.settings import Settings

    with failures_told(as_json=json):
        settings = Settings()
        step = rotate_keys(settings.private_keys, settings.access_token_seconds, begin=begin)
        if json:
            print_json({"done": step.done, "wait_seconds": step.wait_seconds})
            return
        more = "" if step.wait_seconds is None else f" Run this again in {step.wait_seconds:.0f} s."
        typer.echo(_SAID[step.done] + more)
