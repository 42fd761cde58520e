"""What the demo shows: sessions as a table, fills as lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from algotrade.cli.watch import SessionFill, Watched
from algotrade.engine import fixed
from algotrade.v1 import forward_test_service_pb2 as forward

_HEADINGS: Final = ("session", "symbol", "last price", "position", "P&L", "fills", "state")
_LEFT: Final = ("session", "symbol", "state")


def table(watched: Sequence[Watched]) -> Table:
    """Return the sessions, a row each under the feed that they follow; it fits 80 columns."""
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in _HEADINGS:
        made.add_column(heading, justify="left" if heading in _LEFT else "right", no_wrap=True)
    for feed in dict.fromkeys(one.of.feed for one in watched):
        made.add_row(Text(f"{feed} feed", style="dim"))
        for one in watched:
            if one.of.feed == feed:
                made.add_row(*_cells(one))
    return made


def _cells(one: Watched) -> tuple[str | Text, ...]:
    return (
        one.of.title,
        f"{one.session.symbol} {one.session.settings.interval}",
        decimal(one.last_price, 2) if one.last_price else "–",
        decimal(one.quantity, 4) if one.quantity else "–",
        Text(signed(one.pnl), style="green" if one.pnl > 0 else "red" if one.pnl < 0 else ""),
        str(one.fills),
        Text(state(one), style="red" if one.halted or one.failure else ""),
    )


def picture(watched: Sequence[Watched], fills: Iterable[SessionFill], footer: str) -> Group:
    """Return the live view: the table, the latest fills, a line on what to do."""
    lines = [Text(fill_line(fill), style="dim") for fill in fills]
    return Group(Text(), table(watched), Text(), *lines, Text(), Text(footer, style="bold"))


def state(watched: Watched) -> str:
    """Say in a word or two how a session is."""
    if watched.failure:
        return "lost"
    if watched.halted:
        return f"halted: {watched.halted}"
    if watched.session.status == forward.SESSION_STATUS_STOPPED:
        return "stopped"
    return "warm-up" if watched.bars < watched.session.warmup_bars else "running"


def fill_line(fill: SessionFill) -> str:
    """A fill in a line: when, whose, what."""
    event = fill.event
    quantity, price = decimal(fixed.parse(event.quantity), 4), decimal(fixed.parse(event.price), 2)
    parts = [
        f"{event.event_time.ToDatetime():%Y-%m-%d %H:%M:%S}",
        f"{fill.of.session.symbol:<8} {fill.of.title:<20}",
        f"{'buy' if fill.buys else 'sell':<4} {quantity} at {price}",
    ]
    if event.pnl:
        parts.append(f"P&L {signed(fixed.parse(event.pnl))}")
    return "  ".join([*parts, event.reason]).rstrip()


def status_line(watched: Watched) -> str:
    """A session in a line, for where no table can be redrawn."""
    return (
        f"{watched.session.symbol:<8} {watched.of.title:<20} last {decimal(watched.last_price, 2)}"
        f"  position {decimal(watched.quantity, 4)}  P&L {signed(watched.pnl)}  trades {watched.trades}"
    )


def decimal(units: int, places: int) -> str:
    """An amount cut to so many decimals: the services' own answers are exact."""
    step = fixed.SCALE // 10**places
    cut = (abs(units) // step) * (step if units > 0 else -step)
    whole, _, fraction = fixed.text(cut).partition(".")
    return f"{whole}.{fraction:<02}" if places == 2 else fixed.text(cut)


def signed(units: int) -> str:
    """An amount of money with its sign, but for what is cut to nothing."""
    text = decimal(units, 2)
    return f"+{text}" if units > 0 and text != "0.00" else text
