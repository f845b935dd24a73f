"""The task: a builder in which a person says what shall run.

A task as plain data, as it stands in execution.json.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from machinable.config.versions import elements_of, expand_lists
from machinable.errors import ImportFailed, InvalidType, InvalidValue, MissingMember, Refused, UnknownName
from machinable.events import check_callback
from machinable.plan.plan import Plan
from machinable.plan.planner import make_plan
from machinable.plan.request import ChildRequest, ComponentRequest, Level, Named, TaskRequest
from machinable.plan.requirements import asked_requirements
from machinable.plan.resources import parse_resources
from machinable.project import Project
from machinable.serialization import Plain, as_plain

__all__ = ["Task", "task_from_data"]


class Task:
    """What shall run: components, how often, with which versions.

    Every method changes this task and returns it, so that chains and statements both work.

    Args:
        component: as the first argument of `component`; or a task, of which this becomes a copy.
        name: of the execution.
    """

    def __init__(self, component: Any = None, *, name: str | None = None) -> None:
        self.components: list[ComponentRequest] = []
        self.levels: list[Level] = []
        self.versions: list[Any] = []
        self.name: str | None = None
        self.callbacks: list[Callable[[Any], Any]] = []
        if isinstance(component, Task):
            vars(self).update(vars(component.copy()))
        elif component is not None:
            self.component(component)
        if name is not None:
            self.named(name)

    def __repr__(self) -> str:
        shown = [getattr(call.name, "__name__", call.name) for call in self.components]
        levels = "".join(f" x{level.total}" for level in self.levels)
        return f"Task({', '.join(map(str, shown))}{levels})"

    def component(
        self,
        name: Any,
        version: Any = None,
        *,
        children: Any = None,
        requires: Any = None,
        resources: Mapping[str, Any] | None = None,
        flags: Mapping[str, Any] | None = None,
        checkpoint: str | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> Task:
        """Adds a component; a list of versions gives one trial for each.

        Args:
            name: a declared name, a tuple `(name, version, …)`, a `Component` subclass, or a function.
            version: None, "~name", "_mixin_", a mapping, YAML text, a file, a tuple (merged), a list (one trial each).
            children: a child or a list of them: names, tuples, classes, mappings with `component`.
            requires: other components whose finished outputs each trial reads, laid over `_requires_` by name: a
                mapping to names, tuples, "name:artifact", classes, or None to take one back. In place of a mapping, a
                list gives the names "0", "1", ….
            resources: what each trial occupies, such as `{"cpus": 2, "memory": "4GiB"}`; laid over `_resources_`.
            flags: read by the component as `self.flags`.
            checkpoint: text; leads to `on_restore` and is the flag `CHECKPOINT`.
            tags: shown in tables and reports, never part of what tells trials apart.

        Raises:
            InvalidType, InvalidValue, WrongType, MalformedText: an argument of another form.
        """
        name, version = _name_and_version(name, version, "component")
        parse_resources(resources, "resources")
        self.components.append(
            ComponentRequest(
                name,
                version,
                tuple(_child(child) for child in _listed(children)),
                _checkpoint(checkpoint),
                _mapping(flags, "flags"),
                _mapping(tags, "tags"),
                _mapping(resources, "resources"),
                asked_requirements(requires),
            )
        )
        return self

    def repeat(self, k: int, name: str = "REPEAT") -> Task:
        """Runs the whole plan `k` times, each time with other seeds; the flags say which time it is."""
        return self._level(k, name, "repeat")

    def split(self, k: int, name: str = "SPLIT") -> Task:
        """As `repeat`, for the parts of something, such as the folds of a cross-validation."""
        return self._level(k, name, "split")

    def version(self, version: Any) -> Task:
        """Lays a version over every component and child of this task, below their own; calls accumulate."""
        if _has_list(version):
            raise InvalidType(
                "Task.version takes one version, not a list",
                given=version,
                todo="Give the list to a component: .component(name, [a, b]).",
            )
        elements_of(version)
        self.versions.append(_as_now(version))
        return self

    def tune(self, *args: Any, **kwargs: Any) -> Task:
        """Refuse: there are no searches at the moment.

        Raises:
            Refused: always.
        """
        raise Refused(
            "Task.tune: searches by Ray Tune were removed, and searches on every engine are not there yet",
            todo="List what to try as versions: .component(name, [{'lr': 0.1}, {'lr': 0.01}]).",
        )

    def on_complete(self, callback: Callable[[Any], Any]) -> Task:
        """Calls `callback(trial)` for each of this task's own trials when it has finished, reused ones too.

        Raises:
            InvalidType: it cannot be called with one argument.
        """
        check_callback(callback, "callback", "trial")
        self.callbacks.append(callback)
        return self

    def named(self, name: str) -> Task:
        """Names the execution."""
        if not isinstance(name, str):
            raise InvalidType(f"a task's name is text, not {name!r}", given=name)
        self.name = name
        return self

    def copy(self) -> Task:
        """Another task with the same wishes; changing one does not change the other."""
        task = Task(name=self.name)
        task.components = list(self.components)
        task.levels = list(self.levels)
        task.versions = list(self.versions)
        task.callbacks = list(self.callbacks)
        return task

    def plan(self, project: Project | str | os.PathLike[str] | None = None, seed: object = None) -> Plan:
        """What this task means in a project, frozen; nothing is imported or written.

        Args:
            project: a `Project` or a path; default: the working directory.
            seed: None, an int, or an execution id.

        Raises:
            ConfigurationError: the project or a configuration is wrong; everything that is wrong, together.
        """
        return make_plan(self.request, project, seed)

    @property
    def request(self) -> TaskRequest:
        """What has been asked for so far, frozen."""
        return TaskRequest(tuple(self.components), tuple(self.levels), tuple(self.versions), self.name)

    def _level(self, k: int, name: str, method: str) -> Task:
        if isinstance(k, bool) or not isinstance(k, int):
            raise InvalidType(f"{method} takes a whole number, not {k!r}", given=k)
        if k < 1:
            raise InvalidValue(f"{method} takes a number of at least 1, not {k}", given=k)
        if not isinstance(name, str):
            raise InvalidType(f"the name of a {method} is text, not {name!r}", given=name)
        if not name.isidentifier():
            raise InvalidValue(f"the name of a {method} is an identifier, not {name!r}", given=name)
        level = Level(name, k, len(self.levels))
        if level.flag("SEED") == "GLOBAL_SEED":
            raise InvalidValue(
                f"a {method} called {name!r} would hide the flag GLOBAL_SEED", given=name, todo="Take another name."
            )
        self.levels.append(level)
        return self


def _name_and_version(name: Any, version: Any, what: str) -> tuple[Named, Any]:
    if isinstance(name, tuple):
        if not name:
            raise InvalidValue(f"an empty tuple names no {what}", todo="Write (name, version, …).")
        name, *versions = name
        if versions:
            if version is not None:
                raise InvalidType(
                    f"the {what} {name!r} has a version in its tuple and another one beside it",
                    given=version,
                    todo="Put both into the tuple: (name, version, version).",
                )
            version = versions[0] if len(versions) == 1 else tuple(versions)
    if not (isinstance(name, (str, type)) or callable(name)):
        raise InvalidType(
            f"{name!r} names no {what}",
            given=name,
            todo="Give a declared name, a tuple (name, version, …), a Component subclass or a function.",
        )
    if name == "":
        raise InvalidValue(f"an empty text names no {what}")
    for one in expand_lists(version):
        elements_of(one)
    return name, _as_now(version)


def _as_now(version: Any) -> Any:
    """The version in containers of its own: one that is changed later, as in a loop, means what it meant."""
    kind = type(version)
    if kind is dict:
        return {key: _as_now(value) for key, value in version.items()}
    return kind(map(_as_now, version)) if kind is list or kind is tuple else version


def _listed(children: Any) -> Sequence[Any]:
    if children is None:
        return ()
    return children if isinstance(children, list) else [children]


_CHILD_KEYS = ("component", "version", "checkpoint", "flags")


def _child(child: Any) -> ChildRequest:
    if isinstance(child, Mapping):
        for key in child:
            if key not in _CHILD_KEYS:
                raise UnknownName("key of a child", key, _CHILD_KEYS)
        if "component" not in child:
            raise InvalidValue("a child has no `component`", given=dict(child), todo="Write {'component': name}.")
        name, version = _name_and_version(child["component"], child.get("version"), "child")
        checkpoint, flags = child.get("checkpoint"), child.get("flags")
    else:
        name, version = _name_and_version(child, None, "child")
        checkpoint = flags = None
    if not isinstance(name, (str, type)):
        raise InvalidType(f"a child is a component, not the function {name!r}", given=name)
    return ChildRequest(name, version, _checkpoint(checkpoint), _mapping(flags, "flags"))


def _checkpoint(checkpoint: Any) -> str | None:
    if checkpoint is None or isinstance(checkpoint, str):
        return checkpoint
    if isinstance(checkpoint, os.PathLike):
        return str(os.fspath(checkpoint))
    raise InvalidType(f"a checkpoint is text, not {checkpoint!r}", given=checkpoint)


def _mapping(value: Any, what: str) -> Mapping[str, Plain]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidType(f"`{what}` takes a mapping, not {value!r}", given=value)
    for key in value:
        if not isinstance(key, str):
            raise InvalidType(f"the names of `{what}` are text, not {key!r}", given=key)
    return as_plain(value, what)  # type: ignore[no-any-return]


def _has_list(version: Any) -> bool:
    return isinstance(version, list) or (isinstance(version, tuple) and any(map(_has_list, version)))


def task_from_data(data: Mapping[str, Plain]) -> Task:
    """The task that was stored as `data`, the value of `task` in execution.json.

    Classes and functions are imported now, from where `sys.path` says. What was left out is gone: hidden keys, which
    the project has again.

    Raises:
        ImportFailed, MissingMember: a class or a function cannot be found.
    """
    task = Task()
    for call in data["components"]:
        task.component(
            _from_text(call["component"]),
            call["version"],
            children=[
                {
                    "component": _from_text(child["component"]),
                    "version": child["version"],
                    "checkpoint": child["checkpoint"],
                    "flags": child["flags"],
                }
                for child in call["children"]
            ],
            requires={name: _requirement(need) for name, need in call.get("requires", {}).items()},
            flags=call["flags"],
            checkpoint=call["checkpoint"],
            tags=call["tags"],
            resources=call["resources"],
        )
    for name, total in data["levels"]:
        task.repeat(total, name)
    for version in data["versions"]:
        task.version(version)
    return task


def _requirement(need: Mapping[str, Plain] | None) -> Any:
    if need is None:
        return None
    name = _from_text(need["component"])
    if need["artifact"] is not None:
        name = f"{name}:{need['artifact']}"
    return (name, *(need["version"] if isinstance(need["version"], tuple) else (need["version"],)))


def _from_text(text: str) -> Named:
    """A declared name as it is; for `module:qualname` the class or function of that name."""
    module, colon, path = text.partition(":")
    if not colon:
        return text
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise ImportFailed(
            f"{text} does not import: {type(error).__name__}: {error}",
            given=text,
            todo="The task was made with this class or function: restore its module, or give the task again.",
        ) from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise MissingMember(
                f"there is no {path!r} in the module {module!r} any more",
                given=text,
                known=[],
                todo="The task was made with this class or function: restore it, or give the task again.",
            )
        found = getattr(found, name)
    return found  # type: ignore[no-any-return]
