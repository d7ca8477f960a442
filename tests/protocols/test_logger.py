"""Logger: an echo that writes down what passes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_twisted

from l7mp.errors import LocalError, Reason
from l7mp.protocols import logger
from tests.protocols.one import One
from tests.protocols.real import LOOPBACK, real


def test_it_echoes_and_writes_down(tmp_path: Path) -> None:
    """What passes goes on unchanged, and into the file at once, behind the prefix."""
    path = tmp_path / "log"
    one = One(logger)
    stream, sink = one.connect(log_file=str(path), log_prefix="in")
    stream.write(b"one\n")
    stream.write(b"two\n")
    stream.end()
    assert sink.written == [b"one\n", b"two\n"]
    assert sink.ended
    assert path.read_bytes() == b"in: one\nin: two\n"
    one.context.resources.close()


def test_sessions_share_the_file(tmp_path: Path) -> None:
    """The file is truncated when the cluster first uses it, not for each session."""
    path = tmp_path / "log"
    path.write_text("old")
    one = One(logger)
    for text in (b"1", b"2"):
        stream, _ = one.connect(log_file=str(path))
        stream.write(text)
    assert path.read_bytes() == b"12"
    one.context.resources.close()


def test_hex_shows_offset_bytes_and_text(tmp_path: Path) -> None:
    """With log_format hex, what passes is dumped."""
    path = tmp_path / "log"
    one = One(logger)
    stream, _ = one.connect(log_file=str(path), log_format="hex")
    stream.write(b"\x00AB")
    assert path.read_text().split() == ["00000000", "00", "41", "42", "|.AB|"]
    one.context.resources.close()


def test_a_dash_is_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Without a file, what passes is shown on standard output, which stays open."""
    for text in (b"shown\n", b"again\n"):
        one = One(logger)
        stream, _ = one.connect()
        stream.write(text)
        one.context.resources.close()
    assert capfdbinary.readouterr().out == b"shown\nagain\n"


def test_a_full_disk_does_not_end_the_traffic() -> None:
    """What cannot be written down passes all the same, and is counted."""
    one = One(logger)
    for _ in range(2):
        stream, sink = one.connect(log_file="/dev/full")
        stream.write(b"1")
        stream.write(b"2")
        assert sink.written == [b"1", b"2"]
        assert stream.drops == {"unlogged": 2}
    one.context.resources.close()
    stream.write(b"3")
    assert sink.written == [b"1", b"2", b"3"]
    assert stream.drops == {"unlogged": 3}


def test_a_pipe_that_nobody_empties_does_not_hold_the_traffic(tmp_path: Path) -> None:
    """Nor does one without a reader keep us waiting: it cannot be opened."""
    path = tmp_path / "p"
    os.mkfifo(path)
    one = One(logger)
    with pytest.raises(LocalError, match=r"p: No such device or address"):
        one.connect(log_file=str(path))
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    stream, sink = one.connect(log_file=str(path))
    for _ in range(100):
        stream.write(bytes(4096))
    assert len(sink.written) == 100
    assert stream.drops["unlogged"] > 50
    assert os.read(reader, 4096) == bytes(4096)
    stream.write(b"there is room again")
    os.close(reader)
    stream.write(b"nobody")
    one.context.resources.close()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """A file that cannot be opened is named with the reason."""
    path = tmp_path / "missing" / "log"
    with pytest.raises(LocalError, match=f"log_file {path}: .*No such file"):
        One(logger).connect(log_file=str(path))


@pytest_twisted.ensureDeferred
async def test_a_missing_directory_refuses_the_session(tmp_path: Path) -> None:
    """A session whose log cannot be opened ends, and says why."""
    async with real() as world:
        listener = {"protocol": "TCP", "port": 1, "address": LOOPBACK}
        path = tmp_path / "missing" / "log"
        bound = await world.route(
            listener,
            {"protocol": "Logger", "log_file": str(path)},
            retry={"retry_on": "never"},
        )
        client = world.dial((LOOPBACK, bound["port"]))
        await client.reads_all()
        loss = await world.loss()
        assert loss.reason is Reason.LOCAL
        assert str(path) in loss.detail
