"""What an account may keep: asked by whoever adds to it, in that transaction, under a lock on the account."""

from __future__ import annotations

from algotrade.platform.errors import ResourceExhausted
from algotrade.platform.limits import MIB


def check_room(limit: str, wanted: int, most: int, *, owner: str = "an account", retry_seconds: float = 0) -> None:
    """Raise ResourceExhausted, which names the limit, where more is wanted than an owner keeps.

    ``wanted`` counts what is there and what is added. ``retry_seconds``: where room comes by itself.
    """
    if wanted <= most:
        return
    things = limit.replace("_", " ")
    bound = (
        f"{most / MIB:g} MiB of {things.removesuffix(' bytes')} data"
        if limit.endswith("_bytes")
        else f"{most} {things}"
    )
    sentence = f"{owner} keeps at most {bound}"
    raise ResourceExhausted("LIMIT_REACHED", sentence, retry_seconds=retry_seconds, limit=limit, value=most)
