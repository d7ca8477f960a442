"""PyYAML's complaints, translated."""

from __future__ import annotations

import pytest
import yaml

from l7mp.model.load_yaml_error import told

FITS = "check the indentation, and put text with special characters in quotes"
COLON = 'check the indentation, and put text with ": " in it in quotes'


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    [
        ("a:\n\t- b", 2, 1, "a tab where only spaces can be", "indent with spaces"),
        ("a: @x", 1, 4, 'text cannot begin with "@"', "put it in quotes"),
        ("a: `x", 1, 4, 'text cannot begin with "`"', "put it in quotes"),
        ("a: b: c", 1, 5, 'unexpected ":"', COLON),
        ("a: - b", 1, 4, 'unexpected "-"', "begin a list on a line of its own"),
        ("a: ? b", 1, 4, 'unexpected "?"', FITS),
        ("a: [1,\n 2", 1, 4, 'a bracket is not closed: expected "," or "]"', ""),
        ("{a: 1", 1, 1, 'a bracket is not closed: expected "," or "}"', ""),
        (
            "- {a: 1,\n b: 2]",
            2,
            6,
            'expected "," or "}" for the bracket of line 1',
            "",
        ),
        ("a: 'x\nb: 1", 1, 4, "the quotes that begin here are not closed", ""),
        ("a: 'x\n---\ny'", 2, 1, "the quotes of line 1 are open", ""),
        ("- a\nb: c", 2, 1, "this does not fit what began in line 1", FITS),
        ("a: 1\nb\nc: 1", 2, 1, 'a key without ":"', FITS),
        ("'a' 'b'", 1, 5, "this follows the end of the document", FITS),
        (
            r'a: "\q"',
            1,
            6,
            r'the escape "\q" is unknown',
            r"write \\ for a backslash, or use single quotes",
        ),
        ("a: ]", 1, 4, 'unexpected "]"', FITS),
        (
            "!foo!bar x",
            1,
            1,
            'the tag "!foo!" is unknown',
            "put text that begins with ! in quotes",
        ),
        ("a: !<bad x", 1, 9, "not valid YAML: expected '>', but found ' '", ""),
        (
            "a: b\n ö: \x01",
            2,
            5,
            r'the character "\x01" is not allowed',
            "write it as an escape, in double quotes",
        ),
        (
            "\x00",
            1,
            1,
            r'the character "\x00" is not allowed',
            "write it as an escape, in double quotes",
        ),
    ],
)
def test_mistakes_are_told_in_plain_words(
    text: str, line: int, column: int, message: str, hint: str
) -> None:
    """A syntax error is told in words, with line and column counted from 1."""
    with pytest.raises(yaml.YAMLError) as caught:
        list(yaml.parse(text, Loader=yaml.SafeLoader))
    assert told(caught.value, text) == (line, column, message, hint)
