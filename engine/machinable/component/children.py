"""Construct, create and destroy components and their children; pass children to `on_create` by its signature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from inspect import Parameter, signature
from typing import Any

from msgspec.structs import replace

from machinable.component.base import Component, ComponentState, Context, overrides, state_of
from machinable.component.imports import load_mixin
from machinable.component.mixins import Binding
from machinable.config.config import Config
from machinable.errors import InvalidType, MissingAttribute, suggestion
from machinable.named_values import NamedValues
from machinable.plan.spec import ComponentSpec, MixinSpec, members_of
from machinable.serialization import as_plain

__all__ = ["child_specs", "construct", "create", "destroy", "make_children"]


def construct(
    cls: type[Component], context: Context, child: ComponentSpec | None = None, node: Component | None = None
) -> Component:
    """Construct the component of a trial, or a child of `node`, and call its three construct events."""
    spec = child or context.spec.definition
    own_flags = child.flags if child is not None else {**context.spec.flags, "ATTEMPT": context.spec.attempt}
    flags = {**own_flags, "TUNING": False, "CHILD_ALIAS": {}}
    state = ComponentState(context, spec, None if node is None else len(node.children))
    convert = partial(_as_declared, cls) if getattr(cls, "Config", None) is not None else None
    component = cls.__new__(cls)
    component.__dict__["__machinable__"] = state
    component.__init__()  # type: ignore[misc]  # after the state, for errors about attributes that are used too early
    for event in ("on_before_init", "on_init"):
        if overrides(cls, event):  # copies take time, so they are made only for events that read them
            config = as_plain(spec.config, tuples=True) if convert is None else convert(spec.config)[0]
            getattr(component, event)(config, as_plain(flags, tuples=True), node)
    if child is None:
        defaults, levels = _levels_by_name(tuple(context.spec.flags))
        by_name = {name: flags[flag] for name, flag in levels}
        flags = {**flags, **defaults, **by_name, **flags}  # in this order, and those of the trial count
    component.flags = Config(flags, label="the mapping of flags")
    component.config = Config(
        spec.config,
        # Without one, calls stay text, and the configuration need not hold the component, which would be a cycle.
        methods=(lambda name: getattr(component, f"config_{name}", None)) if _has_config_methods(cls) else None,  # type: ignore[arg-type]
        flags=component.flags,
        evaluate=spec.evaluate,
        origin=spec.origins,
        stored=spec.stored,
        convert=convert,
    )
    component.node = node
    if node is not None:
        component.children = []  # children have none
    component.tags = NamedValues("tag", context.spec.tags)
    state.mixins = {mixin.attribute: partial(_bind_mixin, mixin, context.project) for mixin in spec.mixins}
    component.on_after_init()
    return component


@lru_cache(maxsize=512)  # trials of a task have the same class
def _has_config_methods(cls: type[Component]) -> bool:
    return cls.__getattr__ is not Component.__getattr__ or any(name.startswith("config_") for name in dir(cls))


@lru_cache(maxsize=128)  # trials of a task have the same flags
def _levels_by_name(flags: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return names of the flags of levels, numbered among those of the same name instead of among all levels.

    So a component that reads `REPEAT_NUMBER` depends neither on the order of `repeat` and `split`, nor on whether the
    task has them.

    Args:
        flags: The names of the flags of a trial.

    Returns:
        What the flags are without levels, and each name with the flag that it is another name of.
    """
    found = []
    counts: Counter[str] = Counter()
    for flag in flags:  # in the order of the levels
        name, is_number, level = flag.partition("_NUMBER")
        if is_number and all(f"{name}_{kind}{level}" in flags for kind in ("SEED", "TOTAL")):
            number = f"_{counts[name]}" if counts[name] else ""
            found += [(f"{name}_{kind}{number}", f"{name}_{kind}{level}") for kind in ("SEED", "TOTAL", "NUMBER")]
            counts[name] += 1
    shared = [(f"{name}_SEED", "PAIRED_SEED") for name in ("REPEAT", "SPLIT") if not counts[name]]
    return _WITHOUT_LEVELS, (found + shared if "PAIRED_SEED" in flags else found)


_WITHOUT_LEVELS = {"REPEAT_NUMBER": 0, "REPEAT_TOTAL": 1, "SPLIT_NUMBER": 0, "SPLIT_TOTAL": 1}


def _as_declared(cls: type[Component], config: Mapping[str, Any]) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """Return a configuration with the values that a `class Config` declares, and the inverse function."""
    from machinable.component.config_schema import declared_values, plain_form  # pydantic, and most classes have none

    return declared_values(cls, config), plain_form


def _bind_mixin(mixin: MixinSpec, project: str | None, component: Component) -> Binding:
    return Binding(load_mixin(mixin, project), component, mixin)


def child_specs(specs: Sequence[ComponentSpec]) -> Children:
    """Return copies of specifications, so that changes to them do not affect other trials."""
    return Children(
        replace(spec, config=as_plain(spec.config, tuples=True), flags=as_plain(spec.flags, tuples=True))
        for spec in specs
    )


class Children(list[Any]):
    """Children in order, or their specifications; those with a name are also attributes and items of that name."""

    def __getitem__(self, key: Any) -> Any:
        return self._called(key) if isinstance(key, str) else super().__getitem__(key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._called(name)

    def _called(self, name: str) -> Any:
        by_name = {_name_of(child): child for child in self if _name_of(child)}
        if name in by_name:
            return by_name[name]
        members = members_of(by_name)
        if name in members:
            return [by_name[member] for member in members[name]]
        known = list(dict.fromkeys([*members, *by_name]))
        raise MissingAttribute(f"there is no child {name!r}", given=name, known=known, todo=suggestion(name, known))


def _name_of(child: Component | ComponentSpec) -> str:
    return (child if isinstance(child, ComponentSpec) else state_of(child).spec).called


def make_children(node: Component, context: Any) -> None:
    """Construct the children of a component; `context` is that of a trial, which may have finished."""
    specs = child_specs(context.spec.children)
    if node.on_init_children(specs) is False:
        node.children = None
        return
    children = Children()
    node.children = children
    for spec in specs:
        index = len(children)
        if node.on_init_child(spec, index) is False:
            continue
        cls = context.load(spec.target)
        if not isinstance(cls, type):
            raise InvalidType(
                f"the child {spec.component} is a function", given=spec.component, todo="A child is a class."
            )
        child = construct(cls, context, spec, node)
        context.resume_component(child)
        children.append(child)
        node.on_after_init_child(child, index)
    _connect(node)
    node.on_after_init_children(children)


def _connect(node: Component) -> None:
    """Set the attributes of node and children that refer to each other, named by their `attribute_`."""
    own_name = getattr(type(node), "attribute_", None)
    for index, child in enumerate(node.children):
        name = getattr(type(child), "attribute_", None)
        if name is not None and not hasattr(node, name):
            setattr(node, name, child)
            node.flags["CHILD_ALIAS"][name] = index
        if own_name is not None and not hasattr(child, own_name):
            setattr(child, own_name, node)


@lru_cache(maxsize=512)
def _parameters(function: Callable[..., Any], owner: str) -> list[Parameter]:
    """Return the parameters of an `on_create`.

    Raises:
        InvalidType: There is `*args` or `**kwargs`.
    """
    _, *parameters = signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            raise InvalidType(
                f"{owner}.on_create takes {str(parameter).split(':')[0]}, which does not name the children it takes",
                given=parameter.name,
                todo="Name one parameter for each child.",
            )
    return parameters


def _bind(component: Component) -> tuple[list[Any], dict[str, Any], list[Component]]:
    """Return the arguments of `on_create`, and the children that are created before it.

    The arguments are the parent for a first parameter `node`, then for each parameter the child of its name, or else
    the next of those that no parameter names.

    Raises:
        InvalidType: A parameter without default has no child, or there is `*args` or `**kwargs`.
    """
    cls = type(component)
    children: list[Component] = component.children or []
    parameters = _parameters(cls.on_create, cls.__qualname__) if overrides(cls, "on_create") else []
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    if parameters and parameters[0].name == "node":
        args, parameters = [component.node], parameters[1:]
    created_before = [] if parameters else children
    named = {state_of(child).spec.called: index for index, child in enumerate(children)}
    taken = {named[name] for name in (parameter.name.lstrip("_") for parameter in parameters) if name in named}
    others = iter([index for index in range(len(children)) if index not in taken])
    is_skipped = False
    for parameter in parameters:
        name = parameter.name
        index = named.get(name.lstrip("_"), -1)
        if index < 0:
            index = next(others, -1)
        if index >= 0:
            if parameter.kind is Parameter.KEYWORD_ONLY or is_skipped:
                kwargs[name] = children[index]
            else:
                args.append(children[index])
            component.flags["CHILD_ALIAS"][name.lstrip("_")] = index
            if not name.startswith("_"):
                created_before.append(children[index])
        elif parameter.default is Parameter.empty:
            raise InvalidType(
                f"{cls.__qualname__}.on_create takes a child as {name!r}, but there are {len(children)} children",
                given=name,
                todo="Give the component more children, with `_children_` or in the task, or the parameter a default.",
            )
        elif parameter.kind is Parameter.POSITIONAL_ONLY:
            args.append(parameter.default)
        else:
            is_skipped = True  # those that follow cannot be given by position
    return args, kwargs, created_before


def create(component: Component) -> None:
    """Create a component once, after the children that `on_create` receives as created."""
    state = state_of(component)
    if state.is_created:
        return
    args, kwargs, created_before = _bind(component)
    for child in created_before:
        _bind(child)  # raises before anything is created
    component.on_before_create()
    for child in created_before:
        create(child)
    component.on_create(*args, **kwargs)
    checkpoint = component.flags.get("CHECKPOINT")
    if checkpoint is not None:
        component.restore_checkpoint(checkpoint)
    component.on_after_create()
    state.is_created = True


def destroy(component: Component) -> None:
    """Destroy a component and those of its children that were created."""
    component.on_before_destroy()
    for child in component.children or ():
        if state_of(child).is_created:
            destroy(child)
    component.on_destroy()
    component.on_after_destroy()
