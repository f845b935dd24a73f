"""Unknown keys of a version, and merging."""

from __future__ import annotations

import pytest

from tests.config.worlds import config, errors, failure, resolved

TEXT = """
shared: {size: 1, inner: {depth: 2}}
broken: $.nowhere
mixins:
  - m: {borrowed: 1, ~from_mixin: {mixed: 1}}
components:
  - c:
      _mixins_: [m]
      epochs: 10
      opt: {lr: 1}
      free: {}
      none:
      list: [1]
      s: $.shared
      _workers: 2
      dotted: {"a.b": 1}
      ~deep: {depth: 5, opt: {decay: 1}, net: {width: 1}, hole: , ~in: {nested: 1}, bad: $.broken}
      ~bad: $.broken
  - empty:
"""
STRICT = "execution: {strict: true}\n" + TEXT


@pytest.mark.parametrize(
    ("version", "new"),
    [
        ({"epochs": 1}, []),
        ({"epoch": 1}, ["epoch"]),
        ({"x": 1, "y": {"z": 1}}, ["x", "y"]),
        ({"opt": {"lr": 2, "decay": 1}}, []),
        ({"opt.rl": 2}, ["opt.rl"]),
        ({"opt": {}}, []),
        ({"opt": None}, []),
        ({"epochs": {"x": 1}}, []),  # below a scalar, null, a list, {} anything goes
        ({"none": {"x": 1}}, []),
        ({"list": {"x": 1}}, []),
        ({"free": {"x": {"y": 1}}}, []),
        ({"depth": 1, "nested": 2, "mixed": 3}, []),  # what any block sets
        ({"net": {"width": 2}}, []),
        ({"net": {"height": 2}}, ["net.height"]),
        ({"net": {"width": {"x": 1}}}, []),
        ({"hole": {"x": 1}}, []),
        ({"bad": {"x": 1}}, []),
        ({"borrowed": 2}, []),
        ({"s": {"size": 2, "inner": {"depth": 3}}}, []),  # what references give
        ({"s": {"sizes": 2, "inner": {"deep": 3}}}, ["s.sizes", "s.inner.deep"]),
        ({"_workers": 3}, []),
        ({"_worker": 3}, ["_worker"]),
        ({"_seed_": 3}, []),
        ({"~x": {"y": 1}}, []),
        (({"~x": {"y": 1}}, "~x"), []),  # a block is no override
        (("~deep", {"bad": 1}), []),
        ("_m_", []),
        (({"x": {"y": 1}}, {"x": {"z": 1}}), ["x", "x.z"]),
        (({"x": {"y": 1}}, {"x": {"y": 2}}), ["x"]),
        (({"opt": None}, {"opt.x": 1}), []),
        (({"s": {"inner": None}}, {"s.inner.x": 1}), []),
        ("epochz: 1", ["epochz"]),
        ({"dotted": {"a.c": 1}}, ["dotted.a.c"]),
        ({"_mixins_": [], "borrowed": 1}, ["borrowed"]),
    ],
)
def test_under_strict_a_new_key_is_an_error(version: object, new: list[str]) -> None:
    if not new:
        assert resolved(STRICT, version=version).warnings == []
        return
    assert errors(STRICT, version=version) == [
        ("UnknownName", "machinable.yaml:8:5", f"no key named {key!r}") for key in new
    ]


@pytest.mark.parametrize(
    ("version", "warned"),
    [
        ({"epoch": 1}, [("epoch", "'epochs'")]),
        ({"opt.rl": 2}, []),
        ({"x": 1}, []),
        ({"s": {"sizes": 2, "inner": {"depht": 3}}}, [("s.sizes", "'s.size'"), ("s.inner.depht", "'s.inner.depth'")]),
        ({"dotted": {"a.bc": 1}}, [("dotted.a.bc", "'dotted.a.b'")]),
        (({"epoch": 1}, {"epoch": 2}), [("epoch", "'epochs'")]),
        ({"nestd": 1}, [("nestd", "'nested' or 'net'")]),
        ({"_worker": 1}, [("_worker", "'_workers'")]),
    ],
)
def test_a_new_key_with_a_close_name_gives_a_warning(version: object, warned: list[tuple[str, str]]) -> None:
    found = resolved(TEXT, version=version)

    assert found.warnings == [
        f"c has no key {key!r}, so it is added. Did you mean {near}? (c is declared at machinable.yaml:7:5)"
        for key, near in warned
    ]


def test_a_component_without_keys_knows_none() -> None:
    assert errors(STRICT, "empty", {"x": 1}) == [("UnknownName", "machinable.yaml:20:5", "no key named 'x'")]
    assert config(TEXT, "empty", {"x": 1}) == {"x": 1}


def test_a_new_key_of_a_version_file_is_reported_where_it_is_written() -> None:
    texts = {"machinable.yaml": STRICT, "v.yaml": "opt:\n  rl: 2\n"}
    error = failure(texts, version="v.yaml")

    assert str(error) == (
        "v.yaml:2:3: no key named 'opt.rl'\n"
        "  in c\n"
        "    2 |   rl: 2\n"
        "          ^\n"
        "  in the version 'v.yaml', under `execution: {strict: true}`\n"
        "  Did you mean 'opt.lr'?"
    )


def test_the_versions_of_a_task_are_overrides_too() -> None:
    assert errors(STRICT, task=[{"epoch": 1}]) == [("UnknownName", "machinable.yaml:8:5", "no key named 'epoch'")]
