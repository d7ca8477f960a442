"""SCTP as listener and cluster, in user space over UDP on the loopback."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
import pytest_twisted
from pydantic import ValidationError

from l7mp.errors import LocalError, Loss, Reason, RemoteError
from l7mp.interfaces import Metadata, Note
from l7mp.model.config import EndPoint
from l7mp.protocols import sctp
from l7mp.testing import Memory
from tests.protocols.sctp_world import HOST, WORDS, world
from tests.streams.loopback import Collector, until

# -- what can be said ----------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"stream": 65536},
        {"stream": 16},
        {"stream": 4, "options": {"streams": 4}},
        {"ppid": 1 << 32},
        {"engine": "other"},
        {"address": []},
        {"options": {"streams": 0}},
        {"options": {"heartbeat": -1}},
        {"encapsulation": {"remote_port": 1}},
        {"begin": "later"},
    ],
)
def test_what_cannot_be_said(said: dict[str, Any]) -> None:
    """Numbers out of range and words of others are refused."""
    with pytest.raises(ValidationError):
        WORDS.listener({"protocol": "SCTP", "port": 1, **said})


def test_a_stream_that_is_not_asked_for() -> None:
    """It is refused before a peer could be asked."""
    with pytest.raises(ValidationError, match="not among the 16 of"):
        WORDS.cluster({"protocol": "SCTP", "port": 1, "stream": 20})
    said = {"port": 1, "stream": 20, "options": {"streams": 21}}
    assert WORDS.cluster({"protocol": "SCTP", **said}).dump()["stream"] == 20


def test_one_address_or_several() -> None:
    """Both are kept as they were written."""
    for address in (HOST, [HOST, "127.0.0.2"]):
        spec = WORDS.listener({"protocol": "SCTP", "port": 1, "address": address})
        assert spec.dump()["address"] == address


# -- sessions ------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_an_association_is_a_session() -> None:
    """Its addresses, ports and streams are metadata; its name says who and where."""
    async with world() as it:
        where = await it.listen(options={"streams": 4})
        near = await it.connect(where, options={"streams": 7})
        far, metadata, words = await it.arrival()
        about = metadata["SCTP"]
        assert metadata["IP"] == {"src_addr": HOST, "dst_addr": HOST}
        assert about["dst_port"] == where["port"]
        assert about["src_addrs"] == about["dst_addrs"] == [HOST]
        assert about["streams"] == {"in": 4, "out": 4}
        assert about["encapsulation"]["dst_port"] == where["encapsulation"]["port"]
        assert "stream" not in about
        assert words == f"{HOST}:{about['src_port']}-{HOST}:{where['port']}"
        there = Collector(far)
        for data in (b"one", b"two", bytes(1 << 16)):
            near.write(data)
        await until(lambda: len(there.got) == 3)
        assert there.got == [b"one", b"two", bytes(1 << 16)]


@pytest_twisted.ensureDeferred
async def test_a_session_can_begin_with_a_message() -> None:
    """Rules then know its stream and identifier, and the message is not lost."""
    async with world() as it:
        where = await it.listen(begin="message")
        near = await it.connect(where, stream=5, ppid=46)
        assert not it.came
        near.write(b"first")
        near.write(b"second")
        far, metadata, _ = await it.arrival()
        assert metadata["SCTP"]["stream"] == 5
        assert metadata["SCTP"]["ppid"] == 46
        heard: list[Note] = []
        far.tell(heard.append)
        there = Collector(far)
        await until(lambda: len(there.got) == 2)
        assert there.got == [b"first", b"second"]
        assert heard[0].word == "COMM_UP"


@pytest_twisted.ensureDeferred
async def test_who_says_nothing_is_no_session() -> None:
    """It may go again, or is dropped when the listener goes."""
    async with world() as it:
        where = await it.listen(begin="message")
        silent, patient = await it.connect(where), await it.connect(where)
        Collector(silent)
        Collector(patient)
        silent.end()
        await until(lambda: silent.loss)
        assert silent.loss == Loss(Reason.FIN)
        await it.places[0].stop()
        await until(lambda: patient.loss)
        assert patient.loss is not None
        assert patient.loss.reason is Reason.RESET
        assert not it.came


@pytest.mark.parametrize(
    ("said", "metadata", "expected"),
    [
        ({}, {}, (0, 0)),
        ({"stream": 2, "ppid": 3}, {}, (2, 3)),
        ({"stream": 2, "ppid": 3}, {"SCTP": {"ppid": 60}}, (2, 60)),
        ({}, {"SCTP": {"stream": 4, "ppid": 60}}, (4, 60)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_metadata_are_stronger_than_the_cluster(
    said: dict[str, Any], metadata: Metadata, expected: tuple[int, int]
) -> None:
    """A rule that rewrites /SCTP/stream or /SCTP/ppid has the last word."""
    async with world() as it:
        near = await it.connect(await it.listen(), metadata, **said)
        far, *_ = await it.arrival()
        sink = Memory()
        far.deliver_to(sink)
        far.release("sink")
        near.write(b"data")
        await until(lambda: sink.written)
        stream, ppid = expected
        assert sink.facts == [{"SCTP": {"stream": stream, "ppid": ppid}}]


@pytest_twisted.ensureDeferred
async def test_what_a_listener_sends_is_laid_down_by_it() -> None:
    """Its stream and identifier are those of the answers."""
    async with world() as it:
        near = await it.connect(await it.listen(stream=1, ppid=9, unordered=True))
        far, *_ = await it.arrival()
        sink = Memory()
        near.deliver_to(sink)
        near.release("sink")
        far.write(b"answer")
        await until(lambda: sink.written)
        assert sink.facts == [{"SCTP": {"stream": 1, "ppid": 9}}]


@pytest_twisted.ensureDeferred
async def test_every_way_to_bind_works() -> None:
    """Everywhere, at a name, and from an address and a port of one's own."""
    async with world() as it:
        everywhere = await it.listen(address=None)
        await it.connect(everywhere)
        named = await it.listen(address="localhost")
        near = await it.connect(
            named,
            address="localhost",
            bind={"address": "127.0.0.5", "port": 4242},
        )
        assert near._association.ends().own == ("127.0.0.5",)
        _, metadata, _ = await it.arrival()
        await until(lambda: len(it.came) == 2)
        _, metadata, _ = it.came[-1]
        assert metadata["IP"]["src_addr"] == "127.0.0.5"
        assert metadata["SCTP"]["src_port"] == 4242


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")
@pytest.mark.parametrize("address", [HOST, "::1", None])
@pytest_twisted.ensureDeferred
async def test_without_udp(address: str | None) -> None:
    """Right on IP, of either version; there is no encapsulation in the metadata."""
    async with world() as it:
        where = await it.listen(encapsulation=None, address=address)
        near = await it.connect(where, address=address or HOST)
        far, metadata, _ = await it.arrival()
        assert "encapsulation" not in metadata["SCTP"]
        there = Collector(far)
        near.write(b"data")
        await until(lambda: there.got)


# -- the kernel's, without one -----------------------------------------------------


class Asked:
    """In place of the kernel's SCTP: remembers what it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.listened: list[Any] = []
        self.connected: list[Any] = []
        self.tunnels: list[int] = []
        monkeypatch.setattr(sctp, "is_there", lambda: True)
        monkeypatch.setattr(sctp, "check_tunnel", self.tunnels.append)
        monkeypatch.setattr(sctp, "listen_in_kernel", self._listen)
        monkeypatch.setattr(sctp, "connect_in_kernel", self._connect)

    def _listen(self, _: object, places: Any, port: int, *more: Any) -> None:
        self.listened.append(([one.sockaddr[0] for one in places], port))
        raise LocalError("asked")

    def _connect(
        self, _: object, remotes: Any, places: Any, port: int, udp: Any, *more: Any
    ) -> None:
        hosts = [[one.sockaddr[0] for one in numbers] for numbers in (remotes, places)]
        self.connected.append((*hosts, port, udp))
        raise LocalError("asked")


@pytest_twisted.ensureDeferred
async def test_the_kernel_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless its SCTP would have to be in UDP, or ours is asked for."""
    async with world() as it:
        asked = Asked(monkeypatch)
        both, two = [HOST, "127.0.0.2"], {"address": ["127.0.0.3", "127.0.0.4"]}
        with pytest.raises(LocalError, match="asked"):
            await it.listen(encapsulation=None, address=both, port=5000)
        with pytest.raises(LocalError, match="asked"):
            await it.listen(engine="kernel", encapsulation={"port": 9900})
        where = await it.listen()  # in UDP
        with pytest.raises(RemoteError, match="asked"):
            await it.connect({"port": 5000}, address=", ".join(both), bind=two)
        tunnel = {"port": 1, "encapsulation": {"port": 9901}}
        with pytest.raises(RemoteError, match="asked"):
            await it.connect(tunnel, engine="kernel")
        await it.connect(where)
        assert asked.listened == [(both, 5000), ([HOST], 0)]
        assert asked.connected == [
            (both, two["address"], 0, None),
            ([HOST], [], 0, 9901),
        ]
        assert asked.tunnels == [9900, 0]


@pytest_twisted.ensureDeferred
async def test_two_stacks_do_not_share_ip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours on IP is refused where the kernel would answer, too."""
    async with world() as it:
        Asked(monkeypatch)
        with pytest.raises(LocalError, match="would answer every packet"):
            await it.listen(engine="user", encapsulation=None)
        with pytest.raises(RemoteError, match="would answer every packet"):
            await it.connect({"port": 1}, engine="user")


# -- failures ------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_bound() -> None:
    """The reason names the address, and nothing is left."""
    async with world() as it:
        where = await it.listen()
        port = where["encapsulation"]["port"]
        for said, message in (
            ({"address": "192.0.2.1"}, "does not have that address"),
            ({"port": where["port"], "encapsulation": {"port": port}}, "another"),
            ({"address": [HOST, "127.0.0.2"]}, "one path"),
            ({"address": "no.such.name.invalid"}, "no address"),
        ):
            with pytest.raises(LocalError, match=message):
                await it.listen(**said)
        assert len(sctp._stack(it.context)._carriers) == 1


@pytest_twisted.ensureDeferred
async def test_a_cluster_that_cannot_connect() -> None:
    """The session hears why, in the words of the others."""
    async with world() as it:
        where = await it.listen()
        nowhere = {**where, "port": 9}
        for said, place, address, reason in (
            ({}, nowhere, HOST, Reason.REFUSED),
            ({"bind": {"port": where["port"]}}, where, HOST, Reason.LOCAL),
            ({"bind": {"address": "192.0.2.1"}}, where, HOST, Reason.LOCAL),
            ({"bind": {"address": "::1"}}, where, HOST, Reason.UNREACHABLE),
            ({}, where, "no.such.name.invalid", Reason.UNREACHABLE),
        ):
            with pytest.raises(RemoteError) as caught:
                await it.connect(place, address=address, **said)
            assert caught.value.loss.reason is reason, said
        with pytest.raises(RemoteError, match="one path"):
            await it.connect(where, address=f"{HOST},127.0.0.2")
        assert len(sctp._stack(it.context)._carriers) == 1


@pytest_twisted.ensureDeferred
async def test_connecting_can_be_cancelled() -> None:
    """A peer that does not answer costs no more than the time it was given."""
    async with world() as it:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind((HOST, 0))
            where = {"port": 1, "encapsulation": {"port": deaf.getsockname()[1]}}
            spec = WORDS.cluster(
                {
                    "protocol": "SCTP",
                    "port": 1,
                    "encapsulation": {"remote_port": where["encapsulation"]["port"]},  # type: ignore[index]
                }
            )
            connecting = it.context.connect(spec, EndPoint("e", HOST), {})
            failures: list[Any] = []
            connecting.addErrback(failures.append)
            connecting.cancel()
            assert failures
            assert not sctp._stack(it.context)._carriers


@pytest_twisted.ensureDeferred
async def test_there_can_be_too_many() -> None:
    """Who comes then is aborted, counted and warned of."""
    async with world() as it:
        where = await it.listen(options={"max_associations_per_source": 1})
        first, second = await it.connect(where), await it.connect(where)
        Collector(second)
        await until(lambda: second.loss)
        assert first.loss is None
        assert len(it.came) == 1
        assert it.counted == {"max-associations-per-source": 1}
        assert it.warned == [
            "max-associations-per-source is reached,"
            " new peers are refused (associations: 1)"
        ]


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_stopped_refuses() -> None:
    """Sessions live on when their listener goes; new ones are refused."""
    async with world() as it:
        where = await it.listen()
        near = await it.connect(where)
        far, *_ = await it.arrival()
        await it.places[0].stop()
        there = Collector(far)
        near.write(b"still here")
        await until(lambda: there.got)
        with pytest.raises(RemoteError) as caught:
            await it.connect(where)
        assert caught.value.loss.reason is Reason.REFUSED


# -- many sessions on an association -----------------------------------------------


@pytest_twisted.ensureDeferred
async def test_streams_of_an_association_are_sessions() -> None:
    """Both sides: a session for each stream, one association for all of them."""
    async with world() as it:
        where = await it.listen(sessions="stream")
        near = [
            await it.connect(where, metadata, sessions="stream")
            for metadata in ({}, {"SCTP": {"stream": 5, "ppid": 46}}, {})
        ]
        assert len(sctp._stack(it.context)._associations()) == 2
        for number, stream in enumerate(near):
            stream.write(b"from %d" % number)
        await until(lambda: len(it.came) == 3)
        about = [metadata["SCTP"] for _, metadata, _ in it.came]
        assert sorted(one["stream"] for one in about) == [0, 1, 5]
        assert len({one["src_port"] for one in about}) == 1
        assert {one["ppid"] for one in about} == {0, 46}
        heard = [Collector(stream) for stream in near]
        for far, metadata, _ in it.came:
            Collector(far)
            far.write(b"to %d" % metadata["SCTP"]["stream"])
        await until(lambda: all(one.got for one in heard))
        assert [one.got for one in heard] == [[b"to 0"], [b"to 5"], [b"to 1"]]
        for stream in near:
            stream.end()
        await until(lambda: not sctp._stack(it.context)._associations())
        assert all(far.loss == Loss(Reason.FIN) for far, _, _ in it.came)
        again = await it.connect(where, sessions="stream")
        assert again.loss is None
