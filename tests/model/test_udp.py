"""What users say to UDP listeners and clusters."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from l7mp.model.explain import problems_of
from l7mp.model.sockets import SourceBind
from l7mp.model.spec import Spec
from l7mp.model.udp import (
    ContentKey,
    Slice,
    UDPClusterSpec,
    UDPListenerSpec,
)

BOTH = {"address": "127.0.0.1", "port": 5}


def told(model: type[Spec], **given: Any) -> str:
    """What a user is told about a mistake."""
    spec = {"protocol": "UDP", "port": 1, **given}
    with pytest.raises(ValidationError) as raised:
        model.model_validate(spec)
    return " ".join(str(one) for one in problems_of(raised.value, value=spec))


def listener(**given: Any) -> UDPListenerSpec:
    return UDPListenerSpec.model_validate({"protocol": "UDP", "port": 1, **given})


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("4-tuple", "4-tuple"),
        ("source-ip", "source-ip"),
        ({"pointer": "/id"}, ContentKey(pointer="/id")),
        ({"payload": {"length": 4}}, ContentKey(payload=Slice(offset=0, length=4))),
    ],
)
def test_session_keys(given: Any, found: Any) -> None:
    """Sessions are told apart by one of four things."""
    assert listener(options={"session_key": given}).options.session_key == found


@pytest.mark.parametrize(
    ("given", "capped"),
    [
        ({}, False),
        ({"max_sessions": 1}, True),
        ({"max_sessions_per_source": 1}, True),
    ],
)
def test_caps(given: dict[str, Any], capped: bool) -> None:
    """There are limits where they are given."""
    assert listener(options=given).options.is_capped is capped


@pytest.mark.parametrize("address", [None, "0.0.0.0", "::", "239.0.0.1"])
def test_where_groups_are_heard(address: str | None) -> None:
    """A listener of groups is on all addresses, or on that of a group."""
    given = {} if address is None else {"address": address}
    assert listener(multicast={"groups": ["239.0.0.1"]}, **given).multicast


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"options": {"session_key": "5-tuple"}}, "session_key"),
        ({"options": {"session_key": {"payload": {"length": 0}}}}, "1 to 255"),
        ({"options": {"session_key": {}}}, "give one of pointer and payload"),
        (
            {"options": {"session_key": {"pointer": "", "payload": {"length": 1}}}},
            "give one of pointer and payload",
        ),
        ({"options": {"max_sessions": 0}}, "must be 1 or more"),
        ({"options": {"amplification": {"factor": 0}}}, "more than 0"),
        ({"connect": BOTH, "options": {"max_sessions": 2}}, "one session only"),
        ({"connect": BOTH, "options": {"session_key": "source-ip"}}, "mode: server"),
        ({"options": {"mode": "singleton"}}, "connect.address and connect.port"),
        (
            {"address": "127.0.0.1", "multicast": {"groups": ["239.0.0.1"]}},
            "never arrives at 127.0.0.1",
        ),
        ({"tls": {"cert": "a"}, "options": {"session_key": "source-ip"}}, "for two"),
        ({"tls": {"cert": "a"}, "multicast": {"groups": ["239.0.0.1"]}}, "for two"),
    ],
)
def test_mistakes_of_listeners(given: dict[str, Any], words: str) -> None:
    """What a listener cannot do is refused when it is declared."""
    assert words in told(UDPListenerSpec, **given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"bind": {"port": 5, "preserve": "port"}}, "exclude each other"),
        ({"bind": {"address": "::1", "preserve": "client"}}, "preserve: port"),
        ({"bind": {"required": True}}, "without bind.preserve"),
        ({"bind": {"port": 5}, "options": {"answers": "any"}}, "cannot share a port"),
        ({"multicast": {"ttl": 256}}, "from 0 to 255"),
        ({"tls": {}, "broadcast": True}, "for two"),
        ({"tls": {}, "multicast": {"ttl": 1}}, "for two"),
        ({"tls": {}, "options": {"answers": "any"}}, "for two"),
    ],
)
def test_mistakes_of_clusters(given: dict[str, Any], words: str) -> None:
    """What a cluster cannot do is refused when it is declared."""
    assert words in told(UDPClusterSpec, **given)


def test_clusters() -> None:
    """What a cluster can do together is taken."""
    spec = UDPClusterSpec.model_validate(
        {
            "protocol": "UDP",
            "port": 1,
            "bind": {"address": "127.0.0.1", "preserve": "port", "required": True},
            "multicast": {"ttl": 0, "loop": False, "interface": "lo"},
            "options": {"answers": "any"},
        }
    )
    assert spec.bind == SourceBind(address="127.0.0.1", preserve="port", required=True)
