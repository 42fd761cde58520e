"""Where servers are told to listen."""

from __future__ import annotations

import socket

import pytest

from algotrade.stack import process
from algotrade.stack.process import StackError, free_ports


def test_free_ports_are_different_and_none_that_an_outgoing_connection_is_given() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(10_000 <= port < 32_000 for port in ports)
    assert free_ports(0) == []


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = free_ports(2)
    monkeypatch.setattr(process, "PORTS", range(2**16))
    drawn = iter([one, one, other])
    monkeypatch.setattr(process.secrets, "randbelow", lambda _: next(drawn))
    with socket.create_server(("127.0.0.1", one)):
        assert free_ports(1) == [other]


def test_where_all_are_taken_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr(process, "PORTS", range(port, port + 1))
    with pytest.raises(StackError, match="no 2 ports"):
        free_ports(2)
