"""backtrader on the crossover; run by frameworks.py with .venv-backtrader's Python.

Arguments: a .npy of open, high, low, close and how many times to run. Prints one line of JSON. Orders fill at the close
that decides (cheat on close): at the next open an order of all the cash would be refused after a gap.
"""

import json
import sys
import time

import backtrader as bt
import numpy as np
import pandas as pd

FAST, SLOW, FEE, CASH = 20, 50, 0.001, 1e8
ALL_IN = (1 - 1e-9) / (1 + FEE)  # a rounding error more would be refused


class Crossover(bt.Strategy):
    def __init__(self) -> None:
        self.closed = 0
        fast, slow = (bt.ind.SMA(self.data.close, period=period) for period in (FAST, SLOW))
        self.crossed = bt.ind.CrossOver(fast, slow)

    def next(self) -> None:
        if self.crossed[0] > 0 and not self.position:
            self.buy(size=self.broker.getcash() / self.data.close[0] * ALL_IN)
        elif self.crossed[0] < 0 and self.position:
            self.close()

    def notify_trade(self, trade: bt.Trade) -> None:
        self.closed += trade.isclosed


def run(bars: pd.DataFrame) -> dict[str, float]:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(bt.feeds.PandasData(dataname=bars, volume=None, openinterest=None))
    cerebro.addstrategy(Crossover)
    cerebro.broker.setcash(CASH)
    cerebro.broker.setcommission(commission=FEE)
    cerebro.broker.set_coc(True)
    (strategy,) = cerebro.run()
    return {"trades": int(strategy.closed), "equity": cerebro.broker.getvalue()}


def main(path: str, runs: int) -> None:
    prices = np.load(path)
    index = pd.date_range("2021-01-01", periods=len(prices), freq="min")
    bars = pd.DataFrame(prices, index, ["open", "high", "low", "close"])
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        found = run(bars)
        seconds.append(time.perf_counter() - start)
    print(json.dumps(found | {"seconds": seconds, "version": bt.__version__}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
