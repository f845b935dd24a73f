"""Parents, and how entries are merged with them."""

from __future__ import annotations

import pytest

from machinable.config.merge import merge
from tests.config.worlds import config, errors, failure, resolved


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        ({"o": {"n": 1}}, {"o": {"m": 2}, "l": [3]}, {"o": {"n": 1, "m": 2}, "l": [3]}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": 1}}),
        ({"a": 1}, {"a": {}}, {"a": {}}),
        ({"a": [1]}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": None}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": None}, {"a": None}),
        ({"a": {"b": 1}}, {"a": []}, {"a": []}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {1: "x"}}, {"a": {"1": "y", True: "z"}}, {"a": {1: "z"}}),
        ({}, {"a": 1}, {"a": 1}),
    ],
)
def test_one_mapping_over_another(base: object, over: object, result: object) -> None:
    before = repr((base, over))

    assert merge(base, over) == result
    assert repr((base, over)) == before


def test_keys_keep_the_order_of_the_base() -> None:
    assert list(merge({"b": 1, "a": 1}, {"c": 1, "a": 2})) == ["b", "a", "c"]


FAMILY = """
mixins:
  - m: {m: 1, a: mixin}
components:
  - base: {_mixins_: [m], _h: 1, a: base, d: {x: 1}, _seed_: 5, _results_: {f: 1}, _class_: Base,
      ~v: {a: v, ~in: {k: 1}}, ~w: {a: w}}
  - child^base: {b: 2, d.y: 2, _results_: {g: 2}, ~v: {b: v, ~in: {l: 2}, ~new: {n: 3}}}
  - last^child: {d: {x: 9}}
  - ^base: {a: again}
  - later^base: {}
components:g:
  - base: {a: group}
  - child^base: {}
  - other^child: {}
  - far^last: {}
"""


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("child", None, {"m": 1, "a": "base", "_h": 1, "d": {"x": 1, "y": 2}, "b": 2}),
        ("last", None, {"m": 1, "a": "base", "_h": 1, "d": {"x": 9, "y": 2}, "b": 2}),
        ("child", "~v", {"m": 1, "a": "v", "_h": 1, "d": {"x": 1, "y": 2}, "b": "v"}),
        ("last", "~v:in", {"m": 1, "a": "v", "_h": 1, "d": {"x": 9, "y": 2}, "b": "v", "k": 1, "l": 2}),
        ("last", ("~v", "~new"), {"m": 1, "a": "v", "_h": 1, "d": {"x": 9, "y": 2}, "b": "v", "n": 3}),
        ("last", "~w", {"m": 1, "a": "w", "_h": 1, "d": {"x": 9, "y": 2}, "b": 2}),
        ("base", None, {"m": 1, "a": "again", "_h": 1, "d": {"x": 1}}),
        ("later", None, {"m": 1, "a": "again", "_h": 1, "d": {"x": 1}}),
        ("g.child", None, {"a": "group"}),  # the own group first
        ("g.other", None, {"a": "group"}),
        ("g.far", None, {"m": 1, "a": "base", "_h": 1, "d": {"x": 9, "y": 2}, "b": 2}),
    ],
)
def test_a_child_inherits_everything_from_its_parent(name: str, version: object, expected: dict[str, object]) -> None:
    assert config(FAMILY, name, version) == expected


def test_reserved_keys_are_inherited_and_merged() -> None:
    assert resolved(FAMILY, "last").reserved == {"_seed_": 5, "_results_": {"f": 1, "g": 2}}


def test_the_class_is_inherited_only_with_the_module() -> None:
    names = {name: resolved(FAMILY, name).class_name for name in ("base", "child", "later")}

    assert names == {"base": "Base", "child": None, "later": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("c^nope: {}", ("no component named 'nope'", "Known: b")),
        ("c^bb: {}", ("no component named 'bb'", "Did you mean 'b'?")),
        ("c^c: {}", ("no component named 'c'", "Known: b")),
        ("c^d: {}, d: {}", ("no earlier component named 'd'", "Move 'd' above 'c^d'.")),
        ("^d: {}, d: {}", ("no earlier component named 'd'", "Move 'd' above '^d'.")),
        ("c^m: {}", ("no component named 'm'", "Known: b")),
    ],
)
def test_a_parent_is_declared_above(text: str, expected: tuple[str, str]) -> None:
    error = failure("mixins: [m: {}]\ncomponents:\n  - {b: {}, " + text + "}\n")

    if text.startswith("^d"):  # and is then replaced by what comes later
        assert error.message == expected[0]
        return
    assert (type(error).__name__, str(error.at)) == ("UnknownName", "machinable.yaml:3:13")
    assert (error.message, error.advice()) == expected


def test_an_entry_may_inherit_from_the_one_that_it_replaces() -> None:
    assert config("components: [c: {a: 1}, c^c: {b: 2}, c^c: {d: 3}]\n") == {"a": 1, "b": 2, "d": 3}


def test_a_mixin_may_have_a_parent() -> None:
    text = "mixins: [a: {x: 1, y: 1}, b^a: {y: 2}]\ncomponents: [c: {_mixins_: [b]}]\n"

    assert config(text) == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("above", "below", "expected"),
    [
        ("$.x", "{a: 1}", {"a": 1, "b": 2}),
        ("{a: 1}", "$.x", {"a": 1, "b": 2}),
        ("$.x", "$.y", {"b": 2, "d": 3}),
        ("~", "{a: 1}", {"a": 1}),
        ("{a: 1}", "~", {"a": 1}),
        ("$.nothing", "{a: 1}", {"a": 1}),
    ],
)
def test_blocks_that_are_references_merge_as_others(above: str, below: str, expected: dict[str, int]) -> None:
    text = f"x: {{b: 2}}\ny: {{d: 3}}\nnothing: ~\ncomponents: [b: {{~v: {below}}}, c^b: {{~v: {above}}}]\n"

    assert config(text, "c", "~v") == expected


def test_a_block_with_errors_is_reported_when_it_is_used() -> None:
    text = "x: 5\ncomponents: [b: {~v: {a: 1}}, c^b: {k: 1, ~v: $.x, ~w: $.nope}]\n"

    assert config(text, "c", {"k": 2}) == {"k": 2}
    assert errors(text, "c", "~v") == [
        ("MalformedText", "machinable.yaml:2:47", "the version refers to a number, which is not a mapping")
    ]
    assert errors(text, "c", "~w") == [("MissingKey", "machinable.yaml:2:56", "'$.nope': there is no key 'nope'")]


def test_a_long_chain_of_parents_is_supported() -> None:
    lines = (f"  - c{i}{f'^c{i - 1}' if i else ''}: {{k{i}: {i}, same: {i}, ~v: {{b{i}: 1}}}}\n" for i in range(200))
    found = resolved("components:\n" + "".join(lines), "c199", "~v")

    assert len(found.to_dict()) == 401
    assert (found.config["same"], found.config["k0"], found.origin("k0")) == (199, 0, "machinable.yaml:2:10")
