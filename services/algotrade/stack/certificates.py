"""A certificate authority for a stack on this machine, and one certificate of it for its servers."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM. ``both`` has the key and the certificate with its authority, as Kafka wants them."""

    authority: Path
    certificate: Path
    key: Path
    both: Path


def make_certificates(directory: Path) -> Certificates:
    """Write a new authority and a certificate of it for localhost and 127.0.0.1; the authority's key is thrown away."""
    directory.mkdir(parents=True, exist_ok=True)
    now = datetime.fromtimestamp(time.time(), UTC)
    issuer_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AlgoTrade local stack")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    authority = _begun(issuer, issuer, issuer_key, now).add_extension(x509.BasicConstraints(True, 0), critical=True)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = _begun(subject, issuer, key, now).add_extension(names, critical=False)
    signed = certificate.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
    ).sign(issuer_key, hashes.SHA256())
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    root = (
        authority.add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key_pem = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain = signed.public_bytes(pem) + root.public_bytes(pem)
    made = Certificates(
        directory / "ca.pem", directory / "server.pem", directory / "server.key", directory / "server-and-key.pem"
    )
    made.authority.write_bytes(root.public_bytes(pem))
    made.certificate.write_bytes(chain)
    for path, content in ((made.key, key_pem), (made.both, key_pem + chain)):
        path.touch(mode=0o600)
        path.write_bytes(content)
    return made


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=DAYS))
    )
