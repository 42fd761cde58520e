"""`algotrade audit` on a real database, whole and tampered with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from cli.answers import Answer, Call
from sqlalchemy import text

from algotrade.identity.postgres_accounts import record
from algotrade.platform import audit
from algotrade.platform.clock import SystemClock, utc


@pytest.fixture
async def ask(
    call: Call, database, database_url, open_account, monkeypatch
) -> Callable[..., Awaitable[tuple[Answer, str]]]:
    """Return ``await ask(tampering, arguments…)``: the command's answer on a log of three events, and their actor."""
    user_id = await open_account()
    for number in range(3):
        async with database.begin() as connection:
            await record(connection, utc(SystemClock().now_ns()), user_id, f"tested_{number}", number=str(number))
    async with database.connect() as connection:
        actor = str((await connection.execute(text("SELECT audit_actor FROM users"))).scalar_one())
    monkeypatch.setenv("ALGOTRADE_DATABASE_DSN", database_url.render_as_string(hide_password=False))

    async def run(tampering: str, *arguments: object) -> tuple[Answer, str]:
        if tampering:
            async with database.begin() as connection:
                await connection.execute(text("ALTER TABLE audit_log DISABLE TRIGGER append_only"))
                await connection.execute(text(tampering))
                await connection.execute(text("ALTER TABLE audit_log ENABLE TRIGGER append_only"))
        return await asyncio.to_thread(call, "audit", *arguments), actor

    return run


async def test_the_newest_events_of_a_whole_log(ask):
    answer, actor = await ask("", "--last", 2)
    lines = answer.out.splitlines()
    assert [line.split()[1:] for line in lines[:-1]] == [[actor, f"tested_{n}", f"number={n}"] for n in (1, 2)]
    assert (answer.code, lines[-1]) == (0, "The chain is whole.")


async def test_the_same_as_json(ask):
    answer, actor = await ask("", "--json")
    found = json.loads(answer.out)
    assert (answer.code, found["whole"]) == (0, True)
    assert [(event["action"], event["actor"]) for event in found["events"]] == [
        (f"tested_{n}", actor) for n in range(3)
    ]


async def test_a_broken_chain_is_a_failure(ask):
    answer, _ = await ask("UPDATE audit_log SET action = 'nothing' WHERE number = 2", "--json")
    error = json.loads(answer.out)["error"]
    assert (answer.code, error["code"], error["number"]) == (1, "audit_log_broken", 2)


def test_where_nothing_has_run_nothing_is_made(call, tmp_path, monkeypatch):
    monkeypatch.setenv("ALGOTRADE_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.delenv("ALGOTRADE_DATABASE_DSN", raising=False)
    answer = call("audit", "--json")
    assert (answer.code, json.loads(answer.out)["error"]["code"]) == (1, "data_dir_unusable")
    assert not (tmp_path / "none").exists()


async def test_an_export_is_whole_by_itself_and_tells_when_the_newest_events_are_gone(ask, tmp_path):
    """The chain alone cannot: what is left of it is whole."""
    kept = tmp_path / "audit.jsonl"
    answer, _ = await ask("", "--export", kept, "--json")
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert json.loads(answer.out)["head"] == lines[-1]["hash"]
    assert (await ask("", "--against", kept))[0].code == 0
    answer, _ = await ask("DELETE FROM audit_log WHERE number = 3", "--json")
    assert json.loads(answer.out)["whole"]
    answer, _ = await ask("", "--against", kept, "--json")
    assert (answer.code, json.loads(answer.out)["error"]["number"]) == (1, 3)


async def test_the_whole_of_it_is_verified(ask, database):
    """What is found of trades, tests/forward_test/test_seals.py has."""
    answer, _ = await ask("", "verify", "--json")
    assert (answer.code, json.loads(answer.out)) == (
        0,
        {"whole": True, "events": 3, "trades": 0, "deleted_trades": 0},
    )
    async with database.begin() as connection:
        await audit.record_act(connection, None, "trades_sealed", sessions="1", trades="1", digest="ab")
    answer, _ = await ask("", "verify", "--json")
    error = json.loads(answer.out)["error"]
    assert (answer.code, error["code"], error["number"]) == (1, "audited_trades_differ", 4)
    answer, _ = await ask("DELETE FROM audit_log WHERE number = 2", "verify", "--json")
    error = json.loads(answer.out)["error"]
    assert (answer.code, error["code"], error["number"]) == (1, "audit_log_broken", 2)


@pytest.mark.parametrize("change", [("tested_1", "nothing"), ('"number":"1"', '"number":"7"'), ("{", "")])
async def test_an_export_that_was_changed_is_told(ask, tmp_path, change):
    kept = tmp_path / "audit.jsonl"
    await ask("", "--export", kept)
    kept.write_text(kept.read_text().replace(*change))
    answer, _ = await ask("", "--against", kept, "--json")
    assert (answer.code, json.loads(answer.out)["error"]["code"]) == (1, "audit_export_unusable")
