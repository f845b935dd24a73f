"""The section `tasks`: what a project declares to be executed by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from machinable.config.nodes import (
    UNREADABLE,
    MappingNode,
    Mark,
    SequenceNode,
    Source,
    described,
    key_is_not_text,
    unwrapped,
)
from machinable.config.registry import Registry
from machinable.errors import MachinableError, MalformedText, Place

__all__ = ["TaskEntry", "clashes", "read_tasks"]

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_TODO = "Write `tasks: {name: {component: …}}`."


class TaskEntry(Struct, eq=False):
    """A declared task: its name, what it declares, and where it is written."""

    name: str
    body: MappingNode
    source: Source
    mark: Mark

    @property
    def place(self) -> Place:
        """The place of its name."""
        return self.source.place(self.mark)

    @property
    def project(self) -> str:
        """The name of its project; "" for the executing one."""
        return self.source.scope.name

    @property
    def components(self) -> list[str]:
        """The names of its components for the executing project, each once; those that are not text are left out."""
        listed = unwrapped(self.body.get("components"))
        items = listed if isinstance(listed, SequenceNode) else [self.body.get("component")]
        names = (unwrapped(one.get("component") if isinstance(one, MappingNode) else one) for one in items)
        return list(dict.fromkeys(self.own_name(name) for name in names if type(name) is str))

    def own_name(self, name: str) -> str:
        """Return the name by which the executing project knows a component that the task names."""
        return f"+.{self.project}.{name}" if self.project and not name.startswith("+.") else name


def read_tasks(sections: Iterable[tuple[Any, Place]], errors: list[MachinableError]) -> dict[str, TaskEntry]:
    """Return the tasks of a project file, by name; what they contain is checked when they are used.

    Args:
        sections: The value and place of each section `tasks`, those in includes among them.
        errors: Collects errors: names that are not names or are used twice, tasks that are not mappings.
    """
    tasks: dict[str, TaskEntry] = {}
    for name, value, section in _items(sections, errors):
        if type(name) is not str:
            errors.append(key_is_not_text(name, section, "tasks"))
            continue
        at, path = section.place(name), f"tasks.{name}"
        if not _NAME.fullmatch(name):
            message = f"{name!r} is not a name of a task"
            todo = "Write letters, digits and underscores, not beginning with a digit."
            errors.append(MalformedText(message, at=at, path="tasks", given=name, todo=todo))
        elif name in tasks:
            message = f"the task {name!r} is declared twice"
            details = [f"first at {tasks[name].place}"]
            todo = "Keep one of them, or rename one."
            errors.append(MalformedText(message, at=at, path=path, given=name, details=details, todo=todo))
        elif isinstance(value, MappingNode):
            tasks[name] = TaskEntry(name, value, section.source, section.marks[name])
        elif value is not UNREADABLE:
            message = f"the task {name!r} is not a mapping but {described(value)}"
            text = unwrapped(value)
            todo = f"Write `{name}: {{component: {text if type(text) is str else '…'}}}`."
            errors.append(MalformedText(message, at=at, path=path, given=described(value), todo=todo))
    return tasks


def _items(
    sections: Iterable[tuple[Any, Place]], errors: list[MachinableError]
) -> Iterator[tuple[Any, Any, MappingNode]]:
    """Yield name, value and mapping of each task; a section may be null, a mapping, or a list of mappings."""
    for value, at in sections:
        if isinstance(value, MappingNode):
            for name, task in value.items():
                yield name, task, value
        elif isinstance(value, SequenceNode):
            yield from _items([(item, value.place(i)) for i, item in enumerate(value)], errors)
        elif value is not None and value is not UNREADABLE:
            message = f"`tasks` takes a mapping of names and tasks, not {described(value)}"
            errors.append(MalformedText(message, at=at, path="tasks", given=described(value), todo=_TODO))


def clashes(tasks: Iterable[TaskEntry], components: Registry) -> Iterator[MalformedText]:
    """Yield an error for each task whose name also names a component."""
    for task in tasks:
        entry = components.lookup(task.name)
        if entry is not None:
            yield MalformedText(
                f"{task.name!r} is the name of a task and of a component",
                at=task.place,
                path=f"tasks.{task.name}",
                given=task.name,
                details=[f"the component {entry.key!r} is declared at {entry.place}"],
                todo="Rename one of them: both are executed by name.",
            )
