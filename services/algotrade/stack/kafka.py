"""Kafka as it is: one KRaft broker of the jars in deploy/stack/kafka, started by java.

With a `Login` it has a second listener, encrypted (TLS) and for those who know the password (SCRAM-SHA-512) only.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from algotrade.stack.certificates import Certificates
from algotrade.stack.process import Server, StackError, accepts, free_ports, run_once, running

LIBS: Final = Path(__file__).parents[3] / "deploy" / "stack" / "kafka" / "libs"
HEAP: Final = "256m"
MESSAGE_BYTES: Final = 2 * 1024 * 1024  # a batch: more than the bus puts into one

_LOG: Final = """\
Configuration:
  Appenders:
    Console: {name: STDOUT, PatternLayout: {pattern: "%d{ISO8601} %p %c{1} %m%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: STDOUT}}
"""
_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={advertised}
log.dirs={data}
auto.create.topics.enable=false
message.max.bytes={message_bytes}
num.network.threads=2
num.io.threads=4
num.partitions=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
"""
_SECURE: Final = """\
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.ssl.keystore.type=PEM
listener.name.sasl_ssl.ssl.keystore.location={keystore}
"""


@dataclass(frozen=True, slots=True)
class Login:
    """Who may come in through the encrypted listener, at which port, and the certificate it shows."""

    user: str
    password: str
    certificates: Certificates
    port: int


@asynccontextmanager
async def kafka_server(
    directory: Path, *, port: int = 0, login: Login | None = None, libs: Path = LIBS
) -> AsyncIterator[str]:
    """Run a broker on a directory while the context is open; yield its address, host:port. ``port`` 0: a free one."""
    server, address = await asyncio.to_thread(kafka, directory, port=port, login=login, libs=libs)
    async with running(server):
        yield address


def kafka(
    directory: Path, *, port: int = 0, reached_at: int = 0, login: Login | None = None, libs: Path = LIBS
) -> tuple[Server, str]:
    """Prepare a broker on a directory, new or used before; return it, not yet started, and the address it will have.

    ``reached_at``: the port that it names to its clients, where something stands between them and its own.
    Raises StackError where Java or Kafka's jars are missing.
    """
    java = shutil.which("java")
    if java is None:
        raise StackError("there is no java: `make servers` as root brings it, or install a Java runtime, 17 or newer")
    if not any(libs.glob("kafka_*.jar")):
        raise StackError(f"Kafka's jars are not in {libs}: `make servers` brings them")
    directory = directory.absolute()
    data, settings = directory / "data", directory / "server.properties"
    directory.mkdir(parents=True, exist_ok=True)
    controller, free = free_ports(2)
    port = port or free
    settings.write_text(_properties(data, port, reached_at or port, controller, login))
    (directory / "log4j2.yaml").write_text(_LOG)
    command = [
        *(java, f"-Xms{HEAP}", f"-Xmx{HEAP}", "-XX:TieredStopAtLevel=1"),
        *(f"-Dlog4j2.configurationFile={directory / 'log4j2.yaml'}", "-cp", f"{libs}/*"),
    ]
    if not (data / "meta.properties").exists():
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        secret = [] if login is None else ["--add-scram", _scram(login)]
        named = f"--cluster-id={cluster}"  # in one word: it may begin with a hyphen
        run_once([*command, "kafka.tools.StorageTool", "format", named, "-c", str(settings), *secret])
    server = Server("kafka", [*command, "kafka.Kafka", str(settings)], directory, partial(_answers, port))
    return server, f"127.0.0.1:{reached_at or port}"


async def _answers(port: int) -> bool:
    """Tell whether the broker is part of its cluster: it listens well before that, and hangs up."""
    await accepts(port)
    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}")
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except KafkaError:
        return False
    finally:
        await admin.close()


def _properties(data: Path, port: int, reached_at: int, controller: int, login: Login | None) -> str:
    beside = secure = ""
    if login is not None:
        beside = f",SASL_SSL://127.0.0.1:{login.port}"
        secure = _SECURE.format(keystore=login.certificates.both.absolute())
    text = _PROPERTIES.format(
        listeners=f"PLAINTEXT://127.0.0.1:{port}{beside}",
        advertised=f"PLAINTEXT://127.0.0.1:{reached_at}{beside}",
        controller=controller,
        data=data,
        message_bytes=MESSAGE_BYTES,
    )
    return text + secure


def _scram(login: Login) -> str:
    return f"SCRAM-SHA-512=[name={login.user},password={login.password}]"
