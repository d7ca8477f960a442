"""Errors in their two forms."""

from __future__ import annotations

import pytest

from l7mp.admin.errors import (
    FAULT,
    Refusal,
    Violation,
    original_form,
    prefers_problem,
    problem_form,
    status_of,
)
from l7mp.errors import LocalError
from l7mp.model.problem import Invalid, Problem

PLACED = Problem("/a", "is odd", "make it even", "file", 3, 4)
BARE = Problem("", "is empty")


def test_a_sentence_in_the_original_s_form() -> None:
    """The status, its phrase, and what went wrong."""
    assert original_form(LocalError('Unknown cluster "x"')).dump() == {
        "status": 400,
        "message": "Bad Request",
        "content": 'Unknown cluster "x"',
    }


def test_problems_in_the_original_s_form() -> None:
    """Everything that is wrong with a body, each where it is known to be."""
    shown = original_form(Violation([PLACED, BARE])).dump()
    assert shown["status"] == 422
    assert shown["content"] == [
        {
            "path": "/a",
            "message": "is odd",
            "hint": "make it even",
            "line": 3,
            "column": 4,
        },
        {"path": "", "message": "is empty"},
    ]


def test_a_sentence_in_the_form_of_rfc_9457() -> None:
    """Type, title, status and detail; the status is what the type is about."""
    assert problem_form(Refusal(415, "no type")).dump() == {
        "type": "about:blank",
        "title": "Unsupported Media Type",
        "status": 415,
        "detail": "no type",
    }


def test_problems_in_the_form_of_rfc_9457() -> None:
    """Everything that is wrong is an extension, and the detail tells it in words."""
    shown = problem_form(Invalid([PLACED, BARE])).dump()
    assert shown["status"] == 400
    assert [one["path"] for one in shown["problems"]] == ["/a", ""]
    assert "is odd" in shown["detail"]
    assert "is empty" in shown["detail"]


def test_a_fault_is_not_told() -> None:
    """Of what nobody foresaw clients hear that it is not their fault, and no more."""
    error = ZeroDivisionError("a secret")
    assert status_of(error) == 500
    assert original_form(error).content == FAULT
    assert problem_form(error).detail == FAULT


@pytest.mark.parametrize(
    ("accept", "prefers"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("application/*", False),
        ("application/json", False),
        ("application/problem+json", True),
        ("Application/Problem+JSON", True),
        ("application/problem+json; charset=utf-8", True),
        ("application/json, application/problem+json", True),
        ("application/problem+json, */*;q=0.1", True),
        ("application/problem+json;q=0.5, application/json", False),
        ("application/problem+json;q=0.5, application/json;q=0.4", True),
        ("application/problem+json;q=0, */*", False),
        ("nonsense;;q", False),
    ],
)
def test_who_prefers_the_form_of_rfc_9457(accept: str | None, prefers: bool) -> None:
    """Who names it, and likes it no less than plain JSON (RFC 9110, section 12.5.1)."""
    assert prefers_problem(accept) is prefers
