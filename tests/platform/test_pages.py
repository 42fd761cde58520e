"""The built frontend on a process's HTTP port."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from algotrade.platform import limits
from algotrade.platform.http import http_server
from algotrade.platform.metrics import Metrics
from algotrade.platform.pages import PagesError, read_pages

SCRIPT = b"export const answer = 42;\n" * 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "assets" / "index-1a2b.js").write_bytes(SCRIPT)
    return tmp_path


@pytest.fixture
async def http(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        http_server("127.0.0.1:0", Metrics().registry, {}, read_pages(folder)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


async def test_a_page_is_asked_for_anew_and_lets_no_foreign_script_in(http: httpx.AsyncClient) -> None:
    answer = await http.get("/")
    assert (answer.status_code, answer.text) == (200, "<!doctype html>")
    assert answer.headers["cache-control"] == "no-cache"
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    again = await http.get("/", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_an_asset_is_packed_and_stays(http: httpx.AsyncClient) -> None:
    answer = await http.get("/assets/index-1a2b.js")
    assert answer.content == SCRIPT
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(gzip.compress(SCRIPT, 9, mtime=0))
    assert "immutable" in answer.headers["cache-control"]
    plain = await http.get("/assets/index-1a2b.js", headers={"accept-encoding": "identity"})
    assert plain.content == SCRIPT
    assert "content-encoding" not in plain.headers
    assert (await http.head("/assets/index-1a2b.js")).content == b""


@pytest.mark.parametrize("path", ["/assets/", "/assets/other.js", "/index.html", "/assets/..%2f..%2fetc/passwd"])
async def test_there_is_nothing_else(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


async def test_without_pages_the_port_says_so() -> None:
    async with (
        http_server("127.0.0.1:0", Metrics().registry, {}) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        answer = await client.get("/")
    assert answer.status_code == 404
    assert "make frontend" in answer.text


@pytest.mark.parametrize("name", ["secret.pem", "other.html", "assets/tool.exe"])
def test_a_folder_of_other_things_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("x")
    with pytest.raises(PagesError, match=Path(name).name):
        read_pages(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "assets" / "a.js").symlink_to("/etc/passwd")
    with pytest.raises(PagesError):
        read_pages(folder)


def test_too_much_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PAGES_BYTES", 100)
    with pytest.raises(PagesError, match="more than 100 bytes"):
        read_pages(folder)


def test_a_folder_without_a_page_is_refused(folder: Path) -> None:
    (folder / "index.html").unlink()
    with pytest.raises(PagesError, match="no index"):
        read_pages(folder)
