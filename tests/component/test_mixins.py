"""Mixins bound to components."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest

from machinable.component.base import Component, Mixin
from machinable.component.mixins import Binding
from machinable.plan.spec import MixinSpec
from tests.component.worlds import World, spec


class Base(Mixin):
    def inherited(self) -> str:
        return f"inherited by {type(self).__name__}"


class Tools(Base):
    nothing = None
    zero = 0
    Inner = dict
    sort = sorted

    def add(self, x: int) -> Any:
        """Adds."""
        self.total = x + 1
        return self.__mixin__.double(self.total)

    def double(self, x: int) -> int:
        return 2 * x

    @property
    def role(self) -> str:
        return f"{self.name} {self.__mixin__.double(2)}"

    @role.setter
    def role(self, value: str) -> None:
        self.name = value

    @functools.cached_property
    def expensive(self) -> list[int]:
        return [self.__mixin__.double(1)]

    @staticmethod
    def half(x: float) -> float:
        return x / 2

    @classmethod
    def called(cls) -> str:
        return cls.__name__

    @functools.lru_cache  # noqa: B019
    def cached(self, x: int) -> Any:
        return x + len(self.name) + self.__mixin__.double(1)

    half_double = functools.partialmethod(double, 0.5)

    def fails(self) -> None:
        raise ValueError("as it should")

    def nested(self) -> list[Any]:
        inner = self._other_.which()
        return [inner, self.__mixin__.which()]

    def which(self) -> str:
        return "tools"

    def steps(self, n: int) -> Iterator[int]:
        try:
            for i in range(n):
                got = yield self.__mixin__.double(i)
                if got:
                    yield got
        except KeyError as error:
            yield error.args[0]
        finally:
            self.closed = self.__mixin__.which()


class Other(Mixin):
    def which(self) -> str:
        return self.__mixin__.__class__.__name__ and "other"


class Work(Component):
    name = "work"


@pytest.fixture
def work() -> Any:
    component = Work()
    component._tools_ = Binding(Tools, component)  # type: ignore[attr-defined]
    component._other_ = Binding(Other, component)  # type: ignore[attr-defined]
    return component


def test_methods_run_with_the_component_as_self_and_reach_the_mixin(work: Any) -> None:
    assert (work._tools_.add(2), work.total, work._tools_.inherited()) == (6, 3, "inherited by Work")
    assert (work._tools_.add.__name__, work._tools_.add.__doc__) == ("add", "Adds.")
    assert not hasattr(work, "__mixin__")


def test_other_members_are_returned_unchanged(work: Any) -> None:
    tools = work._tools_

    assert (tools.nothing, tools.zero, tools.Inner, tools.sort([2, 1])) == (
        None,
        0,
        dict,
        [1, 2],
    )
    assert (tools.half(3), tools.called(), tools.half_double(), tools.cached(1)) == (1.5, "Tools", 1.0, 7)
    assert (tools.role, tools.expensive, work.expensive) == ("work 4", [2], [2])
    assert tools.expensive is tools.expensive


def test_assignments_set_attributes_of_the_component(work: Any) -> None:
    work._tools_.role = "new"
    work._tools_.fresh = 1

    assert (work.name, work.fresh) == ("new", 1)


def test_a_mixin_is_active_again_after_it_used_another_one(work: Any) -> None:
    assert work._tools_.nested() == ["other", "tools"]
    with pytest.raises(ValueError, match="as it should"):
        work._tools_.fails()
    assert not hasattr(work, "__mixin__")


def test_a_generator_reaches_the_mixin_whenever_it_runs(work: Any) -> None:
    steps = work._tools_.steps(3)
    assert (next(steps), hasattr(work, "__mixin__"), steps.send(9), next(steps)) == (0, False, 9, 2)
    assert steps.throw(KeyError("thrown")) == "thrown"
    assert (list(steps), work.closed) == ([], "tools")
    steps = work._tools_.steps(3)
    next(steps)
    del work.closed
    steps.close()
    assert work.closed == "tools"


def test_an_unknown_member_names_the_mixin(work: Any) -> None:
    with pytest.raises(AttributeError, match="the mixin Tools has no member 'nowhere'"):
        work._tools_.nowhere  # noqa: B018
    assert "add" in dir(work._tools_) and repr(work._tools_) == "<mixin Tools of Work>"


def test_the_module_of_a_mixin_is_imported_on_first_access() -> None:
    class Uses(Component):
        def on_after_init(self) -> None:
            assert self._tools_.half(4) == 2

        def on_execute(self) -> object:
            with pytest.raises(ImportError):
                self._absent_  # noqa: B018
            return [self._tools_.called(), self._tools_ is self._tools_]

    mixins = MixinSpec("_tools_", __name__, "Tools"), MixinSpec("_absent_", "no_such_module_here")
    assert World(Uses, spec(mixins=mixins)).ended.result == ["Tools", True]
