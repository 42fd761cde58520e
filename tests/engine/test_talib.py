"""Each indicator against TA-Lib: the same first defined bar, and 1e-9 relative from there on."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import series
import talib
from graphs import drawing
from series import Floats

from algotrade.engine.compile import compile_strategy
from algotrade.engine.records import Records
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings

SERIES = {"aapl": series.aapl, "walk": lambda: series.walk(10_000_000_000), **series.AWKWARD}
OUTPUTS = {"macd": ("macd", "signal", "hist"), "bbands": ("upper", "middle", "lower")}
MACDS, BANDS = ((12, 26, 9), (2, 3, 1), (5, 34, 5), (26, 12, 9)), ((20, 2, 2), (2, 1, 3), (50, 2.5, 0.5))
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{kind}_{n}": (kind, {"timeperiod": n}) for kind in ("sma", "ema", "wma", "rsi") for n in (2, 5, 14, 50, 200)},
    **{f"atr_{n}": ("atr", {"timeperiod": n}) for n in (1, 2, 14, 100)},
    **{f"macd_{f}_{s}_{g}": ("macd", {"fastperiod": f, "slowperiod": s, "signalperiod": g}) for f, s, g in MACDS},
    **{f"bbands_{n}": ("bbands", {"timeperiod": n, "nbdevup": u, "nbdevdn": d}) for n, u, d in BANDS},
}


@lru_cache(maxsize=len(SERIES))
def ports(name: str) -> tuple[Records, dict[tuple[str, str], Floats]]:
    """The bars of a series, and every output of every case at each close; NaN where it is not defined."""
    nodes: dict[str, Any] = {"p": "price", "any": "or", "end": "hold"} | dict(CASES)
    wires = ["any>end"]
    for case, (kind, _) in CASES.items():  # each must lead to an action, or it is left out
        nodes[f"is_{case}"] = ("compare", {"op": ">", "value": 0})
        wires += [f"{case}>is_{case}.a", f"is_{case}>any"] + ([f"p>{case}"] if kind != "atr" else [])
    artefact = compile_strategy(drawing(nodes, " ".join(wires)), probe=True).artefact
    assert artefact is not None
    bars = SERIES[name]()
    sessions = Sessions(artefact)
    slot = sessions.add(RunSettings())
    found = {
        (case, output): np.full(len(bars), np.nan) for case, (kind, _) in CASES.items() for output in outputs(kind)
    }
    for i in range(len(bars)):
        sessions.run(slot, bars[i : i + 1])
        probes = sessions.probes(slot)
        for port, values in found.items():
            value = probes[port]
            values[i] = np.nan if value is None else value
    return bars, found


def outputs(kind: str) -> tuple[str, ...]:
    return OUTPUTS.get(kind, ("value",))


def expected(kind: str, params: dict[str, Any], bars: Records) -> tuple[Floats, ...]:
    """TA-Lib's outputs, in the order of ours."""
    high, low, close = (bars[name] / series.SCALE for name in ("high", "low", "close"))
    if kind == "atr":
        return (talib.ATR(high, low, close, **params),)
    result = getattr(talib, kind.upper())(close, *params.values())
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("case", CASES)
def test_equals_talib(case: str, name: str) -> None:
    bars, found = ports(name)
    kind, params = CASES[case]
    for output, want in zip(outputs(kind), expected(kind, params, bars), strict=True):
        got = found[case, output]
        assert np.array_equal(np.isnan(got), np.isnan(want)), f"{output} is defined at other bars"
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=0, err_msg=output)
