"""References: `$.path` and `$self.path`."""

from __future__ import annotations

import datetime

import pytest

from machinable.config.interpolation import parse_path
from tests.config.worlds import config, entry, errors, failure, resolved
from tests.golden_cases import typed


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("$.a", ("", (("key", "a"),))),
        ("$self.a.b", ("self", (("key", "a"), ("key", "b")))),
        ("$.a[b][0].c", ("", (("key", "a"), ("index", "b"), ("index", "0"), ("key", "c")))),
        ("$.a b", ("", (("key", "a b"),))),
        ("$.a[$.b[$self.c].d].e", ("", (("key", "a"), ("reference", "$.b[$self.c].d"), ("key", "e")))),
        ("$.$.a", ("", (("key", "$"), ("key", "a")))),
    ],
)
def test_a_path_has_parts(text: str, parts: object) -> None:
    assert parse_path(text) == parts


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("$.", "a key is missing at the end"),
        ("$self.", "a key is missing at the end"),
        ("$.a.", "a key is missing at the end"),
        ("$..a", "a key is missing before '.a'"),
        ("$.a..b", "a key is missing before '.b'"),
        ("$.[0]", "a key is missing before '[0]'"),
        ("$.a.[0]", "a key is missing before '[0]'"),
        ("$.a[0", "a bracket is not closed"),
        ("$.a[[0]", "a bracket is not closed"),
        ("$.a[]", "an index is missing"),
        ("$.a]", "']' is not expected here"),
        ("$.a[0]b", "'b' is not expected here"),
        ("$.a[b.c]", "the index 'b.c' is neither a name nor a reference"),
        ("$.a[$.]", None),
    ],
)
def test_a_malformed_reference_is_an_error_at_its_place(text: str, reason: str | None) -> None:
    shown = text if reason else "$."
    reason = reason or "a key is missing at the end"

    assert errors("a: [1]\n" + entry(f"r: '{text}'")) == [
        ("MalformedText", "machinable.yaml:4:10", f"the reference {shown!r} is malformed: {reason}")
    ]


ROOT = """
g: 5
shared: {x: 1, y: {z: [10, {k: v}]}}
far: $.shared.y
user: {batch: $self.batch, l: [$self.n]}
table: {1: one, "2": two, a: {b: c}, 07: seven}
which: a
index: 1
hidden_: {_k: 3}
none:
"""
SELF = "batch: 4\nn: [1, 2, {m: 3}]\ns: {t: $self.batch}\n_h: {k: [7]}\nw: a\n"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("$.g", 5),
        ('"$.g"', 5),
        ("'$self.batch'", 4),
        ("$.shared", {"x": 1, "y": {"z": [10, {"k": "v"}]}}),
        ("$.shared.y.z[0]", 10),
        ("$.shared.y.z.0", 10),
        ("$.shared[y][z][1][k]", "v"),
        ("$.far.z[1].k", "v"),  # through another reference
        ("$.user", {"batch": 4, "l": [[1, 2, {"m": 3}]]}),  # root material sees the component that uses it
        ("$.user.l[0][2].m", 3),
        ("$.table[1]", "one"),
        ("$.table.1", "one"),
        ("$.table[2]", "two"),
        ("$.table[7]", "seven"),
        ("'$.table[$.which].b'", "c"),
        ("'$.table[$self.w][b]'", "c"),
        ("'$.shared.y.z[$.index].k'", "v"),
        ("'$self.n[$.shared.y.z[$.zero]].m'", 3),
        ("$.none", None),
        ("$.hidden_._k", 3),
        ("$self._h.k[0]", 7),
        ("$self.s.t", 4),
        ("$self.n", [1, 2, {"m": 3}]),
        ("[$.g, [$.g], {a: $.g}]", [5, [5], {"a": 5}]),
        ("$.components[0].c.batch", 4),
        ("$.components[0].c.s.t", 4),
        ("cost $.g", "cost $.g"),
        ("$g", "$g"),
        ("$selfish.x", "$selfish.x"),
        ("$self", "$self"),
        ("$", "$"),
        ("'  $.g'", "  $.g"),
        ("!!str $.g", 5),
        ("{$.g: 1}", {"$.g": 1}),
    ],
)
def test_a_reference_is_replaced_by_its_target(reference: str, expected: object) -> None:
    text = ROOT.replace("index: 1", "index: 1\nzero: 0")
    if "$.zero" in reference:
        text = text.replace("z: [10,", "z: [2,")
    assert typed(config(text + entry(f"{SELF}r: {reference}"))["r"]) == typed(expected)


@pytest.mark.parametrize(
    ("reference", "kind", "message", "advice"),
    [
        ("$.gg", "MissingKey", "'$.gg': there is no key 'gg'", "Did you mean 'g'?"),
        ("$.shared.q", "MissingKey", "'$.shared.q': there is no key 'q'", "Known here: x, y"),
        ("$self.bach.x", "MissingKey", "'$self.bach.x': there is no key 'bach'", "Did you mean 'batch'?"),
        (
            "$self.n[3]",
            "MissingIndex",
            "'$self.n[3]': there is no element 3",
            "The list has 3 elements, counted from 0.",
        ),
        (
            "$self.n[" + "9" * 30 + "]",
            "MissingIndex",
            f"'$self.n[{'9' * 30}]': there is no element {'9' * 30}",
            "The list has 3 elements, counted from 0.",
        ),
        (
            "$self.n[-1]",
            "MissingKey",
            "'$self.n[-1]': a list has no key '-1'",
            "Write the index of an element, counted from 0.",
        ),
        (
            "$self.n.m",
            "MissingKey",
            "'$self.n.m': a list has no key 'm'",
            "Write the index of an element, counted from 0.",
        ),
        (
            "$.g.x",
            "MissingKey",
            "'$.g.x': a number has no key 'x'",
            "Refer to a key of a mapping or an element of a list.",
        ),
        (
            "$.none.x",
            "MissingKey",
            "'$.none.x': null has no key 'x'",
            "Refer to a key of a mapping or an element of a list.",
        ),
        (
            "$.which.x",
            "MissingKey",
            "'$.which.x': a string has no key 'x'",
            "Refer to a key of a mapping or an element of a list.",
        ),
        ("'$.table[$.which2]'", "MissingKey", "'$.which2': there is no key 'which2'", "Did you mean 'which'?"),
        (
            "'$.table[$.shared]'",
            "MalformedText",
            "the index '$.shared' of '$.table[$.shared]' is not a scalar but a mapping",
            "Refer to a string or a number.",
        ),
        ("'$.table[$.g]'", "MissingKey", "'$.table[$.g]': there is no key '5'", "Known here: 1, 2, a, 7"),
        ("$.table.b", "MissingKey", "'$.table.b': there is no key 'b'", "Known here: 1, 2, a, 7"),
        ("$self._seed_", "MissingKey", "'$self._seed_': there is no key '_seed_'", "Known here: batch, n, s, _h, w, r"),
        ("$self.~v", "MissingKey", "'$self.~v': there is no key '~v'", "Known here: batch, n, s, _h, w, r"),
    ],
)
def test_a_reference_without_a_target_is_reported_with_near_names(
    reference: str, kind: str, message: str, advice: str
) -> None:
    error = failure(ROOT + entry(f"{SELF}_seed_: 1\n~v: {{}}\nr: {reference}"))

    assert (type(error).__name__, error.message, error.advice(), error.path) == (kind, message, advice, "c.r")
    assert str(error.at) == "machinable.yaml:20:10"


def test_a_boolean_key_is_not_a_number() -> None:
    assert errors("t: {true: x}\n" + entry("r: $.t[1]")) == [
        ("MissingKey", "machinable.yaml:4:10", "'$.t[1]': there is no key '1'")
    ]


# When they are resolved

LATE = """
shared: {x: 1, y: 2}
loader: {size: $self.batch}
mixins:
  - m: {twice: [$self.batch, $self.batch], from_m: $.shared.x}
components:
  - base: {batch: 32, test: $self.batch, s: $.shared, ~large: {batch: 512, extra: $self.test}}
  - child^base: {batch: 64, s: {x: 9}}
  - mixed^base: {_mixins_: [m], data: $.loader}
"""


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("base", None, {"batch": 32, "test": 32, "s": {"x": 1, "y": 2}}),
        ("base", "~large", {"batch": 512, "test": 512, "s": {"x": 1, "y": 2}, "extra": 512}),
        ("base", {"batch": 8}, {"batch": 8, "test": 8, "s": {"x": 1, "y": 2}}),
        ("base", ("~large", "batch: 9"), {"batch": 9, "test": 9, "s": {"x": 1, "y": 2}, "extra": 9}),
        ("base", ("~large", "test: 9"), {"batch": 512, "test": 9, "s": {"x": 1, "y": 2}, "extra": 9}),
        ("child", None, {"batch": 64, "test": 64, "s": {"x": 9, "y": 2}}),
        ("child", {"s.y": 7}, {"batch": 64, "test": 64, "s": {"x": 9, "y": 7}}),
        ("child", {"s": None}, {"batch": 64, "test": 64, "s": None}),
        ("child", ({"s": None}, {"s.y": 1}), {"batch": 64, "test": 64, "s": {"y": 1}}),
        (
            "mixed",
            {"batch": 1},
            {"twice": [1, 1], "from_m": 1, "batch": 1, "test": 1, "s": {"x": 1, "y": 2}, "data": {"size": 1}},
        ),
        (
            "mixed",
            {"data.size": 3, "batch": 2},
            {"twice": [2, 2], "from_m": 1, "batch": 2, "test": 2, "s": {"x": 1, "y": 2}, "data": {"size": 3}},
        ),
    ],
)
def test_references_see_the_finished_configuration(name: str, version: object, expected: dict[str, object]) -> None:
    assert config(LATE, name, version) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # a mapping over a reference
        ("x: {a: 1, b: {c: 2}}\n" + entry("s: $.x\ns.b.d: 3"), {"s": {"a": 1, "b": {"c": 2, "d": 3}}}),
        ("x: {a: 1}\n" + entry("s.a: 2\ns: $.x"), {"s": {"a": 1}}),
        ("x: {a: $.y}\ny: {b: 1}\n" + entry("s: $.x\ns.a.d: 2"), {"s": {"a": {"b": 1, "d": 2}}}),
        ("x: $.y\ny: {b: 1}\n" + entry("s: $.x\ns.d: $self.s.b"), {"s": {"b": 1, "d": 1}}),
        ("x: 5\n" + entry("s: $.x\ns.d: 2"), {"s": {"d": 2}}),
        ("x:\n" + entry("s: $.x\ns.d: 2"), {"s": {"d": 2}}),
        ("x: [1]\n" + entry("s: $.x\ns: 2").replace("s: 2", "t: $self.s"), {"s": [1], "t": [1]}),
        # a reference to what is laid over one
        (
            "x: {a: 1}\n" + entry("s: $.x\ns.b: 2\nt: $self.s\nt.d: 3\nu: $self.t.b"),
            {"s": {"a": 1, "b": 2}, "t": {"a": 1, "b": 2, "d": 3}, "u": 2},
        ),
        # siblings are no circle
        (entry("a: {b: $self.a.c, c: $self.d, e: [$self.a.b]}\nd: 1"), {"a": {"b": 1, "c": 1, "e": [1]}, "d": 1}),
        (entry("a: {x: $self.b.y}\nb: {y: 1, z: $self.a.x}"), {"a": {"x": 1}, "b": {"y": 1, "z": 1}}),
        (entry("a: $self.b\nb: $self.d\nd: 1"), {"a": 1, "b": 1, "d": 1}),
    ],
)
def test_a_mapping_over_a_reference_is_merged_with_what_it_gives(text: str, expected: dict[str, object]) -> None:
    assert config(text) == expected


def test_a_copied_value_shares_nothing_with_its_source() -> None:
    found = config("x: {a: [1]}\n" + entry("s: $.x\nt: $.x\nu: $self.s"))
    found["s"]["a"].append(2)

    assert (found["t"], found["u"]) == ({"a": [1]}, {"a": [1]})


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("a: $self.a", ["c.a = $self.a   3:10"]),
        ("a: $self.b\nb: $self.a", ["c.a = $self.b   3:10", "c.b = $self.a   4:10"]),
        ("a: $self.b\nb: $self.d\nd: $self.b", ["c.b = $self.d   4:10", "c.d = $self.b   5:10"]),
        ("a: {b: $self.a}", ["c.a.b = $self.a   3:14"]),
        ("a: {b: {d: $self.a.b}}", ["c.a.b.d = $self.a.b   3:18"]),
        ("a: [1, $self.a]", ["c.a[1] = $self.a   3:14"]),
        ("a: {x: $self.b}\nb: {y: $self.a}", ["c.a.x = $self.b     3:14", "c.a.x.y = $self.a   4:14"]),
        ("t: {x: 1}\nk: '$self.t[$self.k]'", ["c.k = $self.t[$self.k]   4:10", "c.k = $self.k            4:10"]),
        ("a: $self.a\na.b: 1", ["c.a = $self.a   3:10"]),
        ("a: $self.b\na.x: 1\nb: $self.a\nb.y: 1", ["c.a = $self.b   3:10", "c.b = $self.a   5:10"]),
    ],
)
def test_a_reference_cycle_is_an_error_that_shows_every_link(text: str, links: list[str]) -> None:
    error = failure(entry(text))

    assert error.message == "a reference refers to itself"
    assert str(error.at) == "machinable.yaml:" + links[0].rpartition(" ")[2]
    assert [link.replace("machinable.yaml:", "") for link in error.details] == links


def test_the_message_of_a_reference_cycle() -> None:
    error = failure("components:\n\n  - c:\n         a: $self.b\n         b: $self.a\n")

    assert str(error).splitlines()[0] == "machinable.yaml:4:13: a reference refers to itself"
    assert str(error).splitlines()[-3:] == [
        "  c.a = $self.b   machinable.yaml:4:13",
        "  c.b = $self.a   machinable.yaml:5:13",
        "  Replace one of the references by a value.",
    ]


def test_several_errors_of_references_are_reported_together() -> None:
    assert errors(entry("a: $.x\nb: [$self.a, $.y]\nd: $self.d")) == [
        ("MissingKey", "machinable.yaml:3:10", "'$.x': there is no key 'x'"),
        ("MissingKey", "machinable.yaml:4:20", "'$.y': there is no key 'y'"),
        ("MalformedText", "machinable.yaml:5:10", "a reference refers to itself"),
    ]


def test_a_reference_that_a_version_replaces_need_not_have_a_target() -> None:
    text = entry("a: {b: $.nope}\nd: $self.nope")

    assert config(text, version={"a.b": 1, "d": 2}) == {"a": {"b": 1}, "d": 2}
    assert config(text, version=({"a": {"b": {"e": 1}}, "d": {"x": 1}}, {"a": 5, "d": 6})) == {"a": 5, "d": 6}


# Across projects


def test_a_reference_starts_at_the_root_of_the_project_whose_file_contains_it() -> None:
    texts = {
        "machinable.yaml": "+: [lib]\nx: main\ncomponents:\n  - c^+.lib.d: {own: $.x}\n",
        "vendor/lib/machinable.yaml": "x: lib\nm: {deep: [$.x, $self.own]}\nmixins: [m: {by_m: $.x}]\n"
        "blk: {blk: $.x}\ncomponents:\n  - d: {_mixins_: m, theirs: $.x, all: $.m, ~v: $.blk}\n",
    }

    assert config(texts, version="~v") == {
        "by_m": "lib",
        "theirs": "lib",
        "all": {"deep": ["lib", "main"]},
        "own": "main",
        "blk": "lib",
    }


# Secrets

SECRETS = """
_vault: {token: "${TOKEN}", plain: known}
open: {token: "${TOKEN}"}
through: $._vault.token
components:
  - c:
      _token: ${TOKEN}
      _conf: {user: ada, password: "${TOKEN}", list: ["x${TOKEN}"]}
      seen: ${TOKEN}
      a: $self._token
      b: $self._conf
      d: [$._vault.token, $.through, "$self._conf.list[0]"]
      e: $self.b.password
      f: $.open.token
      g: $._vault.plain
      h: {_i: "${TOKEN}", j: $self.h._i}
      k: $self._conf
      k.user: eve
      l: $self.seen
"""


def test_a_secret_is_never_stored() -> None:
    found = resolved(SECRETS, environment={"TOKEN": "s3"})

    assert found.to_dict()["d"] == ["s3", "s3", "xs3"]
    assert found.to_dict(hidden=False) == {
        "seen": "s3",
        "a": "${TOKEN}",
        "b": {"user": "$self._conf.user", "password": "${TOKEN}", "list": ["x${TOKEN}"]},
        "d": ["${TOKEN}", "${TOKEN}", "x${TOKEN}"],
        "e": "${TOKEN}",
        "f": "s3",
        "g": "$._vault.plain",
        "h": {"j": "${TOKEN}"},
        "k": {"user": "eve", "password": "${TOKEN}", "list": ["x${TOKEN}"]},
        "l": "s3",
    }


@pytest.mark.parametrize("token", ["mine", 7, True, None, ["mine"], {"mine": "mine"}, "f('mine')"])
def test_a_version_may_put_a_value_in_place_of_a_secret(token: object) -> None:
    found = resolved(SECRETS, version={"_token": token}, environment={"TOKEN": "s3"})

    assert found.to_dict()["a"] == token
    assert "mine" not in repr(list(found.to_dict(hidden=False)["a"])[1:])
    assert found.to_dict(hidden=False)["a"] != token


@pytest.mark.parametrize(
    ("text", "value", "stored"),
    [
        ("_t: 5\na: $self._t", 5, "$self._t"),
        ("_t: 5\na: $self.b\nb: $self._t", 5, "$self.b"),
        ("_t: {k: [1, 2]}\na: $self._t", {"k": [1, 2]}, {"k": ["$self._t.k[0]", "$self._t.k[1]"]}),
        ("_t: {k: {_x: 1, y: 2}}\na: $self._t.k", {"_x": 1, "y": 2}, {"y": "$self._t.k.y"}),
        ("_t: x\nt: {x: 1}\na: '$self.t[$self._t]'", 1, "$self.t[$self._t]"),
        ("_t: {x: 1}\nt: x\na: '$self._t[$self.t]'", 1, "$self._t[$self.t]"),
        ("t: [1, {_u: 2}]\na: '$self.t[1]._u'", 2, "$self.t[1]._u"),
        ("_t: $self.v\nv: 3\na: $self._t", 3, "$self._t"),
        ("_t: {u: 1, v: {w: 2, x: 3}}\na: $self._t\na.v.w: 4", {"u": 1, "v": {"w": 4, "x": 3}}, None),
        ("a: [$self._t, {b: $self._t}]\n_t: s", ["s", {"b": "s"}], ["$self._t", {"b": "$self._t"}]),
        ("_t: 2026-01-31\na: $self._t", datetime.date(2026, 1, 31), "$self._t"),
        ("_t: f(1)\na: $self._t", "f(1)", "$self._t"),
    ],
)
def test_a_value_made_from_a_hidden_one_is_hidden(text: str, value: object, stored: object) -> None:
    found = resolved(entry(text))

    assert found.to_dict()["a"] == value
    if stored is None:
        stored = {"u": "$self._t.u", "v": {"w": 4, "x": "$self._t.v.x"}}
    assert found.to_dict(hidden=False)["a"] == stored


# Limits


def test_a_chain_of_references_resolves_or_is_an_error() -> None:
    forwards = entry("\n".join(f"a{i}: $self.a{i + 1}" for i in range(5000)) + "\na5000: 1")
    backwards = entry("a0: 1\n" + "\n".join(f"a{i + 1}: $self.a{i}" for i in range(5000)))

    assert config(backwards)["a5000"] == 1
    assert {message for _, _, message in errors(forwards)} == {"a chain of more than 200 references"}


def test_references_that_multiply_are_an_error() -> None:
    text = "\n".join(f"a{i}: [{{x: $self.a{i + 1}}}, $self.a{i + 1}]" for i in range(60)) + "\na60: 1"

    assert errors(entry(text)) == [
        ("MalformedText", "machinable.yaml:2:5", "references expand to more than 1,000,000 values")
    ]


def test_an_index_that_is_used_twice_is_looked_up_once() -> None:
    text = "\n".join(f"a{i}: '$self.t[$self.a{i + 1}][$self.a{i + 1}]'" for i in range(60))

    assert config(entry(text + "\na60: x\nt: {x: {x: x}}"))["a0"] == "x"
