"""Versions: changes of a configuration for one use, as people write them, and what each element of one means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from machinable.config.declaration import EMPTY, Block, Body, lay_block, open_block, parse_body
from machinable.config.inheritance import ancestry
from machinable.config.reader import MAX_DEPTH, TYPED, MappingNode, Source, described, read, without_hidden_values
from machinable.config.registry import Entry
from machinable.errors import MachinableError, MalformedText, SeveralErrors, UnknownName, WrongType
from machinable.serialization import as_plain, is_hidden

if TYPE_CHECKING:
    from machinable.config.loader import Workspace

__all__ = ["VersionLayer", "element_bodies", "elements_of", "expand_lists", "open_blocks", "visible"]

_SPACE = re.compile(r"\s")
_MIXIN = re.compile(r"_(\S+)_")
_FILE = (".yaml", ".yml", ".json")


class VersionLayer(NamedTuple):
    """One body that a version element lays over the configuration.

    Attributes:
        body: what is laid over. given: the element as it was written.
        overrides: whether its keys are checked against the known ones.
        label: how `--explain` calls it. bodies of a block carry the blocks that they open.
    """

    body: Body
    given: Any
    overrides: bool
    label: str


def expand_lists(version: Any) -> list[Any]:
    """The versions that a value with lists stands for, each without lists; the first list varies slowest.

    `[a, b]` → `a`, `b`; `("~v", [a, b])` → `("~v", a)`, `("~v", b)`; `[]` → nothing.

    Raises:
        MalformedText: nested too deeply, or in itself.
    """
    try:
        return _expanded(version)
    except RecursionError:
        raise _too_deep() from None


def _expanded(version: Any) -> list[Any]:
    if isinstance(version, list):
        return [one for item in version for one in _expanded(item)]
    if isinstance(version, tuple):
        return list(product(*map(_expanded, version)))
    return [version]


def elements_of(version: Any) -> list[Any]:
    """The elements of one version from left to right: text and plain mappings; what changes nothing is left out.

    Raises:
        WrongType: a list, where one version is meant; a value that is not plain data.
        MalformedText: nested too deeply, or in itself.
    """
    try:
        return _elements_of(version)
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> MalformedText:
    return MalformedText(f"a version is nested deeper than {MAX_DEPTH} levels", todo="Nest less deeply.")


def _elements_of(version: Any) -> list[Any]:
    if version is None or version == "" or version == ():
        return []
    if isinstance(version, str):
        return [str.__str__(version)]
    if isinstance(version, tuple):
        return [element for item in version for element in _elements_of(item)]
    if isinstance(version, Mapping):
        return [as_plain(version)]
    if isinstance(version, list):
        raise WrongType(
            f"one version is meant here, not the list {_short(repr(version))}",
            given=version,
            todo='A tuple merges: ("~a", {"x": 1}). A list makes several trials of a component.',
        )
    raise WrongType(
        f"{_short(repr(version))} of type {type(version).__name__} is not a version",
        given=version,
        todo='A version is None, "~name", "_mixin_", a mapping, YAML text, a file\'s path, or a tuple of such.',
    )


def open_blocks(opened: dict[str, Block], blocks: Mapping[str, Block]) -> None:
    """Makes blocks available to the elements that follow."""
    for name, block in blocks.items():
        opened[name] = lay_block(block, opened.get(name))


def element_bodies(
    workspace: Workspace, entry: Entry, element: Any, own: Mapping[str, Block], opened: dict[str, Block]
) -> list[VersionLayer]:
    """What one element lays over the configuration.

    Args:
        own: the component's top-level blocks. opened: those that earlier elements opened.

    Raises:
        UnknownName: no such block, mixin. MissingFile: no such file. MalformedText: text that gives no mapping.
    """
    if not isinstance(element, str):
        layers = [VersionLayer(_body(element, entry, element), element, True, "here")]
    else:
        spaced = _SPACE.search(element) is not None
        if len(element) > 1 and element[0] == "~" and not spaced:
            layers = _block_steps(entry, element, own, opened)
        elif not spaced and len(element) > 2 and (match := _MIXIN.fullmatch(element)):
            layers = [_mixin_step(workspace, entry, element, match[1])]
        else:
            layers = [_text_step(workspace, entry, element, spaced)]
    return layers


def _block_steps(
    entry: Entry, element: str, own: Mapping[str, Block], opened: Mapping[str, Block]
) -> list[VersionLayer]:
    first, *inner = element.split(":")
    found = [block for block in (opened.get(first), own.get(first)) if block is not None]
    if not found:
        raise UnknownName("version", element, sorted({*opened, *own}), at=entry.place, path=entry.name)
    body = open_block(lay_block(found[-1], found[0]))
    bodies = [body]
    walked = first
    for name in inner:
        block = body.blocks.get(f"~{name}")
        if block is None:
            known = [f"{walked}:{other[1:]}" for other in body.blocks]
            raise UnknownName("version", element, known, at=entry.place, path=f"{entry.name}.{walked}")
        body = open_block(block)
        bodies.append(body)
        walked = f"{walked}:{name}"
    return [VersionLayer(one, element, False, element) for one in bodies]


def _mixin_step(workspace: Workspace, entry: Entry, element: str, name: str) -> VersionLayer:
    mixin = workspace.main.mixins.lookup(name)
    if mixin is None:
        known = [f"_{other}_" for other in workspace.main.mixins.known()]
        raise UnknownName("mixin version", element, known, at=entry.place, path=entry.name)
    body = EMPTY
    for one in ancestry(mixin):
        body = one.body.over(body)
    return VersionLayer(body.without("_class_"), element, False, element)


def _text_step(workspace: Workspace, entry: Entry, element: str, spaced: bool) -> VersionLayer:
    tree: Any
    shown = _short(visible(element))
    if element.startswith("$/") or (not spaced and element.endswith(_FILE)):
        label = path = element.removeprefix("$/")
        todo = "The path of a version is relative to the project directory."
        if not path.strip() or path.startswith("/"):
            raise MalformedText(
                f"the version {shown} names no file of the project",
                at=entry.place,
                path=entry.name,
                given=shown,
                todo=todo,
            )
        tree = workspace.library.read_alone(path, workspace.main.scope, kind="version file", todo=todo)
    else:
        label = "here"
        try:
            tree = read(Source(TYPED, element))
        except MachinableError as error:
            problems = error.errors if isinstance(error, SeveralErrors) else (error,)
            raise MalformedText(
                f"the version {shown} cannot be read",
                at=entry.place,
                path=entry.name,
                given=shown,
                details=[_typed_problem(problem) for problem in problems],
                todo="A version of text is `~name`, `_mixin_`, a file's path, or YAML such as 'a: 1'.",
            ) from None
    if tree is not None and not isinstance(tree, MappingNode):
        raise MalformedText(
            f"the version {shown} gives no mapping but {described(tree)}",
            at=entry.place,
            path=entry.name,
            given=shown,
            todo="Write 'key: value', with a blank behind the colon; a version of the file begins with `~`.",
        )
    return VersionLayer(_body(tree if tree is not None else {}, entry, element), element, True, label)


def _typed_problem(problem: MachinableError) -> str:
    """What is wrong in a text that was typed: the message, and where in the text."""
    where = f"line {problem.at.line}, column {problem.at.column}: " if problem.at else ""
    return f"{where}{problem.message.removeprefix(f'{TYPED}: ')}"


def visible(element: Any) -> str:
    """A version element for people, without what is behind hidden keys."""
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
        if error.at is None or error.at.file == TYPED:  # the declaration is the place to look at
            error.at = entry.place
            error.details = (*error.details, f"in the version {_short(visible(element))}")
    SeveralErrors.raise_any(errors)
    return body
