"""Construct, create and destroy components and their children; pass children to `on_create` by its signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from inspect import Parameter, signature
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from machinable.component.base import Component, ComponentState, Context, overrides, state_of
from machinable.component.imports import load_mixin
from machinable.component.mixins import Binding
from machinable.config.config import Config
from machinable.errors import InvalidType
from machinable.plan.spec import ComponentSpec, MixinSpec
from machinable.serialization import as_plain

__all__ = ["bind", "child_specs", "connect", "construct", "create", "destroy"]


def construct(
    cls: type[Component],
    context: Context,
    spec: ComponentSpec,
    flags: Mapping[str, Any],
    *,
    tags: Mapping[str, Any],
    node: Component | None = None,
    calls: bool = True,
) -> Component:
    """Construct a component and call its three construct events.

    Args:
        cls: its class.
        context: its trial.
        spec: its specification.
        flags: its flags.
        tags: notes of the task.
        node: its parent, if it is a child.
        calls: whether its configuration may call its methods.
    """
    state = ComponentState(context, spec, is_child=node is not None)
    flags = {**flags, "TUNING": False, "CHILD_ALIAS": {}}
    component = cls.__new__(cls)
    component.__dict__["__machinable__"] = state
    component.__init__()  # type: ignore[misc]  # after the state, for errors about attributes that are used too early
    for event in ("on_before_init", "on_init"):
        if overrides(cls, event):  # copies take time, so they are made for an event that reads them
            copies = as_plain(spec.config, tuples=True), as_plain(flags, tuples=True)
            getattr(component, event)(*copies, node)
    component.flags = Config(flags)
    component.config = Config(
        spec.config,
        methods=(lambda name: getattr(component, f"config_{name}")) if calls else None,
        flags=component.flags,
        evaluate=spec.evaluate,
        origin=spec.origins,
        stored=spec.stored,
    )
    component.node = node
    if node is not None:
        component.children = []  # children have none
    component.tags = dict(tags)
    state.mixins = {mixin.attribute: partial(_bind_mixin, mixin, context.project) for mixin in spec.mixins}
    component.on_after_init()
    return component


def _bind_mixin(mixin: MixinSpec, project: str | None, component: Component) -> Binding:
    return Binding(load_mixin(mixin, project), component)


def child_specs(specs: Sequence[ComponentSpec]) -> list[ComponentSpec]:
    """Return copies of specifications: changes to them do not reach other trials."""
    return [
        replace(spec, config=as_plain(spec.config, tuples=True), flags=as_plain(spec.flags, tuples=True))
        for spec in specs
    ]


def connect(node: Component) -> None:
    """Set the attributes of node and children that refer to each other, named by their `attribute_`."""
    own_name = getattr(type(node), "attribute_", None)
    for index, child in enumerate(node.children):
        name = getattr(type(child), "attribute_", None)
        if name is not None and not hasattr(node, name):
            setattr(node, name, child)
            node.flags["CHILD_ALIAS"][name] = index
        if own_name is not None and not hasattr(child, own_name):
            setattr(child, own_name, node)


class _Signature(Struct, frozen=True):
    takes_node: bool
    parameters: tuple[Parameter, ...]


@lru_cache(maxsize=512)
def _signature(function: Callable[..., Any], owner: str) -> _Signature:
    _, *parameters = signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            raise InvalidType(
                f"{owner}.on_create takes {str(parameter).split(':')[0]}, which does not name the children it takes",
                given=parameter.name,
                todo="Name one parameter for each child.",
            )
    takes_node = bool(parameters) and parameters[0].name == "node"
    return _Signature(takes_node, tuple(parameters[takes_node:]))


class Arguments(Struct, frozen=True):
    """The arguments of `on_create`, and the children that are created before it."""

    args: list[Any]
    kwargs: dict[str, Any]
    created_before: list[Component]


def bind(component: Component) -> Arguments:
    """Return the arguments of `on_create`: the parent for a first parameter `node`, then the children by position.

    Args:
        component: the component.

    Raises:
        InvalidType: a parameter without default has no child, or there is `*args` or `**kwargs`.
    """
    cls = type(component)
    children: list[Component] = component.children or []
    found = _signature(cls.on_create, cls.__qualname__) if overrides(cls, "on_create") else _Signature(False, ())
    parameters = found.parameters
    result = Arguments([component.node] if found.takes_node else [], {}, [])
    if not parameters:
        result.created_before.extend(children)
    for index, parameter in enumerate(parameters):
        if index >= len(children):
            if parameter.default is Parameter.empty:
                raise InvalidType(
                    f"{cls.__qualname__}.on_create takes a child as {parameter.name!r}, but there are {len(children)}"
                    " children",
                    given=parameter.name,
                    todo="Give the component more children in the task, or give the parameter a default.",
                )
            continue
        child = children[index]
        if parameter.kind is Parameter.KEYWORD_ONLY:
            result.kwargs[parameter.name] = child
        else:
            result.args.append(child)
        component.flags["CHILD_ALIAS"][parameter.name.lstrip("_")] = index
        if not parameter.name.startswith("_"):
            result.created_before.append(child)
    return result


def create(component: Component) -> None:
    """Create a component, once, and before it the children that `on_create` receives as created."""
    state = state_of(component)
    if state.is_created:
        return
    arguments = bind(component)
    for child in arguments.created_before:
        bind(child)  # raises before anything is created
    component.on_before_create()
    for child in arguments.created_before:
        create(child)
    component.on_create(*arguments.args, **arguments.kwargs)
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
