"""Which route a session takes: pure, over metadata and the tables of one moment."""

from __future__ import annotations

from dataclasses import dataclass

from l7mp.errors import LocalError
from l7mp.interfaces import Metadata
from l7mp.model import rewrite
from l7mp.model.config import Config, Route, Rule, RuleList


class NoRoute(LocalError):
    """No rule matched, or what it names does not exist."""

    status = 404


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules say about a session."""

    route: Route
    metadata: Metadata
    """As rewritten; the session's own."""
    rulelist: str
    rule: str
    passed: tuple[str, ...]
    """All rulelists that were consulted."""


def decide(config: Config, rulelist: str, metadata: Metadata) -> Decision:
    """First match wins; ``apply`` hands the whole decision to another rulelist."""
    passed: list[str] = []
    while True:
        passed.append(rulelist)
        table = config.rulelists.get(rulelist)
        if table is None:
            raise NoRoute(f'there is no rulelist "{rulelist}"')
        rule = _first_match(config, table, metadata)
        if rule.apply is None:
            break
        if rule.apply in passed:  # cannot be declared, but a loop must not hang us
            raise NoRoute(f'rulelist "{rule.apply}" applies itself')
        rulelist = rule.apply
    if rule.route is None:
        raise NoRoute(f'rule "{rule.name}" has neither a route nor an apply')
    route = config.routes.get(rule.route)
    if route is None:
        raise NoRoute(f'there is no route "{rule.route}"')
    steps = [(step.pointer, step.value) for step in rule.rewrite]
    changed = rewrite.apply(metadata, steps) if steps else metadata
    return Decision(route, changed, rulelist, rule.name, tuple(passed))


def _first_match(config: Config, table: RuleList, metadata: Metadata) -> Rule:
    for name in table.rules:
        rule = config.rules.get(name)
        if rule is None:
            raise NoRoute(f'rulelist "{table.name}" names a missing rule "{name}"')
        if rule.matches(metadata):
            return rule
    raise NoRoute(f'no rule of rulelist "{table.name}" matches')
