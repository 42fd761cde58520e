"""Speed and exhaustion of a move, of any one input."""

from __future__ import annotations

from collections.abc import Callable

from algotrade.engine.ir import F64, Expr, const, maximum, select
from algotrade.engine.node_type import VALUE, Category, Lower, NodeType, Port, number
from algotrade.engine.nodes import kernels, oscillators
from algotrade.engine.nodes.overlap import period, whole
from algotrade.engine.site import NAN, Series, Site, Value


def gains_and_losses(site: Site, x: Series, n: Expr) -> tuple[Expr, Expr]:
    """Wilder's means of the rises and of the falls between samples, seeded by their means; NaN until then."""
    f = site.f
    last, outs = site.slot(F64, NAN), (site.out(), site.out())
    gain, loss = site.slot(F64), site.slot(F64)
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
                for out, slot in zip(outs, (gain, loss), strict=True):
                    f.set(out, slot.get())
    return outs


def strength(site: Site, x: Series, n: Expr) -> Expr:
    """Rises as a percentage of rises and falls; all flat gives 0 (TA_RSI)."""
    gain, loss = gains_and_losses(site, x, n)
    return _share(site, gain, gain, loss)


def _share(site: Site, part: Expr, gain: Expr, loss: Expr) -> Expr:
    f, out = site.f, site.out()
    total = f.let(gain + loss)
    with f.when(total.eq(total)):
        f.set(out, 0.0)
        with f.when(total > 0.0):
            f.set(out, 100.0 * (part / total))
    return out


def _rsi(site: Site) -> dict[str, Value]:
    return {"value": site.number_out(strength(site, site.input(), site.integer("timeperiod")))}


def _cmo(site: Site) -> dict[str, Value]:
    gain, loss = gains_and_losses(site, site.input(), site.integer("timeperiod"))
    return {"value": site.number_out(_share(site, gain - loss, gain, loss))}


def _compared(compare: Callable[[Expr, Expr], Expr]) -> Lower:
    """A sample compared with the one ``timeperiod`` before it; 0 where that was 0, as TA-Lib has it."""

    def lower(site: Site) -> dict[str, Value]:
        f, x, n, out = site.f, site.input(), site.integer("timeperiod"), site.out()
        x.keep(site.most("timeperiod") + 1)
        with x.step(), f.when(x.count() > n):
            f.set(out, compare(x.value, f.let(x.ago(n))))
        return {"value": site.number_out(out)}

    return lower


def _or_zero(before: Expr, value: Expr) -> Expr:
    return select(before.eq(0.0), const(F64, 0.0), value)


def _macd(site: Site) -> dict[str, Value]:
    """The fast average begins late, so that both have their first value on the same bar (TA_MACD)."""
    f, x = site.f, site.input()
    fast, slow = _ordered(site)
    line = site.scope.series(kernels.ema(site, x, fast, slow - fast) - kernels.ema(site, x, slow))
    signal = f.let(kernels.ema(site, line, site.integer("signalperiod")))
    # TA-Lib shows the line only from the bar on which the signal exists.
    shown = site.number_out(line.value + (signal - signal))
    return {"macd": shown, "signal": site.number_out(signal), "hist": site.number_out(line.value - signal)}


def _ordered(site: Site) -> tuple[Expr, Expr]:
    """The two periods, the shorter first: as in TA-Lib they may be given either way round."""
    f, a, b = site.f, site.integer("fastperiod"), site.integer("slowperiod")
    return f.let(select(a < b, a, b)), f.let(select(a < b, b, a))


def _fast_and_slow(site: Site) -> tuple[Expr, Expr]:
    """Exponential averages of both periods, each begun with the first sample (TA_APO)."""
    fast, slow = (kernels.ema(site, site.input(), n) for n in _ordered(site))
    return fast, slow


def _apo(site: Site) -> dict[str, Value]:
    fast, slow = _fast_and_slow(site)
    return {"value": site.number_out(fast - slow)}


def _ppo(site: Site) -> dict[str, Value]:
    fast, slow = _fast_and_slow(site)
    return {"value": site.number_out(_or_zero(slow, (fast - slow) / slow * 100.0))}


def _trix(site: Site) -> dict[str, Value]:
    f, out, last = site.f, site.out(), site.slot(F64, NAN)
    thrice = kernels.chain(site, site.input(), site.integer("timeperiod"), 3)[2]
    with thrice.step():
        f.set(out, _or_zero(last.get(), (thrice.value / last.get() - 1.0) * 100.0))
        last.set(thrice.value)
    return {"value": site.number_out(out)}


def _tsi(site: Site) -> dict[str, Value]:
    """Change smoothed twice as a percentage of the size of change smoothed twice; 0 where nothing ever changed."""
    moves = kernels.change(site, site.input())
    size = site.scope.series(moves.value.op1("abs"))
    parts = []
    for x in (moves, size):
        once = site.scope.series(kernels.ema(site, x, site.integer("firstperiod")))
        parts.append(site.f.let(kernels.ema(site, once, site.integer("secondperiod"))))
    return {"value": site.number_out(_or_zero(parts[1], 100.0 * parts[0] / parts[1]))}


_ROUNDING = 1e-11  # where nothing moves, the index of 0 to 100 differs from bar to bar by less than this


def _stochrsi(site: Site) -> dict[str, Value]:
    x = site.scope.series(strength(site, site.input(), site.integer("timeperiod")))
    raw = oscillators.place_in_range(site, x, x, x, "fastk_period", _ROUNDING)
    return oscillators.with_mean(site, raw, ("fastk", "fastd"), "fastd_period")


def _longest(site: Site) -> Expr:
    return maximum(site.integer("fastperiod"), site.integer("slowperiod")) - 1


def _compare(name: str, summary: str, compare: Callable[[Expr, Expr], Expr]) -> NodeType:
    return NodeType(
        name,
        Category.MOMENTUM,
        summary,
        _compared(compare),
        (number(),),
        VALUE,
        (period(10, minimum=1, summary="How many samples ago."),),
        whole,
        f"TA-Lib {name.upper()}",
    )


_FAST_AND_SLOW = (
    period(12, name="fastperiod", summary="Samples of the fast average."),
    period(26, name="slowperiod", summary="Samples of the slow average."),
)

NODES = (
    NodeType(
        "rsi",
        Category.MOMENTUM,
        "Relative strength index, 0 to 100: smoothed gains as a share of gains and losses.",
        _rsi,
        (number(),),
        VALUE,
        (period(14),),
        whole,
        source="TA-Lib RSI; J. W. Wilder, New Concepts in Technical Trading Systems (1978)",
    ),
    NodeType(
        "cmo",
        Category.MOMENTUM,
        "Chande momentum oscillator, -100 to 100: smoothed gains less losses as a share of both.",
        _cmo,
        (number(),),
        VALUE,
        (period(14),),
        whole,
        source="TA-Lib CMO; T. S. Chande and S. Kroll, The New Technical Trader (1994), with Wilder's smoothing",
    ),
    _compare("mom", "Momentum: the sample less an earlier one.", lambda x, before: x - before),
    _compare(
        "roc",
        "Rate of change in percent: (sample / earlier - 1) · 100.",
        lambda x, before: _or_zero(before, (x / before - 1.0) * 100.0),
    ),
    _compare(
        "rocp",
        "Rate of change as a fraction: (sample - earlier) / earlier.",
        lambda x, before: _or_zero(before, (x - before) / before),
    ),
    _compare("rocr", "Rate of change as a ratio: sample / earlier.", lambda x, before: _or_zero(before, x / before)),
    NodeType(
        "trix",
        Category.MOMENTUM,
        "Change, in percent a sample, of an exponential average taken three times.",
        _trix,
        (number(),),
        VALUE,
        (period(30, minimum=1),),
        lambda site: (site.integer("timeperiod") - 1) * 3 + 1,
        source="TA-Lib TRIX; J. K. Hutson, Technical Analysis of Stocks & Commodities 1:5 (1983)",
    ),
    NodeType(
        "macd",
        Category.MOMENTUM,
        "Difference of a fast and a slow exponential average, its own average, and what lies between them.",
        _macd,
        (number(),),
        (Port("macd"), Port("signal"), Port("hist")),
        (*_FAST_AND_SLOW, period(9, name="signalperiod", minimum=1, summary="Samples of the signal line.")),
        lambda site: _longest(site) + site.integer("signalperiod") - 1,
        source="TA-Lib MACD; G. Appel",
    ),
    NodeType(
        "apo",
        Category.MOMENTUM,
        "Absolute price oscillator: a fast exponential average less a slow one.",
        _apo,
        (number(),),
        VALUE,
        _FAST_AND_SLOW,
        _longest,
        source="TA-Lib APO, exponential averages",
    ),
    NodeType(
        "ppo",
        Category.MOMENTUM,
        "Percentage price oscillator: a fast exponential average less a slow one, in percent of the slow one.",
        _ppo,
        (number(),),
        VALUE,
        _FAST_AND_SLOW,
        _longest,
        source="TA-Lib PPO, exponential averages",
    ),
    NodeType(
        "tsi",
        Category.MOMENTUM,
        "True strength index, -100 to 100: change smoothed twice as a share of the size of change smoothed twice.",
        _tsi,
        (number(),),
        VALUE,
        (
            period(25, name="firstperiod", summary="Samples of the first average."),
            period(13, name="secondperiod", summary="Samples of the average of averages."),
        ),
        lambda site: site.integer("firstperiod") + site.integer("secondperiod") - 1,
        source="TA-Lib TSI; W. Blau, Momentum, Direction, and Divergence (1995)",
    ),
    NodeType(
        "stochrsi",
        Category.MOMENTUM,
        "Where the relative strength index stands in its own range, 0 to 100, and the mean of that.",
        _stochrsi,
        (number(),),
        (Port("fastk"), Port("fastd")),
        (
            period(14, summary="Samples of the relative strength index."),
            period(5, minimum=1, name="fastk_period", summary="Samples of the range."),
            period(3, minimum=1, name="fastd_period", summary="Samples of the mean."),
        ),
        lambda site: site.integer("timeperiod") + site.integer("fastk_period") + site.integer("fastd_period") - 2,
        source="TA-Lib STOCHRSI; T. S. Chande and S. Kroll, The New Technical Trader (1994)",
    ),
)
