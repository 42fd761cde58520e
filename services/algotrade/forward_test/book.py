"""What a session's events add up to: numbered events, trades, totals, and the messages that tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from algotrade.engine.compile import NodeEntry
from algotrade.engine.records import EventKind, Reason, Records
from algotrade.engine.trades import Trade, TradeBook, exit_reason
from algotrade.forward_test.session import Event, Held, OwnKind, SessionTrade


@dataclass(frozen=True, slots=True)
class Happening:
    """An event with the trade it closed or marked, and what the session held and had earned after it."""

    event: Event
    trade: SessionTrade | None
    open: SessionTrade | None
    realized_pnl: int


class Book:
    """Folds one session's engine events, in order, from wherever the last commit left it."""

    def __init__(self, held: Held, nodes: Sequence[NodeEntry]) -> None:
        """Go on from stored rows."""
        self._session_id = held.session.session_id
        self._initial_cash = held.session.settings.initial_cash
        self._nodes = nodes
        self._trades = TradeBook(nodes)
        self._trades.open = engine_trade(held.open) if held.open else None
        if held.last_trade:
            self._trades.closed.append(engine_trade(held.last_trade))
        self._entry_sequence = held.open.sequence if held.open else 0
        self._exit_sequence = held.last_trade.sequence if held.last_trade else 0
        self.warmup_events = held.warmup_events
        self.last_sequence = held.session.last_sequence
        self.totals = held.totals

    @property
    def open(self) -> SessionTrade | None:
        """The open trade."""
        return self._trade(self._entry_sequence, self._trades.open) if self._trades.open else None

    @property
    def halt_reason(self) -> str:
        """Why the engine halted the session; empty while it has not."""
        return self._trades.halted or ""

    def fold(self, events: Records) -> list[Happening]:
        """Take the session's next events (EVENT records)."""
        return [self._one(events[index : index + 1]) for index in range(len(events))]

    @property
    def last_trade(self) -> SessionTrade | None:
        """The trade that was closed last."""
        return self._trade(self._exit_sequence, self._trades.closed[-1]) if self._trades.closed else None

    def halt(self, reason: str, event_ns: int, tick_sequence: int, cash: int) -> Happening:
        """End the session for a reason of the worker's own; it will not be stepped again."""
        return self.note(EventKind.HALT, reason, event_ns, tick_sequence, cash)

    def note(self, kind: EventKind | OwnKind, reason: str, event_ns: int, tick_sequence: int, cash: int) -> Happening:
        """Number an event that the engine knows nothing of; the engine's next one follows it."""
        self.last_sequence += 1
        self.warmup_events -= 1
        event = Event(
            self._session_id,
            self.last_sequence,
            kind,
            event_ns,
            tick_sequence,
            node_id="",
            reason=reason,
            side="",
            price=0,
            quantity=0,
            amount=0,
            fee=0,
            pnl=None,
            cash=cash,
        )
        return Happening(event, None, self.open, self.totals.realized_pnl)

    def _one(self, record: Records) -> Happening:
        raw = record[0]
        kind, sequence = EventKind(raw["kind"]), int(raw["number"]) - self.warmup_events
        changed = self._trades.apply(record)
        self.last_sequence = sequence
        if kind is EventKind.ENTRY:
            self._entry_sequence = sequence
        elif kind is EventKind.EXIT:
            self._exit_sequence = sequence
            self._count(int(raw["pnl"]))
        del self._trades.closed[:-1]
        trade = self._trade(self._exit_sequence, changed[0]) if changed else None
        held = self.open
        told = trade or (held if kind is EventKind.ENTRY else None)
        event = self._event(raw, kind, sequence, told.side if told else "")
        return Happening(event, trade, held, self.totals.realized_pnl)

    def _event(self, raw: Records, kind: EventKind, sequence: int, side: str) -> Event:
        node, reason = int(raw["node"]), int(raw["reason"])
        why = ""
        if kind is EventKind.EXIT:
            why = exit_reason(self._nodes, node, reason)
        elif kind in (EventKind.REJECTION, EventKind.HALT):
            why = Reason(reason).label
        elif kind is EventKind.NOTICE:
            why = self._nodes[node].message
        return Event(
            session_id=self._session_id,
            sequence=sequence,
            kind=kind,
            event_ns=int(raw["ts"]),
            tick_sequence=int(raw["tick_seq"]),
            node_id=self._nodes[node].id if node >= 0 else "",
            reason=why,
            side=side,
            price=int(raw["price"]),
            quantity=abs(int(raw["quantity"])),
            amount=int(raw["amount"]),
            fee=int(raw["fee"]),
            pnl=int(raw["pnl"]) if kind is EventKind.EXIT else None,
            cash=int(raw["cash"]),
        )

    def _count(self, pnl: int) -> None:
        totals = self.totals
        realized = totals.realized_pnl + pnl
        balance = self._initial_cash + realized
        peak = max(totals.peak_balance, balance)
        self.totals = replace(
            totals,
            trades=totals.trades + 1,
            winning=totals.winning + (pnl > 0),
            realized_pnl=realized,
            peak_balance=peak,
            max_drawdown=max(totals.max_drawdown, peak - balance),
        )

    def _trade(self, sequence: int, trade: Trade) -> SessionTrade:
        return SessionTrade(
            self._session_id,
            sequence,
            trade.side,
            trade.quantity,
            trade.entry_ts,
            trade.entry_price,
            trade.exit_ts,
            trade.exit_price,
            trade.fees,
            trade.pnl,
            trade.exit_reason,
            trade.ambiguous,
        )


def engine_trade(trade: SessionTrade) -> Trade:
    """Return a trade as the engine's own."""
    return Trade(
        trade.side,
        trade.quantity,
        trade.entry_ns,
        trade.entry_price,
        trade.exit_ns,
        trade.exit_price,
        trade.fees,
        trade.pnl,
        trade.exit_reason,
        trade.ambiguous,
    )
