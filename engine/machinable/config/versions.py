"""Parse versions: changes of a configuration for one use, such as `~block`, `_mixin_`, a mapping, a file or YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from machinable.config.declaration import EMPTY, Block, Body, lay_block, open_block, parse_body
from machinable.config.inheritance import ancestry
from machinable.config.nodes import MAX_DEPTH, MappingNode, PlacedText, Source, described, without_hidden_values
from machinable.config.registry import Entry
from machinable.errors import MachinableError, MalformedText, Place, SeveralErrors, UnknownName, WrongType
from machinable.serialization import as_plain, is_hidden

if TYPE_CHECKING:
    from machinable.config.loader import Workspace

__all__ = [
    "MAX_ALTERNATIVES",
    "VersionLayer",
    "alternatives",
    "element_bodies",
    "elements_of",
    "expand_lists",
    "layer_elements",
    "open_blocks",
    "plain_element",
    "visible",
]

MAX_ALTERNATIVES = 10_000_000  # versions of one plan; more would not fit in memory
_SPACE = re.compile(r"\s")
_MIXIN = re.compile(r"_(\S+)_")
_FILE_EXTENSIONS = (".yaml", ".yml", ".json")


class VersionLayer(Struct, frozen=True):
    """One body that a version element merges over the configuration.

    Attributes:
        body: The body. That of a block includes the blocks that it makes available.
        given: The element as written.
        overrides: Whether its keys are checked against the known ones.
        label: Its name in `--explain`.
    """

    body: Body
    given: Any
    overrides: bool
    label: str


def expand_lists(version: Any) -> list[Any]:
    """Return the versions that a value with lists stands for, each without lists; the first list varies slowest.

    `[a, b]` → `a`, `b`; `("~v", [a, b])` → `("~v", a)`, `("~v", b)`; `[]` → nothing.

    Args:
        version: A version, in which lists stand for alternatives.

    Raises:
        MalformedText: It is nested too deeply, contains itself, or stands for too many.
    """
    if alternatives(version) > MAX_ALTERNATIVES:
        raise MalformedText(
            f"the lists of a version stand for more than {MAX_ALTERNATIVES:,} alternatives",
            todo="List fewer, or split them into several executions.",
        )
    return _expanded(version)


def alternatives(version: Any) -> int:
    """Return the number of versions that `expand_lists` returns.

    Raises:
        MalformedText: It is nested too deeply, or contains itself.
    """
    try:
        return _count(version)
    except RecursionError:
        raise _too_deep() from None


def _count(version: Any) -> int:
    if isinstance(version, list):
        return sum(map(_count, version))
    return prod(map(_count, version)) if isinstance(version, tuple) else 1


def _expanded(version: Any) -> list[Any]:
    if isinstance(version, list):
        return [one for item in version for one in _expanded(item)]
    if isinstance(version, tuple):
        return list(product(*map(_expanded, version)))
    return [version]


def elements_of(version: Any) -> list[Any]:
    """Return the elements of one version from left to right: text and plain mappings, without empty ones.

    Raises:
        WrongType: It contains a list, or a value that is not plain data.
        MalformedText: It is nested too deeply, or contains itself.
    """
    return [plain_element(element) for element in layer_elements(version)]


def layer_elements(version: Any) -> list[Any]:
    """Return the same elements, where those that were read from a file keep their places."""
    try:
        return _elements_of(version)
    except RecursionError:
        raise _too_deep() from None


def plain_element(element: Any) -> Any:
    """Return an element as plain data, without its place."""
    if type(element) is MappingNode:
        return as_plain(element)
    return str.__str__(element) if type(element) is PlacedText else element


def _too_deep() -> MalformedText:
    return MalformedText(f"a version is nested deeper than {MAX_DEPTH} levels", todo="Nest less deeply.")


def _elements_of(version: Any) -> list[Any]:
    if version is None or version == "" or version == ():
        return []
    if isinstance(version, (PlacedText, MappingNode)):
        return [version]
    if isinstance(version, str):
        return [str.__str__(version)]
    if isinstance(version, tuple):
        return [element for item in version for element in _elements_of(item)]
    if isinstance(version, Mapping):
        return [as_plain(version)]
    if isinstance(version, list):
        raise WrongType(
            f"expected one version, not the list {_short(repr(version))}",
            given=version,
            todo='Merge versions with a tuple: ("~a", {"x": 1}). A list makes several trials of a component.',
        )
    todo = 'Use None, "~name", "_mixin_", a mapping, YAML text, a file\'s path, or a tuple of such.'
    if type(version).__module__.partition(".")[0] == "machinable":  # `grid([1, 2])`, a domain of a search
        todo = "Name the key: grid(rate=[0.1, 0.01]). Domains are for a search: task.tune(space={'rate': …}, …)."
    raise WrongType(
        f"{_short(repr(version))} of type {type(version).__name__} is not a version", given=version, todo=todo
    )


def _place(element: Any, entry: Entry) -> Place | None:
    """Return where a version is written; for one from Python, where the component is declared."""
    return element.place if type(element) is PlacedText else entry.place


def open_blocks(opened: dict[str, Block], blocks: Mapping[str, Block]) -> None:
    """Make blocks available to the elements that follow."""
    for name, block in blocks.items():
        opened[name] = lay_block(block, opened.get(name))


def element_bodies(
    workspace: Workspace, entry: Entry, element: Any, own: Mapping[str, Block], opened: dict[str, Block]
) -> list[VersionLayer]:
    """Return the bodies that one element merges over the configuration.

    Args:
        workspace: The project and its imports.
        entry: The component.
        element: A text or a mapping.
        own: The component's top-level blocks.
        opened: The blocks that earlier elements made available.

    Raises:
        UnknownName: There is no such block or mixin.
        MissingFile: There is no such file.
        MalformedText: The text is not a mapping.
    """
    if not isinstance(element, str):
        return [VersionLayer(_body(element, entry, element), element, True, "here")]
    is_spaced = _SPACE.search(element) is not None
    if len(element) > 1 and element[0] == "~" and not is_spaced:
        return _block_layers(entry, element, own, opened)
    if not is_spaced and len(element) > 2 and (match := _MIXIN.fullmatch(element)):
        return [_mixin_layer(workspace, entry, element, match[1])]
    is_file = element.startswith("$/") or (not is_spaced and element.endswith(_FILE_EXTENSIONS))
    return [_text_layer(workspace, entry, element, is_file)]


def _block_layers(
    entry: Entry, element: str, own: Mapping[str, Block], opened: Mapping[str, Block]
) -> list[VersionLayer]:
    first, *inner = element.split(":")
    found = [block for block in (opened.get(first), own.get(first)) if block is not None]
    if not found:
        raise UnknownName("version", element, sorted({*opened, *own}), at=_place(element, entry), path=entry.name)
    body = open_block(lay_block(found[-1], found[0]))
    bodies = [body]
    walked = first
    for name in inner:
        block = body.blocks.get(f"~{name}")
        if block is None:
            known = [f"{walked}:{other[1:]}" for other in body.blocks]
            raise UnknownName("version", element, known, at=_place(element, entry), path=f"{entry.name}.{walked}")
        body = open_block(block)
        bodies.append(body)
        walked = f"{walked}:{name}"
    return [VersionLayer(one, element, False, element) for one in bodies]


def _mixin_layer(workspace: Workspace, entry: Entry, element: str, name: str) -> VersionLayer:
    mixin = workspace.main.mixins.lookup(name)
    if mixin is None:
        known = [f"_{other}_" for other in workspace.main.mixins.known()]
        raise UnknownName("mixin version", element, known, at=_place(element, entry), path=entry.name)
    body = EMPTY
    for one in ancestry(mixin):
        body = one.body.over(body)
    return VersionLayer(body.without("_class_"), element, False, element)


def _text_layer(workspace: Workspace, entry: Entry, element: str, is_file: bool) -> VersionLayer:
    tree: Any
    shown = _short(visible(element))
    facts: dict[str, Any] = {"at": _place(element, entry), "path": entry.name, "given": shown}
    if is_file:
        label = path = element.removeprefix("$/")
        todo = "Write the path of the version file relative to the project directory."
        if not path.strip() or path.startswith("/"):
            raise MalformedText(f"the version {shown} is not a path of a file in the project", todo=todo, **facts)
        at = element.place if type(element) is PlacedText else None
        tree = workspace.library.read_alone(path, workspace.main.scope, kind="version file", at=at, todo=todo)
    else:
        from machinable.config.reader import read  # 15 ms with yaml, and tasks of classes need none

        label = "here"
        try:
            tree = read(Source("", str(element)))
        except MachinableError as error:
            raise MalformedText(
                f"the version {shown} cannot be read",
                details=[_typed_problem(one) for one in error.parts],
                todo="Write `~name`, `_mixin_`, the path of a file, or YAML such as 'a: 1'.",
                **facts,
            ) from None
    if tree is not None and not isinstance(tree, MappingNode):
        raise MalformedText(
            f"the version {shown} is not a mapping but {described(tree)}",
            todo="Write 'key: value', with a space after the colon. Versions declared in the file begin with `~`.",
            **facts,
        )
    body = _body(tree if tree is not None else {}, entry, element)
    if not is_file:
        body = _body(as_plain(tree or {}), entry, element)  # without places, because it is in no file
    return VersionLayer(body, element, True, label)


def _typed_problem(problem: MachinableError) -> str:
    """Return the message of an error in the text of a version, with its line and column."""
    where = f"line {problem.at.line}, column {problem.at.column}: " if problem.at else ""
    return f"{where}{problem.message.removeprefix(': ')}"


def visible(element: Any) -> str:
    """Return a version element as text, without the values of hidden keys."""
    return repr(without_hidden_values(element) if isinstance(element, str) else _printable(element))


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:99] + "…"


def _printable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: "…" if any(map(is_hidden, str(key).split("."))) else _printable(item) for key, item in value.items()
        }
    return [_printable(item) for item in value] if isinstance(value, list) else value


def _body(mapping: Mapping[Any, Any], entry: Entry, element: Any) -> Body:
    errors: list[MachinableError] = []
    body = parse_body(mapping, entry.name, errors, in_version=True)
    for error in errors:
        if error.at is None or not error.at.file:  # show the declaration instead
            error.at = entry.place
            error.details = (*error.details, f"in the version {_short(visible(element))}")
    SeveralErrors.raise_any(errors)
    return body
