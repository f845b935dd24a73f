"""How a value is merged: a mapping that replaces, removed keys, added elements, elements by index, number keys."""

from __future__ import annotations

from typing import Any

import pytest

from machinable.config.merge import merge
from tests.config.worlds import Texts, config, errors, failure, resolved

TEXT = """\
shared: {opt: {name: sgd, lr: 1}, layers: [1, 2]}
mixins:
  - m: {opt: {_remove_: [decay]}, layers: {_append_: [7]}}
components:
  - c:
      opt: {name: adam, lr: 0.1, decay: {rate: 1}}
      layers: [1, 2]
      rows: [{a: 1, b: 2}, {a: 3}]
      m: {0: a, 1: b, "2": c}
      ref: $.shared.opt
      many: $.shared.layers
      loss: {name: mse, weight: 2}
      x: 1
      ~replaced: {opt: {_replace_: true, name: rms}}
      ~removed: {opt: {_remove_: [decay]}}
      ~more: {layers: {_append_: [3], _prepend_: [0]}}
      ~first: {layers.0: 9}
      ~all: {_replace_: true, y: 1}
      ~less: {_remove_: [x, opt], y: 1}
  - d^c:
      layers: {_append_: [3]}
      opt: {_remove_: [lr]}
      ~more: {layers: {_append_: [4]}}
      ~removed: {opt: {_remove_: [name]}}
      ~replaced: {opt.lr: 5}
"""


def of(version: Any, key: str, name: str = "c", text: Texts = TEXT) -> Any:
    return config(text, name, version)[key]


@pytest.mark.parametrize(
    ("version", "key", "expected"),
    [
        ("~replaced", "opt", {"name": "rms"}),
        ({"opt": {"_replace_": True, "name": "rms"}}, "opt", {"name": "rms"}),
        ({"opt._replace_": True, "opt.name": "rms"}, "opt", {"name": "rms"}),
        ("opt: {_replace_: true}", "opt", {}),
        ("_m_", "opt", {"name": "adam", "lr": 0.1}),
        ("_m_", "layers", [1, 2, 7]),
        ({"layers": {"_append_": [3], "_prepend_": [0], "-1": 9}}, "layers", [0, 1, 9, 3]),
        ({"opt": {"_replace_": False, "lr": 1}}, "opt", {"name": "adam", "lr": 1, "decay": {"rate": 1}}),
        ({"opt": {"decay": {"_replace_": True, "x": 1}}}, "opt", {"name": "adam", "lr": 0.1, "decay": {"x": 1}}),
        ({"new": {"_replace_": True, "x": {"_append_": [1]}}}, "new", {"x": [1]}),
        ({"layers": {"_replace_": True, "x": 1}}, "layers", {"x": 1}),
        ("~removed", "opt", {"name": "adam", "lr": 0.1}),
        ({"opt": {"_remove_": ["lr", "decay"], "lr": {"a": 1}}}, "opt", {"name": "adam", "lr": {"a": 1}}),
        ({"m": {"_remove_": [0, "1"]}}, "m", {"2": "c"}),
        ({"opt._remove_": ["lr"]}, "opt", {"name": "adam", "decay": {"rate": 1}}),
        ("~more", "layers", [0, 1, 2, 3]),
        (("~more", "~more"), "layers", [0, 0, 1, 2, 3, 3]),
        ({"layers._append_": [{"a": {"_replace_": True, "b": 1}}]}, "layers", [1, 2, {"a": {"b": 1}}]),
        ({"new": {"_append_": [1], "_prepend_": [0]}}, "new", [0, 1]),
        ("~first", "layers", [9, 2]),
        ({"layers.0": 3}, "layers", [3, 2]),
        ({"layers.-1": 3}, "layers", [1, 3]),
        ({"layers": {-2: [3]}}, "layers", [[3], 2]),
        ({"rows.1.a": 4, "rows.0": {"_remove_": ["b"]}}, "rows", [{"a": 1}, {"a": 4}]),
        (({"layers.0": 3}, {"layers": [5]}, {"layers.0": {"x": 1}}), "layers", [{"x": 1}]),
        ({"layers": [5, 6], "layers.1": 7}, "layers", [5, 7]),
        ({"m.0": 9}, "m", {0: 9, 1: "b", "2": "c"}),
        ({"m": {"0": 9, 1: 8, "2": 7, "3": 6}}, "m", {0: 9, 1: 8, "2": 7, "3": 6}),
        ({"ref": {"_remove_": ["lr"]}}, "ref", {"name": "sgd"}),
        (({"ref.lr": 2}, {"ref": {"_remove_": ["lr"]}}, {"ref.x": 3}), "ref", {"name": "sgd", "x": 3}),
        ({"ref": {"_replace_": True, "a": 1}}, "ref", {"a": 1}),
        (({"many": {"_append_": [3]}}, {"many.0": 9}), "many", [9, 2, 3]),
        ({"loss": None, "loss.name": "ce"}, "loss", {"name": "ce"}),
        ({"loss": 3, "loss.name.x": "ce"}, "loss", {"name": {"x": "ce"}}),
        ("{loss: , loss.name: ce}", "loss", {"name": "ce"}),
        (({"loss": None}, {"loss.name": "ce"}), "loss", {"name": "ce"}),
        ({"loss.name": "ce", "loss.weight": None}, "loss", {"name": "ce", "weight": None}),
    ],
)
def test_a_version_says_how_it_is_merged(version: Any, key: str, expected: Any) -> None:
    found = resolved(TEXT, version=version)
    assert found.to_dict()[key] == expected
    assert found.warnings == [] or "new" in str(version)


def test_a_version_can_replace_the_whole_configuration_and_remove_its_keys() -> None:
    assert config(TEXT, version="~all") == {"y": 1}
    assert config(TEXT, version=("~all", {"_replace_": True})) == {}
    less = config(TEXT, version="~less")
    assert (less["y"], "x" in less, "opt" in less) == (1, False, False)


def test_parents_mixins_and_blocks_over_blocks_are_merged_one_after_the_other() -> None:
    assert (of(None, "layers", "d"), of(None, "opt", "d")) == ([1, 2, 3], {"name": "adam", "decay": {"rate": 1}})
    assert of("~more", "layers", "d") == [0, 1, 2, 3, 3, 4]
    assert of("~removed", "opt", "d") == {}
    assert of("~replaced", "opt", "d") == {"name": "rms", "lr": 5}
    assert of({"_mixins_": ["m"]}, "layers", "d") == [1, 2, 3, 7]
    text = "mixins: [m: {l: [1]}]\ncomponents: [c: {_mixins_: [m], l: {_append_: [2]}}]\n"
    assert config(text) == {"l": [1, 2]}


def test_an_entry_itself_and_values_that_are_referred_to_contain_no_directives() -> None:
    text = (
        "x: {_replace_: true, a: {_append_: [1]}, ~v: 1}\n"
        "components: [c: {_replace_: true, a: $.x, b: $.x.a, l: [{_replace_: true, k: 1}], ~v: $.x}]\n"
    )
    assert config(text) == {"a": {"a": [1], "~v": 1}, "b": [1], "l": [{"k": 1}]}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ({"layers.2": 3}, ("MissingIndex", "there is no element 2: the list has 2 elements")),
        ({"layers.-3": 3}, ("MissingIndex", "there is no element -3: the list has 2 elements")),
        ({"opt": {"_remove_": ["lrr"]}}, ("UnknownName", "no key to remove named 'lrr'")),
        ({"new": {"_remove_": ["lr"]}}, ("UnknownName", "no key to remove named 'lr'")),
        ({"_remove_": ["y"]}, ("UnknownName", "no key to remove named 'y'")),
        ({"opt": {"_remove_": "lr"}}, ("MalformedText", "`_remove_` takes a list, not 'lr'")),
        ({"opt": {"_replace_": 1}}, ("MalformedText", "`_replace_` takes true, not 1")),
        ({"layers": {"_append_": 3}}, ("MalformedText", "`_append_` takes a list, not 3")),
        ({"opt": {"_append_": [3]}}, ("MalformedText", "`_append_` adds to a list, and this is a mapping")),
        ({"opt": {"lr": {"_append_": [3]}}}, ("MalformedText", "`_append_` adds to a list, and this is 0.1")),
        ({"layers": {"_apend_": [3]}}, ("UnknownName", "no directive named '_apend_'")),
        ({"layers": {"_remove_": [1]}}, ("MalformedText", "`_remove_` takes keys of a mapping, and this is a list")),
        (
            {"layers": {"_append_": [3], "x": 1}},
            ("MalformedText", "the key 'x' stands beside `_append_` or `_prepend_`, which make a list"),
        ),
        (
            {"layers": {"_append_": [3], "2": 1}},
            ("MissingIndex", "there is no element 2: the list has 2 elements"),
        ),
        ({"_append_": [3]}, ("UnknownName", "no reserved key named '_append_'")),
        ({"ref": {"_remove_": ["lrr"]}}, ("UnknownName", "no key to remove named 'lrr'")),
    ],
)
def test_a_directive_that_does_not_fit_is_an_error(version: Any, expected: tuple[str, str]) -> None:
    ((kind, place, message),) = errors(TEXT, version=version)
    assert ((kind, message), place) == (expected, "machinable.yaml:5:5")
    assert f"in the version {version}" in str(failure(TEXT, version=version)) or "ref" in version


@pytest.mark.parametrize(
    ("version", "given", "meant"),
    [
        ({"new": {"_apend_": [1]}}, "new._apend_", "'new._append_'"),
        ({"new._apend_": [1]}, "new._apend_", "'new._append_'"),
        ({"new": [{"_remov_": [1]}]}, "new.0._remov_", "'new.0._remove_'"),
        ({"opt": {"lr": {"_apend_": [1]}}}, "opt.lr._apend_", "'opt.lr._append_'"),
        ({"layers": [{"_replce_": True}]}, "layers.0._replce_", "'layers.0._replace_'"),
        ({"new": {"_target_": 1, "_hidden": 1}}, None, ""),
    ],
)
def test_a_key_that_resembles_a_directive_is_told_where_nothing_is_declared(
    version: Any, given: str | None, meant: str
) -> None:
    warnings = resolved(TEXT, "c", version).warnings
    assert [text for text in warnings if f"no key {given!r}, so it is added. Did you mean {meant}" in text] == warnings
    assert len(warnings) == (given is not None)


def test_an_error_names_the_place_and_the_path_of_the_directive() -> None:
    text = "components:\n  - c: {a: {l: [1]}, ~v: {a.l.3: 1}}\n"
    error = failure(text, version="~v")
    assert (str(error.at), error.path) == ("machinable.yaml:2:27", "a.l.3")
    error = failure(text.replace("a.l.3: 1", "a: {_remove_: [k]}"), version="~v")
    assert (str(error.at), error.path) == ("machinable.yaml:2:31", "a._remove_")
    assert error.known == ("l",)


@pytest.mark.parametrize(
    ("name", "version", "key", "origin"),
    [
        ("c", "~replaced", "opt.name", "machinable.yaml:14:42"),
        ("c", "~more", "layers[0]", "machinable.yaml:16:51"),
        ("c", "~more", "layers[1]", "machinable.yaml:7:16"),
        ("c", "~more", "layers[3]", "machinable.yaml:16:35"),
        ("c", "~first", "layers.0", "machinable.yaml:17:16"),
        ("c", "~first", "layers.1", "machinable.yaml:7:19"),
        ("c", {"layers.-1": 3}, "layers[1]", "{'layers.-1': 3}"),
        ("c", ("~more", {"layers.-2": 3}), "layers[2]", "{'layers.-2': 3}"),
        ("c", ("~more", {"layers.-2": 3}), "layers[1]", "machinable.yaml:7:16"),
        ("c", {"layers": {"_prepend_": [0], "0": 9}}, "layers[1]", "{'layers': {'_prepend_': [0], '0': 9}}"),
        ("c", {"layers": {"_prepend_": [0], "0": 9}}, "layers[2]", "machinable.yaml:7:19"),
        ("c", {"m.0": 9}, "m.0", "{'m.0': 9}"),
        ("c", {"rows.1.a": 4}, "rows[1].a", "{'rows.1.a': 4}"),
        ("c", {"rows.1.a": 4}, "rows[0].a", "machinable.yaml:8:15"),
        ("d", None, "layers[2]", "machinable.yaml:21:27"),
        ("d", "~more", "layers[3]", "machinable.yaml:21:27"),
        ("d", "~more", "layers[4]", "machinable.yaml:16:35"),
        ("d", "~more", "layers[5]", "machinable.yaml:23:35"),
        ("d", "~more", "layers[2]", "machinable.yaml:7:19"),
        ("d", "~more", "layers", "machinable.yaml:23:15"),
        ("c", {"ref": {"x": 1}}, "ref.lr", "machinable.yaml:10:7"),
    ],
)
def test_values_that_directives_set_have_their_origin(name: str, version: Any, key: str, origin: str) -> None:
    assert resolved(TEXT, name, version).origin(key) == origin


def test_hidden_values_below_a_directive_stay_hidden() -> None:
    text = (
        "components:\n  - c: {_x: {l: [s3cret, {a: s3cret}]}, l: $self._x.l, m: $self._x,"
        " ~v: {l: {_append_: [3]}, m: {l: {1: {b: 4}}}}}\n"
    )
    found = resolved(text, version="~v")
    assert found.to_dict(hidden=False) == {
        "l": ["$self._x.l[0]", {"a": "$self._x.l[1].a"}, 3],
        "m": {"l": ["$self._x.l[0]", {"a": "$self._x.l[1].a", "b": 4}]},
    }
    assert found.to_dict()["l"] == ["s3cret", {"a": "s3cret"}, 3]


def test_a_misspelt_directive_is_a_warning() -> None:
    (warning,) = resolved(TEXT, version={"opt": {"_remov_": ["lr"]}}).warnings
    assert "has no key 'opt._remov_', so it is added. Did you mean 'opt._remove_'" in warning


def test_a_misspelt_directive_that_a_block_spells_right_is_offered_once() -> None:
    text = "components: [{c: {m: {a: 1}, ~b: {m: {_replace_: true}}}}]"
    (warning,) = resolved(text, version={"m": {"_replace": 1}}).warnings
    assert "Did you mean 'm._replace_'? (" in warning


@pytest.mark.parametrize(
    ("below", "key", "expected"),
    [
        ({0: "a"}, "1", {0: "a", 1: "z"}),
        ({0: "a"}, "-1", {0: "a", -1: "z"}),
        ({0: "a"}, "01", {0: "a", "01": "z"}),  # not how a number is written
        ({0: "a", "b": "c"}, "1", {0: "a", "b": "c", "1": "z"}),
        ({"0": "a"}, "1", {"0": "a", "1": "z"}),
        ({True: "a"}, "1", {True: "a", "1": "z"}),
        ({}, "1", {"1": "z"}),
    ],
)
def test_a_new_key_beside_number_keys_only_is_a_number(below: Any, key: str, expected: Any) -> None:
    merged = merge(below, {key: "z"})
    assert merged == expected
    assert list(map(type, merged)) == list(map(type, expected))
