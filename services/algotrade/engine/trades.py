"""From an artefact's events to trades: one row an exit portion, and the position that is still open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from algotrade.engine.compile import NodeEntry
from algotrade.engine.records import EventKind, Reason, Records

_USED: Final = ("kind", "node", "reason", "ts", "price", "quantity", "fee", "entry_fee", "pnl")


@dataclass(frozen=True, slots=True)
class Trade:
    """Amounts in units of 1e-8, times in nanoseconds; ``side`` is long or short and ``quantity`` never negative.

    ``fees`` are those of both ends, ``pnl`` is net of them. An open trade has no exit and no pnl, and its fees are
    those of the entry.
    """

    side: str
    quantity: int
    entry_ts: int
    entry_price: int
    exit_ts: int | None
    exit_price: int | None
    fees: int
    pnl: int | None
    exit_reason: str | None
    ambiguous: bool = False


class TradeBook:
    """Folds the events of one session, in order."""

    def __init__(self, nodes: Sequence[NodeEntry]) -> None:
        self._nodes = nodes
        self.closed: list[Trade] = []
        self.open: Trade | None = None
        self.rejections: Counter[str] = Counter()  # by reason
        self.notices: Counter[str] = Counter()  # by node id
        self.halted: str | None = None

    def apply(self, events: Records) -> list[Trade]:
        """Take events; the trades they closed or marked ambiguous, as they stand now."""
        changed: dict[int, Trade] = {}
        for kind, node, reason, ts, price, quantity, fee, entry_fee, pnl in zip(
            *(events[name].tolist() for name in _USED), strict=True
        ):
            if kind == EventKind.REJECTION:
                self.rejections[Reason(reason).label] += 1
            elif kind == EventKind.ENTRY:
                side = "short" if quantity < 0 else "long"
                self.open = Trade(side, abs(quantity), ts, price, None, None, fee, None, None)
            elif kind == EventKind.EXIT:
                entry = self.open
                assert entry is not None
                why = exit_reason(self._nodes, node, reason)
                changed[len(self.closed)] = trade = Trade(
                    entry.side, abs(quantity), entry.entry_ts, entry.entry_price, ts, price, fee + entry_fee, pnl, why
                )
                self.closed.append(trade)
                left = entry.quantity - abs(quantity)
                self.open = replace(entry, quantity=left, fees=entry.fees - entry_fee) if left else None
            elif kind == EventKind.AMBIGUOUS:
                self.closed[-1] = changed[len(self.closed) - 1] = replace(self.closed[-1], ambiguous=True)
            elif kind == EventKind.NOTICE:
                self.notices[self._nodes[node].id] += 1
            elif kind == EventKind.HALT:
                self.halted = Reason(reason).label
        return list(changed.values())


def exit_reason(nodes: Sequence[NodeEntry], node: int, reason: int) -> str:
    """The type of the node that decided the exit, or the name of what else did."""
    return nodes[node].type if reason == Reason.NODE else Reason(reason).label
