"""Python: messages through a user's code."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError
from twisted.internet.task import Clock

from l7mp.errors import LocalError, Loss, Reason
from l7mp.interfaces import Note
from l7mp.protocols import python
from tests.protocols.one import One

SOURCE = '''
def upper(message):
    return message.upper()

def twice(message):
    return [message, bytearray(message)]

def nothing(message):
    return None

def text(message):
    return message.decode()

def picky(message):
    if b"bad" in message:
        raise ValueError("bad message")
    return message

async def later(message):
    return message

number = 5

class Named:
    """Says who it is for."""

    def __init__(self, metadata):
        self.name = metadata["name"]
        metadata["name"] = "spoiled"

    def __call__(self, message):
        return self.name.encode() + b": " + message

    def end(self):
        return b"bye"

class Mute(Named):
    def end(self):
        raise ValueError("no words")

class Silent:
    """Cannot be called."""

    tool = staticmethod(upper)
'''


@pytest.fixture(autouse=True)
def users(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The user's module."""
    module = ModuleType("users_code")
    exec(SOURCE, module.__dict__)
    monkeypatch.setitem(sys.modules, "users_code", module)
    return module


def run(name: str, *messages: bytes, **spec: Any) -> tuple[Any, list[bytes]]:
    stream, sink = One(python).connect({"name": "s"}, call=f"users_code:{name}", **spec)
    for message in messages:
        stream.write(message)
    return stream, sink.written


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("upper", [b"HI"]),
        ("twice", [b"hi", b"hi"]),
        ("nothing", []),
        ("Named", [b"s: hi"]),
        ("Silent.tool", [b"HI"]),
    ],
)
def test_what_a_call_gives_is_passed_on(name: str, written: list[bytes]) -> None:
    """Bytes are a message, a list is several, None is none."""
    assert run(name, b"hi")[1] == written


def test_an_instance_for_each_session() -> None:
    """A class is given a copy of the metadata, and has the last word."""
    metadata = {"name": "s"}
    stream, sink = One(python).connect(metadata, call="users_code:Named")
    stream.write(b"hi")
    stream.end()
    assert sink.written == [b"s: hi", b"bye"]
    assert sink.ended
    assert metadata == {"name": "s"}


def test_a_class_that_fails_refuses_the_session() -> None:
    """What it says is the reason."""
    with pytest.raises(LocalError, match="users_code:Named: KeyError: 'name'"):
        One(python).connect({}, call="users_code:Named")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("users_code", 'must be "package.module:name"'),
        (":upper", 'must be "package.module:name"'),
        ("no.such:thing", "cannot import no.such: ModuleNotFoundError"),
        ("users_code:missing", "users_code has no missing"),
        ("users_code:Silent.missing", "users_code has no Silent.missing"),
        ("users_code:number", "cannot be called with a message"),
        ("users_code:Silent", "cannot be called with a message"),
        ("users_code:later", "is asynchronous"),
    ],
)
def test_mistakes_are_refused_when_they_are_declared(call: str, words: str) -> None:
    """What cannot work is no configuration."""
    with pytest.raises(ValidationError, match=words):
        One(python).connect(call=call)


@pytest.mark.parametrize(
    ("policy", "written", "drops", "loss"),
    [
        ("drop", [b"ok", b"good"], {"error": 1}, None),
        ("pass", [b"ok", b"bad", b"good"], {}, None),
        (
            "close",
            [b"ok"],
            {"error": 1, "closed": 1},
            Loss(Reason.LOCAL, "users_code:picky: ValueError: bad message"),
        ),
    ],
)
def test_failures(
    policy: str, written: list[bytes], drops: dict[str, int], loss: Loss | None
) -> None:
    """A message for which the code fails is dropped, passed, or ends the session."""
    stream, got = run("picky", b"ok", b"bad", b"good", on_error=policy)
    assert (got, stream.drops, stream.loss) == (written, drops, loss)


def test_what_is_no_message_is_a_failure() -> None:
    """Text is refused, and so is more than was allowed."""
    heard: list[Note] = []
    stream, written = run("text", b"hi")
    stream.tell(heard.append)
    assert written == []
    assert "gave str, and not bytes" in heard[0].message
    stream, written = run("twice", b"hi", max_output=3)
    stream.tell(heard.append)
    assert written == []
    assert "gave 4 bytes, over 3" in heard[1].message


def test_last_words_that_fail() -> None:
    """The end comes without them, and no message is counted as dropped."""
    stream, sink = One(python).connect({"name": "s"}, call="users_code:Mute")
    stream.end()
    assert sink.ended
    assert stream.drops == {}


def test_failures_are_told_ever_more_rarely() -> None:
    """The session's events tell of the 1st, 2nd, 4th… failure, and how many there were."""
    heard: list[Note] = []
    stream, _ = run("picky")
    stream.tell(heard.append)
    for _ in range(10):
        stream.write(b"bad")
    assert [note.facts["count"] for note in heard] == [1, 2, 4, 8]
    assert heard[0].word == "FAILED"
    assert "(8 times so far)" in heard[3].message
    assert stream.drops == {"error": 10}


def test_slow_calls_are_told(users: Any) -> None:
    """A call that takes longer than the budget is told of; its message passes."""
    clock, heard = Clock(), list[Note]()

    def slow(message: bytes) -> bytes:
        clock.advance(len(message) / 1000)
        return message

    users.slow = slow
    stream, sink = One(python, clock).connect(call="users_code:slow", budget=5)
    stream.tell(heard.append)
    stream.write(b"x" * 5)
    stream.write(b"x" * 7)
    assert len(sink.written) == 2
    (note,) = heard
    assert (note.word, note.facts) == ("SLOW", {"count": 1, "milliseconds": 7})
    assert "took 7 ms, over 5" in note.message
