"""The task: a builder that describes what to run."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from msgspec import structs

from machinable.config.nodes import without_keys
from machinable.config.versions import MAX_ALTERNATIVES, alternatives, elements_of, expand_lists
from machinable.errors import ImportFailed, InvalidType, InvalidValue, MissingMember, UnknownName, near_names
from machinable.events import check_callback
from machinable.former_names import TASK, find_former_name
from machinable.plan.plan import Plan
from machinable.plan.planner import make_plan
from machinable.plan.request import ChildRequest, ComponentRequest, Level, Named, TaskRequest
from machinable.plan.reserved_keys import parse_resources
from machinable.plan.search import SearchRequest, former_arguments, search_from_data, search_request
from machinable.plan.search_plan import SearchPlan
from machinable.plan.written_uses import asked_requirements, check_names, is_stored_trial
from machinable.project import Project
from machinable.serialization import Plain, as_plain, canonical

__all__ = ["Task", "laid_over", "task_from_data"]


class Task:
    """A description of what to run: components, how often, and with which versions.

    Every method changes this task and returns it, so that chains and statements both work.

    Args:
        component: As the first argument of `component`; or a task to copy, or the plan of one.
        name: Name of the execution.
    """

    def __init__(self, component: Any = None, *, name: str | None = None) -> None:
        self.components: list[ComponentRequest] = []
        self.levels: list[Level] = []
        self.versions: list[Any] = []
        self.versions_of: list[tuple[Named, Any]] = []
        self.execution_name: str | None = None
        self.callbacks: list[Callable[[Any], Any]] = []
        self.settings: Mapping[str, Any] = {}  # of the section `execution` of a declared task
        self.search: SearchRequest | None = None
        # Where stored trials that it requires are, if not in the storage of the execution
        self.stored_in: str | None = None
        # What a search that is repeated has done, as lines of its ledger
        self.repeated: Sequence[Mapping[str, Any]] | None = None
        if isinstance(component, Task):
            vars(self).update(vars(component.copy()))
        elif isinstance(component, Plan):
            request = component.request
            self.components, self.levels = list(request.components), list(request.levels)
            self.versions, self.versions_of = list(request.versions), list(request.versions_of)
            self.execution_name = request.name
            self.settings, self.search = request.settings, request.search
        elif component is not None:
            self.component(component)
        if name is not None:
            self.named(name)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return find_former_name(self, name, TASK)

    def __repr__(self) -> str:
        names = [getattr(call.name, "__name__", call.name) for call in self.components]
        levels = "".join(f" x{level.total}" for level in self.levels)
        searched = "" if self.search is None else f", {self.search.samples or ''} samples".replace(",  ", ", ")
        return f"Task({', '.join(map(str, names))}{levels}{searched})"

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
        """Add a component. A list of versions gives one trial for each.

        Args:
            name: A declared name, a tuple `(name, version, …)`, a `Component` subclass, or a function.
            version: None, "~name", "_mixin_", a mapping, YAML text, a file, a tuple (merged), a list (one trial each).
            children: A child or a list of them, which may be empty, instead of the declared ones, or a mapping of names
                to children, merged over `_children_`, where None removes one. A child is a name, a tuple, a class, or a
                mapping with `component`, which may lack in a mapping of names: then `version` is laid over the
                declared child.
            requires: Other components whose outputs each trial reads, merged over `_requires_` by name: a mapping to
                names, tuples, "name:artifact", classes, stored trials "OY1p1o/9c2Eap", lists of such (several under one
                name), or None to remove one. A list gives the names "0", "1", ….
            resources: What each trial occupies, such as `{"cpus": 2, "memory": "4GiB"}`; merged over `_resources_`.
            flags: Values that the component reads in `self.flags`.
            checkpoint: Text that `on_restore` receives; also the flag `CHECKPOINT`.
            tags: Notes for tables and reports. They do not distinguish trials.

        Raises:
            InvalidType, InvalidValue: An argument has another type, or a name is empty.
            WrongType, MalformedText: A version, a requirement or a resource is wrong.
        """
        name, version = _name_and_version(name, version, "component")
        parse_resources(resources, "resources")
        self.components.append(
            ComponentRequest(
                name,
                version,
                _children(children),
                asked_requirements(requires),
                _mapping(flags, "flags"),
                _checkpoint(checkpoint),
                _mapping(tags, "tags"),
                _mapping(resources, "resources"),
            )
        )
        return self

    def repeat(self, k: int, name: str = "REPEAT") -> Task:
        """Run the whole plan `k` times, each time with different seeds.

        Args:
            k: How often.
            name: Prefix of the flags that identify the repetition, such as `REPEAT_NUMBER`.

        Raises:
            InvalidType, InvalidValue: `k` is not a number of at least 1, or `name` is not an identifier.
        """
        return self._level(k, name, "repeat")

    def split(self, k: int, name: str = "SPLIT") -> Task:
        """Run the whole plan `k` times, as `repeat` does, for parts such as the folds of a cross-validation."""
        return self._level(k, name, "split")

    def version(self, version: Any, *, of: Any = None) -> Task:
        """Merge a version over every component and child of this task, below their own. Calls accumulate.

        Args:
            version: As in `component`, but not a list.
            of: The name or the class of one component. The version is then for that one wherever it stands: listed, a
                child, or required at any depth. It is merged over all others, so that it always takes effect.

        Raises:
            InvalidType: It is a list, or `of` is not a component.
            WrongType: It contains a value that is not plain data.
        """
        if _has_list(version):
            raise InvalidType(
                "Task.version takes one version, not a list",
                given=version,
                todo="Give the list to a component: .component(name, [a, b]).",
            )
        if of is None:
            elements_of(version)
            self.versions.append(_copied(version))
        else:
            self.versions_of.append(_name_and_version(of, version, "component"))
        return self

    def tune(
        self,
        space: Any = None,
        metric: str | None = None,
        mode: str | None = None,
        samples: int | None = None,
        *,
        sampler: Any = "random",
        repeats: int = 1,
        prune: Any = None,
        stop: Any = None,
        timeout: float | None = None,
        config: Any = None,
        num_samples: int | None = None,
    ) -> Task:
        """Search for the best configuration of the component instead of running it once.

        Args:
            space: A domain for each key that is searched, `{"rate": ml.loguniform(1e-4, 1e-1)}` or plain
                `{"rate": {"loguniform": [1e-4, 1e-1]}}`, and "~" for versions.
            metric: The field of a trial by which samples are compared, such as "records.loss.last" or "result".
            mode: "min" or "max".
            samples: How many configurations are tried. A sampler such as "grid" may end earlier.
            sampler: "random", "grid", the name of a sampler of Optuna ("tpe", "cmaes", "gp"), one of its samplers, or
                an object with `ask` and `tell`.
            repeats: The number of trials of each sample, with the same seeds for every sample; their mean counts.
            prune: "median", "asha", a pruner of Optuna, or None. It ends trials between iterations by their rows.
            stop: No sample follows one that satisfies this: a mapping of fields to the values that must be reached, a
                condition as text, or a function of a trial.
            timeout: The seconds after which no sample follows.
            config: Former name of `space`, where `{"grid_search": […]}` is a grid.
            num_samples: Former name of `samples`.

        Raises:
            InvalidType, InvalidValue: An argument is wrong, or is given by both of its names.
            UnknownName: There is no such mode, sampler or pruner.
        """
        if self.search is not None:
            raise InvalidValue("the task has a search already", todo="Call tune once.")
        given = former_arguments(space, config, samples, num_samples, sampler, repeats)
        space, samples, sampler, repeats = given
        search = search_request(space, metric, mode, samples, sampler, prune, stop, timeout)
        if repeats != 1 or isinstance(repeats, bool):
            self.repeat(repeats)
        self.search = search
        return self

    def on_complete(self, callback: Callable[[Any], Any]) -> Task:
        """Call a function with each listed trial that has finished or was reused."""
        check_callback(callback, "callback", "trial")
        self.callbacks.append(callback)
        return self

    def named(self, name: str) -> Task:
        """Name the execution."""
        if not isinstance(name, str):
            raise InvalidType(f"a task's name is text, not {name!r}", given=name)
        self.execution_name = name
        return self

    def copy(self) -> Task:
        """Return an independent copy."""
        task = Task()
        for name, value in vars(self).items():
            setattr(task, name, list(value) if isinstance(value, list) else value)
        return task

    def plan(
        self,
        project: Project | str | os.PathLike[str] | None = None,
        seed: object = None,
        *,
        storage: str | None = None,
    ) -> Plan:
        """Return the plan that `execute` runs, frozen. Nothing is imported or written.

        Args:
            project: A `Project` or a path; by default the working directory.
            seed: None, an integer, or an execution id.
            storage: Where stored trials that are required are looked up; by default the storage that the environment
                or the project names.

        Raises:
            ConfigurationError: The project or a configuration has errors; several are raised as one.
        """
        plan = make_plan(self.request, project, seed, storage, self.stored_in)
        if self.repeated is not None and isinstance(plan, SearchPlan):
            plan.repeated = self.repeated
        return plan

    @property
    def request(self) -> TaskRequest:
        """Everything that this task requests so far, frozen."""
        return TaskRequest(
            tuple(self.components),
            tuple(self.levels),
            tuple(self.versions),
            tuple(self.versions_of),
            self.execution_name,
            self.settings,
            self.search,
        )

    def _level(self, k: int, name: str, method: str) -> Task:
        if isinstance(k, bool) or not isinstance(k, int):
            raise InvalidType(f"{method} takes a whole number, not {k!r}", given=k)
        if k < 1:
            todo = f"Give 1 or more. Without {method}, each component runs once."
            raise InvalidValue(f"{method} takes a number of at least 1, not {k}", given=k, todo=todo)
        if not isinstance(name, str):
            raise InvalidType(f"the name of a {method} is text, not {name!r}", given=name)
        if not name.isidentifier():
            raise InvalidValue(f"the name of a {method} is an identifier, not {name!r}", given=name)
        level = Level(name, k, len(self.levels))
        if level.flag("SEED") == "GLOBAL_SEED":
            raise InvalidValue(
                f"a {method} called {name!r} would hide the flag GLOBAL_SEED", given=name, todo="Use another name."
            )
        self.levels.append(level)
        return self


def _name_and_version(name: Any, version: Any, what: str) -> tuple[Named, Any]:
    if isinstance(name, tuple):
        if not name:
            raise InvalidValue(f"an empty tuple is not a {what}", todo="Write (name, version, …).")
        name, *versions = name
        if versions:
            if version is not None:
                raise InvalidType(
                    f"the {what} {name!r} has a version in its tuple and another one as an argument",
                    given=version,
                    todo="Put both into the tuple: (name, version, version).",
                )
            version = versions[0] if len(versions) == 1 else tuple(versions)
    if not (isinstance(name, (str, type)) or callable(name)):
        raise InvalidType(
            f"{name!r} is not a {what}",
            given=name,
            todo="Give a declared name, a tuple (name, version, …), a Component subclass or a function.",
        )
    if name == "":
        raise InvalidValue(f"the name of a {what} is empty")
    if alternatives(version) > MAX_ALTERNATIVES:
        expand_lists(version)  # raises the error
    _check_elements(version)
    return name, _copied(version)


def _check_elements(version: Any) -> None:
    """Check every element of a version with lists, without expanding it."""
    if isinstance(version, (list, tuple)):
        for one in version:
            _check_elements(one)
    else:
        elements_of(version)


def _copied(version: Any) -> Any:
    """Return a copy of the containers of a version, so that later changes, as in a loop, do not affect the task."""
    kind = type(version)
    if kind is dict:
        return {key: _copied(value) for key, value in version.items()}
    return kind(map(_copied, version)) if kind is list or kind is tuple else version


_CHILD_KEYS = ("component", "version", "checkpoint", "flags")


def _children(children: Any) -> tuple[ChildRequest, ...] | Mapping[str, ChildRequest | None] | None:
    if children is None:
        return None
    if isinstance(children, Mapping) and not any(near_names(key, _CHILD_KEYS, cutoff=0.85) for key in children):
        check_names(children, "children", "child")
        return {name: None if child is None else _child(child, name) for name, child in children.items()}
    return tuple(map(_child, children if isinstance(children, list) else [children]))


def _child(child: Any, called: str = "") -> ChildRequest:
    """Return one child; one that has a name may leave its component to the declaration."""
    given = child if isinstance(child, Mapping) else {"component": child}
    for key in given:
        if key not in _CHILD_KEYS:
            path = f"children.{called}.{key}" if called else None
            todo = (
                None if near_names(key, _CHILD_KEYS) else f"Write {{'version': {{{key!r}: …}}}} to set a value of it."
            )
            raise UnknownName("key of a child", key, _CHILD_KEYS, path=path, todo=todo)
    if "component" not in given:
        if not called:
            raise InvalidValue("a child has no `component`", given=dict(given), todo="Write {'component': name}.")
        _, version = _name_and_version(called, given.get("version"), "child")
        return ChildRequest("", version, _checkpoint(given.get("checkpoint")), _mapping(given.get("flags"), "flags"))
    name, version = _name_and_version(given["component"], given.get("version"), "child")
    if not isinstance(name, (str, type)):
        raise InvalidType(f"a child is a component, not the function {name!r}", given=name)
    return ChildRequest(name, version, _checkpoint(given.get("checkpoint")), _mapping(given.get("flags"), "flags"))


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


def laid_over(task: Task, version: Any) -> Task:
    """Return a copy of a task with a version merged over those of its components, but not over their children.

    Keys that the version sets replace the alternatives that a component has for them.

    Args:
        task: The task.
        version: As in `Task.component`, where a list gives one trial for each.

    Raises:
        WrongType, MalformedText: It is not a version, or has too many alternatives.
    """
    task = task.copy()
    _check_elements(version)
    if alternatives(version) == 1 and not elements_of(expand_lists(version)[0]):
        return task
    keys = _keys_set(version)
    task.components = [
        structs.replace(one, version=_joined(_without_alternatives(one.version, keys), _copied(version)))
        for one in task.components
    ]
    return task


def _joined(below: Any, above: Any) -> tuple[Any, ...]:
    parts = [one if isinstance(one, tuple) else () if one is None else (one,) for one in (below, above)]
    return (*parts[0], *parts[1])


def _keys_set(version: Any) -> set[str]:
    """Return the keys that the mappings in a version set, dotted."""
    if isinstance(version, (list, tuple)):
        return set().union(*map(_keys_set, version))
    return {key for key in version if isinstance(key, str)} if isinstance(version, Mapping) else set()


def _without_alternatives(version: Any, keys: Collection[str], inside: bool = False) -> Any:
    """Return a version where mappings in lists do not set these keys or keys below them, each alternative once."""
    if isinstance(version, tuple):
        return tuple(_without_alternatives(one, keys, inside) for one in version)
    if isinstance(version, list):
        kept: dict[str, Any] = {}
        is_changed = False
        for one in version:
            without = _without_alternatives(one, keys, inside=True)
            is_changed |= without is not one
            kept.setdefault(canonical(_comparable(without)), without)
        return list(kept.values()) if is_changed else version
    if inside and isinstance(version, Mapping):
        removed = [key for key in version if isinstance(key, str) and _is_set(key, keys)]
        return without_keys(version, removed) if removed else version
    return version


def _is_set(key: str, keys: Collection[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[:count]) in keys for count in range(1, len(parts) + 1))


def _comparable(version: Any) -> Plain:
    if isinstance(version, (list, tuple)):
        return list(map(_comparable, version))
    return as_plain(version)


def _has_list(version: Any) -> bool:
    return isinstance(version, list) or (isinstance(version, tuple) and any(map(_has_list, version)))


def task_from_data(
    data: Mapping[str, Plain], name: str | None = None, code_of: Callable[[str, str], Named] | None = None
) -> Task:
    """Return the task that was stored as `data`, the value of `task` in execution.json, without hidden keys.

    Args:
        data: The stored task.
        name: Its name.
        code_of: Return the class or function for its module and qualified name; by default it is imported.

    Raises:
        ImportFailed, MissingMember: A class or a function cannot be imported, or is no longer in its module.
    """
    code_of = code_of or _imported
    task = Task(name=name)
    for call in data["components"]:
        task.component(
            _from_text(call["component"], code_of),
            call["version"],
            children=_children_from_data(call["children"], code_of),
            requires={name: _requirement(need, code_of) for name, need in call.get("requires", {}).items()},
            flags=call["flags"],
            checkpoint=call["checkpoint"],
            tags=call["tags"],
            resources=call["resources"],
        )
    for flags, total in data["levels"]:
        task.repeat(total, flags)
    for version in data["versions"]:
        task.version(version)
    for of, version in data.get("versions_of", ()):
        task.version(version, of=_from_text(of, code_of))
    if data.get("search") is not None:
        task.tune(**search_from_data(data["search"]))
    return task


def _children_from_data(children: Any, code_of: Callable[[str, str], Named]) -> Any:
    def child(one: Mapping[str, Plain]) -> dict[str, Any]:
        named = {"component": _from_text(one["component"], code_of)} if one["component"] else {}
        return {key: value for key, value in one.items() if key != "component"} | named

    if isinstance(children, Mapping):
        return {name: one and child(one) for name, one in children.items()}
    return [] if children is None else list(map(child, children)) or None


def _requirement(need: Any, code_of: Callable[[str, str], Named]) -> Any:
    if need is None:
        return None
    if isinstance(need, list):
        return [_requirement(one, code_of) for one in need]
    name = _from_text(need["component"], code_of)
    if need["artifact"] is not None:
        name = f"{name}:{need['artifact']}"
    return (name, *(need["version"] if isinstance(need["version"], tuple) else (need["version"],)))


def _from_text(text: str, code_of: Callable[[str, str], Named]) -> Named:
    """Return a declared name as it is, and for `module:qualname` the class or function of that name."""
    module, colon, path = text.partition(":")
    return code_of(module, path) if colon and not is_stored_trial(text) else text


def _imported(module: str, path: str) -> Named:
    text = f"{module}:{path}"
    todo = "The task was made with this class or function: restore it, or give the task again."
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        message = f"{text} cannot be imported: {type(error).__name__}: {error}"
        raise ImportFailed(message, given=text, todo=todo) from error
    try:
        return attrgetter(path)(found)  # type: ignore[no-any-return]
    except AttributeError:
        message = f"there is no {path!r} in the module {module!r}"
        raise MissingMember(message, given=text, known=[], todo=todo) from None
