"""Read the text of a project file: YAML with references, includes and variables, as values with positions.

The result consists of `MappingNode`, `SequenceNode`, `Reference`, `EnvValue` and plain scalars. It is never changed:
later steps merge copies of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import yaml
from yaml import nodes
from yaml.constructor import SafeConstructor

from machinable.config.nodes import (
    DIRECTIVES,
    MAX_DEPTH,
    MAX_VALUES,
    UNREADABLE,
    EnvValue,
    MappingNode,
    Mark,
    Reference,
    SequenceNode,
    Source,
    Tree,
    described,
)
from machinable.errors import MachinableError, MalformedText, SeveralErrors

__all__ = ["Include", "read", "read_json"]

_TAG = "tag:yaml.org,2002:"
_STR = _TAG + "str"
_PLAIN, _QUOTED = "?", "!"  # tags that our resolver gives to scalars without an explicit one
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\})?", re.DOTALL)
_WHOLE_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}\n]*)?\}")

_TOO_DEEP = "exceeded maximum nesting depth"  # as PyYAML 6.0.4 and newer says it at 1,000 levels

# (path, path as written, source, mark) → value of the file
Include: TypeAlias = Callable[[str, str, Source, Mark], Tree]


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # without libyaml six times slower


class _Nodes(_Loader):  # type: ignore[misc]
    """Compose nodes without interpreting scalars; `_Reader` does that."""

    depth = 0

    def resolve(self, kind: type, value: Any, implicit: Any) -> str:
        return _PLAIN if kind is nodes.ScalarNode and implicit[0] else _QUOTED

    def descend_resolver(self, parent: Any, index: Any) -> None:
        # Called for every node: without a limit, older parsers continue until the stack overflows.
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=parent.start_mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1


def read(
    source: Source,
    *,
    environment: Mapping[str, str] | None = None,
    include: Include | None = None,
    errors: list[MachinableError] | None = None,
) -> Tree:
    """Return the value of a text.

    Args:
        source: The text and its file name.
        environment: Values for `${NAME}`. None reads the text of a version, where variables, references and includes
            are plain text.
        include: Return the value of an included file.
        errors: Collects errors that leave the rest readable. None raises them.

    Raises:
        MalformedText: The text is not YAML, or uses YAML that project files do not allow.
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
            source.start = reader.at = node.start_mark
            value = reader.value(node, 0)
            if "*" in text or "$/" in text:
                _check_extent(value, source)
    except yaml.YAMLError as error:
        if isinstance(error, yaml.MarkedYAMLError) and error.problem == _TOO_DEEP:
            raise _too_deep(source, error.problem_mark) from None
        raise _syntax_error(source, error) from None
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
    """Return the value of a JSON text.

    The text is read as YAML, which gives places. JSON that YAML cannot read is written without escapes first.

    Args:
        source: The text and its file name.
        options: As in `read`.
    """
    if "\t" in source.text:  # only between values, where YAML requires spaces
        source = Source(source.file, source.text.replace("\t", " "), source.scope)

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                message = f"{source.file}: the key {key!r} is defined twice in a mapping"
                raise MalformedText(message, given=key, todo="Keep one of them.")
            result[key] = value
        return result

    try:
        return read(source, **options)
    except MalformedText as problem:
        try:
            value = json.loads(source.text, object_pairs_hook=mapping)
        except MalformedText:
            raise
        except (ValueError, RecursionError):
            raise problem from None
    # Surrogate pairs become characters.
    return read(Source(source.file, json.dumps(value, ensure_ascii=False), source.scope), **options)


class _Reader:
    """Convert nodes of the parser to values."""

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
        self.at: Mark = None  # position of the key or element that is being read
        self.key_of_value: Any = _NO_KEY
        self.path: list[Any] = []  # the keys that lead to it
        self.in_data = False  # whether it is in a list other than a section

    def value(self, node: Any, depth: int) -> Tree:
        if type(node) is nodes.ScalarNode:
            text = node.value
            if "$" in text and self.environment is not None:
                return self.with_dollar(node)
            return self.scalar(node.tag, text, text)
        identity = id(node)
        if identity in self.done:
            return self.done[identity]
        if identity in self.open:
            raise MalformedText(
                "an alias refers to the anchor that contains it",
                at=self.source.place(node.start_mark),
                path=self.key_path(),
                todo="Write the value where it is needed.",
            )
        if depth >= MAX_DEPTH:
            raise _too_deep(self.source, node.start_mark)
        if node.tag != _QUOTED and node.tag != _TAG + ("map" if type(node) is nodes.MappingNode else "seq"):
            self.refuse_tag(node.tag, node.start_mark)
        self.open.add(identity)
        self.path.append(self.key_of_value)
        if type(node) is nodes.MappingNode:
            result: Tree = self.mapping(node, depth + 1)
        else:
            result = SequenceNode(self.source)
            in_data = self.in_data
            self.in_data = in_data or not self.is_section()
            for index, item in enumerate(node.value):
                self.at = item.start_mark
                self.key_of_value = _Index(index)
                element = self.value(item, depth + 1)
                result.append(element)
                result.marks.append(item.start_mark)
                if type(element) in _NODES and element.directs:
                    result.directs = True
            self.in_data = in_data
        self.path.pop()
        self.open.discard(identity)
        self.done[identity] = result
        return result

    def mapping(self, node: Any, depth: int) -> MappingNode:
        mapping = MappingNode(self.source)
        marks = mapping.marks
        merged = []
        # Versions and elements of lists are data, in which `name?` is an ordinary key.
        declares = self.environment is not None and not self.in_data and type(self.key_of_value) is not _Index
        for key_node, value_node in node.value:
            self.at = key_node.start_mark
            if key_node.value == "<<" and key_node.tag == _PLAIN:
                merged.append((key_node, value_node))
                continue
            key = self.key(key_node)
            if key is _NO_KEY:
                continue
            if type(key) is str and len(key) > 1 and key[-1] == "?" and key_node.tag == _PLAIN and declares:
                key = key[:-1]
                mapping.optional |= {key}
            self.key_of_value = _unmask(key_node.value) if "$" in key_node.value else key
            if key in marks:
                typed = self.source.key_text(key_node.start_mark)
                self.fail(
                    f"the key {typed!r} is defined twice in this mapping",
                    typed,
                    details=[f"first at {self.source.place(marks[key])}"],
                    todo="Keep one of them.",
                )
            mapping[key] = value = self.value(value_node, depth)
            marks[key] = key_node.start_mark
            if key in DIRECTIVES or (type(value) in _NODES and value.directs):
                mapping.directs = True
        return self.with_merge_keys(mapping, merged, depth) if merged else mapping

    def with_merge_keys(self, own: MappingNode, merged: list[tuple[Any, Any]], depth: int) -> MappingNode:
        """Return a mapping merged over its `<<` mappings: the last `<<` wins, and in a list the first mapping."""
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
                    result.directs |= mapping.directs
                elif mapping is not UNREADABLE:
                    self.fail(f"`<<` takes a mapping or a list of mappings, not {described(mapping)}", None)
        result.update(own)
        result.marks.update(own.marks)
        result.optional |= own.optional
        result.directs |= own.directs
        return result

    def key(self, node: Any) -> Any:
        self.key_of_value = _NO_KEY
        if type(node) is not nodes.ScalarNode:
            self.fail("a key is text or another scalar, not a list or a mapping", None)
            return _NO_KEY
        written = text = node.value
        if "$" in text and self.environment is not None:
            written = _unmask(text)
            with_variables = self.with_variables(written)
            if with_variables is None:
                return _NO_KEY
            text = with_variables
        value = self.scalar(node.tag, text, written)
        return _NO_KEY if value is UNREADABLE else value

    def with_dollar(self, node: Any) -> Tree:
        """Return the value of a scalar with a dollar sign: an include, a reference, variables, or plain text."""
        written = _unmask(node.value)
        tag = node.tag
        text = self.with_variables(written)
        if text is None:
            return UNREADABLE
        if tag == _PLAIN and written[:2] == "$/" and self.include is not None:
            try:
                return self.include(text[2:], written, self.source, self.at or node.start_mark)
            except MachinableError as error:
                error.path = error.path or self.key_path()
                self.errors.append(error)
                return UNREADABLE
        if tag in (_PLAIN, _QUOTED, _STR) and written.startswith(("$.", "$self.")):
            return Reference(text, written, self.source, node.start_mark)
        value = self.scalar(tag, text, written)
        return value if text == written or value is UNREADABLE else EnvValue(value, written)

    def with_variables(self, text: str) -> str | None:
        """Return the text with its variables replaced, or None after an error."""
        if "${" not in text:
            return text
        failed = False
        end = text.rfind("}") + 1
        if "${" in text[end:].replace("$${", ""):
            self.fail_variable(text)
            return None
        environment = self.environment
        assert environment is not None

        def value_of(match: re.Match[str]) -> str:
            nonlocal failed
            if match[0] == "$${":
                return "${"
            name = match[1]
            if failed:  # one error for each value
                return ""
            if name is None:
                failed = True
                self.fail_variable(text)
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

        # Where no brace follows, each variable would be searched to the end.
        result = _VARIABLE.sub(value_of, text[:end]) + text[end:].replace("$${", "${")
        return None if failed else result

    def fail_variable(self, text: str) -> None:
        """Report a `${` that does not begin a variable."""
        self.fail(
            "`${` does not begin a variable",
            text,
            todo="Write ${NAME} or ${NAME:-default}, or $${ for a literal `${`.",
        )

    def scalar(self, tag: str, text: str, written: str) -> Any:
        """Return the value of a scalar.

        Args:
            tag: Its tag.
            text: Its text, with variables replaced.
            written: Its text as written.
        """
        if tag in (_QUOTED, _STR):
            return text
        if tag == _PLAIN:
            value = _plain_value(text)
        elif tag in _TAGS:
            value = _construct(tag.removeprefix(_TAG), text)
        else:
            return self.refuse_tag(tag)
        return self.fail(value.message(written), written) if type(value) is _InvalidScalar else value

    def refuse_tag(self, tag: str, mark: Mark = None) -> EnvValue:
        self.at = self.at or mark  # the root has no key
        shown = tag.replace(_TAG, "!!")
        return self.fail(
            f"the tag {shown!r} is not allowed here",
            shown,
            todo="Use !!str, !!int, !!float, !!bool, !!null or !!timestamp for scalars, !!seq for lists and "
            "!!map for mappings.",
        )

    def is_section(self) -> bool:
        """Return whether the list that is being read can be a section, whose elements declare entries."""
        names = [key for key in self.path if key is not _NO_KEY and type(key) is not _Index]
        if len(names) == 3 and names[0] == "includes":
            names = names[2:]
        return not names or (len(names) == 1 and str(names[0]).startswith(("components", "mixins", "tasks")))

    def key_path(self) -> str | None:
        """Return the key path of the value that is being read."""
        path = ""
        for key in (*self.path[1:], self.key_of_value):
            if key is not _NO_KEY:
                path += f"[{key}]" if type(key) is _Index else f".{key}"
        return path.removeprefix(".") or None

    def fail(self, message: str, given: object, **facts: Any) -> EnvValue:
        """Report an error at the key of the value that is being read."""
        at = self.source.place(self.at) if self.at is not None else None
        if at is None:
            message = f"{self.source.file}: {message}"
        self.errors.append(MalformedText(message, at=at, path=self.key_path(), given=given, **facts))
        return UNREADABLE


_NO_KEY = object()
_NODES = (MappingNode, SequenceNode)


class _Index(int):
    """The index of an element of a list, in contrast to a key that is a number."""


# scalars: numbers, booleans, dates and null in YAML 1.1, with exponents as in `1e-3`

_TAGS = {_TAG + kind for kind in ("int", "float", "bool", "null", "timestamp")}
_KINDS = {"int": "integer", "timestamp": "date"}  # in messages
MAX_DIGITS = 4300  # that Python converts to and from text
_MAX_BITS = 14_284  # up to here a number has at most that many digits
_EXPONENT = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+")
_RESOLVERS = yaml.SafeLoader.yaml_implicit_resolvers
_CONSTRUCTOR = SafeConstructor()


class _InvalidScalar:
    """A scalar that looks like a number or a date but is not a valid one."""

    def __init__(self, kind: str, text: str, reason: str) -> None:
        self.kind = kind
        self.text = text
        self.reason = reason

    def message(self, written: str) -> str:
        """Describe the problem, without text from the environment."""
        shown = repr(written if len(written) < 60 else written[:57] + "...")
        return f"{shown} is not a valid {self.kind}" + (f": {self.reason}" if written == self.text else "")


@lru_cache(maxsize=65536)
def _plain_value(text: str) -> Any:
    """Return the value of a scalar without quotes and tag. Values are immutable, so they can be cached."""
    for tag, expression in _RESOLVERS.get(text[:1], ()):
        if expression.match(text):
            kind = tag.removeprefix(_TAG)
            return _construct(kind, text) if kind not in ("merge", "value") else text
    return _construct("float", text) if _EXPONENT.fullmatch(text) else text


def _construct(kind: str, text: str) -> Any:
    if kind in ("int", "float") and len(text) > MAX_DIGITS:  # before base 60, whose time grows with the square
        return _InvalidScalar(_KINDS.get(kind, kind), text, f"it has more than {MAX_DIGITS:,} characters")
    try:
        if kind == "float" and _EXPONENT.fullmatch(text):
            return float(text.replace("_", ""))
        value = getattr(_CONSTRUCTOR, f"construct_yaml_{kind}")(nodes.ScalarNode(_TAG + kind, text))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        return _InvalidScalar(_KINDS.get(kind, kind), text, str(error))
    if type(value) is int and value.bit_length() > _MAX_BITS and abs(value) >= 10**MAX_DIGITS:
        return _InvalidScalar("integer", text, f"it has more than {MAX_DIGITS:,} digits")
    return value


# limits and errors


def _mask(source: Source) -> str:
    """Replace YAML's special characters inside `${…}` by private ones, one for one.

    So `{n: ${N:-a, b}}` needs no quotes, and columns stay the same.
    """
    for character in source.text:
        if 0xF0000 <= ord(character) < 0xF0080:
            raise MalformedText(
                f"{source.file}: the private character U+{ord(character):X} cannot be used here",
                todo="Remove it.",
            )
    # Only before the last brace of a line: where no brace follows, each `${` would be searched to the end of the line.
    lines = source.text.split("\n")
    for number, line in enumerate(lines):
        if (end := line.rfind("}") + 1) and "${" in line:
            lines[number] = _WHOLE_VARIABLE.sub(lambda found: found[0].translate(_MASK), line[:end]) + line[end:]
    return "\n".join(lines)


_MASK = {ord(character): 0xF0000 + ord(character) for character in "{}[],:#?"}
_UNMASK = {masked: code for code, masked in _MASK.items()}


def _unmask(text: str) -> str:
    return text.translate(_UNMASK) if "\U000f007b" in text else text


def _check_extent(value: Tree, source: Source) -> None:
    """Raise an error if aliases and includes make a value too deep or too large."""
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
            f"{source.file}: aliases and includes repeat more than {MAX_VALUES:,} values", todo="Use fewer aliases."
        )
    if height > MAX_DEPTH:
        raise _too_deep(source, None)


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
    character = getattr(error, "character", None)  # that YAML does not allow; its position is in bytes
    position = source.text.find(chr(character)) if isinstance(character, int) else -1
    if mark is None and position < 0:
        return MalformedText(f"{source.file}: this is not YAML: {problem}", details=details)
    at = source.place(mark) if mark is not None else source.place_of_index(position)
    return MalformedText(f"this is not YAML: {problem}", at=at, details=details)
