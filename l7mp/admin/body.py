"""From the body of a request to what its client said."""

from __future__ import annotations

from werkzeug.http import parse_options_header

from l7mp.admin.errors import Refusal, Violation
from l7mp.model.base import Declared, validate
from l7mp.model.document import Document
from l7mp.model.load import decode, parse_json, parse_yaml
from l7mp.model.problem import Invalid, quoted
from l7mp.model.spec import Vocabulary

JSON_TYPES = ("application/json", "application/x-json", "text/json", "text/x-json")
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")

CHARSETS = ("", "utf-8", "utf8", "us-ascii")
"""Values of ``charset`` that change nothing: bodies are UTF-8."""

_READERS = {
    **dict.fromkeys(JSON_TYPES, parse_json),
    **dict.fromkeys(YAML_TYPES, parse_yaml),
}


def read(data: bytes, content_type: str | None) -> Document:
    """
    The document in a body, which is JSON or YAML.

    Raises ``Refusal`` with status 415 for any other type, and ``Invalid`` for a text
    that is none.
    """
    kind, options = parse_options_header(content_type)
    reader = _READERS.get(kind.lower())
    if reader is None:
        known = ", ".join(_READERS)
        told = f"the content type is {quoted(kind)}" if kind else "no content type"
        raise Refusal(415, f"{told}, but it must be one of {known}")
    charset = options.get("charset", "").lower()
    if charset not in CHARSETS:
        raise Refusal(415, f"the charset is {quoted(charset)}, but it must be utf-8")
    return reader(decode(data), "")


def said(
    document: Document, model: type[Declared], words: Vocabulary
) -> tuple[Declared, Document]:
    """What ``document`` says, and where; raises ``Violation`` if it is no ``model``."""
    try:
        return validate(model, document, words), document
    except Invalid as error:
        raise Violation(error.problems) from error
