"""Page tokens: opaque to the caller, bound to the call and the user they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

import orjson

from algotrade.platform.caller import principal
from algotrade.platform.errors import InvalidArgument

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1000


def page_size(asked: int, default: int = DEFAULT_PAGE_SIZE, most: int = MAX_PAGE_SIZE) -> int:
    """Return how many entries to give: 0 asks for the default, more than the most gets the most."""
    return min(asked or default, most)


def write_token(call: str, *after: str | int) -> str:
    """Return a token for what follows the entry with these keys. `call` names the list, also whose trades they are."""
    return base64.urlsafe_b64encode(orjson.dumps([call, _owner(), *after])).decode().rstrip("=")


def read_token(call: str, token: str, keys: int) -> list[str | int] | None:
    """Return the keys of a token of this call and user; None for the first page; InvalidArgument for anything else."""
    if not token:
        return None
    try:
        found = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        found = None
    if not isinstance(found, list) or found[:2] != [call, _owner()] or len(found) != keys + 2:
        raise bad_token()
    if any(isinstance(key, bool) or not isinstance(key, str | int) for key in found):
        raise bad_token()
    return found[2:]


def _owner() -> str:
    """Name the caller without telling who it is: a token may lie about in logs and links."""
    return hashlib.sha256(f"page:{principal().user_id}".encode()).hexdigest()[:16]


def bad_token() -> InvalidArgument:
    """Return the error for a page token that this call did not make."""
    return InvalidArgument(
        "PAGE_TOKEN_INVALID",
        "the page token was not made by this call",
        violations=[("page_token", "was not made by this call")],
    )
