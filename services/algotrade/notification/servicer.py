"""NotificationService on the wire: messages in, messages out."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any, Final

from google.protobuf.message import Message
from grpc.aio import ServicerContext

from algotrade.notification.address import Addresses, Undelivered
from algotrade.notification.messages import (
    channel_message,
    choice_of,
    delivery_message,
    notification_message,
    rule_message,
    timestamp,
)
from algotrade.notification.notice import Channel, ChannelChange, Rule, RuleChange, Severity
from algotrade.notification.postgres_channels import no_channel, no_rule
from algotrade.notification.seal import Seal
from algotrade.notification.store import ChannelStore, DeliveryStore, InboxStore
from algotrade.notification.stream import Heartbeat, Streamer
from algotrade.platform import paging
from algotrade.platform.caller import principal
from algotrade.platform.clock import Clock, utc
from algotrade.platform.once import Once
from algotrade.v1 import notification_service_pb2 as pb
from algotrade.v1 import notification_service_pb2_grpc as pb_grpc
from algotrade.v1 import types_pb2

Context = ServicerContext[Any, Any]

LIST_NOTIFICATIONS: Final = "ListNotifications"
LIST_CHANNELS: Final = "ListChannels"
LIST_RULES: Final = "ListRules"
LIST_DELIVERIES: Final = "ListDeliveries"
PAGE: Final = (50, 500)  # by default, at most
TEST_TITLE: Final = "AlgoTrade: a test"
TEST_BODY: Final = "This channel works."


class NotificationServicer(pb_grpc.NotificationServiceServicer):
    """Translates between messages and who keeps, who follows, who sends."""

    def __init__(
        self,
        inboxes: InboxStore,
        channels: ChannelStore,
        deliveries: DeliveryStore,
        streamer: Streamer,
        addresses: Addresses,
        seal: Seal,
        clock: Clock,
    ) -> None:
        """Take them."""
        self._inboxes = inboxes
        self._channels = channels
        self._deliveries = deliveries
        self._streamer = streamer
        self._addresses = addresses
        self._seal = seal
        self._clock = clock

    async def StreamNotifications(
        self, request: pb.StreamNotificationsRequest, context: Context
    ) -> AsyncGenerator[pb.StreamNotificationsResponse, None]:
        """Send what follows a cursor, and heartbeats in silence."""
        after = request.after_sequence if request.HasField("after_sequence") else None
        async with aclosing(self._streamer.follow(principal().user_id, after)) as items:
            async for item in items:
                if isinstance(item, Heartbeat):
                    beat = types_pb2.Heartbeat(time=timestamp(item.time_ns))
                    yield pb.StreamNotificationsResponse(sequence=item.sequence, heartbeat=beat)
                else:
                    told = notification_message(item)
                    yield pb.StreamNotificationsResponse(sequence=item.sequence, notification=told)

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Context
    ) -> pb.ListNotificationsResponse:
        """Return a page of the caller's notifications, the newest first."""
        user_id, size = principal().user_id, paging.page_size(request.page_size, *PAGE)
        keys = paging.read_token(LIST_NOTIFICATIONS, request.page_token, 1)
        before = None if keys is None else _number(keys[0])
        inbox = await self._inboxes.inbox(user_id)  # first, or a stream from its last one on might miss some
        found = await self._inboxes.before(user_id, before, size + 1, unread=request.unread)
        page = found[:size]
        return pb.ListNotificationsResponse(
            notifications=[notification_message(one) for one in page],
            next_page_token=paging.write_token(LIST_NOTIFICATIONS, page[-1].sequence) if len(found) > size else "",
            unread_count=inbox.unread,
            last_sequence=inbox.last,
        )

    async def MarkRead(self, request: pb.MarkReadRequest, context: Context) -> pb.MarkReadResponse:
        """Note that notifications were read."""
        user_id = principal().user_id
        ids, up_to = list(request.notification_ids), request.up_to_sequence
        marked = await self._inboxes.mark_read(user_id, ids, up_to, self._now())
        return pb.MarkReadResponse(marked=marked, unread_count=(await self._inboxes.inbox(user_id)).unread)

    async def CreateChannel(self, request: pb.CreateChannelRequest, context: Context) -> pb.CreateChannelResponse:
        """Keep an address outside."""
        user_id = principal().user_id
        address = await self._addresses.read(request.url)
        channel = Channel(
            channel_id=str(uuid.uuid4()),
            user_id=user_id,
            name=request.name,
            sealed_url=self._seal.close(request.url),
            service=address.service,
            masked_url=address.masked,
            create_time=self._now(),
        )
        answer = pb.CreateChannelResponse(channel=channel_message(channel))
        earlier = await self._channels.create_channel(channel, self._once("CreateChannel", request, answer))
        return answer if earlier is None else pb.CreateChannelResponse.FromString(earlier)

    async def GetChannel(self, request: pb.GetChannelRequest, context: Context) -> pb.GetChannelResponse:
        """Return one of the caller's channels."""
        return pb.GetChannelResponse(channel=channel_message(await self._channel(request.channel_id)))

    async def ListChannels(self, request: pb.ListChannelsRequest, context: Context) -> pb.ListChannelsResponse:
        """Return a page of the caller's channels, the newest first."""
        size = paging.page_size(request.page_size, *PAGE)
        before = _before(LIST_CHANNELS, request.page_token)
        found = await self._channels.channels(principal().user_id, before, size + 1)
        page, token = found[:size], ""
        if len(found) > size:
            token = paging.write_token(LIST_CHANNELS, page[-1].create_time.isoformat(), page[-1].channel_id)
        return pb.ListChannelsResponse(channels=[channel_message(one) for one in page], next_page_token=token)

    async def UpdateChannel(self, request: pb.UpdateChannelRequest, context: Context) -> pb.UpdateChannelResponse:
        """Change the fields that the mask names."""
        user_id, masked = principal().user_id, set(request.update_mask.paths)
        await self._channel(request.channel_id)
        address = None
        if "url" in masked:
            found = await self._addresses.read(request.url)
            address = self._seal.close(request.url), found.service, found.masked
        change = ChannelChange(request.name if "name" in masked else None, address)
        changed = await self._channels.change_channel(user_id, request.channel_id, change)
        if changed is None:
            raise no_channel(request.channel_id)
        return pb.UpdateChannelResponse(channel=channel_message(changed))

    async def DeleteChannel(self, request: pb.DeleteChannelRequest, context: Context) -> pb.DeleteChannelResponse:
        """Delete one of the caller's channels."""
        if not await self._channels.delete_channel(principal().user_id, request.channel_id):
            raise no_channel(request.channel_id)
        return pb.DeleteChannelResponse()

    async def TestChannel(self, request: pb.TestChannelRequest, context: Context) -> pb.TestChannelResponse:
        """Send a test message now."""
        channel = await self._channel(request.channel_id)
        try:
            url = self._seal.open(channel.sealed_url)
            await self._addresses.send(url, TEST_TITLE, TEST_BODY, Severity.INFO)
        except ValueError:
            return pb.TestChannelResponse(failure="unreadable_channel")
        except Undelivered as error:
            return pb.TestChannelResponse(failure=error.failure)
        return pb.TestChannelResponse(delivered=True)

    async def CreateRule(self, request: pb.CreateRuleRequest, context: Context) -> pb.CreateRuleResponse:
        """Have notifications sent."""
        rule = Rule(
            rule_id=str(uuid.uuid4()),
            user_id=principal().user_id,
            channel_id=request.channel_id,
            choice=choice_of(request.choice),
            create_time=self._now(),
        )
        answer = pb.CreateRuleResponse(rule=rule_message(rule))
        earlier = await self._channels.create_rule(rule, self._once("CreateRule", request, answer))
        return answer if earlier is None else pb.CreateRuleResponse.FromString(earlier)

    async def GetRule(self, request: pb.GetRuleRequest, context: Context) -> pb.GetRuleResponse:
        """Return one of the caller's rules."""
        found = await self._channels.rule(principal().user_id, request.rule_id)
        if found is None:
            raise no_rule(request.rule_id)
        return pb.GetRuleResponse(rule=rule_message(found))

    async def ListRules(self, request: pb.ListRulesRequest, context: Context) -> pb.ListRulesResponse:
        """Return a page of the caller's rules, the newest first."""
        size = paging.page_size(request.page_size, *PAGE)
        found = await self._channels.rules(principal().user_id, _before(LIST_RULES, request.page_token), size + 1)
        page, token = found[:size], ""
        if len(found) > size:
            token = paging.write_token(LIST_RULES, page[-1].create_time.isoformat(), page[-1].rule_id)
        return pb.ListRulesResponse(rules=[rule_message(one) for one in page], next_page_token=token)

    async def UpdateRule(self, request: pb.UpdateRuleRequest, context: Context) -> pb.UpdateRuleResponse:
        """Change the fields that the mask names."""
        masked = set(request.update_mask.paths)
        change = RuleChange(
            channel_id=request.channel_id if "channel_id" in masked else None,
            choice=choice_of(request.choice) if "choice" in masked else None,
            disabled=request.disabled if "disabled" in masked else None,
        )
        changed = await self._channels.change_rule(principal().user_id, request.rule_id, change)
        if changed is None:
            raise no_rule(request.rule_id)
        return pb.UpdateRuleResponse(rule=rule_message(changed))

    async def DeleteRule(self, request: pb.DeleteRuleRequest, context: Context) -> pb.DeleteRuleResponse:
        """Delete one of the caller's rules."""
        if not await self._channels.delete_rule(principal().user_id, request.rule_id):
            raise no_rule(request.rule_id)
        return pb.DeleteRuleResponse()

    async def ListDeliveries(self, request: pb.ListDeliveriesRequest, context: Context) -> pb.ListDeliveriesResponse:
        """Return a page of what was sent or is to be."""
        size = paging.page_size(request.page_size, *PAGE)
        keys = paging.read_token(LIST_DELIVERIES, request.page_token, 2)
        before = None if keys is None else (_number(keys[0]), _id(keys[1]))
        found = await self._deliveries.deliveries(principal().user_id, before, size + 1)
        page, token = found[:size], ""
        if len(found) > size:
            token = paging.write_token(LIST_DELIVERIES, page[-1].sequence, page[-1].channel_id)
        return pb.ListDeliveriesResponse(deliveries=[delivery_message(one) for one in page], next_page_token=token)

    async def _channel(self, channel_id: str) -> Channel:
        found = await self._channels.channel(principal().user_id, channel_id)
        if found is None:
            raise no_channel(channel_id)
        return found

    def _once(self, call: str, request: Message, answer: Message) -> Once | None:
        return Once.of(principal().user_id, call, request, answer)

    def _now(self) -> datetime:
        return utc(self._clock.now_ns())


def _before(call: str, token: str) -> tuple[datetime, str] | None:
    keys = paging.read_token(call, token, 2)
    if keys is None:
        return None
    try:
        create_time = datetime.fromisoformat(str(keys[0]))
    except ValueError:
        raise paging.bad_token() from None
    if create_time.tzinfo is None:
        raise paging.bad_token()
    return create_time, _id(keys[1])


def _number(key: str | int) -> int:
    if not isinstance(key, int) or not 0 <= key < 2**63:
        raise paging.bad_token()
    return key


def _id(key: str | int) -> str:
    try:
        return str(uuid.UUID(str(key)))
    except ValueError:
        raise paging.bad_token() from None
