"""Settings come from the environment; wrong ones fail at start."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from algotrade.platform.settings import Settings


def test_the_defaults_listen_on_this_machine_only() -> None:
    settings = Settings()
    for address in (settings.gateway_address, settings.grpc_address, settings.http_address):
        assert address.startswith("127.0.0.1:")
    assert (settings.grpc_address, settings.data_dir) == ("127.0.0.1:50051", Path(".algotrade"))


def test_the_environment_changes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALGOTRADE_GRPC_ADDRESS", "127.0.0.1:1234")
    monkeypatch.setenv("ALGOTRADE_DATABASE_DSN", "postgresql://u:secret@db/x")
    monkeypatch.setenv("ALGOTRADE_MARKET_PROVIDERS", '["replay"]')
    settings = Settings()
    assert settings.grpc_address == "127.0.0.1:1234"
    assert settings.market_providers == ("replay",)
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"grpc_address": "0.0.0.0:50051"},
        {"grpc_address": "50051"},
        {"http_address": "127.0.0.1:99999"},
        {"gateway_address": "192.168.0.1:80"},
        {"access_token_seconds": 0},
        {"market_providers": ("nobody",)},
        {"lock_timeout_seconds": 0},
        {"kafka_json_topics": ("trade-executions", "market-data-updates")},
        {"strategy_address": "http://strategy"},
        {"jwks_url": "https://identity/jwks.json"},
        {"unknown": 1},
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**wrong)  # type: ignore[arg-type]
    assert caught.value.errors()[0]["loc"][0] in wrong


def test_in_a_container_servers_listen_on_every_address_and_envoy_is_still_ruled_from_within() -> None:
    settings = Settings(loopback_only=False, grpc_address="0.0.0.0:50051", gateway_address="0.0.0.0:8080")
    assert settings.grpc_address == "0.0.0.0:50051"
    with pytest.raises(ValidationError):
        Settings(loopback_only=False, envoy_admin_address="0.0.0.0:9901")
