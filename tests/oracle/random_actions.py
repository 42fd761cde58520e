"""Random actions, exits and limits over the truths of a random graph, so that it trades and is stopped in many ways."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oracle.random_graphs import Maker

Json = dict[str, Any]
ENTRY_SIZES = ("percent_equity", "percent_equity", "notional", "quantity")
PERCENTS = (0.5, 1, 2, 2.5, 5, 0.12345678)


def add_actions(maker: Maker) -> None:
    rng = maker.rng
    guards = [kind for kind in ("stop_loss", "take_profit") if rng.random() < 0.45]
    kinds = draw_kinds(rng)
    fresh = rng.sample(maker.truths, len(maker.truths))
    lively = dict(zip(("buy", "sell"), maker.opposites(), strict=True)) if rng.random() < 0.75 else {}
    if lively and "short" in kinds:
        lively |= {"short": lively["sell"], "cover": lively["buy"]}
        if rng.random() < 0.7:  # what turns is the position, or each condition would silence the other's entry
            kinds = [kind for kind in kinds if kind not in ("sell", "cover")]
    for kind in kinds:  # an exit that shares its condition with the entry silences it: seldom
        when = fresh.pop() if fresh and rng.random() < 0.9 else rng.choice(maker.truths)
        maker.add(kind, action(maker, kind, sized_by_risk="stop_loss" in guards), when=lively.pop(kind, when))
    for kind in guards:
        guard(maker, kind)
    extras(maker)


def draw_kinds(rng: Random) -> list[str]:
    """Long, short or both, with the exits that fit, and now and then some that do not."""
    style = rng.choice(("long",) * 5 + ("short",) * 2 + ("both",) * 3)
    entries = {"long": ["buy"], "short": ["short"], "both": ["buy", "short"]}[style]
    exits = {"long": "sell", "short": "cover", "both": rng.choice(("sell", "cover", "close"))}[style]
    kinds = entries * rng.choice((1, 1, 1, 2)) + [exits] * rng.choice((0, 1, 1, 2))
    kinds += ["close"] * rng.choice((0, 0, 1))
    if style == "both" or rng.random() < 0.1:
        kinds += ["reverse"] * rng.choice((0, 1, 1, 2))
    if rng.random() < 0.1:
        kinds.append(rng.choice(("sell", "cover")))
    if len(kinds) == len(entries) and rng.random() < 0.8:
        kinds.append(exits)
    kinds += ["hold"] * rng.choice((0, 0, 0, 1))
    rng.shuffle(kinds)
    return kinds


def action(maker: Maker, kind: str, *, sized_by_risk: bool) -> Json:
    rng = maker.rng
    if kind in ("sell", "cover"):
        return rng.choice(({}, {}, {"portion": 50}, {"portion": 33.33}, {"portion": 12.5}))
    if kind not in ("buy", "short", "reverse"):
        return {}
    params: Json = {}
    if kind != "reverse" and rng.random() < 0.35:
        params = {
            "order_type": rng.choice(("limit", "stop")),
            "limit_offset_percent": rng.choice((0, 0.1, 0.5, 1, 2.5)),
        }
        if rng.random() < 0.6:
            params["expire_bars"] = rng.choice((1, 2, 3, 10))
    return params if rng.random() < 0.3 else params | size(maker, sized_by_risk=sized_by_risk)


def size(maker: Maker, *, sized_by_risk: bool) -> Json:
    rng = maker.rng
    mode = rng.choice((*ENTRY_SIZES, *(("risk_percent",) * 2 if sized_by_risk else ())))
    if mode == "risk_percent":
        return {"size_mode": mode, "size": rng.choice((0.5, 1, 2, 10))}
    if mode == "percent_equity":
        return {"size_mode": mode, "size": rng.choice((100, 50, 99.5, 33.33333333))}
    value = maker.cash * rng.choice((0.1, 0.3, 0.5, 0.95, 1.0))
    if mode == "notional":
        return {"size_mode": mode, "size": round(value, 2)}
    quantity = round(value / maker.price, 8 if maker.price > 100 else 3)
    return {"size_mode": mode, "size": max(1e-8, min(1e9, quantity))}


def guard(maker: Maker, kind: str) -> None:
    rng = maker.rng
    shape = rng.choice(("percent", "percent", "atr", "level"))
    if shape == "percent":
        maker.add(kind, {"percent": rng.choice(PERCENTS)})
    elif shape == "atr":
        maker.add(kind, {"atr_multiple": rng.choice((0.5, 1, 1.5, 3)), "timeperiod": rng.choice((1, 5, 14))})
    else:
        maker.add(kind, level=maker.pick("price", "price", "average"))


def extras(maker: Maker) -> None:
    rng = maker.rng
    if rng.random() < 0.25:
        maker.add(
            "trailing_stop", {"percent": rng.choice((0.5, 1, 3)), "activation_percent": rng.choice((0, 0, 0.7, 2))}
        )
    if rng.random() < 0.2:
        maker.add("break_even", {"trigger_percent": rng.choice((0.3, 1, 2.5))})
    if rng.random() < 0.15:
        maker.add("time_stop", {"bars": rng.choice((1, 2, 5, 20))})
    if rng.random() < 0.1:
        maker.add("max_position", {"percent": rng.choice((30, 60.5, 100))})
    if rng.random() < 0.1:
        maker.add("max_drawdown_halt", {"percent": rng.choice((2, 5, 15))})
    if rng.random() < 0.12:
        maker.add("daily_loss_limit", {"percent": rng.choice((0.5, 1, 3))})
    if rng.random() < 0.12:
        maker.add("max_trades_per_day", {"n": rng.choice((1, 2, 5))})
    if rng.random() < 0.12:
        maker.add("no_entry", when=rng.choice(maker.truths))
    if rng.random() < 0.15:
        maker.add("notify", {"message": "seen", "throttle_bars": rng.choice((0, 1, 7))}, when=rng.choice(maker.truths))
