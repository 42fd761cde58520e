"""backtesting.py on the crossover; run by frameworks.py with .venv-peers' Python.

Arguments: a .npy of open, high, low, close and how many times to run. Prints one line of JSON. Orders fill at the next
open, of a millionth of a unit at the least.
"""

import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import backtesting  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from backtesting.lib import FractionalBacktest, crossover  # noqa: E402

FAST, SLOW, FEE, CASH = 20, 50, 0.001, 1e8

backtesting.backtesting._tqdm = lambda rows, **_: rows  # no progress bar


def mean(values: np.ndarray, period: int) -> pd.Series:
    return pd.Series(values).rolling(period).mean()


class Crossover(backtesting.Strategy):
    def init(self) -> None:
        self.fast, self.slow = (self.I(mean, self.data.Close, period) for period in (FAST, SLOW))

    def next(self) -> None:
        if crossover(self.fast, self.slow):
            self.buy()
        elif crossover(self.slow, self.fast):
            self.position.close()


def main(path: str, runs: int) -> None:
    prices = np.load(path)
    bars = pd.DataFrame(prices, pd.date_range("2021-01-01", periods=len(prices), freq="min"))
    bars.columns = ["Open", "High", "Low", "Close"]
    bars["Volume"] = 0.0  # it asks for one
    seconds = []
    for _ in range(runs):
        test = FractionalBacktest(bars, Crossover, cash=CASH, commission=FEE, fractional_unit=1e-6)
        start = time.perf_counter()
        found = test.run()
        seconds.append(time.perf_counter() - start)
    result = {"trades": int(found["# Trades"]), "equity": float(found["Equity Final [$]"])}
    print(json.dumps(result | {"seconds": seconds, "version": backtesting.__version__}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
