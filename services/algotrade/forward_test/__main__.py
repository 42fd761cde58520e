"""Run the forward test service alone: ``python -m algotrade.forward_test``."""

from __future__ import annotations

import asyncio

from algotrade.forward_test.build import build
from algotrade.platform.process import run
from algotrade.platform.settings import Settings

if __name__ == "__main__":
    asyncio.run(run(Settings(), [build]))
