"""`algotrade up`: what it reads, and what it says when it cannot start."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from algotrade.cli.app import app
from algotrade.cli.failure import CommandError
from algotrade.cli.serve import fixed_addresses, sole_use
from algotrade.cli.up import settings_from
from algotrade.platform.settings import Settings

ADDRESSES = ("gateway_address", "grpc_address", "http_address", "envoy_admin_address")


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_the_command_line_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("ALGOTRADE_SYNTHETIC_SYMBOLS", '["X-USD"]')
    assert settings_from(None, [], demo=False).synthetic_symbols == ("X-USD",)
    settings = settings_from("btc-usd, sol-usd", ["synthetic", "synthetic"], demo=False)
    assert settings.synthetic_symbols == ("BTC-USD", "SOL-USD")
    assert settings.market_providers == ("synthetic",)
    replay = settings_from("MSFT", ["replay"], demo=False)
    assert (replay.market_providers, replay.replay_symbol) == (("replay",), "MSFT")
    exchange = settings_from("BTC-USD,BTC-PERP=BTC/USD:USD", ["ccxt.kraken", "synthetic"], demo=False)
    assert exchange.market_providers == ("ccxt.kraken", "synthetic")
    assert exchange.ccxt_symbols == ("BTC-USD", "BTC-PERP=BTC/USD:USD")


@pytest.mark.parametrize("name", ["ccxt", "ccxt.", "ccxt.Kraken", "kraken", ""])
def test_a_provider_that_is_none_is_named(name: str) -> None:
    outcome = CliRunner().invoke(app, ["up", "--provider", name])
    assert outcome.exit_code == 2
    assert repr(name) in outcome.output
    assert "ccxt.EXCHANGE" in outcome.output


def test_a_demo_replays_at_a_speed_one_can_follow(monkeypatch):
    assert settings_from(None, [], demo=False).replay_speed == 0
    assert settings_from(None, [], demo=True).replay_speed > 0
    monkeypatch.setenv("ALGOTRADE_REPLAY_SPEED", "0")
    assert settings_from(None, [], demo=True).replay_speed == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "word"),
    [
        (["--symbols", " , "], {}, "bad_symbols", "--symbols"),
        (["--symbols", "A,B", "--provider", "replay"], {}, "bad_symbols", "one symbol"),
        ([], {"ALGOTRADE_GRPC_ADDRESS": "0.0.0.0:1"}, "bad_settings", "ALGOTRADE_GRPC_ADDRESS"),
        ([], {"ALGOTRADE_DATA_DIR": "/dev/null/x"}, "data_dir_unusable", "ALGOTRADE_DATA_DIR"),
    ],
)
def test_a_wrong_call_is_told_in_one_line(monkeypatch, tmp_path, arguments, environment, code, word):
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["up", "--json", "--seconds", "0", *arguments])
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["code"] == code
    assert word in error["message"]
    assert "\n" not in error["message"]


@pytest.mark.parametrize("name", ["grpc_address", "http_address"])
def test_an_address_in_use_is_named_with_its_setting(taken, name):
    settings = Settings(**dict.fromkeys(ADDRESSES, "127.0.0.1:0") | {name: taken})
    with pytest.raises(CommandError) as caught:
        fixed_addresses(settings)
    assert caught.value.code == "address_in_use"
    assert taken in caught.value.message
    assert f"ALGOTRADE_{name.upper()}" in caught.value.message


def test_two_services_cannot_have_one_address(taken):
    host = taken.rpartition(":")[0]
    with socket.create_server((host, 0)) as probe:
        free = f"{host}:{probe.getsockname()[1]}"
    with pytest.raises(CommandError, match=free):
        fixed_addresses(Settings(grpc_address=free, http_address=free))


def test_port_0_becomes_a_free_port():
    settings = fixed_addresses(Settings(**dict.fromkeys(ADDRESSES, "127.0.0.1:0")))
    chosen = [getattr(settings, name) for name in ADDRESSES]
    assert len(set(chosen)) == 4
    assert not any(address.endswith(":0") for address in chosen)


def test_a_data_directory_has_one_platform(tmp_path: Path):
    with sole_use(tmp_path / "data"), pytest.raises(CommandError) as caught, sole_use(tmp_path / "data"):
        pass
    assert caught.value.code == "data_dir_in_use"
    with sole_use(tmp_path / "data"):
        pass


def test_a_gateway_address_in_use_stops_the_start_and_leaves_nothing(taken, data_dir):
    environment = os.environ | {
        "ALGOTRADE_DATA_DIR": str(data_dir / "up"),
        **{f"ALGOTRADE_{name.upper()}": "127.0.0.1:0" for name in ADDRESSES},
        "ALGOTRADE_GATEWAY_ADDRESS": taken,
    }
    command = [sys.executable, "-m", "algotrade.cli", "up", "--seconds", "0", "--json"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1, result.stderr
    error = json.loads(result.stdout)["error"]
    assert (error["code"], error["setting"]) == ("address_in_use", "ALGOTRADE_GATEWAY_ADDRESS")
    assert not list((data_dir / "up").glob("**/postmaster.pid"))
