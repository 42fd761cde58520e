"""Who judges points: threads of this process, whose modules run beside one another, or machines of a Dask cluster.

Either gives results in the order asked, so a study is the same whoever works for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import islice
from types import TracebackType
from typing import Any, Protocol

from algotrade.backtest.optimise.judge import Judge, Task, Trial
from algotrade.backtest.optimise.space import Point
from algotrade.engine.compile import Artefact


class Workers(Protocol):
    """Judges points."""

    def judge(self, first: int, points: Sequence[Point]) -> Iterator[Trial]:
        """Yield a trial a point, in their order; the first has the number ``first``."""
        ...


class Threads:
    """So many threads, each with a judge of its own."""

    def __init__(self, task: Task, count: int) -> None:
        """Take what there is to judge."""
        self._task = task
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="optimise")
        self._own = threading.local()

    def __enter__(self) -> Threads:
        """Return the workers; at the end of the context they stop, and what has not begun is not done."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def judge(self, first: int, points: Sequence[Point]) -> Iterator[Trial]:
        """As `Workers`."""
        return self._pool.map(self._one, range(first, first + len(points)), points)

    def _one(self, number: int, point: Point) -> Trial:
        if not hasattr(self._own, "judge"):
            self._own.judge = Judge(self._task)
        judge: Judge = self._own.judge
        return judge.trial(number, point)


class Shared:
    """Threads that others use too: so many points are given to them at once, and others come between.

    What is running when the iterator is closed runs to its end.
    """

    def __init__(self, task: Task, threads: Executor, at_once: int, judges: Callable[[Task], Judge] = Judge) -> None:
        """Take what there is to judge, where, and who judges it."""
        self._task = task
        self._threads = threads
        self._at_once = at_once
        self._judges = judges
        self._idle: list[Judge] = []

    def judge(self, first: int, points: Sequence[Point]) -> Iterator[Trial]:
        """As `Workers`."""
        asked = enumerate(points, first)
        waiting: deque[Future[Trial]] = deque()
        try:
            while True:
                for number, point in islice(asked, self._at_once - len(waiting)):
                    waiting.append(self._threads.submit(self._one, number, point))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()

    def _one(self, number: int, point: Point) -> Trial:
        try:
            judge = self._idle.pop()
        except IndexError:
            judge = self._judges(self._task)
        trial = judge.trial(number, point)
        self._idle.append(judge)
        return trial


@contextmanager
def cluster(task: Task, address: str | None) -> Iterator[Workers]:
    """Yield the workers of a Dask cluster at an address, or of one on this machine."""
    from distributed import Client

    with Client(address) if address else Client(dashboard_address=None) as client:  # type: ignore[no-untyped-call]
        yield _Cluster(client, task)


class _Cluster:
    def __init__(self, client: Any, task: Task) -> None:
        self._client = client
        parts = (task.artefact.wasm, task.bars, task.settings, task.folds, task.objective, dict(task.fixed))
        self._task = client.scatter(parts, broadcast=True)

    def judge(self, first: int, points: Sequence[Point]) -> Iterator[Trial]:
        numbers = range(first, first + len(points))
        waiting = self._client.map(_remote, [self._task] * len(points), numbers, points, pure=False)
        yield from (one.result() for one in waiting)


def _remote(parts: tuple[Any, ...], number: int, point: Point) -> Trial:
    """On a worker: its judge is kept as long as the task is the same."""
    return _judge_of(_Same(parts)).trial(number, point)


class _Same:
    """A task that is itself wherever it is asked for: equal where the object is the same."""

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts, self.thread = parts, threading.get_ident()

    def __hash__(self) -> int:
        return hash((id(self.parts), self.thread))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.parts is other.parts and self.thread == other.thread


@lru_cache(maxsize=8)
def _judge_of(task: _Same) -> Judge:
    wasm, bars, settings, folds, objective, fixed = task.parts
    return Judge(Task(Artefact.from_wasm(wasm), bars, settings, folds, objective, fixed))


def workers_of(task: Task, threads: int, address: str | None) -> AbstractContextManager[Workers]:
    """Return threads, or the cluster at an address; ``local`` is one on this machine."""
    if address is None:
        return Threads(task, threads)
    return cluster(task, None if address == "local" else address)
