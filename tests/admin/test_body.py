"""What clients send: types of content, documents, and what they declare."""

from __future__ import annotations

import pytest

from l7mp.admin.body import JSON_TYPES, YAML_TYPES, read, said
from l7mp.admin.errors import Refusal, Violation
from l7mp.model.declared import AdminRequest
from l7mp.model.problem import Invalid
from l7mp.model.spec import Vocabulary

WORDS = Vocabulary(listeners={}, clusters={})


@pytest.mark.parametrize("kind", [*JSON_TYPES, "Application/JSON; charset=UTF-8"])
def test_json_is_read_under_all_its_types(kind: str) -> None:
    """JSON has four types, in any case, and may say that it is UTF-8."""
    assert read('{"a": "é"}'.encode(), kind).value == {"a": "é"}


@pytest.mark.parametrize("kind", [*YAML_TYPES, 'text/x-yaml;charset="utf-8"'])
def test_yaml_is_read_under_all_its_types(kind: str) -> None:
    """YAML has four types, too."""
    assert read("a: é".encode(), kind).value == {"a": "é"}


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "application/problem+json", "json", "text/x-yaml2", ";"],
)
def test_other_types_are_refused(kind: str | None) -> None:
    """A body of an unknown type, or of none, is refused with 415 and what is known."""
    with pytest.raises(Refusal, match="text/x-yaml") as refused:
        read(b"{}", kind)
    assert refused.value.status == 415


def test_other_charsets_are_refused() -> None:
    """A body that says it is not UTF-8 is refused with 415."""
    with pytest.raises(Refusal, match="utf-16") as refused:
        read(b"{}", "application/json; charset=UTF-16")
    assert refused.value.status == 415


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "application/json"),
        (b'{"a":', "application/json"),
        (b'{"a": 1, "a": 2}', "application/json"),
        (b'{"a": "\xff"}', "application/json"),
        (b"a: [", "text/yaml"),
        (b"\ta: 1", "text/yaml"),
    ],
)
def test_what_is_no_document_is_malformed(data: bytes, kind: str) -> None:
    """A text that cannot be read has status 400 and says where."""
    with pytest.raises(Invalid) as refused:
        read(data, kind)
    assert refused.value.status == 400
    assert refused.value.problems[0].line == 1


def test_a_document_says_what_it_declares() -> None:
    """What a client said is a declaration; the document knows where it says so."""
    document = read(b"admin:\n  log_level: warn\n", "text/yaml")
    it, where = said(document, AdminRequest, WORDS)
    assert isinstance(it, AdminRequest)
    assert it.admin.log_level == "warn"
    assert where.locate("/admin/log_level") == (2, 3)


def test_what_breaks_its_schema_is_a_violation() -> None:
    """A document that can be read and is not what it should be has status 422."""
    document = read(b"admin: {log_levl: warn, strict: 7}\n", "text/yaml")
    with pytest.raises(Violation) as refused:
        said(document, AdminRequest, WORDS)
    assert refused.value.status == 422
    assert [(one.path, one.line, one.column) for one in refused.value.problems] == [
        ("/admin/log_levl", 1, 9),
        ("/admin/strict", 1, 25),
    ]
