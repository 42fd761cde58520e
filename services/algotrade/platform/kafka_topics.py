"""Topics in Kafka: made where they are missing, and compared with what they should be where they are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import stamina
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from algotrade.platform import limits
from algotrade.platform.bus import BusAway, BusRefused, TopicMismatch
from algotrade.platform.kafka import Cluster, kafka_errors
from algotrade.platform.topics import Topic

EXISTS: Final = 36
UNKNOWN: Final = 3
SETTLE_ATTEMPTS: Final = 40


@dataclass(frozen=True, slots=True)
class Difference:
    """Something of a topic is not as it should be."""

    topic: str
    what: str
    found: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was made, and what was there already and differs."""

    created: tuple[str, ...]
    differences: tuple[Difference, ...]


def configuration(topic: Topic) -> dict[str, str]:
    """Return a topic's settings in Kafka. Its time is the broker's: retention does not go by a producer's clock."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(topic.retention_seconds * 1000),
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(limits.MAX_LOGGED_BATCH_BYTES),
    }


async def make_topics(cluster: Cluster, topics: Sequence[Topic]) -> Report:
    """Make topics that are missing; change none that is there. Raises BusAway, BusRefused."""
    with kafka_errors("topics"):
        admin = AIOKafkaAdminClient(**cluster.options())
        try:
            await admin.start()
            named = [replace(topic, name=cluster.prefix + topic.name) for topic in topics]
            created = await _create_missing(admin, named, cluster.replicas)
            return Report(created, tuple(await _differences(admin, named)))
        finally:
            await admin.close()


@stamina.retry(on=BusAway, attempts=SETTLE_ATTEMPTS, wait_initial=0.1, wait_max=1.0, timeout=30.0)
async def ensure_topics(cluster: Cluster, topics: Sequence[Topic]) -> None:
    """Make topics exist; TopicMismatch if one exists with another number of partitions."""
    for difference in (await make_topics(cluster, topics)).differences:
        if difference.what == "partitions":
            raise TopicMismatch(f"{difference.topic} has {difference.found} partitions, not {difference.wanted}")


async def count_partitions(cluster: Cluster, names: Sequence[str]) -> Mapping[str, int]:
    """Return how many partitions the topics have that exist and are ready."""
    with kafka_errors("topics"):
        admin = AIOKafkaAdminClient(**cluster.options())
        try:
            await admin.start()
            found = await _described(admin, [cluster.prefix + name for name in names])
            return {name.removeprefix(cluster.prefix): len(partitions) for name, partitions in found.items()}
        finally:
            await admin.close()


async def _create_missing(admin: AIOKafkaAdminClient, topics: Sequence[Topic], replicas: int) -> tuple[str, ...]:
    there = await _described(admin, [topic.name for topic in topics])
    missing = [topic for topic in topics if topic.name not in there]
    if missing:
        answer = await admin.create_topics(
            [NewTopic(t.name, t.partitions, replicas, topic_configs=configuration(t)) for t in missing]
        )
        for name, code, *message in answer.topic_errors:
            if code not in (0, EXISTS):
                raise BusRefused(f"the topic {name} cannot be made: {for_code(code).__name__} {' '.join(message)}")
        await _settled(admin, missing)
    return tuple(topic.name for topic in missing)


@stamina.retry(on=BusAway, attempts=SETTLE_ATTEMPTS, wait_initial=0.05, wait_max=0.5, timeout=30.0)
async def _settled(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> None:
    """Return when every partition has a leader."""
    there = await _described(admin, [topic.name for topic in topics])
    for topic in topics:
        if topic.name not in there or any(one["leader"] < 0 for one in there[topic.name]):
            raise BusAway(f"the topic {topic.name} is not ready")


async def _described(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in await admin.describe_topics(list(names)):
        if one["error_code"] == 0:
            found[one["topic"]] = one["partitions"]
        elif one["error_code"] != UNKNOWN:
            raise BusAway(f"the topic {one['topic']}: {for_code(one['error_code']).__name__}")
    return found


async def _differences(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> list[Difference]:
    there = await _described(admin, [topic.name for topic in topics])
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in topics])
    settings = {name: _values(entries) for answer in answers for _, _, _, name, entries in answer.resources}
    found = []
    for topic in topics:
        count = len(there.get(topic.name, ()))
        if count != topic.partitions:
            found.append(Difference(topic.name, "partitions", str(count), str(topic.partitions)))
        for name, wanted in configuration(topic).items():
            value = settings.get(topic.name, {}).get(name, "")
            if value != wanted:
                found.append(Difference(topic.name, name, value, wanted))
    return found


def _values(entries: Iterable[Sequence[Any]]) -> dict[str, str]:
    return {str(entry[0]): str(entry[1]) for entry in entries}
