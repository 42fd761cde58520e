"""freqtrade on the crossover; run by frameworks.py with .venv-freqtrade's Python.

Arguments: a .npy of open, high, low, close and how many times to run. Prints one line of JSON. The real `Backtesting`,
with an exchange whose market is written here, so that nothing is fetched. Timed from candles in memory to the list of
trades; orders fill at the next open.
"""

import json
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import freqtrade  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from freqtrade.enums import CandleType, RunMode  # noqa: E402
from freqtrade.optimize.backtesting import Backtesting  # noqa: E402
from freqtrade.resolvers import ExchangeResolver  # noqa: E402
from freqtrade.util import dt_ts  # noqa: E402

FEE, CASH, PAIR, NAME = 0.001, 1e8, "BTC/USDT", "Crossover"
STRATEGY = """
import talib.abstract as ta
from freqtrade.strategy import IStrategy
from freqtrade.vendor.qtpylib.indicators import crossed_above, crossed_below

class Crossover(IStrategy):
    INTERFACE_VERSION, timeframe, minimal_roi, stoploss = 3, "1m", {}, -0.99

    def populate_indicators(self, frame, metadata):
        return frame.assign(fast=ta.SMA(frame, timeperiod=20), slow=ta.SMA(frame, timeperiod=50))

    def populate_entry_trend(self, frame, metadata):
        return frame.assign(enter_long=crossed_above(frame["fast"], frame["slow"]).astype(int))

    def populate_exit_trend(self, frame, metadata):
        return frame.assign(exit_long=crossed_below(frame["fast"], frame["slow"]).astype(int))
"""
MARKET = {
    "id": "BTCUSDT", "symbol": PAIR, "base": "BTC", "quote": "USDT", "type": "spot", "active": True, "spot": True,
    "margin": False, "swap": False, "future": False, "option": False, "contract": False, "linear": None,
    "inverse": None, "contractSize": None, "taker": FEE, "maker": FEE, "info": {},
    "precision": {"price": 0.01, "amount": 1e-8},
    "limits": {
        "amount": {"min": 1e-8, "max": None}, "price": {"min": None, "max": None},
        "cost": {"min": 1e-4, "max": None}, "leverage": {"min": 1, "max": 1},
    },
}  # fmt: skip


def config(folder: Path) -> dict:
    prices = {"price_side": "same", "use_order_book": False}
    return {
        "runmode": RunMode.BACKTEST, "dry_run": True, "dry_run_wallet": CASH, "stake_currency": "USDT",
        "stake_amount": "unlimited", "tradable_balance_ratio": 1.0, "max_open_trades": 1, "timeframe": "1m",
        "fee": FEE, "trading_mode": "spot", "margin_mode": "", "candle_type_def": CandleType.SPOT,
        "strategy": NAME, "strategy_path": str(folder), "user_data_dir": folder, "datadir": folder,
        "exportdirectory": folder, "exportfilename": folder / "result", "export": "none", "backtest_cache": "none",
        "exchange": {
            "name": "binance", "key": "", "secret": "", "pair_whitelist": [PAIR], "pair_blacklist": [],
        },
        "pairlists": [{"method": "StaticPairList"}], "dataformat_ohlcv": "feather", "dataformat_trades": "feather",
        "entry_pricing": prices, "exit_pricing": prices, "unfilledtimeout": {"entry": 10, "exit": 10},
        "enable_protections": False, "position_stacking": False, "reduce_df_footprint": False,
    }  # fmt: skip


def backtesting(folder: Path) -> Backtesting:
    (folder / "crossover.py").write_text(STRATEGY)
    given = config(folder)
    exchange = ExchangeResolver.load_exchange(given, validate=False)
    exchange._markets = exchange._api.markets = exchange._api_async.markets = {PAIR: MARKET}
    exchange._last_markets_refresh = dt_ts() + 10**10
    return Backtesting(given, exchange=exchange)


def main(path: str, runs: int) -> None:
    prices = np.load(path)
    date = pd.date_range("2021-01-01", periods=len(prices), freq="min", tz="UTC")
    frame = pd.DataFrame(prices, columns=["open", "high", "low", "close"]).assign(volume=1.0)
    frame.insert(0, "date", date)
    seconds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame.to_feather(folder / "BTC_USDT-1m.feather")
        tester = backtesting(folder)
        data, span = tester.load_bt_data()
        (strategy,) = tester.strategylist
        for _ in range(runs):
            start = time.perf_counter()
            tester.backtest_one_strategy(strategy, data, span)
            seconds.append(time.perf_counter() - start)
        found = tester.all_bt_content[NAME]
    result = {"trades": len(found["results"]), "equity": float(found["final_balance"])}
    print(json.dumps(result | {"seconds": seconds, "version": freqtrade.__version__}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
