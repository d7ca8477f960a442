"""JSONEncap: messages with the session's metadata."""

from __future__ import annotations

import base64
import json

from l7mp.protocols import jsonencap
from tests.protocols.one import One


def test_messages_are_wrapped_with_metadata() -> None:
    """Each message becomes a JSON object with the metadata and the data in base64."""
    stream, sink = One(jsonencap).connect({"name": "s", "IP": {"src_addr": "::1"}})
    stream.write(b"\x00\xff")
    (wrapped,) = map(json.loads, sink.written)
    assert wrapped == {
        "metadata": {"name": "s", "IP": {"src_addr": "::1"}},
        "payload": base64.b64encode(b"\x00\xff").decode(),
    }


def test_its_other_spelling_is_known() -> None:
    """The name is found under the spelling that old configurations use."""
    words = One(jsonencap).registry.vocabulary()
    assert words.cluster({"protocol": "JSONENcap"}).protocol == "JSONEncap"
