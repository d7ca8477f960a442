"""Errors as clients see them: in the original's form, or in that of RFC 9457."""

from __future__ import annotations

from http import HTTPStatus

from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.http import parse_accept_header

from l7mp.errors import LocalError
from l7mp.model.problem import Invalid, Problem
from l7mp.model.view import Absent, View

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"

FAULT = "this is a fault of the proxy: its log has the details"


log = Logger()


class Refusal(LocalError):
    """A request that is refused with a status of its own."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Violation(Invalid):
    """A body that can be read and breaks its schema."""

    status = 422


class ProblemView(View):
    """One thing that is wrong with a body."""

    path: str
    """JSON Pointer (RFC 6901) to it; empty for the whole body."""
    message: str
    hint: str | Absent = None
    """What would help."""
    line: int | Absent = None
    """Counted from 1."""
    column: int | Absent = None
    """In characters, counted from 1."""


class StatusView(View):
    """How a request went."""

    status: int
    """The HTTP status."""
    message: str
    """Its reason phrase, or OK."""
    content: str | tuple[ProblemView, ...] | Absent = None
    """What went wrong: a sentence, or everything that is wrong with the body."""


class ProblemDetailsView(View):
    """How a request went wrong (RFC 9457, section 3)."""

    type: str
    title: str
    status: int
    detail: str
    problems: tuple[ProblemView, ...] | Absent = None
    """Everything that is wrong with the body."""


def status_of(error: BaseException) -> int:
    """The HTTP status for an error; 500 for what nobody foresaw."""
    return error.status if isinstance(error, LocalError) else 500


def original_form(error: BaseException) -> StatusView:
    """The form of the original."""
    status = status_of(error)
    content = _problems(error) or _sentence(error)
    return StatusView(status=status, message=_phrase(status), content=content)


def problem_form(error: BaseException) -> ProblemDetailsView:
    """The form of RFC 9457."""
    status = status_of(error)
    problems = _problems(error)
    return ProblemDetailsView(
        type="about:blank",
        title=_phrase(status),
        status=status,
        detail=_sentence(error),
        **({"problems": problems} if problems else {}),
    )


def prefers_problem(accept: str | None) -> bool:
    """
    Whether a client asks for the form of RFC 9457, given its ``Accept`` header.

    It has to name it: to those that take anything, the original's form is the one.
    """
    quality: dict[str, float] = {}
    for word, one in parse_accept_header(accept):
        kind = word.partition(";")[0].strip().lower()
        quality[kind] = max(one, quality.get(kind, 0))
    return quality.get(PROBLEM_JSON, 0) > 0 and (
        quality[PROBLEM_JSON] >= quality.get(JSON, 0)
    )


def note_fault(failure: Failure) -> None:
    """Log what nobody foresaw, of which clients are told nothing."""
    log.failure("a REST operation failed", failure)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, LocalError) else FAULT


def _problems(error: BaseException) -> tuple[ProblemView, ...]:
    if not isinstance(error, Invalid):
        return ()
    return tuple(_problem(problem) for problem in error.problems)


def _problem(problem: Problem) -> ProblemView:
    given: dict[str, str | int] = {"path": problem.path, "message": problem.message}
    if problem.hint:
        given["hint"] = problem.hint
    if problem.line:
        given |= {"line": problem.line, "column": problem.column}
    return ProblemView.model_validate(given)
