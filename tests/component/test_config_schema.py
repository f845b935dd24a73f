"""Typed configurations."""

from __future__ import annotations

import datetime
import enum
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pydantic
import pytest
import typing_extensions
from annotated_types import Gt

import machinable as ml
from machinable.component.base import Component
from machinable.component.config_schema import declared_values, typed_config
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


class WithMethods(Component):
    """It has the config methods that are called here; they are never evaluated."""

    def config_base(self, *arguments: Any) -> None: ...

    config_rate = config_where = config_name = config_base


class Work(WithMethods):
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
    return typed_config(cls, config, **more)[0]


def errors_of(
    config: dict[str, Any], cls: type[Component] = Work, **more: Any
) -> list[tuple[type[MachinableError], str]]:
    with pytest.raises(MachinableError) as caught:
        typed(config, cls, **more)
    errors = caught.value.errors if isinstance(caught.value, SeveralErrors) else [caught.value]
    return [(type(error), str(error).splitlines()[0]) for error in errors]


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
        f"no key named 'lrr'\n  in optimizer.lrr\n  checked by {__name__}.Work.Config\n  Did you mean 'lr'?"
    )


def test_keys_that_only_mixins_set_are_left_out_unless_declared() -> None:
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
        ({"size": 1, "color": "blue"}, "color is 'blue', but it must be 'red'"),
        ({"size": 1, "shape": "12"}, "shape is '12', but it must be a tuple[int, ...]"),
        ({"size": 1, "tags": [1]}, "tags.0 is 1, but it must be a str"),
    ],
)
def test_a_value_of_another_kind_is_a_type_error_with_its_path(config: dict[str, Any], message: str) -> None:
    assert errors_of(config) == [(WrongType, message)]


def test_all_errors_are_reported_together() -> None:
    assert errors_of({"rate": "x", "limit": []}) == [
        (MissingKey, f"size has no value, and {__name__}.Work.Config needs one"),
        (WrongType, "rate is 'x', but it must be a float"),
        (WrongType, "limit is [], but it must be an int"),
    ]


def test_a_class_may_refuse_values_itself() -> None:
    assert errors_of({"size": 13}) == [
        (MalformedText, f"{__name__}.Work.Config rejects the configuration: 13 brings bad luck")
    ]


def test_messages_do_not_show_secrets() -> None:
    config = {"size": "s3cret", "rate": "s3cret", "_x": "s3cret"}

    assert errors_of(config, stored={"rate": "${TOKEN}"}) == [
        (WrongType, "size is '…', but it must be an int"),
        (WrongType, "rate is '${TOKEN}', but it must be a float"),
    ]


def test_calls_are_not_checked() -> None:
    config = {"size": "base(2)", "optimizer": {"lr": "rate(1)", "_h": 1}, "rate": "3"}

    assert typed(config) == DEFAULTS | {
        "size": "base(2)",
        "rate": 3.0,
        "optimizer": {"name": "sgd", "lr": "rate(1)", "_h": 1},
    }
    assert errors_of({"size": "base(2)", "rate": []}) == [(WrongType, "rate is [], but it must be a float")]


def test_an_annotation_that_is_not_defined_is_named() -> None:
    class Odd(Component):
        @dataclass
        class Config:
            a: Undefined = 1  # noqa: F821

    with pytest.raises(InvalidType, match=r"has an annotation that cannot be used: name 'Undefined' is not defined\n"):
        typed({"a": 1}, Odd)


def test_a_config_class_is_a_dataclass_or_a_pydantic_model() -> None:
    class Odd(Component):
        class Config:
            a: int = 1

    with pytest.raises(InvalidType, match="neither a dataclass nor a pydantic model"):
        typed({}, Odd)


class Inner(pydantic.BaseModel):
    lr: float = pydantic.Field(default=0.1, ge=0)


class Modelled(WithMethods):
    class Config(pydantic.BaseModel):
        size: int
        inner: Inner = Inner()
        inners: list[Inner] = []
        color: Color = Color.RED
        path: Path = Path("x")
        day: datetime.date | None = None
        money: Decimal | None = None

        @pydantic.field_validator("size")
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
        (MalformedText, "inner.lr is -1, but it must be greater than or equal to 0"),
        (WrongType, "inners is 3, but it must be a list[Inner]"),
        (WrongType, "day is 'x', but it must be date or null"),
    ]
    assert errors_of({"size": 13}, Modelled) == [(MalformedText, "size is 13, but 13 brings bad luck")]


def test_with_calls_the_other_fields_of_a_model_are_checked_separately() -> None:
    assert typed({"size": "3", "inner": {"lr": "rate(1)"}, "path": "y"}, Modelled) == MODEL_DEFAULTS | {
        "size": 3,
        "inner": {"lr": "rate(1)"},
        "path": "y",
    }
    assert errors_of({"inner": {"lr": "rate(1)"}, "inners": 3}, Modelled) == [
        (MissingKey, f"size has no value, and {__name__}.Modelled.Config needs one"),
        (WrongType, "inners is 3, but it must be a list[Inner]"),
    ]


def test_a_model_that_allows_extra_keys_receives_them() -> None:
    class Open(Component):
        class Config(pydantic.BaseModel):
            model_config = {"extra": "allow"}
            a: int = 1

    assert typed({"b": {"c": 2}}, Open) == {"b": {"c": 2}, "a": 1}


@dataclass
class Sgd:
    momentum: float = 0.0


class Rich(Component):
    @dataclass
    class Config:
        rate: Annotated[float, Gt(0)] = 0.1
        either: Optimizer | Sgd = field(default_factory=Optimizer)
        several: list[Sgd] | None = None
        named: dict[str, Sgd] | None = None
        pair: tuple[Optimizer, Sgd] | None = None
        price: Decimal = Decimal("1.50")
        wait: datetime.timedelta = datetime.timedelta(minutes=1)
        anything: Any = None


def test_constraints_unions_and_nested_schemas_are_checked_in_dataclasses_too() -> None:
    result = typed({"either": {"momentum": 0.9}, "pair": [{"lr": 1}, {}], "several": [{"momentum": "1"}]}, Rich)

    assert (result["either"], result["several"]) == ({"momentum": 0.9}, [{"momentum": 1.0}])
    assert result["pair"] == [{"name": "sgd", "lr": 1.0}, {"momentum": 0.0}]
    assert (result["price"], result["wait"]) == ("1.50", datetime.timedelta(minutes=1))
    assert errors_of({"rate": -1, "several": [{"momentm": 1}], "named": {"a": {"m": 1}}, "pair": [{}]}, Rich) == [
        (UnknownName, "no key named 'momentm'"),
        (UnknownName, "no key named 'm'"),
        (MalformedText, "rate is -1, but it must be greater than 0"),
        (WrongType, "pair is [{}], but it must be tuple[Optimizer, Sgd] or null"),
    ]


def test_an_error_in_one_type_of_a_union_is_reported_once() -> None:
    assert errors_of({"either": 3}, Rich) == [(WrongType, "either is 3, but it must be Optimizer or Sgd")]
    assert errors_of({"several": [{"momentum": []}]}, Rich) == [
        (WrongType, "several.0.momentum is [], but it must be a float")
    ]


def test_hidden_keys_need_no_declaration_at_any_depth() -> None:
    config = {"several": [{"_note": 1}], "anything": {"_x": {"_y": 2}}}

    result = typed(config, Rich)

    assert result["several"] == [{"momentum": 0.0, "_note": 1}]
    assert result["anything"] == {"_x": {"_y": 2}}


def test_a_member_of_an_enum_may_be_given_by_name() -> None:
    assert typed({"size": 1, "color": "RED"})["color"] == "red"


def test_a_key_that_is_no_member_of_an_enum_is_said_to_be_a_key() -> None:
    class Keyed(Component):
        class Config(pydantic.BaseModel):
            rates: dict[Color, float] = {}
            steps: dict[int, list[dict[Color, int]]] | None = None

    assert errors_of({"rates": {"blu": 1.0}, "steps": {1: [{"rad": 1}]}}, Keyed) == [
        (WrongType, "rates has the key 'blu', but a key of it must be 'red'"),
        (WrongType, "steps.1.0 has the key 'rad', but a key of it must be 'red'"),
    ]
    assert errors_of({"steps": {"x": []}}, Keyed) == [
        (WrongType, "steps has the key 'x', but a key of it must be an int"),
    ]


class Boxed(typing_extensions.TypedDict):
    depth: int
    width: typing_extensions.NotRequired[int]


class Corner(NamedTuple):
    x: int = 1


Value = TypeVar("Value")


@dataclass
class Held(Generic[Value]):
    value: Value


class Shaped(WithMethods):
    @dataclass
    class Config:
        box: Boxed = field(default_factory=lambda: Boxed(depth=1))
        corner: Corner = Corner()  # noqa: RUF009
        held: Held[int] = field(default_factory=lambda: Held(1))


def test_typed_dicts_named_tuples_and_generics_take_only_keys_that_they_declare() -> None:
    assert errors_of({"box": {"depht": 1}, "corner": {"x": 1, "y": 2}, "held": {"value": 1, "valeu": 2}}, Shaped) == [
        (UnknownName, "no key named 'depht'"),
        (UnknownName, "no key named 'valeu'"),
        (MissingKey, f"box.depth has no value, and {__name__}.Shaped.Config needs one"),
        (MalformedText, "corner.y is 2, but there is no such key"),
    ]
    assert errors_of({"box": {"depth": "a"}, "corner": {"x": "a"}, "held": {"value": "a"}}, Shaped) == [
        (WrongType, "box.depth is 'a', but it must be an int"),
        (WrongType, "corner.x is 'a', but it must be a valid integer, unable to parse string as an integer"),
        (WrongType, "held.value is 'a', but it must be a valid integer, unable to parse string as an integer"),
    ]
    assert typed({"box": {"depth": "rate(1)", "width": "2"}}, Shaped)["box"] == {"depth": "rate(1)", "width": 2}


def test_a_model_that_forbids_other_keys_reports_each_error_once() -> None:
    class Closed(Component):
        class Config(pydantic.BaseModel):
            model_config = {"extra": "forbid"}
            alpha: int = 1

    assert errors_of({"alpa": 1}, Closed) == [(UnknownName, "no key named 'alpa'")]
    assert typed({"_hidden": 1}, Closed) == {"_hidden": 1, "alpha": 1}


def test_a_validator_of_a_whole_model_does_not_print_the_configuration() -> None:
    class Guarded(Component):
        class Config(pydantic.BaseModel):
            password: str = ""

            @pydantic.model_validator(mode="after")
            def refuse(self) -> Any:
                raise ValueError("no way")

    assert errors_of({"password": "s3cret"}, Guarded) == [
        (MalformedText, f"{Guarded.__module__}.{Guarded.__qualname__}.Config rejects the configuration: no way")
    ]


@dataclass
class NoRate:
    rate: float = None  # type: ignore[assignment]


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize(
    ("default", "message"),
    [
        ("c", "the default of value is 'c', but it must be 'a' or 'b' or Optimizer"),
        (Optimizer(name="x"), "the default of value.name is 'x', but it must be 'sgd' or 'adam'"),  # type: ignore[arg-type]
    ],
)
def test_a_default_that_is_not_of_the_declared_type_is_reported(default: Any, message: str) -> None:
    class Odd(Component):
        class Config(pydantic.BaseModel):
            value: Literal["a", "b"] | Optimizer = default

    with pytest.raises(WrongType) as caught:
        typed({}, Odd)
    assert caught.value.message == message


def test_the_default_of_a_nested_schema_is_checked_where_it_is_declared() -> None:
    class Odd(Component):
        @dataclass
        class Config:
            inner: NoRate = field(default_factory=NoRate)

    with pytest.raises(WrongType) as caught:
        typed({}, Odd)
    assert caught.value.message == "the default of inner.rate is None, but it must be a float"
    assert caught.value.at is not None and caught.value.at.excerpt.strip().startswith("rate: float = None")
    assert typed({"inner": {"rate": 1}}, Odd) == {"inner": {"rate": 1.0}}


def test_defaults_may_be_calls_and_values_that_a_validator_expects_otherwise() -> None:
    class Odd(WithMethods):
        class Config(pydantic.BaseModel):
            size: int = "base(2)"  # type: ignore[assignment]
            wait: Annotated[int, pydantic.BeforeValidator(seconds)] = 3

    assert typed({}, Odd) == {"size": "base(2)", "wait": 3}


def test_an_annotation_that_is_not_a_type_is_named_with_its_place() -> None:
    class Odd(Component):
        @dataclass
        class Config:
            size: int = 1
            learning_rate: 3 = 2  # type: ignore[valid-type]

    with pytest.raises(InvalidType) as caught:
        typed({}, Odd)
    assert (caught.value.message.partition("Config ")[2], caught.value.path) == (
        "has an annotation that cannot be used: 3 is not a type",
        "learning_rate",
    )
    assert caught.value.at is not None
    assert caught.value.at.excerpt.strip().startswith("learning_rate: 3 = 2")


# what components read


class Size(enum.IntEnum):
    SMALL = 1


class Pair(enum.Enum):
    ONES = (1, 1)


class Point(NamedTuple):
    x: int
    y: int


class Declared(WithMethods):
    class Config(pydantic.BaseModel):
        path: Path = Path("x")
        wait: datetime.timedelta = datetime.timedelta(minutes=1)
        moment: datetime.datetime | None = None
        price: Decimal = Decimal("1.50")
        color: Color = Color.RED
        size: Size = Size.SMALL
        pair: Pair = Pair.ONES
        token: pydantic.SecretStr = pydantic.SecretStr("s3cret")
        shape: tuple[int, ...] = (1, 2)
        mixed: tuple[Inner, Path] = (Inner(), Path("y"))
        tags: frozenset[str] = frozenset("ab")
        point: Point = Point(1, 2)
        folders: dict[str, list[Path]] = {"a": [Path("b")]}
        either: Path | int = 3
        rate: float = 1
        doubled: Annotated[int, pydantic.AfterValidator(lambda number: number * 2)] = 1


def test_components_read_values_of_the_declared_types() -> None:
    config, stored = typed_config(Declared, {"doubled": 4, "_hidden": 1})
    values = declared_values(Declared, config)

    assert values.pop("token").get_secret_value() == "s3cret"
    assert values == {
        "path": Path("x"),
        "wait": datetime.timedelta(minutes=1),
        "moment": None,
        "price": Decimal("1.50"),
        "color": Color.RED,
        "size": Size.SMALL,
        "pair": Pair.ONES,
        "shape": (1, 2),
        "mixed": ({"lr": 0.1}, Path("y")),
        "tags": frozenset("ab"),
        "point": Point(1, 2),
        "folders": {"a": [Path("b")]},
        "either": 3,
        "rate": 1.0,
        "doubled": 8,  # validators run once
        "_hidden": 1,
    }
    assert (type(values["rate"]), type(values["size"]), type(values["point"])) == (float, Size, Point)
    assert (config["token"], stored["token"], config["pair"], stored["wait"]) == (
        "s3cret",
        "**********",
        [1, 1],
        datetime.timedelta(minutes=1),
    )


def test_calls_and_values_that_do_not_convert_back_stay_as_they_are() -> None:
    config = {"path": "where()", "shape": ["rate(1)", 2], "tags": ["name()"], "price": "odd"}

    assert declared_values(Declared, config) == {
        "path": "where()",
        "shape": ("rate(1)", 2),
        "tags": ["name()"],
        "price": "odd",
    }


def test_a_secret_is_in_no_message() -> None:
    class Guarded(Component):
        class Config(pydantic.BaseModel):
            token: Annotated[pydantic.SecretStr, pydantic.Field(min_length=8)]

    assert errors_of({"token": "s3cret"}, Guarded) == [
        (MalformedText, "token is '…', but it must have at least 8 items after validation, not 6")
    ]


TYPED = """
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

import machinable as ml


@dataclass
class Inner:
    path: Path = Path("in")


class Typed(ml.Component):
    @dataclass
    class Config:
        path: Path
        token: SecretStr
        shape: tuple[int, ...] = (1, 2)
        inner: Inner = field(default_factory=Inner)
        out: Path | None = None

    def config_out(self):
        return self.config.path / "out"

    def on_init(self, config, flags, node):
        self.given = config["path"]

    def on_execute(self):
        config = self.config
        assert config is self.config
        print(self.given.name, config.path.name, config["inner"].path.name, config.inner["path"].name, config.shape)
        print(config.out.name, config.token.get_secret_value(), config)
        config.inner.path = "else"
        config["shape"] += (3,)
        return config.to_dict()
"""


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_every_engine_gives_components_the_declared_values(
    project: Callable[..., Path], engine: str, tmp_path: Path
) -> None:
    project("components: [typed: {path: a/b, token: s3cret, out: out(), _note: 1}]", typed=TYPED)

    (trial,) = ml.execute("typed", engine=engine, storage=str(tmp_path / "results")).trials

    stored = {"path": "a/b", "token": "**********", "shape": [1, 2], "inner": {"path": "in"}, "out": "a/b/out"}
    assert trial.result == stored | {"shape": [1, 2, 3], "inner": {"path": "else"}, "_note": 1}
    assert trial.config == stored
    first, second = trial.output.splitlines()
    assert first == "b b in in (1, 2)"
    assert second == (
        "out s3cret {'path': PosixPath('a/b'), 'token': '**********', 'out': 'out()', 'shape': (1, 2), "
        "'inner': {'path': PosixPath('in')}}"
    )


class Small(pydantic.BaseModel):
    kind: Literal["small"] = "small"
    width: int = 1


class Large(pydantic.BaseModel):
    kind: Literal["large"] = "large"
    height: int = 1


def test_of_several_schemas_the_one_whose_literals_and_keys_fit_is_meant() -> None:
    class Sized(Component):
        class Config(pydantic.BaseModel):
            plain: Small | Large = Small()
            told: Annotated[Small | Large, pydantic.Field(discriminator="kind")] = Small()

    assert typed({"plain": {"height": 2}}, Sized)["plain"] == {"kind": "large", "height": 2}
    assert typed({"told": {"kind": "large", "height": 2}}, Sized)["told"] == {"kind": "large", "height": 2}
    assert errors_of({"told": {"kind": "large", "width": 2}}, Sized) == [(UnknownName, "no key named 'width'")]
    assert errors_of({"told": {"kind": "huge"}}, Sized) == [
        (MalformedText, "told is {'kind': 'huge'}, but its kind must be one of 'small', 'large'")
    ]


def test_a_value_that_fits_no_type_of_a_union_is_reported_once_with_all_of_them() -> None:
    class Either(Component):
        @dataclass
        class Config:
            x: int | list[str] = 1

    for given in ({"a": 1}, "q"):
        assert errors_of({"x": given}, Either) == [(WrongType, f"x is {given!r}, but it must be int or list[str]")]


def test_a_field_with_an_alias_takes_both_names() -> None:
    class Named(Component):
        class Config(pydantic.BaseModel):
            lr: float = pydantic.Field(1.0, alias="learning-rate")
            size: int = pydantic.Field(1, validation_alias=pydantic.AliasChoices("s", "width"))

    for given in ({"lr": 3, "size": 2}, {"learning-rate": 3, "width": 2}, {"lr": 3, "s": 2}):
        assert typed(given, Named) == {"lr": 3.0, "size": 2}


def test_messages_of_validators_do_not_show_hidden_values() -> None:
    class Checked(Component):
        class Config(pydantic.BaseModel):
            password: str
            size: int

            @pydantic.model_validator(mode="after")
            def check(self) -> Any:
                assert self.size < 2, f"too large: {self}"
                return self

    stored = {"password": "$self._password", "size": 2}
    assert errors_of({"password": "s3cret-word", "size": 2}, Checked, stored=stored) == [
        (
            MalformedText,
            f"{__name__}.{Checked.__qualname__}.Config rejects the configuration: too large: password='…' size=2",
        )
    ]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is new in Python 3.12")
def test_type_aliases_with_and_without_arguments_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aliases_of_types.py").write_text(ALIASES)
    monkeypatch.syspath_prepend(str(tmp_path))
    cls = importlib.import_module("aliases_of_types").Aliased
    assert declared_values(cls, typed({"rate": "2", "pair": [1, "3"]}, cls)) == {"rate": 2.0, "pair": (1, 3)}
    assert errors_of({"pair": [1, "q"]}, cls) == [(WrongType, "pair.1 is 'q', but it must be an int")]


ALIASES = """
from dataclasses import dataclass
from machinable import Component

type Rate = float
type Pair[T] = tuple[T, T]


class Aliased(Component):
    @dataclass
    class Config:
        rate: Rate = 1.0
        pair: Pair[int] = (1, 2)
"""


def test_the_class_in_brackets_is_the_class_config() -> None:
    class Small(Component[Optimizer]):
        pass

    class Smaller(Small):
        pass

    class Heir(Open[Optimizer]):
        pass

    class Nested(Component["Nested.Config"]):
        @dataclass
        class Config:
            depth: int = 3

    class Both(Component[Optimizer], Generic[T]):
        @dataclass
        class Config(Optimizer):
            more: int = 1

    given = {"name": "adam"}
    for component in (Small, Smaller, Heir):
        assert typed_config(component, given, given)[0] == {"name": "adam", "lr": 0.1}
    assert typed_config(Nested, {}, {})[0] == {"depth": 3}
    assert typed_config(Both, {}, {})[0] == {"name": "sgd", "lr": 0.1, "more": 1}
    assert not hasattr(Component, "Config") and not hasattr(Open, "Config")
    task = ml.Task().component(Small, {"lr": 1}).component(Smaller, {"lr": 2})
    assert [trial.config.to_dict() for trial in ml.execute(task).trials] == [
        {"name": "sgd", "lr": 1.0},
        {"name": "sgd", "lr": 2.0},
    ]


T = TypeVar("T")


class Open(Component[T]):
    """Its heirs name the class of the configuration."""


@pytest.mark.parametrize("schema", ["Optimizer", list[int] | None, Literal["a"]])
def test_what_is_in_brackets_is_a_class(schema: Any) -> None:
    with pytest.raises(InvalidType, match="which is not a class"):

        class Wrong(Component[schema]):
            pass


def test_keys_of_mappings_are_as_declared() -> None:
    class Keyed(Component):
        @dataclass
        class Config:
            colors: dict[Color, Optimizer] = field(default_factory=dict)
            paths: dict[Path, dict[int, Color]] | None = None
            texts: dict[str, Color] = field(default_factory=dict)

        def on_execute(self) -> Any:
            config = self.config
            assert config.colors[Color.RED].lr == 0.2 and config.paths[Path("a")][1] is Color.RED
            assert config.texts.red is Color.RED
            return config.to_dict()

    given = {"colors": {"red": {"lr": 0.2}}, "paths": {"a": {1: "red"}}, "texts": {"red": "red"}}
    (trial,) = ml.execute(ml.Task().component(Keyed, given)).trials

    expected = {"colors": {"red": {"name": "sgd", "lr": 0.2}}, "paths": {"a": {1: "red"}}, "texts": {"red": "red"}}
    assert trial.result == trial.config.to_dict() == expected
