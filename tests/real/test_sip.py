"""A telephone call by sipp, with speech, through a chain of JSONSockets."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from tests.real.whole import HOST, Whole, Words, program, until, whole
from tests.streams.loopback import unused_port

pytestmark = pytest.mark.skipif(
    shutil.which("sipp") is None, reason="there is no sipp (Debian's sip-tester)"
)

HERE = Path(__file__).parent
UDP: Words = {"protocol": "UDP", "port": 1, "address": HOST}
RTP_PACKET = 12 + 160
"""Octets of 20 ms of speech by G.711, with its header (RFC 3550, section 5.1)."""


@asynccontextmanager
async def chain(to: int, what: str) -> AsyncIterator[tuple[int, Whole, Whole]]:
    """
    UDP, JSONSocket, UDP by two proxies; where it begins, and both.

    The first puts into the header what it carries, and the second has a rule for that.
    """
    async with whole() as near, whole() as far:
        there = await far.serve(
            {"protocol": "JSONSocket", "transport": UDP},
            {"protocol": "UDP", "port": to, "address": HOST},
            match={"op": "test", "path": "/JSONSocket/carries", "value": what},
        )
        here = await near.serve(
            UDP,
            {
                "protocol": "JSONSocket",
                "transport": {"protocol": "UDP", "port": there},
                "header": [{"set": {"key": "/carries", "value": what}}],
                "address": HOST,
            },
        )
        yield here, near, far


def sipp(scenario: Path, *arguments: str) -> Any:
    """One call, as the scenario says."""
    usual = ("-i", HOST, "-mi", HOST, "-m", "1", "-nostdin", "-timeout", "20")
    command = ["sipp", "-sf", str(scenario), *usual, "-timeout_error", *arguments]
    return program(command, TERM="dumb")


def ends(near: Whole, far: Whole) -> tuple[Any, Any]:
    """The streams to the two peers: the source of one session, the other's destination."""
    [session], [other] = near.proxy.sessions.values(), far.proxy.sessions.values()
    return session.stages[0].stream, other.stages[1].stream


def agree(one: Any, other: Any) -> bool:
    """Whether all that came from either peer has been given to the other."""
    there = one.messages_in == other.messages_out
    return bool(there and one.messages_out == other.messages_in)


@pytest_twisted.ensureDeferred
async def test_a_call(tmp_path: Path) -> None:
    """A call comes about and ends through the chain, and speech crosses it both ways."""
    callee, media = unused_port(), unused_port()
    speech = tmp_path / "speech.ulaw"
    speech.write_bytes(bytes(range(256)) * 400)
    scenario = tmp_path / "caller.xml"
    said = (HERE / "sip_caller.xml").read_text()
    scenario.write_text(said.replace("speech.ulaw", str(speech)))
    async with (
        chain(media, "rtp") as (speak_to, near_rtp, far_rtp),
        chain(callee, "sip") as (dial, near_sip, far_sip),
    ):
        answering = sipp(
            HERE / "sip_callee.xml",
            *("-p", str(callee), "-mp", str(media), "-rtp_echo"),
            *("-key", "speak_to", str(speak_to)),
        )
        calling = sipp(scenario, "-p", str(unused_port()), f"{HOST}:{dial}")
        with answering as called, calling as caller:
            assert await caller.exits() == 0, caller.output + caller.errors
            assert await called.exits() == 0, called.output + called.errors
        for ins, outs, least in (
            (*ends(near_sip, far_sip), 3),  # INVITE, ACK, BYE; 180, 200, 200
            (*ends(near_rtp, far_rtp), 30),
        ):
            await until(partial(agree, ins, outs))
            assert ins.messages_in >= least
            assert outs.messages_in >= least  # of speech, what sipp echoes
            assert ins.drops == outs.drops == {}
        speaking, listening = ends(near_rtp, far_rtp)
        for stream in (speaking, listening):
            assert stream.bytes_out == stream.messages_out * RTP_PACKET
