"""backtesting.py on an SMA crossover; run by test_peers.py with the interpreter of .venv-peers.

Arguments: a CSV with columns ts,open,high,low,close,volume (ts in ns, prices as decimals), fast and slow periods, cash,
commission as a fraction. Prints the closed trades as JSON: [size, entry_ts, entry_price, exit_ts, exit_price]; the one
that is open at the end is left out.
"""

import json
import sys
import warnings

warnings.filterwarnings("ignore")

import pandas as pd  # noqa: E402
from backtesting import Strategy  # noqa: E402
from backtesting.lib import FractionalBacktest, crossover  # noqa: E402


def mean(values, period):
    return pd.Series(values).rolling(period).mean()


class SmaCross(Strategy):
    fast, slow = 20, 50

    def init(self):
        self.quick = self.I(mean, self.data.Close, self.fast)
        self.steady = self.I(mean, self.data.Close, self.slow)

    def next(self):
        if crossover(self.quick, self.steady):
            if not self.position:
                self.buy()
        elif crossover(self.steady, self.quick):
            self.position.close()


def main(path, fast, slow, cash, commission):
    rows = pd.read_csv(path)
    frame = pd.DataFrame(
        {name.title(): rows[name] for name in ("open", "high", "low", "close", "volume")},
    )
    frame.index = pd.to_datetime(rows["ts"], unit="ns")
    run = FractionalBacktest(
        frame, SmaCross, cash=float(cash), commission=float(commission), fractional_unit=1e-8, finalize_trades=False
    )
    stats = run.run(fast=int(fast), slow=int(slow))
    print(json.dumps([row(trade, rows) for _, trade in stats["_trades"].iterrows()]))


def row(trade, rows):
    entry, leave = int(trade["EntryBar"]), int(trade["ExitBar"])
    return [trade["Size"], int(rows["ts"][entry]), trade["EntryPrice"], int(rows["ts"][leave]), trade["ExitPrice"]]


if __name__ == "__main__":
    main(*sys.argv[1:])
