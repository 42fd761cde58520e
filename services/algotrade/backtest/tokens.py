"""What page tokens of this service hold: a moment and an id, or a number."""

from __future__ import annotations

import uuid
from datetime import datetime

from algotrade.platform import paging


def moment_and_id(call: str, token: str) -> tuple[datetime, str] | None:
    """Read the moment and the id of the last entry before; None for the first page."""
    keys = paging.read_token(call, token, 2)
    if keys is None:
        return None
    try:
        create_time, found_id = datetime.fromisoformat(str(keys[0])), str(uuid.UUID(str(keys[1])))
    except ValueError:
        raise paging.bad_token() from None
    if create_time.tzinfo is None:
        raise paging.bad_token()
    return create_time, found_id


def number_after(call: str, token: str) -> int:
    """Read how many entries are before; 0 for the first page."""
    keys = paging.read_token(call, token, 1)
    if keys is None:
        return 0
    if not isinstance(keys[0], int) or not 0 <= keys[0] < 2**31:
        raise paging.bad_token()
    return keys[0]
