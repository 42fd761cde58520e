"""A search from its first batch to its last, kept in a journal so that it can be gone on with.

The journal is a file of JSON lines: what is searched, then a line a trial in the order asked. Gone on with, trials that
are in it are told to the search instead of being run, and the search goes the way it went.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TextIO

from algotrade.backtest.optimise.judge import Task, Trial
from algotrade.backtest.optimise.search import Search
from algotrade.backtest.optimise.space import Point
from algotrade.backtest.optimise.workers import Workers


class JournalError(Exception):
    """The journal is of another study, or cannot be read or written."""


class Kept(Protocol):
    """Where the trials of a study are kept as they become known."""

    def known(self, number: int) -> Trial | None:
        """Return a trial that was made before. Asked for in order."""
        ...

    def add(self, trial: Trial) -> None:
        """Keep a trial."""
        ...


class Journal:
    """The trials of a study in a file."""

    def __init__(self, path: Path, study: dict[str, Any]) -> None:
        """Open the journal of a study, a new one where there is none. Raises JournalError."""
        self._path = path
        self._known: list[Trial] = []
        try:
            if path.exists():
                self._read(path, study)
            self._file: TextIO = path.open("a", encoding="utf-8")
            if not self._known and path.stat().st_size == 0:
                self._write(study)
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from error

    def _read(self, path: Path, study: dict[str, Any]) -> None:
        """Take the whole lines; one that was cut off in the middle is cut off the file."""
        raw = path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        if len(whole) < len(raw):
            with path.open("r+b") as file:
                file.truncate(len(whole))
        lines = whole.decode().splitlines()
        try:
            if lines and json.loads(lines[0]) != study:
                raise JournalError(f"{path} is of another study; name another file or delete it")
            self._known = [trial_of(json.loads(line)) for line in lines[1:]]
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError(f"{path} is no journal: {error}") from error

    def known(self, number: int) -> Trial | None:
        """Return a trial that was made before."""
        return self._known[number] if number < len(self._known) else None

    def add(self, trial: Trial) -> None:
        """Keep a trial."""
        self._write(asdict(trial))

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def identity(task: Task, axes: dict[str, str], method: str, seed: int, trials: int) -> dict[str, Any]:
    """Return what makes a study this one: the same answers the same."""
    return {
        "artefact": task.artefact.hash,
        "data": hashlib.sha256(task.bars.tobytes()).hexdigest(),
        "settings": task.settings.as_text(),
        "fixed": dict(task.fixed),
        "folds": [asdict(fold) | {"train": list(fold.train), "test": list(fold.test)} for fold in task.folds],
        "objective": asdict(task.objective),
        "axes": axes,
        "method": method,
        "seed": seed,
        "trials": trials,
    }


def trial_of(line: dict[str, Any]) -> Trial:
    """Return a trial as the journal has it."""
    return Trial(line["number"], line["point"], tuple(line["in_sample"]), tuple(line["out_of_sample"]))


def trials(task: Task, search: Search, workers: Workers, journal: Kept | None = None) -> Iterator[Trial]:
    """Yield every trial of a search in the order asked, as it becomes known. To stop it, close it."""
    number = 0
    while points := search.ask():
        batch: list[Trial] = []
        for trial in _batch(number, points, workers, journal):
            batch.append(trial)
            yield trial
        number += len(points)
        search.tell([trial.score(task.objective) for trial in batch])


def _batch(first: int, points: Sequence[Point], workers: Workers, journal: Kept | None) -> Iterator[Trial]:
    """Those that the journal knows, then the others from the workers."""
    known = 0
    while journal is not None and known < len(points) and (trial := journal.known(first + known)) is not None:
        known += 1
        yield trial
    for trial in workers.judge(first + known, points[known:]):
        if journal is not None:
            journal.add(trial)
        yield trial
