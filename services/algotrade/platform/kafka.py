"""How Kafka is reached: where, as whom, encrypted or not; and what its errors mean."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import stamina
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    KafkaError,
    OffsetOutOfRangeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)

from algotrade.platform.bus import BusAway, BusRefused, Message, Record
from algotrade.platform.events import to_json, to_protobuf
from algotrade.platform.settings import Settings
from algotrade.platform.topics import Topic

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
MECHANISM: Final = "SCRAM-SHA-512"
START_ATTEMPTS: Final = 20
START_SECONDS: Final = 60.0
_REFUSALS: Final = (
    AuthenticationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    ClusterAuthorizationFailedError,
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where Kafka is and how to get in."""

    servers: str
    seconds: float = 10.0
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    authority: Path | None = None
    replicas: int = 1
    prefix: str = ""  # of the topics' names in Kafka, where several platforms share one
    json_topics: frozenset[str] = frozenset()  # whose records others read, who would rather have JSON

    @classmethod
    def of(cls, settings: Settings) -> Cluster:
        """Read the settings."""
        return cls(
            settings.kafka_servers,
            settings.kafka_seconds,
            settings.kafka_user,
            settings.kafka_password.get_secret_value(),
            settings.kafka_tls or settings.kafka_ca is not None,
            settings.kafka_ca,
            settings.kafka_replicas,
            settings.kafka_prefix,
            frozenset(settings.kafka_json_topics),
        )

    def options(self) -> dict[str, Any]:
        """Return what every client of aiokafka is made with. Raises BusRefused where the authority cannot be read."""
        return {
            "bootstrap_servers": self.servers.split(","),
            "client_id": "algotrade",
            "request_timeout_ms": self.milliseconds,
            **self._security(),
        }

    @property
    def milliseconds(self) -> int:
        """How long a request is waited for."""
        return round(self.seconds * 1000)

    def place(self, topic: str, partition: int) -> TopicPartition:
        """Return a partition of a topic as Kafka has it."""
        return TopicPartition(self.prefix + topic, partition)

    def records(self, found: Sequence[ConsumerRecord]) -> list[Record]:
        """Return records of one partition, in Kafka's form, as the bus has them."""
        topic = found[0].topic.removeprefix(self.prefix) if found else ""
        records = []
        for one in found:  # a hundred thousand a second: a Record is made without its own constructor
            headers = {name: value.decode() for name, value in one.headers} if one.headers else NO_HEADERS
            key, written_ns = (one.key or b"").decode(), one.timestamp * 1_000_000
            values = (topic, one.partition, one.offset, key, one.value or b"", headers, written_ns)
            record = tuple.__new__(Record, values)
            records.append(to_protobuf(record) if headers else record)
        return records

    def written(self, topic: Topic, messages: Sequence[Message]) -> Sequence[Message]:
        """Return messages as they are written to Kafka."""
        return [to_json(topic.name, one) for one in messages] if topic.name in self.json_topics else messages

    def _security(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "security_protocol": ("SASL_" if self.user else "") + ("SSL" if self.tls else "PLAINTEXT")
        }
        if self.user:
            options |= {
                "sasl_mechanism": MECHANISM,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        if self.tls:
            try:
                options["ssl_context"] = ssl.create_default_context(cafile=self.authority)
            except (OSError, ssl.SSLError) as error:
                raise BusRefused(f"ALGOTRADE_KAFKA_CA: {self.authority}: {error}") from error
        return options

    async def reach(self) -> None:
        """Return when a broker lets this program in. BusRefused where none will, BusAway when none answers for long."""
        async for attempt in stamina.retry_context(
            on=BusAway, attempts=START_ATTEMPTS, timeout=START_SECONDS, wait_max=2.0
        ):
            with attempt:
                await self._knock()

    async def _knock(self) -> None:
        """Try each server by itself, since aiokafka's clients keep to themselves why they were not let in."""
        away = []
        for server in self.servers.split(","):
            host, _, port = server.rpartition(":")
            try:
                async with asyncio.timeout(self.seconds):
                    connection = await create_conn(host, int(port), **self._security())
            except ssl.SSLCertVerificationError as error:
                text = f"Kafka at {server}: its certificate is not good: {error.verify_message} (ALGOTRADE_KAFKA_CA)"
                raise BusRefused(text) from error
            except _REFUSALS as error:
                text = f"Kafka at {server} refuses the user {self.user!r} (ALGOTRADE_KAFKA_USER, _PASSWORD): {error}"
                raise BusRefused(text) from error
            except (KafkaError, OSError) as error:  # a TimeoutError is one, too
                away.append(f"{server}: {error or type(error).__name__}")
            else:
                connection.close()
                return
        raise BusAway(f"Kafka does not answer (ALGOTRADE_KAFKA_SERVERS): {'; '.join(away)}")


@contextmanager
def kafka_errors(what: str) -> Iterator[None]:
    """Say in the bus's words what goes wrong in Kafka's client; an offset outside the log is its reader's business."""
    try:
        yield
    except OffsetOutOfRangeError:
        raise
    except _REFUSALS as error:
        raise BusRefused(f"{what}: {error}") from error
    except KafkaError as error:
        raise BusAway(f"{what}: {error}") from error
    except TimeoutError as error:
        raise BusAway(f"{what}: Kafka takes too long") from error
