"""The words of the configuration."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from l7mp.model import declared as say
from tests.model.vocabulary import WORDS, everything, said


def test_destination_in_the_original_spelling() -> None:
    """A route may call its destination cluster, as the original does."""
    assert said(say.Route, {"cluster": "c"}).destination == "c"
    assert said(say.Route, {"destination": "c"}).destination == "c"
    with pytest.raises(ValidationError):
        said(say.Route, {"destination": "c", "cluster": "d"})
    with pytest.raises(ValidationError):
        said(say.Route, "c")


def test_version_is_ignored() -> None:
    """The version is what GET shows, and says nothing on input."""
    assert said(say.Admin, {"version": "9", "strict": True}) == say.Admin(strict=True)
    assert "version" not in said(say.Admin, {"version": 9}).model_fields_set
    with pytest.raises(ValidationError):
        said(say.Admin, "9")


def test_defaults() -> None:
    """Nothing has to be said about what has a default."""
    assert everything() == say.Config()
    assert said(say.Retry, {"retry_on": "always"}).timeout == 2000


@pytest.mark.parametrize(
    "value",
    [
        {"name": "a b", "action": {}},
        {"name": "r"},
        {"action": {"route": 1}},
        {"action": {}, "strange": 1},
    ],
)
def test_refused(value: object) -> None:
    """Names are one word, actions are needed, keys are known."""
    with pytest.raises(ValidationError):
        say.Rule.model_validate(value, context=WORDS)
