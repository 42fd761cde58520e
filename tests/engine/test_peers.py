"""The same strategies in backtesting.py, an engine by other people: the same trades, at the same times and prices.

Where its rules can say what ours say; docs/execution.md has where they cannot.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import series
from agreement import compiled
from graphs import Json, drawing, sma_cross

from algotrade.engine.backtest import backtest
from algotrade.engine.fixed import SCALE, text
from algotrade.engine.records import Records
from algotrade.engine.settings import RunSettings
from algotrade.engine.trades import Trade

ROOT = Path(__file__).resolve().parents[2]
PEER = ROOT / ".venv-peers" / "bin" / "python"
SCRIPT = Path(__file__).with_name("peer_backtesting.py")
CASH, COMMISSION = 10_000, "0.001"  # of the notional, as our ten basis points
FAST, SLOW = 10, 25


def peer_trades(bars: Records, runs: list[str], folder: Path) -> list[list[list[Any]]]:
    assert PEER.exists(), "needs .venv-peers; `make test` makes it"
    path = folder / "bars.csv"
    with path.open("w") as out:
        out.write("ts,open,high,low,close,volume\n")
        for bar in bars.tolist():
            out.write(",".join([str(bar[0]), *map(text, bar[1:5]), str(bar[5])]) + "\n")
    command = [str(PEER), str(SCRIPT), str(path), str(CASH), COMMISSION, *runs]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[list[list[Any]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def our_trades(document: Json, bars: Records) -> list[Trade]:
    """Where a bar reaches stop and target, theirs takes the stop: that is our path `worst`."""
    artefact = compiled(document).artefact
    assert artefact is not None
    settings = RunSettings(initial_cash=CASH * SCALE, allow_short=artefact.manifest.has_short, path="worst")
    return [trade for trade in backtest(artefact, bars, settings).trades if trade.exit_ts is not None]


def check(ours: list[Trade], theirs: list[list[Any]]) -> int:
    """Number of closed trades, all equal; levels to one unit of 1e-8, as theirs are floats."""
    assert len(ours) == len(theirs)
    for mine, (size, entry_ts, entry_price, exit_ts, exit_price) in zip(ours, theirs, strict=True):
        assert (mine.entry_ts, mine.exit_ts) == (entry_ts, exit_ts)
        assert mine.exit_price is not None
        assert abs(mine.entry_price - round(entry_price * SCALE)) <= 1
        assert abs(mine.exit_price - round(exit_price * SCALE)) <= 1
        assert mine.side == ("short" if size < 0 else "long")
        # Theirs is a float, and of a whole number of units; the fee makes it the same all-in quantity.
        assert mine.quantity / SCALE == pytest.approx(abs(size), rel=1e-6)
    return len(ours)


def crossing(nodes: Json, wires: str) -> Json:
    """Two means of the close and their crossings, and what is made of them."""
    means = {
        "p": "price",
        "f": ("sma", {"timeperiod": FAST}),
        "s": ("sma", {"timeperiod": SLOW}),
        "up": "crossover",
        "dn": "crossunder",
    }
    return drawing(means | nodes, f"p>f p>s f>up.a s>up.b f>dn.a s>dn.b {wires}")


def guarded(entry: str, leave: str, stop: float, target: float) -> Json:
    """Stop and target at a share of the close that decided the entry."""
    begin, end = ("up", "dn") if entry == "buy" else ("dn", "up")
    nodes: Json = {"e": entry, "x": leave}
    wires = f"{begin}>e {end}>x"
    for name, share in (("stop_loss", stop), ("take_profit", target)):
        nodes |= {f"{name}_share": ("constant", {"value": share}), f"{name}_at": "mul"}
        nodes |= {f"{name}_kept": "value_when", name: name}
        wires += f" p>{name}_at.a {name}_share>{name}_at.b {begin}>{name}_kept.when {name}_at>{name}_kept.value"
        wires += f" {name}_kept>{name}.level"
    return crossing(nodes, wires)


def waiting(order: str) -> Json:
    entry = {"order_type": order, "limit_offset_percent": 1}
    return crossing({"b": ("buy", entry), "x": "sell"}, "up>b dn>x")


def turning() -> Json:
    nodes: Json = {"held": "position", "b": "buy", "sh": "short", "turn": "or", "r": "reverse"}
    for name, op in (("long", ">"), ("none", "=="), ("under", "<")):
        nodes[name] = ("compare", {"op": op, "value": 0})
    wires = " ".join(f"held.side>{name}.a" for name in ("long", "none", "under"))
    for name, when, state in (("in", "up", "none"), ("out", "dn", "none"), ("a", "dn", "long"), ("z", "up", "under")):
        nodes[name] = "and"
        wires += f" {when}>{name} {state}>{name}"
    return crossing(nodes, f"{wires} in>b out>sh a>turn z>turn turn>r")


STRATEGIES = {
    "cross": sma_cross(FAST, SLOW),
    "guarded": guarded("buy", "sell", 0.97, 1.08),
    "limit": waiting("limit"),
    "stop": waiting("stop"),
    "turn": turning(),
    "short": guarded("short", "cover", 1.03, 0.92),
}


def check_all(bars: Records, folder: Path) -> dict[str, int]:
    theirs = peer_trades(bars, [f"{name}:{FAST}:{SLOW}" for name in STRATEGIES], folder)
    return {
        name: check(our_trades(document, bars), found)
        for (name, document), found in zip(STRATEGIES.items(), theirs, strict=True)
    }


def test_every_strategy_on_aapl(tmp_path: Path) -> None:
    counts = check_all(series.aapl(), tmp_path)
    assert min(counts.values()) >= 10, counts


@pytest.mark.data
@pytest.mark.parametrize("name", ["spy_1d_1998-2021.csv", "ibm_1d_1998-2021.csv", "btcusd_1d_coinbase_2014-2018.csv"])
def test_every_strategy_on_long_series(name: str, tmp_path: Path) -> None:
    counts = check_all(series.real(name), tmp_path)
    assert min(counts.values()) >= 10, counts


@pytest.mark.data
@pytest.mark.parametrize(("fast", "slow"), [(20, 50), (50, 200)])
def test_sma_cross_on_spy(fast: int, slow: int, tmp_path: Path) -> None:
    bars = series.spy()
    (theirs,) = peer_trades(bars, [f"cross:{fast}:{slow}"], tmp_path)
    assert check(our_trades(sma_cross(fast, slow), bars), theirs) >= 10
