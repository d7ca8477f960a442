"""Groups, as users declare them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from l7mp.model.explain import problems_of
from l7mp.model.multicast import Membership


def told(**given: Any) -> str:
    """What a user is told about a mistake."""
    with pytest.raises(ValidationError) as raised:
        Membership(**given)
    return " ".join(str(one) for one in problems_of(raised.value, value=given))


def test_groups_of_both_families() -> None:
    """A listener may join groups of IPv4 and of IPv6 at once."""
    both = Membership(groups=("239.1.2.3", "ff15::1"))
    assert both.sources == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"groups": []}, "groups"),
        ({"groups": ["10.0.0.1"]}, "224.0.0.0/4"),
        ({"groups": ["everybody"]}, 'must be an IP address, not "everybody"'),
        ({"groups": ["239.0.0.1"], "sources": ["239.0.0.2"]}, "address of its own"),
        ({"groups": ["239.0.0.1"], "sources": ["::1"]}, "all IPv4 or all IPv6"),
        ({"groups": ["239.0.0.1", "ff15::1"], "sources": ["::1"]}, "all IPv4"),
        ({"groups": ["239.0.0.1"], "interface": "e/0"}, "network interface"),
    ],
)
def test_mistakes_are_explained(given: dict[str, Any], words: str) -> None:
    """What cannot be joined is refused when it is declared."""
    assert words in told(**given)


@pytest.mark.parametrize("sources", [["192.0.2.1"], ["192.0.2.1", "192.0.2.2"]])
def test_sources_of_the_family_of_the_groups(sources: list[str]) -> None:
    """Senders may be named where they can send to the groups."""
    found = Membership.model_validate({"groups": ["232.1.1.1"], "sources": sources})
    assert found.sources == tuple(sources)
