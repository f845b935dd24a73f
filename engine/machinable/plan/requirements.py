"""Requirements as they are written: `data: numbers`, `[net, ~small, {layers: 3}]`, `fold:topics.tsv`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from machinable.config.versions import elements_of
from machinable.errors import BadName, MachinableError, MalformedText, WrongType
from machinable.plan.request import RequirementRequest
from machinable.storage.files import checked

__all__ = ["asked_requirements", "declared_requirements"]

_DECLARED = "Write a component, [component, version, …], or component:artifact."
_ASKED = "Give a name, a tuple (name, version, …), 'name:artifact', or a Component subclass."


def declared_requirements(value: Any, path: str, errors: dict[str, MachinableError]) -> dict[str, RequirementRequest]:
    """Return what `_requires_` says, by name; `errors` receives the errors of single requirements.

    Raises:
        WrongType, MalformedText: It is not a mapping or a list, or has an invalid name; `path` says where it is.
    """
    result = {}
    for name, one in _items(value, path):
        try:
            found = _one(one, f"{path}.{name}", list, _DECLARED)
        except MachinableError as error:
            errors[name] = error
        else:
            if found is not None:
                result[name] = found
    return result


def asked_requirements(value: Any) -> dict[str, RequirementRequest | None]:
    """Return what the argument `requires` of a task says, by name; None removes a declared requirement.

    Raises:
        WrongType, MalformedText: It or a requirement in it is wrong.
    """
    return {name: _one(one, f"requires.{name}", tuple, _ASKED) for name, one in _items(value, "requires")}


def _items(value: Any, path: str) -> Iterable[tuple[str, Any]]:
    if value is None:
        return ()
    if isinstance(value, list):
        return [(str(number), one) for number, one in enumerate(value)]
    if not isinstance(value, Mapping):
        raise WrongType(
            f"requirements are a mapping of names to components, or a list, not {value!r}",
            path=path,
            given=value,
            todo="Write {data: component}; the names of a list are 0, 1, ….",
        )
    for name in value:
        if not isinstance(name, str):
            raise WrongType(
                f"the name of a requirement is text, not {name!r}", path=path, given=name, todo="Write it in quotes."
            )
        if not name or name.startswith("_"):
            raise MalformedText(
                f"a requirement cannot be called {name!r}",
                path=path,
                given=name,
                todo="Use a name that does not begin with an underscore.",
            )
    return value.items()


def _one(
    value: Any, path: str, sequence: type[list[Any]] | type[tuple[Any, ...]], todo: str
) -> RequirementRequest | None:
    """Return a requirement: in a file its elements are a list, in Python a tuple, where code may replace a name."""
    if value is None:
        return None
    name, *versions = value if isinstance(value, sequence) and value else (value,)
    is_code = sequence is tuple and (isinstance(name, type) or callable(name))
    if not isinstance(name, str) and not is_code:
        raise WrongType(f"{value!r} is not a requirement", path=path, given=value, todo=todo)
    try:
        elements = [element for version in versions for element in elements_of(version)]
    except MachinableError as error:
        error.path = f"{path}.{error.path}" if error.path else path
        raise
    artifact = None
    if isinstance(name, str):
        name, colon, artifact = name.partition(":")
        if not name or (colon and not _is_artifact(artifact)):
            raise MalformedText(f"{value!r} is not a requirement", path=path, given=value, todo=todo)
    version = tuple(elements) if len(elements) > 1 else elements[0] if elements else None
    return RequirementRequest(name, version, artifact or None)


def _is_artifact(name: str) -> bool:
    try:
        return bool(checked(name.removesuffix("/"), root=False))
    except BadName:
        return False
