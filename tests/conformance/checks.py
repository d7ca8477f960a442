"""
What is asked of every pair of a listener and a cluster.

A check passes, raises ``AssertionError``, or raises ``NotApplicable`` with the reason
for which it cannot be asked of this pair.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Coroutine
from functools import partial
from types import MethodType
from typing import Any

from twisted.internet.base import DelayedCall

from l7mp.errors import Loss, Reason
from l7mp.interfaces import Kind
from tests.conformance.ends import Back, End, Front, Inner, Traits, heard
from tests.conformance.framed import FRAMING, FramedEnd
from tests.conformance.pair import WORDS, Pair, pair
from tests.streams.loopback import turn, until

MESSAGES = [b"first", bytes(range(256)), b"\x00\r\n\xff" * 500]
ANSWERS = [b"re: first", bytes(reversed(range(256))), b"." * 1999]
LARGE = 1 << 16
IDLE = 0.1
"""Seconds after which a silent session ends, here."""

FORGIVEN = 500
"""Objects more than before that say nothing: caches fill."""

MANY = 1000
"""How many sessions it takes to see that something of each is left."""

STRANGERS = 10
"""How many sessions there are at a time where there are many."""

Check = Callable[[Front, Back], Coroutine[Any, Any, None]]


class NotApplicable(Exception):  # it is no error
    """What cannot be asked, and why."""


def declared_lossy(it: Pair) -> bool:
    """Whether the proxy says that the pair loses boundaries, one way or the other."""
    listener, cluster = it.proxy.config.listeners["in"], it.proxy.config.clusters["out"]
    kinds = {WORDS.kind_of(listener.spec), WORDS.kind_of(cluster.spec)}
    return len(kinds) > 1


def is_framed(front: Front, back: Back) -> bool:
    """Whether one side speaks in messages and the other in bytes."""
    return front.traits.kind is not back.traits.kind


async def meet(it: Pair) -> tuple[End, End]:
    """A client and a server that have met."""
    client = it.dial()
    client.say(MESSAGES[0])
    server = await it.accept()
    await it.hears(server, MESSAGES[0])
    return client, server


async def conversations_are_intact(front: Front, back: Back) -> None:
    """What one says the other hears, in order and whole; lost boundaries are told."""
    async with pair(front, back) as it:
        client, server = await meet(it)
        for word in MESSAGES[1:]:
            client.say(word)
        await it.hears(server, b"".join(MESSAGES))
        for word in ANSWERS:
            server.say(word)
        await it.hears(client, b"".join(ANSWERS))
        (session,) = it.proxy.sessions.values()
        lossy = front.traits.kind is not back.traits.kind
        assert declared_lossy(it) == lossy
        assert bool(session.warnings) == lossy
        if front.traits.kind is back.traits.kind is Kind.DATAGRAMS:
            assert server.chunks == MESSAGES
            assert client.chunks == ANSWERS


def largest(*traits: Traits) -> int:
    """The largest message that all can take, up to 64 KiB."""
    return min(LARGE, *(one.limit or LARGE for one in traits))


async def large_messages_pass(front: Front, back: Back) -> None:
    """A message of 64 KiB, or the largest that there is, passes whole."""
    if is_framed(front, back) and largest(front.traits, back.traits) < LARGE:
        raise NotApplicable("pieces of a stream are no messages; see framed")
    size = largest(front.traits, back.traits)
    message = os.urandom(size)
    async with pair(front, back) as it:
        client = it.dial()
        client.say(message)
        server = await it.accept()
        await it.hears(server, message)
        server.say(message)
        await it.hears(client, message)
        if front.traits.kind is back.traits.kind is Kind.DATAGRAMS:
            assert client.chunks == server.chunks == [message]


async def framing_keeps_boundaries(front: Front, back: Back) -> None:
    """With a framing in its route, messages stay messages over a stream of bytes."""
    size = largest(front.traits, back.traits)
    words = [*MESSAGES, os.urandom(size)]
    if front.traits.has_empty and back.traits.has_empty:
        words.insert(1, b"")
    async with pair(front, back, framing=FRAMING) as it:
        client = _framed(it.dial(), front.traits)
        for word in words:
            client.say(word)
        server = _framed(await it.accept(), back.traits)
        await it.until(lambda: heard(server) and len(server.chunks) == len(words))
        for word in words:
            server.say(word)
        await it.until(lambda: heard(client) and len(client.chunks) == len(words))
        assert client.chunks == server.chunks == words
        (session,) = it.proxy.sessions.values()
        assert session.warnings == []


def _framed(end: End, traits: Traits) -> End:
    return FramedEnd(end) if traits.kind is Kind.BYTES else end


async def half_close_travels(front: Front, back: Back) -> None:
    """A client that has said its last word still hears the answer, and its end."""
    if not front.traits.has_end:
        raise NotApplicable(f"{front.name} has no end")
    async with pair(front, back) as it:
        client, server = await meet(it)
        client.finish()
        if back.traits.has_end:
            await it.until(lambda: server.ended)
        if not (front.traits.half_close and back.traits.half_close):
            await it.quiet()
            return
        server.say(ANSWERS[0])
        server.finish()
        await it.until(lambda: client.ended)
        assert heard(client) == ANSWERS[0]


async def ends_are_heard(front: Front, back: Back) -> None:
    """A server that goes in good order ends the session so, and the client hears."""
    if not back.traits.has_end:
        raise NotApplicable(f"{back.name} has no end")
    async with pair(front, back) as it:
        client, server = await meet(it)
        server.leave()
        if front.traits.has_end:
            await it.until(lambda: client.ended)
            client.leave()
        await it.until(it.ends)
        assert it.ends() == [Loss(Reason.FIN)] or it.ends()[0].reason is Reason.FIN, (
            it.ends()
        )


async def breaks_are_heard(front: Front, back: Back) -> None:
    """A server that breaks off does not look like one that is done."""
    if not back.traits.has_reset:
        raise NotApplicable(f"{back.name} knows no way to break off")
    async with pair(front, back) as it:
        client, server = await meet(it)
        server.drop()
        await it.until(it.ends)
        assert it.ends()[0].reason is Reason.RESET
        if front.traits.has_end:
            await it.until(lambda: client.ended or client.broken)
        if front.traits.has_reset:
            assert client.broken


async def silence_ends_sessions(front: Front, back: Back) -> None:
    """A session in which nothing moves ends after its idle time-out."""
    async with pair(front, back, idle=IDLE) as it:
        await meet(it)
        await it.until(it.ends)
        assert it.ends()[0].reason is Reason.IDLE
        await it.quiet()


async def clients_outlive_servers(front: Front, back: Back) -> None:
    """A server that dies and comes back serves the client that had stayed."""
    if {front.name, back.name} == {"HTTP"}:
        raise NotApplicable("what was sent of a request's body cannot be sent again")
    retry = {"retry_on": "always", "num_retries": 1000, "timeout": 2000}
    async with pair(front, back, retry=retry) as it:
        client, _server = await meet(it)
        assert it.upstream is not None
        it.upstream.stop()
        it.upstream.start()
        fresh = await _again(it, client)
        await it.until(lambda: heard(fresh).endswith(b"again"))
        fresh.say(b"welcome back")
        await it.until(lambda: heard(client).endswith(b"welcome back"))
        assert len(it.proxy.sessions) == 1


async def _again(it: Pair, client: End) -> End:
    """
    Say "again": when there is a new connection, or until somebody hears.

    What was on its way to a server as it died is lost, and nobody can tell.
    """
    assert isinstance(it.back, Back)
    if it.back.traits.has_end:
        fresh = await it.accept()
        client.say(b"again")
        return fresh
    client.say(b"again")
    for _ in range(200):
        for _ in range(50):
            it.poll()
            found = it.upstream.accept() if it.upstream is not None else None
            if found is not None:
                return found
            await turn()
        client.say(b"again")
    raise AssertionError("the server was never found again")


async def many_leave_nothing(front: Front, back: Back, count: int) -> None:
    """However many sessions there were, nothing of them is left."""
    if front.traits.one_at_a_time or back.traits.one_at_a_time:
        raise NotApplicable(front.traits.one_at_a_time or back.traits.one_at_a_time)
    async with pair(front, back) as it:
        await _grows_not(it, _crowd, count)


async def _crowd(it: Pair) -> None:
    clients = [it.dial() for _ in range(STRANGERS)]
    for client in clients:
        client.say(b"hello")
    servers = [await it.accept() for _ in clients]
    for server in servers:
        await it.hears(server, b"hello")
        server.say(b"hello yourself")
    for client in clients:
        await it.hears(client, b"hello yourself")
        client.leave()
    await it.quiet()


async def inner_answers(front: Front, inner: Inner) -> None:
    """What reaches nothing remote answers by itself, as it should."""
    async with pair(front, inner) as it:
        client = it.dial()
        client.say(inner.question)
        wanted = inner.answer(inner.question)
        if wanted is None:
            await it.until(lambda: _moved(it, len(inner.question)))
            assert heard(client) == b""
        else:
            await until(partial(_answered, inner, wanted, client))


def _moved(it: Pair, count: int) -> bool:
    streams = [session.stages[-1].stream for session in it.proxy.sessions.values()]
    return any(stream and stream.bytes_out >= count for stream in streams)


def _answered(inner: Inner, wanted: bytes, client: End) -> bool:
    return inner.matches(wanted, heard(client))


async def many_inside_leave_nothing(front: Front, inner: Inner, count: int) -> None:
    """However many sessions there were, nothing of them is left."""
    if front.traits.one_at_a_time or inner.one_at_a_time:
        raise NotApplicable(front.traits.one_at_a_time or inner.one_at_a_time)

    async def crowd(it: Pair) -> None:
        clients = [it.dial() for _ in range(STRANGERS)]
        for client in clients:
            client.say(inner.question)
        wanted = inner.answer(inner.question)
        for client in clients:
            if wanted is not None:
                await until(partial(_answered, inner, wanted, client))
            client.leave()
        await it.quiet()

    async with pair(front, inner) as it:
        await _grows_not(it, crowd, count)


async def _grows_not(
    it: Pair, crowd: Callable[[Pair], Coroutine[Any, Any, None]], count: int
) -> None:
    for _ in range(2):
        await crowd(it)  # whatever is made only once is made now
    counts = count >= MANY
    before, objects = _descriptors(), _objects() if counts else 0
    for _ in range(count // STRANGERS):
        await crowd(it)
    await until(lambda: _descriptors() <= before)  # who lingers does so for a second
    if counts:
        left = _objects() - objects
        assert left < FORGIVEN, f"{left} objects were left behind"


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _objects() -> int:
    """
    How many there are, but for calls that were called off.

    Twisted keeps those, and the two methods in each, until they would have been due.
    """
    gc.collect()
    return sum(type(one) not in (DelayedCall, MethodType) for one in gc.get_objects())
