"""Speed and exhaustion of a move."""

from __future__ import annotations

from algotrade.engine.ir import F64, Expr, maximum, select
from algotrade.engine.node_type import VALUE, Category, NodeType, Port, number
from algotrade.engine.nodes import kernels
from algotrade.engine.nodes.overlap import period
from algotrade.engine.site import NAN, Site, Value


def _rsi(site: Site) -> dict[str, Value]:
    """Wilder's smoothing of gains and losses, seeded by their means; all flat gives 0 (TA_RSI)."""
    f, x, n, out = site.f, site.input(), site.integer("timeperiod"), site.out()
    last, gain, loss = site.slot(F64, NAN), site.slot(F64), site.slot(F64)
    with x.step():
        change = f.let(x.value - last.get())
        last.set(x.value)
        with f.when(x.count() > 1):
            up = f.let(kernels.positive_part(f, change))
            down = f.let((change.op1("abs") - change) * 0.5)
            with f.when(x.count() > n + 1) as running:
                size = f.let(n.to(F64))
                # TA-Lib multiplies by 1 / n here: dividing instead differs in the last bits.
                gain.set((gain.get() * (size - 1.0) + up) * (1.0 / size))
                loss.set((loss.get() * (size - 1.0) + down) * (1.0 / size))
            with f.otherwise(running):
                for slot, move in ((gain, up), (loss, down)):
                    f.var(F64, f.call(kernels.seed(), slot.address(), move, x.count() - 1, n))
            with f.when(x.count() > n):
                gains = f.let(gain.get())
                total = f.let(gains + loss.get())
                f.set(out, 0.0)
                with f.when(total > 0.0):
                    f.set(out, 100.0 * (gains / total))
    return {"value": site.number_out(out)}


def _macd(site: Site) -> dict[str, Value]:
    f, x = site.f, site.input()
    a, b = site.integer("fastperiod"), site.integer("slowperiod")
    fast, slow = f.let(select(a < b, a, b)), f.let(select(a < b, b, a))
    fast_average = kernels.ema(site, x, fast, slow - fast)
    line = site.scope.series(fast_average - kernels.ema(site, x, slow))
    signal = f.let(kernels.ema(site, line, site.integer("signalperiod")))
    # TA-Lib shows the line only from the bar on which the signal exists.
    shown = site.number_out(line.value + (signal - signal))
    return {"macd": shown, "signal": site.number_out(signal), "hist": site.number_out(line.value - signal)}


def _macd_lookback(site: Site) -> Expr:
    return maximum(site.integer("fastperiod"), site.integer("slowperiod")) + site.integer("signalperiod") - 2


NODES = (
    NodeType(
        "rsi",
        Category.MOMENTUM,
        "Relative strength index, 0 to 100: smoothed gains as a share of gains and losses.",
        _rsi,
        (number(),),
        VALUE,
        (period(14),),
        lambda site: site.integer("timeperiod"),
        source="TA-Lib RSI; J. W. Wilder, New Concepts in Technical Trading Systems (1978)",
    ),
    NodeType(
        "macd",
        Category.MOMENTUM,
        "Difference of a fast and a slow exponential average, its own average, and what lies between them.",
        _macd,
        (number(),),
        (Port("macd"), Port("signal"), Port("hist")),
        (
            period(12, name="fastperiod", summary="Samples of the fast average."),
            period(26, name="slowperiod", summary="Samples of the slow average."),
            period(9, name="signalperiod", minimum=1, summary="Samples of the signal line."),
        ),
        _macd_lookback,
        source="TA-Lib MACD",
    ),
)
