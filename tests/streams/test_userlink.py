"""One association of the user-space stack and its socket."""

from __future__ import annotations

import errno

import pytest
import pytest_twisted

from l7mp.errors import Loss, Reason, RemoteError
from l7mp.streams.association_stream import AssociationStream, Manner
from l7mp.streams.userlink import UserLink
from l7mp.wire.sctp import Sockaddr
from tests.streams.userland import Collector, Userland, until, userland


def link_of(land: Userland, stream: AssociationStream) -> UserLink:
    """The link below a stream."""
    link = stream._association._link
    assert isinstance(link, UserLink)
    return link


@pytest_twisted.ensureDeferred
async def test_where_it_leads() -> None:
    """Addresses, ports of SCTP and of UDP and the streams that were agreed upon."""
    async with userland() as land:
        near, far = await land.pair()
        here, there = link_of(land, near).ends(), link_of(land, far).ends()
        assert here.peer == there.own == ("127.0.0.1",)
        assert (here.own_port, here.peer_port) == (there.peer_port, there.own_port)
        assert there.own_port == land.door.port
        assert (there.streams_in, there.streams_out) == (10, 10)
        assert here.udp is not None
        assert here.udp[1] == land.carrier.own[1]
        assert there.udp == here.udp[::-1]
        shown = link_of(land, near).shown(Sockaddr(123, "5", 0))
        assert shown == "127.0.0.1"


@pytest_twisted.ensureDeferred
async def test_it_lets_go_once() -> None:
    """A link that is gone sends nothing, and its path and port are free."""
    async with userland() as land:
        near, _ = await land.pair()
        link = link_of(land, near)
        near.abort(Loss(Reason.DELETED))
        link.close()
        link.abort()
        link.watch(True, True)
        with pytest.raises(BrokenPipeError) as caught:
            link.send(b"late", 0, 0, False)
        assert caught.value.errno == errno.EPIPE
        assert not land.stack.has_port(link.ports[0])


@pytest_twisted.ensureDeferred
async def test_more_than_fits_into_a_turn() -> None:
    """Very many small messages are read in several turns, all of them."""
    async with userland() as land:
        near, far = await land.pair()
        for number in range(500):
            near.write(number.to_bytes(2, "big"))
        await until(lambda: near._association._link and not near._association.is_full)
        there = Collector(far)
        await until(lambda: len(there.got) == 500)
        assert [int.from_bytes(data, "big") for data in there.got] == list(range(500))


@pytest_twisted.ensureDeferred
async def test_the_network_matters_only_in_the_beginning() -> None:
    """An association that is up bears with a network that fails; SCTP minds."""
    async with userland() as land:
        near, _ = await land.pair()
        loss = Loss(Reason.UNREACHABLE, "no way")
        link_of(land, near).unreachable(loss)
        assert near.loss is None
        attempt = land.attempt()
        assert attempt.association is not None
        link = attempt.association._link
        assert isinstance(link, UserLink)
        land.stack.unreachable(link.path, loss)
        with pytest.raises(RemoteError) as caught:
            await attempt.made
        assert caught.value.loss == loss


@pytest_twisted.ensureDeferred
async def test_a_path_that_the_library_does_not_know() -> None:
    """A connection that cannot even begin fails as one that did."""
    async with userland() as land:
        near, _ = await land.pair()
        link = link_of(land, near)
        link.connect(5)  # it is connected already
        assert near.loss is not None
        assert near.loss.reason is Reason.LOCAL
        assert AssociationStream(near._association, Manner()).loss is None
