"""
The types that a JSON predicate can ask for (draft-snell-json-test-07, section "type").

Strings are held to the constructs that the draft names: dates and times to RFC 3339,
language tags to RFC 5646, language ranges to RFC 4647, IRIs to RFC 3987.
"""

from __future__ import annotations

import re
from calendar import isleap
from collections.abc import Callable, Mapping
from ipaddress import AddressValueError, IPv6Address
from typing import Any

from l7mp.model.pointer import MISSING

# -- RFC 3339 -----------------------------------------------------------------

_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(
    r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?(?:[Zz]|[+-]([0-9]{2}):([0-9]{2}))"
)
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def is_date(text: str) -> bool:
    """Whether it is a full-date (RFC 3339, section 5.6) that exists."""
    found = _DATE.fullmatch(text)
    if found is None:
        return False
    year, month, day = map(int, found.groups())
    if not 1 <= month <= len(_DAYS):
        return False
    return 1 <= day <= _DAYS[month - 1] + (month == 2 and isleap(year))


def is_time(text: str) -> bool:
    """Whether it is a full-time (RFC 3339, section 5.6); second 60 is a leap second."""
    found = _TIME.fullmatch(text)
    if found is None:
        return False
    hour, minute, second, far, near = (int(part or 0) for part in found.groups())
    return max(hour, far) <= 23 and max(minute, near) <= 59 and second <= 60


def is_date_time(text: str) -> bool:
    """Whether it is a date-time (RFC 3339, section 5.6)."""
    return text[10:11] in ("T", "t") and is_date(text[:10]) and is_time(text[11:])


# -- RFC 5646, RFC 4647 -------------------------------------------------------

_PRIVATE = r"x(?:-[a-z0-9]{1,8})+"
_LANGUAGE = re.compile(
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})"  # language, with extensions
    r"(?:-[a-z]{4})?"  # script
    r"(?:-(?:[a-z]{2}|[0-9]{3}))?"  # region
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*"  # variants
    r"(?:-[0-9a-wy-z](?:-[a-z0-9]{2,8})+)*"  # extensions
    rf"(?:-{_PRIVATE})?|{_PRIVATE}",
    re.IGNORECASE | re.ASCII,
)
_IRREGULAR = re.compile(
    r"en-gb-oed|sgn-(?:be-fr|be-nl|ch-de)|i-(?:ami|bnn|default|enochian|hak|klingon"
    r"|lux|mingo|navajo|pwn|tao|tay|tsu)",
    re.IGNORECASE | re.ASCII,
)
_LANGUAGE_RANGE = re.compile(r"(?:[A-Za-z]{1,8}|\*)(?:-(?:[A-Za-z0-9]{1,8}|\*))*")


def is_language(text: str) -> bool:
    """Whether it is a well-formed Language-Tag (RFC 5646, section 2.1)."""
    return bool(_LANGUAGE.fullmatch(text) or _IRREGULAR.fullmatch(text))


def is_language_range(text: str) -> bool:
    """Whether it is a language range, basic or extended (RFC 4647, section 2)."""
    return bool(_LANGUAGE_RANGE.fullmatch(text))


# -- RFC 3987 -----------------------------------------------------------------

_PLANES = "".join(
    f"{chr(plane << 16)}-{chr((plane << 16) + 0xFFFD)}" for plane in range(1, 14)
)
_UCSCHAR = f"\xa0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef{_PLANES}\U000e1000-\U000efffd"
_PRIVATE_USE = "\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"
_UNRESERVED = rf"A-Za-z0-9._~\-{_UCSCHAR}!$&'()*+,;="  # and sub-delims
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_IRI = re.compile(
    r"(?:([^:/?#]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL
)
_AUTHORITY = re.compile(r"(?:(.*)@)?(\[[^\]]*\]|[^:]*)(?::[0-9]*)?", re.DOTALL)
_FUTURE = re.compile(r"[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~\-!$&'()*+,;=:]+")


def _made_of(also: str) -> re.Pattern[str]:
    return re.compile(rf"(?:[{_UNRESERVED}{also}]|%[0-9A-Fa-f]{{2}})*")


_USER, _NAME, _PATH = _made_of(":"), _made_of(""), _made_of(":@/")
_FRAGMENT, _QUERY = _made_of(":@/?"), _made_of(f":@/?{_PRIVATE_USE}")


def is_iri_reference(text: str) -> bool:
    """Whether it is an IRI-reference, absolute or relative (RFC 3987, section 2.2)."""
    found = _IRI.fullmatch(text)
    assert found is not None, "the expression takes any string apart"
    scheme, authority, path, query, fragment = found.groups()
    return (
        (scheme is None or bool(_SCHEME.fullmatch(scheme)))
        and (authority is None or _is_authority(authority))
        and bool(_PATH.fullmatch(path))
        and bool(_QUERY.fullmatch(query or ""))
        and bool(_FRAGMENT.fullmatch(fragment or ""))
    )


def is_iri(text: str) -> bool:
    """Whether it is an IRI, that is, has a scheme (RFC 3987, section 2.2)."""
    head = re.split("[/?#]", text, maxsplit=1)[0]
    return ":" in head and is_iri_reference(text)


def _is_authority(authority: str) -> bool:
    found = _AUTHORITY.fullmatch(authority)
    if found is None or not _USER.fullmatch(found[1] or ""):
        return False
    host = found[2]
    if host.startswith("["):
        return _is_ip_literal(host[1:-1])
    return bool(_NAME.fullmatch(host))


def _is_ip_literal(text: str) -> bool:
    if _FUTURE.fullmatch(text):
        return True
    try:
        return IPv6Address(text).scope_id is None
    except AddressValueError:
        return False


# -- all of them --------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _string(check: Callable[[str], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and check(value)


TYPES: Mapping[str, Callable[[Any], bool]] = {
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
    "undefined": lambda value: value is MISSING,
    "date": _string(is_date),
    "time": _string(is_time),
    "date-time": _string(is_date_time),
    "lang": _string(is_language),
    "lang-range": _string(is_language_range),
    "iri": _string(is_iri_reference),
    "absolute-iri": _string(is_iri),
}
"""For each type name whether a value, which may be MISSING, is of that type."""
