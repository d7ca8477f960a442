"""Errors as clients see them: the original's form, or that of RFC 9457."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from twisted.logger import Logger

from l7mp.errors import LocalError
from l7mp.model.problem import Invalid, Problem

PROBLEM = "application/problem+json"

log = Logger()


class Refusal(LocalError):
    """A request that is refused with a status of its own."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def status_of(error: Exception) -> int:
    """The HTTP status for an error."""
    if isinstance(error, Invalid):
        return error.status
    return error.status if isinstance(error, LocalError) else 500


def content_of(error: Exception) -> Any:
    """What is said about it: a sentence, or every problem of a document."""
    if isinstance(error, Invalid):
        return [problem_view(problem) for problem in error.problems]
    if isinstance(error, LocalError):
        return str(error)
    log.failure("a REST operation failed")
    return "this is a fault of the proxy: its log has the details"


def problem_view(problem: Problem) -> dict[str, Any]:
    """A problem as JSON."""
    shown: dict[str, Any] = {"path": problem.path, "message": problem.message}
    if problem.hint:
        shown["hint"] = problem.hint
    if problem.line:
        shown |= {"line": problem.line, "column": problem.column}
    return shown


def original_form(status: int, content: Any) -> dict[str, Any]:
    """The form of the original."""
    phrase = HTTPStatus(status).phrase
    return {"status": status, "message": phrase, "content": content}


def problem_form(status: int, content: Any) -> dict[str, Any]:
    """The form of RFC 9457, section 3."""
    phrase = HTTPStatus(status).phrase
    about = {"type": "about:blank", "title": phrase, "status": status}
    if isinstance(content, list):
        detail = "; ".join(f"{one['path']}: {one['message']}" for one in content)
        return {**about, "detail": detail, "problems": content}
    return {**about, "detail": str(content)}
