"""Artefacts by hash, those in use in the cache: a module never changes, so a copy is right or wrong, never stale."""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from algotrade.platform.cache import Cache
from algotrade.platform.log import logger
from algotrade.platform.metrics import Metrics
from algotrade.strategy.store import StoredArtefact, StrategyStore

log = logger(__name__)

KEPT_SECONDS: Final = 24 * 3600


class ArtefactCache:
    """Reads artefacts from a store through a cache."""

    def __init__(self, store: StrategyStore, cache: Cache, metrics: Metrics) -> None:
        """Take where artefacts are, and where copies of them may be."""
        self._store = store
        self._cache = cache
        self._metrics = metrics

    async def get(self, user_id: str, artefact_hash: str) -> StoredArtefact | None:
        """Find an artefact that one of the user's strategies compiled to; whose it is, the store is asked each time."""
        if not await self._store.owns_artefact(user_id, artefact_hash):
            return None
        copy = await self._cache.get(_key(artefact_hash))
        artefact = None if copy is None else _read(artefact_hash, copy)
        self._metrics.artefact_reads.labels("miss" if artefact is None else "hit").inc()
        if artefact is None:
            artefact = await self._store.artefact(artefact_hash)
            if artefact is not None:
                await self._cache.put(_key(artefact_hash), _written(artefact), KEPT_SECONDS)
        return artefact


def _key(artefact_hash: str) -> str:
    return f"artefact:{artefact_hash}"


def _written(artefact: StoredArtefact) -> bytes:
    """The report as a line of JSON, then the module."""
    return orjson.dumps(artefact.report) + b"\n" + artefact.module


def _read(artefact_hash: str, copy: bytes) -> StoredArtefact | None:
    """Read a copy; None for one whose module is not what its hash says, whoever has put it there."""
    report, _, module = copy.partition(b"\n")
    if hashlib.sha256(module).hexdigest() != artefact_hash:
        log.error("artefact.copy_wrong", artefact_hash=artefact_hash)
        return None
    return StoredArtefact(artefact_hash, module, orjson.loads(report))
