"""What the engine's tests share."""

from __future__ import annotations

from typing import Any

import pytest
from agreement import by_engine
from by_hand import Runner
from oracle.backtest import Result, Row, backtest


@pytest.fixture(params=[backtest, by_engine], ids=["oracle", "engine"])
def run(request: pytest.FixtureRequest) -> Runner:
    """A backtest with 1000 of cash, by the oracle and by the engine."""

    def call(document: Any, bars: list[Row], **settings: Any) -> Result:
        result: Result = request.param(document, bars, {"initial_cash": "1000"} | settings)
        return result

    return call
