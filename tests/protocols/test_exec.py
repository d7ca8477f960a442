"""Exec: messages through a program."""

from __future__ import annotations

import os
from typing import Any

import pytest
import pytest_twisted
from pydantic import ValidationError
from twisted.internet import reactor

from l7mp.errors import Loss, Reason
from l7mp.protocols import exec as exec_protocol
from tests.protocols.one import One
from tests.protocols.real import LOOPBACK, real
from tests.streams.loopback import peers, until

SHOW = [
    "sh", "-c", 'pwd; echo "$WORD $L7MP_SESSION"; echo "$0 $1"; id -un; id -gn; cat',
    "a b", "*",
]  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_how_it_runs() -> None:
    """The arguments are no shell's; directory, environment and user are as told."""
    stream, sink = One(exec_protocol, reactor).connect(
        {"name": "s"},
        command=SHOW,
        framing="lines",
        directory="/tmp",
        environment={"WORD": "spoken"},
        user="nobody",
        group="daemon",
    )
    stream.write(b"last")
    await until(lambda: len(sink.written) == 6)
    assert sink.written == [
        b"/tmp", b"spoken s", b"a b *", b"nobody", b"daemon", b"last",
    ]  # fmt: skip
    stream.end()
    assert (await until(lambda: stream.loss)).reason is Reason.FIN


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"command": []}, "a list of the program and its arguments"),
        ({"command": [""]}, "a list of the program and its arguments"),
        ({"command": ["cat", "\0"]}, "a NUL"),
        ({"command": ["no-such-program"]}, "there is no program no-such-program"),
        ({"command": ["cat"], "framing": "none"}, "without a framing"),
        ({"command": ["cat"], "directory": "/no/such"}, "no directory /no/such"),
    ],
)
def test_mistakes_are_refused_when_they_are_declared(
    spec: dict[str, Any], words: str
) -> None:
    """What cannot work is no configuration."""
    with pytest.raises(ValidationError, match=words):
        One(exec_protocol).connect(**spec)


@pytest_twisted.ensureDeferred
async def test_one_program_for_each_session() -> None:
    """Each session has a process of its own, which ends with it."""
    command = ["sh", "-c", 'while read -r x; do echo "$$ $x"; done']
    async with real() as world:
        bound = await world.route(
            {"protocol": "UDP", "port": 1, "address": LOOPBACK},
            {"protocol": "Echo"},
            more=(
                {
                    "name": "program",
                    "spec": {
                        "protocol": "Exec",
                        "command": command,
                        "framing": "lines",
                    },
                },
            ),
            ingress=["program"],
        )
        processes = []
        with peers(2) as two:
            for peer in two:
                peer.send(b"hello", (LOOPBACK, bound["port"]))
                number, word = (await peer.receive())[0].split()
                assert word == b"hello"
                processes.append(int(number))
        assert len(set(processes)) == 2
        for session in list(world.proxy.sessions.values()):
            session.end(Loss(Reason.DELETED))
        await until(lambda: not world.proxy.sessions)
        for process in processes:
            with pytest.raises(ProcessLookupError):
                os.kill(process, 0)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"replies": "any"}, "nobody knows whose"),
        ({"replies": "one", "framing": "slip"}, "a shared program may skip a reply"),
    ],
)
def test_what_cannot_be_shared(spec: dict[str, Any], words: str) -> None:
    """A reply has to find who has asked."""
    with pytest.raises(ValidationError, match=words):
        One(exec_protocol).connect(command=["cat"], shared=True, **spec)


@pytest_twisted.ensureDeferred
async def test_one_program_for_all() -> None:
    """Sessions share a process, until it ends or the cluster goes; then it is another."""
    script = 'while read -r x; do [ "$x" = crash ] && exit 3; echo "$$ $x"; done'
    one = One(exec_protocol, reactor)
    shared: dict[str, Any] = {
        "command": ["sh", "-c", script],
        "framing": "lines",
        "shared": True,
    }

    async def process(word: bytes) -> tuple[Any, int]:
        stream, sink = one.connect(replies="one", **shared)
        stream.write(word)
        await until(lambda: sink.written)
        number, same = sink.written[0].split()
        assert same == word
        return stream, int(number)

    (first, number), (second, again) = await process(b"a"), await process(b"b")
    assert number == again
    first.write(b"crash")
    assert (await until(lambda: second.loss)).code == 3
    third, fresh = await process(b"c")
    assert fresh != number
    third.end()
    one.context.resources.forget(one.context.owner)

    def is_gone() -> bool:
        try:
            os.kill(fresh, 0)
        except ProcessLookupError:
            return True
        return False

    await until(is_gone)


def test_a_slot_that_was_never_used() -> None:
    """A cluster whose program nobody has needed has nothing to end."""
    one = One(exec_protocol, reactor)
    one.context.resources.get(one.context.owner, exec_protocol._Slot)
    one.context.resources.close()
