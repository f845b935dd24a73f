"""The values of `key=value` on the command line, as the configuration of the component declares them.

A value for text is the text as typed, so `zip=02142` needs no quotes. Any other value is YAML, and an error if it is of
another kind than the declared one.
"""

from __future__ import annotations

import datetime
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cached_property
from typing import TYPE_CHECKING, Any

from machinable.cli.hints import scalar_hints
from machinable.config.declaration import is_reserved
from machinable.config.merge import element_keys, known_key
from machinable.config.method_calls import called_name, is_call
from machinable.config.nodes import DIRECTIVES, Source
from machinable.config.reader import read
from machinable.display.terminal import echo
from machinable.errors import (
    InvalidValue,
    MachinableError,
    MalformedText,
    Place,
    WrongType,
    did_you_mean,
    near_names,
)
from machinable.execution.environment import visible_words
from machinable.project import Project
from machinable.serialization import is_hidden

if TYPE_CHECKING:
    from machinable.config.resolved import Resolved

__all__ = [
    "Declared",
    "for_each",
    "hint_at_new_key",
    "place_of_word",
    "read_value",
    "schema_class",
    "several_values",
    "split_values",
]

_SCHEMA = re.compile(rb"^\s+(?:class\s+)?Config\b\s*[(:=]", re.MULTILINE)
_UNKNOWN: Any = object()
_MAX_SHOWN = 20  # values of a range
_BRACKETS = {"[": "]", "{": "}", "(": ")"}
_WORDS = re.compile(r"[^,\s\[\]{}()'\"]+(?:,[^,\s\[\]{}()'\"]+)+")
_RANGE = re.compile(r"range\(\s*(?:(-?\d+)\s*,)?\s*(-?\d+)\s*\)|(-?\d+)\.\.(-?\d+)")
_SWEEPS = ("arange", "choice", "interval", "linspace", "logspace", "range")  # what other tools and NumPy call them


def schema_class(project: Project, resolved: Resolved) -> Any:
    """Return the class of a component if it has a `class Config`, else None; most modules are not imported for this.

    Raises:
        MachinableError: Its module cannot be imported.
    """
    from machinable.component.source_files import Sources, code_of  # completion shows no values

    if not any(map(_SCHEMA.search, code_of(Sources(project.path), [resolved.module]).values())):
        return None
    from machinable.component.imports import importing, load_component
    from machinable.plan.spec import Target

    with redirect_stdout(sys.stderr), importing(project.path):
        found: Any = load_component(Target(resolved.module, resolved.class_name), project.path)
    return found if getattr(found, "Config", None) is not None else None


class Declared:
    """What a component declares for the keys of its configuration, before `key=value` change it.

    Args:
        project: The project.
        component: The name of the component.
        elements: The versions on the command line, without `key=value`.
        is_of: Whether the words follow `--of`, so that no `--grid` gives alternatives for them.
    """

    def __init__(self, project: Project, component: str, elements: Sequence[str], is_of: bool = False) -> None:
        self._project = project
        self.component = component
        self._elements = tuple(elements)
        self.is_of = is_of

    @cached_property
    def _resolved(self) -> Resolved | None:
        try:
            return self._project.resolve(self.component, self._elements)
        except MachinableError:
            return None  # reported when the component is resolved with its values

    @cached_property
    def _schema(self) -> Any:
        """The class, if it has a `class Config`."""
        try:
            return None if self._resolved is None else schema_class(self._project, self._resolved)
        except MachinableError:
            return None  # reported when the component runs

    def value(self, keys: Sequence[str]) -> Any:
        """Return the declared value of a key, `_UNKNOWN` if there is none or a config method returns it."""
        node: Any = self._resolved.config if self._resolved is not None else {}
        for key in keys:
            if isinstance(node, Mapping):
                key = known_key(node, key)
            elif isinstance(node, list) and element_keys({key: None}) and -len(node) <= int(key) < len(node):
                node, key = dict(enumerate(node)), int(key) % len(node)  # type: ignore[assignment]
            if not isinstance(node, Mapping) or key not in node:
                return _UNKNOWN
            node = node[key]
        return _UNKNOWN if isinstance(node, str) and is_call(node) else node

    def unknown(self, keys: Sequence[str]) -> tuple[str, list[str]] | None:
        """Return the first part of a key that is not declared, and its siblings; None if all are, or none is known."""
        node: Any = self._resolved.config if self._resolved is not None else None
        for number, key in enumerate(keys):
            if not isinstance(node, Mapping):
                return None
            if (key := known_key(node, key)) not in node:
                return ".".join([*keys[:number], str(key)]), list(map(str, node))
            node = node[key]
        return None

    def is_text(self, keys: Sequence[str]) -> bool:
        """Return whether text is declared for a key, by the `class Config` if there is one."""
        if self._schema is not None:
            from machinable.component.config_schema import takes_text

            found = takes_text(self._schema, keys)
            if found is not None:
                return found
        return isinstance(self.value(keys), str)

    @property
    def is_typed(self) -> bool:
        """Whether a `class Config` checks the values."""
        return self._schema is not None

    def calls(self, text: str) -> bool:
        """Return whether a text may call a config method of the component."""
        name = called_name(text)
        if name is None or name not in _SWEEPS or self._resolved is None:
            return name is not None
        return self._project.may_have(self._resolved.module, f"config_{name}")

    def place(self, keys: Sequence[str]) -> Place | None:
        """Return where a key is declared."""
        try:
            return self._resolved.place(".".join(keys)) if self._resolved is not None else None
        except MachinableError:
            return None


def place_of_word(words: Sequence[str], number: int) -> Place:
    """Return the place of a word on the command line."""
    shown = visible_words(words)
    return Place("command line", 1, sum(len(word) + 1 for word in shown[:number]) + 1, " ".join(shown))


def read_value(
    key: str, text: str, declared: Declared | None, place: Callable[[], Place], *, in_grid: bool = False
) -> Any:
    """Return the value that a text stands for.

    Args:
        key: The key, with dots.
        text: The text after the equals sign.
        declared: The declarations of the component; None reads the text as YAML.
        place: Returns its place, for messages.
        in_grid: Whether it is one of several, which `--grid` gives.

    Raises:
        InvalidValue: There is no text.
        MalformedText: The text is not YAML.
        WrongType: The value is of another kind than declared.
    """
    if not text.strip():  # YAML would read null, but usually a shell variable is empty
        raise InvalidValue(
            f"{key}= has no value", given=text, todo=f"Write {key}=null for null, {key}='\"\"' for empty text."
        )
    keys = key.split(".")
    if declared is not None and keys[-1] not in DIRECTIVES and declared.is_text(keys):
        _check_sweep(key, text, declared, place, in_grid)
        if not in_grid and not _is_hidden(key) and _WORDS.fullmatch(text):
            note = f"{key} is the text {text!r}; {for_each(declared, key, f'--grid {key}={text}')}"
            echo(f"{place()}: hint: {note}", file=sys.stderr)
        return _as_text(text)
    try:
        value = read(Source(key, text))
    except MalformedText as error:
        shown = visible_words([f"{key}={text}"])[0].removeprefix(f"{key}=")
        raise MalformedText(
            f"the value of {key!r} is not YAML: {error.message.removeprefix('this is not YAML: ')}",
            given=shown,
            details=[f"given {shown!r}", *error.details] if shown == text else [f"given {shown!r}"],
            todo=_sentence(for_each(declared, key, f"--grid {key}={text}"))
            if not in_grid and not _is_hidden(key) and len(split_values(text)) > 1
            else f"For text, write {key}='\"…\"'.",
        ) from None
    if declared is not None:
        _check(key, text, value, declared, place, in_grid)
        _check_sweep(key, text, declared, place, in_grid)
        if not in_grid:
            hint_at_new_key(key, declared, place)
        for hint in () if _is_hidden(key) else scalar_hints(Source("command line", text)):
            echo(f"{place()}: hint: {hint.message}", file=sys.stderr)
    return value


def for_each(declared: Declared | None, key: str, grid: str) -> str:
    """Return how to get one trial for each of several values: `grid` for the components of the task."""
    if declared is None or not declared.is_of:
        return f"for one trial each, write {grid}"
    one = f"[{declared.component}, {{{key}: VALUE}}]"
    return (
        f"--of takes one value: run the command for each, or write --grid '_requires_.NAME={one},{one}' with the name "
        "that it is required as, _children_.NAME for a child"
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _as_text(text: str) -> str | None:
    """Return the text as typed. Only `null` and text in quotes are read as YAML."""
    if text.strip() == "null":
        return None
    if text[:1] in ("'", '"'):
        try:
            value = read(Source("", text))
        except MalformedText:
            return text
        return value if isinstance(value, str) else text
    return text


def _check(key: str, text: str, value: Any, declared: Declared, place: Callable[[], Place], in_grid: bool) -> None:
    shown = "…" if _is_hidden(key) else text
    if _has_comment(text):
        _refuse(f"# begins a comment in {key}={shown}", key, text, place, todo=f"Quote it: {key}='\"{shown}\"'")
    if odd := _key_without_space(value):
        spelled = shown.replace(odd, odd.replace(":", ": ", 1))
        what = f"{odd!r} is a key without a value" if shown == text else "a key has no value"
        _refuse(what, key, text, place, todo=f"Write a space after the colon: {key}='{spelled}'")
    if not declared.is_typed:
        _check_parents(key, value, declared, place)
        _check_kind(key.split("."), key, text, value, declared, place, in_grid)


def _check_sweep(key: str, text: str, declared: Declared, place: Callable[[], Place], in_grid: bool) -> None:
    """Refuse `range(1,4)` as one text among the values of a grid, and elsewhere hint at the grid."""
    if _is_hidden(key) or called_name(text) not in _SWEEPS or declared.calls(text):
        return
    grid = several_values(key, text) or f"--grid {key}=VALUE,VALUE,…"
    if in_grid:
        todo = f"Write {grid}; for the text, --grid '{key}=\"{text}\"'."
        _refuse(f"{text} is not a list of values here, but one text", key, text, place, todo=todo, error=InvalidValue)
    echo(f"{place()}: hint: {key} is the text {text!r}; {for_each(declared, key, grid)}", file=sys.stderr)


def hint_at_new_key(key: str, declared: Declared, place: Callable[[], Place]) -> None:
    """Say that a key is added that the component does not declare; one with a near name gives a warning later."""
    keys = key.split(".")
    is_known = declared.is_typed or is_reserved(keys[0]) or DIRECTIVES & set(keys)
    found = None if is_known else declared.unknown(keys)
    if found is None or near_names(found[0].rpartition(".")[2], [*found[1], *DIRECTIVES], cutoff=0.75):
        return
    known = f"Declared: {', '.join(found[1])}" if found[1] else "Nothing is declared there"
    echo(f"{place()}: hint: there is no key {found[0]!r}, so it is added. {known}", file=sys.stderr)


def _is_hidden(key: str) -> bool:
    return any(map(is_hidden, key.split(".")))


def _check_parents(key: str, value: Any, declared: Declared, place: Callable[[], Place]) -> None:
    """Check that a key is in a mapping, is an element of a list, or tells how to change a list or a mapping."""
    keys = key.split(".")
    for number, inner in enumerate(keys[1:], 1):
        known = declared.value(keys[:number])
        if known is _UNKNOWN or known is None or isinstance(known, Mapping):
            continue
        if isinstance(known, list) and (inner in DIRECTIVES or element_keys({inner: None})):
            continue
        parent = ".".join(keys[:number])
        todo = f"Write {parent}=VALUE."
        if isinstance(known, list):
            near = near_names(inner, DIRECTIVES) if inner[:1] == "_" else ()
            todo = (
                did_you_mean(near) if near else f"Write {parent}.0=VALUE for an element, {parent}=[…] for all of them."
            )
        message = f"{parent} is declared as {_kind(known)}, so it has no key {inner!r}"
        _refuse(message, key, value, place, todo=todo, error=WrongType)


def _check_kind(
    keys: Sequence[str],
    key: str,
    text: str,
    value: Any,
    declared: Declared,
    place: Callable[[], Place],
    in_grid: bool,
) -> None:
    known = _UNKNOWN if keys[-1] in DIRECTIVES else declared.value(keys)
    if known is _UNKNOWN or known is None or value is None:
        return
    if isinstance(known, Mapping) and isinstance(value, Mapping):
        for inner, item in value.items():
            _check_kind([*keys, str(inner)], key, text, item, declared, place, in_grid)
        return
    expected = _kind(known)
    is_list_change = isinstance(known, list) and isinstance(value, Mapping)
    if _kind(value) == expected or is_list_change or (isinstance(value, str) and declared.calls(value)):
        return
    path = ".".join(keys)
    at = declared.place(keys)
    shown = "…" if _is_hidden(path) else repr(value)
    _refuse(
        f"{path} is {shown}, but it is declared as {expected}",
        path,
        value,
        place,
        details=() if at is None else (f"declared at {at}",),
        todo=_spelling(key, "…" if _is_hidden(key) else text, known, declared, in_grid)
        if path == key
        else f"Write {path}=TEXT, or quote it."
        if isinstance(known, str)
        else f"Write {expected} for {path}.",
        error=WrongType,
    )


def _refuse(
    what: str,
    path: str,
    given: Any,
    place: Callable[[], Place],
    todo: str,
    details: Sequence[str] = (),
    error: type[MachinableError] = MalformedText,
) -> None:
    raise error(what, at=place(), path=path, given=None if _is_hidden(path) else given, details=details, todo=todo)


_KINDS: tuple[tuple[Any, str, str], ...] = (
    (bool, "true or false", "true"),
    ((int, float), "a number", "0.1"),
    (str, "text", "text"),
    (datetime.date, "a date", "2026-01-31"),
    (list, "a list", "[1, 2]"),
    (dict, "a mapping", "{key: value}"),
)


def _kind(value: Any) -> str:
    return next((name for kind, name, _ in _KINDS if isinstance(value, kind)), type(value).__name__)


def several_values(key: str, text: str) -> str | None:
    """Return the `--grid` that gives the values which a text lists, or None if it is one value."""
    if match := _RANGE.fullmatch(text):
        first, end = int(match[1] or match[3] or 0), int(match[2] or int(match[4]) + 1)
        if end - first > _MAX_SHOWN:
            return f"--grid {key}=VALUE,VALUE,…, or in Python grid({{{key!r}: range({first}, {end})}})"
        return f"--grid {key}={','.join(map(str, range(first, end)))}"
    name = called_name(text)
    if name in _SWEEPS and name != "choice":
        return f"--grid {key}=VALUE,VALUE,…, with every value"
    inside = text.strip()
    if name == "choice":
        inside = inside.partition("(")[2][:-1]
    elif inside[:1] == "[" and inside[-1:] == "]":
        inside = inside[1:-1]
    values = [value.strip() for value in split_values(re.sub(r"[|;]", ",", inside))]
    if not all(values) or (len(values) < 2 and inside == text.strip()):
        return None
    return f"--grid {shlex.quote(f'{key}=' + ','.join(values))}"


def split_values(text: str) -> list[str]:
    """Return the elements of the inside of a list, split at commas outside of quotes and brackets."""
    found: list[str] = []
    brackets: list[str] = []
    quote = before = ""
    start = 0
    for index, character in enumerate(text):
        if quote:
            if character == quote and not (quote == '"' and before == "\\"):
                quote = ""
        elif character in "'\"" and before in ("", ",", "[", "{", "(", ":"):
            quote = character
        elif character in _BRACKETS:
            brackets.append(_BRACKETS[character])
        elif brackets and character == brackets[-1]:
            brackets.pop()
        elif character == "," and not brackets:
            found.append(text[start:index])
            start = index + 1
        if not character.isspace():
            before = character
    return [*found, text[start:]]


def _spelling(key: str, text: str, known: Any, declared: Declared, in_grid: bool) -> str:
    """Return how to write a value of the declared kind."""
    if text == "None" and not in_grid:
        return f"Write {key}=null."
    if isinstance(known, list) and in_grid:
        return f"Write lists: --grid '{key}=[{text}],[…]'."
    if isinstance(known, list) and not text.startswith("{"):
        added = "" if "," in text else f", or {key}._append_='[{text}]' to add it to the list"
        return f"Write {key}='[{text}]'{added}."
    if isinstance(known, dict) and in_grid:
        return f"Write --grid {key}.KEY=VALUE,VALUE. Its keys: {', '.join(map(str, known)) or 'none'}."
    if isinstance(known, dict):
        return f"Write {key}.KEY=VALUE, or {key}='{{KEY: VALUE}}'. Its keys: {', '.join(map(str, known)) or 'none'}."
    example = next((example for kind, _, example in _KINDS if isinstance(known, kind)), "null")
    if (several := several_values(key, text)) is not None:
        return _sentence(for_each(declared, key, several))
    if in_grid:
        return f"Write {_kind(known)}, such as {example}, between the commas."
    return f"Write {_kind(known)}, such as {key}={example}."


def _has_comment(text: str) -> bool:
    if "#" not in text:
        return False
    import yaml

    end = 0
    for token in yaml.scan(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if not isinstance(token, (yaml.StreamEndToken, yaml.BlockEndToken, yaml.DocumentEndToken)):
            end = token.end_mark.index
    return text[end:].lstrip().startswith("#")


def _key_without_space(value: Any) -> str | None:
    """Return a key such as `a:10`, which is meant as a key and a value."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if item is None and isinstance(key, str) and re.fullmatch(r"[\w.]+:\S+", key):
                return key
            if (found := _key_without_space(item)) is not None:
                return found
    if isinstance(value, list):
        return next(filter(None, map(_key_without_space, value)), None)
    return None
