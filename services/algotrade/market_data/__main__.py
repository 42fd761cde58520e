"""Run the market data service alone: ``python -m algotrade.market_data``."""

from __future__ import annotations

import asyncio

from algotrade.market_data.build import build
from algotrade.platform.process import run
from algotrade.platform.settings import Settings

if __name__ == "__main__":
    asyncio.run(run(Settings(), [build]))
