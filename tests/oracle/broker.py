"""The simulated exchange over ticks, in integers of 1e-8 and exact fractions.

Rounding is against the trader and never more than one step; every rule is written where it is used.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from oracle.levels import LONG, SHORT, Guards, Position, moving_stops, stop_and_target, tightest
from oracle.settings import SCALE, Settings, down, percent, units, up


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


@dataclass(frozen=True)
class Entry:
    """An entry decided at a close. `size` is exact: percent, or units of 1e-8; a `level` is a price to wait for."""

    node_id: str
    side: int
    mode: str
    size: Any
    kind: str = "market"
    level: int = 0
    bar: int = 0
    expire_bars: int | None = None
    guards: tuple[float | None, float | None] = (
        None,
        None,
    )  # distances of stop and target, frozen where it was decided


@dataclass(frozen=True)
class Exit:
    node_id: str
    reason: str
    portion: Fraction


@dataclass
class Broker:
    settings: Settings
    cash: int = 0
    position: Position | None = None
    guards: Guards = field(default_factory=Guards)
    pending_entry: Entry | None = None
    pending_exit: Exit | None = None
    waiting: Entry | None = None
    max_position: Fraction = Fraction(1)
    max_trades: int | None = None
    blocked_day: date | None = None
    trades: list[Trade] = field(default_factory=list)
    rejections: Counter[str] = field(default_factory=Counter)
    entries: Counter[date] = field(default_factory=Counter)
    realised: int = 0
    tick_number: int = 0
    last: int = 0  # price of the tick before
    largest: int = 0  # amount, quantity or balance so far
    hit: Trade | None = None  # a guard's exit on an interpolated tick of the row at hand
    other: tuple[int | None, int | None] = (None, None)  # what the rest of that row may still reach: below, above
    moved: bool = False  # an interpolated tick of the row at hand filled an entry or moved a stop

    def __post_init__(self) -> None:
        self.cash = self.settings.initial_cash
        self.max_position = min(self.max_position, self.settings.max_position)

    # A tick

    def tick(self, ts: int, price: int, *, real: bool) -> None:
        """Pending market orders first, then stops, then target; flat, an entry that waits for its price."""
        self.tick_number += 1
        if real:
            self.hit, self.moved = None, False
        self.look_for_the_other_way(price)
        self.market(ts, price)
        held = self.position
        if held is None:
            self.wait(ts, price, real=real)
        elif held.opened != self.tick_number:
            self.guard(held, ts, price, real=real)
        self.last = price

    def market(self, ts: int, price: int) -> None:
        """Fill what the last close decided: the exit, then the entry."""
        leaving, entering = self.pending_exit, self.pending_entry
        self.pending_exit = self.pending_entry = None
        if leaving is not None and self.position is not None:
            quantity = self.portion(leaving.portion)
            if quantity == 0:
                self.rejections["below_min_notional"] += 1
            else:
                self.leave(quantity, ts, self.market_price(-self.position.side, price), leaving.reason)
        if entering is not None:
            self.enter(entering, ts, self.market_price(entering.side, price))

    def wait(self, ts: int, price: int, *, real: bool) -> None:
        """A limit fills where the price trades through it, without slippage; a stop where it is touched, with."""
        order = self.waiting
        if order is None:
            return
        beyond = order.side * (price - order.level)  # above 0: higher for a buy, lower for a short
        if beyond >= 0 if order.kind == "stop" else beyond < 0:
            self.waiting = None
            base = price if real else order.level
            limit = order.kind == "limit"
            at = self.on_grid(base, order.side) if limit else self.market_price(order.side, base)
            self.enter(order, ts, at)
            self.moved = self.moved or not real

    def guard(self, held: Position, ts: int, price: int, *, real: bool) -> None:
        step = self.settings.price_step
        stop = tightest(self.guards, held, self.cash, step)
        if stop is not None and held.past(price, stop[0]):
            # A level that the price had left behind before (an entry that gapped past it) is no price of the path.
            on_path = self.last if held.past(self.last, stop[0]) else stop[0]
            base = price if real else on_path
            self.guard_exit(held, stop[1], ts, self.market_price(-held.side, base), real=real)
        elif held.target is not None and held.through(price, held.target):
            base = self.on_grid(price, -held.side) if real else held.target
            self.guard_exit(held, "take_profit", ts, base, real=real)
        else:
            before = moving_stops(self.guards, held, step)
            held.best = max(held.best, price) if held.side == LONG else min(held.best, price)
            after = moving_stops(self.guards, held, step)
            tighter = max((held.side * level for level, _ in after), default=0)
            if not real and tighter != max((held.side * level for level, _ in before), default=0):
                self.moved = True

    def guard_exit(self, held: Position, reason: str, ts: int, price: int, *, real: bool) -> None:
        """An exit inside a row depends on its assumed path where that had moved something, or may reach the other."""
        stop, target = tightest(self.guards, held, self.cash, self.settings.price_step), held.target
        trade = self.leave(held.quantity, ts, price, reason)
        if real:
            return
        if self.moved:
            trade.ambiguous = True
            return
        self.hit = trade
        at = stop[0] if stop is not None else None
        if reason == "take_profit":
            self.other = (at, None) if held.side == LONG else (None, at)
        elif target is not None:
            self.other = (None, target + 1) if held.side == LONG else (target - 1, None)
        else:
            self.other = (None, None)

    def look_for_the_other_way(self, price: int) -> None:
        """After a guard's exit inside a row: had the row gone the other way first, would the other guard have hit?"""
        below, above = self.other
        if self.hit is not None and ((below is not None and price <= below) or (above is not None and price >= above)):
            self.hit.ambiguous = True

    # Prices and sizes; a side of 1 buys, -1 sells

    def market_price(self, side: int, base: int) -> int:
        return self.on_grid(base * (1 + side * self.settings.slippage), side)

    def on_grid(self, price: Fraction | int, side: int) -> int:
        return up(price, self.settings.price_step) if side > 0 else down(price, self.settings.price_step)

    def fee(self, notional: int) -> int:
        return up(notional * self.settings.fee)

    def portion(self, share: Fraction) -> int:
        assert self.position is not None
        if share >= 1:
            return self.position.quantity
        return down(self.position.quantity * share, self.settings.lot_step)

    def quantity(self, order: Entry, price: int, stop: int | None) -> int | None:
        """What to trade; None where a size by risk has no stop to go by."""
        lot = self.settings.lot_step
        if order.mode == "quantity":
            return down(units(order.size), lot)
        if order.mode == "notional":
            return down(Fraction(units(order.size) * SCALE, price), lot)
        if order.mode == "risk_percent":
            distance = order.side * (price - stop) if stop is not None else 0
            if distance <= 0:
                return None
            by_risk = Fraction(down(self.cash * percent(order.size)) * SCALE, distance)
            return down(min(by_risk, Fraction(greatest_cost(self.cash, self.fee) * SCALE, price)), lot)
        budget = min(down(self.cash * percent(order.size)), self.cash)
        cost = greatest_cost(budget, self.fee)
        return down(Fraction(cost * SCALE, price), lot)

    # Fills

    def enter(self, order: Entry, ts: int, price: int) -> None:
        """Open a position while flat; equity before the fill is cash. A short is sized and checked like a long."""
        day = self.day(ts)
        self.guards.stop_distance, self.guards.target_distance = order.guards
        stop, target = self.levels(order.side, price)
        if reason := self.refusal(order, price, stop, day):
            self.rejections[reason] += 1
            return
        quantity = self.quantity(order, price, stop)
        assert quantity is not None
        if order.side == LONG:
            basis = up(Fraction(quantity * price, SCALE))
        else:
            basis = -down(Fraction(quantity * price, SCALE))
        fee = self.fee(abs(basis))
        self.cash -= basis + fee
        self.position = Position(order.side, quantity, price, basis, fee, ts, self.tick_number, price, 0, stop, target)
        self.entries[day] += 1
        self.largest = max(self.largest, self.cash)
        self.check()

    def levels(self, side: int, price: int) -> tuple[int | None, int | None]:
        return stop_and_target(self.guards, side, price, self.settings.price_step)

    def refusal(self, order: Entry, price: int, stop: int | None, day: date) -> str | None:
        if day == self.blocked_day:
            return "daily_loss_limit"
        if self.max_trades is not None and self.entries[day] >= self.max_trades:
            return "max_trades_per_day"
        if self.cash <= 0:
            return "insufficient_cash"
        quantity = self.quantity(order, price, stop)
        if quantity is None:
            return "no_stop"
        if quantity == 0:
            return "insufficient_cash" if order.mode == "percent_equity" else "below_min_notional"
        value = up(Fraction(quantity * price, SCALE))
        self.largest = max(self.largest, quantity, value + self.fee(value))
        if value + self.fee(value) > self.cash:
            return "insufficient_cash"
        if value < self.settings.min_notional:
            return "below_min_notional"
        return "position_limit" if value > self.cash * self.max_position else None

    def leave(self, quantity: int, ts: int, price: int, reason: str) -> Trade:
        """Close a portion. A long's exit receives, rounded down; a short's pays, rounded up."""
        held = self.position
        assert held is not None
        exact = Fraction(quantity * price, SCALE)
        received = down(exact) if held.side == LONG else -up(exact)
        fee = self.fee(abs(received))
        share = Fraction(quantity, held.quantity)
        basis, entry_fee = up(held.basis * share), up(held.entry_fee * share)  # the last portion takes the rest
        pnl = received - fee - basis - entry_fee
        side = "long" if held.side == LONG else "short"
        trade = Trade(quantity, held.ts, held.price, ts, price, entry_fee + fee, pnl, reason, side=side)
        self.trades.append(trade)
        self.cash += received - fee
        self.realised += pnl
        self.largest = max(self.largest, self.cash, abs(received) * (1 if held.side == LONG else 2))
        held.quantity -= quantity
        held.basis -= basis
        held.entry_fee -= entry_fee
        if held.quantity == 0:
            self.position = None
        self.check()
        return trade

    def check(self) -> None:
        """Money is conserved after every fill."""
        held = self.position
        basis, open_fee, quantity = (held.basis, held.entry_fee, held.quantity) if held else (0, 0, 1)
        assert self.cash + basis == self.settings.initial_cash + self.realised - open_fee
        assert quantity > 0
        assert open_fee >= 0
        if not self.settings.allow_short:
            assert min(self.cash, basis) >= 0

    # What others read

    def equity(self, price: int) -> int:
        held = self.position
        return self.cash + (down(Fraction(held.side * held.quantity * price, SCALE)) if held else 0)

    def day(self, ts: int) -> date:
        return datetime.fromtimestamp(ts // 1_000_000_000, UTC).astimezone(ZoneInfo(self.settings.day_timezone)).date()

    def open_trade(self) -> Trade | None:
        held = self.position
        if held is None:
            return None
        side = "long" if held.side == LONG else "short"
        return Trade(held.quantity, held.ts, held.price, None, None, held.entry_fee, None, None, side=side)


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


__all__ = ["LONG", "SHORT", "Broker", "Entry", "Exit", "Trade", "greatest_cost"]
