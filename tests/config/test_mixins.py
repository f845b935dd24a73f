"""Mixins of components."""

from __future__ import annotations

import pytest

from tests.config.worlds import config, errors, failure, resolved

TEXT = """
list: [a, {name: b, attribute: _bb_}]
one: a
mixins:
  - a: {v: a, only_a: 1, d: {a: 1}, ~blk: {v: blk a, ~in: {i: 1}}}
  - b: {v: b, only_b: 1, d: {b: 1}, _seed_: 3}
  - util.text=txt: {v: txt}
components:
  - base: {_mixins_: [a, b], own: 1}
  - kid^base: {}
  - more^base: {_mixins_: [txt, ^]}
  - less^base: {_mixins_: []}
  - none^base: {_mixins_: }
  - back^less: {_mixins_: [b, ^]}
  - bare: {own: 1, ~blk: {own: 2}}
  - refs: {_mixins_: $.list}
  - elements: {_mixins_: [$.one, {name: "${B:-b}", attribute: "_${C:-c}_"}]}
  - single: {_mixins_: {name: a}}
"""
A = {"v": "a", "only_a": 1, "d": {"a": 1}}
BOTH = {"v": "a", "only_b": 1, "d": {"b": 1, "a": 1}, "only_a": 1}


@pytest.mark.parametrize(
    ("name", "version", "expected", "mixins"),
    [
        ("base", None, BOTH | {"own": 1}, ["a", "b"]),
        ("kid", None, BOTH | {"own": 1}, ["a", "b"]),
        ("more", None, BOTH | {"v": "txt", "own": 1}, ["txt", "a", "b"]),
        ("less", None, {"own": 1}, []),
        ("none", None, {"own": 1}, []),
        ("back", None, {"v": "b", "only_b": 1, "d": {"b": 1}, "own": 1}, ["b"]),
        ("refs", None, BOTH, ["a", "b"]),
        ("elements", None, BOTH, ["a", "b"]),
        ("single", None, A, ["a"]),
        # a list in a version replaces that of the component
        ("base", {"_mixins_": ["b"]}, {"v": "b", "only_b": 1, "d": {"b": 1}, "own": 1}, ["b"]),
        ("base", {"_mixins_": ["b", "a"]}, BOTH | {"v": "b", "own": 1}, ["b", "a"]),
        ("base", {"_mixins_": ["^", "txt"]}, BOTH | {"v": "txt", "own": 1}, ["a", "b", "txt"]),
        ("base", {"_mixins_": None}, {"own": 1}, []),
        ("base", "_mixins_: txt", {"own": 1, "v": "txt"}, ["txt"]),
        # what is new stands where the element stands, below its keys
        ("bare", ({"v": 1, "own": 2}, {"_mixins_": ["a"], "d": {"a": 2}}), A | {"own": 2, "d": {"a": 2}}, ["a"]),
        ("bare", ({"_mixins_": ["a"]}, {"v": 1}), A | {"own": 1, "v": 1}, ["a"]),
        ("bare", {"_mixins_": ["a", "b"]}, BOTH | {"own": 1}, ["a", "b"]),
        # the last list counts; "^" is the one before it
        ("bare", ({"_mixins_": ["a"]}, {"_mixins_": ["b"]}), {"own": 1, "v": "b", "only_b": 1, "d": {"b": 1}}, ["b"]),
        ("bare", ({"_mixins_": ["a"]}, {"_mixins_": ["^", "b"]}), BOTH | {"own": 1, "v": "b"}, ["a", "b"]),
        ("bare", ({"_mixins_": ["a"]}, {"v": 5}, {"_mixins_": ["b", "^"]}), BOTH | {"own": 1, "v": "b"}, ["b", "a"]),
        ("base", ({"_mixins_": []}, {"_mixins_": ["^", "a"]}), A | {"own": 1}, ["a"]),
        # a mixin as a version is configuration only
        ("bare", "_a_", A | {"own": 1}, []),
        ("bare", "_txt_", {"own": 1, "v": "txt"}, []),
        ("bare", "_util.text_", {"own": 1, "v": "txt"}, []),
        ("base", ("_txt_", {"own": 2}), BOTH | {"v": "txt", "own": 2}, ["a", "b"]),
        # blocks that mixins bring
        ("base", "~blk", BOTH | {"own": 1, "v": "blk a"}, ["a", "b"]),
        ("base", "~blk:in", BOTH | {"own": 1, "v": "blk a", "i": 1}, ["a", "b"]),
        ("bare", ("_a_", "~blk"), A | {"own": 2, "v": "blk a"}, []),
        ("bare", ({"_mixins_": ["a"]}, "~blk"), A | {"own": 2, "v": "blk a"}, ["a"]),
        ("bare", ({"_mixins_": ["a"], "~blk": {"v": 7}}, "~blk"), A | {"own": 2, "v": 7}, ["a"]),
    ],
)
def test_mixins_lie_below_and_the_first_listed_wins(
    name: str, version: object, expected: dict[str, object], mixins: list[str]
) -> None:
    found = resolved(TEXT, name, version)

    assert found.to_dict() == expected
    assert [mixin["origin"].replace("util.text", "txt") for mixin in found.mixins] == mixins


def test_mixins_are_named_as_they_are_listed() -> None:
    assert resolved(TEXT, "refs").mixins == [
        {"name": "a", "origin": "a"},
        {"name": "b", "origin": "b", "attribute": "_bb_"},
    ]
    assert resolved(TEXT, "more").mixins[0] == {"name": "txt", "origin": "util.text"}


def test_a_mixin_can_set_reserved_keys() -> None:
    assert resolved(TEXT, "base").reserved == {"_seed_": 3}
    assert resolved(TEXT, "bare", "_b_").reserved == {"_seed_": 3}
    assert resolved(TEXT, "base", {"_mixins_": ["a"]}).reserved == {}


def test_mixins_lie_below_parents_too() -> None:
    text = "mixins: [m: {a: m, b: m, c: m}]\ncomponents: [p: {a: p, b: p}, c^p: {a: c, _mixins_: m}]\n"

    assert config(text) == {"a": "c", "b": "p", "c": "m"}


LIB = {
    "machinable.yaml": """
+: [lib]
mixins:
  - m: {from: main}
  - +.lib.m=lm: {}
components:
  - c^+.lib.d: {~v: {x: 1}, ~w: {_mixins_: [m]}, ~both: {_mixins_: [^, m]}}
  - e: {_mixins_: [m, {name: m, vendor: lib}, {name: n, vendor: lib, attribute: _q_}]}
  - f: {_mixins_: [lm]}
  - own^+.lib.d: {_mixins_: [m, ^]}
""",
    "vendor/lib/machinable.yaml": """
mixins:
  - m: {from: lib}
  - mixins.n=nn: {n: 1}
components:
  - d: {_mixins_: [m], a: 1, ~v: {_mixins_: [n]}, ~both: {_mixins_: [n]}}
""",
}


@pytest.mark.parametrize(
    ("name", "version", "expected", "origins"),
    [
        # names mean those of the project whose file has the list
        ("c", None, {"from": "lib", "a": 1}, ["+.lib.m"]),
        ("c", "~v", {"a": 1, "n": 1, "x": 1}, ["+.lib.mixins.n"]),
        ("c", "~w", {"a": 1, "from": "main"}, ["m"]),
        ("c", "~both", {"a": 1, "n": 1, "from": "main"}, ["+.lib.mixins.n", "m"]),
        ("c", {"_mixins_": ["m"]}, {"a": 1, "from": "main"}, ["m"]),
        ("c", "_m_", {"from": "main", "a": 1}, ["+.lib.m"]),
        ("e", None, {"n": 1, "from": "main"}, ["m", "+.lib.m", "+.lib.mixins.n"]),
        ("f", None, {"from": "lib"}, ["+.lib.m"]),
        ("own", None, {"from": "main", "a": 1}, ["m", "+.lib.m"]),
    ],
)
def test_a_list_refers_to_the_mixins_of_its_project(
    name: str, version: object, expected: dict[str, object], origins: list[str]
) -> None:
    found = resolved(LIB, name, version)

    assert found.to_dict() == expected
    assert [mixin["origin"] for mixin in found.mixins] == origins


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("nope", "UnknownName", "no mixin named 'nope'"),
        ("[a, nope]", "UnknownName", "no mixin named 'nope'"),
        ("[+.lib.helper]", "MalformedText", "a mixin of another project is not named '+.lib.helper'"),
        ("[{attribute: _x_}]", "MalformedText", "a mixin is a name or a mapping with a name, not null"),
        ("[{name: 5}]", "MalformedText", "a mixin is a name or a mapping with a name, not 5"),
        ("[{name: a, attribut: _x_}]", "UnknownName", "no part of a mixin named 'attribut'"),
        ("[{name: a, attribute: a-b}]", "MalformedText", "the attribute of a mixin is not an identifier but 'a-b'"),
        ("[{name: a, vendor: lib}]", "UnknownName", "no imported project named 'lib'"),
        ("[{name: a, vendor: [lib]}]", "MalformedText", "the vendor of a mixin is not a name but a list"),
        ("[5]", "MalformedText", "a mixin is a name or a mapping with a name, not 5"),
        ("[[a]]", "MalformedText", "a mixin is a name or a mapping with a name, not a list"),
        ("[~]", "MalformedText", "a mixin is a name or a mapping with a name, not null"),
        ("[$.nope]", "MissingKey", "'$.nope': there is no key 'nope'"),
        (
            "[$self.x]",
            "MalformedText",
            "`_mixins_` is read before values are resolved, so it cannot refer to '$self.x'",
        ),
    ],
)
@pytest.mark.parametrize("way", ["entry", "block", "typed"])
def test_a_list_that_cannot_be_read_is_reported_where_it_is_written(
    way: str, given: str, kind: str, message: str
) -> None:
    mixins = "mixins: [a: {}]\n"
    if way == "entry":
        error = failure(f"{mixins}components:\n  - c: {{_mixins_: {given}}}\n")
    elif way == "block":
        error = failure(f"{mixins}components:\n  - c: {{~v: {{_mixins_: {given}}}}}\n", version="~v")
    else:
        error = failure(f"{mixins}components:\n  - c: {{}}\n", version=f"_mixins_: {given}")
        if "$" in given:  # which is nothing but text here
            kind, message = "UnknownName", f"no mixin named {given[1:-1]!r}"

    assert (type(error).__name__, error.message) == (kind, message)
    assert error.at is not None
    assert (error.at.file, error.at.line) == ("machinable.yaml", 3)


def test_a_mixin_has_no_mixins() -> None:
    assert errors("mixins: [a: {}, b: {_mixins_: [a]}]\ncomponents: [c: {_mixins_: [b]}]\n") == [
        ("MalformedText", "machinable.yaml:1:21", "a mixin cannot have mixins")
    ]
