"""The frontend on the gateway's own origin: page and assets need no token, the rest of their port is not there."""

from __future__ import annotations

import httpx
import pytest

from .conftest import PAGES


@pytest.mark.parametrize("path", PAGES)
async def test_pages_need_no_token(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.text) == (200, path)


@pytest.mark.parametrize("path", ["/metrics", "/.well-known/jwks.json", "/index.html"])
async def test_the_rest_of_the_port_stays_inside(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 401


@pytest.mark.parametrize("path", ["/assets/../metrics", "/assets/%2e%2e/metrics", "/assets/..%2fmetrics"])
async def test_no_path_leads_there(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code in {400, 401, 404}
    assert b"algotrade_" not in answer.content


@pytest.mark.parametrize("path", PAGES)
async def test_pages_are_only_read(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.post(path, content=b"x")).status_code == 401
