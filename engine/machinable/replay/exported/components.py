"""Components and mixins, their children, and the events of a trial in order."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

__all__ = ["Component", "Mixin", "Part", "cached", "create", "live"]

_NOTHING: Any = object()
_LENT = frozenset({"log", "record", "store", "requires", "directory"})


class Part:
    """A component's place in its trial."""

    def __init__(self, trial: Any, *, is_child: bool) -> None:
        self.trial = trial
        self.mixins: dict[str, Callable[[], type[Mixin]]] = {}
        self.is_started = is_child
        self.is_created = False
        self.saves = 0


class Component:
    """A unit of work: subclasses override events."""

    config: Any
    flags: Any
    log: Any
    record: Any
    store: Any
    requires: Any
    directory: str
    children: Any
    node: Any
    tags: Any

    def __getattr__(self, name: str) -> Any:
        part: Part | None = self.__dict__.get("__machinable__")
        if part is not None:
            if name in _LENT and part.is_started:
                value = self.__dict__[name] = getattr(part.trial, name)
                return value
            if name in part.mixins:
                value = self.__dict__[name] = Binding(part.mixins[name](), self)
                return value
        return object.__getattribute__(self, name)

    def create(self) -> None:
        """Create this child now."""
        create(self)

    def set_seed(self, seed: int | None = None) -> None:
        """Seed the random number generators again, by default with the trial's seed."""
        self.__dict__["__machinable__"].trial.seed(seed)

    def progress(self, i: int, total: int | None = None) -> None:
        """There is nobody to be told."""

    def save_checkpoint(self, path: str | None = None, timestep: int | None = None) -> Any:
        """Let `on_save` store the state."""
        return self.__dict__["__machinable__"].trial.save_checkpoint(self, path, timestep)

    def restore_checkpoint(self, path: str) -> None:
        """Let `on_restore` read the state that is stored there."""
        self.on_restore(path)
        self.log.info("restored from the checkpoint %s", path)

    def on_before_init(self, config: Any, flags: Any, node: Any) -> None: ...
    def on_init(self, config: Any, flags: Any, node: Any) -> None: ...
    def on_after_init(self) -> None: ...
    def on_start(self) -> None: ...
    def on_init_children(self, specs: list[Any]) -> Any: ...
    def on_init_child(self, spec: Any, index: int) -> Any: ...
    def on_after_init_child(self, child: Any, index: int) -> None: ...
    def on_after_init_children(self, children: list[Any]) -> None: ...
    def on_seeding(self) -> Any: ...
    def on_before_create(self) -> None: ...
    def on_create(self, *children: Any, **more: Any) -> None: ...
    def on_restore(self, path: str) -> None: ...
    def on_after_create(self) -> None: ...
    def on_before_execute(self) -> None: ...
    def on_execute(self) -> Any: ...
    def on_before_execute_iteration(self, iteration: int) -> None: ...
    def on_execute_iteration(self, iteration: int) -> Any: ...
    def on_after_execute_iteration(self, iteration: int) -> Any: ...
    def on_after_execute(self) -> None: ...

    def on_save(self, path: str, timestep: int) -> Any:
        """Store the state; False for nothing saved."""
        return False

    def on_load(self, into: Any = None) -> Any:
        """Another trial wants this component as it was: by default the last checkpoint is restored."""
        if into is not None:
            raise RuntimeError(f"{type(self).__name__} does not say how its state gets into another object")
        path = self.__dict__["__machinable__"].trial.last_checkpoint()
        if path is not None:
            self.restore_checkpoint(path)

    @classmethod
    def on_submit(cls, submission: Any) -> None:
        """There is no engine that a trial is handed to."""

    def on_before_destroy(self) -> None: ...
    def on_destroy(self) -> None: ...
    def on_after_destroy(self) -> None: ...
    def on_success(self, result: Any) -> None: ...
    def on_failure(self, exception: BaseException) -> None: ...
    def on_finish(self, result: Any, success: bool) -> None: ...


class Mixin:
    """Methods that a component borrows: in them, `self` is the component, and `self.__mixin__` the mixin."""

    @classmethod
    def on_submit(cls, submission: Any) -> None:
        """There is no engine that a trial is handed to."""


class Binding:
    """A mixin bound to a component."""

    _mixin: type[Mixin]
    _component: Component

    def __init__(self, mixin: type[Mixin], component: Component) -> None:
        object.__setattr__(self, "_mixin", mixin)
        object.__setattr__(self, "_component", component)

    def _member(self, name: str) -> Any:
        return next((cls.__dict__[name] for cls in self._mixin.__mro__[:-1] if name in cls.__dict__), _NOTHING)

    def __getattr__(self, name: str) -> Any:
        member, component = self._member(name), self._component
        if member is _NOTHING:
            raise AttributeError(f"the mixin {self._mixin.__qualname__} has no member {name!r}", name=name, obj=self)
        if isinstance(member, classmethod):
            return member.__get__(None, self._mixin)
        if isinstance(member, staticmethod):
            return member.__func__
        if isinstance(member, type) or not hasattr(type(member), "__get__"):
            return member
        with self._active():
            value = member.__get__(component, type(component))
        return self._called(value) if getattr(value, "__self__", None) is component else value

    def __setattr__(self, name: str, value: Any) -> None:
        member = self._member(name)
        if isinstance(member, property):
            with self._active():
                member.__set__(self._component, value)
        else:
            setattr(self._component, name, value)

    @contextmanager
    def _active(self) -> Iterator[None]:
        attributes = self._component.__dict__
        before = attributes.get("__mixin__", _NOTHING)
        attributes["__mixin__"] = self
        try:
            yield
        finally:
            if before is _NOTHING:
                attributes.pop("__mixin__", None)
            else:
                attributes["__mixin__"] = before

    def _called(self, bound: Any) -> Any:
        @wraps(bound)
        def method(*args: Any, **kwargs: Any) -> Any:
            if inspect.isgeneratorfunction(bound):
                return self._driven(bound(*args, **kwargs))
            with self._active():
                return bound(*args, **kwargs)

        return method

    def _driven(self, generator: Any) -> Any:
        """The generator, with the mixin active whenever its own code runs, and only then."""
        step, value = generator.send, None
        try:
            while True:
                try:
                    with self._active():
                        item = step(value)
                except StopIteration as stop:
                    return stop.value
                try:
                    step, value = generator.send, (yield item)
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step, value = generator.throw, error
        finally:
            with self._active():
                generator.close()


def cached(name: str, *, save: Any = None, load: Any = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The method runs once for each combination of arguments, and what it gave is kept for the trial."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            known = self.__dict__.setdefault("__cached__", {})
            key = name, function.__qualname__, repr(args), repr(sorted(kwargs.items()))
            if key not in known:
                known[key] = function(self, *args, **kwargs)
            return known[key]

        return method

    return decorate


# --- children


class _Arguments(NamedTuple):
    args: list[Any]
    kwargs: dict[str, Any]
    first: list[Component]


def _bind(component: Component) -> _Arguments:
    """The arguments of `on_create`, and the children that are created before it."""
    children: list[Component] = component.children or []
    parameters: list[inspect.Parameter] = []
    if type(component).on_create is not Component.on_create:
        parameters = list(inspect.signature(component.on_create).parameters.values())
    wants_node = bool(parameters) and parameters[0].name == "node"
    found = _Arguments([component.node] if wants_node else [], {}, [])
    if not parameters[wants_node:]:
        found.first.extend(children)
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"on_create takes {parameter}, so it cannot be told which children it wants")
    for index, parameter in enumerate(parameters[wants_node:]):
        if index >= len(children):
            if parameter.default is parameter.empty:
                raise TypeError(
                    f"on_create wants a child as {parameter.name!r}, but there are {len(children)} children"
                )
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            found.kwargs[parameter.name] = children[index]
        else:
            found.args.append(children[index])
        component.flags["CHILD_ALIAS"][parameter.name.lstrip("_")] = index
        if not parameter.name.startswith("_"):
            found.first.append(children[index])
    return found


def create(component: Component) -> None:
    """The create phase of a component and of those children that are created before it. Once."""
    part: Part = component.__dict__["__machinable__"]
    if part.is_created:
        return
    arguments = _bind(component)
    for child in arguments.first:
        _bind(child)
    component.on_before_create()
    for child in arguments.first:
        create(child)
    component.on_create(*arguments.args, **arguments.kwargs)
    if component.flags.get("CHECKPOINT") is not None:
        component.restore_checkpoint(component.flags["CHECKPOINT"])
    component.on_after_create()
    part.is_created = True


def _destroy(component: Component) -> None:
    component.on_before_destroy()
    for child in component.children or ():
        if child.__dict__["__machinable__"].is_created:
            _destroy(child)
    component.on_destroy()
    component.on_after_destroy()


# --- events


def live(node: Component, trial: Any) -> Any:
    """Everything between construct and end; the result is what `on_execute` gives."""
    node.on_start()
    _make_children(node, trial)
    if node.on_seeding() is not False:
        trial.seed(None)
    create(node)
    trial.begin()
    node.on_before_execute()
    try:
        result = node.on_execute()
    except StopIteration:
        result = None
        node.log.warning("on_execute raised StopIteration: it has ended with the result None")
    if type(node).on_execute_iteration is not Component.on_execute_iteration:
        _iterate(node)
    node.on_after_execute()
    _destroy(node)
    return result


def _make_children(node: Component, trial: Any) -> None:
    specs = trial.child_specs()
    if node.on_init_children(specs) is False:
        node.children = None
        return
    children: list[Component] = []
    node.children = children
    for spec in specs:
        if node.on_init_child(spec, len(children)) is False:
            continue
        child = trial.construct_child(spec, node)
        children.append(child)
        node.on_after_init_child(child, len(children) - 1)
    own_name = getattr(type(node), "attribute_", None)
    for index, child in enumerate(children):
        name = getattr(type(child), "attribute_", None)
        if name is not None and not hasattr(node, name):
            setattr(node, name, child)
            node.flags["CHILD_ALIAS"][name] = index
        if own_name is not None and not hasattr(child, own_name):
            setattr(child, own_name, node)
    node.on_after_init_children(children)


def _iterate(node: Component) -> None:
    iteration = 0
    while True:
        node.flags["ITERATION"] = iteration
        node.on_before_execute_iteration(iteration)
        try:
            answer = node.on_execute_iteration(iteration)
        except StopIteration:
            return
        if node.on_after_execute_iteration(iteration) is not False:
            node.record.save_row(iteration)
        iteration += 1
        if answer is StopIteration or isinstance(answer, StopIteration):
            return
