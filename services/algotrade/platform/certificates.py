"""Who a process is to the others: its certificate, key and authorities, read anew when the files change.

The files are those of a Kubernetes secret of type kubernetes.io/tls with the authorities beside (`ca.crt`). The name
is a URI as SPIFFE writes it, `spiffe://<trust domain>/<process>`; the process's name is a DNS name of the certificate
too, which is what whoever calls it looks for.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from algotrade.platform.log import logger

log = logger(__name__)

AUTHORITIES: Final = "ca.crt"
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
LOOK_SECONDS: Final = 1.0


class CertificateError(Exception):
    """A directory has no whole certificate with its key and its authorities."""


def service_uri(trust_domain: str, process: str) -> str:
    """Return what a process is called in its certificate."""
    return f"spiffe://{trust_domain}/{dns_name(process)}"


def dns_name(process: str) -> str:
    """Return a process's name as DNS can have it."""
    return process.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Pems:
    """What the files hold."""

    authorities: bytes
    certificate: bytes
    key: bytes = field(repr=False)

    @classmethod
    def read(cls, directory: Path) -> Pems:
        """Read the files. Raises CertificateError where they are not there, or do not fit each other."""
        try:
            pems = cls(*((directory / name).read_bytes() for name in (AUTHORITIES, CERTIFICATE, KEY)))
            key = serialization.load_pem_private_key(pems.key, None)
            fits = pems.own.public_key() == key.public_key()
            x509.load_pem_x509_certificates(pems.authorities)
        except (OSError, ValueError, TypeError) as error:
            raise CertificateError(f"{directory}: {error}") from None
        if not fits:
            raise CertificateError(f"{directory}: {KEY} is not the key of {CERTIFICATE}")
        return pems

    @property
    def own(self) -> x509.Certificate:
        """The process's certificate, without those that lead from it to an authority."""
        return x509.load_pem_x509_certificates(self.certificate)[0]

    @property
    def uri(self) -> str:
        """What the certificate calls the process. Raises CertificateError where it does not."""
        try:
            names = self.own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            raise CertificateError("the certificate has no names") from None
        found = names.get_values_for_type(x509.UniformResourceIdentifier)
        if len(found) != 1:
            raise CertificateError(f"the certificate has {len(found)} URIs; one says who the process is")
        return found[0]

    @property
    def expire_time(self) -> datetime:
        """When the certificate ends."""
        return self.own.not_valid_after_utc


class Certificates:
    """The files of a directory as they are now; while they are not whole, as they were last."""

    def __init__(self, directory: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read them. Raises CertificateError."""
        self._directory = directory
        self._monotonic = monotonic
        self._looked_at = monotonic()
        self._seen = self._marks()
        self._pems = Pems.read(directory)
        self.uri = self._pems.uri
        log.info("certificates.read", uri=self.uri, expire_time=self._pems.expire_time.isoformat())

    @property
    def trust_domain(self) -> str:
        """The part of the name that all processes have in common."""
        return self.uri.removeprefix("spiffe://").partition("/")[0]

    @property
    def process(self) -> str:
        """The name of this process, as DNS can have it."""
        return self.uri.rpartition("/")[2]

    def current(self) -> Pems:
        """Return what the files hold; the same object until they change. They are looked at once a second."""
        now = self._monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            marks = self._marks()
            if marks != self._seen:
                self._read(marks)
        return self._pems

    def _read(self, marks: object) -> None:
        try:
            pems = Pems.read(self._directory)
            uri = pems.uri
        except CertificateError as error:  # maybe they are just being written: looked at again
            log.warning("certificates.not_read", error=str(error))
            return
        if uri != self.uri:
            log.warning("certificates.of_another", uri=uri)
            return
        self._seen, self._pems = marks, pems
        log.info("certificates.read", uri=uri, expire_time=pems.expire_time.isoformat())

    def _marks(self) -> object:
        """What changes when the files do, also where a link to their directory is what changes."""
        try:
            stats = [(self._directory / name).stat() for name in (AUTHORITIES, CERTIFICATE, KEY)]
        except OSError:
            return None
        return [(one.st_ino, one.st_mtime_ns, one.st_size) for one in stats]

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return credentials of a server that takes clients of the same authorities only, each anew as files change."""
        given = self._pems

        def configured(pems: Pems) -> grpc.ServerCertificateConfiguration:
            pair = (pems.key, pems.certificate)
            return grpc.ssl_server_certificate_configuration([pair], root_certificates=pems.authorities)

        def changed() -> Any:  # asked at each handshake; None: as before
            nonlocal given
            pems = self.current()
            if pems is given:
                return None
            given = pems
            return configured(pems)

        return grpc.dynamic_ssl_server_credentials(configured(given), changed, require_client_authentication=True)

    def server_wrap(self) -> Callable[[socket.socket], socket.socket]:
        """Return what makes HTTPS of a connection that was taken: it shows this certificate, and asks for none."""
        given: Pems | None = None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

        def wrapped(connection: socket.socket) -> socket.socket:
            nonlocal given
            if (pems := self.current()) is not given:
                given = pems
                context.load_cert_chain(self._directory / CERTIFICATE, self._directory / KEY)
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

        return wrapped

    def opened_from(self, host: str, port: int, process: str, seconds: float) -> http.client.HTTPSConnection:
        """Return an HTTPS connection to a process. Raises OSError where somebody else is there."""
        pems = self.current()
        context = ssl.create_default_context(cadata=pems.authorities.decode())
        context.check_hostname = False  # a name says where, the URI says who
        connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)  # noqa: S101  (it is one by now)
        names = (connection.sock.getpeercert() or {}).get("subjectAltName", ())
        if ("URI", service_uri(self.trust_domain, process)) not in names:
            connection.close()
            raise OSError(f"{host}:{port} is not {process}")
        return connection
