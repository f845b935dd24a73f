"""The result of resolving one use of a component."""

from __future__ import annotations

import json
import pickle

import pytest

from machinable.config.resolve import resolve
from machinable.config.resolved import OriginLayer, Origins
from tests.config.worlds import entry, failure, resolved, workspace

TEXTS = {
    "machinable.yaml": """tone: {color: blue}
mixins:
  - m: {k: 1, deep: {k: 1}}
components:
  - base:
      _mixins_: [m]
      data:
        name: a
        size: 2
      s: $.tone
      t: $.tone
      t.loud: 1
      list: [1, {x: 2}]
      env: ${E:-5}
      _h: {secret: 1}
      ~v: {data.size: 5, s: {more: 1}}
  - c^base:
      data: {name: b}
      "x.y": {"z.w": 1}
      inc: $/p.yaml
      free: {"z.w": 1, 3: {4: x}}
""",
    "p.yaml": "a: 1\nb: [2]\n",
    "v.yaml": "# first\nk:\n  2\n",
}


@pytest.mark.parametrize(
    ("key", "version", "origin"),
    [
        ("k", None, "machinable.yaml:3:9"),
        ("deep", None, "machinable.yaml:3:15"),
        ("deep.k", None, "machinable.yaml:3:22"),
        ("data", None, "machinable.yaml:18:7"),
        ("data.name", None, "machinable.yaml:18:14"),
        ("data.size", None, "machinable.yaml:9:9"),
        ("data.size", "~v", "machinable.yaml:16:12"),
        ("s", None, "machinable.yaml:10:7"),
        ("s.color", None, "machinable.yaml:10:7"),  # inside what a reference copied, the reference
        ("s.color", "~v", "machinable.yaml:10:7"),
        ("s.more", "~v", "machinable.yaml:16:30"),
        ("t.color", None, "machinable.yaml:11:10"),
        ("t.loud", None, "machinable.yaml:12:7"),
        ("list", None, "machinable.yaml:13:7"),
        ("list[0]", None, "machinable.yaml:13:14"),
        ("list.1.x", None, "machinable.yaml:13:18"),
        ("env", None, "machinable.yaml:14:7"),
        ("_h.secret", None, "machinable.yaml:15:12"),
        ("x.y", None, "machinable.yaml:19:7"),
        ("x.y.z.w", None, "machinable.yaml:19:15"),  # a key with a dot
        ("inc", None, "machinable.yaml:20:7"),
        ("inc.a", None, "p.yaml:1:1"),
        ("inc.b[0]", None, "p.yaml:2:5"),
        ("free.3.4", None, "machinable.yaml:21:28"),
        ("k", {"k": 2}, "{'k': 2}"),
        ("k", ({"k": 2}, "k: 3"), "k: 3"),
        ("data.new", {"data.new": 1}, "{'data.new': 1}"),
        ("data.name", {"data": {"new": 1}}, "machinable.yaml:18:14"),
        ("k", "v.yaml", "v.yaml:2:1"),
        ("k", ("v.yaml", "_m_"), "machinable.yaml:3:9"),
        ("_h.secret", {"_h": {"secret": "abc"}}, "{'_h': '…'}"),
        ("_h.secret", "_h: {secret: abc}", "_h: …"),
        ("_h.secret", {"_h.secret": "abc"}, "{'_h.secret': '…'}"),
    ],
)
def test_a_value_knows_where_it_was_set(key: str, version: object, origin: str) -> None:
    assert resolved(TEXTS, "c", version).origin(key) == origin


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("nope", "no key named 'nope'"),
        ("data.nam", "no key named 'data.nam'"),
        ("k.x", "no key 'k.x'"),
        ("list[2]", "no key 'list[2]'"),
        ("list.x", "no key 'list.x'"),
        ("", "no key named ''"),
        ("~v", "no key named '~v'"),
    ],
)
def test_a_key_that_is_not_there_has_no_origin(key: str, message: str) -> None:
    with pytest.raises(KeyError) as caught:
        resolved(TEXTS, "c").origin(key)
    assert str(caught.value).startswith(f"machinable.yaml:17:5: {message}\n")


def test_every_layer_that_sets_a_value_is_listed() -> None:
    found = resolved(TEXTS, "c", ("~v", {"data": {"size": 6}}, "data.size: 7", "~v"))

    assert [(link.layer, str(link.place or ""), link.text) for link in found.explain("data.size")] == [
        ("base", "machinable.yaml:9:9", "2"),
        ("~v", "machinable.yaml:16:12", "5"),
        ("here", "", "6"),
        ("here", "", "7"),
        ("~v", "machinable.yaml:16:12", "5"),
    ]
    assert found.explain("env") == [OriginLayer("base", found.place("env"), "${E:-5}")]
    assert [link.text for link in found.explain("_h")] == ["…"]
    assert [link.text for link in found.explain("_h.secret")] == ["…"]
    assert [link.text for link in found.explain("s")] == ["$.tone", "{'more': 1}".replace("'", ""), "{more: 1}"]


def test_origins_are_a_mapping_of_all_paths() -> None:
    origins = Origins(resolved("components: [c: {a: {b: 1}, l: [1]}]\n"))

    assert dict(origins) == {
        "a": "machinable.yaml:1:18",
        "a.b": "machinable.yaml:1:22",
        "l": "machinable.yaml:1:29",
    }
    assert origins.__reduce__() == (dict, (dict(origins),))


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("parts", [1, 2])
def test_pickled_origins_grow_with_the_keys_of_a_version(parts: int, as_text: bool) -> None:
    def size(keys: int) -> int:
        declared = ", ".join(f"k{key}: 0" for key in range(keys))
        given = [{f"k{key}": key for key in range(part, keys, parts)} for part in range(parts)]
        version = tuple(json.dumps(part) if as_text else part for part in given)
        return len(pickle.dumps(Origins(resolved(f"components: [c: {{{declared}}}]\n", "c", version))))

    assert size(200) < 2.5 * size(100)


# Calls


@pytest.mark.parametrize(
    "text",
    [
        "rate(0.5)",
        "rate (0.5)",
        "rate()",
        "an accuracy (top)",
        "rate(1) + 1",
        "rate(1",
        "a.b(1)",
        "f(config.x, y=flags.SEED)",
        "(1)",
        "f(1)(2)",
        "f  (1)",
        "f(')')",
    ],
)
def test_calls_stay_text(text: str) -> None:
    assert resolved(entry(f"v: {text!r}" if "'" not in text else f'v: "{text}"')).to_dict() == {"v": text}


def test_a_resolved_use_shares_nothing() -> None:
    space = workspace(entry("a: {l: [1]}"))
    first = resolve(space, "c").to_dict()
    first["a"]["l"].append(2)

    assert resolve(space, "c").to_dict() == {"a": {"l": [1]}}


def test_a_version_that_nests_too_deeply_is_an_error() -> None:
    deep: dict[str, object] = {}
    for _ in range(10_000):
        deep = {"a": deep}
    loop: list[object] = []
    loop.append(loop)

    for version in (deep, {"l": loop}, {".".join("a" * 300): 1}, {"a": {"b": _nested(250)}}, loop):
        error = failure("components: [c: {a: {b: 1}}]\n", version=version)
        assert str(error.at) == "machinable.yaml:1:14"


def _nested(depth: int) -> dict[str, object]:
    result: dict[str, object] = {}
    for _ in range(depth):
        result = {"a": result}
    return result
