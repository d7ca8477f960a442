"""JSONSocket's handshake, over networks that lose, double and reorder its headers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.interfaces import SINK, Kind
from l7mp.streams.jsonsocket import EARLY_MESSAGES, REPEAT, Served, ask, hear
from l7mp.streams.repeating import LONGEST
from l7mp.streams.screened import COPIES
from l7mp.testing import Memory
from l7mp.wire.jsonsocket import encode_request, encode_response

HEADER = encode_request({"who": "me"})
OK = encode_response(200, "OK")


class Lossy(Memory):
    """A stream of datagrams; what is written goes to ``network``."""

    lossy = True
    network: Any = None

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.network is not None:
            self.network(data)


Fates = list[list[float]]
"""For each header that is sent, after how many seconds its copies arrive, if any."""


class Link:
    """A client and a server with an unkind network between them."""

    def __init__(self, headers: Fates, answers: Fates, connecting: float) -> None:
        self.clock = Clock()
        self.fates = {HEADER: headers, OK: answers}
        self.connecting = connecting
        self.client, self.server = Lossy(), Lossy()
        self.client.network = lambda data: self._carry(data, self.server)
        self.server.network = lambda data: self._carry(data, self.client)
        self.served: list[Served] = []
        self.asked: list[Any] = []
        self.at_server, self.at_client = Memory(), Memory()
        self._hear()
        asking = ask(self.client, HEADER, self.clock, REPEAT, None)
        Deferred.fromCoroutine(asking).addCallback(self._up)

    def _carry(self, data: bytes, to: Lossy) -> None:
        fates = self.fates.get(data)
        for seconds in fates.pop(0) if fates else [0]:
            self.clock.callLater(seconds, to.inject, data)

    def _hear(self) -> None:
        hearing = Deferred.fromCoroutine(hear(self.server, self.clock, 0))
        hearing.addCallback(
            lambda served: self.clock.callLater(
                self.connecting, self._connected, served
            )
        )

    def _connected(self, served: Served) -> None:
        self.served.append(served)
        served.established()
        served.deliver_to(self.at_server)
        served.release(SINK)
        for number in range(3):
            served.write(b"down %d" % number)

    def _up(self, stream: Any) -> None:
        self.asked.append(stream)
        stream.deliver_to(self.at_client)
        stream.release(SINK)
        for number in range(3):
            stream.write(b"up %d" % number)

    def run(self, seconds: float) -> None:
        """Let it all happen, and more data follow in the end."""
        self.clock.pump([0.125] * round(8 * seconds))
        for stream, word in ((self.served[0], b"down end"), (self.asked[0], b"up end")):
            stream.write(word)
        self.clock.pump([0.125] * round(8 * COPIES + 8))


delays = st.integers(0, 32).map(lambda eighths: eighths / 8)
fates = st.lists(st.lists(delays, max_size=3), max_size=6)


@given(fates, fates, delays)
def test_it_always_comes_about(
    headers: Fates, answers: Fates, connecting: float
) -> None:
    """
    Both sides come together as soon as a header and an answer got through.

    Whatever was lost, doubled or late, each application sees exactly its data.
    """
    link = Link(list(headers), list(answers), connecting)
    link.run(LONGEST * (len(headers) + len(answers)) + 16)
    assert len(link.asked) == len(link.served) == 1
    assert link.at_server.written == [b"up 0", b"up 1", b"up 2", b"up end"]
    assert link.at_client.written == [b"down 0", b"down 1", b"down 2", b"down end"]
    assert link.at_client.facts == [{"JSONSocket": json.loads(OK)}]
    assert link.client.drops == link.server.drops == {}
    assert not link.clock.getDelayedCalls()


@given(st.integers(0, 5), st.integers(0, 5))
def test_no_more_is_sent_than_needed(headers: int, answers: int) -> None:
    """A header is sent once more for every one, or answer to it, that was lost."""
    link = Link([[]] * headers, [[]] * answers, 0)
    link.run(LONGEST * 12)
    assert link.client.written.count(HEADER) == headers + answers + 1
    assert link.server.written.count(OK) == answers + 1


# -- the client ------------------------------------------------------------------


class Asking:
    """A client that waits for an answer."""

    def __init__(self, stream: Memory, seconds: float | None = None) -> None:
        self.clock, self.stream = Clock(), stream
        self.got: list[Any] = []
        coroutine = ask(stream, HEADER, self.clock, REPEAT, seconds)
        Deferred.fromCoroutine(coroutine).addBoth(self.got.append)

    @property
    def loss(self) -> Loss:
        """Why it failed."""
        (failure,) = self.got
        assert isinstance(failure, Failure)
        assert isinstance(failure.value, RemoteError)
        return failure.value.loss

    def data(self) -> list[bytes]:
        """What the application gets."""
        (stream,), sink = self.got, Memory()
        stream.deliver_to(sink)
        stream.release(SINK)
        return sink.written


def test_what_overtakes_the_answer_comes_after_it() -> None:
    """Data that comes before the answer is kept in order, whatever it looks like."""
    asking = Asking(Lossy())
    early = [b"b", b'{"a": 1}', b"[]", b"a"]
    asking.stream.inject(*early)
    assert not asking.got
    asking.stream.inject(OK, b"c")
    assert asking.data() == [*early, b"c"]


def test_not_everything_is_kept() -> None:
    """Of too much early data the oldest goes, and is counted."""
    asking = Asking(Lossy())
    asking.stream.inject(*(b"%d" % n for n in range(EARLY_MESSAGES + 2)), OK)
    assert asking.data()[0] == b"2"
    assert asking.stream.drops == {"overflow": 2}
    large = Asking(Lossy())
    large.stream.inject(*[bytes(1 << 19)] * 3, OK)
    assert len(large.data()) == 2
    assert large.stream.drops == {"overflow": 1}


@pytest.mark.parametrize("kind", list(Kind))
def test_nothing_overtakes_on_a_good_transport(kind: Kind) -> None:
    """Where nothing gets lost, what comes first is the answer, or a failure."""
    asking = Asking(Memory(kind))
    asking.stream.inject(b"[data]")
    assert asking.loss.reason is Reason.REFUSED
    assert "not a JSON object" in asking.loss.detail


@pytest.mark.parametrize("kind", list(Kind))
def test_a_good_transport_repeats_nothing(kind: Kind) -> None:
    """Where nothing gets lost, headers are said once, and what equals one is data."""
    asking = Asking(Memory(kind))
    asking.clock.pump([1] * 20)
    assert asking.stream.written == [HEADER]
    asking.stream.inject(OK, OK, b"x")
    assert asking.data() == [OK, b"x"]


@pytest.mark.parametrize("stream", [Lossy(), Memory()])
def test_a_refusal_is_final(stream: Memory) -> None:
    """No is an answer, on any transport, and nothing is repeated after it."""
    asking = Asking(stream)
    asking.stream.inject(encode_response(404, "nobody"))
    assert asking.loss == Loss(Reason.REFUSED, 'JSONSocket status 404: "nobody"')
    assert not asking.clock.getDelayedCalls()


@pytest.mark.parametrize("status", [100, 600, "200", None, 200.5])
def test_an_unknown_status_is_a_failure(status: Any) -> None:
    """An answer whose status means nothing is no answer to wait behind."""
    asking = Asking(Lossy())
    answer = {"JSONSocketVersion": 1, "JSONSocketStatus": status}
    asking.stream.inject(json.dumps(answer).encode())
    assert asking.loss.reason is Reason.REFUSED
    assert "502" in asking.loss.detail


def test_it_does_not_wait_for_ever() -> None:
    """After its time without an answer it fails, and says what came instead."""
    asking = Asking(Lossy(), 3)
    asking.clock.advance(3)
    assert asking.loss == Loss(Reason.TIMEOUT, "no answer to the header came in 3 s")
    asking = Asking(Lossy(), 3)
    asking.stream.inject(b"a", b"b")
    asking.clock.advance(3)
    assert asking.loss.detail.endswith(", though 2 messages that are none did")
    assert not asking.clock.getDelayedCalls()


def test_a_transport_that_goes_ends_it() -> None:
    """A loss before the answer is the failure, and ends the repetition."""
    asking = Asking(Lossy())
    asking.stream.vanish(Reason.REFUSED)
    assert asking.loss.reason is Reason.REFUSED
    assert not asking.clock.getDelayedCalls()


# -- the server ------------------------------------------------------------------


def hearing(stream: Memory, *data: bytes) -> tuple[Any, Clock]:
    """A server that has a client, and what it makes of what it says."""
    clock, got = Clock(), list[Any]()
    Deferred.fromCoroutine(hear(stream, clock, 10)).addCallback(got.append)
    stream.inject(*data)
    return got, clock


def test_every_copy_gets_the_same_answer() -> None:
    """Copies that came while the session was connected are answered as the first."""
    stream = Lossy()
    (served,), _ = hearing(stream, HEADER, HEADER, HEADER)
    assert stream.written == []
    sink = Memory()
    served.deliver_to(sink)
    served.established()
    served.release(SINK)
    assert stream.written == [OK] * 3
    stream.inject(b"data", HEADER)
    assert (sink.written, stream.written) == ([b"data"], [OK] * 4)
    assert served.header == {"who": "me", "JSONSocketVersion": 1}


def test_a_copy_on_a_good_transport_is_data() -> None:
    """Where nothing gets lost no header is repeated, so what equals it is data."""
    stream, sink = Memory(), Memory()
    (served,), _ = hearing(stream, HEADER, HEADER)
    served.deliver_to(sink)
    served.established()
    served.release(SINK)
    assert (sink.written, stream.written) == ([HEADER], [OK])


def test_data_without_a_header_is_refused() -> None:
    """What comes before any header is answered 400, and the client has to begin anew."""
    stream = Lossy()
    got, clock = hearing(stream, b"data")
    assert got == [None]
    (answer,) = stream.written
    assert json.loads(answer)["JSONSocketStatus"] == 400
    assert stream.closed is not None
    assert not clock.getDelayedCalls()


def test_who_is_silent_is_sent_away() -> None:
    """A client without a header has so much time and no more."""
    stream = Memory()
    got, clock = hearing(stream)
    clock.advance(10)
    assert got == [None]
    assert json.loads(stream.written[0])["JSONSocketStatus"] == 408


def test_nothing_is_said_to_who_may_not_be_there() -> None:
    """A peer known beforehand that says nothing over UDP hears nothing either."""
    stream = Lossy()
    got, clock = hearing(stream)
    clock.advance(10)
    assert got == [None]
    assert stream.written == []
    assert stream.closed is not None
