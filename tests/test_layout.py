"""The shape of the tree: what lies where, how long it is, and who tests it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "l7mp"
TESTS = ROOT / "tests"

MAX_FILE = 450  # lines
MAX_FUNCTION = 60  # lines, its docstring included

# Modules without a test file of the same name, each with the reason.
NOT_MIRRORED = {
    "interfaces.py": "contracts only: tests/conformance holds every stream to them",
    "__main__.py": "one line: tests/cli starts it as a user does",
}

# Directories of tests that mirror no room of the package, each with the reason.
OF_THE_WHOLE = {
    "conf": "the examples, as a user runs them",
    "conformance": "one suite over every protocol of the registry",
    "fuzz": "whatever reads bytes of strangers, under any bytes",
    "real": "real programs as peers",
}

# Test files of the tree itself.
OF_THE_TREE = {
    "test_layout.py",
    "test_wheel.py",
    "test_docs.py",
    "test_readme.py",
}

EMPTY_CONTAINERS = {
    "dict",
    "list",
    "set",
    "defaultdict",
    "deque",
    "count",
    "WeakKeyDictionary",
    "WeakSet",
    "WeakValueDictionary",
}

READ_ONLY = {"Collection", "Mapping", "Sequence"}


def modules(of: Path) -> list[Path]:
    return sorted(path for path in of.rglob("*.py") if path.name != "__init__.py")


def mirror(module: Path) -> Path:
    """Where the tests of ``module`` belong."""
    inside = module.relative_to(PACKAGE)
    return TESTS / inside.parent / f"test_{inside.name}"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_module_has_its_tests() -> None:
    """The tests of l7mp/a/b.py are in tests/a/test_b.py."""
    missing = [
        f"{name_of(module)}: no {name_of(mirror(module))}"
        for module in modules(PACKAGE)
        if str(module.relative_to(PACKAGE)) not in NOT_MIRRORED
        and not mirror(module).exists()
    ]
    assert not missing, "\n".join(missing)


def test_every_test_file_has_its_module() -> None:
    """A test file is named after the module that it tests, or is of the whole tree."""
    expected = {mirror(module) for module in modules(PACKAGE)}
    orphans = [
        name_of(path)
        for path in TESTS.rglob("test_*.py")
        if path not in expected
        and path.relative_to(TESTS).parts[0] not in OF_THE_WHOLE.keys() | OF_THE_TREE
    ]
    assert not orphans, orphans


def test_exceptions_are_still_needed() -> None:
    """An exception from the mirror names a module that exists."""
    assert all((PACKAGE / name).exists() for name in NOT_MIRRORED)


@pytest.mark.parametrize("of", [PACKAGE, TESTS], ids=["l7mp", "tests"])
def test_files_are_short(of: Path) -> None:
    """A file is one concept, so it is short."""
    lengths = {path: len(path.read_text().splitlines()) for path in modules(of)}
    long = [f"{name_of(path)}: {n}" for path, n in lengths.items() if n > MAX_FILE]
    assert not long, long


def test_functions_are_short() -> None:
    """A function can be seen whole."""
    long = [
        f"{name_of(path)}:{node.lineno} {node.name}: {length}"
        for path in modules(PACKAGE)
        for node in functions(path)
        if (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION
    ]
    assert not long, long


def test_every_test_says_what_it_proves() -> None:
    """The docstring of a test is the sentence that it proves."""
    silent = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in modules(TESTS)
        for node in functions(path)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent, "\n".join(silent)


def is_state(node: ast.stmt) -> bool:
    """Is an empty container made here, to be filled? A full one is a table."""
    match node:
        case ast.AnnAssign(annotation=ast.Subscript(value=ast.Name(id=name))) if (
            name in READ_ONLY
        ):
            return False
        case ast.Assign(value=value) | ast.AnnAssign(value=value):
            pass
        case _:
            return False
    match value:
        case ast.Dict(keys=[]) | ast.List(elts=[]):
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[]):
            return name in EMPTY_CONTAINERS
    return False


def test_no_module_holds_state() -> None:
    """What changes while we run is owned by an object that somebody made."""
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in modules(PACKAGE)
        for node in ast.parse(path.read_text()).body
        if is_state(node)
    ]
    found += [
        f"{name_of(path)}:{node.lineno} global"
        for path in modules(PACKAGE)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Global)
    ]
    assert not found, found


def test_plugins_are_a_namespace() -> None:
    """Twisted finds the plugin only where no __init__.py hides its own directory."""
    assert not list((ROOT / "twisted").rglob("__init__.py"))
