"""Passwords are not found by trying: after some wrong ones for an address none is looked at for a while."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from sqlalchemy import text

from algotrade.platform.errors import info
from algotrade.v1 import identity_service_pb2 as pb

from .conftest import PASSWORD, failure

MOST, REST = 3, 600


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"password_guesses": MOST, "password_rest_seconds": REST})


def attempt(stub, password, email="ada@example.com"):
    return stub.Login(pb.LoginRequest(email=email, password=password))


async def wrong(stub, email="ada@example.com"):
    error = await failure(attempt(stub, "guess after guess", email))
    return error.code().name, info(error).reason


async def test_after_so_many_wrong_ones_the_right_one_is_not_looked_at_either(stub, enter, clock):
    ada = await enter()
    assert [await wrong(stub) for _ in range(MOST)] == [("UNAUTHENTICATED", "CREDENTIALS_INVALID")] * MOST
    error = await failure(attempt(stub, PASSWORD))
    assert (error.code().name, info(error).reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_GUESSES")
    [retry] = [one for one in rpc_status.from_call(error).details if one.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
    delay = error_details_pb2.RetryInfo()
    retry.Unpack(delay)
    assert 0 < delay.retry_delay.seconds <= REST
    assert (await ada.me()).user == ada.user  # whoever is in stays in …
    await ada.refresh()
    clock.ahead_seconds += REST + 1
    assert (await attempt(stub, PASSWORD)).user == ada.user  # … and nobody is kept out for good


async def test_an_address_without_an_account_is_told_the_same(stub):
    said = [await wrong(stub, "nobody@example.com") for _ in range(MOST + 1)]
    assert said[-2:] == [("UNAUTHENTICATED", "CREDENTIALS_INVALID"), ("RESOURCE_EXHAUSTED", "TOO_MANY_GUESSES")]


async def test_the_right_password_begins_anew(stub, enter):
    await enter()
    for _ in range(2):
        assert [await wrong(stub) for _ in range(MOST - 1)] == [("UNAUTHENTICATED", "CREDENTIALS_INVALID")] * (MOST - 1)
        await attempt(stub, PASSWORD)


async def test_of_tries_that_come_together_only_so_many_are_looked_at(stub, enter):
    await enter()
    said = Counter(await asyncio.gather(*(wrong(stub) for _ in range(4 * MOST))))
    assert said == {
        ("UNAUTHENTICATED", "CREDENTIALS_INVALID"): MOST,
        ("RESOURCE_EXHAUSTED", "TOO_MANY_GUESSES"): 3 * MOST,
    }


async def test_the_current_password_cannot_be_guessed_with_a_stolen_token(stub, enter):
    ada = await enter()
    request = pb.ChangePasswordRequest(current_password="not this one", new_password="another one of mine")
    said = [info(await failure(stub.ChangePassword(request, **ada.as_me()))).reason for _ in range(MOST + 1)]
    assert said == ["PASSWORD_WRONG"] * MOST + ["TOO_MANY_GUESSES"]


async def test_addresses_are_not_kept_and_neither_are_old_counts(stub, database, clock):
    await wrong(stub, "nobody@example.com")
    clock.ahead_seconds += REST + 1
    await wrong(stub, "somebody@example.com")
    async with database.connect() as connection:
        rows = (await connection.execute(text("SELECT * FROM password_guesses"))).all()
    assert len(rows) == 1
    assert "example" not in str(rows)
