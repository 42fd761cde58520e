"""Candle patterns: TA-Lib's functions CDL*, bar by bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from algotrade.engine.ir import F64, I32, Expr, const
from algotrade.engine.node_type import TIMEFRAME, Category, NodeType, Param, ParamKind, Port, PortKind
from algotrade.engine.nodes.candles import (
    BODY_DOJI,
    BODY_LONG,
    BODY_SHORT,
    FAR,
    NEAR,
    SHADOW_LONG,
    SHADOW_SHORT,
    SHADOW_VERY_LONG,
    SHADOW_VERY_SHORT,
    Candles,
)
from algotrade.engine.site import Site, Truth, Value

NEVER = const(I32, 0)
Found = tuple[Expr, Expr]  # whether it is there as a bullish and as a bearish sign
Look = Callable[[Candles, Expr], Found]


@dataclass(frozen=True, slots=True)
class Pattern:
    """``look`` gets the candles and the penetration; ``lookback`` is how many candles it needs before this one."""

    lookback: int
    look: Look
    penetration: float = 0.0


def _by_colour(there: Expr, c: Candles, ago: int = 0) -> Found:
    """Bullish where a candle is white, bearish where it is black."""
    return there & c.white(ago), there & c.black(ago)


def _against(there: Expr, c: Candles, ago: int) -> Found:
    """A sign against the colour of a candle."""
    bullish, bearish = _by_colour(there, c, ago)
    return bearish, bullish


def _is_doji(c: Candles, ago: int = 0) -> Expr:
    return c.body(ago) <= c.mean(BODY_DOJI, ago)


def _is_long(c: Candles, ago: int = 0) -> Expr:
    return c.body(ago) > c.mean(BODY_LONG, ago)


def _no_upper(c: Candles, ago: int = 0) -> Expr:
    return c.upper(ago) < c.mean(SHADOW_VERY_SHORT, ago)


def _no_lower(c: Candles, ago: int = 0) -> Expr:
    return c.lower(ago) < c.mean(SHADOW_VERY_SHORT, ago)


def _doji(c: Candles, _: Expr) -> Found:
    return _is_doji(c), NEVER


def _dragonfly(c: Candles, _: Expr) -> Found:
    return _is_doji(c) & _no_upper(c) & (c.lower(0) > c.mean(SHADOW_VERY_SHORT, 0)), NEVER


def _gravestone(c: Candles, _: Expr) -> Found:
    return _is_doji(c) & _no_lower(c) & (c.upper(0) > c.mean(SHADOW_VERY_SHORT, 0)), NEVER


def _long_legged(c: Candles, _: Expr) -> Found:
    long = c.mean(SHADOW_LONG, 0)
    return _is_doji(c) & ((c.lower(0) > long) | (c.upper(0) > long)), NEVER


def _doji_star(c: Candles, _: Expr) -> Found:
    star = _is_long(c, 1) & _is_doji(c)
    return star & c.black(1) & c.gap_down(0, 1), star & c.white(1) & c.gap_up(0, 1)


def _hammer(c: Candles, _: Expr) -> Found:
    return _is_hammer(c) & (c.bottom(0) <= c.low(1) + c.mean(NEAR, 1)), NEVER


def _hanging_man(c: Candles, _: Expr) -> Found:
    return NEVER, _is_hammer(c) & (c.bottom(0) >= c.high(1) - c.mean(NEAR, 1))


def _is_hammer(c: Candles) -> Expr:
    return (c.body(0) < c.mean(BODY_SHORT, 0)) & (c.lower(0) > c.mean(SHADOW_LONG, 0)) & _no_upper(c)


def _inverted_hammer(c: Candles, _: Expr) -> Found:
    return _is_inverted(c) & c.gap_down(0, 1), NEVER


def _shooting_star(c: Candles, _: Expr) -> Found:
    return NEVER, _is_inverted(c) & c.gap_up(0, 1)


def _is_inverted(c: Candles) -> Expr:
    return (c.body(0) < c.mean(BODY_SHORT, 0)) & (c.upper(0) > c.mean(SHADOW_LONG, 0)) & _no_lower(c)


def _takuri(c: Candles, _: Expr) -> Found:
    return _is_doji(c) & _no_upper(c) & (c.lower(0) > c.mean(SHADOW_VERY_LONG, 0)), NEVER


def _marubozu(c: Candles, _: Expr) -> Found:
    return _by_colour(_is_long(c) & _no_upper(c) & _no_lower(c), c)


def _closing_marubozu(c: Candles, _: Expr) -> Found:
    return _is_long(c) & c.white(0) & _no_upper(c), _is_long(c) & c.black(0) & _no_lower(c)


def _belt_hold(c: Candles, _: Expr) -> Found:
    return _is_long(c) & c.white(0) & _no_lower(c), _is_long(c) & c.black(0) & _no_upper(c)


def _long_line(c: Candles, _: Expr) -> Found:
    short = c.mean(SHADOW_SHORT, 0)
    return _by_colour(_is_long(c) & (c.upper(0) < short) & (c.lower(0) < short), c)


def _spinning_top(c: Candles, _: Expr) -> Found:
    small = c.body(0) < c.mean(BODY_SHORT, 0)
    return _by_colour(small & (c.upper(0) > c.body(0)) & (c.lower(0) > c.body(0)), c)


def _high_wave(c: Candles, _: Expr) -> Found:
    long = c.mean(SHADOW_VERY_LONG, 0)
    return _by_colour((c.body(0) < c.mean(BODY_SHORT, 0)) & (c.upper(0) > long) & (c.lower(0) > long), c)


def _engulfing(c: Candles, _: Expr) -> Found:
    """One end of the bodies may be equal, not both."""
    around = (c.top(0) >= c.top(1)) & (c.bottom(0) < c.bottom(1)) | (c.top(0) > c.top(1)) & (c.bottom(0) <= c.bottom(1))
    return around & c.white(0) & c.black(1), around & c.black(0) & c.white(1)


def _within(c: Candles, ago: int) -> Expr:
    """Whether a body lies within the one before it; ends may be equal."""
    return (c.top(ago) <= c.top(ago + 1)) & (c.bottom(ago) >= c.bottom(ago + 1))


def _harami(c: Candles, _: Expr) -> Found:
    return _against(_is_long(c, 1) & (c.body(0) <= c.mean(BODY_SHORT, 0)) & _within(c, 0), c, 1)


def _harami_cross(c: Candles, _: Expr) -> Found:
    return _against(_is_long(c, 1) & _is_doji(c) & _within(c, 0), c, 1)


def _piercing(c: Candles, _: Expr) -> Found:
    long = c.black(1) & _is_long(c, 1) & c.white(0) & _is_long(c)
    middle = c.close(1) + c.body(1) * 0.5
    return long & (c.open(0) < c.low(1)) & (c.close(0) < c.open(1)) & (c.close(0) > middle), NEVER


def _dark_cloud(c: Candles, penetration: Expr) -> Found:
    shape = c.white(1) & _is_long(c, 1) & c.black(0) & (c.open(0) > c.high(1)) & (c.close(0) > c.open(1))
    return NEVER, shape & (c.close(0) < c.close(1) - c.body(1) * penetration)


def _star(is_star: Callable[[Candles, int], Expr], *, morning: bool) -> Look:
    """A long candle, a star beyond it, and a candle that comes back into the first by the penetration."""

    def look(c: Candles, penetration: Expr) -> Found:
        there = _is_long(c, 2) & is_star(c, 1) & (c.body(0) > c.mean(BODY_SHORT, 0))
        depth = c.body(2) * penetration
        if morning:
            return there & c.black(2) & c.gap_down(1, 2) & c.white(0) & (c.close(0) > c.close(2) + depth), NEVER
        return NEVER, there & c.white(2) & c.gap_up(1, 2) & c.black(0) & (c.close(0) < c.close(2) - depth)

    return look


def _is_short(c: Candles, ago: int) -> Expr:
    return c.body(ago) <= c.mean(BODY_SHORT, ago)


def _three_inside(c: Candles, _: Expr) -> Found:
    strictly = (c.top(1) < c.top(2)) & (c.bottom(1) > c.bottom(2))
    there = _is_long(c, 2) & _is_short(c, 1) & strictly
    return (
        there & c.black(2) & c.white(0) & (c.close(0) > c.open(2)),
        there & c.white(2) & c.black(0) & (c.close(0) < c.open(2)),
    )


def _three_outside(c: Candles, _: Expr) -> Found:
    around = (c.top(1) > c.top(2)) & (c.bottom(1) < c.bottom(2))
    return (
        around & c.white(1) & c.black(2) & (c.close(0) > c.close(1)),
        around & c.black(1) & c.white(2) & (c.close(0) < c.close(1)),
    )


def _three_white_soldiers(c: Candles, _: Expr) -> Found:
    there = (c.close(0) > c.close(1)) & (c.close(1) > c.close(2)) & (c.body(0) > c.mean(BODY_SHORT, 0))
    for ago in (2, 1, 0):
        there = there & c.white(ago) & _no_upper(c, ago)
    for ago in (1, 0):
        before = ago + 1
        there = there & (c.open(ago) > c.open(before)) & (c.open(ago) <= c.close(before) + c.mean(NEAR, before))
        there = there & (c.body(ago) > c.body(before) - c.mean(FAR, before))
    return there, NEVER


def _three_black_crows(c: Candles, _: Expr) -> Found:
    there = c.white(3) & (c.high(3) > c.close(2)) & (c.close(2) > c.close(1)) & (c.close(1) > c.close(0))
    for ago in (2, 1, 0):
        there = there & c.black(ago) & _no_lower(c, ago)
    for ago in (1, 0):
        there = there & (c.open(ago) < c.open(ago + 1)) & (c.open(ago) > c.close(ago + 1))
    return NEVER, there


PATTERNS = {
    "CDL3BLACKCROWS": Pattern(13, _three_black_crows),
    "CDL3INSIDE": Pattern(12, _three_inside),
    "CDL3OUTSIDE": Pattern(3, _three_outside),
    "CDL3WHITESOLDIERS": Pattern(12, _three_white_soldiers),
    "CDLBELTHOLD": Pattern(10, _belt_hold),
    "CDLCLOSINGMARUBOZU": Pattern(10, _closing_marubozu),
    "CDLDARKCLOUDCOVER": Pattern(11, _dark_cloud, 0.5),
    "CDLDOJI": Pattern(10, _doji),
    "CDLDOJISTAR": Pattern(11, _doji_star),
    "CDLDRAGONFLYDOJI": Pattern(10, _dragonfly),
    "CDLENGULFING": Pattern(2, _engulfing),
    "CDLEVENINGDOJISTAR": Pattern(12, _star(_is_doji, morning=False), 0.3),
    "CDLEVENINGSTAR": Pattern(12, _star(_is_short, morning=False), 0.3),
    "CDLGRAVESTONEDOJI": Pattern(10, _gravestone),
    "CDLHAMMER": Pattern(11, _hammer),
    "CDLHANGINGMAN": Pattern(11, _hanging_man),
    "CDLHARAMI": Pattern(11, _harami),
    "CDLHARAMICROSS": Pattern(11, _harami_cross),
    "CDLHIGHWAVE": Pattern(10, _high_wave),
    "CDLINVERTEDHAMMER": Pattern(11, _inverted_hammer),
    "CDLLONGLEGGEDDOJI": Pattern(10, _long_legged),
    "CDLLONGLINE": Pattern(10, _long_line),
    "CDLMARUBOZU": Pattern(10, _marubozu),
    "CDLMORNINGDOJISTAR": Pattern(12, _star(_is_doji, morning=True), 0.3),
    "CDLMORNINGSTAR": Pattern(12, _star(_is_short, morning=True), 0.3),
    "CDLPIERCING": Pattern(11, _piercing),
    "CDLSHOOTINGSTAR": Pattern(11, _shooting_star),
    "CDLSPINNINGTOP": Pattern(10, _spinning_top),
    "CDLTAKURI": Pattern(10, _takuri),
}


def _candle_pattern(site: Site) -> dict[str, Value]:
    f, pattern = site.f, PATTERNS[site.choice("name")]
    penetration = site.number("penetration") if site.has("penetration") else const(F64, pattern.penetration)
    bullish, bearish, known = f.var(I32, 0), f.var(I32, 0), f.var(I32, 0)
    candles = Candles(site, pattern.lookback)
    with site.bar("close").step():
        f.set(known, candles.count > pattern.lookback)
        with f.when(known) as late:
            up, down = pattern.look(candles, penetration)
            f.set(bullish, up)
            f.set(bearish, down)
            candles.advance()
        with f.otherwise(late):
            candles.begin()
    return {
        "bullish": Truth(site.scope, bullish, lambda: known & (bullish ^ 1)),
        "bearish": Truth(site.scope, bearish, lambda: known & (bearish ^ 1)),
    }


NODES = (
    NodeType(
        "candle_pattern",
        Category.PATTERN,
        "Whether the last candles make a pattern: where TA-Lib's function is above 0 (bullish) or below (bearish).",
        _candle_pattern,
        (),
        (Port("bullish", PortKind.BOOL), Port("bearish", PortKind.BOOL)),
        (
            Param("name", ParamKind.CHOICE, "CDLENGULFING", "TA-Lib's name of the pattern.", choices=tuple(PATTERNS)),
            Param(
                "penetration",
                ParamKind.NUMBER,
                None,
                "Of stars and dark cloud cover: the share of the first body that the last candle comes back into. "
                "Left out: 0.3, and 0.5 of dark cloud cover.",
                0,
                1000,
            ),
            TIMEFRAME,
        ),
        lambda site: PATTERNS[site.choice("name")].lookback,
        "TA-Lib CDL*, its candle settings",
    ),
)
