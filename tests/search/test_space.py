"""Spaces: how they are written, read from text, stored, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import machinable as ml
from machinable.errors import MachinableError, Place
from machinable.search.domains import Choice
from machinable.search.space import Space, read_domain, read_space

CONDITIONAL = ml.choice([{"name": "sgd", "momentum": ml.uniform(0, 1)}, {"name": "adam"}, ml.randint(1, 3)])
SPACE = {
    "rate": ml.loguniform(1e-4, 1e-1),
    "data": {"noise": {"uniform": [0, 1]}, "size": ml.quniform(0, 1, 0.5)},
    "optimizer": CONDITIONAL,
    "depth": {"grid_search": [1, 2]},
    "~": ml.choice(["~small", "~large"]),
}


def test_a_space_is_read_from_domains_and_from_yaml() -> None:
    space = read_space(SPACE)

    assert space.paths == ("rate", "data.noise", "data.size", "optimizer", "depth", "~")
    assert space.domains["depth"] == ml.grid([1, 2])
    assert list(space.settings) == [
        "rate", "data.noise", "data.size", "optimizer", "optimizer[0].momentum", "optimizer[2]", "depth", "~"
    ]  # fmt: skip
    assert read_space(json.loads(json.dumps(space.plain()))) == space


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=20, max_size=20))
def test_what_is_drawn_is_in_the_space_and_leads_back_to_what_was_picked(units: list[float]) -> None:
    space = read_space(SPACE)
    picked: dict[str, Any] = {}

    def pick(name: str, domain: Any) -> Any:
        unit = units[len(picked)]
        picked[name] = int(unit * len(domain.options)) if isinstance(domain, Choice) else domain.from_unit(unit)
        return picked[name]

    values = space.draw(pick)

    assert space.read(json.loads(json.dumps(values))) == values
    assert space.picks(values) == picked


def test_all_combinations_are_those_of_every_option_and_the_last_key_varies_fastest() -> None:
    space = read_space({"a": ml.choice([{"b": ml.randint(1, 2), "c": 0}, {"b": 9}, 5]), "d": ml.quniform(0, 0.2, 0.2)})

    assert space.size == 8
    assert [space.combination(number) for number in range(8)] == [
        {"a": {"b": 1, "c": 0}, "d": 0.0},
        {"a": {"b": 1, "c": 0}, "d": 0.2},
        {"a": {"b": 2, "c": 0}, "d": 0.0},
        {"a": {"b": 2, "c": 0}, "d": 0.2},
        {"a": {"b": 9}, "d": 0.0},
        {"a": {"b": 9}, "d": 0.2},
        {"a": 5, "d": 0.0},
        {"a": 5, "d": 0.2},
    ]
    assert read_space(SPACE).size is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "a space is a mapping from keys to domains, not 3"),
        (ml.uniform(0, 1), "a space is a mapping from keys to domains, not uniform(0, 1)"),
        ({}, "the space is empty"),
        ({"rate": 0.1}, "0.1 is not a domain\n  in rate\n  Set a value that does not vary in the version of the task"),
        ({"rate": [1, 2]}, "[1, 2] is not a domain\n  in rate\n  Write choice([1, 2]) to choose one, grid([1, 2])"),
        ({"rate": ml.uniform}, "uniform is a function, not a domain\n  in rate\n  Call it: uniform(…)."),
        ({"rate": "uniform(0, 1)"}, "'uniform(0, 1)' is text, not a domain\n  in rate\n  Write {uniform: [0, 1]}."),
        ({"rate": {"unifrm": [0, 1]}}, "no domain named 'unifrm'\n  in rate\n  Did you mean 'uniform'"),
        ({"rate": {"uniform": ["1e-4", 1]}}, "low of uniform('1e-4', 1) is '1e-4', not a number\n  in rate"),
        ({"a": ml.uniform(0, 1), "a.b": ml.uniform(0, 1)}, "'a.b' is part of 'a', which has a domain, too"),
        ({"a": {"b": ml.uniform(0, 1)}, "a.b": ml.uniform(0, 1)}, "'a.b' is twice in the space"),
        ({"": ml.uniform(0, 1)}, "'' is not a key"),
        ({"a..b": ml.uniform(0, 1)}, "'a..b' is not a key"),
        ({"_token": ml.choice(["a"])}, "'_token' is a hidden key, which a search cannot choose"),
        ({"~": ml.uniform(0, 1)}, "a version is one of several, not uniform(0, 1)"),
        ({"a": {"~": ml.choice(["~b"])}}, "'a.~' is not a key: '~' alone is the version"),
        ({"a": {}}, "{} is not a domain"),
        ({"a": None}, "None is not a domain"),
        (  # momentum: uniform(0,1), in a mapping of YAML
            {"a": ml.choice([{"momentum": "uniform(0", "1)": None}, 0])},
            "'uniform(0' is a part of a domain\n  in a[0].momentum\n  Write {uniform: [0, 1]} instead of a call.",
        ),
    ],
)
def test_a_wrong_space_is_refused(given: Any, message: str) -> None:
    with pytest.raises(MachinableError) as raised:
        read_space(given)

    assert message in str(raised.value)


def test_all_wrong_domains_are_reported_together() -> None:
    with pytest.raises(MachinableError) as raised:
        read_space({"a": {"uniform": [1, 0]}, "b": 3, "c": ml.uniform(0, 1)})

    assert [error.path for error in raised.value.parts] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("loguniform(1e-4,1e-1)", ml.loguniform(1e-4, 1e-1)),
        (" quniform( 0, 1, 0.25 ) ", ml.quniform(0, 1, 0.25)),
        ("randint(1,8)", ml.randint(1, 8)),
        ("choice(sgd,adam)", ml.choice(["sgd", "adam"])),
        ("choice([sgd,adam])", ml.choice(["sgd", "adam"])),
        ("choice([32],[64,64])", ml.choice([[32], [64, 64]])),
        ("choice('a)', null)", ml.choice(["a)", None])),
        ("grid_search(1,2)", ml.grid([1, 2])),
        ("choice({name: sgd, momentum: {uniform: [0, 1]}}, {name: adam})",
         ml.choice([{"name": "sgd", "momentum": ml.uniform(0, 1)}, {"name": "adam"}])),
        ("{loguniform: [1e-4, 1e-1]}", ml.loguniform(1e-4, 1e-1)),
    ],
)  # fmt: skip
def test_a_domain_is_read_from_text(text: str, domain: Any) -> None:
    assert read_domain(text) == domain


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "'' is not a domain"),
        ("0.1,0.2", 1, "'0.1,0.2' is not a domain"),
        ("log_uniform(1,2)", 1, "no domain named 'log_uniform'"),
        ("uniform 0 1", 8, "'uniform 0 1' has no arguments in parentheses"),
        ("uniform[0,1]", 8, "'uniform[0,1]' has no arguments in parentheses"),
        ("uniform(0,1", 12, "the parenthesis of uniform is not closed"),
        ("uniform(0,1) x", 13, "' x' follows the domain"),
        ("uniform(0,[1)", 14, "the arguments are not YAML"),
        ("uniform(a,b)", 1, "low of uniform('a', 'b') is 'a', not a number"),
        ("uniform(1,0)", 1, "the lower bound of uniform(1, 0) is not less than its upper bound"),
        ("choice()", 1, "choice has no values: its list is empty"),
        ("{uniform: 3}", 1, "the bounds of uniform are not a list but 3"),
        ("{low: 3}", 1, "'{low: 3}' is not a domain"),
    ],
)
def test_an_error_in_text_points_at_its_character(text: str, column: int, message: str) -> None:
    with pytest.raises(MachinableError) as raised:
        read_domain(text)

    assert raised.value.message.startswith(message)
    assert raised.value.at == Place("domain", 1, column, text)


def test_the_caller_places_an_error_in_text() -> None:
    with pytest.raises(MachinableError) as raised:
        read_domain("uniform(0,1", lambda character: Place("command line", 1, 10 + character, "…"))

    assert str(raised.value.at) == "command line:1:21"


def test_a_space_is_itself_again() -> None:
    space = Space({"a": ml.uniform(0, 1)})

    assert read_space(space) is space
