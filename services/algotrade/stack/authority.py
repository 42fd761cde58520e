"""An authority of one's own for development: it signs certificates that say which process somebody is.

They are laid out as Kubernetes mounts a secret: the files are links through `..data`, which is a link to a folder, so
that all of them change at one moment.
"""

from __future__ import annotations

import ipaddress
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from algotrade.platform.certificates import AUTHORITIES, CERTIFICATE, KEY, Pems, dns_name, service_uri
from algotrade.platform.mesh import GATEWAY, PROCESSES

AUTHORITY_DAYS: Final = 3650
_PEM: Final = serialization.Encoding.PEM
_SKEW: Final = timedelta(minutes=5)  # clocks of machines differ
EVERY_PROCESS: Final = (GATEWAY, *sorted(set(PROCESSES.values())))


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that others are signed with, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls, name: str) -> Self:
        """Make one."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begun = _begun(subject, subject, key, timedelta(days=AUTHORITY_DAYS))
        signed = (
            begun.add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(signed, key)

    @classmethod
    def kept(cls, directory: Path, name: str) -> Self:
        """Read the one of a directory, or make it."""
        certificate, key = directory / AUTHORITIES, directory / "ca.key"
        if not key.exists():
            made = cls.new(name)
            directory.mkdir(parents=True, exist_ok=True)
            write_secret(key, _pem_of(made.key))
            certificate.write_bytes(made.pem)
            return made
        loaded = cast(ec.EllipticCurvePrivateKey, serialization.load_pem_private_key(key.read_bytes(), None))
        return cls(x509.load_pem_x509_certificate(certificate.read_bytes()), loaded)

    @property
    def pem(self) -> bytes:
        """The certificate, for who is to trust it."""
        return self.certificate.public_bytes(_PEM)

    def signed(
        self, names: Iterable[x509.GeneralName], life: timedelta, *, common_name: str = "", ago: timedelta = _SKEW
    ) -> tuple[bytes, bytes]:
        """Return a new certificate of these names, with the authority's behind it, and its key; both in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        begun = _begun(x509.Name(parts), self.certificate.subject, key, life, ago)
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        signed = (
            begun.add_extension(x509.SubjectAlternativeName(names), critical=not parts)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return signed.public_bytes(_PEM) + self.pem, _pem_of(key)

    def of_process(self, process: str, trust_domain: str, life: timedelta, *, ago: timedelta = _SKEW) -> Pems:
        """Return what a process shows the others."""
        names = [
            x509.UniformResourceIdentifier(service_uri(trust_domain, process)),
            x509.DNSName(dns_name(process)),
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        return Pems(self.pem, *self.signed(names, life, ago=ago))


def write_development(directory: Path, trust_domain: str, life: timedelta) -> None:
    """Write, or write anew, what each process shows the others, below a directory; its authority is in `authority`."""
    authority = Authority.kept(directory / "authority", "AlgoTrade development")
    for process in EVERY_PROCESS:
        write_pems(directory / process, authority.of_process(process, trust_domain, life))


def write_pems(directory: Path, pems: Pems) -> None:
    """Put the files of a process in place of those that are there, all at one moment."""
    directory.mkdir(parents=True, exist_ok=True)
    fresh = directory / f"..{uuid.uuid4().hex}"
    fresh.mkdir(mode=0o700)
    for name, content in ((AUTHORITIES, pems.authorities), (CERTIFICATE, pems.certificate), (KEY, pems.key)):
        write_secret(fresh / name, content)
    data, link = directory / "..data", directory / f"..{uuid.uuid4().hex}"
    before = data.resolve() if data.is_symlink() else None
    link.symlink_to(fresh.name)
    link.replace(data)
    for name in (AUTHORITIES, CERTIFICATE, KEY):
        if not (directory / name).is_symlink():
            (directory / name).unlink(missing_ok=True)
            (directory / name).symlink_to(f"..data/{name}")
    if before is not None:
        shutil.rmtree(before)


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that its owner alone reads."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: timedelta, ago: timedelta = _SKEW
) -> x509.CertificateBuilder:
    begin = datetime.fromtimestamp(time.time(), UTC) - ago
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + life)
    )
