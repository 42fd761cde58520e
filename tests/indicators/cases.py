"""Indicators with parameters to try, and what TA-Lib makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import series
import talib
from series import Floats

from algotrade.engine.records import Records

Params = dict[str, Any]


@dataclass(frozen=True)
class Prices:
    """Bars as TA-Lib takes them. ``x`` is what an indicator of one input gets, ``y`` the other where it takes two."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    x: Floats
    y: Floats
    ts: npt.NDArray[np.int64]

    @staticmethod
    def of(bars: Records) -> Prices:
        first, high, low, last = (bars[name] / series.SCALE for name in ("open", "high", "low", "close"))
        return Prices(first, high, low, last, bars["volume"].copy(), last, high, bars["ts"])


Outputs = tuple[Floats, ...]
Oracle = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """A node with parameters. ``inputs``: its input ports, wired to the close and the high."""

    kind: str
    params: Params
    inputs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "_".join([self.kind, *(str(value).replace(".", "") for value in self.params.values())])


@dataclass(frozen=True)
class Indicator:
    """``oracle(prices, **params)`` gives the outputs in the order of the node's ports.

    ``noise``: what two right programs may differ by even where the value is 0, ``"price"`` standing for the rounding
    of a running sum of prices; else only a relative difference is allowed.
    """

    oracle: Oracle
    params: tuple[Params, ...]
    inputs: tuple[str, ...] = ()
    noise: float | str = 0.0
    says: str = "TA-Lib"

    def cases(self, kind: str) -> list[Case]:
        return [Case(kind, params, self.inputs) for params in self.params]

    def expected(self, prices: Prices, params: Params) -> Outputs:
        with np.errstate(invalid="ignore", divide="ignore"):
            result = self.oracle(prices, **params)
        outputs = result if isinstance(result, tuple) else (result,)
        # No number is NaN here, whatever it is there.
        return tuple(np.where(np.isfinite(value), value, np.nan) for value in map(np.asarray, outputs))

    def allowed(self, prices: Prices) -> float:
        return 1e-13 * float(prices.high.max()) if self.noise == "price" else float(self.noise)


def periods(*values: int, name: str = "timeperiod") -> tuple[Params, ...]:
    return tuple({name: value} for value in values)


def several(names: str, *rows: tuple[Any, ...]) -> tuple[Params, ...]:
    return tuple(dict(zip(names.split(), row, strict=True)) for row in rows)


@dataclass(frozen=True)
class Build:
    """Short ways to name a function of TA-Lib over the columns that it takes."""

    columns: tuple[str, ...]
    extra: Params = field(default_factory=dict)

    def __call__(self, name: str) -> Oracle:
        function = getattr(talib, name)

        def oracle(prices: Prices, **params: Any) -> Any:
            return function(*(getattr(prices, column) for column in self.columns), **params, **self.extra)

        return oracle


X, HLC, HL = Build(("x",)), Build(("high", "low", "close")), Build(("high", "low"))
HLCV, CV, V = Build(("high", "low", "close", "volume")), Build(("close", "volume")), Build(("volume",))
ONE, PAIR = ("input",), ("a", "b")
USUAL = periods(2, 5, 14, 33)
FAST_SLOW = several("fastperiod slowperiod", (12, 26), (26, 12), (3, 5))


def of_input(name: str, params: tuple[Params, ...] = USUAL, noise: float | str = 0.0) -> Indicator:
    return Indicator(X(name), params, ONE, noise)


def supertrend(prices: Prices, timeperiod: int, multiplier: float) -> Outputs:
    """TA-Lib's trend is an integer, and 0 where there is none yet."""
    value, trend = talib.SUPERTREND(prices.high, prices.low, prices.close, timeperiod, multiplier)
    return value, np.where(np.isnan(value), np.nan, trend)


def vwap(prices: Prices, anchor: str) -> Floats:
    assert anchor == "none"
    return np.asarray(talib.VWAP(prices.high, prices.low, prices.close, prices.volume))


AVERAGES = ("sma", "ema", "wma", "dema", "tema", "trima", "kama", "hma", "rma", "zlema", "midpoint")
LONG = periods(2, 5, 14, 50, 200)
PERCENT = 1e-12  # the rounding of a number of 0 to 100

TALIB: Mapping[str, Indicator] = {
    **{name: of_input(name.upper(), LONG if name in ("sma", "ema", "wma") else USUAL) for name in AVERAGES},
    "t3": of_input("T3", several("timeperiod vfactor", (5, 0.7), (2, 1), (9, 0))),
    "bbands": of_input("BBANDS", several("timeperiod nbdevup nbdevdn", (20, 2, 2), (2, 1, 3), (50, 2.5, 0.5))),
    "midprice": Indicator(HL("MIDPRICE"), USUAL),
    "sar": Indicator(HL("SAR"), several("acceleration maximum", (0.02, 0.2), (0.1, 0.15), (0.3, 0.1))),
    "vwap": Indicator(vwap, ({"anchor": "none"},)),
    "vwma": Indicator(Build(("x", "volume"))("VWMA"), periods(1, 5, 30), ONE),
    "keltner": Indicator(HLC("KC"), several("timeperiod atrperiod nbdev", (20, 10, 2), (5, 14, 1.5))),
    "donchian": Indicator(HL("DONCHIAN"), USUAL),
    "supertrend": Indicator(supertrend, several("timeperiod multiplier", (10, 3), (3, 1), (14, 0.5))),
    "rsi": of_input("RSI", LONG),
    "cmo": of_input("CMO"),
    **{name: of_input(name.upper(), periods(1, 3, 10, 40)) for name in ("mom", "roc", "rocp", "rocr")},
    "trix": of_input("TRIX", periods(1, 3, 14, 30)),
    "macd": of_input(
        "MACD", several("fastperiod slowperiod signalperiod", (12, 26, 9), (2, 3, 1), (5, 34, 5), (26, 12, 9))
    ),
    "apo": of_input("APO", FAST_SLOW),
    "ppo": of_input("PPO", FAST_SLOW),
    "stochrsi": of_input(
        "STOCHRSI", several("timeperiod fastk_period fastd_period", (14, 5, 3), (5, 2, 1), (9, 14, 7)), PERCENT
    ),
    "tsi": of_input("TSI", several("firstperiod secondperiod", (25, 13), (2, 2), (5, 9))),
    "stoch": Indicator(
        HLC("STOCH"), several("fastk_period slowk_period slowd_period", (5, 3, 3), (14, 1, 5)), noise=PERCENT
    ),
    "stochf": Indicator(HLC("STOCHF"), several("fastk_period fastd_period", (5, 3), (14, 1)), noise=PERCENT),
    **{name: Indicator(HLC(name.upper()), USUAL) for name in ("adx", "adxr", "dx", "plus_di", "minus_di", "willr")},
    **{name: Indicator(HL(name.upper()), USUAL) for name in ("aroon", "aroonosc")},
    "cci": Indicator(HLC("CCI"), USUAL, noise=1e-11),
    "mfi": Indicator(HLCV("MFI"), USUAL, noise=1e-10),
    "ultosc": Indicator(HLC("ULTOSC"), several("timeperiod1 timeperiod2 timeperiod3", (7, 14, 28), (9, 3, 5))),
    "bop": Indicator(Build(("open", "high", "low", "close"))("BOP"), ({},)),
    "awesome": Indicator(HL("AO"), several("fastperiod slowperiod", (5, 34), (8, 3)), noise="price"),
    "obv": Indicator(CV("OBV"), ({},)),
    "ad": Indicator(HLCV("AD"), ({},)),
    "adosc": Indicator(HLCV("ADOSC"), several("fastperiod slowperiod", (3, 10), (12, 5))),
    "cmf": Indicator(HLCV("CMF"), USUAL),
    "force_index": Indicator(CV("EFI"), periods(1, 2, 13)),
    "relative_volume": Indicator(V("RVOL"), periods(1, 5, 20)),
    "atr": Indicator(HLC("ATR"), periods(1, 2, 14, 100)),
    "natr": Indicator(HLC("NATR"), periods(2, 3, 14, 100)),
    "trange": Indicator(HLC("TRANGE"), ({},)),
    "stddev": of_input("STDDEV", several("timeperiod nbdev", (5, 1), (2, 2), (20, -1.5))),
    "var": of_input("VAR", several("timeperiod nbdev", (5, 1), (2, 2), (20, 1))),
    "percentrank": of_input("PERCENTRANK"),
    **{name: Indicator(Build(("x", "y"))(name.upper()), periods(2, 5, 30), PAIR, 1e-9) for name in ("correl", "beta")},
    "heikin_ashi": Indicator(Build(("open", "high", "low", "close"))("HA"), ({},)),
}
