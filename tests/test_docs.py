"""What docs/ says is true: its example runs, its links lead somewhere."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

import l7mp.protocols
from l7mp.core.registry import Context, Registry
from l7mp.errors import Loss, Reason
from l7mp.interfaces import IStream
from l7mp.model.config import EndPoint
from l7mp.streams.queueing import MAX_BYTES, MAX_MESSAGES
from l7mp.streams.stream import Stream

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.rglob("*.rst"))


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The Python block of adding-a-protocol, as a module."""
    text = (DOCS / "adding-a-protocol.rst").read_text()
    block = re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text)
    assert block is not None
    module = ModuleType("case_of_the_docs")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # pydantic looks there
    code = compile(textwrap.dedent(block[1]), "adding-a-protocol.rst", "exec")
    exec(code, module.__dict__)
    return module


class Collector(Stream):
    """Keeps what it is written."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.heard.append(data)

    def end(self) -> None:
        self.heard.append(b"<end>")


@pytest.mark.parametrize(
    ("told", "found"), [({}, b"HELLO"), ({"to": "lower"}, b"hello")]
)
def test_example_protocol_works(
    told: dict[str, str], found: bytes, example: ModuleType
) -> None:
    """The example, as printed, registers, reads its spec and changes what passes."""
    discovered = Registry.discover(l7mp.protocols).protocols.values()
    registry = Registry.of([*discovered, example.protocol])
    spec = registry.vocabulary().cluster({"protocol": "case", **told})
    context = Context(reactor=None, registry=registry)
    streams: list[IStream] = []
    context.connect(spec, EndPoint("it", "<VIRTUAL>"), {}).addCallback(streams.append)
    (stream,) = streams
    collector = Collector()
    stream.deliver_to(collector)
    stream.write(b"Hello")
    assert collector.heard == []
    stream.release("sink")
    stream.end()
    stream.abort(Loss(Reason.FIN))
    assert collector.heard == [found, b"<end>"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_files_exist(page: Path) -> None:
    """A page refers only to pages and files that exist."""
    text = page.read_text()
    for name in re.findall(r":doc:`([\w-]+)`", text):
        assert (page.parent / f"{name}.rst").exists(), name
    for path in re.findall(r"``((?:l7mp|conf|tests|scripts)/[\w/.-]+\w)``", text):
        known = (DOCS.parent / path).exists()
        assert known or path == "l7mp/protocols/x.py", path


def test_every_reason_is_explained() -> None:
    """The table of reasons has each one, with the status that goes with it."""
    text = (DOCS / "lifecycle.rst").read_text()
    rows = dict(re.findall(r"^``([\w-]+)`` +(\d{3}) ", text, re.MULTILINE))
    assert rows == {one.value: str(Loss(one).status) for one in Reason}


def test_bounds_are_as_documented() -> None:
    """The bounds of queues are those that flow-control names."""
    text = (DOCS / "flow-control.rst").read_text()
    assert f"**{MAX_MESSAGES} messages**" in text
    assert f"**{MAX_BYTES >> 20} MiB**" in text
