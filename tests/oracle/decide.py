"""What a close decides: levels are sampled, limits tested, exits and entries gathered and placed, notices given."""

from __future__ import annotations

import math
from collections import Counter
from datetime import date
from typing import Any

from oracle.broker import LONG, SHORT, Broker, Entry, Exit
from oracle.document import ENTRIES, EXITS, Graph, Node
from oracle.evaluate import Bar, Evaluator, warmup
from oracle.settings import SCALE, Settings, down, percent, up


class Decisions:
    """One graph's decisions, bar by bar; the run around it keeps the bars and the clock."""

    def __init__(self, graph: Graph, settings: Settings) -> None:
        self.graph, self.settings = graph, settings
        self.broker = Broker(settings)
        self.evaluator = Evaluator(graph)
        self.warmup = warmup(graph)
        self.last_ts = 0
        self.peak = self.day_start = self.last_equity = settings.initial_cash
        self.day: date | None = None
        self.ended = False  # by max_drawdown_halt
        self.noticed: dict[str, int] = {}  # the bar of each notify node's last notice
        self.notices: Counter[str] = Counter()
        self.set_fixed_guards()

    def decide(self, bar: Bar, equity: int) -> None:
        broker, warm, index = self.broker, self.index >= self.warmup, self.index
        waiting = broker.waiting
        if waiting is not None and waiting.expire_bars is not None and index - waiting.bar >= waiting.expire_bars:
            self.give_up("expired")
        self.test_limits(equity)
        exits = [n for n in self.graph.of_type(*EXITS) if self.asks(n)]
        entries = [n for n in self.graph.of_type(*ENTRIES) if self.fires(n)]
        self.give_up(self.no_entry() or self.blocked() or ("cancelled" if exits else None))
        if exits:
            if warm and broker.position is not None:
                self.leave(exits, broker.position.side)
        else:
            for node in entries:
                self.enter(node, bar, warm=warm)
        for node in self.graph.of_type("notify"):
            last = self.noticed.get(node.id)
            if warm and self.fires(node) and (last is None or index - last >= int(node.params["throttle_bars"])):
                self.noticed[node.id] = index
                self.notices[node.id] += 1
        if self.settings.fill == "close":
            self.fill_now(bar)

    @property
    def index(self) -> int:
        """Of the bar that has just been evaluated, from 0."""
        return len(self.evaluator.bars) - 1

    def asks(self, node: Node) -> bool:
        """Whether this node wants out, be there something to leave or not; a limit or clock only where there is."""
        held = self.broker.position
        match node.type:
            case "time_stop":
                return held is not None and held.closes >= int(node.params["bars"])
            case "max_drawdown_halt":
                return held is not None and self.ended
            case "daily_loss_limit":
                return held is not None and self.broker.blocked_day == self.day
        return self.fires(node)

    def leave(self, exits: list[Node], side: int) -> None:
        """The largest portion wins, the first of equals; a reverse enters where no other exit was asked for."""
        fitting = [n for n in exits if n.type not in ("sell", "cover") or (n.type == "sell") == (side == LONG)]
        if not fitting:
            return
        best = max(fitting, key=share_of)
        self.broker.pending_exit = Exit(best.id, best.type, share_of(best))
        if best.type == "reverse" and all(n.type == "reverse" for n in exits):
            if reason := self.no_entry() or self.may_short(-side):
                self.broker.rejections[reason] += 1
            else:
                p, guards = best.params, self.distances
                self.broker.pending_entry = Entry(best.id, -side, p["size_mode"], p["size"], guards=guards)

    def enter(self, node: Node, bar: Bar, *, warm: bool) -> None:
        broker, p = self.broker, node.params
        side = LONG if node.type == "buy" else SHORT
        standing = broker.position or broker.pending_entry or broker.waiting
        reason = None if warm else "warming_up"
        reason = reason or self.no_entry()
        if standing is not None:
            reason = reason or ("already_long" if standing.side == LONG else "already_short")
        reason = reason or self.may_short(side)
        level = self.order_level(node, side, bar)
        if level <= 0:
            reason = reason or "no_level"
        if reason:
            broker.rejections[reason] += 1
            return
        expire = None if p["expire_bars"] is None else int(p["expire_bars"])
        kind = p["order_type"]
        order = Entry(node.id, side, p["size_mode"], p["size"], kind, level, self.index, expire, self.distances)
        if kind == "market":
            broker.pending_entry = order
        else:
            broker.waiting = order

    def order_level(self, node: Node, side: int, bar: Bar) -> int:
        """Better than the close by the offset for a limit, worse for a stop; on the grid as any price of that side."""
        offset = percent(node.params["limit_offset_percent"])
        away = -side if node.params["order_type"] == "limit" else side
        return self.broker.on_grid(bar.close * (1 + away * offset), side)

    def no_entry(self) -> str | None:
        """Why no entry may be decided at this close, nor go on waiting."""
        if self.ended:
            return "halted"
        if any(self.fires(node) for node in self.graph.of_type("no_entry")):
            return "no_entry"
        return None

    def may_short(self, side: int) -> str | None:
        return "short_not_allowed" if side == SHORT and not self.settings.allow_short else None

    def blocked(self) -> str | None:
        return "daily_loss_limit" if self.broker.blocked_day == self.day else None

    def give_up(self, reason: str | None) -> None:
        """Take back an entry that waits."""
        if self.broker.waiting is not None and reason is not None:
            self.broker.waiting = None
            self.broker.rejections[reason] += 1

    def test_limits(self, equity: int) -> None:
        """Equity at this close against its peak, and against the last close of the day before."""
        for node in self.graph.of_type("max_drawdown_halt", "daily_loss_limit"):
            against = self.peak if node.type == "max_drawdown_halt" else self.day_start
            least = against * (1 - percent(node.params["percent"]))
            if abs(equity - least) <= 2 + abs(against) * 1e-12:
                self.evaluator.fragile.append((self.index, node.id))
            if equity <= least and node.type == "max_drawdown_halt":
                self.ended = True
            elif equity <= least:
                self.broker.blocked_day = self.day

    def fill_now(self, bar: Bar) -> None:
        """`fill: close`: at the close that was just seen, with the time of its last tick; guards live from the next."""
        self.broker.market(self.last_ts, bar.close)

    def fires(self, node: Node) -> bool:
        return self.evaluator.truths[node.sources["when"][0]] is True

    # Guards

    def set_fixed_guards(self) -> None:
        guards, broker = self.broker.guards, self.broker
        for node in self.graph.of_type("stop_loss", "take_profit"):
            if node.one("level") is None and "atr_multiple" not in node.params:
                name = "stop_percent" if node.type == "stop_loss" else "target_percent"
                setattr(guards, name, percent(node.params["percent"]))
        for node in self.graph.nodes.values():
            p = node.params
            match node.type:
                case "trailing_stop":
                    guards.trail, guards.trail_from = percent(p["percent"]), percent(p["activation_percent"])
                case "break_even":
                    guards.break_even = percent(p["trigger_percent"])
                case "max_position":
                    broker.max_position = min(broker.max_position, percent(p["percent"]))
                case "max_trades_per_day":
                    broker.max_trades = int(p["n"])
        self.distances: tuple[float | None, float | None] = (None, None)

    def sample_guards(self) -> str | None:
        """Levels are sampled at every close, also for the position that is held; distances only count at an entry.

        Gives the node, if any, whose level another order of floating-point operations could put a step elsewhere.
        """
        doubtful = None
        stop, target = None, None
        for node in self.graph.of_type("stop_loss", "take_profit"):
            kind = "stop" if node.type == "stop_loss" else "target"
            if node.one("level") is not None:
                value, doubt = self.evaluator.numbers[node.id, "level"]
                if math.isnan(value):
                    continue  # not consumed: the level of before stands
                if doubt and self.placed_elsewhere(value, doubt):
                    doubtful = node.id
                setattr(self.broker.guards, f"{kind}_level", value * SCALE)
                held = self.broker.position
                if held is not None:
                    levels = self.broker.levels(held.side, held.price)
                    setattr(held, kind, levels[kind == "target"])
            elif "atr_multiple" in node.params:
                atr, doubt = self.evaluator.numbers[node.id, "atr"]
                scale = float(node.params["atr_multiple"]) * SCALE
                distance = None if math.isnan(atr) else atr * scale
                if doubt and math.floor((atr - doubt) * scale) != math.floor((atr + doubt) * scale):
                    doubtful = node.id
                if kind == "stop":
                    stop = distance
                else:
                    target = distance
        self.distances = stop, target
        return doubtful

    def placed_elsewhere(self, value: float, doubt: float) -> bool:
        step = self.settings.price_step
        low, high = math.floor((value - doubt) * SCALE), math.ceil((value + doubt) * SCALE)
        return down(low, step) != down(math.floor(value * SCALE), step) or up(high, step) != up(
            math.ceil(value * SCALE), step
        )


def share_of(node: Node) -> Any:
    return percent(node.params["portion"]) if node.type in ("sell", "cover") else percent(100)
