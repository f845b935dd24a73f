"""The section `tasks` of a project file."""

from __future__ import annotations

from pathlib import Path

import pytest

import machinable as ml
from machinable.errors import MachinableError


def load(tmp_path: Path, text: str) -> list[str]:
    """Return the names of the tasks of a project, in order."""
    (tmp_path / "machinable.yaml").write_text(text)
    return list(ml.Project(tmp_path).workspace().main.tasks)


@pytest.mark.parametrize(
    "text",
    [
        "tasks: {a: {component: x}, b: {component: x}}",
        "tasks: [{a: {component: x}}, {b: {component: x}}]",
        "tasks: {a: {component: x}}\nincludes: {more: {tasks: {b: {component: x}}}}",
        "tasks:\n  a: {component: x}\n  b: $/task.yaml",
    ],
)
def test_tasks_are_a_mapping_a_list_of_mappings_or_included(tmp_path: Path, text: str) -> None:
    (tmp_path / "task.yaml").write_text("component: x")

    assert load(tmp_path, text) == ["a", "b"]


def test_a_project_needs_no_tasks(tmp_path: Path) -> None:
    assert load(tmp_path, "tasks:\ncomponents:\n  - a:") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: 3", "machinable.yaml:1:1: `tasks` takes a mapping of names and tasks, not 3"),
        ("tasks: [a]", "machinable.yaml:1:9: `tasks` takes a mapping of names and tasks, not 'a'"),
        ("tasks: {lr: train}", "machinable.yaml:1:9: the task 'lr' is not a mapping but 'train'"),
        ("tasks: {lr: }", "machinable.yaml:1:9: the task 'lr' is not a mapping but null"),
        ("tasks: {a-b: {component: x}}", "machinable.yaml:1:9: 'a-b' is not a name of a task"),
        ("tasks: {on: {component: x}}", "machinable.yaml:1:9: the key 'on' is not text"),
        ("tasks: [{a: {component: x}}, {a: {component: x}}]", "machinable.yaml:1:31: the task 'a' is declared twice"),
    ],
)
def test_a_section_of_another_form_is_an_error_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MachinableError) as caught:
        load(tmp_path, text)

    assert str(caught.value).splitlines()[0] == message
    assert caught.value.parts[0].todo


@pytest.mark.parametrize(
    ("components", "task"),
    [
        ("components: [{net: {}}]", "net"),
        ("components: [{net=n: {}}]", "n"),
        ("components:models: [{net: {}}]", "net"),
        ("components: [{base: {}}, {net^base: {}}]", "net"),
    ],
)
def test_a_name_of_a_task_and_a_component_is_an_error_at_both_places(
    tmp_path: Path, components: str, task: str
) -> None:
    with pytest.raises(MachinableError) as caught:
        load(tmp_path, f"{components}\ntasks:\n  {task}: {{component: net}}")

    text = str(caught.value)
    assert text.startswith(f"machinable.yaml:3:3: {task!r} is the name of a task and of a component")
    assert "is declared at machinable.yaml:1:" in text
    assert "Rename one of them" in text
