"""`algotrade admins` on a real database."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from cli.answers import Answer, Call
from sqlalchemy import text


@pytest.fixture
async def ask(call: Call, database: Any, database_url: Any, open_account: Any, monkeypatch: Any) -> Any:
    """Return ``await ask(arguments…)`` where there is one account, and its address."""
    await open_account()
    async with database.connect() as connection:
        email = (await connection.execute(text("SELECT email FROM users"))).scalar_one()
    monkeypatch.setenv("ALGOTRADE_DATABASE_DSN", database_url.render_as_string(hide_password=False))

    async def run(*arguments: str) -> Answer:
        return await asyncio.to_thread(call, "admins", *(email if one == "EMAIL" else one for one in arguments))

    return run, email


async def test_an_administrator_is_made_listed_and_unmade(ask: Any, database: Any) -> None:
    run, email = ask
    assert json.loads((await run("list", "--json")).out) == {"admins": []}
    assert (await run("add", "EMAIL")).out == f"{email} is an administrator.\n"
    assert (await run("add", "EMAIL")).code == 0  # twice is as good as once
    assert (await run("list")).out == f"{email}\n"
    made = json.loads((await run("remove", "EMAIL", "--json")).out)
    assert (made["email"], made["admin"]) == (email, False)
    assert (await run("list")).out == ""
    async with database.connect() as connection:
        query = text("SELECT action, actor FROM audit_log ORDER BY number")
        assert [tuple(row) for row in await connection.execute(query)] == [
            ("admin_added", None),
            ("admin_removed", None),
        ]


async def test_nobody_is_told(ask: Any) -> None:
    run, _ = ask
    answer = await run("add", "nobody@example.com", "--json")
    assert (answer.code, json.loads(answer.out)["error"]["code"]) == (1, "user_not_found")
