"""What can be asked of sockets, as users write it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from l7mp.model.explain import problems_of
from l7mp.model.sockets import SocketOptions, TCPSocketOptions, UDPSocketOptions


def told(model: type[SocketOptions], **given: Any) -> str:
    """What a user is told about a mistake."""
    with pytest.raises(ValidationError) as raised:
        model(**given)
    return " ".join(str(one) for one in problems_of(raised.value, value=given))


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, {}),
        ({"ttl": 5, "freebind": True}, {"ttl": 5, "freebind": True}),
        ({"reuse_port": False}, {}),
        ({"tos": 0, "mark": 0}, {"tos": 0, "mark": 0}),
        ({"device": "lo"}, {"device": "lo"}),
    ],
)
def test_only_what_differs_is_asked(
    given: dict[str, Any], asked: dict[str, Any]
) -> None:
    """What is as the kernel has it anyway is not asked for."""
    assert SocketOptions(**given).given() == asked


def test_what_tcp_has_already_can_be_taken_away() -> None:
    """Options that TCP sets unless told otherwise are asked for when they are off."""
    assert TCPSocketOptions().given() == {}
    assert TCPSocketOptions(nodelay=False).given() == {"nodelay": False}


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        (SocketOptions, {"tos": 256}, "from 0 to 255"),
        (SocketOptions, {"dscp": 64}, "from 0 to 63"),
        (SocketOptions, {"tos": 1, "dscp": 1}, "tos and dscp are the same byte"),
        (SocketOptions, {"ttl": 0}, "from 1 to 255"),
        (SocketOptions, {"mark": -1}, "from 0 to"),
        (SocketOptions, {"device": "a/b"}, "network interface"),
        (SocketOptions, {"receive_buffer": 0}, "from 1 to"),
        (UDPSocketOptions, {"nodelay": True}, "nodelay"),
        (TCPSocketOptions, {"dont_fragment": True}, "dont_fragment"),
        (TCPSocketOptions, {"keepalive_idle": 0}, "from 1 to 32767"),
        (TCPSocketOptions, {"keepalive_count": 128}, "from 1 to 127"),
    ],
)
def test_mistakes_are_explained(
    model: type[SocketOptions], given: dict[str, Any], words: str
) -> None:
    """What no socket can have is refused when it is declared."""
    assert words in told(model, **given)
