"""Run settings: read exactly, or refused by name."""

from __future__ import annotations

import pytest

from algotrade.engine.settings import RunSettings, SettingsError


def test_text_round_trip() -> None:
    settings = RunSettings.parse(
        {"interval": "1h", "initial_cash": "2500.5", "fee_bps": 7.5, "fill": "close", "allow_short": "true",
         "lot_step": "0.001", "day_timezone": "America/New_York"}
    )  # fmt: skip
    assert settings.initial_cash == 250_050_000_000
    assert settings.fee_bps == 750_000_000
    assert RunSettings.parse(settings.as_text()) == settings


def test_defaults_are_the_contract() -> None:
    assert RunSettings.parse({}).as_text() == {
        "interval": "native", "initial_cash": "10000", "fee_bps": "10", "slippage_bps": "0", "fill": "next_tick",
        "lot_step": "0.00000001", "price_step": "0.00000001", "min_notional": "0", "max_position_percent": "100",
        "allow_short": False, "path": "tradingview", "day_timezone": "UTC", "native_seconds": "0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("interval", "2m"), ("initial_cash", 0), ("initial_cash", "1e5"), ("initial_cash", "9" * 20), ("fee_bps", -1),
        ("fee_bps", 10_001), ("slippage_bps", 10_000), ("fill", "soon"), ("lot_step", 0), ("price_step", "0.000000001"),
        ("min_notional", None), ("max_position_percent", 101), ("allow_short", "yes"), ("path", ["worst"]),
        ("day_timezone", "Nowhere"), ("day_timezone", 3), ("leverage", 5),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(SettingsError) as error:
        RunSettings.parse({field: value})
    assert error.value.field == field
