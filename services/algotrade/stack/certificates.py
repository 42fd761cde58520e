"""A certificate for the servers of a stack on this machine, of an authority that signs nothing else."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from algotrade.stack.authority import Authority, write_secret

LIFE: Final = timedelta(days=365)


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
    authority = Authority.new("AlgoTrade local stack")
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    chain, key = authority.signed(names, LIFE, common_name="localhost")
    made = Certificates(
        directory / "ca.pem", directory / "server.pem", directory / "server.key", directory / "server-and-key.pem"
    )
    made.authority.write_bytes(authority.pem)
    made.certificate.write_bytes(chain)
    write_secret(made.key, key)
    write_secret(made.both, key + chain)
    return made
