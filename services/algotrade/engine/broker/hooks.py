"""Functions of the graph, declared so that the broker can call them; `filling.py` writes them."""

from __future__ import annotations

from typing import Final

from algotrade.engine.ir import I32, I64, Function

ENTER: Final = Function("enter", [I32, I64, I64])  # row, time, price: fill the entry that was decided, or reject it
LEVELS: Final = Function("levels", [I32, I64, I32])  # row, entry price, short: set stop and target
MOVE: Final = Function("move", [I32, I64])  # row, price: let the stops follow the price
