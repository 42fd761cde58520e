"""What the graph's actions and risk nodes ask for at a bar's close, and what becomes of it.

In this order: a waiting entry expires; limits on losses are tested; exits are gathered, the largest portion wins, the
first in document order of equals; entries follow in document order, none where an exit was asked for; then the exit is
placed, and with it the entry of a `reverse`; last, notices. Orders fill at the next tick, or where ``fill`` is close
right after this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Final

from algotrade.engine import row as R
from algotrade.engine.broker import broker
from algotrade.engine.broker.exits import why_not
from algotrade.engine.filling import of_types
from algotrade.engine.ir import F64, I32, I64, Expr, Var, const, select
from algotrade.engine.nodes.exits import freeze
from algotrade.engine.records import EventKind, Reason
from algotrade.engine.site import Scope, Site
from algotrade.engine.strategy import CheckedNode, Strategy

EXITING: Final = ("sell", "cover", "close", "reverse", "time_stop", "max_drawdown_halt", "daily_loss_limit")
ONE_SIDED: Final = {"sell": "gt", "cover": "lt"}  # how the quantity that it closes stands to 0

BY_EXIT, BY_REVERSE = 1, 2  # bits of `asked`


class Decisions:
    """Emits the decisions of one close. ``note`` marks that this bar has something to tell, before it is told."""

    def __init__(self, strategy: Strategy, scope: Scope, note: Callable[[], None]) -> None:
        self.strategy, self.scope, self.note = strategy, scope, note
        self.f, self.s, self.features = scope.f, scope.view, scope.features
        self.broker = broker(self.features)
        self.row, self.bars = scope.base, scope.bars
        self.portion, self.exit_node = self.f.var(I64, 0), self.f.var(I32, 0)
        self.exits = of_types(strategy, EXITING)
        # Where every exit closes whatever is held, the portion alone tells that one was asked for.
        self.asked = self.f.var(I32, 0) if self._needs_asked else None

    @cached_property
    def _needs_asked(self) -> bool:
        return self.features.short or any(n.type.name not in ("sell", "close") for n in self.exits)

    def _all(self, *names: str) -> list[CheckedNode]:
        return of_types(self.strategy, names)

    def emit(self) -> None:
        if self.features.resting:
            self._expire()
        for node in self._all("max_drawdown_halt", "daily_loss_limit"):
            self._test_limit(node)
        for node in self.exits:
            self._ask(node)
        if self.features.resting:
            self._cancel()
        for node in self._all("buy", "short"):
            with self.f.when(self._when(node)), self.f.when(self._nothing_asked()):
                self._enter(node)
        if self.exits:
            with self.f.when(self.portion.ne(0)):
                self._place_exit()
        for node in self._all("notify"):
            self._notify(node)

    def _when(self, node: CheckedNode) -> Expr:
        return Site(self.scope, node).truth("when").true

    def _nothing_asked(self) -> Expr:
        return self.portion.eq(0) if self.asked is None else self.asked.eq(0)

    def _reject(self, node: Expr | int, reason: Expr | Reason) -> None:
        self.note()
        self.f.run(self.broker.reject, self.row, node, reason)

    # ------------------------------------------------------------------ limits

    def _test_limit(self, node: CheckedNode) -> None:
        """Equity at this close against its peak, or against the last close of the day before; once hit it stays."""
        f, s = self.f, self.s
        percent = Site(self.scope, node).decimal("percent")
        left = 1.0 - percent.to(F64) / float(R.WHOLE_PERCENT)
        if node.type.name == "max_drawdown_halt":
            with f.when(s["equity"] <= s["peak"] * left):
                s["ended"] = 1
        else:
            with f.when(s["equity"] <= s["day_equity"] * left):
                s["blocked"], s["blocked_day"] = 1, s["day"]

    def _blocked_today(self) -> Expr:
        return self.s["blocked"] & self.s["day"].eq(self.s["blocked_day"])

    # ------------------------------------------------------------------ exits

    def _ask(self, node: CheckedNode) -> None:
        f, name = self.f, node.type.name
        site = Site(self.scope, node)
        portion = site.decimal("portion") if node.type.param("portion") else const(I64, R.WHOLE_PERCENT)
        with f.when(self._fires(site)):
            if self.asked is not None:
                f.set(self.asked, self.asked | (BY_REVERSE if name == "reverse" else BY_EXIT))
            if name == "cover" and not self.features.short:
                return  # there is never a short to cover; that it was asked for still keeps entries out
            better = portion > self.portion
            if self.features.short and name in ONE_SIDED:
                better = better & self.s["quantity"].op2(ONE_SIDED[name], 0)
            with f.when(better):
                f.set(self.portion, portion)
                f.set(self.exit_node, node.index + 1)

    def _fires(self, site: Site) -> Expr:
        s, held = self.s, self.s["quantity"].ne(0)
        match site.node.type.name:
            case "time_stop":
                return held & (self.bars - s["entry_bar"] >= site.integer("bars"))
            case "max_drawdown_halt":
                return held & s["ended"]
            case "daily_loss_limit":
                return held & self._blocked_today()
        return self._when(site.node)

    def _place_exit(self) -> None:
        f, s = self.f, self.s
        free = (s["attention"] & R.EXIT_PENDING).eq(0)
        with f.when(s["quantity"].ne(0) & free & (self.scope.warming.op1("eqz"))):
            s["exit_portion"], s["exit_node"] = self.portion, self.exit_node
            s["exit_reason"] = Reason.NODE
            s["attention"] = s["attention"] | R.EXIT_PENDING
            self.note()
            for node in self._all("reverse"):
                with f.when(self.exit_node.eq(node.index + 1)):
                    self._reverse(node)

    def _reverse(self, node: CheckedNode) -> None:
        """The second half: the entry on the other side, unless an exit of its own was asked for as well."""
        f, s = self.f, self.s
        assert self.asked is not None
        with f.when(self.asked.eq(BY_REVERSE)):
            to_short = f.let(s["quantity"] > 0)
            reason = f.var(I32, 0)
            with f.when(to_short & s["allow_short"].eq(0)):
                f.set(reason, Reason.SHORT_NOT_ALLOWED)
            self._forbidden(reason)
            with f.when(reason.ne(0)) as refused:
                self._reject(node.index, reason)
            with f.otherwise(refused):
                self._freeze()
                s["entry_node"], s["entry_short"] = node.index + 1, to_short
                s["attention"] = s["attention"] | R.ENTRY_PENDING

    # ------------------------------------------------------------------ entries

    def _forbidden(self, reason: Var, *, waiting: bool = False) -> None:
        """Why no entry may be decided now, whichever it is, or go on ``waiting``: a silent feed does not end that."""
        f, s = self.f, self.s
        for node in self._all("no_entry"):
            with f.when(self._when(node)):
                f.set(reason, Reason.NO_ENTRY)
        if self._all("max_drawdown_halt"):
            with f.when(s["ended"]):
                f.set(reason, Reason.HALTED)
        away = s["mode"].ne(R.RUNNING) if not waiting else s["mode"].eq(R.EXITS_ONLY)
        with f.when(away):
            f.set(reason, why_not(s))

    def _enter(self, node: CheckedNode) -> None:
        f, s = self.f, self.s
        short = node.type.name == "short"
        self.note()
        reason = f.var(I32, 0)
        if short:
            with f.when(s["allow_short"].eq(0)):
                f.set(reason, Reason.SHORT_NOT_ALLOWED)
        busy = s["quantity"].ne(0) | (s["attention"] & R.PENDING)
        if self.features.resting:
            busy = busy | s["order_level"].ne(0)
        with f.when(busy):
            f.set(reason, self._already())
        self._forbidden(reason)
        with f.when(self.scope.warming):
            f.set(reason, Reason.WARMING_UP)
        level = self._order_level(node, reason)
        with f.when(reason.ne(0)) as rejected:
            f.run(self.broker.reject, self.row, node.index, reason)
        with f.otherwise(rejected):
            self._freeze()
            s["entry_node"] = node.index + 1
            if self.features.short:
                s["entry_short"] = int(short)
            if level is None:
                s["attention"] = s["attention"] | R.ENTRY_PENDING
            else:
                self._wait(node, level)

    def _freeze(self) -> None:
        for node in self._all("stop_loss", "take_profit"):
            freeze(Site(self.scope, node))

    def _already(self) -> Expr:
        long, short = const(I32, Reason.ALREADY_LONG), const(I32, Reason.ALREADY_SHORT)
        if not self.features.short:
            return long
        held = self.s["quantity"]
        return select((held < 0) | (held.eq(0) & self.s["entry_short"]), short, long)

    def _order_level(self, node: CheckedNode, reason: Var) -> Expr | None:
        """The price that a limit or stop entry waits for, from this close; None: it does not wait.

        Bought at this or less, so rounded up, sold at this or more, so down: against the trader, like any price.
        """
        kind = node.params["order_type"]
        if kind == "market":
            return None
        f = self.f
        short = node.type.name == "short"
        below = (kind == "limit") != short
        offset = Site(self.scope, node).decimal("limit_offset_percent")
        rate = const(I64, R.WHOLE_PERCENT) - offset if below else offset + R.WHOLE_PERCENT
        exact = f.call(self.broker.muldiv, self.scope.bar["close"], rate, R.WHOLE_PERCENT, int(not short))
        level = f.let(f.call(self.broker.to_step, self.row, f.let(exact), int(not short)))
        with f.when(reason.eq(0) & (level <= 0)):
            f.set(reason, Reason.NO_LEVEL)
        return level

    def _wait(self, node: CheckedNode, level: Expr) -> None:
        """A limit must be traded through, a stop only touched."""
        s, limit = self.s, node.params["order_type"] == "limit"
        s["order_level"], s["order_bar"] = level, self.bars
        s["order_low"], s["order_high"] = const(I64, 0), R.NO_LEVEL
        if limit != (node.type.name == "short"):
            s["order_low"] = level - 1 if limit else level
        else:
            s["order_high"] = level + 1 if limit else level
        self.f.run(self.broker.triggers, self.row)

    def _expire(self) -> None:
        f, s = self.f, self.s
        for node in self._all("buy", "short"):
            site = Site(self.scope, node)
            if node.params["order_type"] == "market" or not site.has("expire_bars"):
                continue
            waited = self.bars - s["order_bar"] >= site.integer("expire_bars")
            with f.when(s["order_level"].ne(0) & s["entry_node"].eq(node.index + 1) & waited):
                self._give_up(Reason.EXPIRED)

    def _cancel(self) -> None:
        """An entry does not go on waiting behind an exit, nor past a limit or a time without entries."""
        f, s = self.f, self.s
        reason = f.var(I32, 0)
        with f.when(s["order_level"].ne(0)):
            if self.exits:
                with f.when(self._nothing_asked().op1("eqz")):
                    f.set(reason, Reason.CANCELLED)
            if self._all("daily_loss_limit"):
                with f.when(self._blocked_today()):
                    f.set(reason, Reason.DAILY_LOSS_LIMIT)
            self._forbidden(reason, waiting=True)
            with f.when(reason.ne(0)):
                self._give_up(reason)

    def _give_up(self, reason: Expr | Reason) -> None:
        self.s["order_level"] = 0
        self.f.run(self.broker.triggers, self.row)
        self._reject(self.s["entry_node"] - 1, reason)

    # ------------------------------------------------------------------ notices

    def _notify(self, node: CheckedNode) -> None:
        f, s, site = self.f, self.s, Site(self.scope, node)
        said = site.slot(I32)  # at which bar, counted from 1; 0: never
        quiet = said.get().ne(0) & (self.bars - said.get() < site.integer("throttle_bars"))
        may = (self.scope.warming.op1("eqz")) & s["mode"].ne(R.HALTED) & quiet.op1("eqz")
        with f.when(self._when(node)), f.when(may):
            said.set(self.bars)
            self.note()
            nothing = [0] * 6
            f.run(self.broker.report, self.row, EventKind.NOTICE, node.index, Reason.NODE, *nothing)
