"""Requirements and children as they are written: `data: numbers`, `[net, ~small, {layers: 3}]`, or several of one name.

Of a requirement, one artifact may be named: `fold:topics.tsv`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from machinable.config.versions import elements_of, expand_lists
from machinable.errors import BadName, MachinableError, MalformedText, UnknownName, WrongType
from machinable.ids import is_folder_name
from machinable.plan.grid import grid
from machinable.plan.request import RequirementRequest, RequirementRequests
from machinable.storage import layout
from machinable.storage.files import checked

__all__ = [
    "STORED_TRIAL",
    "asked_requirements",
    "check_names",
    "declared_children",
    "declared_requirements",
    "is_stored_trial",
]

# A stored trial in place of a requirement: `OY1p1o/9c2Eap`, perhaps with the URL of a storage in front
STORED_TRIAL = re.compile(r"(?:(?P<url>.+)/)?(?P<folder>[^/:]+)/(?P<uid>[0-9A-Za-z]+)(?::(?P<artifact>.+))?", re.ASCII)

_METHODS = {
    "requirement": frozenset({"get", "items", "keys", "values"}),
    "child": frozenset(name for name in dir(list) if name[0] != "_"),
}
_ATTRIBUTES = {"requirement": "requires", "child": "children"}
_PLURALS = {"requirement": "requirements", "child": "children"}
_KEYS = ("component", "version", "each", "grid")


def declared_requirements(
    value: Any, path: str, errors: dict[str, MachinableError]
) -> dict[str, RequirementRequest | tuple[RequirementRequest, ...]]:
    """Return the requirements in `_requires_`, by name; `errors` receives the errors of single requirements.

    Raises:
        WrongType, MalformedText: It is not a mapping or a list, or has an invalid name; `path` says where it is.
    """
    return _declared(_Declared(), value, path, errors)


def declared_children(
    value: Any, path: str, errors: dict[str, MachinableError]
) -> dict[str, RequirementRequest | tuple[RequirementRequest, ...]]:
    """Return the children in `_children_`; see `declared_requirements`."""
    return _declared(_DeclaredChild(), value, path, errors)


def _declared(
    form: _Declared, value: Any, path: str, errors: dict[str, MachinableError]
) -> dict[str, RequirementRequest | tuple[RequirementRequest, ...]]:
    result = {}
    for name, one in _items(value, path, form.what):
        try:
            found = form.read(one, f"{path}.{name}")
        except MachinableError as error:
            errors[name] = error
        else:
            if found is not None:
                result[name] = found
    return result


def asked_requirements(value: Any) -> RequirementRequests:
    """Return the requirements in the argument `requires` of a task, by name; None removes a declared one.

    Raises:
        WrongType, MalformedText: It or a requirement in it is wrong.
    """
    items = _items(value, "requires", _Asked.what)
    return {name: _Asked().read(one, f"requires.{name}") for name, one in items}


def _items(value: Any, path: str, what: str) -> Iterable[tuple[str, Any]]:
    if value is None:
        return ()
    if isinstance(value, list):
        return [(str(number), one) for number, one in enumerate(value)]
    if not isinstance(value, Mapping):
        raise WrongType(
            f"{_PLURALS[what]} are a mapping of names to components, or a list, not {value!r}",
            path=path,
            given=value,
            todo="Write {data: component}; the names of a list are 0, 1, ….",
        )
    check_names(value, path, what)
    return value.items()


def check_names(names: Iterable[Any], path: str, what: str) -> None:
    """Check the names of requirements or children, which are attributes as well.

    Raises:
        WrongType, MalformedText: One is not text, or cannot be an attribute.
    """
    for name in names:
        if not isinstance(name, str):
            raise WrongType(
                f"the name of a {what} is text, not {name!r}", path=path, given=name, todo="Write it in quotes."
            )
        if name in _METHODS[what]:
            raise MalformedText(
                f"a {what} cannot be called {name!r}, because `self.{_ATTRIBUTES[what]}.{name}` is a method",
                path=path,
                given=name,
                todo="Use another name.",
            )
        if not name or name.startswith("_"):
            raise MalformedText(
                f"a {what} cannot be called {name!r}",
                path=path,
                given=name,
                todo="Use a name that does not begin with an underscore.",
            )


class _Declared:
    """How a file writes requirements: `[component, version, …]`; lists of mappings are several."""

    what = "requirement"
    todo = "Write a component, [component, version, …], component:artifact, or for several {each: […]}."
    nameless = "Only over a declared one can the component be left out: write [component, version, …]."
    nothing = "null"

    def read(self, value: Any, path: str) -> RequirementRequest | tuple[RequirementRequest, ...] | None:
        """Return what one name stands for: a requirement, several, or None.

        Raises:
            WrongType, MalformedText, UnknownName: It is wrong; `path` says where it is.
        """
        if value is None:
            return None
        if type(value) is str and value.isidentifier():  # nearly all of them, and once for each listed trial
            return RequirementRequest(value)
        if not self.is_several(value):
            return next(self._read(value, path))
        found = list(self._read(value, path))
        if not found:
            raise MalformedText(
                f"a list of {_PLURALS[self.what]} is empty",
                path=path,
                given=value,
                todo=f"{self.todo} For none, write {self.nothing}.",
            )
        return tuple(found)

    def is_several(self, value: Any) -> bool:
        if isinstance(value, Mapping):
            return "each" in value or "grid" in value
        return self._is_list(value) or self._has_alternatives(value)

    def _is_list(self, value: Any) -> bool:
        return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)

    def _has_alternatives(self, value: Any) -> bool:
        return False

    def _read(self, value: Any, path: str) -> Iterator[RequirementRequest]:
        """Yield the requirements that a value stands for."""
        if isinstance(value, Mapping):
            yield from self._of_mapping(value, path)
        elif self._is_list(value):
            for number, one in enumerate(value):
                yield from self._read(one, f"{path}.{number}")
        else:
            yield from self._of_sequence(value, path)

    def _of_mapping(self, value: Mapping[Any, Any], path: str) -> Iterator[RequirementRequest]:
        if "component" not in value and "each" not in value:
            todo = self.nameless if "version" in value else self.todo
            raise WrongType(f"{dict(value)!r} is not a {self.what}", path=path, given=value, todo=todo)
        for key in value:
            if key not in _KEYS:
                raise UnknownName(f"key of a {self.what}", str(key), _KEYS, path=path)
        each, axes = value.get("each"), value.get("grid")
        for key in ("each", "grid"):
            if key in value and not isinstance(value[key], list if key == "each" else Mapping):
                form = "a list" if key == "each" else "a mapping of keys to lists"
                raise WrongType(
                    f"`{key}` of a {self.what} is {form}, not {value[key]!r}",
                    path=f"{path}.{key}",
                    given=value[key],
                    todo="Write {component: name, each: [{n: 1}, {n: 2}]}, or {component: name, grid: {n: [1, 2]}}.",
                )
        if "component" in value:
            base = value["component"], *self._versions(value.get("version"))
            for alternative in [None] if each is None else each:
                for combination in [None] if axes is None else _combinations(axes, f"{path}.grid"):
                    more = [one for one in (alternative, combination) if one is not None]
                    written = [*base, *(version for one in more for version in self._versions(one))]
                    yield self._one(written, path, value)
            return
        if each is None or len(value) > 1:
            raise MalformedText(
                f"a {self.what} has no `component`",
                path=path,
                given=value,
                todo=f"Write {{component: name, version: …}}; {{each: [{self.what}, …]}} lists {_PLURALS[self.what]}.",
            )
        for number, one in enumerate(each):
            yield from self._read(one, f"{path}.each.{number}")

    def _versions(self, version: Any) -> list[Any]:
        return [] if version is None else list(version) if isinstance(version, list) else [version]

    def _of_sequence(self, value: Any, path: str) -> Iterator[RequirementRequest]:
        yield self._one(value if isinstance(value, list) and value else [value], path, value)

    def _one(self, parts: Iterable[Any], path: str, value: Any) -> RequirementRequest:
        name, *versions = parts
        if not isinstance(name, str) and not self._is_code(name):
            raise WrongType(f"{value!r} is not a {self.what}", path=path, given=value, todo=self.todo)
        if isinstance(name, str) and name[:1] == "~":
            message = f"{name!r} is a version, where a {self.what} names its component"
            raise WrongType(message, path=path, given=value, todo=self.todo)
        try:
            elements = [element for version in versions for element in elements_of(version)]
        except MachinableError as error:
            error.path = f"{path}.{error.path}" if error.path else path
            raise
        artifact = None
        if isinstance(name, str) and is_stored_trial(name):
            name, artifact = self._stored(name, elements, path)
            return RequirementRequest(name, None, artifact)
        if isinstance(name, str):
            name, colon, artifact = name.partition(":")
            if not name or (colon and not _is_artifact(artifact)):
                raise MalformedText(f"{value!r} is not a {self.what}", path=path, given=value, todo=self.todo)
        version = tuple(elements) if len(elements) > 1 else elements[0] if elements else None
        return RequirementRequest(name, version, artifact or None)

    def _is_code(self, name: Any) -> bool:
        return False

    def _stored(self, name: str, elements: list[Any], path: str) -> tuple[str, str | None]:
        if elements:
            raise MalformedText(
                f"the stored trial {name!r} has a version, but it has run already",
                path=path,
                given=name,
                todo="Leave out the version, or require the component.",
            )
        try:
            return _split_stored_trial(name)
        except MalformedText as error:
            error.path = path
            raise


class _DeclaredChild(_Declared):
    """How a file writes children: as requirements, without artifacts."""

    what = "child"
    todo = "Write a component, [component, version, …], or for several {each: […]}."

    def _stored(self, name: str, elements: list[Any], path: str) -> tuple[str, str | None]:
        raise MalformedText(
            f"{name!r} is not the name of a component",
            path=path,
            given=name,
            todo="A stored trial can be required, but it is not a child.",
        )

    def _one(self, parts: Iterable[Any], path: str, value: Any) -> RequirementRequest:
        found = super()._one(parts, path, value)
        if found.artifact is not None:
            raise MalformedText(
                f"{value!r} names an artifact, and a child is a component",
                path=path,
                given=value,
                todo=f"Write {found.name}. To read an artifact, write it into `_requires_`.",
            )
        return found


class _Asked(_Declared):
    """How Python writes requirements: `(component, version, …)`; lists are several."""

    todo = "Give a name, a tuple (name, version, …), 'name:artifact', a Component subclass, or a list of such."
    nameless = "Write (component, version), or the version {'_requires_': {name: {'version': …}}} over a declared one."
    nothing = "None"

    def _is_list(self, value: Any) -> bool:
        return isinstance(value, list)

    def _has_alternatives(self, value: Any) -> bool:
        return isinstance(value, tuple) and any(map(_has_list, value[1:]))

    def _versions(self, version: Any) -> list[Any]:
        return [] if version is None else [version]

    def _of_sequence(self, value: Any, path: str) -> Iterator[RequirementRequest]:
        name, *versions = value if isinstance(value, tuple) and value else (value,)
        for one in expand_lists(tuple(versions)):
            yield self._one((name, *one), path, value)

    def _is_code(self, name: Any) -> bool:
        return isinstance(name, type) or callable(name)


def _has_list(version: Any) -> bool:
    return isinstance(version, list) or (isinstance(version, tuple) and any(map(_has_list, version)))


def _combinations(values: Mapping[Any, Any], path: str) -> list[dict[str, Any]]:
    """Return the combinations of the values of a grid; errors name its path."""
    try:
        return grid(values)
    except MachinableError as error:
        error.path = f"{path}.{error.path}" if error.path else path
        raise


def _is_artifact(name: str) -> bool:
    try:
        return bool(checked(name.removesuffix("/"), root=False))
    except BadName:
        return False


def is_stored_trial(text: str) -> bool:
    """Return whether a text is a stored trial: names of components have no slash, only names of artifacts do."""
    return "/" in text.partition(":")[0] or "://" in text


def _split_stored_trial(text: str) -> tuple[str, str | None]:
    """Return a stored trial, and the artifact that is named after a colon.

    Raises:
        MalformedText: It is not `ID/UID`.
    """
    found = STORED_TRIAL.fullmatch(text)
    if found is None or not is_folder_name(found["folder"]):
        raise MalformedText(
            f"{text!r} is not a stored trial",
            given=text,
            todo="Write ID/UID, such as OY1p1o/9c2Eap, with the URL of its storage in front if that is another one.",
        )
    return layout.join(found["url"] or "", found["folder"], found["uid"]), found["artifact"]
