"""Included files."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.config.worlds import config, entry, errors, failure, resolved, workspace


def files(main: str, **others: str) -> dict[str, str]:
    return {"machinable.yaml": main} | {
        name.replace("__", "/").replace("_", "."): text for name, text in others.items()
    }


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (files(entry("a: $/x.yaml"), x_yaml="v"), {"a": "v"}),
        (
            files(entry("a: $/p/x.yaml"), p__x_yaml="{b: $/y.yaml, d: [$/../z.json, 1]}", p__y_yaml="2", z_json="[3]"),
            {"a": {"b": 2, "d": [[3], 1]}},
        ),
        (files("components:\n  - c: $/c.yaml\n", c_yaml="a.b: 1\n~v: {a: 2}\n"), {"a": {"b": 1}}),
        (files("components: $/all.yaml\n", all_yaml="- [c: {a: 1}]\n"), {"a": 1}),
        (files("components: [$/all.yaml, d: {}]\n", all_yaml="- $/more.yaml\n", more_yaml="- c: {a: 1}\n"), {"a": 1}),
        (
            files("$/main.yaml\n", main_yaml="components:\n  - c: {a: $.components[0].d}\n  - d: 1\n")
            | {"main.yaml": "x: 1\ncomponents:\n  - c: {a: $.x}\n"},
            {"a": 1},
        ),
        (
            files(entry("a: '$/x.yaml'\nb: \"$/x.yaml\"\nd: x$/x.yaml\ne: !!str $/x.yaml")),
            {"a": "$/x.yaml", "b": "$/x.yaml", "d": "x$/x.yaml", "e": "$/x.yaml"},
        ),
        (files(entry("<<: $/x.yaml\nb: 2"), x_yaml="{a: 1, b: 1}"), {"a": 1, "b": 2}),
        (files(entry("a: $/x.yaml"), x_yaml="${X:-1}"), {"a": 1}),
        (
            files(entry("a: $/x.yaml\nb: $/x.yaml"), x_yaml="{k: $self.n}")
            | {"machinable.yaml": entry("n: 1\na: $/x.yaml\nb: $/x.yaml")},
            {"n": 1, "a": {"k": 1}, "b": {"k": 1}},
        ),
        (files(entry("~v: $/x.yaml\na: 1"), x_yaml="a: 2"), {"a": 1}),
        (
            files("includes: {one: $/x.yaml, two: {mixins: [m: {a: 1}]}}\n", x_yaml="components: [c: {_mixins_: m}]\n"),
            {"a": 1},
        ),
    ],
)
def test_a_plain_scalar_that_begins_so_is_a_file(texts: Mapping[str, str], expected: dict[str, object]) -> None:
    assert config(texts) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, -2.5e3, 1E5, true, null, "x"]}', {"a": [1, -2500.0, 1e5, True, None, "x"]}),
        ('{"a":{"b":1},"c":"d"}', {"a": {"b": 1}, "c": "d"}),
        ('{\n\t"a":\t[\n\t1]\n}\n', {"a": [1]}),
        ('{"a": "\\ud83d\\ude00 \\/ \\u00e4"}', {"a": "😀 / ä"}),
        ('{"a": "$/x.yaml", "b": "2026-01-31", "c": "yes"}', {"a": "$/x.yaml", "b": "2026-01-31", "c": "yes"}),
        ('{"a": "$self.n", "b": "${X:-y}"}', {"a": 5, "b": "y"}),
    ],
)
def test_json_is_read_as_json(text: str, expected: object) -> None:
    assert config(files(entry("n: 5\nv: $/x.json"), x_json=text))["v"] == expected


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ('{"a": 1,\n "a": 2}', ("x.json:2:2", "the key 'a' is defined twice in this mapping")),
        ('{"a": 1,\n\t"a": 2}', ("x.json:2:2", "the key 'a' is defined twice in this mapping")),
        ('{"\\ud83d\\ude00": {"a": 1, "a": 2}}', ("", "x.json: the key 'a' is defined twice in a mapping")),
        ('{"a": [1}', ("x.json:1:9", "this is not YAML: did not find expected ',' or ']'")),
    ],
)
def test_errors_in_json_are_reported(text: str, summary: tuple[str, str]) -> None:
    assert errors(files(entry("v: $/x.json"), x_json=text)) == [("MalformedText", *summary)]


@pytest.mark.parametrize(
    ("main", "others", "expected"),
    [
        (entry("a: $/no.yaml"), {}, ("MissingFile", "machinable.yaml:3:7", "no file 'no.yaml'")),
        (entry("a:\n  - 1\n  - $/no.yaml"), {}, ("MissingFile", "machinable.yaml:5:11", "no file 'no.yaml'")),
        (entry("a: $/p/x.yaml"), {"p/x.yaml": "b: $/no.yaml"}, ("MissingFile", "p/x.yaml:1:1", "no file 'p/no.yaml'")),
        (entry("a: $/x.yaml"), {"x.yaml": "b: $/x.yaml"}, ("MalformedText", "x.yaml:1:1", "a file includes itself")),
        (
            entry("a: $/x.yaml"),
            {"x.yaml": "b: $/y.yaml", "y.yaml": "- $/./p/../x.yaml"},
            ("MalformedText", "y.yaml:1:3", "a file includes itself"),
        ),
        (entry("a: $/machinable.yaml"), {}, ("MalformedText", "machinable.yaml:3:7", "a file includes itself")),
        (
            entry("a: $/x.yaml"),
            {"x.yaml": "b: [1\n"},
            ("MalformedText", "x.yaml:2:1", "this is not YAML: did not find expected ',' or ']'"),
        ),
        (entry("a: $//x.yaml"), {}, ("MalformedText", "machinable.yaml:3:7", "'$//x.yaml' is not a path of a file")),
        (entry("a: $/"), {}, ("MalformedText", "machinable.yaml:3:7", "'$/' is not a path of a file")),
        (
            "components:\n  - c: $/x.yaml\n",
            {"x.yaml": "- a"},
            ("MalformedText", "machinable.yaml:2:5", "the entry 'c' is not a mapping but a list"),
        ),
        (
            "components:\n  - $/x.yaml\n",
            {"x.yaml": "text"},
            ("MalformedText", "machinable.yaml:2:5", "an entry is a mapping `name: configuration`, not 'text'"),
        ),
        (
            "components:\n  - c: $/x.yaml\n",
            {"x.yaml": "3: 1"},
            ("MalformedText", "x.yaml:1:1", "the key '3' is not text"),
        ),
    ],
)
def test_what_is_wrong_with_an_include_is_reported_where_it_is_written(
    main: str, others: dict[str, str], expected: tuple[str, str, str]
) -> None:
    assert errors({"machinable.yaml": main} | others) == [expected]


def test_a_cycle_of_includes_is_shown() -> None:
    error = failure({"machinable.yaml": entry("a: $/x.yaml"), "x.yaml": "$/y.yaml", "y.yaml": "$/x.yaml"})

    assert error.details == ("machinable.yaml → x.yaml → y.yaml → x.yaml",)


def test_a_missing_file_neither_hides_nor_causes_other_errors() -> None:
    texts = "components:\n  - $/no.yaml\n  - c^base: {}\n  - d: {_mixins_: m, _foo_: 1}\n"

    assert errors(texts) == [
        ("MissingFile", "machinable.yaml:2:5", "no file 'no.yaml'"),
        ("UnknownName", "machinable.yaml:4:22", "no reserved key named '_foo_'"),
    ]


def test_errors_of_several_files_are_reported_together() -> None:
    texts = {
        "machinable.yaml": entry("a: $/x.yaml\na: 1\nb: $/y.yaml"),
        "x.yaml": "k: ${NOT_SET}\n",
        "y.yaml": "k: !t 1\nl: 2026-99-99\n",
    }

    assert errors(texts) == [
        ("MalformedText", "x.yaml:1:1", "the environment variable 'NOT_SET' is not set"),
        ("MalformedText", "machinable.yaml:4:7", "the key 'a' is defined twice in this mapping"),
        ("MalformedText", "y.yaml:1:1", "the tag '!t' is not allowed here"),
        ("MalformedText", "y.yaml:2:1", "'2026-99-99' is not a valid date: month must be in 1..12"),
    ]


def test_references_in_an_included_file_start_at_the_root_of_its_project() -> None:
    lib = {"vendor/lib/machinable.yaml": "x: lib\ncomponents:\n  - d: {a: $/conf/p.yaml}\n"}
    texts = {
        "machinable.yaml": "+: [lib]\nx: main\ncomponents:\n  - c^+.lib.d: {b: $/conf/p.yaml, s: 1}\n",
        "conf/p.yaml": "[$.x, $self.s, main]",
        "vendor/lib/conf/p.yaml": "[$.x, $self.s, lib]",
    }

    found = resolved(texts | lib)
    assert found.to_dict() == {"a": ["lib", 1, "lib"], "b": ["main", 1, "main"], "s": 1}
    assert [found.origin(key) for key in ("a", "a[1]", "b[2]")] == [
        "vendor/lib/machinable.yaml:3:9",
        "vendor/lib/conf/p.yaml:1:7",
        "conf/p.yaml:1:16",
    ]


def test_a_file_is_read_once() -> None:
    class Counting(dict[str, str]):
        count = 0

        def __getitem__(self, name: str) -> str:
            Counting.count += name == "x.yaml"
            return super().__getitem__(name)

    workspace(Counting({"machinable.yaml": entry("a: [$/x.yaml, $/p/../x.yaml]\nb: $/x.yaml"), "x.yaml": "1"}))

    assert Counting.count == 1
