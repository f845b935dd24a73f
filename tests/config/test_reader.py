"""Reading YAML: values, places, variables and errors."""

from __future__ import annotations

import datetime
import math
from typing import Any

import pytest
import yaml

from machinable.config.nodes import ProjectScope, Source
from machinable.config.reader import read
from machinable.errors import MalformedText
from machinable.serialization import as_plain
from tests.config.worlds import config, entry, errors, failure, resolved
from tests.golden_cases import typed


def value(text: str) -> Any:
    """What a value is read as."""
    return config(entry(f"v: {text}"))["v"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # exponents: with or without dot and sign
        ("1e-3", 0.001),
        ("5E6", 5e6),
        ("1.5e3", 1500.0),
        ("+1e3", 1000.0),
        ("-1.e3", -1000.0),
        (".5e1", 5.0),
        ("-.5E-1", -0.05),
        ("1_0e2", 1000.0),
        ("1.5e+3", 1500.0),
        ("1e400", math.inf),
        ("'1e3'", "1e3"),
        ("1e", "1e"),
        ("e3", "e3"),
        ("1e3x", "1e3x"),
        ("0x1e3", 0x1E3),
        ("!!str 1e3", "1e3"),
        ("!!float 1e3", 1000.0),
        # YAML 1.1 as it is
        ("yes", True),
        ("No", False),
        ("on", True),
        ("OFF", False),
        ("y", "y"),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("None", "None"),
        ("", None),
        ("1:30", 90),
        ("1:30.5", 90.5),
        ("012", 10),
        ("0o12", "0o12"),
        ("089", "089"),
        ("0b101", 5),
        ("1_000", 1000),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("1.", 1.0),
        (".5", 0.5),
        ("2026-01-31", datetime.date(2026, 1, 31)),
        ("2026-01-31 12:30:00", datetime.datetime(2026, 1, 31, 12, 30)),  # noqa: DTZ001
        ("'2026-01-31'", "2026-01-31"),
        ("=", "="),
        ("a=b", "a=b"),
        # the tags that there are
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("!!float 5", 5.0),
        ("!!bool 'yes'", True),
        ("!!null ''", None),
        ("!!timestamp '2026-01-31'", datetime.date(2026, 1, 31)),
        ("!!seq [1, 2]", [1, 2]),
        ("!!map {a: 1}", {"a": 1}),
    ],
)
def test_a_scalar_has_the_value_of_yaml_with_our_differences(text: str, expected: object) -> None:
    assert typed(value(text)) == typed(expected)


def test_nan_is_a_number() -> None:
    assert math.isnan(value(".nan"))


@pytest.mark.parametrize(
    "text", ["!!binary aGVsbG8=", "!!set {a}", "!!python/name:os.system ''", "!mine 3", "!!map [1]"]
)
def test_other_tags_are_errors_at_their_place(text: str) -> None:
    tag = text.split(" ")[0]

    assert errors(entry(f"v: {text}")) == [
        ("MalformedText", "machinable.yaml:3:7", f"the tag {tag!r} is not allowed here")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-13-45", "'2026-13-45' is not a valid date: month must be in 1..12"),
        ("!!int x", "'x' is not a valid integer: invalid literal for int() with base 10: 'x'"),
        ("!!bool x", "'x' is not a valid bool: 'x'"),
    ],
)
def test_a_scalar_that_is_not_what_it_claims_to_be_is_an_error(text: str, message: str) -> None:
    assert errors(entry(f"v: {text}")) == [("MalformedText", "machinable.yaml:3:7", message)]


@pytest.mark.parametrize("text", ["9" * 5000, "!!int '" + "9" * 5000 + "'"])
def test_a_number_beyond_what_python_converts_is_a_number_or_an_error(text: str) -> None:
    try:
        found = value(text)
    except MalformedText as error:
        found = str(error.at)

    assert found in ("machinable.yaml:3:7", 10**5000 - 1)


# Keys


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("on", "on"),
        ("3", "3"),
        ("012", "012"),
        ("~", "~"),
        ("2026-01-31", "2026-01-31"),
        ("1.50", "1.50"),
        ("0x1F", "0x1F"),
    ],
)
@pytest.mark.parametrize(
    ("before", "place"),
    [
        ("", "1:1"),
        ("components:\n  - c:\n      ", "3:7"),
        ("components:\n  - c:\n      ~v:\n        ", "4:9"),
        ("components:\n  - ", "2:5"),
        ("mixins:\n  - m:\n      ", "3:7"),
    ],
)
def test_a_key_that_is_not_text_is_shown_as_typed(before: str, place: str, key: str, shown: str) -> None:
    error = failure(f"{before}{key}: 1\n")

    assert (str(error.at), error.message) == (f"machinable.yaml:{place}", f"the key '{shown}' is not text")
    assert error.advice() == f'Write it in quotes: "{shown}".'


def test_every_key_that_is_not_text_is_reported() -> None:
    assert errors(entry("on: 1\na: 2\n3: {}\n")) == [
        ("MalformedText", "machinable.yaml:3:7", "the key 'on' is not text"),
        ("MalformedText", "machinable.yaml:5:7", "the key '3' is not text"),
    ]


def test_in_quotes_any_key_is_text() -> None:
    assert config(entry("'on': 1\n\"3\": 2\n!!str 4: 5")) == {"on": 1, "3": 2, "4": 5}


def test_below_the_top_any_scalar_is_a_key() -> None:
    text = entry("a: {3: a, yes: b, 1.5: c, ~: d, 2026-01-31: e, 012: f}")

    expected = {3: "a", True: "b", 1.5: "c", None: "d", datetime.date(2026, 1, 31): "e", 10: "f"}
    assert typed(config(text)) == typed({"a": expected})


@pytest.mark.parametrize("text", ["!!set {a, b}", "!mine\na: 1"])
def test_a_tag_at_the_root_has_its_place(text: str) -> None:
    assert str(failure(text).at) == "machinable.yaml:1:1"


@pytest.mark.parametrize("key", ["[1, 2]", "{a: 1}"])
def test_a_list_or_a_mapping_is_not_a_key(key: str) -> None:
    assert errors(entry(f"a: {{? {key} : 1}}")) == [
        ("MalformedText", "machinable.yaml:3:13", "a key is text or another scalar, not a list or a mapping")
    ]


@pytest.mark.parametrize(
    ("text", "place", "key", "first"),
    [
        (entry("d:\n  e: [{a: 1, 'a': 2}]"), "4:20", "a", "4:14"),
        (entry("a: 1\na?: 2"), "4:7", "a?", "3:7"),
        (entry("a: {1: x, 0x1: y}"), "3:17", "0x1", "3:11"),
        (entry("<<: {b: 2}\na: 1\na: 2"), "5:7", "a", "4:7"),
        ("components: []\nmixins: []\ncomponents: []\n", "3:1", "components", "1:1"),
    ],
)
def test_a_duplicate_key_is_an_error(text: str, place: str, key: str, first: str) -> None:
    error = failure(text)

    assert (str(error.at), error.message) == (
        f"machinable.yaml:{place}",
        f"the key {key!r} is defined twice in this mapping",
    )
    assert error.details == (f"first at machinable.yaml:{first}",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("&x {a: 2, b: 3}\nc: {<<: *x, a: 1}", {"a": 1, "b": 3}),
        ("&x {a: 2, b: 3}\nc: {a: 1, <<: *x}", {"a": 1, "b": 3}),  # wherever it stands
        ("&x {a: 1}\ny: &y {a: 2, b: 2}\nc: {<<: [*x, *y]}", {"a": 1, "b": 2}),  # the first of a list
        ("&x {a: 1}\ny: &y {a: 2}\nc: {<<: *x, <<: *y}", {"a": 2}),  # the last of several
        ("&x {a: {b: 1}}\nc: {<<: *x, a: {d: 2}}", {"a": {"d": 2}}),  # replaced, not merged
        ("&x {a: 1}\ny: &y {<<: *x, b: 2}\nc: {<<: *y}", {"a": 1, "b": 2}),
        ("&x {a: 1}\nc: {'<<': 2}", {"<<": 2}),  # in quotes a key as any other
        ("&x {a?: 1}\nc: {<<: *x}", {"a": 1}),
        ("1\nc: {<<: {a: 1}, <<: []}", {"a": 1}),
    ],
)
def test_own_keys_override_merged_ones(text: str, expected: dict[str, object]) -> None:
    assert config(entry(f"x: {text}"))["c"] == expected


def test_merged_keys_come_first_and_keep_their_places() -> None:
    found = resolved("x: &x\n  b: 1\ncomponents:\n  - c:\n      a: 2\n      <<: *x\n")

    assert list(found.to_dict()) == ["b", "a"]
    assert (found.origin("a"), found.origin("b")) == ("machinable.yaml:5:7", "machinable.yaml:2:3")


@pytest.mark.parametrize("given", ["5", "[1]", "~", "$.x"])
def test_only_mappings_can_be_merged(given: str) -> None:
    (found,) = errors(entry(f"a:\n  <<: {given}"))

    assert found[:2] == ("MalformedText", "machinable.yaml:4:9")
    assert found[2].startswith("`<<` takes a mapping or a list of mappings, not ")


def test_aliases_give_independent_copies() -> None:
    found = config(entry("a: &a {x: [1]}\nb: *a"))
    found["a"]["x"].append(2)

    assert found["b"] == {"x": [1]}


def test_the_question_mark_is_not_part_of_an_optional_key() -> None:
    text = entry("size?: 1\na.b?: 2\nd: {e?: $self.size, f: $self.a.b, 1: {g?: 5}}\n?: 4")

    assert config(text) == {"size": 1, "a": {"b": 2}, "d": {"e": 1, "f": 2, 1: {"g": 5}}, "?": 4}


@pytest.mark.parametrize("section", ["[c: {a?: 1}]", "{c: {a?: 1}}", "[[c: {a?: 1}]]", "$/x.yaml", "$/y.yaml"])
def test_keys_of_an_entry_are_optional_in_every_form_of_a_section(section: str) -> None:
    texts = {"x.yaml": "[c: {a?: 1}]", "y.yaml": "c: {a?: 1}"}
    assert config({"machinable.yaml": f"components: {section}\n", **texts}) == {"a": 1}
    assert config({"machinable.yaml": f"includes: {{x: {{components: {section}}}}}\n", **texts}) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"Who?": 1\nWho: 2', {"Who?": 1, "Who": 2}),
        ("questions: {'Who?': 1, Who?: 2}", {"questions": {"Who?": 1, "Who": 2}}),
        ("l: [{Who?: 1, Who: 2}, [{a: {b?: 3}}]]", {"l": [{"Who?": 1, "Who": 2}, [{"a": {"b?": 3}}]]}),
        ("d: $/d.json\ne: $/e.yaml", {"d": {"Who?": 1, "Who": 2}, "e": [{"Who?": 1}]}),
    ],
)
def test_a_quoted_key_and_keys_of_data_may_end_in_a_question_mark(text: str, expected: dict[str, object]) -> None:
    texts = {"machinable.yaml": entry(text), "d.json": '{"Who?": 1, "Who": 2}', "e.yaml": "- {Who?: 1}"}
    assert config(texts) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1\nc: 2\n", "machinable.yaml:3:2: this is not YAML: did not find expected ',' or ']'"),
        ("a: b: c\n", "machinable.yaml:1:5: this is not YAML: mapping values are not allowed in this context"),
        ("a: *x\n", "machinable.yaml:1:4: this is not YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "machinable.yaml:2:1: this is not YAML: a second document begins here"),
        ("a: ä\nb: \x01\n", "machinable.yaml:2:4: this is not YAML: control characters are not allowed"),
        ("a: '\n", "machinable.yaml:2:1: this is not YAML: found unexpected end of stream"),
        ("{" * 300, "machinable.yaml:1:201: nested deeper than 200 levels"),
    ],
)
def test_what_is_not_yaml_is_reported_with_its_place(text: str, message: str) -> None:
    assert str(failure(text)).splitlines()[0] == message


def test_nesting_that_the_parser_refuses_is_reported_with_its_line() -> None:
    message = str(failure("a: ä\nb: " + "[" * 3000)).splitlines()[0]

    assert message.startswith("machinable.yaml:2:") and message.endswith(": nested deeper than 200 levels")


def test_an_alias_inside_its_own_anchor_is_an_error() -> None:
    assert errors(entry("a: &x {b: *x}")) == [
        ("MalformedText", "machinable.yaml:3:10", "an alias refers to the anchor that contains it")
    ]


@pytest.mark.parametrize("text", ["", "# a comment\n", "---\n", "~\n", "\n\n", "--- \n...\n"])
def test_an_empty_file_is_an_empty_project(text: str) -> None:
    assert errors(text) == [("UnknownName", "", "no component named 'c'")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("- a\n", "a list"), ("text\n", "'text'"), ("5\n", "5"), ("$.a\n", "the reference '$.a'")],
)
def test_a_project_file_is_a_mapping(text: str, shown: str) -> None:
    assert errors(f"# one\n\n{text}") == [
        ("MalformedText", "machinable.yaml:3:1", f"a project file is a mapping, not {shown}")
    ]


@pytest.mark.parametrize("text", ["!t\ncomponents: []\n", "!t []\n"])
def test_a_tag_of_the_whole_file_has_a_place(text: str) -> None:
    assert errors(text)[0] == ("MalformedText", "machinable.yaml:1:1", "the tag '!t' is not allowed here")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("0x" + "f" * 5000, "it has more than 4,300 characters"),
        ("-0x" + "f" * 4000, "it has more than 4,300 digits"),
        ("0b" + "1" * 20_000, "it has more than 4,300 characters"),
        ("0" + "7" * 6000, "it has more than 4,300 characters"),
        ("1" * 5000, "it has more than 4,300 characters"),
        ("1" + ":59" * 100_000, "it has more than 4,300 characters"),
        ("1" + ":59" * 100_000 + ".5", "it has more than 4,300 characters"),
        ("!!int '0x" + "f" * 5000 + "'", "it has more than 4,300 characters"),
    ],
)
def test_numbers_that_cannot_be_printed_are_errors(number: str, reason: str) -> None:
    ((kind, place, message),) = errors(entry(f"v: {number}"))
    assert (kind, place) == ("MalformedText", "machinable.yaml:3:7")
    assert message.endswith(reason)
    assert len(message) < 200


def test_the_largest_numbers_that_can_be_printed_are_read() -> None:
    assert value("9" * 4300) == 10**4300 - 1
    assert value("0x" + "f" * 3500) == 16**3500 - 1


@pytest.mark.parametrize("text", ["${", "${A:-", "${A", "$ ${", "a}${", "{${", "${A:-x} ${A:-"])
@pytest.mark.parametrize("number", [1, 20_000])
def test_variables_without_an_end_are_one_error(text: str, number: int) -> None:
    assert errors(entry(f"v: '{text * number}'")) == [
        ("MalformedText", "machinable.yaml:3:7", "`${` does not begin a variable")
    ]


def test_many_variables_in_a_line_are_replaced() -> None:
    assert value("'" + "${A:-x}$${" * 20_000 + "'") == "x${" * 20_000


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\x85"])
def test_lines_end_as_in_yaml(newline: str) -> None:
    error = failure(newline.join(["components:", "  - c:", "      on: 1", ""]))

    assert str(error).splitlines()[:3] == [
        "machinable.yaml:3:7: the key 'on' is not text",
        "  in c",
        "    3 |       on: 1",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: [x, y, {z: 1.5}]\nc:\n- 1\n-\n  - 2\n",
        "a: |\n  text\n  more\nb: >-\n  folded\n  text\n",
        "a: \"\\u00e4\\n\\x41\"\nb: 'it''s'\n",
        "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3, c: 4}\nz: {<<: [{a: 9}, *x]}\n",
        "? a\n: 1\n? b\n",
        "a: 2001-12-14t21:59:43.10-05:00\nb: 12:30:45\nc: 0o7\nd: -0b1\n",
        "{a: [], b: {}, c: '', d: \"\"}",
        "a: !!str\nb: !!null\nc: ! x\n",
    ],
)
def test_everything_else_is_as_the_safe_loader_reads_it(text: str) -> None:
    assert typed(as_plain(read(Source("f.yaml", text)))) == typed(yaml.safe_load(text))


# Variables

ENVIRONMENT = {
    "N": "4",
    "HOME_DIR": "/data",
    "EMPTY": "",
    "T": "yes",
    "REF": "$.x",
    "_A1": "u",
    "BRACES": "}{",
    "NL": "a\nb",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${N}", 4),
        ('"${N}"', "4"),
        ("'${N}'", "4"),
        ("x-${N}", "x-4"),
        ("${N}${N}", 44),
        ("${N}e-1", 0.4),
        ("${T}", True),
        ("${_A1}", "u"),
        ("${M:-}", None),
        ('"${M:-}"', ""),
        ("${EMPTY}", None),
        ("${EMPTY:-5}", 5),
        ("${N:-5}", 4),
        ("${M:-5}", 5),
        ("${M:-a b}", "a b"),
        ("${M:-a: b}", "a: b"),
        ("${M:-a #b}", "a #b"),
        ("${M:-[1, 2]}", "[1, 2]"),  # a scalar stays one
        ("${M:-${N}}", "${N}"),  # the default ends at the first brace, and is not replaced again
        ("${M:-x}}", "x}"),
        ("${M:--}", "-"),
        ("${M:-:-}", ":-"),
        ("${BRACES}", "}{"),
        ("'${M:-it''s}'", "it's"),
        ('"${M:-a\\tb}"', "a\tb"),
        ('"${M:-say \\"hi\\"}"', 'say "hi"'),
        ("$${N}", "${N}"),
        ("$${", "${"),
        ("a$${b", "a${b"),
        ("$$${N}", "$${N}"),
        ("$$N", "$$N"),
        ("$N", "$N"),
        ("$", "$"),
        ("${REF}", "$.x"),
        ("'${REF}'", "$.x"),
        ("!!int ${N}", 4),
        ("!!str ${N}", "4"),
        ("!!float '${N}'", 4.0),
        ("|-\n  a ${N}\n  ${M:-b}", "a 4\nb"),
        ("'${NL}'", "a\nb"),
        # no quotes needed in flow collections
        ("{home: ${HOME_DIR:-/data}, n: ${N}}", {"home": "/data", "n": 4}),
        ("[${N}, '${N}', ${M:-a, b}, ${M:-{c}, x${N}]", [4, "4", "a, b", "{c", "x4"]),
        ("{a: $${N}, b: '$${', c: 1}", {"a": "${N}", "b": "${", "c": 1}),
        ("{${N}: a, k${N}: b, '${N}': c}", {4: "a", "k4": "b", "4": "c"}),
        ("{a: ${M:-x]y}, b: [${M:-1}]}", {"a": "x]y", "b": [1]}),
    ],
)
def test_a_variable_is_replaced_before_the_value_gets_its_type(text: str, expected: object) -> None:
    assert typed(config(entry(f"v: {text}"), environment=ENVIRONMENT)["v"]) == typed(expected)


def test_variables_are_replaced_in_all_scalars() -> None:
    texts = {
        "machinable.yaml": "name: ${NAME}\n+: ['${LIB}', {'x${LIB}': '${SRC}'}]\n_evaluate_: ${OFF}\n"
        "execution: {strict: ${OFF}}\n'components:${G}=${A}':\n"
        "  - ${C}^+.${LIB}.d=al: {'~${V}': {'b.${K}': ${N}}, _class_: ${CLASS}, _seed_: ${N}}\n",
        "vendor/lib/machinable.yaml": "components:\n  - d: {x${N}: '${N}'}\n",
        "vendor/xlib/part.txt": "",
    }
    environment = {
        "NAME": "my.project",
        "LIB": "lib",
        "SRC": "../lib",
        "OFF": "false",
        "G": "nets",
        "A": "n",
        "C": "conv",
        "V": "wide",
        "K": "k",
        "N": "4",
        "CLASS": "Conv",
    }

    found = resolved(texts, "n.conv", "~wide", environment=environment)

    assert found.to_dict() == {"x4": "4", "b": {"k": 4}}
    assert (found.component, found.class_name, found.reserved) == ("nets.conv", "Conv", {"_seed_": 4})
    assert found.evaluate is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOT_SET}", "the environment variable 'NOT_SET' is not set"),
        ("'a${NOT_SET}'", "the environment variable 'NOT_SET' is not set"),
        ("${}", "`${` does not begin a variable"),
        ("'${'", "`${` does not begin a variable"),
        ("${1A}", "`${` does not begin a variable"),
        ("${A-b}", "`${` does not begin a variable"),
        ("${A:b}", "`${` does not begin a variable"),
        ("${Ä}", "`${` does not begin a variable"),
        ("|-\n  ${A", "`${` does not begin a variable"),
    ],
)
def test_a_variable_that_cannot_be_replaced_is_an_error(text: str, message: str) -> None:
    error = failure(entry(f"a: 1\nv: {text}"))

    assert (str(error.at), error.message, error.path) == ("machinable.yaml:4:7", message, "components[0].c.v")


def test_a_variable_that_is_not_set_is_reported_once() -> None:
    text = "name: ${A}\n_evaluate_: ${A}\n+: ['${A}']\nexecution: {strict: ${A}}\nincludes: ${A}\nmixins: ${A}\n" + (
        "components:\n  - c: ${A}\n  - d: {_class_: ${A}, _seed_: ${A}, ~v: ${A}, <<: ${A}}\n  - ${A}\n  - ${A}: {}\n"
    )

    assert errors(text) == [
        ("MalformedText", f"machinable.yaml:{place}", "the environment variable 'A' is not set")
        for place in ["1:1", "2:1", "3:5", "4:13", "5:1", "6:1", "8:5", "9:9", "9:24", "9:38", "9:48", "10:5", "11:5"]
    ]


def test_comments_and_versions_have_no_variables() -> None:
    assert config(entry("a: 1 # ${X}"), version="b: ${X}") == {"a": 1, "b": "${X}"}
    assert config(entry("a: 1"), version={"b": "${X}"}) == {"a": 1, "b": "${X}"}


def test_a_private_character_next_to_a_variable_is_refused() -> None:
    assert errors("a: ${N:-1}\nb: \U000f007b\n") == [
        ("MalformedText", "", "machinable.yaml: the private character U+F007B cannot be used here")
    ]


def test_a_scope_is_that_of_the_project() -> None:
    scope = ProjectScope("lib")

    assert Source("f.yaml", "", scope).scope is scope
