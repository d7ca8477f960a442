"""Choosing and connecting a stage."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError

from l7mp.core.stage import Stage, choose, loss_of
from l7mp.errors import LocalError, Loss, Reason, RemoteError
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
