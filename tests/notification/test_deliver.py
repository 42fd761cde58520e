"""What rules send outside: to a real receiver, at least once, a bounded number of times."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from algotrade.notification import deliver
from algotrade.notification.address import Addresses, Undelivered
from algotrade.notification.notice import Severity
from algotrade.platform import limits
from algotrade.platform.process import Platform
from algotrade.v1 import notification_service_pb2 as pb

SENT, FAILED, DROPPED = pb.DELIVERY_STATE_SENT, pb.DELIVERY_STATE_FAILED, pb.DELIVERY_STATE_DROPPED


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "PAUSES", (timedelta(0),))
    monkeypatch.setattr(deliver, "TRIES_A_CLAIM", 2)


async def test_what_a_rule_chooses_is_sent(reader: Any, trading: Any, receiver: Any) -> None:
    ada = await reader()
    session, other = trading(ada), trading(ada)
    channel = await ada.channel(receiver.url)
    tested = await ada.stub.TestChannel(pb.TestChannelRequest(channel_id=channel.channel_id))
    assert (tested.delivered, tested.failure) == (True, "")
    assert (await receiver.next())["title"] == "AlgoTrade: a test"

    await ada.rule(channel, min_severity=2, session_ids=[session.session_id])
    await other.halt()
    await session.entry()
    await session.exit("stop_loss")
    await session.halt()
    got = [await receiver.next() for _ in range(2)]
    assert {one["title"] for one in got} == {"mine: stop_loss: sold 5 AAA at 30", "mine: halted: trap"}
    assert {one["type"] for one in got} == {"warning", "failure"}
    assert {one["path"] for one in got} == {"/hook/s3cret"}
    first, second = await ada.deliveries(SENT, SENT)
    assert (first.attempts, first.failure, first.channel_id) == (1, "", channel.channel_id)
    assert first.sequence > second.sequence
    assert first.HasField("end_time")
    bob = await reader()
    assert await bob.deliveries() == []


async def test_what_is_not_taken_is_tried_again_and_then_given_up(reader: Any, trading: Any, receiver: Any) -> None:
    ada = await reader()
    session = trading(ada)
    await ada.rule(await ada.channel(receiver.url))
    receiver.answers += [500, 503, 500]
    await session.entry()
    (sent,) = await ada.deliveries(SENT)
    assert (sent.attempts, sent.failure) == (2, "")
    assert [(await receiver.next())["answered"] for _ in range(4)] == [500, 503, 500, 200]
    receiver.answers += [500] * 4
    await session.entry()
    failed, _ = await ada.deliveries(FAILED, SENT)
    assert (failed.attempts, failed.failure) == (2, "not_taken")
    assert receiver.taken.qsize() == 4


async def test_a_claim_that_ended_with_its_process_is_taken_up_again(
    reader: Any, trading: Any, receiver: Any, platform: Platform
) -> None:
    ada = await reader()
    rule = await ada.rule(await ada.channel(receiver.url))
    await trading(ada).entry()
    await ada.deliveries(SENT)
    async with platform.database.begin() as connection:  # as if it had died between sending and noting
        await connection.execute(text("UPDATE notification_deliveries SET state = 1, end_time = NULL"))
    (sent,) = await ada.deliveries(SENT)
    assert (sent.attempts, sent.rule_id) == (2, rule.rule_id)
    assert [(await receiver.next())["title"] for _ in range(2)] == ["mine: bought 5 AAA at 20"] * 2


async def test_a_throttle_holds_back_and_says_how_much(
    reader: Any, trading: Any, receiver: Any, platform: Platform
) -> None:
    ada = await reader()
    session = trading(ada)
    rule = await ada.rule(await ada.channel(receiver.url), throttle_seconds=3600, kinds=[pb.NOTIFICATION_KIND_ENTRY])
    for _ in range(4):
        await session.entry()
    await session.halt()
    await ada.inbox(5)
    await ada.deliveries(SENT)
    assert (await ada.stub.GetRule(pb.GetRuleRequest(rule_id=rule.rule_id))).rule.held_back == 3
    async with platform.database.begin() as connection:  # an hour later
        await connection.execute(text("UPDATE notification_rules SET send_time = send_time - interval '1 hour'"))
    await session.entry()
    await ada.deliveries(SENT, SENT)
    first, second = await receiver.next(), await receiver.next()
    assert "held back" not in first["message"]
    assert second["message"].endswith("(3 more were held back.)")
    assert (await ada.stub.GetRule(pb.GetRuleRequest(rule_id=rule.rule_id))).rule.held_back == 0


async def test_two_rules_send_once_a_channel_and_one_that_is_off_sends_nothing(
    reader: Any, trading: Any, receiver: Any
) -> None:
    ada = await reader()
    session = trading(ada)
    channel = await ada.channel(receiver.url)
    for _ in range(2):
        await ada.rule(channel)
    await session.entry()
    await ada.deliveries(SENT)
    for rule in (await ada.stub.ListRules(pb.ListRulesRequest())).rules:
        await ada.stub.UpdateRule(
            pb.UpdateRuleRequest(rule_id=rule.rule_id, disabled=True, update_mask={"paths": ["disabled"]})
        )
    await session.entry()
    await ada.inbox(2)
    assert len(await ada.deliveries(SENT)) == 1
    assert receiver.taken.qsize() == 1


async def test_what_waits_is_bounded(reader: Any, trading: Any, receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_WAITING_DELIVERIES", 0)
    ada = await reader()
    await ada.rule(await ada.channel(receiver.url))
    await trading(ada).entry()
    (dropped,) = await ada.deliveries(DROPPED)
    assert (dropped.attempts, dropped.HasField("end_time")) == (0, True)
    assert receiver.taken.empty()


async def test_a_rejection_is_sent_once_a_while(reader: Any, trading: Any, receiver: Any) -> None:
    ada = await reader()
    session = trading(ada)
    await ada.rule(await ada.channel(receiver.url))
    for _ in range(30):
        await session.rejection()
    await session.entry()
    await ada.deliveries(SENT, SENT)
    assert receiver.taken.qsize() == 2


def addresses(*, allow_private: bool, seconds: float = 5) -> Addresses:
    return Addresses(("json",), allow_private=allow_private, seconds=seconds, threads=2)


async def undelivered(sender: Addresses, url: str) -> str:
    with pytest.raises(Undelivered) as caught:
        await sender.send(url, "title", "body", Severity.INFO)
    return caught.value.failure


async def test_a_private_host_is_refused_where_it_is_connected_to(
    receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that was public when the channel was made may lead anywhere later."""
    lookup = socket.getaddrinfo

    def lie(host: Any, *arguments: Any, **named: Any) -> Any:
        return lookup("127.0.0.1" if host == "rebound.example.com" else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lie)
    url = f"json://rebound.example.com:{receiver.port}/"
    assert await undelivered(addresses(allow_private=False), url) == "refused_address"
    assert receiver.taken.empty()
    await addresses(allow_private=True).send(url, "title", "body", Severity.INFO)
    assert receiver.taken.qsize() == 1
    with socket.create_connection(("127.0.0.1", receiver.port)):
        pass  # nobody else is held to it


async def test_a_redirection_is_not_followed(receiver: Any) -> None:
    receiver.answers.append(f"http://127.0.0.1:{receiver.port}/elsewhere")
    url = f"json://127.0.0.1:{receiver.port}/first?redirect=yes"
    assert await undelivered(addresses(allow_private=True), url) == "not_taken"
    assert [receiver.taken.get()["path"]] == ["/first"]
    assert receiver.taken.empty()


async def test_a_receiver_that_trickles_is_cut_off() -> None:
    gone = asyncio.Event()

    async def trickle(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        writing.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        try:
            while await reading.read(1000):
                pass
        except ConnectionError:
            pass
        gone.set()
        writing.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sender = addresses(allow_private=True, seconds=0.3)
    assert await undelivered(sender, f"json://127.0.0.1:{port}/?rto=1000&cto=1000") == "timed_out"
    async with asyncio.timeout(20):
        await gone.wait()
    server.close()


async def test_an_address_that_is_no_longer_allowed_is_not_sent_to() -> None:
    assert await undelivered(addresses(allow_private=True), "xml://127.0.0.1/") == "unreadable_channel"
