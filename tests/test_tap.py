"""The composition root: options, files, and a proxy made of them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.python import usage

import l7mp.protocols
from l7mp import tap
from l7mp.core.registry import Registry
from l7mp.errors import LocalError, NotStarted
from l7mp.model.problem import Invalid

REGISTRY = Registry.discover(l7mp.protocols)

GOOD = """\
admin: { log_level: warn, strict: false }
listeners:
  - name: in
    spec: { protocol: TCP, port: 9 }
    rules: [ { action: { route: { destination: { spec: { protocol: Echo } } } } } ]
"""


def options(*arguments: str) -> tap.Options:
    found = tap.Options()
    found.parseOptions(list(arguments))
    return found


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "arguments", [[], ["-c", "x", "-l", "loud"], ["-c", "x", "--unknown"], ["-c"]]
)
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    """No configuration, an unknown level or option: a clear message."""
    with pytest.raises(usage.UsageError):
        options(*arguments)


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    """-l and -s have the last say."""
    path = write(tmp_path, "a.yaml", GOOD)
    config = tap.configuration(options("-c", path, "-l", "silly", "-s"), REGISTRY)
    assert (config.admin.log_level, config.admin.strict) == ("silly", True)
    config = tap.configuration(options("-c", path), REGISTRY)
    assert (config.admin.log_level, config.admin.strict) == ("warn", False)


def test_the_extension_says_what_it_is(tmp_path: Path) -> None:
    """.yaml and .yml are YAML, everything else is JSON."""
    for name in ("a.yaml", "a.yml", "A.YAML"):
        assert tap.configuration(options("-c", write(tmp_path, name, GOOD)), REGISTRY)
    with pytest.raises(Invalid):
        tap.configuration(options("-c", write(tmp_path, "a.conf", GOOD)), REGISTRY)
    json = write(tmp_path, "a.json", '{"clusters": []}')
    assert not tap.configuration(options("-c", json), REGISTRY).clusters


@pytest.mark.parametrize("text", [GOOD, '{"listeners": []}', ""])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """-c - reads YAML or JSON from standard input; nothing at all is no mistake."""

    class Piped:
        buffer = io.BytesIO(text.encode())

    monkeypatch.setattr(sys, "stdin", Piped())
    config = tap.configuration(options("-c", "-"), REGISTRY)
    assert list(config.listeners) == (["in"] if text is GOOD else [])


def test_unreadable_files_are_named() -> None:
    """A file that is not there is named."""
    with pytest.raises(LocalError, match=r"/nowhere.yaml: cannot read it: No such"):
        tap.configuration(options("-c", "/nowhere.yaml"), REGISTRY)


def test_all_problems_at_once_with_their_places(tmp_path: Path) -> None:
    """Unknown keys, wrong types, with file, line, column, path and remedy."""
    bad = GOOD.replace("port: 9", 'prt: 9, port: "x"').replace("Echo", "Eco")
    path = write(tmp_path, "bad.yaml", bad)
    with pytest.raises(Invalid) as caught:
        tap.configuration(options("-c", path), REGISTRY)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}:") for line in lines)
    assert any('did you mean "port"' in line for line in lines)
    assert any('did you mean "Echo"' in line for line in lines)


def test_dangling_and_duplicate_names_are_placed(tmp_path: Path) -> None:
    """Names that lead nowhere or exist twice are refused where they stand."""
    bad = (
        "routes:\n"
        "  - { name: r, destination: nowhere }\n"
        "clusters:\n"
        "  - { name: c, spec: { protocol: Echo } }\n"
        "  - { name: c, spec: { protocol: Echo } }\n"
    )
    path = write(tmp_path, "bad.yaml", bad)
    with pytest.raises(Invalid) as caught:
        tap.configuration(options("-c", path), REGISTRY)
    text = str(caught.value)
    assert f"{path}:2:" in text
    assert f"{path}:5:" in text


def test_a_service_for_twistd(tmp_path: Path) -> None:
    """makeService makes a service, or an error that twistd shows."""
    service = tap.makeService(options("-c", write(tmp_path, "a.yaml", GOOD)))
    assert service.name == "l7mp"
    with pytest.raises(usage.UsageError, match="nowhere"):
        tap.makeService(options("-c", "/nowhere.yaml"))


def test_a_log_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """It is named, and nothing is started."""
    text = "admin: { log_file: /nowhere/at/all.log }\n"
    config = tap.configuration(options("-c", write(tmp_path, "a.yaml", text)), REGISTRY)
    with pytest.raises(LocalError, match=r"all\.log"):
        tap.compose(config, REGISTRY, Clock())


def test_what_cannot_be_started_is_placed_where_it_is_declared() -> None:
    """The pointer is that of the entry with the name, or nothing if there is none."""
    error = NotStarted("listener", "b", LocalError("no"))
    document = {"listeners": [{"name": "a"}, {"name": "b"}]}
    assert tap.place_of(error, document) == "/listeners/1"
    assert tap.place_of(error, {"listeners": [{"name": "a"}]}) == ""
    assert tap.place_of(error, {"listeners": None}) == ""
    assert tap.place_of(error, {"clusters": [{"name": "b"}]}) == ""
    assert tap.place_of(error, None) == ""
    cluster = NotStarted("cluster", "b", LocalError("no"))
    nameless: dict[str, str] = {}
    document = {"clusters": [nameless, {"name": "b"}]}
    assert tap.place_of(cluster, document) == "/clusters/1"
