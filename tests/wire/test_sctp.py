"""What SCTP stacks say of associations."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l7mp.wire.sctp import (
    AF_CONN,
    LINUX,
    USRSCTP,
    Dialect,
    Notification,
    Sockaddr,
    notification,
    packed,
    plausible,
    sockaddr,
    sockaddrs,
)

DIALECTS = [LINUX, USRSCTP]
STORAGE = 128


def change(dialect: Dialect, word: str, error: int = 0) -> bytes:
    """An association change, as the stack lays it out."""
    (state,) = [n for n, name in dialect.assoc_states.items() if name == word]
    order = ">" if dialect is LINUX else "<"
    (cause,) = struct.unpack("=H", struct.pack(f"{order}H", error))
    return struct.pack("=HHIHHHHI", dialect.assoc_change, 0, 20, state, cause, 7, 9, 1)


def address_change(dialect: Dialect, word: str, address: bytes) -> bytes:
    """A change of an address of the peer."""
    (state,) = [n for n, name in dialect.addr_states.items() if name == word]
    head = struct.pack("=HHI", dialect.addr_change, 0, 148)
    return head + address.ljust(STORAGE, b"\0") + struct.pack("=III", state, 0, 1)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_association_is_up_with_its_streams(dialect: Dialect) -> None:
    """How many streams there are in each direction comes with the word."""
    found = notification(change(dialect, "COMM_UP"), dialect)
    assert found == Notification("COMM_UP", {"streams": {"in": 9, "out": 7}})


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_association_is_lost_for_a_cause(dialect: Dialect) -> None:
    """Causes have names, unknown ones their number, and none is no fact."""

    def lost(error: int) -> object:
        found = notification(change(dialect, "COMM_LOST", error), dialect)
        assert found is not None
        return found.facts.get("error")

    assert lost(12) == "user-initiated abort"
    assert lost(999) == "error 999"
    assert lost(0) is None


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_of_the_peer_changes(dialect: Dialect, host: str) -> None:
    """The address that it is about comes with the word."""
    data = address_change(dialect, "ADDR_UNREACHABLE", packed(host, 5000))
    found = notification(data, dialect)
    assert found is not None
    assert found.word == "ADDR_UNREACHABLE"
    assert found.address is not None
    assert (found.address.host, found.address.port) == (host, 5000)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_shutdown_and_a_message_cut_off(dialect: Dialect) -> None:
    """These are words without facts."""
    words = {
        dialect.shutdown: "SHUTDOWN_EVENT",
        dialect.partial_delivery: "PARTIAL_DELIVERY_ABORTED",
    }
    for kind, word in words.items():
        data = struct.pack("=HHII", kind, 0, 12, 1)
        assert notification(data, dialect) == Notification(word)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        struct.pack("=HHI", 0x7777, 0, 8),
        change(LINUX, "COMM_UP")[:-1],
        struct.pack("=HHIHHHHI", 0x8001, 0, 20, 77, 0, 0, 0, 0),
        address_change(LINUX, "ADDR_ADDED", b"")[:100],
        struct.pack("=HHI", 0x8002, 0, 148) + bytes(STORAGE) + b"\xff" * 12,
    ],
)
def test_what_is_nothing_to_us(data: bytes) -> None:
    """Short, unknown and strange notifications are none."""
    assert notification(data, LINUX) is None


@given(st.binary(max_size=200), st.sampled_from(DIALECTS))
def test_notifications_never_fail(data: bytes, dialect: Dialect) -> None:
    """Whatever the bytes, there is an answer."""
    found = notification(data, dialect)
    assert found is None or found.word


@given(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 0xFFFFFFFF))
@example(IPv6Address("::ffff:192.0.2.1"), 1, 0)
def test_addresses_come_back(
    host: IPv4Address | IPv6Address, port: int, scope: int
) -> None:
    """What was packed is found again, with its port, and nothing is left."""
    data = packed(str(host), port, scope)
    found, end = sockaddr(data)
    assert found is not None
    assert (found.host, found.port, end) == (plain(host), port, len(data))


def plain(host: IPv4Address | IPv6Address) -> str:
    """As it is shown: IPv4 is never mapped into IPv6."""
    return str(getattr(host, "ipv4_mapped", None) or host)


def test_a_path_is_a_number() -> None:
    """libusrsctp's own family of addresses has a number for a host."""
    data = struct.pack("=H2s4xQ", AF_CONN, b"\x13\x88", 1 << 63)
    assert sockaddr(data)[0] == Sockaddr(AF_CONN, str(1 << 63), 5000)


@given(st.lists(st.ip_addresses(), max_size=5))
def test_addresses_follow_one_another(
    hosts: list[IPv4Address | IPv6Address],
) -> None:
    """A list of them, of both versions of IP, is read as it was written."""
    data = b"".join(packed(str(host), 1) for host in hosts)
    assert [one.host for one in sockaddrs(data)] == [plain(host) for host in hosts]


@given(st.binary(max_size=100))
def test_strange_addresses_end_the_list(data: bytes) -> None:
    """What cannot be understood is the end, and nothing fails."""
    good = packed("192.0.2.1", 1)
    assert sockaddrs(good + data)[0].host == "192.0.2.1"


def test_a_scope_is_no_part_of_the_number() -> None:
    """The interface of a link-local address is packed beside it."""
    data = packed("fe80::1%eth0", 1, 3)
    found, _ = sockaddr(data)
    assert found is not None
    assert found.host == "fe80::1"
    assert data.endswith(struct.pack("=I", 3))


def test_names_are_no_addresses() -> None:
    """Only numbers can be packed."""
    with pytest.raises(ValueError):
        packed("localhost", 1)


PACKET = struct.pack("!HHII", 1, 2, 3, 4) + bytes(4)


@pytest.mark.parametrize(
    ("packet", "is_one"),
    [
        (PACKET, True),
        (PACKET[:15], False),
        (b"\0\0" + PACKET[2:], False),
        (PACKET[:2] + b"\0\0" + PACKET[4:], False),
    ],
)
def test_packets_have_ports_and_a_chunk(packet: bytes, is_one: bool) -> None:
    """What is too short, or from or to no port, is no packet of SCTP."""
    assert plausible(packet) is is_one
