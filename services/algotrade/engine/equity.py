"""The equity curve of a run, from the events it reported."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from algotrade.engine.fixed import SCALE
from algotrade.engine.records import EventKind, Records


def equity_curve(bars: Records, events: Records, initial_cash: int) -> npt.NDArray[np.float64]:
    """Cash + quantity x close at the close of each bar (f64, shape (bars,)).

    `bars`: BAR records by time; `events`: the EVENT records of one session, in order; `initial_cash` in units of 1e-8.
    """
    fills = events[np.isin(events["kind"], [EventKind.ENTRY, EventKind.EXIT])]
    signed = np.where(fills["kind"] == EventKind.ENTRY, fills["quantity"], -fills["quantity"])
    cash = np.concatenate([[initial_cash], fills["cash"]]) / SCALE
    quantity = np.concatenate([[0], np.cumsum(signed)]) / SCALE
    first = np.searchsorted(bars["ts"], fills["ts"])  # the bar from whose close on a fill counts; there are fewer fills
    lasting = np.diff(first, prepend=0, append=len(bars))
    return np.asarray(np.repeat(cash, lasting) + np.repeat(quantity, lasting) * (bars["close"] / SCALE), np.float64)
