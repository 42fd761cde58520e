"""The simulated exchange over ticks, in integers of 1e-8 and exact fractions.

Long only: this is the part of the contract that the first catalogue reaches. Rounding is against the trader and never
more than one step; every rule is written where it is used.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

SCALE = 100_000_000
DEFAULTS = {
    "interval": "native",
    "initial_cash": "10000",
    "fee_bps": "10",
    "slippage_bps": "0",
    "fill": "next_tick",
    "lot_step": "0.00000001",
    "price_step": "0.00000001",
    "min_notional": "0",
    "max_position_percent": "100",
    "path": "tradingview",
    "day_timezone": "UTC",
}


def units(value: Any) -> int:
    """An exact decimal as an integer of 1e-8."""
    scaled = Decimal(str(value)) * SCALE
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{value}: more than 8 decimals")
    return int(scaled)


def bps(value: Any) -> Fraction:
    return Fraction(Decimal(str(value))) / 10_000


def percent(value: Any) -> Fraction:
    return Fraction(Decimal(str(value))) / 100


@dataclass(frozen=True)
class Settings:
    """Run settings; money, prices and quantities in 1e-8, rates as exact fractions of one."""

    interval: str
    initial_cash: int
    fee: Fraction
    slippage: Fraction
    fill: str
    lot_step: int
    price_step: int
    min_notional: int
    max_position: Fraction
    path: str
    day_timezone: str

    @staticmethod
    def parse(given: Mapping[str, Any]) -> Settings:
        s: dict[str, Any] = DEFAULTS | dict(given)
        return Settings(
            interval=s["interval"],
            initial_cash=units(s["initial_cash"]),
            fee=bps(s["fee_bps"]),
            slippage=bps(s["slippage_bps"]),
            fill=s["fill"],
            lot_step=units(s["lot_step"]),
            price_step=units(s["price_step"]),
            min_notional=units(s["min_notional"]),
            max_position=percent(s["max_position_percent"]),
            path=s["path"],
            day_timezone=s["day_timezone"],
        )


def down(value: Fraction | int, step: int = 1) -> int:
    return math.floor(Fraction(value) / step) * step


def up(value: Fraction | int, step: int = 1) -> int:
    return math.ceil(Fraction(value) / step) * step


@dataclass
class Trade:
    """One exit portion of a position, or what is still open of it. Money, prices, quantities in 1e-8, times in ns."""

    quantity: int
    entry_ts: int
    entry_price: int
    exit_ts: int | None
    exit_price: int | None
    fees: int
    pnl: int | None
    exit_reason: str | None
    ambiguous: bool = False
    side: str = "long"


@dataclass
class Position:
    quantity: int
    price: int  # of the entry fill, slippage included
    basis: int  # cost of what is left, without fees
    entry_fee: int  # of what is left
    ts: int
    closes: int = 0  # bars held
    stop: int | None = None
    target: int | None = None
    opened: int = 0  # number of the tick of the fill; guards live from the next one


@dataclass(frozen=True)
class Entry:
    """A market order to buy, decided at a close. `size` is exact: percent, or units of 1e-8."""

    node_id: str
    mode: str
    size: Any


@dataclass(frozen=True)
class Exit:
    node_id: str
    reason: str
    portion: Fraction


@dataclass
class Guards:
    """How stop and target follow from an entry; a distance or level is what the deciding close showed."""

    stop_percent: Fraction | None = None
    target_percent: Fraction | None = None
    stop_distance: float | None = None  # price units of 1e-8, not yet rounded
    target_distance: float | None = None
    stop_level: int | None = None
    target_level: int | None = None


@dataclass
class Broker:
    settings: Settings
    cash: int = 0
    position: Position | None = None
    guards: Guards = field(default_factory=Guards)
    pending_entry: Entry | None = None
    pending_exit: Exit | None = None
    trades: list[Trade] = field(default_factory=list)
    rejections: Counter[str] = field(default_factory=Counter)
    realised: int = 0
    tick_number: int = 0
    largest: int = 0  # amount, quantity or balance so far
    hit: tuple[str, Trade] | None = None  # a guard's exit on an interpolated tick of the row at hand
    hit_levels: tuple[int | None, int | None] = (None, None)

    def __post_init__(self) -> None:
        self.cash = self.settings.initial_cash

    # A tick

    def tick(self, ts: int, price: int, *, real: bool) -> None:
        """Pending market orders first, then stop, then target."""
        self.tick_number += 1
        if real:
            self.hit = None
        self.look_for_the_other_way(price)
        self.market(ts, price)
        held = self.position
        if held is None or held.opened == self.tick_number:
            return
        if held.stop is not None and price <= held.stop:
            base = price if real else held.stop
            self.guard_exit("stop_loss", ts, self.sell_price(base), real=real)
        elif held.target is not None and price > held.target:
            base = price if real else held.target
            self.guard_exit("take_profit", ts, down(base, self.settings.price_step), real=real)

    def market(self, ts: int, price: int) -> None:
        """Fill what the last close decided; at most one of the two is pending."""
        leaving, entering = self.pending_exit, self.pending_entry
        self.pending_exit = self.pending_entry = None
        if leaving is not None and self.position is not None:
            quantity = self.portion(leaving.portion)
            if quantity == 0:
                self.rejections["below_min_notional"] += 1
            else:
                self.sell(quantity, ts, self.sell_price(price), leaving.reason)
        if entering is not None:
            self.enter(entering, ts, price)

    def look_for_the_other_way(self, price: int) -> None:
        """After a guard's exit inside a row: had the row gone the other way first, would the other guard have hit?"""
        if self.hit is None:
            return
        reason, trade = self.hit
        stop, target = self.hit_levels
        other_hit = (
            (target is not None and price > target) if reason == "stop_loss" else (stop is not None and price <= stop)
        )
        if other_hit:
            trade.ambiguous = True

    # Prices and sizes

    def buy_price(self, base: int) -> int:
        return up(base * (1 + self.settings.slippage), self.settings.price_step)

    def sell_price(self, base: int) -> int:
        return down(base * (1 - self.settings.slippage), self.settings.price_step)

    def fee(self, notional: int) -> int:
        return up(notional * self.settings.fee)

    def portion(self, share: Fraction) -> int:
        assert self.position is not None
        if share >= 1:
            return self.position.quantity
        return down(self.position.quantity * share, self.settings.lot_step)

    def quantity(self, order: Entry, price: int) -> int:
        lot = self.settings.lot_step
        if order.mode == "quantity":
            return down(units(order.size), lot)
        if order.mode == "notional":
            return down(Fraction(units(order.size) * SCALE, price), lot)
        budget = min(down(self.cash * percent(order.size)), self.cash)
        cost = greatest_cost(budget, self.fee)
        return down(Fraction(cost * SCALE, price), lot)

    # Fills

    def enter(self, order: Entry, ts: int, tick_price: int) -> None:
        """Buy while flat; equity before the fill is cash."""
        price = self.buy_price(tick_price)
        quantity = self.quantity(order, price)
        if quantity == 0:
            self.rejections["insufficient_cash" if order.mode == "percent_equity" else "below_min_notional"] += 1
            return
        cost = up(Fraction(quantity * price, SCALE))
        fee = self.fee(cost)
        self.largest = max(self.largest, quantity, cost + fee)
        if cost + fee > self.cash:
            self.rejections["insufficient_cash"] += 1
        elif cost < self.settings.min_notional:
            self.rejections["below_min_notional"] += 1
        elif cost > self.cash * self.settings.max_position:
            self.rejections["position_limit"] += 1
        else:
            self.cash -= cost + fee
            self.position = Position(quantity, price, cost, fee, ts, opened=self.tick_number)
            self.set_guards(self.position)
            self.check()

    def set_guards(self, held: Position) -> None:
        """Levels from the fill price, floored to the price step for a long, stop and target alike."""
        g, step = self.guards, self.settings.price_step
        held.stop, held.target = g.stop_level, g.target_level
        if g.stop_percent is not None:
            held.stop = down(held.price * (1 - g.stop_percent), step)
        if g.target_percent is not None:
            held.target = down(held.price * (1 + g.target_percent), step)
        if g.stop_distance is not None:
            held.stop = down(held.price - math.ceil(g.stop_distance), step)
        if g.target_distance is not None:
            held.target = down(held.price + math.floor(g.target_distance), step)

    def sell(self, quantity: int, ts: int, price: int, reason: str) -> Trade:
        held = self.position
        assert held is not None
        proceeds = down(Fraction(quantity * price, SCALE))
        fee = self.fee(proceeds)
        share = Fraction(quantity, held.quantity)
        basis, entry_fee = up(held.basis * share), up(held.entry_fee * share)  # the last portion takes the rest
        pnl = proceeds - fee - basis - entry_fee
        trade = Trade(quantity, held.ts, held.price, ts, price, entry_fee + fee, pnl, reason)
        self.trades.append(trade)
        self.cash += proceeds - fee
        self.realised += pnl
        self.largest = max(self.largest, self.cash, proceeds)
        held.quantity -= quantity
        held.basis -= basis
        held.entry_fee -= entry_fee
        if held.quantity == 0:
            self.position = None
        self.check()
        return trade

    def guard_exit(self, reason: str, ts: int, price: int, *, real: bool) -> None:
        held = self.position
        assert held is not None
        levels = (held.stop, held.target)
        trade = self.sell(held.quantity, ts, price, reason)
        if not real:
            self.hit, self.hit_levels = (reason, trade), levels

    def check(self) -> None:
        """Money is conserved after every fill."""
        held = self.position
        basis, open_fee, quantity = (held.basis, held.entry_fee, held.quantity) if held else (0, 0, 1)
        assert self.cash + basis == self.settings.initial_cash + self.realised - open_fee
        assert min(self.cash, basis, open_fee) >= 0
        assert quantity > 0

    # What others read

    def equity(self, price: int) -> int:
        return self.cash + (down(Fraction(self.position.quantity * price, SCALE)) if self.position else 0)

    def open_trade(self) -> Trade | None:
        held = self.position
        if held is None:
            return None
        return Trade(held.quantity, held.ts, held.price, None, None, held.entry_fee, None, None)


def greatest_cost(budget: int, fee: Any) -> int:
    """Greatest C with C + fee(C) <= budget, by bisection; the sum grows with C."""
    low, high = 0, budget
    while low < high:
        middle = (low + high + 1) // 2
        if middle + fee(middle) <= budget:
            low = middle
        else:
            high = middle - 1
    return low
