from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from machinable.structs import Struct, _init, asdict, field, replace


class Point(Struct, frozen=True):
    x: int
    y: int = 0


class Named(Point, frozen=True):
    name: str = "here"
    seen: list[Any] = field(default_factory=list)


class Counter(Struct):
    count: int
    names: dict[str, int] = {}


class Node(Struct, eq=False):
    value: int


class Ranked(Struct, frozen=True, order=True):
    rank: int
    name: str


# The `__init__` of a class is general at first, and compiled when many instances have been made.
@pytest.fixture(params=["general", "compiled"], autouse=True)
def _made(request: pytest.FixtureRequest) -> None:
    if request.param == "compiled":
        for _ in range(50):
            Point(1), Named(1), Counter(1), Node(1), Ranked(1, "a")
        assert all(vars(kind)["__init__"] is not _init for kind in (Point, Named, Counter, Node, Ranked))
    else:
        for kind in (Point, Named, Counter, Node, Ranked):
            kind.struct_count, kind.__init__ = 0, _init  # type: ignore[method-assign, assignment]


def test_fields_are_given_by_position_or_name_and_have_defaults() -> None:
    assert (Point(1, 2), Point(1, y=2), Point(x=1)) == (Point(x=1, y=2), Point(1, 2), Point(1, 0))
    assert asdict(Named(1, 2)) == {"x": 1, "y": 2, "name": "here", "seen": []}
    assert repr(Named(1, name="a")) == "Named(x=1, y=0, name='a', seen=[])"


def test_instances_do_not_share_mutable_defaults() -> None:
    one, other = Counter(1), Counter(2)
    one.names["a"] = 1
    Named(1).seen.append(2)

    assert (other.names, Named(1).seen) == ({}, [])


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {}, "missing 1 required positional argument: 'x'"),
        ((1, 2, 3), {}, "takes from 2 to 3 positional arguments but 4 were given"),
        ((1,), {"x": 2}, "got multiple values for argument 'x'"),
        ((1,), {"z": 2}, "got an unexpected keyword argument 'z'"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(arguments: tuple[int, ...], named: dict[str, int], message: str) -> None:
    with pytest.raises(TypeError) as raised:
        Point(*arguments, **named)

    assert str(raised.value) == f"Point.__init__() {message}"


def test_equality_and_hash_follow_the_fields_unless_they_are_switched_off() -> None:
    assert Point(1) == Point(1) != Point(2)
    assert len({Point(1), Point(1), Named(1).x}) == 2
    assert Point(1) != Named(1)
    assert Node(1) != Node(1)
    assert len({Node(1), Node(1)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Counter(1))


def test_a_frozen_record_cannot_be_changed_and_no_record_takes_other_attributes() -> None:
    with pytest.raises(AttributeError, match="Point cannot be changed: 'x'"):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del Point(1).x  # type: ignore[misc]
    counter = Counter(1)
    counter.count += 1
    assert counter.count == 2
    with pytest.raises(AttributeError):
        counter.other = 1  # type: ignore[attr-defined]


def test_records_are_copied_replaced_pickled_ordered_and_matched() -> None:
    one = Named(1, name="a", seen=[2])

    assert replace(one, y=3) == Named(1, 3, "a", [2])
    assert [pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)] == [one] * 3
    assert sorted([Ranked(2, "a"), Ranked(1, "b"), Ranked(1, "a")]) == [Ranked(1, "a"), Ranked(1, "b"), Ranked(2, "a")]
    match one:
        case Named(x, y):
            assert (x, y) == (1, 0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        replace(one, z=1)
