"""Names into numbers, and numbers as people write them."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred

from l7mp.errors import Reason, RemoteError
from l7mp.streams.address import (
    V4,
    V6,
    Numeric,
    host_port,
    literal,
    resolve,
    shown,
    wildcard,
)


class Resolver:
    """Stands in for the resolver of a reactor, which asks the network."""

    def __init__(self, *addresses: Any) -> None:
        self.addresses = addresses
        self.nameResolver = self
        self.asked: list[tuple[Any, ...]] = []
        self.receiver: Any = None

    def resolveHostName(self, receiver: Any, *asked: Any) -> None:
        self.asked.append(asked)
        self.receiver = receiver
        receiver.resolutionBegan(None)

    def answer(self) -> None:
        for address in self.addresses:
            self.receiver.addressResolved(address)
        self.receiver.resolutionComplete()


def result_of(deferred: Deferred[Any]) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "no result yet"
    return results[0]


@pytest.mark.parametrize(
    ("host", "sockaddr"),
    [
        ("192.0.2.1", ("192.0.2.1", 7)),
        ("2001:DB8::1", ("2001:db8::1", 7, 0, 0)),
        ("fe80::1%lo", ("fe80::1", 7, 0, socket.if_nametoindex("lo"))),
    ],
)
def test_a_number_is_its_own_answer(host: str, sockaddr: tuple[Any, ...]) -> None:
    """An IP address is resolved at once, asking nobody."""
    resolver = Resolver()
    family = V6 if ":" in host else V4
    found = result_of(resolve(resolver, host, 7))  # type: ignore[arg-type]
    assert found == [Numeric(family, sockaddr)]
    assert result_of(resolve(resolver, host, 7, family)) == found  # type: ignore[arg-type]
    assert resolver.asked == []


@pytest.mark.parametrize("host", ["localhost", "192.0.2.256", "::1::", "a" * 300])
def test_a_name_is_no_number(host: str) -> None:
    """What is no IP address is not taken for one."""
    assert literal(host) is None


@pytest.mark.parametrize(
    ("host", "family", "words"),
    [
        ("192.0.2.1", V6, "no IPv6 address"),
        ("2001:db8::1", V4, "no IPv4 address"),
        ("a" * 300, None, "neither"),
        ("a..b", None, "neither"),
        ("nul\0l", None, "neither"),
    ],
)
def test_nonsense_is_refused_at_once(host: str, family: int | None, words: str) -> None:
    """What cannot have an address of the family asked for fails without a thread."""
    resolver = Resolver()
    failure = result_of(resolve(resolver, host, 7, family))  # type: ignore[arg-type]
    assert failure.check(RemoteError)
    assert failure.value.loss.reason is Reason.UNREACHABLE
    assert words in failure.value.loss.detail
    assert resolver.asked == []


def test_a_name_is_asked_for() -> None:
    """All addresses of a name are told, in the resolver's order."""
    resolver = Resolver(
        IPv6Address("UDP", "2001:db8::1", 7, 0, 0), IPv4Address("UDP", "192.0.2.1", 7)
    )
    found = resolve(resolver, "host.example", 7)  # type: ignore[arg-type]
    resolver.answer()
    assert result_of(found) == [
        Numeric(V6, ("2001:db8::1", 7, 0, 0)),
        Numeric(V4, ("192.0.2.1", 7)),
    ]
    assert resolver.asked == [("host.example", 7, (IPv4Address, IPv6Address), "UDP")]


def test_one_family_can_be_asked_for() -> None:
    """With a family the resolver is asked for addresses of that family only."""
    resolver = Resolver()
    resolve(resolver, "host.example", 7, V4)  # type: ignore[arg-type]
    assert resolver.asked[0][2] == (IPv4Address,)


def test_a_name_without_address_fails() -> None:
    """A name that has no address is unreachable, and the error names it."""
    resolver = Resolver()
    found = resolve(resolver, "host.example")  # type: ignore[arg-type]
    resolver.answer()
    failure = result_of(found)
    assert failure.value.loss.reason is Reason.UNREACHABLE
    assert '"host.example"' in str(failure.value)


def test_resolving_can_be_cancelled() -> None:
    """What the resolver finds after a cancellation goes nowhere, without an error."""
    resolver = Resolver(IPv4Address("UDP", "192.0.2.1", 7))
    found = resolve(resolver, "host.example")  # type: ignore[arg-type]
    found.cancel()
    resolver.answer()
    assert result_of(found).check(CancelledError)


@pytest_twisted.ensureDeferred
async def test_the_reactor_resolves() -> None:
    """The names of this machine are found through the reactor's own resolver."""
    found = await resolve(reactor, "localhost", 7)  # type: ignore[arg-type]
    assert {number.sockaddr[0] for number in found} <= {"127.0.0.1", "::1"}
    assert {number.sockaddr[1] for number in found} == {7}


@pytest.mark.parametrize(
    ("host", "people"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:1", "::ffff:1"),
    ],
)
def test_ipv4_is_shown_dotted(host: str, people: str) -> None:
    """An IPv4 address is dotted also where it came through a socket of IPv6."""
    assert shown(host) == people


@given(st.ip_addresses(), st.integers(0, 65535))
def test_host_and_port_can_be_told_apart(host: Any, port: int) -> None:
    """The last colon separates the port, and brackets keep those of IPv6 apart."""
    words, _, digits = host_port(str(host), port).rpartition(":")
    assert int(digits) == port
    assert words == (f"[{host}]" if host.version == 6 else str(host))


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_ipv4_goes_through_ipv6_sockets(host: Any, port: int) -> None:
    """An IPv4 address is mapped for a socket of IPv6, and back."""
    number = Numeric(V4, (str(host), port))
    mapped = number.for_family(V6)
    assert mapped == (f"::ffff:{host}", port, 0, 0)
    assert Numeric(V6, mapped).for_family(V4) == (str(host), port)
    assert number.for_family(V4) == (str(host), port)


def test_ipv6_does_not_go_through_ipv4_sockets() -> None:
    """A true IPv6 address means nothing to a socket of IPv4."""
    assert Numeric(V6, ("2001:db8::1", 7, 0, 0)).for_family(V4) is None


def test_the_wildcard_is_of_both_families() -> None:
    """Without an address one listens on all addresses, on IPv6 ones where they exist."""
    assert wildcard() == ("::" if socket.has_ipv6 else "0.0.0.0")


def test_the_wildcard_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without IPv6 the wildcard is that of IPv4."""

    def refuse(*_: object) -> None:
        raise OSError("Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    assert wildcard() == "0.0.0.0"
