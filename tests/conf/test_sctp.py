"""The example of SCTP does what its comments say."""

from __future__ import annotations

import json
import socket

import pytest

from l7mp.errors import LocalError
from l7mp.streams.usrsctp import engine
from tests.conf.running import HOST, LIMIT, Run


def test_sctp(run: Run) -> None:
    """A datagram goes through an association and back; REST shows what happened."""
    try:
        engine()
    except LocalError as error:
        pytest.skip(str(error))
    it = run("sctp.yaml")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.settimeout(LIMIT)
        service.bind((HOST, it.ports[18253]))
        with it.udp(18250) as client:
            client.send(b"hello")
            question, peer = service.recvfrom(65536)
            service.sendto(question.upper(), peer)
            assert client.recv(65536) == b"HELLO"
            with it.udp(18250) as other:
                other.send(b"x" * 60_000)
                assert service.recvfrom(65536)[0] == b"x" * 60_000
            sessions = json.loads(it.curl(18254, "/api/v1/sessions"))
    events = {event["event"] for one in sessions for event in one["events"]}
    assert "COMM_UP" in events
    (first, *_) = [
        one["metadata"]["SCTP"] for one in sessions if "SCTP" in one["metadata"]
    ]
    assert (first["stream"], first["ppid"]) == (3, 46)
