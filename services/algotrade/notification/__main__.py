"""Run the notification services alone: ``python -m algotrade.notification``."""

from __future__ import annotations

import asyncio

from algotrade.notification.build import build
from algotrade.notification.build_realtime import build_realtime
from algotrade.platform.process import run
from algotrade.platform.settings import Settings

if __name__ == "__main__":
    asyncio.run(run(Settings(), [build, build_realtime]))
