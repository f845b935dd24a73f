"""Find engines by name, and import the module of an engine on first use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, get_args

from machinable.engines.base import Engine, Reach
from machinable.errors import ImportFailed, InvalidType, InvalidValue, UnknownName
from machinable.factories import check_options

__all__ = ["GROUP", "KNOWN", "is_known", "make"]

KNOWN = {
    "local": "machinable.engines.local:LocalEngine",
    "processes": "machinable.engines.processes.pool:ProcessesEngine",
    "ray": "machinable.engines.ray.engine:RayEngine",
    "slurm": "machinable.engines.slurm.engine:SlurmEngine",
    "dry": "machinable.engines.local:DryEngine",
}
GROUP = "machinable.engines"  # of entry points, with which other packages add engines


def make(engine: Any, project: str | None = None) -> Engine:
    """Return the engine that a name, a mapping or an object describes.

    Args:
        engine: A name, `name:argument`, a mapping `{"type": name, option: value}`, an engine, or its class.
        project: The directory to which paths among the options are relative; by default the working directory.

    Raises:
        UnknownName: No engine has this name.
        ImportFailed: The package of the engine cannot be imported.
        InvalidValue: The engine does not accept an option, or its attributes are invalid.
        InvalidType: It is none of these.
    """
    if engine is None:
        return make("local")
    if isinstance(engine, str):
        name, colon, argument = engine.partition(":")
        made = _made(name, [argument] if colon else [], {})
        made.given = engine
        return made
    if isinstance(engine, type):
        return _made(engine, [], {})
    if isinstance(engine, Mapping):
        options = dict(engine)
        if "type" not in options:
            raise InvalidValue("the engine has no `type`", given=options, known=KNOWN, todo="Write {'type': 'local'}.")
        kind = options.pop("type")
        if project is not None:
            options = _with_absolute_paths(kind, options, project)
        made = _made(kind if isinstance(kind, type) else str(kind), [], options)
        if options and not isinstance(kind, type):
            made.given_options = options
        return made
    return _checked(engine)


def _with_absolute_paths(kind: Any, options: dict[str, Any], project: str) -> dict[str, Any]:
    """Return the options with paths that mean the same to who resumes or reproduces the execution elsewhere."""
    factory = kind if isinstance(kind, type) else _factory(str(kind))
    paths = getattr(factory, "paths", ())
    return {
        name: os.path.normpath(os.path.join(project, os.path.expanduser(value)))
        if name in paths and isinstance(value, str) and value
        else value
        for name, value in options.items()
    }


def is_known(name: str) -> bool:
    """Return whether an engine can be given by this name."""
    if name in KNOWN:
        return True
    from importlib.metadata import entry_points

    return any(point.name == name for point in entry_points(group=GROUP))


def _made(kind: str | type, arguments: list[str], options: dict[str, Any]) -> Engine:
    name = kind if isinstance(kind, str) else kind.__qualname__
    factory = _factory(kind) if isinstance(kind, str) else kind
    check_options(factory, f"the engine {name!r}", options, arguments)
    return _checked(factory(*arguments, **options))


def _factory(name: str) -> Callable[..., Any]:
    if name in KNOWN:
        module, _, attribute = KNOWN[name].partition(":")
        return getattr(import_module(module), attribute)  # type: ignore[no-any-return]
    from importlib.metadata import entry_points  # takes some milliseconds, which known names do not need

    added = {point.name: point for point in entry_points(group=GROUP)}
    if name not in added:
        raise UnknownName("engine", name, [*KNOWN, *sorted(added.keys() - KNOWN.keys())])
    try:
        return added[name].load()  # type: ignore[no-any-return]
    except Exception as error:
        raise ImportFailed(
            f"the engine {name!r} cannot be imported from {added[name].value}: {type(error).__name__}: {error}",
            given=name,
            todo="Update or remove the package that adds it.",
        ) from error


def _checked(engine: Any) -> Engine:
    if not isinstance(engine, Engine):
        raise InvalidType(
            f"{engine!r} is not an engine",
            given=engine,
            todo=f"Give {', '.join(map(repr, KNOWN))}, a mapping with `type`, or an instance of a subclass of "
            "machinable.Engine.",
        )
    least = 0 if engine.is_dry else 1
    for what, given, is_right, expected in (
        ("name", engine.name, isinstance(engine.name, str), "a text"),
        ("slots", engine.slots, type(engine.slots) is int and engine.slots >= least, "a whole number of at least 1"),
        ("reach", engine.reach, engine.reach in get_args(Reach), f"one of {', '.join(map(repr, get_args(Reach)))}"),
    ):
        if not is_right:
            raise InvalidValue(
                f"{what} of the engine {type(engine).__name__} is {given!r}",
                given=given,
                todo=f"It must be {expected}.",
            )
    return engine
