"""
socat at both ends of a session, with each type of address that it has a socket for.

What it has besides is in test_socat_programs, test_socat_wire and test_sctp;
``test_nothing_is_left_out`` keeps account of all of them.
"""

from __future__ import annotations

import shutil
import socket as python_socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.protocols.socks import SOCKSv4Factory

from tests.real import test_sctp, test_socat_programs, test_socat_wire
from tests.real.socat import MISSING, rows, socat, words
from tests.real.tls_peers import unused_port as unused_tcp
from tests.real.whole import Words, whole
from tests.streams.certs import Certs
from tests.streams.loopback import unused_port as unused_udp

ensure = pytest_twisted.ensureDeferred
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@dataclass(frozen=True)
class Talk:
    """
    One socat, a session, and another socat.

    In braces: ``front`` is the listener's port, ``back`` the other socat's, ``mine`` one
    more; ``folder`` is for files, ``name`` an abstract name; a name that begins with
    ``x`` is the port in hexadecimal, ``lo`` and ``pad`` the rest of an address.
    """

    listener: Words
    cluster: Words
    client: str
    server: str
    messages: bool = False
    """Whether each message arrives as one; otherwise it is bytes that arrive."""
    answers: bool = True
    """Whether this type of server can answer."""
    program: str = ""
    """The address of a third, by which a session gets to a server that we cannot reach."""

    @property
    def addresses(self) -> list[str]:
        every = (self.client, self.program, self.server)
        return [address for address in every if address]

    @property
    def id(self) -> str:
        names = [one.partition(":")[0] for one in self.addresses]
        return "-to-".join(names) + ("-messages" if self.messages else "")


def ip(protocol: str, host: str = "127.0.0.1", **more: Any) -> tuple[Words, Words]:
    """A listener and a cluster at a numeric address."""
    listener = {"protocol": protocol, "address": host, "port": 1}
    cluster = {"protocol": protocol, "address": host, "port": "{back}", **more}
    return listener, cluster


def unix(type_: str) -> tuple[Words, Words]:
    """A listener and a cluster, both at files."""
    both: Words = {"protocol": "UnixDomainSocket", "type": type_}
    return {**both, "filename": "{folder}/in"}, {**both, "address": "{folder}/out"}


def abstract(type_: str) -> tuple[Words, Words]:
    """The same at names that are no files."""
    both: Words = {"protocol": "UnixDomainSocket", "type": type_}
    return {**both, "filename": "@{name}in"}, {**both, "address": "@{name}out"}


Ends = Callable[[str], tuple[Words, Words]]
"""What makes both of a type."""

VERSIONS = {"": "127.0.0.1", "4": "127.0.0.1", "6": "::1"}
"""How socat says which IP, and the loopback there."""


def internet(v: str) -> list[Talk]:
    """What there is for every version of IP."""
    host = VERSIONS[v]
    at = f"[{host}]" if ":" in host else host
    bind = f"{{back}},bind={at}"
    udp = ip("UDP", host)
    known = ip("UDP", host, bind={"port": "{mine}"})
    front = f"{at}:{{front}}"
    return [
        Talk(*ip("TCP", host), f"TCP{v}-CONNECT:{front}", f"TCP{v}-LISTEN:{bind},reuseaddr"),
        Talk(*udp, f"UDP{v}-CONNECT:{front}", f"UDP{v}-LISTEN:{bind}", True),
        Talk(*udp, f"UDP{v}-SENDTO:{front}", f"UDP{v}-RECVFROM:{bind},fork", True),
        Talk(*udp, f"UDP{v}-SENDTO:{front}", f"UDP{v}-RECV:{bind}", True, answers=False),
        Talk(*known, f"UDP{v}-DATAGRAM:{front}", f"UDP{v}-DATAGRAM:{at}:{{mine}},bind={at}:{{back}}", True),
    ]  # fmt: skip


def by_program(v: str) -> list[Talk]:
    """What a session can reach by running socat only: UDP-Lite (RFC 3828)."""
    host = VERSIONS[v]
    at = f"[{host}]" if ":" in host else host
    there, bind, name = f"{at}:{{back}}", f"{{back}},bind={at}", f"UDPLITE{v}"
    ends = [
        (f"{name}-CONNECT:{there}", f"{name}-LISTEN:{bind}", True),
        (f"{name}-SENDTO:{there}", f"{name}-RECVFROM:{bind},fork", True),
        (f"{name}-SENDTO:{there}", f"{name}-RECV:{bind}", False),
        (f"{name}-DATAGRAM:{there},bind={at}:{{mine}}", f"{name}-DATAGRAM:{at}:{{mine}},bind={at}:{{back}}", True),
    ]  # fmt: skip
    run = {"protocol": "STDIO-fork"}
    front = "TCP4-CONNECT:127.0.0.1:{front}"
    return [
        Talk(LISTENER, run, front, server, answers=answers, program=program)
        for program, server, answers in ends
    ]


def local(kind: str, ends: Ends, front: str, back: str) -> list[Talk]:
    """What there is for files and for abstract names."""
    packets = f"{back},socktype=5"
    return [
        Talk(*ends("stream"), f"{kind}-CONNECT:{front}", f"{kind}-LISTEN:{back}"),
        Talk(*ends("stream"), f"{kind}-CLIENT:{front}", f"{kind}-LISTEN:{back}"),
        Talk(*ends("seqpacket"), f"{kind}-CONNECT:{front},socktype=5", f"{kind}-LISTEN:{packets}", True),
        Talk(*ends("dgram"), f"{kind}-SENDTO:{front},bind={front}.me", f"{kind}-RECVFROM:{back},fork", True),
        Talk(*ends("dgram"), f"{kind}-SENDTO:{front},bind={front}.me", f"{kind}-RECV:{back}", True, answers=False),
    ]  # fmt: skip


TLS = {"ca": "{ca}", "server_name": "localhost"}
TRUST = "cafile={ca},commonname=localhost"
CERT = "bind=127.0.0.1,cert={cert},verify=0"
SERVE = {"tls": {"cert": "{cert}"}}
LISTENER, CLUSTER = ip("TCP")
DATAGRAMS, SENDING = ip("UDP")
FRONT, BACK = "{xfront}{lo}{pad}", "{xback}{lo}{pad}"
"""Addresses of IPv4 as the kernel has them, after the family: the port comes first."""
PROXY = {"protocol": "HTTP", "address": "127.0.0.1", "port": 1, "tunnel": True}
LISTEN4 = "TCP4-LISTEN:{back},bind=127.0.0.1,reuseaddr"

TALKS = [
    *(talk for v in VERSIONS for talk in (*internet(v), *by_program(v))),
    *local("UNIX", unix, "{folder}/in", "{folder}/out"),
    *local("ABSTRACT", abstract, "{name}in", "{name}out"),
    Talk({**LISTENER, **SERVE}, {**CLUSTER, "tls": TLS},
         "OPENSSL:127.0.0.1:{front}," + TRUST, "OPENSSL-LISTEN:{back},reuseaddr," + CERT),
    Talk({**DATAGRAMS, **SERVE}, {**SENDING, "tls": TLS},
         "OPENSSL-DTLS-CLIENT:127.0.0.1:{front}," + TRUST, "OPENSSL-DTLS-SERVER:{back}," + CERT, True),
    Talk(LISTENER, CLUSTER, "SOCKET-CONNECT:2:6:" + FRONT, "SOCKET-LISTEN:2:6:" + BACK + ",reuseaddr"),
    Talk(DATAGRAMS, SENDING, "SOCKET-DATAGRAM:2:2:17:" + FRONT, "SOCKET-RECVFROM:2:2:17:" + BACK + ",fork", True),
    Talk(DATAGRAMS, SENDING, "SOCKET-SENDTO:2:2:17:" + FRONT, "SOCKET-RECV:2:2:17:" + BACK, True, answers=False),
    Talk(PROXY, CLUSTER, "PROXY:127.0.0.1:localhost:{back},proxyport={front}", LISTEN4),
    # A server of SOCKS has been put behind the proxy.
    Talk(LISTENER, {**CLUSTER, "port": "{socks}"}, "SOCKS4:127.0.0.1:127.0.0.1:{back},socksport={front}", LISTEN4),
    Talk(LISTENER, {**CLUSTER, "port": "{socks}"}, "SOCKS4A:127.0.0.1:localhost:{back},socksport={front}", LISTEN4),
]  # fmt: skip


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Words:
    made = Certs(tmp_path_factory.mktemp("certs"))
    return {"ca": made.ca, "cert": made.pem("localhost", "127.0.0.1")}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for sockets: their paths are short, those of pytest are not."""
    made = Path(tempfile.mkdtemp(prefix="l7mp"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def socks() -> Iterator[int]:
    """A server of SOCKS 4 and 4a: Twisted's."""
    factory: Any = SOCKSv4Factory("")
    port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
    yield port.getHost().port
    pytest_twisted.blockon(port.stopListening())


def filled(spec: Any, facts: Words) -> Any:
    """The same with facts in place of what is in braces; ports are numbers."""
    if isinstance(spec, dict):
        return {name: filled(value, facts) for name, value in spec.items()}
    if not isinstance(spec, str):
        return spec
    text = spec.format(**facts)
    return int(text) if spec.startswith("{") and text.isdecimal() else text


def facts_of(talk: Talk, folder: Path, **more: Any) -> Words:
    """What is in braces, but for the listener's port."""
    host = talk.listener.get("address", "127.0.0.1")
    back = unused_udp(host) if talk.messages else unused_tcp()
    mine = unused_udp(host)
    facts = {"folder": folder, "name": folder.name, "back": back, "mine": mine, **more}
    return {**facts, "xback": f"x{back:04x}", "lo": "x7f000001", "pad": "x" + "00" * 8}


@pytest.mark.parametrize("talk", rows(TALKS))
@ensure
async def test_socat_to_socat(
    talk: Talk, folder: Path, certs: Words, socks: int
) -> None:
    """What one says the other hears, and the answer; messages come as they went."""
    facts = facts_of(talk, folder, socks=socks, **certs)
    server = [talk.server.format(**facts), "-"]
    # Each message is for a process of its own, which can take only what was sent first.
    is_apart = "fork" in talk.server
    if is_apart:
        server[1] = "EXEC:cat"
    how = ["-t0.1"] if talk.answers else ["-u"]
    with socat(*how, *server, messages=talk.messages) as there:
        await there.is_ready()
        async with whole() as it:
            cluster = filled(talk.cluster, facts)
            if talk.program:
                cluster["command"] = ["socat", "-", talk.program.format(**facts)]
            bound = await it.listen(filled(talk.listener, facts), cluster)
            front = bound.get("port", 0)
            facts.update(front=front, xfront=f"x{front:04x}")
            client = talk.client.format(**facts)
            with socat("-", client, messages=talk.messages) as here:
                if is_apart:
                    for message in (b"one", b"three"):
                        here.send(message)
                        await here.hears(message)
                    return
                here.send(b"one", b"three")
                await there.hears(b"one", b"three")
                if talk.answers:
                    there.send(b"four", b"fifteen")
                    await here.hears(b"four", b"fifteen")
                if not talk.messages and not talk.program:
                    here.finish()
                    await there.ends()


ACCEPTS = "ACCEPT-FD:{number}"


@pytest.mark.skipif(
    bool(words().why_not([ACCEPTS])), reason=words().why_not([ACCEPTS]) or "never"
)
@ensure
async def test_a_socket_that_was_left_open() -> None:
    """A server that listens on a socket of somebody else's is a server as any other."""
    with python_socket.create_server(("127.0.0.1", 0)) as open_:
        number = open_.fileno()
        with socat(ACCEPTS.format(number=number), "PIPE", pass_fds=[number]):
            async with whole() as it:
                port = open_.getsockname()[1]
                front = await it.serve(LISTENER, {**CLUSTER, "port": port})
                with socat("-", f"TCP4-CONNECT:127.0.0.1:{front}") as here:
                    here.send(b"hello")
                    await here.hears(b"hello")


# -- the account ------------------------------------------------------------------------

NEVER = {
    **dict.fromkeys(
        [f"dccp{v}-{end}" for v in VERSIONS for end in ("connect", "listen")],
        "Linux has had no DCCP since 6.16",
    ),
    "posixmq-receive": "reads a message as posixmq-read does, and ends",
    **dict.fromkeys(
        ["socks5-connect", "socks5-listen"],
        "no server to try it with; it is bytes over TCP to us, as SOCKS 4 is",
    ),
}
"""Types of newer versions of socat that nothing here tries, and why."""


def driven() -> set[str]:
    """Every type that is in a table, and so in a test of each of its rows."""
    addresses = [address for talk in TALKS for address in talk.addresses]
    for module in (test_socat_programs, test_socat_wire, test_sctp):
        addresses += module.ADDRESSES
    return words().named_in([*addresses, ACCEPTS])


def test_nothing_is_left_out() -> None:
    """Every type that socat lists has a test, or a reason for none; its other names too."""
    known = words()
    assert len(known.types) > 80
    assert known.types - driven() == set(NEVER) & known.types
    assert set(known.aliases.values()) <= known.types
