"""Calls of config methods: which texts are calls, how arguments are evaluated, what is an error."""

from __future__ import annotations

import math
from typing import Any

import pytest

from machinable.config.method_calls import calls_in, is_call, parse
from machinable.errors import (
    ArithmeticTypeError,
    MalformedText,
    MissingAttribute,
    MissingIndex,
    NumberTooLarge,
    UndefinedName,
    WrongType,
)

CONFIG = {"a": 2, "b": {"c": [10, {"d": "deep"}], "keys": 7}, "text": "s3cret", "none": None}
FLAGS = {"SEED": 57}


def arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    return parse(f"f({text})").evaluate(CONFIG, FLAGS)


@pytest.mark.parametrize(
    "text",
    [
        "rate(0.5)",
        "rate (4)",
        "empty()",
        "2e(5)",
        "_x(1)",
        "echo(')')",
        'echo("(", "))")',
        "rate(-(1 + 2) * 3)",
        "rate(\n 1,\n 2)",
        "rate(2**)",
        r"echo('it\'s)')",
        "größe(1)",
    ],
)
def test_text_that_consists_of_a_name_with_arguments_is_a_call(text: str) -> None:
    assert is_call(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rate",
        "rate(1",
        "rate  (1)",
        " rate(1)",
        "rate(1) ",
        "(1)",
        "an accuracy (top)",
        "accuracy (top) of run",
        "rate(1) + 1",
        "rate(1) + rate(2)",
        "accuracy (top) of run (2)",
        "self.rate(1)",
        "rate((1)",
        "rate-limit(2)",
    ],
)
def test_other_text_is_plain(text: str) -> None:
    assert not is_call(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1.5", -1.5),
        ("+2", 2),
        ("'x'", "x"),
        ("None", None),
        ("True", True),
        ("[1, [2]]", [1, [2]]),
        ("(1, 'a')", (1, "a")),
        ("{'k': [1], 2: None}", {"k": [1], 2: None}),
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("7 // 2", 3),
        ("7 % 4", 3),
        ("1 / 4", 0.25),
        ("2**-3", 0.125),
        ("10**308", 10**308),
        ("0**0", 1),
        ("config.a", 2),
        ("config['b']['c'][0]", 10),
        ("config.b.c[-1].d", "deep"),
        ("config.b.keys", 7),
        ("config.none", None),
        ("flags.SEED + config.a", 59),
        ("[config.a, {'x': flags.SEED}]", [2, {"x": 57}]),
    ],
)
def test_an_argument_is_evaluated(text: str, value: Any) -> None:
    ((given,), named) = arguments(text)

    assert (given, type(given), named) == (value, type(value), {})


def test_arguments_may_be_named_and_are_computed_for_every_call() -> None:
    call = parse("f(1, xs=[config.a])")
    first, second = call.evaluate(CONFIG, FLAGS), call.evaluate(CONFIG, FLAGS)

    assert (call.name, first) == ("f", ([1], {"xs": [2]}))
    assert first[1]["xs"] is not second[1]["xs"]


@pytest.mark.parametrize("text", ["undefined", "config.a + other", "[nan]", "os.path", "__import__"])
def test_another_name_is_a_name_error_with_the_known_names(text: str) -> None:
    with pytest.raises(UndefinedName, match=r"is not defined in the call .*\n  Use config or flags, such as config\."):
        parse(f"f({text})")


@pytest.mark.parametrize(
    "text",
    [
        "2**",
        "*config.xs",
        "**config.x",
        "1 < 2",
        "not 1",
        "~1",
        "1 if 1 else 2",
        "len([1])",
        "config.f()",
        "lambda: 1",
        "x for x in config",
        "[x for x in config]",
        "f'{config.a}'",
        "{1, 2}",
        "b'x'",
        "1j",
        "...",
        "config",
        "flags",
        "config.a[1:2]",
        "config.a[config.a]",
        "config.a[True]",
        "'x'.upper",
        "{**config.a}",
        "{[1]: 2}",
        "1 @ 2",
        "1 << 2",
        "(x := 1)",
        "a=1, a=2",
        "1) + (2",
        "\0",
        "(" * 300 + ")" * 300,
        "1 # no",
        "__import__('os').system('x')",
    ],
)
def test_anything_else_is_an_error_while_resolving(text: str) -> None:
    with pytest.raises(MalformedText, match="Arguments are numbers"):
        parse(f"f({text})")


def test_a_long_sum_is_refused_and_does_not_break_the_parser() -> None:
    with pytest.raises(MalformedText):
        parse("f(" + "+".join(["1"] * 100_000) + ")")


@pytest.mark.parametrize(
    "text", ["'a' + 'b'", "'a' * 3", "3 * [1]", "config.none + 1", "True + 1", "-'a'", "(-8) ** 0.5"]
)
def test_arithmetic_with_anything_but_real_numbers_is_a_type_error(text: str) -> None:
    with pytest.raises(ArithmeticTypeError):
        arguments(text)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9",
        "10.0**400",
        "10**309",
        "10.0**308.1",
        "0.1**-400",
        "(10**308 * 10**308) * 0.5",
        "1.0**(10**308 * 10**308)",
    ],
)
def test_a_power_that_is_too_large_is_an_overflow_error_at_once(text: str) -> None:
    with pytest.raises(NumberTooLarge):
        arguments(text)


def test_a_division_by_zero_is_that_of_python() -> None:
    with pytest.raises(ZeroDivisionError):
        arguments("1 / 0")


def test_numpy_scalars_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    config = {"x": numpy.float32(0.5), "many": numpy.ones(3)}

    assert parse("f(config.x * 2)").evaluate(config, {}) == ([1.0], {})
    with pytest.raises(ArithmeticTypeError, match="ndarray"):
        parse("f(config.many * 2)").evaluate(config, {})


def test_a_missing_key_names_the_path_and_the_known_keys() -> None:
    with pytest.raises(MissingAttribute, match=r"config\.b has no key 'x', which the call .* uses\n  Known: c, keys"):
        arguments("config.b.x")


def test_an_index_beyond_the_end_is_an_index_error() -> None:
    with pytest.raises(MissingIndex, match=r"config\.b\.c has 2 elements, but the call 'f\(config\.b\.c\[2\]\)'"):
        arguments("config.b.c[2]")


@pytest.mark.parametrize(
    "text", ["config.a.real", "config.text.upper", "config.text[0]", "config.b.c.x", "config.a * 1 + config.text"]
)
def test_attributes_of_values_cannot_be_read_and_no_value_is_shown(text: str) -> None:
    with pytest.raises(TypeError) as caught:
        arguments(text)

    assert isinstance(caught.value, (WrongType, ArithmeticTypeError))
    assert "s3cret" not in str(caught.value)


def test_a_dunder_is_only_a_key() -> None:
    with pytest.raises(MissingAttribute):
        arguments("config.__class__")


def test_odd_escapes_in_texts_give_no_warning() -> None:
    assert parse(r"f('\d')").evaluate({}, {}) == ([r"\d"], {})


def test_all_calls_of_a_configuration_are_found_with_their_paths() -> None:
    config = {"a": "f(1)", "b": {"c": ["x", "g(2)", [{"d": "h()"}]]}, "e": "f(1) + 1", "f": 3}

    assert list(calls_in(config)) == [("a", "f(1)"), ("b.c[1]", "g(2)"), ("b.c[2][0].d", "h()")]


def test_nan_stays_nan() -> None:
    ((value,), _) = parse("f(config.x ** 2)").evaluate({"x": math.nan}, {})

    assert math.isnan(value)
