"""Children: constructed for their node, handed to its `on_create` by the signature, created and destroyed with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from inspect import Parameter, signature
from typing import Any, NamedTuple

from msgspec.structs import replace

from machinable.component.base import Component, Mixin, Part, overrides
from machinable.component.mixins import Binding
from machinable.config.config import Config
from machinable.errors import InvalidType
from machinable.plan.spec import ComponentSpec
from machinable.serialization import as_plain

__all__ = ["bind", "child_specs", "connect", "construct", "create", "destroy"]


def construct(
    cls: type[Component],
    part: Part,
    spec: ComponentSpec,
    flags: Mapping[str, Any],
    node: Component | None,
    *,
    mixins: Mapping[str, Callable[[], type[Mixin]]],
    tags: Mapping[str, Any],
    calls: bool = True,
) -> Component:
    """A component after its three construct events.

    Args:
        part: its place in the trial. flags: those it gets. node: its parent, if it is a child.
        mixins: what imports the mixin classes, by attribute. calls: whether config methods are called.
    """
    component = cls.__new__(cls)
    component.__dict__["__machinable__"] = part
    component.__init__()  # type: ignore[misc]  # what it uses too early can tell, now that its place is known
    for event in ("on_before_init", "on_init"):
        if overrides(cls, event):  # copies cost, so only those pay who look at them
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
    part.mixins = {attribute: partial(_bound, load) for attribute, load in mixins.items()}
    component.on_after_init()
    return component


def _bound(load: Callable[[], type[Mixin]], component: Component) -> Binding:
    return Binding(load(), component)


def child_specs(specs: Sequence[ComponentSpec]) -> list[ComponentSpec]:
    """Specifications to hand out: what is done to them never reaches another trial."""
    return [
        replace(spec, config=as_plain(spec.config, tuples=True), flags=as_plain(spec.flags, tuples=True))
        for spec in specs
    ]


def connect(node: Component) -> None:
    """Make node and children known to each other under the names that they give as `attribute_`."""
    own_name = getattr(type(node), "attribute_", None)
    for index, child in enumerate(node.children):
        name = getattr(type(child), "attribute_", None)
        if name is not None and not hasattr(node, name):
            setattr(node, name, child)
            node.flags["CHILD_ALIAS"][name] = index
        if own_name is not None and not hasattr(child, own_name):
            setattr(child, own_name, node)


class _Signature(NamedTuple):
    wants_node: bool
    parameters: tuple[Parameter, ...]


@lru_cache(maxsize=512)
def _signature(function: Callable[..., Any], owner: str) -> _Signature:
    _, *parameters = signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            raise InvalidType(
                f"{owner}.on_create takes {str(parameter).split(':')[0]}, so it cannot be told which children it wants",
                given=parameter.name,
                todo="Name one parameter for each child.",
            )
    wants_node = bool(parameters) and parameters[0].name == "node"
    return _Signature(wants_node, tuple(parameters[wants_node:]))


class Arguments(NamedTuple):
    """What `on_create` is called with, and which children are created before it."""

    args: list[Any]
    kwargs: dict[str, Any]
    created_before: list[Component]


def bind(component: Component) -> Arguments:
    """The arguments of `on_create`: the parent for a first parameter `node`, then the children by position.

    Raises:
        InvalidType: a parameter without default has no child, or there is `*args` or `**kwargs`.
    """
    cls = type(component)
    children: list[Component] = component.children or []
    wants_node, parameters = (
        _signature(cls.on_create, cls.__qualname__) if overrides(cls, "on_create") else _Signature(False, ())
    )
    result = Arguments([component.node] if wants_node else [], {}, [])
    if not parameters:
        result.created_before.extend(children)
    for index, parameter in enumerate(parameters):
        if index >= len(children):
            if parameter.default is Parameter.empty:
                raise InvalidType(
                    f"{cls.__qualname__}.on_create wants a child as {parameter.name!r}, but there are {len(children)}"
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
    """The create phase of a component and of those children that are created before it. Once."""
    part: Part = component.__dict__["__machinable__"]
    if part.is_created:
        return
    arguments = bind(component)
    for child in arguments.created_before:
        bind(child)  # what cannot be called is found before anything is created
    component.on_before_create()
    for child in arguments.created_before:
        create(child)
    component.on_create(*arguments.args, **arguments.kwargs)
    checkpoint = component.flags.get("CHECKPOINT")
    if checkpoint is not None:
        component.restore_checkpoint(checkpoint)
    component.on_after_create()
    part.is_created = True


def destroy(component: Component) -> None:
    """The destroy phase of a component and of those children that were created."""
    component.on_before_destroy()
    for child in component.children or ():
        if child.__dict__["__machinable__"].is_created:
            destroy(child)
    component.on_destroy()
    component.on_after_destroy()
