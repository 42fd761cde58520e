"""vectorbt, its Rust engine unless told, on the same strategies; run by other files here with .venv-vectorbt's Python.

Arguments: a .npy of the closes, how many times to run, a .npy of pairs of periods for a sweep (or ""), the engine.
Where the first has four columns (open, high, low, close), the strategy with a stop is run. Prints one line of JSON.
vectorbt fills on the close of the signal's bar; the timed spans are from the series in memory to trade count and final
equity, and on to the drawdown; a sweep and the strategy with a stop are timed whole.
"""

import gc
import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import vectorbt as vbt  # noqa: E402

FAST, SLOW, FEE, CASH = 20, 50, 0.001, 10_000.0


def simulate(close: pd.Series) -> tuple[vbt.Portfolio, dict[str, float]]:
    fast, slow = vbt.MA.run(close, FAST), vbt.MA.run(close, SLOW)
    entries, exits = fast.ma_crossed_above(slow), fast.ma_crossed_below(slow)
    portfolio = vbt.Portfolio.from_signals(close, entries, exits, fees=FEE, init_cash=CASH, freq="1min")
    return portfolio, {"trades": int(portfolio.trades.closed.count()), "equity": float(portfolio.final_value())}


def sweep(close: pd.Series, pairs: np.ndarray) -> int:
    """Every pair a column; count all trades."""
    fast = vbt.MA.run(close, pairs[:, 0].tolist(), short_name="fast", run_unique=True)
    slow = vbt.MA.run(close, pairs[:, 1].tolist(), short_name="slow", run_unique=True)
    entries, exits = fast.ma_crossed_above(slow), fast.ma_crossed_below(slow)
    portfolio = vbt.Portfolio.from_signals(close, entries, exits, fees=FEE, init_cash=CASH, freq="1min")
    trades, equity, drawdown = portfolio.trades.closed.count(), portfolio.final_value(), portfolio.max_drawdown()
    assert len(trades) == len(equity) == len(drawdown) == len(pairs)
    return int(trades.sum())


def time_sweep(close: pd.Series, runs: int, pairs: np.ndarray) -> dict[str, object]:
    trades, seconds = sweep(close, pairs), []
    for _ in range(runs):
        gc.collect()
        start = time.perf_counter()
        sweep(close, pairs)
        seconds.append(time.perf_counter() - start)
    return {"trades": trades, "seconds": seconds}


def time_one(close: pd.Series, runs: int) -> dict[str, object]:
    portfolio, found = simulate(close)  # the first call compiles and fills caches: not timed
    found["drawdown"] = -float(portfolio.max_drawdown())
    to_fills, to_drawdown = [], []
    for _ in range(runs):
        gc.collect()
        start = time.perf_counter()
        portfolio, _ = simulate(close)
        to_fills.append(time.perf_counter() - start)
        portfolio.max_drawdown()
        to_drawdown.append(time.perf_counter() - start)
    return found | {"to_fills": to_fills, "to_drawdown": to_drawdown}


def time_stop(bars: pd.DataFrame, runs: int) -> dict[str, object]:
    """RSI below 30 with MACD above its signal buys, RSI above 70 sells, a stop 2 % below the entry."""
    close = bars["close"]

    def run() -> dict[str, float]:
        rsi = vbt.RSI.run(close, 2 * 14 - 1, ewm=True).rsi  # Wilder's mean of 14 is an exponential one of span 27
        hist = vbt.MACD.run(close, 12, 26, 9, macd_ewm=True, signal_ewm=True).hist
        prices = {name: bars[name] for name in ("open", "high", "low")}
        portfolio = vbt.Portfolio.from_signals(
            close, (rsi < 30) & (hist > 0), rsi > 70, sl_stop=0.02, fees=FEE, init_cash=1e8, freq="1min", **prices
        )
        trades, equity = int(portfolio.trades.closed.count()), float(portfolio.final_value())
        return {"trades": trades, "equity": equity, "drawdown": -float(portfolio.max_drawdown())}

    found, seconds = run(), []
    for _ in range(runs):
        gc.collect()
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return found | {"seconds": seconds}


def main(path: str, runs: int, pairs_path: str = "", engine: str = "rust") -> None:
    vbt.settings["engine"] = engine

    prices = np.load(path)
    index = pd.date_range("2021-01-01", periods=len(prices), freq="min")
    if prices.ndim == 2:
        found = time_stop(pd.DataFrame(prices, index, ["open", "high", "low", "close"]), runs)
    elif pairs_path:
        found = time_sweep(pd.Series(prices, index), runs, np.load(pairs_path))
    else:
        found = time_one(pd.Series(prices, index), runs)
    print(json.dumps(found | {"version": f"{vbt.__version__}, {engine} engine"}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
