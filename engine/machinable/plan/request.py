"""The request of a task, frozen: components and their requirements, levels of `repeat` and `split`, and versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import asdict

from machinable.config.versions import elements_of
from machinable.errors import BadName, MachinableError, MalformedText, WrongType
from machinable.plan.identity import version_key
from machinable.serialization import Plain, without_hidden
from machinable.storage.files import checked

__all__ = [
    "ChildRequest",
    "ComponentRequest",
    "Level",
    "Named",
    "RequirementRequest",
    "TaskRequest",
    "asked_requirements",
    "declared_requirements",
]

Named: TypeAlias = "str | type[Any] | Callable[..., Any]"  # how a component is given

_OF_MAPPINGS = frozenset({"get", "items", "keys", "values"})


class _Request(Struct, frozen=True):
    name: Named
    version: Any = None

    def as_data(self) -> dict[str, Plain]:
        """Return the request as it is stored in execution.json."""
        data = asdict(self)
        data |= {name: without_hidden(data[name]) for name in ("flags", "tags") if name in data}
        return {"component": _name_as_data(data.pop("name")), **data, "version": _version_as_data(self.version)}


class ChildRequest(_Request, frozen=True):
    """One child; `version` may hold lists."""

    checkpoint: str | None = None
    flags: Mapping[str, Plain] = {}


class RequirementRequest(_Request, frozen=True):
    """One requirement; `artifact` is the only one that is read, None for all of them."""

    artifact: str | None = None


class ComponentRequest(_Request, frozen=True):
    """One call of `Task.component`; `version` may hold lists. A requirement that is None removes a declared one."""

    children: tuple[ChildRequest, ...] = ()
    requires: Mapping[str, RequirementRequest | None] = {}
    flags: Mapping[str, Plain] = {}
    checkpoint: str | None = None
    tags: Mapping[str, Plain] = {}
    resources: Mapping[str, Plain] = {}

    def as_data(self) -> dict[str, Plain]:
        """Return the call as it is stored in execution.json."""
        return _Request.as_data(self) | {
            "children": [child.as_data() for child in self.children],
            "requires": {name: needed and needed.as_data() for name, needed in self.requires.items()},
        }


class Level(Struct, frozen=True):
    """One call of `repeat` or `split`."""

    name: str  # name of the flags, such as `REPEAT`
    total: int  # how often everything runs
    number: int  # number of the call, from 0

    @property
    def label(self) -> str:
        """The name with the number of the level, which the first one does not need."""
        return self.flag("")

    def flag(self, kind: str) -> str:
        """Return the name of a flag of this level, such as `REPEAT_SEED_1`."""
        return self.name + (f"_{kind}" if kind else "") + (f"_{self.number}" if self.number else "")


class TaskRequest(Struct, frozen=True):
    """Everything that a task requests."""

    components: tuple[ComponentRequest, ...] = ()
    levels: tuple[Level, ...] = ()
    versions: tuple[Any, ...] = ()
    name: str | None = None

    def names(self) -> Iterator[Named]:
        """Yield how each component, child and requirement was given."""
        for component in self.components:
            yield component.name
            for child in component.children:
                yield child.name
            for needed in component.requires.values():
                if needed is not None:
                    yield needed.name

    def as_data(self) -> dict[str, Plain]:
        """Return the task as it is stored in execution.json, without hidden keys."""
        return {
            "components": [component.as_data() for component in self.components],
            "levels": [[level.name, level.total] for level in self.levels],
            "versions": [_version_as_data(version) for version in self.versions],
        }


def _name_as_data(name: Named) -> str:
    return name if isinstance(name, str) else f"{name.__module__}:{getattr(name, '__qualname__', name)}"


def _version_as_data(version: Any) -> Plain:
    if isinstance(version, (list, tuple)):
        return type(version)(map(_version_as_data, version))
    return version_key(version)


# requirements as they are written: `data: numbers`, `[net, ~small, {layers: 3}]`, `fold:topics.tsv`

_DECLARED = "Write a component, [component, version, …], or component:artifact."
_ASKED = "Give a name, a tuple (name, version, …), 'name:artifact', or a Component subclass."


def declared_requirements(value: Any, path: str, errors: dict[str, MachinableError]) -> dict[str, RequirementRequest]:
    """Return the requirements in `_requires_`, by name; `errors` receives the errors of single requirements.

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
    """Return the requirements in the argument `requires` of a task, by name; None removes a declared one.

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
        if name in _OF_MAPPINGS:
            raise MalformedText(
                f"a requirement cannot be called {name!r}, because `self.requires.{name}` is a method",
                path=path,
                given=name,
                todo="Use another name.",
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
    """Return a requirement: a list in a file, a tuple in Python, where the first element may be a class."""
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
