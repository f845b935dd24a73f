"""Names of earlier versions: the error says what to use instead."""

from __future__ import annotations

from pathlib import Path

import pytest

import machinable as ml
from machinable import former_names


def test_a_former_name_of_the_package_is_answered_with_the_present_one() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'Experiment' any more; use ml\.Task\(\)"):
        ml.Experiment  # noqa: B018
    with pytest.raises(AttributeError, match=r"^module 'machinable' has no attribute 'Nothing'$"):
        ml.Nothing  # noqa: B018


def test_a_former_name_of_a_task_a_storage_or_an_execution_is_answered_with_the_present_one(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match=r"Task has no attribute 'name' any more; use task\.named\(text\)"):
        ml.Task().name("x")  # type: ignore[attr-defined]
    execution = ml.execute(ml.Task(lambda: 1), tmp_path / "s")
    storage = ml.Storage(tmp_path / "s")
    with pytest.raises(AttributeError, match=r"no attribute 'latest' any more; use storage\.executions\[0\]"):
        storage.latest  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(AttributeError, match=r"use execution\.trials"):
        execution.experiments  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(AttributeError, match="'Storage' object has no attribute 'trails'"):
        storage.trails  # type: ignore[attr-defined] # noqa: B018


class Former(ml.Component):
    def on_execute(self) -> list[str]:
        errors = []
        for read in (lambda: self.storage.save_data, lambda: self.observer, lambda: self.store.save_data):
            with pytest.raises(AttributeError) as caught:
                read()
            errors.append(str(caught.value))
        return errors


def test_a_former_name_of_a_component_is_answered_with_the_present_one() -> None:
    assert ml.execute(Former).trials[0].result == [
        "Former has no attribute 'storage' any more; use self.store",
        "Former has no attribute 'observer' any more; use self.record, self.store and self.log",
        "Store has no attribute 'save_data' any more; use self.store.write(name, data)",
    ]


class Uses(ml.Component):
    seed = 3

    @property
    def storage(self) -> str:
        raise AttributeError("of the property itself")

    def on_execute(self) -> int:
        with pytest.raises(AttributeError, match="of the property itself"):
            self.storage  # noqa: B018
        return self.seed


def test_a_component_may_have_members_with_former_names() -> None:
    assert ml.execute(Uses).trials[0].result == 3


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (ml, former_names.MODULE),
        (ml.Component, former_names.COMPONENT),
        (ml.Task, former_names.TASK),
        (ml.Storage, former_names.STORAGE),
        (ml.Execution, former_names.EXECUTION),
    ],
)
def test_no_former_name_is_in_use(owner: object, names: dict[str, str]) -> None:
    assert [name for name in names if name in dir(owner)] == []
