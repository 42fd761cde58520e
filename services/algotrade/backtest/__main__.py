"""Run the backtest service alone: ``python -m algotrade.backtest``."""

from __future__ import annotations

import asyncio

from algotrade.backtest.build import build
from algotrade.platform.process import run
from algotrade.platform.settings import Settings

if __name__ == "__main__":
    asyncio.run(run(Settings(), [build]))
