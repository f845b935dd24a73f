"""Make listeners from their names in settings, and import the module of a listener on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from machinable.component import imports
from machinable.errors import ImportFailed, InvalidType, InvalidValue, MissingMember, UnknownName
from machinable.events import Listener, checked_listeners
from machinable.factories import check_options

__all__ = ["GROUP", "KNOWN", "make"]

KNOWN = {
    "mlflow": "machinable.listeners.mlflow:MLflow",
    "tensorboard": "machinable.listeners.tensorboard:TensorBoard",
    "wandb": "machinable.listeners.wandb:WeightsAndBiases",
    "webhook": "machinable.listeners.webhook:Webhook",
}
GROUP = "machinable.listeners"  # of entry points, with which other packages add listeners
_EXPECTED = f"Give {', '.join(map(repr, KNOWN))}, `package.function`, or a mapping with `type` and options."


def make(given: Any, project: str | None = None) -> Listener:
    """Return the listener that a name or a mapping describes.

    Args:
        given: A name in `KNOWN` or of an entry point; `module.name` of a function of one event, or of a subclass or an
            instance of `Listener`; or a mapping `{"type": name, option: value}`.
        project: The directory of the project, whose modules can be named.

    Raises:
        UnknownName: No listener has this name.
        ImportFailed: Its module cannot be imported.
        MissingMember: Its module has nothing of this name.
        InvalidValue: It does not accept an option.
        InvalidType: It is not a listener.
    """
    options = dict(given) if isinstance(given, Mapping) else {"type": given}
    if "type" not in options:
        raise InvalidValue("the listener has no `type`", given=options, known=KNOWN, todo="Write {type: webhook}.")
    name = options.pop("type")
    if not isinstance(name, str):
        raise InvalidType(f"{name!r} is not the name of a listener", given=name, todo=_EXPECTED)
    found = _named(name, project)
    what = f"the listener {name!r}"
    if isinstance(found, type):
        check_options(found, what, options)
        found = found(**options)
        if not isinstance(found, Listener) and not callable(found):
            raise InvalidType(f"{what} is not a subclass of machinable.events.Listener", given=name, todo=_EXPECTED)
    elif options:
        raise InvalidValue(
            f"{what} takes no {', '.join(map(str, options))}: it is not a class",
            given=options,
            todo="A class can have options: class Notify(machinable.events.Listener).",
        )
    return checked_listeners([found])[0]


def _named(name: str, project: str | None) -> Any:
    """Return the object of a name."""
    short = name.removeprefix(f"{__package__}.")
    if short in KNOWN:
        module, _, attribute = KNOWN[short].partition(":")
        return getattr(import_module(module), attribute)
    if "." in short:
        return _member(name, project)
    from importlib.metadata import entry_points  # takes some milliseconds, which known names do not need

    added = {point.name: point for point in entry_points(group=GROUP)}
    if name not in added:
        raise UnknownName("listener", short, [*KNOWN, *sorted(added.keys() - KNOWN.keys())])
    try:
        return added[name].load()
    except Exception as error:
        raise ImportFailed(
            f"the listener {name!r} cannot be imported from {added[name].value}: {type(error).__name__}: {error}",
            given=name,
            todo="Update or remove the package that adds it.",
        ) from error


def _member(path: str, project: str | None) -> Callable[..., Any]:
    """Return the object at `module.name`."""
    module_name, _, name = path.rpartition(".")
    if not all(part.isidentifier() for part in path.split(".")):
        raise InvalidValue(f"{path!r} is not `module.name`", given=path, todo=_EXPECTED)
    module = imports.import_module(module_name, project)
    if not hasattr(module, name):
        known = [each for each in vars(module) if each[:1] != "_"]
        raise MissingMember(
            f"the module {module_name!r} has no {name!r}",
            given=path,
            known=known,
            todo=UnknownName("listener", name, known).advice(),
        )
    return getattr(module, name)  # type: ignore[no-any-return]
