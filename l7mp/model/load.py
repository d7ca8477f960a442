"""From bytes or text to a document."""

from __future__ import annotations

import codecs

from l7mp.model.document import Document, syntax_error
from l7mp.model.load_json import parse_json
from l7mp.model.load_yaml import parse_yaml

__all__ = ["Document", "decode", "parse", "parse_json", "parse_yaml"]

YAML_NAMES = (".yaml", ".yml")

_UTF_16_OR_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def parse(text: str, name: str) -> Document:
    """Read YAML if ``name`` ends in .yaml or .yml, in any case, and JSON otherwise."""
    reader = parse_yaml if name.lower().endswith(YAML_NAMES) else parse_json
    return reader(text, name)


def decode(data: bytes, source: str = "") -> str:
    """The text of ``data``, which must be UTF-8, with or without a byte order mark."""
    text = data.removeprefix(codecs.BOM_UTF8)
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        byte, before = text[error.start], text[: error.start].decode("utf-8")
    hint = "save it as UTF-8"
    if data.startswith(_UTF_16_OR_32):
        hint = f"it looks like UTF-16 or UTF-32; {hint}"
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    message = f"not UTF-8: unexpected byte 0x{byte:02x}"
    raise syntax_error(source, line, column, message, hint)
