"""Digests: what a rule gathers is one delivery, sent in its time, with the promise that each by itself has."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from algotrade.notification import deliver
from algotrade.notification.build import build
from algotrade.platform import limits
from algotrade.platform.errors import violations
from algotrade.platform.process import Platform, serving
from algotrade.v1 import notification_service_pb2 as pb

PENDING, SENT, FAILED = pb.DELIVERY_STATE_PENDING, pb.DELIVERY_STATE_SENT, pb.DELIVERY_STATE_FAILED
HOUR = 3600


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "PAUSES", (timedelta(0),))
    monkeypatch.setattr(deliver, "TRIES_A_CLAIM", 2)


async def an_hour_later(platform: Platform) -> None:
    async with platform.database.begin() as connection:
        await connection.execute(
            text("UPDATE notification_deliveries SET due_time = due_time - interval '1 hour' WHERE state = 1")
        )


async def test_what_comes_within_its_time_is_one_message(
    reader: Any, trading: Any, receiver: Any, platform: Platform
) -> None:
    ada = await reader()
    session = trading(ada)
    rule = await ada.rule(await ada.channel(receiver.url), digest_seconds=HOUR)
    assert rule.choice.digest_seconds == HOUR
    await session.entry()
    await session.exit("stop_loss")
    await session.halt()
    await ada.inbox(3)
    (waiting,) = await ada.deliveries(PENDING)
    assert (list(waiting.entries), waiting.attempts) == ([1, 2, 3], 0)
    assert receiver.taken.empty()
    await an_hour_later(platform)
    (sent,) = await ada.deliveries(SENT)
    assert (list(sent.entries), sent.sequence, sent.rule_id, sent.attempts) == ([1, 2, 3], 1, rule.rule_id, 1)
    got = await receiver.next()
    assert (got["title"], got["type"]) == ("3 notifications", "failure")
    told = {line.split(" UTC ")[1] for line in got["message"].splitlines()}
    assert told == {"mine: bought 5 AAA at 20", "mine: stop_loss: sold 5 AAA at 30", "mine: halted: trap"}
    assert receiver.taken.empty()

    await session.entry()
    await ada.inbox(4)
    newest, _ = await ada.deliveries(PENDING, SENT)
    assert list(newest.entries) == [4]
    await an_hour_later(platform)
    await ada.deliveries(SENT, SENT)
    assert (await receiver.next())["title"] == "mine: bought 5 AAA at 20", "one alone needs no digest"


async def test_one_that_is_full_is_sent_at_once(
    reader: Any, trading: Any, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_DIGEST_ENTRIES", 3)
    ada = await reader()
    await ada.rule(await ada.channel(receiver.url), digest_seconds=HOUR)
    session = trading(ada)
    for _ in range(7):
        await session.entry()
    await ada.inbox(7)
    found = await ada.deliveries(PENDING, SENT, SENT)
    assert [list(one.entries) for one in found] == [[7], [4, 5, 6], [1, 2, 3]]
    assert receiver.taken.qsize() == 2


async def test_one_that_is_not_taken_is_tried_again_whole_and_nothing_is_added_to_it(
    reader: Any, trading: Any, receiver: Any, platform: Platform
) -> None:
    ada = await reader()
    await ada.rule(await ada.channel(receiver.url), digest_seconds=HOUR)
    session = trading(ada)
    await session.entry()
    await session.exit()
    await ada.inbox(2)
    receiver.answers += [500, 500, 500]
    await an_hour_later(platform)
    (sent,) = await ada.deliveries(SENT)
    assert (sent.attempts, list(sent.entries)) == (2, [1, 2])
    got = [await receiver.next() for _ in range(4)]
    assert [one["answered"] for one in got] == [500, 500, 500, 200]
    assert len({one["message"] for one in got}) == 1

    await session.entry()
    await ada.inbox(3)
    async with platform.database.begin() as connection:  # as if one were on its way, by a process that then dies
        await connection.execute(text("UPDATE notification_deliveries SET attempts = 1 WHERE state = 1"))
    await session.entry()
    await ada.inbox(4)
    found = await ada.deliveries(PENDING, PENDING, SENT)
    assert [list(one.entries) for one in found] == [[4], [3], [1, 2]]
    receiver.answers += [500] * 2
    await an_hour_later(platform)
    failed = [one for one in await ada.deliveries(SENT, FAILED, SENT) if one.state == FAILED]
    assert [(list(one.entries), one.failure) for one in failed] == [([3], "not_taken")]


async def test_it_outlives_the_process_that_began_it(
    reader: Any, trading: Any, receiver: Any, platform: Platform
) -> None:
    async with serving(platform, [build]) as first:
        ada = await reader(on=first)
        await ada.rule(await ada.channel(receiver.url), digest_seconds=HOUR)
        await trading(ada).entry()
        await ada.inbox(1)
    async with serving(platform, [build]) as second:
        ada = await reader(ada.user_id, on=second)
        await trading(ada).halt()
        await ada.inbox(2)
        await an_hour_later(platform)
        (sent,) = await ada.deliveries(SENT)
    assert list(sent.entries) == [1, 2]
    assert (await receiver.next())["title"] == "2 notifications"
    assert receiver.taken.empty()


async def test_what_another_rule_sends_there_at_once_is_in_no_digest(
    reader: Any, trading: Any, receiver: Any, platform: Platform
) -> None:
    ada = await reader()
    channel = await ada.channel(receiver.url)
    digest = await ada.rule(channel, digest_seconds=HOUR)
    await ada.rule(channel, kinds=[pb.NOTIFICATION_KIND_HALT])
    session = trading(ada)
    await session.entry()
    await ada.inbox(1)
    await session.halt()
    halted, gathered = await ada.deliveries(SENT, PENDING)
    assert (list(halted.entries), list(gathered.entries)) == ([], [1])
    await ada.stub.DeleteRule(pb.DeleteRuleRequest(rule_id=digest.rule_id))
    await an_hour_later(platform)
    sent = (await ada.deliveries(SENT, SENT))[1]
    assert (list(sent.entries), sent.rule_id) == ([1], ""), "what was chosen before is still sent"


async def test_it_is_sent_before_what_it_holds_leaves_the_inbox(
    reader: Any, trading: Any, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_NOTIFICATIONS", 20)
    ada = await reader()
    await ada.rule(await ada.channel(receiver.url), digest_seconds=HOUR, kinds=[pb.NOTIFICATION_KIND_HALT])
    session = trading(ada)
    await session.halt()
    await ada.inbox(1)
    for _ in range(9):
        await session.entry()
    await ada.inbox(10)
    await ada.deliveries(PENDING)
    await session.entry()
    assert [list(one.entries) for one in await ada.deliveries(SENT)] == [[1]]


async def test_a_rule_has_one_pace(reader: Any, receiver: Any) -> None:
    ada = await reader()
    channel = await ada.channel(receiver.url)
    for wrong in ({"digest_seconds": 60, "throttle_seconds": 60}, {"digest_seconds": -1}, {"digest_seconds": 86401}):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ada.rule(channel, **wrong)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert all(path.startswith("choice") for path in violations(caught.value))
    rule = await ada.rule(channel, throttle_seconds=60)
    changed = await ada.stub.UpdateRule(
        pb.UpdateRuleRequest(
            rule_id=rule.rule_id, choice=pb.RuleChoice(digest_seconds=60), update_mask={"paths": ["choice"]}
        )
    )
    assert (changed.rule.choice.digest_seconds, changed.rule.choice.throttle_seconds) == (60, 0)
