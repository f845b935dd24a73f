"""Versions, blocks, and the order of layers."""

from __future__ import annotations

import datetime
import enum
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import machinable as ml
from machinable.config.versions import expand_lists
from tests.config.worlds import config, entry, errors, failure, resolved, workspace
from tests.golden_cases import typed

JOB = """
mixins:
  - m: {net: m, ~wide: {from_m: 1}}
shared: {size: 1, ~in: {k: 1}}
components:
  - job:
      rate: 1
      ~wide: {rate: 2, ~deep: {depth: 5, net: w, ~er: {depth: 9}}, ~other: {net: o}}
      ~deep: {net: d}
      ~dots: {a.b: 1, a: {c: 2}, a.c: 3}
      ~empty:
      ~ref: $.shared
      ~nest: {~deep: $.shared}
"""


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (None, {"rate": 1}),
        ("", {"rate": 1}),
        ((), {"rate": 1}),
        ({}, {"rate": 1}),
        ((None, "", (), {}), {"rate": 1}),
        ("  \n", {"rate": 1}),
        ("# nothing", {"rate": 1}),
        ("~", {"rate": 1}),
        ("~empty", {"rate": 1}),
        # the examples of the specification
        ("~wide", {"rate": 2}),
        ("~deep", {"rate": 1, "net": "d"}),
        (("~wide", "~deep"), {"rate": 2, "depth": 5, "net": "d"}),
        ("~wide:deep", {"rate": 2, "depth": 5, "net": "w"}),
        (({"~x": {"rate": 7}}, "~x"), {"rate": 7}),
        # paths
        ("~wide:deep:er", {"rate": 2, "depth": 9, "net": "w"}),
        (("~wide:deep", "~er"), {"rate": 2, "depth": 9, "net": "w"}),
        (("~wide:deep", "~other"), {"rate": 2, "depth": 5, "net": "o"}),
        (("~wide:deep", "~deep"), {"rate": 2, "depth": 5, "net": "d"}),
        (("~wide:deep", "~deep:er"), {"rate": 2, "depth": 9, "net": "d"}),
        (("~wide", "~deep:er"), {"rate": 2, "depth": 9, "net": "d"}),
        # what opens blocks
        (({"~x": {"~y": {"rate": 7}}}, "~x:y"), {"rate": 7}),
        (({"~x": {"~y": {"rate": 7}}}, "~x", "~y"), {"rate": 7}),
        (("~x: {rate: 7}", "~x"), {"rate": 7}),
        (("_m_", "~wide"), {"rate": 2, "net": "m", "from_m": 1}),
        (({"~deep": {"net": "typed", "k": 1}}, "~deep"), {"rate": 1, "net": "d", "k": 1}),
        (({"~x": {"a": 1}}, {"~x": {"b": 1}}, "~x"), {"rate": 1, "a": 1, "b": 1}),
        (({"~x": {"a": 1}}, {"~x": None}, "~x"), {"rate": 1, "a": 1}),
        # blocks that refer to root material
        ("~ref", {"rate": 1, "size": 1}),
        ("~ref:in", {"rate": 1, "size": 1, "k": 1}),
        (("~ref", "~in"), {"rate": 1, "size": 1, "k": 1}),
        (("~nest", "~deep"), {"rate": 1, "size": 1, "net": "d"}),
        (("~nest", "~deep", "~in"), {"rate": 1, "size": 1, "net": "d", "k": 1}),
        # dotted keys
        ("~dots", {"rate": 1, "a": {"b": 1, "c": 3}}),
        ({"a.b": 1, "a": {"c": 2}, "a.c": 3}, {"rate": 1, "a": {"b": 1, "c": 3}}),
        ("a.b: 1\na: {c: 2}\na.c: 3", {"rate": 1, "a": {"b": 1, "c": 3}}),
        ({"a": {"b.c": 1}}, {"rate": 1, "a": {"b.c": 1}}),
        ({"a.b.c.d": 1, "a.b.c": {"e": 2}}, {"rate": 1, "a": {"b": {"c": {"d": 1, "e": 2}}}}),
        ({"a": 1, "a.b": 2}, {"rate": 1, "a": {"b": 2}}),
        ({"a.b": 2, "a": 1}, {"rate": 1, "a": 1}),
        ({"a.": 1, ".b": 2, ".": 3}, {"rate": 1, "a.": 1, ".b": 2, ".": 3}),
        (({"~x.y": {"rate": 7}}, "~x.y"), {"rate": 7}),
        # text
        ("rate: 1e1", {"rate": 10.0}),
        ("{rate: 2, a: [1, {b: 2}]}", {"rate": 2, "a": [1, {"b": 2}]}),
        ("? rate", {"rate": None}),
        ("a: $.shared", {"rate": 1, "a": "$.shared"}),
        ("a: $self.rate", {"rate": 1, "a": "$self.rate"}),
        ("a: $/file.yaml", {"rate": 1, "a": "$/file.yaml"}),
        ("a?: ${X}", {"rate": 1, "a?": "${X}"}),
        ({"a?": 1}, {"rate": 1, "a?": 1}),
        ("&x a: &y {k: 1}\nb: *y", {"rate": 1, "a": {"k": 1}, "b": {"k": 1}}),
        ({"a": "$.shared", "b": ["$self.rate"]}, {"rate": 1, "a": "$.shared", "b": ["$self.rate"]}),
        # nested tuples flatten
        ((("~wide",), ((("~deep",),),)), {"rate": 2, "depth": 5, "net": "d"}),
    ],
)
def test_a_version_changes_a_configuration(version: object, expected: dict[str, object]) -> None:
    assert config(JOB, "job", version) == expected


FILES = {
    "machinable.yaml": "x: 1\ncomponents:\n  - c: {a: 0, ~blk: {a: blk}}\n",
    "v.yaml": "a: $.x\n~in: {b: 2}\nc.d: $/conf/part.yml\n",
    "conf/part.yml": "[$/more.json]",
    "conf/more.json": '{"e": "${N:-1}"}',
    "my conf.yaml": "a: 5",
    "empty.yml": "",
    "conf/v.json": '{"a": 7}',
}
FROM_V = {"a": 1, "c": {"d": [{"e": "1"}]}}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("$/v.yaml", FROM_V),
        ("v.yaml", FROM_V),
        ("./conf/../v.yaml", FROM_V),
        (("$/v.yaml", "~in"), FROM_V | {"b": 2}),
        ("$/my conf.yaml", {"a": 5}),
        ("empty.yml", {"a": 0}),
        ("conf/v.json", {"a": 7}),
        ("$/conf/v.json", {"a": 7}),
        (("~blk", "conf/v.json"), {"a": 7}),
        (("conf/v.json", "~blk"), {"a": "blk"}),
    ],
)
def test_a_version_may_be_a_file_of_the_project(version: object, expected: dict[str, object]) -> None:
    assert config(FILES, "c", version) == expected


@pytest.mark.parametrize(
    ("version", "kind", "message"),
    [
        ("~nope", "UnknownName", "no version named '~nope'"),
        (("~nope", "~wide"), "UnknownName", "no version named '~nope'"),
        (("~wide", "~nope"), "UnknownName", "no version named '~nope'"),
        ("~wide:nope", "UnknownName", "no version named '~wide:nope'"),
        ("~wide:deep:er:x", "UnknownName", "no version named '~wide:deep:er:x'"),
        ("~other", "UnknownName", "no version named '~other'"),
        ("~wide:", "UnknownName", "no version named '~wide:'"),
        ("_nope_", "UnknownName", "no mixin version named '_nope_'"),
        ("~a b", "MalformedText", "the version '~a b' is not a mapping but '~a b'"),
        ("text", "MalformedText", "the version 'text' is not a mapping but 'text'"),
        ("a:1", "MalformedText", "the version 'a:1' is not a mapping but 'a:1'"),
        ("5", "MalformedText", "the version '5' is not a mapping but 5"),
        ("- a", "MalformedText", "the version '- a' is not a mapping but a list"),
        ("a file.yaml", "MalformedText", "the version 'a file.yaml' is not a mapping but 'a file.yaml'"),
        ("a: [", "MalformedText", "the version 'a: [' cannot be read"),
        ("a: 1\na: 2", "MalformedText", "the version 'a: 1\\na: 2' cannot be read"),
        ("a: 1\n---\nb: 1", "MalformedText", "the version 'a: 1\\n---\\nb: 1' cannot be read"),
        ("a: !t 1", "MalformedText", "the version 'a: !t 1' cannot be read"),
        ("a: \ud800", "MalformedText", "the version 'a: \\ud800' cannot be read"),
        ("3: x", "MalformedText", "the key '3' is not text"),
        ("on: x", "MalformedText", "the key 'on' is not text"),
        ({3: "x"}, "MalformedText", "the key '3' is not text"),
        ({None: "x"}, "MalformedText", "the key 'None' is not text"),
        ({"~x": {3: "x"}}, "MalformedText", "the key '3' is not text"),
        ({"~x": 5}, "MalformedText", "the version '~x' is not a mapping but 5"),
        ("~x: $.shared", "MalformedText", "the version '~x' is not a mapping but '$.shared'"),
        ({"_class_": "A"}, "MalformedText", "a version cannot set `_class_`"),
        ("_class_: A", "MalformedText", "a version cannot set `_class_`"),
        ({"~x": {"_class_": "A"}}, "MalformedText", "a version cannot set `_class_`"),
        ({"_sed_": 1}, "UnknownName", "no reserved key named '_sed_'"),
        ({"_seed_": "x"}, "MalformedText", "`_seed_` takes a whole number, not 'x'"),
        ({"_evaluate_": 1}, "MalformedText", "`_evaluate_` takes true or false, not 1"),
        ("none.yaml", "MissingFile", "no version file 'none.yaml'"),
        ("$/none", "MissingFile", "no version file 'none'"),
        ("/etc/passwd.yaml", "MalformedText", "the version '/etc/passwd.yaml' is not a path of a file in the project"),
        ("$//etc/passwd", "MalformedText", "the version '$//etc/passwd' is not a path of a file in the project"),
        ("$/", "MalformedText", "the version '$/' is not a path of a file in the project"),
        (["~wide"], "WrongType", "expected one version, not the list ['~wide']"),
        (("~wide", ["~deep"]), "WrongType", "expected one version, not the list ['~deep']"),
        (5, "WrongType", "5 of type int is not a version"),
        (True, "WrongType", "True of type bool is not a version"),
        (ml.grid([1, 2]), "WrongType", "grid([1, 2]) of type Choice is not a version"),
        ({"~wide"}, "WrongType", "{'~wide'} of type set is not a version"),
        ({"a": {"b": {1, 2}}}, "WrongType", "{1, 2} of type set is not plain data"),
        ({"a": [1, b"x"]}, "WrongType", "b'x' of type bytes is not plain data"),
    ],
)
def test_what_is_not_a_version_is_reported_at_the_declaration(version: object, kind: str, message: str) -> None:
    assert errors(JOB, "job", version) == [(kind, "machinable.yaml:6:5", message)]
    assert errors(JOB, "job", task=[version]) == [(kind, "machinable.yaml:6:5", message)]


def test_the_key_path_of_what_is_not_plain_is_reported() -> None:
    assert failure(JOB, "job", {"a": {"b": [1, object]}}).path == "a.b[1]"


def test_near_versions_are_offered() -> None:
    assert failure(JOB, "job", "~wid").advice() == "Did you mean '~wide'?"
    assert failure(JOB, "job", "~wide:dep").advice() == "Did you mean '~wide:deep' or '~wide:other'?"
    assert failure(JOB, "job", ("~wide", "~othr")).advice() == "Did you mean '~other' or '~dots'?"
    assert failure(JOB, "job", "_n_").advice() == "Did you mean '_m_'?"


def test_what_is_wrong_in_a_text_is_reported_with_its_place_in_the_text() -> None:
    error = failure(JOB, "job", "a: 1\nb: {c: 1,\n  c: !t 2}")

    assert error.details == (
        "line 3, column 3: the key 'c' is defined twice in this mapping",
        "line 3, column 3: the tag '!t' is not allowed here",
    )
    assert failure(JOB, "job", "a: 1\n3: 2").details == ("in the version 'a: 1\\n3: 2'",)


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("a: 1\na: 2", ("MalformedText", "v.yaml:2:1", "the key 'a' is defined twice in this mapping")),
        ("a: ${NO}", ("MalformedText", "v.yaml:1:1", "the environment variable 'NO' is not set")),
        ("a: $/no.yaml", ("MissingFile", "v.yaml:1:1", "no file 'no.yaml'")),
        ("a: $.no", ("MissingKey", "v.yaml:1:4", "'$.no': there is no key 'no'")),
        ("3: $.no", ("MalformedText", "v.yaml:1:1", "the key '3' is not text")),
        ("_sed_: 1", ("UnknownName", "v.yaml:1:1", "no reserved key named '_sed_'")),
        ("~v: 1", ("MalformedText", "v.yaml:1:1", "the version '~v' is not a mapping but 1")),
        ("[1]", ("MalformedText", "machinable.yaml:3:5", "the version 'v.yaml' is not a mapping but a list")),
        ("a: [", ("MalformedText", "v.yaml:2:1", "this is not YAML: did not find expected node content")),
        ("a: $/v.yaml", ("MalformedText", "v.yaml:1:1", "a file includes itself")),
    ],
)
def test_what_is_wrong_in_a_version_file_is_reported_every_time(text: str, summary: tuple[str, str, str]) -> None:
    space = workspace(FILES | {"v.yaml": text})

    from machinable.config.resolve import resolve
    from machinable.errors import MachinableError
    from tests.config import worlds

    for _ in range(2):
        with pytest.raises(MachinableError) as caught:
            resolve(space, "c", "v.yaml")
        assert worlds.summary(caught.value) == [summary]
        assert resolve(space, "c").to_dict() == {"a": 0}


class Name(str):
    __slots__ = ()


class Kind(str, enum.Enum):
    A = "a"


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        (np.float64(0.5), 0.5),
        (np.int32(3), 3),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        (np.array([[0.5]]), [[0.5]]),
        (Name("x"), "x"),
        (Kind.A, "a"),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (datetime.date(2026, 1, 31), datetime.date(2026, 1, 31)),
        ({1: {None: 2.5}}, {1: {None: 2.5}}),
    ],
)
def test_values_from_python_become_plain(given: object, plain: object) -> None:
    assert typed(config(entry("a: 0"), version={"v": given})["v"]) == typed(plain)


def test_a_version_is_not_changed_and_not_shared() -> None:
    version: dict[str, Any] = {"a": {"l": [1]}, "x.y": 1}
    found = config(entry("k: 1"), version=version)
    found["a"]["l"].append(2)

    assert version == {"a": {"l": [1]}, "x.y": 1}


@pytest.mark.parametrize(
    ("version", "uses"),
    [
        ("~a", ["~a"]),
        ([], []),
        (["~a", ["~b", []]], ["~a", "~b"]),
        (("~v", ["a", "b"]), [("~v", "a"), ("~v", "b")]),
        ((["a", "b"], "x", ["c", "d"]), [("a", "x", "c"), ("a", "x", "d"), ("b", "x", "c"), ("b", "x", "d")]),
        (("~v", []), []),
        (("~v", ("~w", ["a", "b"])), [("~v", ("~w", "a")), ("~v", ("~w", "b"))]),
        ([("~v", ["a", "b"]), None], [("~v", "a"), ("~v", "b"), None]),
        ({"a": [1, 2]}, [{"a": [1, 2]}]),
    ],
)
def test_lists_stand_for_several_uses(version: object, uses: list[object]) -> None:
    assert expand_lists(version) == uses


# The order of layers


def test_every_layer_overrides_those_before_it() -> None:
    texts = {
        "machinable.yaml": "+: [lib]\nmixins: [m1: {k: m1, a: 1}, m2: {k: m2, a: 2, b: 1}]\ncomponents:\n"
        "  - old: {k: old, d: 1, c: 2}\n  - mid^old: {k: mid, d: 2, e: 1}\n"
        "  - +.lib.x=c^mid: {_mixins_: [m1, m2], k: own, e: 2, f: 1, ~b: {k: b, g: 3, f: 2}}\n",
        "vendor/lib/machinable.yaml": "components: [x: {k: imported, b: 2, c: 1}]\n",
    }
    texts["machinable.yaml"] = texts["machinable.yaml"].replace("+.lib.x=c^mid", "+.lib.x^mid=c")
    layers = {"a": 1, "b": 2, "c": 2, "d": 2, "e": 2, "f": 1}

    assert config(texts) == {"k": "own", **layers}
    assert config(texts, task=["~b", {"g": 4, "h": 1}], version={"h": 2}) == {
        "k": "b",
        **layers,
        "f": 2,
        "g": 4,
        "h": 2,
    }


def test_the_versions_of_the_task_and_of_the_component_are_one_sequence() -> None:
    found = resolved(JOB, "job", ("~deep", "rate: 5", {"x": 1}), task=["~wide", ("~other", None), ""])

    assert found.to_dict() == {"rate": 5, "net": "d", "depth": 5, "x": 1}
    assert found.versions == ["~wide", "~other", "~deep", "rate: 5"]


def test_a_version_that_is_used_twice_is_named_twice() -> None:
    assert resolved(JOB, "job", ("~wide:deep", "~wide:deep")).versions == ["~wide:deep", "~wide:deep"]


@pytest.mark.parametrize(
    ("text", "version", "reserved", "evaluate"),
    [
        ("_seed_: 1\n~v: {_seed_: 2}", "~v", {"_seed_": 2}, True),
        ("_seed_: 1", {"_seed_": None}, {"_seed_": None}, True),
        ("_results_: {a: 1}", {"_results_.b": 2}, {"_results_": {"a": 1, "b": 2}}, True),
        ("_environment_.A: x", "_environment_: {B: y}", {"_environment_": {"A": "x", "B": "y"}}, True),
        ("n: 3\n_seed_: $self.n\n_retries_: {max: $.r}", {"n": 4}, {"_seed_": 4, "_retries_": {"max": 9}}, True),
        ("_evaluate_: false", None, {}, False),
        ("_evaluate_: false", {"_evaluate_": True}, {}, True),
        ("~v: {_evaluate_: false}", "~v", {}, False),
        ("~v: {_evaluate_: false}", ("~v", "_evaluate_: yes"), {}, True),
        ("on_: 1\nk: false\n_evaluate_: $self.k", None, {}, False),
        ("_seeding_: [random.seed]\n_chdir_: true", None, {"_seeding_": ["random.seed"], "_chdir_": True}, True),
    ],
)
def test_reserved_keys_are_settings_and_not_configuration(
    text: str, version: object, reserved: dict[str, object], evaluate: bool
) -> None:
    found = resolved("r: 9\n" + entry(text), version=version)

    assert (found.reserved, found.evaluate) == (reserved, evaluate)
    assert not any(key.startswith("_") for key in found.to_dict())


def test_a_reserved_key_has_its_form_after_references_too() -> None:
    text = "s: x\n" + entry("_seed_: $.s\n_evaluate_: $self.e\n_chdir_: ${C:-maybe}\ne: 1")

    assert errors(text) == [
        ("MalformedText", "machinable.yaml:6:7", "`_chdir_` takes true or false, not the string '${C:-maybe}'")
    ]
    assert errors(text, environment={"C": "yes"}) == [
        ("MalformedText", "machinable.yaml:4:15", "`_seed_` takes a whole number, but '$.s' refers to a string"),
        ("MalformedText", "machinable.yaml:5:19", "`_evaluate_` takes true or false, but '$self.e' refers to a number"),
    ]


@pytest.mark.parametrize(
    ("root", "text", "name"),
    [
        ("", "_class_: Net", "Net"),
        ("cls: Net\n", "_class_: $.cls", "Net"),
        ("", "_class_: ${K:-Net}", "Net"),
        ("cls: {a: Net}\nwhich: a\n", "_class_: '$.cls[$.which]'", "Net"),
    ],
)
def test_the_class_is_known_before_values_are_resolved(root: str, text: str, name: str) -> None:
    assert resolved(root + entry(text)).class_name == name


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        (
            "_class_: $self.a",
            ("MalformedText", "4:7", "`_class_` is read before values are resolved, so it cannot refer to '$self.a'"),
        ),
        ("_class_: 5", ("MalformedText", "4:7", "`_class_` takes the name of a class, not 5")),
        ("_class_: a.b", ("MalformedText", "4:7", "`_class_` takes the name of a class, not 'a.b'")),
        ("_class_: $.no", ("MissingKey", "4:16", "'$.no': there is no key 'no'")),
        (
            "_class_: $.x",
            ("MalformedText", "4:16", "`_class_` takes the name of a class, but '$.x' refers to a number"),
        ),
        (
            "_mixins_: $self.a",
            ("MalformedText", "4:7", "`_mixins_` is read before values are resolved, so it cannot refer to '$self.a'"),
        ),
        ("~v: $self.a", ("MalformedText", "4:7", "the version '~v' is not a mapping but the reference '$self.a'")),
        (
            "~v: {~w: $self.a}",
            ("MalformedText", "4:12", "the version '~w' is not a mapping but the reference '$self.a'"),
        ),
    ],
)
def test_keys_that_are_read_first_take_only_references_to_the_root(text: str, summary: tuple[str, str, str]) -> None:
    kind, place, message = summary

    assert errors("x: 5\n" + entry(text)) == [(kind, f"machinable.yaml:{place}", message)]
