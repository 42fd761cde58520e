"""Indicators written out from their definitions, window by window and in extended precision.

For those that TA-Lib does not have, and for those where its running sums lose the digits that ours must keep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from series import Floats

from indicators.cases import ONE, PAIR, USUAL, Indicator, Outputs, Prices, periods, several

Long = npt.NDArray[np.longdouble]
SAYS = "definition in numpy, extended precision"


def windows(x: Floats, n: int) -> Long:
    """The window that ends at each sample from the n-th on, oldest first."""
    return np.lib.stride_tricks.sliding_window_view(x.astype(np.longdouble), n)


def late(values: Long, missing: int) -> Floats:
    return np.concatenate([np.full(missing, np.nan), values.astype(np.float64)])


def of_windows(x: Floats, n: int, function: Callable[[Long], Long]) -> Floats:
    if len(x) < n:
        return np.full(len(x), np.nan)
    return late(function(windows(x, n)), n - 1)


def mean(w: Long) -> Long:
    """Of each window, summed around its last sample."""
    last = w[:, -1:]
    return last[:, 0] + (w - last).mean(axis=1)


def variance(w: Long) -> Long:
    around = w - mean(w)[:, None]
    return (around * around).mean(axis=1)


def slope(w: Long) -> Long:
    t = np.arange(w.shape[1], dtype=np.longdouble)
    t -= t.mean()
    return ((w - w[:, -1:]) @ t) / (t @ t)


def linear(place: Callable[[int], float]) -> Callable[..., Floats]:
    def oracle(prices: Prices, timeperiod: int) -> Floats:
        middle = (timeperiod - 1) / 2
        return of_windows(
            prices.x, timeperiod, lambda w: mean(w) + slope(w) * np.longdouble(place(timeperiod) - middle)
        )

    return oracle


def linear_slope(prices: Prices, timeperiod: int) -> Floats:
    return of_windows(prices.x, timeperiod, slope)


def linear_angle(prices: Prices, timeperiod: int) -> Floats:
    return of_windows(prices.x, timeperiod, lambda w: np.degrees(np.arctan(slope(w))))


def stddev(prices: Prices, timeperiod: int, nbdev: float) -> Floats:
    return of_windows(prices.x, timeperiod, lambda w: np.sqrt(variance(w)) * nbdev)


def var(prices: Prices, timeperiod: int, nbdev: float) -> Floats:
    return of_windows(prices.x, timeperiod, variance)


def zscore(prices: Prices, timeperiod: int) -> Floats:
    return of_windows(prices.x, timeperiod, lambda w: (w[:, -1] - mean(w)) / np.sqrt(variance(w)))


def bbwidth(prices: Prices, timeperiod: int, nbdev: float) -> Floats:
    return of_windows(prices.x, timeperiod, lambda w: 2 * nbdev * np.sqrt(variance(w)) / mean(w) * 100)


def bbpercent(prices: Prices, timeperiod: int, nbdev: float) -> Floats:
    def share(w: Long) -> Long:
        reach = nbdev * np.sqrt(variance(w))
        return (w[:, -1] - (mean(w) - reach)) / (2 * reach)

    return of_windows(prices.x, timeperiod, share)


def histvol(prices: Prices, timeperiod: int, periods: float) -> Floats:
    x = prices.x.astype(np.longdouble)
    gains = np.log(x[1:] / x[:-1])

    def deviation(w: Long) -> Long:
        return np.sqrt(variance(w) * timeperiod / (timeperiod - 1)) * np.sqrt(np.longdouble(periods)) * 100

    if len(gains) < timeperiod:
        return np.full(len(x), np.nan)
    return late(deviation(np.lib.stride_tricks.sliding_window_view(gains, timeperiod)), timeperiod)


def correl(prices: Prices, timeperiod: int) -> Floats:
    a, b = windows(prices.x, timeperiod), windows(prices.y, timeperiod)
    a, b = a - mean(a)[:, None], b - mean(b)[:, None]
    size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    joint = (a * b).sum(axis=1)
    return late(np.where(size > 0, joint / np.where(size > 0, size, 1), 0), timeperiod - 1)


def beta(prices: Prices, timeperiod: int) -> Floats:
    a, b = (np.diff(x) / x[:-1] for x in (prices.x.astype(np.longdouble), prices.y.astype(np.longdouble)))
    a, b = (np.lib.stride_tricks.sliding_window_view(rates, timeperiod) for rates in (a, b))
    a, b = a - mean(a)[:, None], b - mean(b)[:, None]
    own = (a * a).sum(axis=1)
    return late(np.where(own > 0, (a * b).sum(axis=1) / np.where(own > 0, own, 1), 0), timeperiod)


def mfi(prices: Prices, timeperiod: int) -> Floats:
    """Typical prices are compared as the sums of whole units that they come from."""
    units = np.rint((prices.high + prices.low + prices.close) * 1e8)
    flow = (prices.high.astype(np.longdouble) + prices.low + prices.close) / 3 * prices.volume
    moved = np.sign(np.diff(units))
    rises, falls = (
        np.lib.stride_tricks.sliding_window_view(np.where(moved == way, flow[1:], 0), timeperiod).sum(axis=1)
        for way in (1, -1)
    )
    total = rises + falls
    return late(np.where(total > 0, 100 * rises / np.where(total > 0, total, 1), 0), timeperiod)


def choppiness(prices: Prices, timeperiod: int) -> Floats:
    high, low, close = (part.astype(np.longdouble) for part in (prices.high, prices.low, prices.close))
    reach = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
    path = windows(reach.astype(np.float64), timeperiod).sum(axis=1)
    box = windows(prices.high, timeperiod).max(axis=1)[1:] - windows(prices.low, timeperiod).min(axis=1)[1:]
    still = (box <= 0) | (path <= 0)
    ratio = np.where(still, 1, path) / np.where(still, 1, box)
    return late(np.where(still, 100, 100 * np.log10(ratio) / np.log10(np.longdouble(timeperiod))), timeperiod)


def ichimoku(prices: Prices, conversionperiod: int, baseperiod: int, spanperiod: int, displacement: int) -> Outputs:
    def middle(n: int) -> Floats:
        highest = windows(prices.high, n).max(axis=1)
        return late((highest + windows(prices.low, n).min(axis=1)) / 2, n - 1)

    def ahead(x: Floats) -> Floats:
        return np.concatenate([np.full(displacement, np.nan), x[: len(x) - displacement]])

    conversion, base = middle(conversionperiod), middle(baseperiod)
    span_a, span_b = ahead((conversion + base) / 2), ahead(middle(spanperiod))
    # All are shown from the bar on which the last of them exists.
    missing = np.isnan(conversion + base + span_b + ahead(base))
    return tuple(np.where(missing, np.nan, part) for part in (conversion, base, span_a, span_b))


def vwap(prices: Prices, anchor: str) -> Floats:
    """Of the days and weeks of UTC."""
    days = [datetime.fromtimestamp(ts / 1e9, UTC).date() for ts in prices.ts.tolist()]
    keys = [day if anchor == "day" else day.isocalendar()[:2] for day in days]
    out, value, amount = np.full(len(days), np.nan), np.longdouble(0), np.longdouble(0)
    typical = (prices.high.astype(np.longdouble) + prices.low + prices.close) / 3
    for i, key in enumerate(keys):
        if i == 0 or key != keys[i - 1]:
            value, amount = np.longdouble(0), np.longdouble(0)
        value, amount = value + typical[i] * prices.volume[i], amount + prices.volume[i]
        if amount > 0:
            out[i] = value / amount
    return out


DEFINED: Mapping[str, Indicator] = {
    "linearreg": Indicator(linear(lambda n: n - 1), USUAL, ONE, says=SAYS),
    "linearreg_intercept": Indicator(linear(lambda n: 0), USUAL, ONE, says=SAYS),
    "tsf": Indicator(linear(lambda n: n), USUAL, ONE, says=SAYS),
    "linearreg_slope": Indicator(linear_slope, USUAL, ONE, says=SAYS),
    "linearreg_angle": Indicator(linear_angle, USUAL, ONE, says=SAYS),
    "stddev": Indicator(stddev, several("timeperiod nbdev", (5, 1), (2, 2), (20, -1.5)), ONE, says=SAYS),
    "var": Indicator(var, several("timeperiod nbdev", (5, 1), (2, 2), (20, 1)), ONE, says=SAYS),
    "zscore": Indicator(zscore, periods(2, 5, 20, 50), ONE, 1e-12, says=SAYS),
    "bbwidth": Indicator(bbwidth, several("timeperiod nbdev", (20, 2), (5, 1), (2, 2)), ONE, says=SAYS),
    "bbpercent": Indicator(bbpercent, several("timeperiod nbdev", (20, 2), (5, 1), (2, 2)), ONE, 1e-12, says=SAYS),
    "histvol": Indicator(histvol, several("timeperiod periods", (20, 252), (5, 1), (2, 365)), ONE, says=SAYS),
    "correl": Indicator(correl, periods(2, 5, 30), PAIR, 1e-12, says=SAYS),
    "beta": Indicator(beta, periods(2, 5, 30), PAIR, 1e-12, says=SAYS),
    "mfi": Indicator(mfi, USUAL, says=SAYS),
    "choppiness": Indicator(choppiness, USUAL, noise=1e-12, says=SAYS),
    "ichimoku": Indicator(
        ichimoku,
        several("conversionperiod baseperiod spanperiod displacement", (9, 26, 52, 26), (3, 5, 4, 0), (2, 3, 7, 1)),
        says=SAYS,
    ),
    "vwap": Indicator(vwap, ({"anchor": "day"}, {"anchor": "week"}), says=SAYS),
}
