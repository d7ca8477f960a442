"""The table of operations as a whole."""

from __future__ import annotations

from collections import Counter

from l7mp.admin.operations import OPERATIONS

ORIGINAL = [
    "getConf",
    "setConf",
    "getAdmin",
    "applyAdmin",
    "getListeners",
    "addListener",
    "getListener",
    "deleteListener",
    "getClusters",
    "addCluster",
    "getCluster",
    "deleteCluster",
    "getEndPoints",
    "addEndPoint",
    "getEndPoint",
    "deleteEndPoint",
    "getRuleLists",
    "addRuleList",
    "getRuleList",
    "deleteRuleList",
    "getRuleFromRuleList",
    "addRuleToRuleList",
    "deleteRuleFromRuleList",
    "getRules",
    "addRule",
    "getRule",
    "deleteRule",
    "getRoutes",
    "addRoute",
    "getRoute",
    "deleteRoute",
    "getSessions",
    "getSession",
    "deleteSession",
]
"""The operations of the original, by operationId."""

OURS = ["getMatrix"]


def test_every_operation_of_the_original_is_there() -> None:
    """The table has the original's operations, and ours."""
    assert sorted(o.name for o in OPERATIONS) == sorted([*ORIGINAL, *OURS])


def test_no_operation_hides_another() -> None:
    """Of every path and method there is one operation."""
    found = Counter((operation.method, operation.path) for operation in OPERATIONS)
    assert found.most_common(1)[0][1] == 1


def test_who_takes_a_body() -> None:
    """A POST takes a body, and nothing else does."""
    for operation in OPERATIONS:
        assert (operation.body is not None) == (operation.method == "POST")


def test_who_takes_parameters() -> None:
    """Every GET can be recursive and laid out, every DELETE recursive."""
    for operation in OPERATIONS:
        expected = {
            "GET": ("recursive", "format"),
            "POST": (),
            "DELETE": ("recursive",),
        }
        assert operation.queries == expected[operation.method]


def test_places_are_explained() -> None:
    """What a position may be is said where a path has one."""
    for operation in OPERATIONS:
        assert bool(operation.position) == ("<position>" in operation.path)
