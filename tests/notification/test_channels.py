"""Channels and rules: kept, changed, bounded, each user's own; and an address is never given away."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from joserfc.jwk import ECKey
from sqlalchemy import text

from algotrade.notification.guard import is_public
from algotrade.notification.seal import Seal
from algotrade.platform import limits
from algotrade.platform.errors import info, violations
from algotrade.platform.process import Platform
from algotrade.platform.settings import Settings
from algotrade.v1 import notification_service_pb2 as pb

SECRETS = {
    "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV": "discord://****",
    "mailtos://me:passw0rd@gmail.com": "mailtos://****",
    "tgram://123456789:abcdefg_hijklmnop/12315544/": "tgram://****",
    "json://user:passw0rd@example.com:81/T0ken?key=T0ken": "json://example.com:81/****",
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"channel_private_hosts": False})


async def failure(awaitable: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


async def test_an_address_is_never_given_away(
    reader: Any, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ada = await reader()
    found = []
    for url, masked in SECRETS.items():
        channel = await ada.channel(url, request_id=str(uuid.uuid4()))
        assert channel.masked_url == masked
        found.append((await ada.stub.GetChannel(pb.GetChannelRequest(channel_id=channel.channel_id))).channel)
        assert found[-1] == channel
    assert list((await ada.stub.ListChannels(pb.ListChannelsRequest())).channels) == found[::-1]
    parts = ("4174216298", "JHMHI8", "passw0rd", "T0ken", "abcdefg")
    async with platform.database.connect() as connection:
        stored = str((await connection.execute(text("SELECT * FROM notification_channels"))).all())
        answers = str((await connection.execute(text("SELECT answer FROM request_ids"))).all())
    for part in parts:
        assert any(part in url for url in SECRETS)
        assert part not in stored + answers + str(found) + caplog.text


REFUSED = [
    ("nonsense", "scheme_not_allowed"),
    ("file:///etc/passwd", "scheme_not_allowed"),
    ("exec://ls", "scheme_not_allowed"),
    ("dbus://", "scheme_not_allowed"),
    ("[", "scheme_not_allowed"),
    ("json://", "unreadable"),
    ("discord://nothing", "unreadable"),
    ("json://127.0.0.1/x", "host_not_allowed"),
    ("jsons://localhost", "host_not_allowed"),
    ("json://2130706433/", "host_not_allowed"),
    ("xml://[::1]/", "host_not_allowed"),
    ("form://169.254.169.254/latest/meta-data", "host_not_allowed"),
    ("json://10.1.2.3", "host_not_allowed"),
    ("mailto://u:p@example.com?smtp=127.0.0.1", "host_not_allowed"),
]


async def test_an_address_to_which_nothing_may_be_sent(reader: Any) -> None:
    ada = await reader()
    for url, cause in REFUSED:
        error = await failure(ada.channel(url))
        assert (error.code(), info(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CHANNEL_URL_INVALID"), url
        assert (info(error).metadata["cause"], list(violations(error))) == (cause, ["url"]), url
    assert not (await ada.stub.ListChannels(pb.ListChannelsRequest())).channels


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        *((one, False) for one in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0")),
        *(
            (one, False)
            for one in ("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1")
        ),
        *(
            (one, False)
            for one in ("::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "ff02::1", "example.com", "")
        ),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_a_seal_opens_only_what_it_has_closed() -> None:
    seal, other = Seal(ECKey.generate_key("P-256")), Seal(ECKey.generate_key("P-256"))
    sealed = seal.close("json://secret")
    assert seal.open(sealed) == "json://secret"
    assert seal.close("json://secret") != sealed
    for wrong in (lambda: other.open(sealed), lambda: seal.open(sealed[:-3] + "AAA"), lambda: seal.open("plain")):
        with pytest.raises(ValueError, match="sealed"):
            wrong()


async def test_channels_and_rules_are_kept_changed_and_deleted(reader: Any) -> None:
    ada = await reader()
    url = "json://example.com/one"
    first, second = await ada.channel(url), await ada.channel(url, name="second")
    rule = await ada.rule(first, kinds=[2, 1], min_severity=2, throttle_seconds=60)
    assert list(rule.choice.kinds) == [1, 2]
    assert (rule.choice.min_severity, rule.choice.throttle_seconds, rule.disabled) == (2, 60, False)
    assert (await ada.stub.GetRule(pb.GetRuleRequest(rule_id=rule.rule_id))).rule == rule

    mask = FieldMask(paths=["channel_id", "disabled"])
    change = pb.UpdateRuleRequest(
        rule_id=rule.rule_id, update_mask=mask, channel_id=second.channel_id, disabled=True, choice=pb.RuleChoice()
    )
    changed = (await ada.stub.UpdateRule(change)).rule
    assert (changed.channel_id, changed.disabled, changed.choice) == (second.channel_id, True, rule.choice)
    whole = pb.UpdateRuleRequest(rule_id=rule.rule_id, update_mask=FieldMask(paths=["choice"]))
    assert (await ada.stub.UpdateRule(whole)).rule.choice == pb.RuleChoice()

    named = pb.UpdateChannelRequest(
        channel_id=first.channel_id,
        update_mask=FieldMask(paths=["name", "url"]),
        name="new",
        url="jsons://example.org/x",
    )
    renamed = (await ada.stub.UpdateChannel(named)).channel
    assert (renamed.name, renamed.masked_url, renamed.create_time) == (
        "new",
        "jsons://example.org/****",
        first.create_time,
    )
    pages = []
    token = ""
    while True:
        page = await ada.stub.ListChannels(pb.ListChannelsRequest(page_size=1, page_token=token))
        pages.append([one.channel_id for one in page.channels])
        token = page.next_page_token
        if not token:
            break
    assert pages == [[second.channel_id], [first.channel_id]]
    error = await failure(ada.stub.ListRules(pb.ListRulesRequest(page_token="x")))
    assert info(error).reason == "PAGE_TOKEN_INVALID"

    await ada.stub.DeleteChannel(pb.DeleteChannelRequest(channel_id=second.channel_id))
    assert not (await ada.stub.ListRules(pb.ListRulesRequest())).rules, "its rules go with it"
    rule = await ada.rule(first)
    await ada.stub.DeleteRule(pb.DeleteRuleRequest(rule_id=rule.rule_id))
    error = await failure(ada.stub.DeleteRule(pb.DeleteRuleRequest(rule_id=rule.rule_id)))
    assert info(error).reason == "RULE_NOT_FOUND"


async def test_a_repeated_request_makes_nothing_twice(reader: Any) -> None:
    ada = await reader()
    again = str(uuid.uuid4())
    channel = await ada.channel("json://example.com/1", request_id=again)
    assert await ada.channel("json://example.com/1", request_id=again) == channel
    error = await failure(ada.channel("json://example.com/2", request_id=again))
    assert info(error).reason == "REQUEST_ID_REUSED"
    request = pb.CreateRuleRequest(request_id=str(uuid.uuid4()), channel_id=channel.channel_id)
    assert await ada.stub.CreateRule(request) == await ada.stub.CreateRule(request)
    assert len((await ada.stub.ListRules(pb.ListRulesRequest())).rules) == 1


async def test_nobody_sees_or_touches_anothers(reader: Any) -> None:
    ada, bob = await reader(), await reader()
    channel = await ada.channel("json://example.com/")
    rule = await ada.rule(channel)
    own = await bob.rule(await bob.channel("json://example.com/"))
    mask = FieldMask(paths=["name"])
    key, rule_key = {"channel_id": channel.channel_id}, {"rule_id": rule.rule_id}
    of_mine = pb.UpdateRuleRequest(rule_id=own.rule_id, update_mask=FieldMask(paths=["channel_id"]), **key)
    for call, request in (
        (bob.stub.GetChannel, pb.GetChannelRequest(**key)),
        (bob.stub.UpdateChannel, pb.UpdateChannelRequest(update_mask=mask, name="x", **key)),
        (bob.stub.TestChannel, pb.TestChannelRequest(**key)),
        (bob.stub.DeleteChannel, pb.DeleteChannelRequest(**key)),
        (bob.stub.CreateRule, pb.CreateRuleRequest(**key)),
        (bob.stub.UpdateRule, of_mine),
        (bob.stub.GetRule, pb.GetRuleRequest(**rule_key)),
        (bob.stub.UpdateRule, pb.UpdateRuleRequest(update_mask=FieldMask(paths=["disabled"]), **rule_key)),
        (bob.stub.DeleteRule, pb.DeleteRuleRequest(**rule_key)),
    ):
        error = await failure(call(request))
        assert error.code() == grpc.StatusCode.NOT_FOUND
        assert info(error).reason in ("CHANNEL_NOT_FOUND", "RULE_NOT_FOUND")
    assert [one.rule_id for one in (await bob.stub.ListRules(pb.ListRulesRequest())).rules] == [own.rule_id]
    assert (await ada.stub.GetRule(pb.GetRuleRequest(**rule_key))).rule == rule


async def test_bad_rules_and_channels_change_nothing(reader: Any) -> None:
    ada = await reader()
    channel = await ada.channel("json://example.com/")
    key = {"channel_id": channel.channel_id}
    for request in (
        pb.CreateRuleRequest(channel_id="x"),
        pb.CreateRuleRequest(choice=pb.RuleChoice(kinds=[0]), **key),
        pb.CreateRuleRequest(choice=pb.RuleChoice(kinds=[99]), **key),
        pb.CreateRuleRequest(choice=pb.RuleChoice(kinds=[1, 1]), **key),
        pb.CreateRuleRequest(choice=pb.RuleChoice(session_ids=["x"]), **key),
        pb.CreateRuleRequest(choice=pb.RuleChoice(min_severity=9), **key),
        pb.CreateRuleRequest(choice=pb.RuleChoice(throttle_seconds=-1), **key),
        pb.CreateRuleRequest(choice=pb.RuleChoice(throttle_seconds=86_401), **key),
    ):
        error = await failure(ada.stub.CreateRule(request))
        assert info(error).reason == "FIELD_INVALID"
    assert not (await ada.stub.ListRules(pb.ListRulesRequest())).rules
    for change in (
        pb.UpdateChannelRequest(name="x", **key),
        pb.UpdateChannelRequest(update_mask=FieldMask(paths=["channel_id"]), **key),
        pb.UpdateChannelRequest(update_mask=FieldMask(paths=["name"]), **key),
        pb.UpdateChannelRequest(update_mask=FieldMask(paths=["url"]), url="json://127.0.0.1", **key),
    ):
        error = await failure(ada.stub.UpdateChannel(change))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert list((await ada.stub.ListChannels(pb.ListChannelsRequest())).channels) == [channel]


async def test_an_account_keeps_so_many(reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_NOTIFICATION_CHANNELS", 1)
    monkeypatch.setattr(limits, "MAX_NOTIFICATION_RULES", 1)
    ada = await reader()
    channel = await ada.channel("json://example.com/")
    await ada.rule(channel)
    for awaitable in (ada.channel("json://example.com/"), ada.rule(channel)):
        error = await failure(awaitable)
        assert (error.code(), info(error).reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
