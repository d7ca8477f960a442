"""What a user gets who installs the wheel into an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What ``command`` prints; it sees nothing of the environment that tests run in."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "COV", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def pip(*arguments: str | Path) -> str:
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the tree, as ``make wheel`` builds it."""
    made = tmp_path_factory.mktemp("wheel")
    run("env", f"L7MP_PYTHON={sys.executable}", ROOT / "scripts" / "wheel", made)
    [path] = made.glob("*.whl")
    return path


def install(wheel: Path, python: Path) -> None:
    """
    Install ``wheel`` and what it needs, from wheels kept beside the interpreter.

    The first run fetches those; later ones need no network.
    """
    kept = Path(sys.prefix) / "wheelhouse"
    kept.mkdir(exist_ok=True)
    offline = ("--python", python, "install", "--quiet", "--no-index")
    try:
        pip(*offline, "--find-links", kept, wheel)
    except AssertionError:
        pip("wheel", "--quiet", "--wheel-dir", kept, wheel)
        for own in kept.glob("l7mp-*.whl"):
            own.unlink()
        pip(*offline, "--find-links", kept, wheel)


OF_EXTRAS = {
    "l7mp.streams.dtls": "OpenSSL",
    "l7mp.streams.tls": "OpenSSL",
    "l7mp.streams.tls_context": "OpenSSL",
    "l7mp.streams.tls_endpoint": "OpenSSL",
    "l7mp.streams.tls_peer": "OpenSSL",
    "l7mp.streams.tls_words": "OpenSSL",
}
"""What imports nothing else does before it is asked for, and what that needs."""


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin/ of an environment that holds the wheel and what it needs, no more."""
    place = tmp_path_factory.mktemp("clean")
    venv.create(place, symlinks=True, with_pip=False)
    install(wheel, place / "bin" / "python")
    return place / "bin"


def test_wheel_holds_the_package_and_the_plugin_only(wheel: Path) -> None:
    """A wheel holds l7mp with its types, and one file for Twisted to find."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"l7mp/py.typed", "l7mp/__main__.py", "l7mp/tap.py"} <= names
    ours = {name for name in names if ".dist-info/" not in name}
    assert {name for name in ours if not name.startswith("l7mp/")} == {
        "twisted/plugins/l7mp_plugin.py"
    }


def test_requirements_are_complete(installed: Path) -> None:
    """Every requirement of the wheel is met, and none contradicts another."""
    python = installed / "python"
    assert "No broken requirements found" in pip("--python", python, "check")


def test_every_module_imports(installed: Path, tmp_path: Path) -> None:
    """No module needs more than the wheel's requirements, but those of an extra."""
    script = tmp_path / "walk.py"
    script.write_text(
        "import importlib, pkgutil, l7mp\n"
        "for found in pkgutil.walk_packages(l7mp.__path__, 'l7mp.'):\n"
        "    if found.name.endswith('.__main__'):\n"
        "        continue\n"
        "    try:\n"
        "        importlib.import_module(found.name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        print(found.name, error.name)\n"
    )
    said = run(installed / "python", "-W", "error::DeprecationWarning:l7mp", script)
    found = [line.split() for line in said.splitlines()]
    assert dict(found) == OF_EXTRAS


@pytest.mark.parametrize(
    "command", ["l7mp", "python -m l7mp", "twistd l7mp", "twist l7mp"]
)
def test_every_way_in_is_there(installed: Path, tmp_path: Path, command: str) -> None:
    """From any directory l7mp, python -m l7mp, twistd and twist know the options."""
    program, *words = command.split()
    said = run(installed / program, *words, "--help", cwd=tmp_path)
    assert "--config" in said
    assert "--strict" in said


def test_twistd_lists_the_proxy(installed: Path, tmp_path: Path) -> None:
    """Twisted finds the plugin and can say what it is for."""
    said = run(installed / "twistd", "--help", cwd=tmp_path)
    assert "multiprotocol proxy" in said
