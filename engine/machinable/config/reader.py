"""Reads the text of a project file: YAML in our dialect, as values that know where they were written.

The result is made of `Section` (a mapping), `Items` (a list), scalars, `Reference`s and values `EnvValue`. It
is read once and never changed; everything later works on it by merging copies.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import yaml
from yaml import nodes
from yaml.constructor import SafeConstructor

from machinable.errors import MachinableError, MalformedText, Place, SeveralErrors
from machinable.serialization import is_hidden

try:
    from yaml.cyaml import CParser as _Parser  # type: ignore[attr-defined]
except ImportError:  # PyYAML built without libyaml: the same nodes, six times slower
    from yaml.composer import Composer
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _Parser(Reader, Scanner, Parser, Composer):  # type: ignore[no-redef]
        def __init__(self, stream: str) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)

        def dispose(self) -> None:
            """As that of the C parser."""


__all__ = [
    "MAX_DEPTH",
    "MAX_VALUES",
    "TYPED",
    "UNREADABLE",
    "EnvValue",
    "Include",
    "MappingNode",
    "Mark",
    "ProjectScope",
    "Reference",
    "SequenceNode",
    "Source",
    "Tree",
    "as_written",
    "described",
    "read",
    "read_json",
    "type_name",
    "unwrapped",
    "without_hidden_values",
]

Tree: TypeAlias = Any  # Section | Items | scalar | Reference | FromEnvironment
Mark: TypeAlias = Any  # what the YAML parser gives: line and column from 0

MAX_DEPTH = 200  # of a file; the stack bears it
MAX_VALUES = 1_000_000  # that aliases, includes and references may make of what was written
TYPED = "<version>"  # the file, as it were, of what was typed in Python
_TAG = "tag:yaml.org,2002:"
_PLAIN, _QUOTED = "?", "!"  # our resolver's word for a scalar without tag
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\})?", re.DOTALL)
_WHOLE_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}\n]*)?\}")
_EXPONENT = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+")
_LINE = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")  # what the YAML parser counts as the end of a line
_KEY = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'|(?:\$\{[^}]*\}|[^:,{}\[\]]|:(?!\s|$))+")
_NAME = r"[^\s:'\"{},\[\]]"
_HIDDEN_VALUE = re.compile(
    rf"((?:^|[\s{{,.'\"])_(?:{_NAME}{{0,80}}(?!_){_NAME})?(?:['\"]\s*:\s*|\s*:\s+))(\S.*)$", re.MULTILINE
)


class ProjectScope:
    """The project that a file belongs to: `$.` references in it mean `root`."""

    __slots__ = ("name", "root")

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.root: Tree = None


class Source:
    """A text with the name under which messages speak of it."""

    __slots__ = ("_lines", "file", "scope", "text")

    def __init__(self, file: str, text: str, scope: ProjectScope | None = None) -> None:
        self.file = file
        self.text = text
        self.scope = scope or ProjectScope()
        self._lines: list[str] | None = None

    def _line(self, number: int) -> str:
        if self._lines is None:
            self._lines = _LINE.split(self.text)
        return self._lines[number] if number < len(self._lines) else ""

    def place(self, mark: Mark) -> Place:
        """The place of a mark, with its line; values behind hidden keys are left out of it."""
        excerpt = without_hidden_values(self._line(mark.line))
        return Place(self.file, mark.line + 1, mark.column + 1, excerpt)

    def typed(self, mark: Mark) -> str:
        """The key at a mark, letter by letter, without quotes around it."""
        found = _KEY.match(self._line(mark.line)[mark.column :])
        text = found[0].strip() if found else ""
        return text[1:-1] if text[:1] in ("'", '"') and text[-1:] == text[0] and len(text) > 1 else text

    def index(self, position: int) -> Place:
        """The place of a character of the text."""
        before = _LINE.split(self.text[:position])
        return Place(self.file, len(before), len(before[-1]) + 1, self._line(len(before) - 1))


class MappingNode(dict[Any, Any]):
    """A mapping that was read from a text: `marks` says where each key was written."""

    __slots__ = ("marks", "optional", "source")

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.marks: dict[Any, Mark] = {}
        self.optional: set[str] = set()  # keys written as `name?`

    def place(self, key: Any) -> Place:
        """Where the key was written."""
        return self.source.place(self.marks[key])


class SequenceNode(list[Any]):
    """A list that was read from a text: `marks` says where each element was written."""

    __slots__ = ("marks", "source")

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source
        self.marks: list[Mark] = []

    def place(self, index: int) -> Place:
        """Where the element was written."""
        return self.source.place(self.marks[index])


class Reference:
    """A text that begins with `$.` or `$self.`; it means a value elsewhere."""

    __slots__ = ("mark", "source", "text", "written")

    def __init__(self, text: str, written: str, source: Source, mark: Mark) -> None:
        self.text = text
        self.written = written
        self.source = source
        self.mark = mark

    @property
    def place(self) -> Place:
        """Where the reference stands."""
        return self.source.place(self.mark)


class EnvValue:
    """A scalar with a variable in it: its value, and the text as it was written."""

    __slots__ = ("value", "written")

    def __init__(self, value: Any, written: str) -> None:
        self.value = value
        self.written = written


def without_hidden_values(text: str) -> str:
    """A text as it may be shown: what is behind a hidden key in a line is left out."""
    return _HIDDEN_VALUE.sub(r"\1…", text)


UNREADABLE = EnvValue(None, "")  # stands for a value that was an error, which is told once


def unwrapped(value: Tree) -> Tree:
    """A value from the environment as what it is; any other as itself."""
    return value.value if type(value) is EnvValue else value


def as_written(node: Tree) -> str:
    """A value for people, as its file says it: references and variables unresolved, hidden values left out."""
    if isinstance(node, (Reference, EnvValue)):
        return node.written
    if isinstance(node, dict):
        return "{" + ", ".join(f"{k}: {'…' if is_hidden(k) else as_written(v)}" for k, v in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(as_written(item) for item in node) + "]"
    return repr(node)


def type_name(value: Tree) -> str:
    """What a value is, in words, without telling it: it may be a secret."""
    value = unwrapped(value)
    if isinstance(value, Reference):
        return "a reference"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (datetime.date, datetime.time)):
        return "a date"
    return "nothing" if value is None else {str: "a text", bool: "true or false"}.get(type(value), "a number")


def described(value: Tree) -> str:
    """A value in a message: short, and as it was written."""
    if isinstance(value, Reference):
        return f"the reference {value.written!r}"
    if isinstance(value, EnvValue):
        return f"the text {value.written!r}"
    if value is None or isinstance(value, (list, dict)):
        return type_name(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


Include: TypeAlias = Callable[[str, str, Source, Mark], Tree]  # path, as written, where → what that file gives


class _Nodes(_Parser):
    """Composes nodes and leaves the meaning of scalars to us."""

    depth = 0

    def resolve(self, kind: type, value: Any, implicit: Any) -> str:
        return _PLAIN if kind is nodes.ScalarNode and implicit[0] else _QUOTED

    def descend_resolver(self, parent: Any, index: Any) -> None:
        # Called for every node: the parser itself would go on until the stack of the process is used up.
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            raise _TooDeep(parent.start_mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1


_LIBRARY_TOO_DEEP = "exceeded maximum nesting depth"  # the problem that libyaml names since PyYAML 6.0.4


class _TooDeep(Exception):
    def __init__(self, mark: Mark) -> None:
        super().__init__(mark)
        self.mark = mark


def read(
    source: Source,
    *,
    environment: Mapping[str, str] | None = None,
    include: Include | None = None,
    errors: list[MachinableError] | None = None,
) -> Tree:
    """The value of a text.

    Args:
        source: the text and its name.
        environment: for `${NAME}`; None reads the text of a version, where variables, references and includes
            are nothing but text.
        include: gives the content of an included file.
        errors: takes the errors that leave the rest readable; None raises them.

    Raises:
        MalformedText: not YAML, or not our dialect of it.
    """
    found: list[MachinableError] = [] if errors is None else errors
    text = _mask(source) if environment is not None and "${" in source.text else source.text
    value = None
    try:
        parser = _Nodes(text)
        try:
            node = parser.get_single_node()
        finally:
            parser.dispose()
        if node is not None:
            reader = _Reader(source, environment, include, found)
            value = reader.value(node, 0)
            if "*" in text or "$/" in text:
                _check_extent(value, source)
    except yaml.YAMLError as error:
        if getattr(error, "problem", None) == _LIBRARY_TOO_DEEP:
            raise _too_deep(source, _first_too_deep(text, error)) from None
        raise _syntax_error(source, error) from None
    except _TooDeep as error:
        raise _too_deep(source, error.mark) from None
    except RecursionError:
        raise _too_deep(source, None) from None
    except (UnicodeError, ValueError) as error:
        if isinstance(error, MachinableError):
            raise
        raise MalformedText(f"{source.file}: this is not YAML: {error}") from None
    if errors is None:
        SeveralErrors.raise_any(found)
    return value


def read_json(source: Source, **options: Any) -> Tree:
    """The value of a JSON text: read as YAML, for the places; what YAML cannot read of it is written anew first."""
    if "\t" in source.text:  # only between values, where YAML wants blanks
        source = Source(source.file, source.text.replace("\t", " "), source.scope)
    try:
        return read(source, **options)
    except MalformedText as problem:
        try:
            value = json.loads(source.text, object_pairs_hook=_without_repetition)
        except _Repeated as error:
            raise MalformedText(
                f"{source.file}: the key {error.key!r} stands twice in a mapping",
                given=error.key,
                todo="Keep one of them.",
            ) from None
        except (ValueError, RecursionError):
            raise problem from None
    # Without odd escapes, surrogate pairs and keys of more than 1,000 characters.
    text = yaml.dump(
        value,
        Dumper=yaml.SafeDumper,
        default_style='"',
        default_flow_style=True,
        width=float("inf"),
        allow_unicode=True,
        sort_keys=False,
    )
    return read(Source(source.file, text, source.scope), **options)


class _Repeated(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _Repeated(key)
        result[key] = value
    return result


class _Reader:
    """Turns nodes into values."""

    def __init__(
        self,
        source: Source,
        environment: Mapping[str, str] | None,
        include: Include | None,
        errors: list[MachinableError],
    ) -> None:
        self.source = source
        self.environment = environment
        self.include = include
        self.errors = errors
        self.open: set[int] = set()
        self.done: dict[int, Tree] = {}
        self.at: Mark = None  # the key of the value that is read, or the element
        self.key_of_value: Any = _NO_KEY
        self.path: list[Any] = []  # the keys above it

    def value(self, node: Any, depth: int) -> Tree:
        if type(node) is nodes.ScalarNode:
            tag = node.tag
            text = node.value
            if "$" in text and self.environment is not None:
                return self.special(node)
            if tag == _PLAIN:
                value = _plain(text)
                return self.fail(value.message(text), text) if type(value) is _Bad else value
            return text if tag == _QUOTED else self.tagged(node.tag, text, text)
        identity = id(node)
        if identity in self.done:
            return self.done[identity]
        if identity in self.open:
            raise MalformedText(
                "an alias stands inside its own anchor",
                at=self.source.place(node.start_mark),
                path=self.where(),
                todo="Write the value where it is needed.",
            )
        if depth >= MAX_DEPTH:
            raise _too_deep(self.source, node.start_mark)
        if node.tag != _QUOTED and node.tag != _TAG + ("map" if type(node) is nodes.MappingNode else "seq"):
            self.refuse_tag(node.tag)
        self.open.add(identity)
        self.path.append(self.key_of_value)
        if type(node) is nodes.MappingNode:
            result: Tree = self.section(node, depth + 1)
        else:
            result = SequenceNode(self.source)
            for index, item in enumerate(node.value):
                self.at = item.start_mark
                self.key_of_value = index
                result.append(self.value(item, depth + 1))
                result.marks.append(item.start_mark)
        self.path.pop()
        self.open.discard(identity)
        self.done[identity] = result
        return result

    def section(self, node: Any, depth: int) -> MappingNode:
        section = MappingNode(self.source)
        marks = section.marks
        merged = []
        for key_node, value_node in node.value:
            self.at = key_node.start_mark
            if key_node.value == "<<" and key_node.tag == _PLAIN:
                merged.append((key_node, value_node))
                continue
            key = self.key(key_node)
            if key is _NO_KEY:
                continue
            if type(key) is str and len(key) > 1 and key[-1] == "?":
                key = key[:-1]
                section.optional.add(key)
            self.key_of_value = _unmask(key_node.value) if "$" in key_node.value else key
            if key in marks:
                typed = self.source.typed(key_node.start_mark)
                self.fail(
                    f"the key {typed!r} stands here twice",
                    typed,
                    details=[f"first at {self.source.place(marks[key])}"],
                    todo="Keep one of them.",
                )
            section[key] = self.value(value_node, depth)
            marks[key] = key_node.start_mark
        return self.over_merged(section, merged, depth) if merged else section

    def over_merged(self, own: MappingNode, merged: list[tuple[Any, Any]], depth: int) -> MappingNode:
        """A mapping laid over what its `<<` bring, of which the last counts, and in a list the first."""
        result = MappingNode(self.source)
        for key_node, value_node in merged:
            self.at, self.key_of_value = key_node.start_mark, "<<"
            value = self.value(value_node, depth)
            self.at, self.key_of_value = key_node.start_mark, "<<"
            for mapping in reversed(value) if type(value) is SequenceNode else [value]:
                if type(mapping) is MappingNode:
                    result.update(mapping)
                    result.marks.update(mapping.marks)
                    result.optional |= mapping.optional
                elif mapping is not UNREADABLE:
                    self.fail(f"`<<` takes a mapping or a list of mappings, not {described(mapping)}", None)
        result.update(own)
        result.marks.update(own.marks)
        result.optional |= own.optional
        return result

    def key(self, node: Any) -> Any:
        self.key_of_value = _NO_KEY
        if type(node) is not nodes.ScalarNode:
            self.fail("a key is text or another scalar, not a list or a mapping", None)
            return _NO_KEY
        written = text = node.value
        if "$" in text and self.environment is not None:
            written = _unmask(text)
            replaced = self.replaced(written)
            if replaced is None:
                return _NO_KEY
            text = replaced
        value = (
            _plain(text)
            if node.tag == _PLAIN
            else text
            if node.tag == _QUOTED
            else self.tagged(node.tag, text, written)
        )
        if type(value) is _Bad:
            value = self.fail(value.message(written), written)
        return _NO_KEY if value is UNREADABLE else value

    def special(self, node: Any) -> Tree:
        """A scalar with a dollar sign: an include, a reference, one with variables, or just text."""
        written = _unmask(node.value)
        tag = node.tag
        text = self.replaced(written)
        if text is None:
            return UNREADABLE
        if tag == _PLAIN and written[:2] == "$/" and self.include is not None:
            try:
                return self.include(text[2:], written, self.source, self.at or node.start_mark)
            except MachinableError as error:
                error.path = error.path or self.where()
                self.errors.append(error)
                return UNREADABLE
        if tag in (_PLAIN, _QUOTED, _TAG + "str"):
            if written[:2] == "$." or written[:6] == "$self.":
                return Reference(text, written, self.source, node.start_mark)
            value = _plain(text) if tag == _PLAIN else text
            if type(value) is _Bad:
                return self.fail(value.message(written), written)
        else:
            value = self.tagged(tag, text, written)
        return value if text == written or value is UNREADABLE else EnvValue(value, written)

    def replaced(self, text: str) -> str | None:
        """The text with its variables replaced; None after an error."""
        if "${" not in text:
            return text
        failed = False
        environment = self.environment
        assert environment is not None

        def value_of(match: re.Match[str]) -> str:
            nonlocal failed
            if match[0] == "$${":
                return "${"
            name = match[1]
            if name is None:
                failed = True
                self.fail(
                    "`${` begins no variable",
                    text,
                    todo="Write ${NAME} or ${NAME:-default}, or $${ for the two characters.",
                )
                return ""
            value = environment.get(name, "")
            if match[2] is not None:
                return value or match[3]
            if name not in environment:
                failed = True
                self.fail(
                    f"the environment variable {name!r} is not set",
                    text,
                    todo=f"Set it, or give a default: ${{{name}:-default}}.",
                )
            return value

        result = _VARIABLE.sub(value_of, text)
        return None if failed else result

    def tagged(self, tag: str, text: str, written: str) -> Any:
        """A scalar with an explicit tag."""
        kind = tag.removeprefix(_TAG)
        if kind == "str":
            return text
        if tag.startswith(_TAG) and kind in ("int", "float", "bool", "null", "timestamp"):
            value = _construct(kind, text)
            return self.fail(value.message(written), written) if type(value) is _Bad else value
        return self.refuse_tag(tag)

    def refuse_tag(self, tag: str) -> EnvValue:
        shown = tag.replace(_TAG, "!!")
        return self.fail(
            f"the tag {shown!r} is not allowed here",
            shown,
            todo="Allowed are !!str, !!int, !!float, !!bool, !!null, !!timestamp, and !!seq and !!map "
            "for what they name.",
        )

    def where(self) -> str | None:
        """The key path of what is read."""
        path = ""
        for key in (*self.path[1:], self.key_of_value):
            if key is not _NO_KEY:
                path += f"[{key}]" if type(key) is int else f".{key}"
        return path.removeprefix(".") or None

    def fail(self, message: str, given: object, **facts: Any) -> EnvValue:
        """Notes an error at the key of the value that is read."""
        at = self.source.place(self.at) if self.at is not None else None
        if at is None:
            message = f"{self.source.file}: {message}"
        self.errors.append(MalformedText(message, at=at, path=self.where(), given=given, **facts))
        return UNREADABLE


class _Bad:
    """A scalar that looks like a number or a date and is none."""

    __slots__ = ("kind", "reason", "text")

    def __init__(self, kind: str, text: str, reason: str) -> None:
        self.kind = kind
        self.text = text
        self.reason = reason

    def message(self, written: str) -> str:
        """What is wrong with it; of a text from the environment only what was written."""
        shown = repr(written if len(written) < 60 else written[:57] + "...")
        return f"{shown} is no {self.kind}" + (f": {self.reason}" if written == self.text else "")


_NO_KEY = object()
_RESOLVERS = yaml.SafeLoader.yaml_implicit_resolvers
_constructor = SafeConstructor()


@lru_cache(maxsize=65536)
def _plain(text: str) -> Any:
    """What a scalar without quotes and tag means; immutable, so that it can be remembered."""
    for tag, expression in _RESOLVERS.get(text[:1], ()):
        if expression.match(text):
            kind = tag.removeprefix(_TAG)
            return _construct(kind, text) if kind not in ("merge", "value") else text
    if _EXPONENT.fullmatch(text):
        return _construct("float", text)
    return text


def _construct(kind: str, text: str) -> Any:
    try:
        if kind == "float" and _EXPONENT.fullmatch(text):
            return float(text.replace("_", ""))
        return getattr(_constructor, f"construct_yaml_{kind}")(nodes.ScalarNode(_TAG + kind, text))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        name = {"int": "integer", "timestamp": "date"}.get(kind, kind)
        return _Bad(name, text, str(error))


def _mask(source: Source) -> str:
    """The text with what means something to YAML inside `${…}` written in characters that do not, as long as before.

    So `{n: ${N:-a, b}}` needs no quotes, and every column stays what it was.
    """
    for character in source.text:
        if 0xF0000 <= ord(character) < 0xF0080:
            raise MalformedText(
                f"{source.file}: the private character U+{ord(character):X} cannot be used here", todo="Leave it out."
            )
    return _WHOLE_VARIABLE.sub(lambda found: found[0].translate(_MASK), source.text)


_MASK = {ord(character): 0xF0000 + ord(character) for character in "{}[],:#?"}
_UNMASK = {masked: code for code, masked in _MASK.items()}


def _unmask(text: str) -> str:
    return text.translate(_UNMASK) if "\U000f007b" in text else text


def _check_extent(value: Tree, source: Source) -> None:
    """Refuses what is too deep, and what aliases and includes multiply without measure."""
    known: dict[int, tuple[int, int]] = {}
    written = 0

    def extent(value: Tree) -> tuple[int, int]:
        nonlocal written
        if type(value) is not MappingNode and type(value) is not SequenceNode:
            written += 1
            return 1, 0
        if id(value) in known:
            return known[id(value)]
        written += 1
        size, height = 1, 1
        for item in value.values() if type(value) is MappingNode else value:
            inner_size, inner_height = extent(item)
            size += inner_size
            height = max(height, inner_height + 1)
        known[id(value)] = size, height
        return size, height

    size, height = extent(value)
    if size - written > MAX_VALUES:
        raise MalformedText(
            f"{source.file}: aliases and includes repeat more than {MAX_VALUES:,} values in it", todo="Repeat less."
        )
    if height > MAX_DEPTH:
        raise _too_deep(source, None)


def _first_too_deep(text: str, error: Any) -> Mark:
    """Return where nesting passes our limit in text that the library refuses as nested too deeply.

    PyYAML 6.0.4 and newer limit nesting to about 1,000 levels. Their scanner looks ahead, so it meets its limit before
    the parser meets ours. The text before that place is below the library's limit, and above ours.
    """
    parser = _Nodes(text[: error.problem_mark.index])
    try:
        parser.get_single_node()
    except _TooDeep as found:
        return found.mark
    except yaml.YAMLError:
        pass  # the library's place is good enough
    finally:
        parser.dispose()
    mark: Mark = error.problem_mark
    return mark


def _too_deep(source: Source, mark: Mark | None) -> MalformedText:
    at = source.place(mark) if mark is not None else None
    return MalformedText(
        f"{'' if at else source.file + ': '}nested deeper than {MAX_DEPTH} levels", at=at, todo="Nest less deeply."
    )


def _syntax_error(source: Source, error: yaml.YAMLError) -> MalformedText:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = _unmask(getattr(error, "problem", None) or getattr(error, "reason", None) or "not readable")
    context = _unmask(getattr(error, "context", None) or "")
    if ("document" in problem and "another" in problem + context) or "expected a single document" in context:
        problem, context = "a second document begins here", "a project file is one document"
    details = [context] if context else []
    character = getattr(error, "character", None)  # one that YAML does not allow; the parser counts bytes before it
    position = source.text.find(chr(character)) if isinstance(character, int) else -1
    if mark is None and position < 0:
        return MalformedText(f"{source.file}: this is not YAML: {problem}", details=details)
    at = source.place(mark) if mark is not None else source.index(position)
    return MalformedText(f"this is not YAML: {problem}", at=at, details=details)
