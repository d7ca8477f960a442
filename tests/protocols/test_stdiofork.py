"""STDIO-fork, end to end, with real programs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pydantic import ValidationError

from l7mp.core.events import Ended, Noted, StageRestored, Warned
from l7mp.core.registry import Registry
from l7mp.errors import Loss, Reason
from l7mp.protocols import stdiofork
from l7mp.protocols.stdiofork import facts_of
from tests.protocols.real import LOOPBACK, Conn, Real, real
from tests.streams.loopback import until

TCP = {"protocol": "TCP", "port": 1, "address": LOOPBACK}
ONCE = {"retry_on": "never"}


async def running(world: Real, command: Any, **more: Any) -> Conn:
    """A client whose session has a program."""
    route = more.pop("route", {"retry": ONCE})
    cluster = {"protocol": "STDIO-fork", "command": command, **more}
    address = await world.route(TCP, cluster, **route)
    return world.dial((LOOPBACK, address["port"]))


@pytest_twisted.ensureDeferred
async def test_a_program_answers_at_the_end_of_its_input() -> None:
    """The client's end is the program's, and the program's the client's."""
    async with real() as world:
        client = await running(world, "tr a-z A-Z")
        client.send(b"hello")
        client.finish()
        assert await client.reads_all() == b"HELLO"
        assert await world.loss() == Loss(Reason.FIN)


@pytest_twisted.ensureDeferred
async def test_the_status_is_the_reason_of_the_end() -> None:
    """A client still hears what a program says that fails, and operators why it did."""
    async with real() as world:
        client = await running(world, ["sh", "-c", "echo sorry; echo why >&2; exit 3"])
        assert await client.reads_all() == b"sorry\n"
        assert await world.loss() == Loss(Reason.EXIT, "sh exited with status 3", 3)
        notes = [event.note for event in world.events if isinstance(event, Noted)]
        assert [note.message for note in notes] == ["sh: why"]


@pytest_twisted.ensureDeferred
async def test_it_is_told_of_its_session() -> None:
    """In its environment; nothing there is in the words of a peer."""
    async with real() as world:
        script = "echo $L7MP_SESSION; echo $L7MP_SRC_ADDR $L7MP_TCP_SRC_PORT $MINE"
        client = await running(world, ["sh", "-c", script], env={"MINE": "mine"})
        session = await world.one_session()
        own = client.sock.getsockname()
        said = (await client.reads_all()).decode().splitlines()
        assert said == [session.name, f"{own[0]} {own[1]} mine"]
    metadata = {"name": "s\0", "IP": {"src_addr": "::1"}, "HTTP": {"url": "evil"}}
    assert facts_of(metadata) == {"L7MP_SESSION": "s", "L7MP_SRC_ADDR": "::1"}


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"command": "nosuchprogram"}, "nosuchprogram: there is no such program"),
        ({"command": "true", "cwd": "/missing"}, "/missing: No such file"),
        ({"command": "true", "user": "nosuchuser"}, "no user"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_run_refuses_the_session(
    spec: dict[str, Any], what: str
) -> None:
    """The reason says what is missing."""
    async with real() as world:
        await (await running(world, **spec)).reads_all()
        loss = await world.loss()
        assert loss.reason is Reason.LOCAL
        assert what in loss.detail


@pytest_twisted.ensureDeferred
async def test_a_failed_program_is_run_again(tmp_path: Path) -> None:
    """If the route retries after disconnects, a client does not notice."""
    script = f"test -e {tmp_path}/again && exec cat; touch {tmp_path}/again; exit 1"
    async with real() as world:
        retry = {"retry_on": "disconnect", "num_retries": 3, "timeout": 1000}
        client = await running(world, ["sh", "-c", script], route={"retry": retry})
        await until(lambda: any(isinstance(e, StageRestored) for e in world.events))
        client.send(b"hello")
        assert await client.reads(5) == b"hello"


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_takes_its_program_along() -> None:
    """Whatever that does about the signal."""
    async with real() as world:
        script = "trap '' TERM; echo $$; while :; do sleep 99; done"
        client = await running(world, ["sh", "-c", script], kill_after=0.05)
        pid = int(await client.reads(2))
        client.drop()
        await until(lambda: not alive(pid))
        assert (await world.loss()).reason is Reason.RESET


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest_twisted.ensureDeferred
async def test_no_program_outlives_the_proxy() -> None:
    """When the proxy has stopped, so have they, at whatever they were."""
    async with real() as world:
        script = "trap '' TERM; echo $$; while :; do sleep 99; done"
        client = await running(world, ["sh", "-c", script])
        pid = int(await client.reads(2))
        world.session.stages[1].stream.abort(Loss(Reason.DELETED))
        assert alive(pid)
    assert not alive(pid)


@pytest_twisted.ensureDeferred
async def test_a_shell_at_a_terminal() -> None:
    """With pty, a client has a shell that speaks as it would to a person."""
    async with real() as world:
        client = await running(world, "sh -i", pty=True, env={"PS1": "ready> "})
        await client.reads(7)
        client.send(b"tty; exit 4\n")
        assert b"/dev/pts/" in await client.reads_all()
        assert await world.loss() == Loss(Reason.EXIT, "sh exited with status 4", 4)


@pytest_twisted.ensureDeferred
async def test_sessions_leave_no_descriptors() -> None:
    """After 200 sessions there are as many as before, and no zombies."""
    async with real() as world:
        cluster = {"protocol": "STDIO-fork", "command": "cat"}
        address = await world.route(TCP, cluster)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            clients = [world.dial((LOOPBACK, address["port"])) for _ in range(20)]
            for client in clients:
                client.send(b"hello")
                client.finish()
            for client in clients:
                assert await client.reads_all() == b"hello"
                client.sock.close()
        await until(lambda: not world.proxy.sessions)
        assert len(os.listdir("/proc/self/fd")) == before
        ends = [event.loss for event in world.events if isinstance(event, Ended)]
        assert {loss.reason for loss in ends} == {Reason.FIN}
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN


def words() -> Any:
    return Registry.of([stdiofork.protocol]).vocabulary()


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"command": []}, "must be a program"),
        ({"command": "a 'b"}, "cannot be split into words: No closing quotation"),
        ({"command": ["a\0"]}, "must not have a NUL"),
        ({"command": "a", "pty": True, "stderr": "log"}, "at a terminal"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: dict[str, Any], what: str) -> None:
    """Before anything is run."""
    with pytest.raises(ValidationError, match=what):
        words().cluster({"protocol": "STDIOFork", **spec})


def test_a_text_is_split_as_a_shell_would() -> None:
    """Quotes keep words together, and nothing is expanded."""
    spec = words().cluster({"protocol": "stdio-fork", "command": "a 'b c' $HOME"})
    assert spec.command == ("a", "b c", "$HOME")
    assert spec.program().errors == "log"


@pytest_twisted.ensureDeferred
async def test_a_shared_program_hears_all() -> None:
    """What one client says all of them hear, and operators what it complains about."""
    script = ["sh", "-c", "echo started >&2; exec cat"]
    async with real() as world:
        one = await running(world, script, shared=True)
        two = world.dial(one.sock.getpeername())
        await until(lambda: len(world.proxy.sessions) == 2)
        sessions = list(world.proxy.sessions.values())
        await until(lambda: all(s.status == "CONNECTED" for s in sessions))
        one.send(b"hello")
        assert await one.reads(5) == await two.reads(5) == b"hello"
        warnings = [event for event in world.events if isinstance(event, Warned)]
        assert [(event.subject, event.message) for event in warnings] == [
            ("cluster out", "sh: started")
        ]
        one.finish()
        two.finish()
        assert await one.reads_all() == b"hello"
        assert await two.reads_all() == b"hello"
