"""Names of entries, and how they are looked up."""

from __future__ import annotations

import pytest

from tests.config.worlds import errors, failure, resolved

GROUPS = """
components:
  - item: {is: item}
  - tool=t: {is: tool}
components:left=l:
  - item=i: {is: left.item}
  - left.deep.one=do: {is: left.deep.one}
  - left: {is: left.left}
components:right=r:
  - item=i: {is: right.item}
  - deep.one: {is: right.deep.one}
  - only: {is: right.only}
"""


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("item", "item"),  # a canonical name goes before a short one
        ("left.item", "left.item"),
        ("left.i", "left.item"),  # an alias lives in its group
        ("l.item", "left.item"),  # group alias
        ("l.i", "left.item"),
        ("right.i", "right.item"),
        ("r.item", "right.item"),
        ("deep.one", "left.deep.one"),  # the first entry with that short name; its prefix is not doubled
        ("left.do", "left.deep.one"),
        ("l.deep.one", "left.deep.one"),
        ("r.deep.one", "right.deep.one"),
        ("left", "left.left"),
        ("left.left", "left.left"),
        ("only", "right.only"),
        ("t", "tool"),
    ],
)
def test_names_are_looked_up_as_canonical_name_then_alias_then_short_name_then_group_alias(
    asked: str, meant: str
) -> None:
    found = resolved(GROUPS, asked)

    assert (found.component, found.module, found.to_dict()) == (meant, meant, {"is": meant})


@pytest.mark.parametrize(
    "asked", ["i", "do", "l", "r.nope", "l.", "", "+.l.item", "+.", "+", "left.deep", "one", ".item"]
)
def test_other_names_are_unknown(asked: str) -> None:
    assert errors(GROUPS, asked)[0][0] == "UnknownName"


def test_an_alias_precedes_a_short_name() -> None:
    text = "components:g: [x: {is: short}]\ncomponents: [y=x: {is: alias}]\n"

    assert resolved(text, "x").to_dict() == {"is": "alias"}


def test_a_short_name_precedes_a_group_alias() -> None:
    text = "components:g=a: [x: {is: group}]\ncomponents:h: [a.x: {is: short}]\n"

    assert resolved(text, "a.x").to_dict() == {"is": "short"}


def test_an_unknown_name_is_reported_with_the_nearest() -> None:
    error = failure(GROUPS, "toll")

    assert str(error) == ("no component named 'toll'\n  searched in machinable.yaml\n  Did you mean 'tool'?")


def test_a_project_without_components_is_reported_as_such() -> None:
    error = failure("experiments: [a: {}]\n", "a")

    assert error.advice() == "machinable.yaml declares no components. For hints: machinable check"


@pytest.mark.parametrize("key", ["component", "Components", "componets", "compnents"])
def test_a_misspelt_section_is_named_where_a_component_is_not_found(key: str) -> None:
    error = failure(f"{key}: [a: {{}}]\n", "a")

    assert f"its section {key!r} has no meaning: did you mean 'components'?" in str(error)


@pytest.mark.parametrize(
    ("text", "place", "alias"),
    [
        ("components: [a: {}, b=a: {}]\n", "1:21", "a"),
        ("components: [b=a: {}, a: {}]\n", "1:14", "a"),
        ("components: [a=x: {}, b=x: {}]\n", "1:23", "x"),
        ("components:g: [a=x: {}, x: {}]\n", "1:16", "g.x"),
        ("components:g: [a=x: {}]\ncomponents: [g.x: {}]\n", "1:16", "g.x"),
        ("mixins: [a: {}, b=a: {}]\n", "1:17", "a"),
    ],
)
def test_an_alias_is_not_the_name_of_another_entry(text: str, place: str, alias: str) -> None:
    assert errors(text) == [
        (
            "MalformedText",
            f"machinable.yaml:{place}",
            f"the alias {alias!r} is already the name of another {'mixin' if 'mix' in text else 'component'}",
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        "components: [a=a: {}]\n",  # its own
        "components: [a=x: {}, a=y: {}, b=x: {}]\n",  # of an entry that is replaced
        "components: [x: {}]\ncomponents:g: [a=x: {}]\n",  # in another group
        "components: [x: {}]\nmixins: [a=x: {}]\n",  # of a mixin
    ],
)
def test_aliases_that_do_not_clash(text: str) -> None:
    assert resolved(text + "name: p\n", "x" if "x: {}" in text else "a").to_dict() == {}


# Mixins


@pytest.mark.parametrize("asked", ["mixins.trait", "trait"])
def test_a_mixin_may_leave_out_its_folder(asked: str) -> None:
    found = resolved(f"mixins: [mixins.trait: {{a: 1}}]\ncomponents: [c: {{_mixins_: {asked}}}]\n")

    assert found.mixins == [{"name": asked, "origin": "mixins.trait"}]


@pytest.mark.parametrize("key", ["a.b", "mixins.a.b", "+.lib.m", "^+.lib.m"])
def test_a_mixin_has_a_name_that_is_an_identifier(key: str) -> None:
    texts = {
        "machinable.yaml": f"+: [lib]\nmixins:\n  - {key}: {{}}\ncomponents: [c: {{}}]\n",
        "vendor/lib/machinable.yaml": "mixins: [m: {}]\n",
    }

    assert errors(texts) == [
        ("MalformedText", "machinable.yaml:3:5", f"the mixin {key!r} has no name that is an identifier")
    ]
    named = texts["machinable.yaml"].replace(key, f"{key}=al")
    assert resolved(texts | {"machinable.yaml": named}, version="_al_").to_dict() == {}
