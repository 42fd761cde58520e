"""The programs of the release before on the schema of this one: they go on while the new ones come."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from e2e.test_observed import EMAIL, PASSWORDS, trade
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from algotrade.platform.database import migrate

pytestmark = pytest.mark.nightly

ROOT = Path(__file__).parents[2]
MIGRATIONS = "services/algotrade/platform/migrations/versions"


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def before() -> Iterator[Path]:
    """Return the programs as they were before the newest migration."""
    if subprocess.run(["git", "rev-parse", "--git-dir"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("no history here: this is no checkout")
    newest = sorted(path.name for path in (ROOT / MIGRATIONS).glob("[0-9]*.py"))[-1]
    added = git("log", "--diff-filter=A", "--format=%H", "-1", "--", f"{MIGRATIONS}/{newest}").decode().strip()
    assert added, f"{newest} is not committed"
    folder = Path(tempfile.mkdtemp(prefix="at-before-"))
    archive = git("archive", "--format=tar", f"{added}^", "services", "gateway")
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    assert not (folder / MIGRATIONS / newest).exists()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(400)
async def test_it_trades_on_the_newer_schema(before: Path, database: AsyncEngine, database_url: URL) -> None:
    await migrate(database)  # the newest schema, by this release
    environment = os.environ | {f"ALGOTRADE_{name}_ADDRESS": "127.0.0.1:0" for name in ADDRESSES}
    environment |= {
        "PYTHONPATH": str(before / "services"),
        "ALGOTRADE_DATABASE_DSN": database_url.set(drivername="postgresql").render_as_string(hide_password=False),
        "ALGOTRADE_MIGRATE_AT_START": "false",
        "ALGOTRADE_DATA_DIR": str(before / "data"),
        "ALGOTRADE_REPLAY_SPEED": "0",
        "ALGOTRADE_LOG_LEVEL": "warning",
    }
    where = "import algotrade; print(algotrade.__file__)"
    found = subprocess.check_output([sys.executable, "-c", where], env=environment, text=True)  # noqa: ASYNC221
    assert found.startswith(str(before)), found
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "algotrade.cli", "up", "--provider", "replay", "--json"),
        cwd=before,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(120):
            ready = json.loads(await process.stdout.readline())
        async with httpx.AsyncClient(base_url=ready["gateway"], timeout=60) as http:
            account = {"email": EMAIL, "password": PASSWORDS[0]}
            assert (await http.post("/v1/identity/register", json=account)).is_success
            token = (await http.post("/v1/identity/login", json=account)).json()["token"]["token"]
            session_id = await trade(http, token)
            parity = await http.get(f"/v1/sessions/{session_id}/parity", headers={"authorization": f"Bearer {token}"})
            assert parity.json()["certificate"]["verdict"] == "PARITY_VERDICT_IDENTICAL", parity.text
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


ADDRESSES = ("GATEWAY", "GRPC", "HTTP", "ENVOY_ADMIN")
