"""Calls that take effect once: the first answer to a `request_id` is kept and given again.

The id is taken in the transaction that does the work, so what is made and that it was made are decided together.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

from google.protobuf.message import Message
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from algotrade.platform.errors import AlreadyExists, NotFound


@dataclass(frozen=True, slots=True)
class Once:
    """A user's request, by its id: which call, with which body (as a digest), and what it is answered if it is new."""

    user_id: str
    request_id: str
    call: str
    digest: bytes
    answer: bytes

    @classmethod
    def of(cls, user_id: str, call: str, request: Message, answer: Message) -> Once | None:
        """Read a request with a field `request_id`; None where that is empty: then the client wants no such care."""
        request_id: str = request.request_id  # type: ignore[attr-defined]
        if not request_id:
            return None
        digest = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
        return cls(user_id, request_id, call, digest, answer.SerializeToString())


async def lock_user(connection: AsyncConnection, user_id: str) -> None:
    """Hold the caller's row until the transaction ends, so that two calls cannot both pass a limit or take one id.

    Raises NotFound where the account is gone.
    """
    statement = text("SELECT 1 FROM users WHERE user_id = :user_id FOR NO KEY UPDATE")
    if (await connection.execute(statement, {"user_id": UUID(user_id)})).first() is None:
        raise NotFound("USER_NOT_FOUND", "the account is gone")


async def earlier_answer(connection: AsyncConnection, once: Once) -> bytes | None:
    """Take the id; None where it is new, else the first answer. Raises AlreadyExists where the body is another.

    Of two calls with one id the second waits for the transaction of the first.
    """
    taken = await connection.execute(
        text("""
            INSERT INTO request_ids (user_id, request_id, call, digest, answer)
            VALUES (:user_id, :request_id, :call, :digest, :answer)
            ON CONFLICT (user_id, request_id) DO NOTHING
            RETURNING request_id
        """),
        {
            "user_id": UUID(once.user_id),
            "request_id": UUID(once.request_id),
            "call": once.call,
            "digest": once.digest,
            "answer": once.answer,
        },
    )
    return None if taken.first() is not None else await known_answer(connection, once)


async def known_answer(connection: AsyncConnection, once: Once) -> bytes | None:
    """Return the first answer and take nothing; None where the id is new. Raises as `earlier_answer` does."""
    found = await connection.execute(
        text("SELECT call, digest, answer FROM request_ids WHERE user_id = :user_id AND request_id = :request_id"),
        {"user_id": UUID(once.user_id), "request_id": UUID(once.request_id)},
    )
    first = found.first()
    if first is None:
        return None
    if (first.call, bytes(first.digest)) != (once.call, once.digest):
        raise AlreadyExists(
            "REQUEST_ID_REUSED", "the request_id was used with another body", request_id=once.request_id
        )
    return bytes(first.answer)
