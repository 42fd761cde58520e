"""Artefacts by hash, the ones in use kept in memory: a module never changes, so a copy is never stale."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from algotrade.platform import limits
from algotrade.platform.metrics import Metrics
from algotrade.strategy.store import StoredArtefact, StrategyStore

REPORT_BYTES: Final = 4096  # what a report and its entry weigh, about


class ArtefactCache:
    """Reads artefacts from a store through a memory of bounded size; the longest unused one leaves first."""

    def __init__(
        self, store: StrategyStore, metrics: Metrics, most_bytes: int = limits.MAX_CACHED_ARTEFACT_BYTES
    ) -> None:
        """Begin empty; a module larger than ``most_bytes`` is never kept."""
        self._metrics = metrics
        self._store = store
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, StoredArtefact] = OrderedDict()
        self.bytes = 0

    async def get(self, user_id: str, artefact_hash: str) -> StoredArtefact | None:
        """Find an artefact that one of the user's strategies compiled to; whose it is, the store is asked each time."""
        if not await self._store.owns_artefact(user_id, artefact_hash):
            return None
        artefact = self._kept.get(artefact_hash)
        self._metrics.artefact_reads.labels("miss" if artefact is None else "hit").inc()
        if artefact is None:
            artefact = await self._store.artefact(artefact_hash)
        if artefact is not None:
            self._keep(artefact)
        return artefact

    def _keep(self, artefact: StoredArtefact) -> None:
        if artefact.hash not in self._kept:
            self.bytes += _weight(artefact)
        self._kept[artefact.hash] = artefact
        self._kept.move_to_end(artefact.hash)
        while self.bytes > self._most_bytes:
            self.bytes -= _weight(self._kept.popitem(last=False)[1])


def _weight(artefact: StoredArtefact) -> int:
    return len(artefact.module) + REPORT_BYTES
