"""The nodes of a project file: values with their positions, and texts that describe them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct, field

from machinable.errors import MalformedText, Place
from machinable.serialization import MAX_DEPTH, is_hidden

__all__ = [
    "DIRECTIVES",
    "MAX_DEPTH",
    "MAX_VALUES",
    "UNREADABLE",
    "EnvValue",
    "MappingNode",
    "Mark",
    "PlacedText",
    "ProjectScope",
    "Reference",
    "SequenceNode",
    "Source",
    "Tree",
    "as_written",
    "described",
    "key_is_not_text",
    "type_name",
    "unwrapped",
    "without_hidden_values",
    "without_keys",
]

Tree: TypeAlias = Any  # MappingNode | SequenceNode | scalar | Reference | EnvValue
Mark: TypeAlias = Any  # a position of the YAML parser: line and column count from 0

MAX_VALUES = 1_000_000  # values that aliases, includes and references may expand to
DIRECTIVES = frozenset({"_replace_", "_remove_", "_append_", "_prepend_"})  # how a value is merged
_LINE = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")  # the line ends of the YAML parser
_KEY = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'|(?:\$\{[^}]*\}|[^:,{}\[\]]|:(?!\s|$))+")
_NAME = r"[^\s:'\"{},\[\]]"
_HIDDEN_VALUE = re.compile(
    rf"((?:^|[\s{{,.'\"])_(?:{_NAME}{{0,80}}(?!_){_NAME})?(?:['\"]\s*:\s*|\s*:\s+))(\S.*)$", re.MULTILINE
)


class ProjectScope(Struct, eq=False):
    """The project that a file belongs to; `$.` references in the file start at its `root`, which begins at `start`."""

    name: str = ""
    root: Tree = None
    start: Place | None = None


class Source(Struct, eq=False):
    """A text and the file name that messages show for it."""

    file: str
    text: str
    scope: ProjectScope = field(default_factory=ProjectScope)
    lines: list[str] | None = None  # split when an error needs one
    start: Mark = None  # where its value begins

    def _line(self, number: int) -> str:
        if self.lines is None:
            self.lines = _LINE.split(self.text)
        return self.lines[number] if number < len(self.lines) else ""

    def place(self, mark: Mark) -> Place:
        """Return the place of a mark, with its line; values of hidden keys are left out of the line."""
        excerpt = without_hidden_values(self._line(mark.line))
        return Place(self.file, mark.line + 1, mark.column + 1, excerpt)

    def key_text(self, mark: Mark) -> str:
        """Return the key at a mark as it is written, without quotes."""
        found = _KEY.match(self._line(mark.line)[mark.column :])
        text = found[0].strip() if found else ""
        return text[1:-1] if text[:1] in ("'", '"') and text[-1:] == text[0] and len(text) > 1 else text

    def place_of_index(self, position: int) -> Place:
        """Return the place of the character at an index of the text."""
        before = _LINE.split(self.text[:position])
        return Place(self.file, len(before), len(before[-1]) + 1, self._line(len(before) - 1))


_NONE: frozenset[str] = frozenset()  # one object, which thousands of nodes share


class MappingNode(dict[Any, Any]):
    """A mapping with the position of each key in `marks`."""

    __slots__ = ("directs", "marks", "optional", "source")

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.marks: dict[Any, Mark] = {}
        self.optional = _NONE  # keys written as `name?`
        self.directs = False  # whether it contains `DIRECTIVES`, at any depth

    def place(self, key: Any) -> Place:
        """Return the place of a key."""
        return self.source.place(self.marks[key])


class PlacedText(str):
    """A text that knows its place, such as the name of a version in a task."""

    __slots__ = ("place",)
    place: Place


def without_keys(mapping: Mapping[Any, Any], keys: Sequence[Any]) -> Mapping[Any, Any]:
    """Return the mapping without some keys, with the places of the others."""
    remaining = {key: value for key, value in mapping.items() if key not in keys}
    if not isinstance(mapping, MappingNode):
        return remaining
    result = MappingNode(mapping.source)
    result.update(remaining)
    result.marks = mapping.marks
    result.optional = mapping.optional
    result.directs = mapping.directs
    return result


def key_is_not_text(key: Any, mapping: Any, path: str | None = None) -> MalformedText:
    """Return the error of a key that is not text.

    Args:
        key: The key.
        mapping: A `MappingNode`, or a mapping from Python.
        path: The key path of the mapping.
    """
    place, shown = None, str(key)
    if isinstance(mapping, MappingNode):
        place, shown = mapping.place(key), mapping.source.key_text(mapping.marks[key])
    message = f"the key '{shown}' is not text"
    return MalformedText(message, at=place, path=path or None, given=shown, todo=f'Write it in quotes: "{shown}".')


class SequenceNode(list[Any]):
    """A list with the position of each element in `marks`."""

    __slots__ = ("directs", "marks", "source")

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.marks: list[Mark] = []
        self.directs = False  # as in `MappingNode`

    def place(self, index: int) -> Place:
        """Return the place of an element."""
        return self.source.place(self.marks[index])


class Reference(Struct, eq=False):
    """A reference to another value: text that begins with `$.` or `$self.`.

    `text` has variables replaced; `written` is the text as it is in the file.
    """

    text: str
    written: str
    source: Source
    mark: Mark

    @property
    def place(self) -> Place:
        """The place of the reference."""
        return self.source.place(self.mark)


class EnvValue(Struct, eq=False):
    """A scalar that contains environment variables: its value, and the text as written."""

    value: Any
    written: str


def without_hidden_values(text: str) -> str:
    """Return the text with the values of hidden keys replaced by `…`."""
    return _HIDDEN_VALUE.sub(r"\1…", text)


UNREADABLE = EnvValue(None, "")  # replaces a value with an error, which is reported once


def unwrapped(value: Tree) -> Tree:
    """Return the value of an `EnvValue`, and any other value unchanged."""
    return value.value if type(value) is EnvValue else value


def as_written(node: Tree) -> str:
    """Return a value as written in its file: references and variables unresolved, hidden values left out."""
    if isinstance(node, (Reference, EnvValue)):
        return node.written
    if isinstance(node, dict):
        return "{" + ", ".join(f"{k}: {'…' if is_hidden(k) else as_written(v)}" for k, v in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(as_written(item) for item in node) + "]"
    return repr(node)


def type_name(value: Tree) -> str:
    """Return the type of a value in words. The value itself is not shown, because it may be a secret."""
    value = unwrapped(value)
    if isinstance(value, Reference):
        return "a reference"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (datetime.date, datetime.time)):
        return "a date"
    return "null" if value is None else {str: "a string", bool: "a boolean"}.get(type(value), "a number")


def described(value: Tree) -> str:
    """Return a short form of a value for messages, as written in its file."""
    if isinstance(value, Reference):
        return f"the reference {value.written!r}"
    if isinstance(value, EnvValue):
        return f"the string {value.written!r}"
    if value is None or isinstance(value, (list, dict)):
        return type_name(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
