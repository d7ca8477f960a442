"""Operations on rules at their places in rulelists."""

from __future__ import annotations

from l7mp.admin.operation import Call, NotFound, Operation
from l7mp.errors import LocalError
from l7mp.model import declared as say
from l7mp.model import edit
from l7mp.model.edit import Unknown
from l7mp.model.problem import quoted
from l7mp.model.view import RuleView, View

_AT = "/rulelists/<name>/rules/<position>"

_PLACE = "A position, counted from 0, or the name of a rule in the list."


async def _get(call: Call) -> RuleView:
    rulelist = call.config.rulelists.get(call.path["name"])
    if rulelist is None:
        raise NotFound
    try:
        position = edit.rule_position(rulelist, call.path["position"])
    except Unknown as error:
        raise NotFound from error
    rule = call.config.rules.get(rulelist.rules[position])
    if rule is None:
        raise NotFound
    return call.viewer.rule(rule, call.recursive)


async def _insert(call: Call) -> View:
    words, rulelist = call.proxy.vocabulary, call.path["name"]
    given = call.path["position"]
    if not (given.isascii() and given.isdigit() and len(given) <= edit.MOST_DIGITS):
        raise LocalError(f"Cannot add rule: {quoted(given)} is no position")
    position, it = int(given), call.body(say.RuleReferenceRequest).rule
    return await call.edit(
        lambda config: edit.insert_rule(config, words, rulelist, position, it),
        "/rules",
    )


async def _remove(call: Call) -> View:
    rulelist, which = call.path["name"], call.path["position"]
    recursive = call.recursive
    return await call.edit(
        lambda config: edit.remove_rule(config, rulelist, which, recursive)
    )


OPERATIONS = (
    Operation(
        name="getRuleFromRuleList",
        method="GET",
        path=_AT,
        summary="Get the Rule at a place in a RuleList",
        handler=_get,
        reply=RuleView,
        position=_PLACE,
        recursive="Show routes and clusters instead of names.",
    ),
    Operation(
        name="addRuleToRuleList",
        method="POST",
        path=_AT,
        summary="Insert a Rule, given or named, at a position of a RuleList",
        handler=_insert,
        body=say.RuleReferenceRequest,
        position="A position, from 0 to the number of rules in the list.",
    ),
    Operation(
        name="deleteRuleFromRuleList",
        method="DELETE",
        path=_AT,
        summary="Take a Rule out of a RuleList",
        handler=_remove,
        position=_PLACE,
        recursive="Delete the rule itself and what was defined in it, too.",
    ),
)
