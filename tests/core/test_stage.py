"""Choosing and connecting a stage."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError

from l7mp.core.stage import Stage, choose, loss_of
from l7mp.errors import Hopeless, LocalError, Loss, Reason, RemoteError
from l7mp.testing import Memory
from tests.core.support import World


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RemoteError(Loss(Reason.IDLE)), Reason.IDLE),
        (ConnectionRefusedError(), Reason.REFUSED),
        (DNSLookupError(), Reason.UNREACHABLE),
        (ConnectError(), Reason.UNREACHABLE),
        (LocalError("no"), Reason.LOCAL),
        (KeyError("x"), Reason.LOCAL),
    ],
)
def test_errors_have_reasons(error: Exception, reason: Reason) -> None:
    """Refused, unreachable, time-out and faults of ours are told apart."""
    assert loss_of(error).reason is reason


def test_a_filled_stage_is_connected() -> None:
    """A stage begins as INIT."""
    stage = Stage("source", "in")
    assert stage.status == "INIT"
    stage.fill(Memory())
    assert stage.status == "CONNECTED"


def test_sticky_sessions() -> None:
    """Equal keys choose equal endpoints; without the key any may be chosen."""
    world = World()
    endpoints = [{"spec": {"address": str(n)}} for n in range(8)]
    spec, lb = (
        {"protocol": "Messages"},
        {"policy": "ConsistentHash", "key": "IP/src_addr"},
    )
    world.configure(
        clusters=[
            {"name": "c", "spec": spec, "endpoints": endpoints, "loadbalancer": lb}
        ]
    )
    cluster = world.proxy.config.clusters["c"]
    for address in map(str, range(20)):
        chosen = {choose(cluster, {"IP": {"src_addr": address}}).name for _ in range(5)}
        assert len(chosen) == 1
    assert len({choose(cluster, {}).name for _ in range(200)}) > 1


def test_a_hopeless_attempt_is_the_last() -> None:
    """Where another attempt would be no better, none is made."""
    world = World()
    loss = Loss(Reason.REFUSED, "cannot be said again")
    world.messages.outcomes = [Hopeless(loss)]
    world.route(retry={"retry_on": "always", "num_retries": 5, "timeout": 1000})
    source = world.arrive()
    assert source.closed == loss
    assert world.said().count("AttemptFailed") == 1
    assert not world.clock.getDelayedCalls()


def test_an_attempt_that_is_cancelled_is_the_last() -> None:
    """Whatever error a protocol makes of being cancelled, it is not tried again."""
    world = World()
    world.messages.outcomes = [
        Deferred(lambda it: it.errback(ValueError("interrupted")))
    ]
    world.route(retry={"retry_on": "always", "num_retries": 5, "timeout": 1000})
    world.arrive()
    world.session.end(Loss(Reason.DELETED))
    world.clock.advance(60)
    assert len(world.messages.endpoints) == 1
    assert not world.clock.getDelayedCalls()
    assert "AttemptFailed" not in world.said()


def test_nothing_is_tried_for_a_session_that_was_refused() -> None:
    """If one stage cannot be had at once, the others are not asked any more."""
    world = World()
    world.route(egress=["out"])
    world.messages.outcomes = [Reason.REFUSED, Deferred()]
    source = world.arrive()
    assert source.loss is not None
    assert len(world.messages.endpoints) == 1
    assert not world.clock.getDelayedCalls()
