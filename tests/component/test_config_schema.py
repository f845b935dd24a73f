"""Typed configurations."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from machinable.component.base import Component
from machinable.component.config_schema import typed_config
from machinable.errors import (
    InvalidType,
    MachinableError,
    MalformedText,
    MissingKey,
    SeveralErrors,
    UnknownName,
    WrongType,
)


class Color(enum.Enum):
    RED = "red"


@dataclass
class Optimizer:
    name: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.1


class Work(Component):
    @dataclass
    class Config:
        size: int
        rate: float = 0.5
        optimizer: Optimizer = field(default_factory=Optimizer)
        others: list[Optimizer] = field(default_factory=list)
        name: str | None = None
        shape: tuple[int, ...] = (1, 2)
        table: dict[str, float] = field(default_factory=dict)
        color: Color = Color.RED
        day: datetime.date | None = None
        path: Path = Path("x")
        free: Any = None
        limit: Annotated[int, "a note"] = 1
        tags: set[str] = field(default_factory=set)

        def __post_init__(self) -> None:
            if self.size == 13:
                raise ValueError("13 brings bad luck")


DEFAULTS = {
    "rate": 0.5,
    "optimizer": {"name": "sgd", "lr": 0.1},
    "others": [],
    "name": None,
    "shape": [1, 2],
    "table": {},
    "color": "red",
    "day": None,
    "path": "x",
    "free": None,
    "limit": 1,
    "tags": [],
}


def typed(config: dict[str, Any], cls: type[Component] = Work, **more: Any) -> dict[str, Any]:
    return typed_config(cls, config, **more)


def errors_of(
    config: dict[str, Any], cls: type[Component] = Work, **more: Any
) -> list[tuple[type[MachinableError], str]]:
    with pytest.raises(MachinableError) as caught:
        typed(config, cls, **more)
    errors = caught.value.errors if isinstance(caught.value, SeveralErrors) else [caught.value]
    return [(type(error), str(error).splitlines()[0]) for error in errors]


def test_without_a_config_class_nothing_changes() -> None:
    config = {"a": 1, "_h": {"b": 2}}

    assert typed(config, Component) == config


def test_values_are_coerced_and_defaults_filled_in() -> None:
    config = {
        "rate": 1,
        "size": "3",
        "optimizer": {"lr": "1e-3"},
        "others": [{"name": "adam"}],
        "shape": [1.0],
        "table": {"a": 1},
        "day": datetime.date(2026, 1, 31),
        "free": {"x": [1]},
        "tags": ["b", "a"],
        "_hidden": 5,
    }
    result = typed(config)

    assert list(result)[:3] == ["rate", "size", "optimizer"]
    assert result == DEFAULTS | {
        "rate": 1.0,
        "size": 3,
        "optimizer": {"name": "sgd", "lr": 0.001},
        "others": [{"name": "adam", "lr": 0.1}],
        "shape": [1],
        "table": {"a": 1.0},
        "day": datetime.date(2026, 1, 31),
        "free": {"x": [1]},
        "tags": ["a", "b"],
        "_hidden": 5,
    }
    assert {type(result["rate"]), type(result["size"]), type(result["shape"][0])} == {float, int}


def test_an_unknown_key_is_refused_with_the_nearest_name_at_any_depth() -> None:
    assert errors_of({"size": 1, "optimizer": {"lt": 2}, "others": [{"nam": "x"}], "ratee": 1}) == [
        (UnknownName, "no key named 'lt'"),
        (UnknownName, "no key named 'nam'"),
        (UnknownName, "no key named 'ratee'"),
    ]
    with pytest.raises(UnknownName) as caught:
        typed({"size": 1, "optimizer": {"lrr": 2}})
    assert str(caught.value) == (
        f"no key named 'lrr'\n  in optimizer.lrr\n  says {__name__}.Work.Config\n  Did you mean 'lr'?"
    )


def test_keys_that_only_mixins_bring_are_left_out_unless_declared() -> None:
    assert typed({"size": 1, "shared": 2, "rate": 3}, mixin_only={"shared", "rate"}) == DEFAULTS | {
        "size": 1,
        "rate": 3.0,
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": 1.5}, "size is 1.5, but it must be an int"),
        ({"size": True}, "size is True, but it must be an int"),
        ({"size": None}, "size is None, but it must be an int"),
        ({"size": 1, "rate": "fast"}, "rate is 'fast', but it must be a float"),
        ({"size": 1, "optimizer": {"name": "sdg"}}, "optimizer.name is 'sdg', but it must be 'sgd' or 'adam'"),
        ({"size": 1, "optimizer": 3}, "optimizer is 3, but it must be an Optimizer"),
        ({"size": 1, "others": [{"lr": []}]}, "others.0.lr is [], but it must be a float"),
        ({"size": 1, "name": 5}, "name is 5, but it must be str or null"),
        ({"size": 1, "color": "blue"}, "color is 'blue', but it must be a Color"),
        ({"size": 1, "shape": "12"}, "shape is '12', but it must be a tuple[int, ...]"),
        ({"size": 1, "tags": [1]}, "tags.0 is 1, but it must be a str"),
    ],
)
def test_a_value_of_another_kind_is_a_type_error_with_its_path(config: dict[str, Any], message: str) -> None:
    assert errors_of(config) == [(WrongType, message)]


def test_what_is_wrong_is_told_together() -> None:
    assert errors_of({"rate": "x", "limit": []}) == [
        (MissingKey, f"size has no value, and {__name__}.Work.Config needs one"),
        (WrongType, "rate is 'x', but it must be a float"),
        (WrongType, "limit is [], but it must be an int"),
    ]


def test_a_class_may_say_no_for_reasons_of_its_own() -> None:
    assert errors_of({"size": 13}) == [
        (MalformedText, f"{__name__}.Work.Config refuses the configuration: 13 brings bad luck")
    ]


def test_no_message_shows_what_may_not_be_shown() -> None:
    config = {"size": "s3cret", "rate": "s3cret", "_x": "s3cret"}

    assert errors_of(config, shown={"rate": "${TOKEN}"}) == [
        (WrongType, "size is '…', but it must be an int"),
        (WrongType, "rate is '${TOKEN}', but it must be a float"),
    ]


def test_calls_have_no_value_yet_and_pass() -> None:
    config = {"size": "base(2)", "optimizer": {"lr": "rate(1)", "_h": 1}, "rate": "3"}

    assert typed(config) == DEFAULTS | {
        "size": "base(2)",
        "rate": 3.0,
        "optimizer": {"name": "sgd", "lr": "rate(1)", "_h": 1},
    }
    assert errors_of({"size": "base(2)", "rate": []}) == [(WrongType, "rate is [], but it must be a float")]


def test_a_config_class_must_be_one_of_the_two_kinds() -> None:
    class Odd(Component):
        class Config:
            a: int = 1

    with pytest.raises(InvalidType, match="neither a dataclass nor a pydantic model"):
        typed({}, Odd)


pydantic = pytest.importorskip("pydantic")


class Inner(pydantic.BaseModel):  # type: ignore[misc,name-defined]
    lr: float = pydantic.Field(0.1, ge=0)


class Modelled(Component):
    class Config(pydantic.BaseModel):  # type: ignore[misc,name-defined]
        size: int
        inner: Inner = Inner()
        inners: list[Inner] = []
        color: Color = Color.RED
        path: Path = Path("x")
        day: datetime.date | None = None
        money: __import__("decimal").Decimal | None = None  # type: ignore[valid-type]

        @pydantic.field_validator("size")  # type: ignore[untyped-decorator,unused-ignore]
        @classmethod
        def no_bad_luck(cls, value: int) -> int:
            if value == 13:
                raise ValueError("13 brings bad luck")
            return value


MODEL_DEFAULTS: dict[str, Any] = {
    "inner": {"lr": 0.1},
    "inners": [],
    "color": "red",
    "path": "x",
    "day": None,
    "money": None,
}


def test_a_pydantic_model_coerces_and_completes_too() -> None:
    config = {"size": "3", "inner": {"lr": 1, "_h": 2}, "_hidden": 5, "money": 1.5, "color": "red", "mixed": 1}

    assert typed(config, Modelled, mixin_only={"mixed"}) == MODEL_DEFAULTS | {
        "size": 3,
        "inner": {"lr": 1.0, "_h": 2},
        "_hidden": 5,
        "money": "1.5",
    }


def test_a_pydantic_model_refuses_with_the_same_errors() -> None:
    assert errors_of({"size": 1, "siz": 1, "inners": [{"l": 2}]}, Modelled) == [
        (UnknownName, "no key named 'siz'"),
        (UnknownName, "no key named 'l'"),
    ]
    assert errors_of({"inner": {"lr": -1}, "day": "x", "inners": 3}, Modelled) == [
        (MissingKey, f"size has no value, and {__name__}.Modelled.Config needs one"),
        (MalformedText, "inner.lr is -1, but Input should be greater than or equal to 0"),
        (WrongType, "inners is 3, but Input should be a valid list"),
        (WrongType, "day is 'x', but Input should be a valid date or datetime, input is too short"),
    ]
    assert errors_of({"size": 13}, Modelled) == [(MalformedText, "size is 13, but Value error, 13 brings bad luck")]


def test_with_calls_the_other_fields_of_a_model_are_checked_for_themselves() -> None:
    assert typed({"size": "3", "inner": {"lr": "rate(1)"}, "path": "y"}, Modelled) == MODEL_DEFAULTS | {
        "size": 3,
        "inner": {"lr": "rate(1)"},
        "path": "y",
    }
    assert errors_of({"inner": {"lr": "rate(1)"}, "inners": 3}, Modelled) == [
        (MissingKey, f"size has no value, and {__name__}.Modelled.Config needs one"),
        (WrongType, "inners is 3, but Input should be a valid list"),
    ]


def test_a_model_that_takes_other_keys_gets_them() -> None:
    class Open(Component):
        class Config(pydantic.BaseModel):  # type: ignore[misc,name-defined]
            model_config = {"extra": "allow"}
            a: int = 1

    assert typed({"b": {"c": 2}}, Open) == {"b": {"c": 2}, "a": 1}
