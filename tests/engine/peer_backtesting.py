"""Strategies in backtesting.py; run by test_peers.py with the interpreter of .venv-peers.

Arguments: a CSV with columns ts,open,high,low,close,volume (ts in ns, prices as decimals), cash, commission as a
fraction, and one or more of NAME:FAST:SLOW. Prints a JSON list of trades for each: closed ones only, as
[size, entry_ts, entry_price, exit_ts, exit_price], the size negative for a short.
"""

import json
import sys
import warnings

warnings.filterwarnings("ignore")

import pandas as pd  # noqa: E402
from backtesting import Strategy  # noqa: E402
from backtesting.lib import FractionalBacktest  # noqa: E402


def mean(values, period):
    return pd.Series(values).rolling(period).mean()


def crossover(a, b):
    """Ours, which begins from touching; theirs asks for a[-2] < b[-2]."""
    return a[-2] <= b[-2] and a[-1] > b[-1]


class Cross(Strategy):
    """Long from one crossing to the next."""

    fast, slow = 20, 50

    def init(self):
        self.quick = self.I(mean, self.data.Close, self.fast)
        self.steady = self.I(mean, self.data.Close, self.slow)

    def next(self):
        if crossover(self.quick, self.steady):
            self.up(self.data.Close[-1])
        elif crossover(self.steady, self.quick):
            self.down(self.data.Close[-1])

    def up(self, close):
        if not self.position:
            self.buy()

    def down(self, close):
        self.position.close()


class Guarded(Cross):
    """With a stop and a target measured from the deciding close."""

    def up(self, close):
        if not self.position:
            self.buy(sl=close * 0.97, tp=close * 1.08)


class Waiting(Cross):
    """With an entry that waits for its price until the next crossing."""

    def up(self, close):
        if not self.position and not self.orders:
            self.wait(close)

    def down(self, close):
        for order in self.orders:
            if not order.is_contingent:
                order.cancel()
        self.position.close()


class Limit(Waiting):
    def wait(self, close):
        self.buy(limit=close * 0.99)


class Stop(Waiting):
    def wait(self, close):
        self.buy(stop=close * 1.01)


class Turn(Cross):
    """Always in the market, long or short."""

    def up(self, close):
        self.position.close()
        self.buy()

    def down(self, close):
        self.position.close()
        self.sell()


class Short(Cross):
    """Short from one crossing to the next, with a stop and a target."""

    def down(self, close):
        if not self.position:
            self.sell(sl=close * 1.03, tp=close * 0.92)

    def up(self, close):
        self.position.close()


STRATEGIES = {one.__name__.lower(): one for one in (Cross, Guarded, Limit, Stop, Turn, Short)}


def main(path, cash, commission, *runs):
    rows = pd.read_csv(path)
    frame = pd.DataFrame(
        {name.title(): rows[name] for name in ("open", "high", "low", "close", "volume")},
    )
    frame.index = pd.to_datetime(rows["ts"], unit="ns")
    found = []
    for run in runs:
        name, fast, slow = run.split(":")
        strategy = FractionalBacktest(
            frame, STRATEGIES[name], cash=float(cash), commission=float(commission), fractional_unit=1e-8,
            finalize_trades=False,
        )  # fmt: skip
        stats = strategy.run(fast=int(fast), slow=int(slow))
        found.append([row(trade, rows) for _, trade in stats["_trades"].iterrows()])
    print(json.dumps(found))


def row(trade, rows):
    entry, leave = int(trade["EntryBar"]), int(trade["ExitBar"])
    return [trade["Size"], int(rows["ts"][entry]), trade["EntryPrice"], int(rows["ts"][leave]), trade["ExitPrice"]]


if __name__ == "__main__":
    main(*sys.argv[1:])
