"""nautilus_trader on the crossover; run by frameworks.py with .venv-nautilus' Python.

Arguments: a .npy of open, high, low, close and how many times to run. Prints one line of JSON. Timed is the engine's
run: bars are made and loaded before. A bar reaches the matching engine as four prices; an order sent at its close fills
there.
"""

import json
import sys
import time
from decimal import Decimal

import nautilus_trader
import numpy as np
import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model import BarType, InstrumentId, Money, Price, Quantity, Symbol, TraderId, Venue
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading import Strategy

FAST, SLOW, FEE, CASH = 20, 50, 0.001, 1e8
VENUE, SYMBOL = Venue("SIM"), Symbol("BTCUSDT")
BARS = BarType.from_str("BTCUSDT.SIM-1-MINUTE-LAST-EXTERNAL")
PAIR = CurrencyPair(
    InstrumentId(SYMBOL, VENUE), SYMBOL, BTC, USDT, 2, 6, Price(0.01, 2), Quantity(1e-6, 6), 0, 0,
    margin_init=Decimal(0), margin_maint=Decimal(0), maker_fee=Decimal(str(FEE)), taker_fee=Decimal(str(FEE)),
)  # fmt: skip


class Crossover(Strategy):
    def __init__(self) -> None:
        super().__init__()
        self.fast, self.slow = SimpleMovingAverage(FAST), SimpleMovingAverage(SLOW)
        self.before, self.held, self.closed = None, None, 0

    def on_start(self) -> None:
        for mean in (self.fast, self.slow):
            self.register_indicator_for_bars(BARS, mean)
        self.subscribe_bars(BARS)

    def on_bar(self, bar: object) -> None:
        if not self.slow.initialized:
            return
        now, before = self.fast.value - self.slow.value, self.before
        self.before = now
        if before is None:
            return
        if before <= 0 < now and self.held is None:
            cash = float(self.portfolio.account(VENUE).balance_free(USDT))
            self.held = PAIR.make_qty(int(cash / (float(bar.close) * (1 + FEE)) * 1e6) / 1e6)
            self.submit_order(self.order_factory.market(PAIR.id, OrderSide.BUY, self.held))
        elif before >= 0 > now and self.held is not None:
            self.submit_order(self.order_factory.market(PAIR.id, OrderSide.SELL, self.held))
            self.held, self.closed = None, self.closed + 1


def run(bars: list, last: float) -> tuple[float, dict[str, float]]:
    quiet = LoggingConfig(bypass_logging=True)
    config = BacktestEngineConfig(
        trader_id=TraderId("BENCH-1"), logging=quiet, run_analysis=False, risk_engine=RiskEngineConfig(bypass=True)
    )
    engine = BacktestEngine(config)
    engine.add_venue(VENUE, OmsType.NETTING, AccountType.CASH, [Money(CASH, USDT)])
    engine.add_instrument(PAIR)
    engine.add_data(bars, validate=False, sort=True)
    strategy = Crossover()
    engine.add_strategy(strategy)
    start = time.perf_counter()
    engine.run()
    seconds = time.perf_counter() - start
    account = engine.cache.account_for_venue(VENUE)
    held = account.balance_total(BTC)
    equity = float(account.balance_total(USDT)) + (0.0 if held is None else float(held) * last)
    engine.dispose()
    return seconds, {"trades": strategy.closed, "equity": equity}


def main(path: str, runs: int) -> None:
    prices = np.load(path)
    index = pd.date_range("2021-01-01", periods=len(prices), freq="min", tz="UTC")
    frame = pd.DataFrame(prices, index, ["open", "high", "low", "close"])
    frame["volume"] = 1e6  # as much as any order wants: the engine lets an order eat through a bar's volume
    bars = BarDataWrangler(BARS, PAIR).process(frame)
    done = [run(bars, float(prices[-1, 3])) for _ in range(runs)]
    result = done[-1][1] | {"seconds": [seconds for seconds, _ in done], "version": nautilus_trader.__version__}
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
