"""What has not been sent yet."""

from __future__ import annotations

from l7mp.streams.backlog import backlog, unsent


class Plain:
    """As much of Twisted's transports as there is no public word for."""

    dataBuffer = b"gone and left"
    offset = 9
    _tempDataBuffer = (b" be", b"hind")
    _tempDataLen = 7


class Own:
    """A transport that knows it by itself."""

    dataBuffer = b"encrypted"

    def unsent(self) -> list[bytes]:
        return [b"plain"]

    def backlog(self) -> int:
        return 5


def test_of_twisted() -> None:
    """What is left of the buffer, and what has been added since."""
    assert unsent(Plain()) == [b"left", b" be", b"hind"]
    assert backlog(Plain()) == 11


def test_of_ours() -> None:
    """A transport that changes what it is given is asked for the original."""
    assert unsent(Own()) == [b"plain"]
    assert backlog(Own()) == 5
