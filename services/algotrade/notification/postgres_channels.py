"""Channels and rules in PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from algotrade.notification import rows
from algotrade.notification.notice import Channel, ChannelChange, Rule, RuleChange
from algotrade.platform import limits
from algotrade.platform.errors import NotFound
from algotrade.platform.once import Once, earlier_answer, lock_user
from algotrade.platform.quotas import check_room

_ADD_CHANNEL: Final = text(f"""
    INSERT INTO notification_channels ({rows.CHANNEL})
    VALUES (:channel_id, :user_id, :name, :sealed_url, :service, :masked_url, :create_time)
""")
_CHANGE_CHANNEL: Final = text(f"""
    UPDATE notification_channels SET name = coalesce(:name, name), sealed_url = coalesce(:sealed_url, sealed_url),
        service = coalesce(:service, service), masked_url = coalesce(:masked_url, masked_url)
    WHERE channel_id = :channel_id AND user_id = :user_id RETURNING {rows.CHANNEL}
""")
_ADD_RULE: Final = text("""
    INSERT INTO notification_rules (rule_id, user_id, channel_id, kinds, session_ids, strategy_ids, min_severity,
        throttle_seconds, digest_seconds, disabled, create_time)
    VALUES (:rule_id, :user_id, :channel_id, :kinds, :session_ids, :strategy_ids, :min_severity, :throttle_seconds,
        :digest_seconds, :disabled, :create_time)
""")


class PostgresChannels:
    """The port `ChannelStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Take the pool to read and write through."""
        self._engine = engine

    async def create_channel(self, channel: Channel, once: Once | None) -> bytes | None:
        """Insert under a lock on the account."""
        async with self._engine.begin() as connection:
            await lock_user(connection, channel.user_id)
            if once is not None and (answer := await earlier_answer(connection, once)) is not None:
                return answer
            await _check_room(connection, channel.user_id, "channels", limits.MAX_NOTIFICATION_CHANNELS)
            await connection.execute(
                _ADD_CHANNEL,
                {
                    "channel_id": UUID(channel.channel_id),
                    "user_id": UUID(channel.user_id),
                    "name": channel.name,
                    "sealed_url": channel.sealed_url,
                    "service": channel.service,
                    "masked_url": channel.masked_url,
                    "create_time": channel.create_time,
                },
            )
        return None

    async def channel(self, user_id: str, channel_id: str) -> Channel | None:
        """Select by primary key and owner."""
        query = text(f"SELECT {rows.CHANNEL} FROM notification_channels WHERE {_mine('channel')}")
        async with self._engine.connect() as connection:
            row = (await connection.execute(query, _keys(user_id, channel_id))).first()
        return None if row is None else rows.channel(row)

    async def channels(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[Channel]:
        """Select along the index of each user's newest."""
        query, where = _newest("channel", rows.CHANNEL, user_id, before, count)
        async with self._engine.connect() as connection:
            return [rows.channel(row) for row in await connection.execute(query, where)]

    async def change_channel(self, user_id: str, channel_id: str, change: ChannelChange) -> Channel | None:
        """Update by primary key and owner."""
        sealed, service, masked = change.address or (None, None, None)
        where = {
            "channel_id": UUID(channel_id),
            "user_id": UUID(user_id),
            "name": change.name,
            "sealed_url": sealed,
            "service": service,
            "masked_url": masked,
        }
        async with self._engine.begin() as connection:
            row = (await connection.execute(_CHANGE_CHANNEL, where)).first()
        return None if row is None else rows.channel(row)

    async def delete_channel(self, user_id: str, channel_id: str) -> bool:
        """Delete by primary key and owner; rules and deliveries go by cascade."""
        return await self._delete("channel", user_id, channel_id)

    async def create_rule(self, rule: Rule, once: Once | None) -> bytes | None:
        """Insert under a lock on the account."""
        async with self._engine.begin() as connection:
            await lock_user(connection, rule.user_id)
            if once is not None and (answer := await earlier_answer(connection, once)) is not None:
                return answer
            await _check_room(connection, rule.user_id, "rules", limits.MAX_NOTIFICATION_RULES)
            await _check_channel(connection, rule.user_id, rule.channel_id)
            await connection.execute(
                _ADD_RULE,
                {
                    "rule_id": UUID(rule.rule_id),
                    "user_id": UUID(rule.user_id),
                    "channel_id": UUID(rule.channel_id),
                    "disabled": rule.disabled,
                    "create_time": rule.create_time,
                    **rows.choice(rule.choice),
                },
            )
        return None

    async def rule(self, user_id: str, rule_id: str) -> Rule | None:
        """Select by primary key and owner."""
        query = text(f"SELECT {rows.RULE} FROM notification_rules WHERE {_mine('rule')}")
        async with self._engine.connect() as connection:
            row = (await connection.execute(query, _keys(user_id, rule_id))).first()
        return None if row is None else rows.rule(row)

    async def rules(self, user_id: str, before: tuple[datetime, str] | None, count: int) -> list[Rule]:
        """Select along the index of each user's newest."""
        query, where = _newest("rule", rows.RULE, user_id, before, count)
        async with self._engine.connect() as connection:
            return [rows.rule(row) for row in await connection.execute(query, where)]

    async def change_rule(self, user_id: str, rule_id: str, change: RuleChange) -> Rule | None:
        """Update by primary key and owner, under a lock on the account."""
        values: dict[str, Any] = {} if change.choice is None else rows.choice(change.choice)
        if change.disabled is not None:
            values["disabled"] = change.disabled
        if change.channel_id is not None:
            values["channel_id"] = UUID(change.channel_id)
        columns = ", ".join(f"{name} = :{name}" for name in values)
        query = text(f"UPDATE notification_rules SET {columns} WHERE {_mine('rule')} RETURNING {rows.RULE}")
        async with self._engine.begin() as connection:
            await lock_user(connection, user_id)
            if change.channel_id is not None:
                await _check_channel(connection, user_id, change.channel_id)
            row = (await connection.execute(query, {**values, **_keys(user_id, rule_id)})).first()
        return None if row is None else rows.rule(row)

    async def delete_rule(self, user_id: str, rule_id: str) -> bool:
        """Delete by primary key and owner."""
        return await self._delete("rule", user_id, rule_id)

    async def _delete(self, thing: str, user_id: str, key: str) -> bool:
        query = text(f"DELETE FROM notification_{thing}s WHERE {_mine(thing)}")
        async with self._engine.begin() as connection:
            return (await connection.execute(query, _keys(user_id, key))).rowcount == 1


def _mine(thing: str) -> str:
    return f"{thing}_id = :key AND user_id = :owner"


def _keys(user_id: str, key: str) -> dict[str, UUID]:
    return {"key": UUID(key), "owner": UUID(user_id)}


def _newest(
    thing: str, columns: str, user_id: str, before: tuple[datetime, str] | None, count: int
) -> tuple[TextClause, dict[str, Any]]:
    where: dict[str, Any] = {"user_id": UUID(user_id), "count": count}
    which = ""
    if before is not None:
        which = f"AND (create_time, {thing}_id) < (:create_time, :key)"
        where |= {"create_time": before[0], "key": UUID(before[1])}
    query = f"""
        SELECT {columns} FROM notification_{thing}s WHERE user_id = :user_id {which}
        ORDER BY create_time DESC, {thing}_id DESC LIMIT :count
    """
    return text(query), where


async def _check_room(connection: AsyncConnection, user_id: str, things: str, most: int) -> None:
    query = text(f"SELECT count(*) FROM notification_{things} WHERE user_id = :user_id")
    count: int = (await connection.execute(query, {"user_id": UUID(user_id)})).scalar_one()
    check_room(f"notification_{things}", count + 1, most)


async def _check_channel(connection: AsyncConnection, user_id: str, channel_id: str) -> None:
    query = text(f"SELECT 1 FROM notification_channels WHERE {_mine('channel')}")
    if (await connection.execute(query, _keys(user_id, channel_id))).first() is None:
        raise no_channel(channel_id)


def no_channel(channel_id: str) -> NotFound:
    """Return the error for a channel that is not there, or somebody else's."""
    return NotFound("CHANNEL_NOT_FOUND", "no such channel", channel_id=channel_id)


def no_rule(rule_id: str) -> NotFound:
    """Return the error for a rule that is not there, or somebody else's."""
    return NotFound("RULE_NOT_FOUND", "no such rule", rule_id=rule_id)
