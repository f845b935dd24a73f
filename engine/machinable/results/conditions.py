"""Conditions on fields: the text `config.rate<0.3 and status=finished`, and how values are compared.

    condition = field operator value { "and" field operator value }

The value is YAML; after `~` it is a pattern as in file names, and after `in` a list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from machinable.errors import InvalidType, InvalidValue, MachinableError, UnknownName
from machinable.results.lookup import MISSING
from machinable.serialization import canonical, dumps

__all__ = ["STATES", "Condition", "comparable", "in_order", "is_condition", "order", "parse", "satisfied", "timestamp"]

STATES = (
    "pending",
    "running",
    "finished",
    "reused",
    "failed",
    "interrupted",
    "blocked",
    "skipped",
    "unneeded",
    "pruned",
)
MIN_PREFIX = 8  # characters of an identity, as many as are printed

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "~", "in")
_INSTEAD = {"==": "=", "=<": "<=", "=>": ">=", "<>": "!=", "=!": "!=", "!": "!=", ":": "=", "is": "="}
_FIELD = re.compile(r"""\s*(?:"([^"]+)"|'([^']+)'|([^\s=!<>~"'\[\]{}]+))\s*""")
_OPERATOR = re.compile(r"(?P<sign>[=!<>]+|~)|(?P<word>[A-Za-z]+)(?=[\s\[]|\Z)")
_AND = re.compile(r"\s+and(?=\s|\Z)")
_FURTHER = re.compile(r"\s(or\s|not\s|\|\||&&|\S+\s*(?:[=<>~]|!=))")  # what looks like a further condition
_OPENING = {"[": "]", "{": "}"}
_LIKELY = re.compile(r"[=!<>~]|\sin[\s\[]")


class Condition(NamedTuple):
    """A condition on one field: the values that satisfy it, by an operator, or by a function that is called."""

    field: str
    operator: str
    value: Any


def is_condition(text: str) -> bool:
    """Return whether a word of the command line is a condition, and not the id of an execution."""
    return _LIKELY.search(text) is not None


def parse(text: str) -> list[Condition]:
    """Return the conditions in a text, which are joined by `and`.

    Raises:
        InvalidValue: It does not parse; a caret marks where.
    """
    if not isinstance(text, str):
        raise InvalidType(f"{text!r} is not a condition", given=text, todo="Write it as text: 'config.rate<0.3'.")
    found, position = [], 0
    while True:
        condition, position = _one(text, position)
        found.append(condition)
        joint = _AND.match(text, position)
        if joint is None:
            return found
        position = joint.end()


def _one(text: str, position: int) -> tuple[Condition, int]:
    name = _FIELD.match(text, position)
    if name is None:
        raise _error(text, position, "a field is expected here", "Write FIELD OPERATOR VALUE, such as status=finished.")
    field, position = name[1] or name[2] or name[3], name.end()
    sign = _OPERATOR.match(text, position)
    given = sign[0] if sign else ""
    if given not in OPERATORS:
        todo = f"Write one of {' '.join(OPERATORS)} and a value: {field}=1. Quote a value that contains ' and '."
        if given in _INSTEAD:
            todo = f"Write {_INSTEAD[given]} in place of {given}."
        raise _error(text, position, f"an operator is expected after {field}", todo)
    assert sign is not None
    start = sign.end()
    start += len(text[start:]) - len(text[start:].lstrip())
    end = _end_of_value(text, start)
    return Condition(field, given, _value(text, start, end, given)), end


def _end_of_value(text: str, start: int) -> int:
    """Return where a value ends: before ` and `, which does not count in quotes and brackets."""
    closing: list[tuple[str, int]] = []
    position = start
    while position < len(text):
        character = text[position]
        if character in "\"'" and (position == start or text[:position].rstrip()[-1:] in ("[", "{", ",", ":")):
            end = _end_of_quotes(text, position)
            if end is None:
                raise _error(text, position, "the quotes are not closed", f"Close them with {character}.")
            position = end
            continue
        if character in _OPENING and (closing or position == start):
            closing.append((_OPENING[character], position))
        elif closing and character == closing[-1][0]:
            closing.pop()
        elif not closing and _AND.match(text, position):
            break
        position += 1
    if closing:
        raise _error(text, closing[-1][1], "the bracket is not closed", f"Close it with {closing[-1][0]}.")
    return position


def _end_of_quotes(text: str, start: int) -> int | None:
    pattern = r'"(?:[^"\\]|\\.)*"' if text[start] == '"' else r"'(?:[^']|'')*'"
    found = re.compile(pattern, re.DOTALL).match(text, start)
    return None if found is None else found.end()


def _value(text: str, start: int, end: int, operator: str) -> Any:
    """Return the value of a part of the text."""
    given = text[start:end].strip()
    if not given:
        raise _error(text, start, f"a value is expected after {operator}", "Write null for no value, '' for no text.")
    if operator == "~":
        return given[1:-1] if len(given) > 1 and given[0] == given[-1] and given[0] in "\"'" else given
    if given[0] not in "\"'[{" and (more := _FURTHER.search(text, start, end)):
        todo = "Join conditions by 'and', write 'in [a, b]' for one of several values, or quote the text."
        raise _error(text, more.start(1), "a value without quotes ends before this", todo)
    if operator != "in" and (simple := _simple_value(given)) is not None:
        return simple
    from machinable.config.nodes import Source  # 30 ms with YAML, and most conditions need none
    from machinable.config.reader import read
    from machinable.serialization import as_plain

    try:
        value = as_plain(read(Source("", given)))
    except MachinableError as error:
        todo = error.todo or "Quote text that has a meaning in YAML: field='text'."
        raise _error(text, start, f"{given!r} is not a value in YAML: {error.message}", todo) from error
    if operator == "in" and not isinstance(value, list):
        raise _error(text, start, "a list is expected after in", f"Write it in brackets: in [{given}].")
    return value


_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_NOT_TEXT = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))


def _simple_value(given: str) -> Any:
    """Return the value of a number or a word as YAML has it; None for other texts."""
    if found := _NUMBER.fullmatch(given):
        return float(given) if found[1] else int(given)
    return given if _WORD.fullmatch(given) and given.lower() not in _NOT_TEXT else None


def _error(text: str, position: int, fault: str, todo: str) -> InvalidValue:
    shown = "".join(character if character.isprintable() else "�" for character in text)
    return InvalidValue(
        f"the condition {text!r} does not parse: {fault}",
        given=text,
        details=(f"  {shown}", f"  {' ' * position}^"),
        todo=todo,
    )


# --- comparing values


def satisfied(condition: Condition, values: Sequence[Any], *, is_time: bool = False) -> list[bool]:
    """Return for each value of the field whether it satisfies a condition; `MISSING` satisfies only `!=`.

    Raises:
        UnknownName: There is no such status.
        InvalidType: The field has no values that can be compared with the one of the condition.
    """
    field, operator, expected = condition
    if operator == "call":
        return [value is not MISSING and bool(expected(value)) for value in values]
    if operator == "~":
        return [value is not MISSING and fnmatchcase(_text(value), expected) for value in values]
    if operator in ("=", "!=", "in"):
        matches = _equal_to(field, expected if operator == "in" else [expected], is_time)
        equal = [value is not MISSING and matches(value) for value in values]
        return [not one for one in equal] if operator == "!=" else equal
    present = [value for value in values if value is not MISSING and value is not None]
    if is_time:
        span = _span(expected, field)
        return [value is not MISSING and _is_in_order(timestamp(value), operator, *span) for value in values]
    bound = order(expected)
    keys = [None if value is MISSING else order(value) for value in values]
    if present and (bound is None or not any(key and key[0] == bound[0] for key in keys)):
        raise InvalidType(
            f"{field} is {_shown(present[0])} and cannot be compared with {_shown(expected)} by {operator}",
            given=expected,
            todo="Compare numbers with numbers, text with text, and times with times; quotes make a text.",
        )
    if bound is None:
        return [False] * len(keys)
    return [key is not None and key[0] == bound[0] and _is_in_order(key[1], operator, bound[1]) for key in keys]


def _is_in_order(value: Any, operator: str, low: Any, high: Any = None) -> bool:
    """Return whether a value is in order with a bound, or with what lasts from `low` to `high`."""
    if operator == "<":
        return bool(value < low)
    if operator == ">=":
        return bool(value >= low)
    if operator == "<=":
        return bool(value <= low if high is None else value < high)
    return bool(value > low if high is None else value >= high)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else value.isoformat() if isinstance(value, date) else dumps(value)


def _equal_to(field: str, allowed: Sequence[Any], is_time: bool) -> Callable[[Any], bool]:
    """Return a function that tests whether a value of the field is one of the allowed ones."""
    texts = tuple(one for one in allowed if isinstance(one, str))
    if is_time:
        spans = [_span(one, field) for one in allowed]
        return lambda value: any(low <= timestamp(value) < high for low, high in spans)
    if field == "identity":
        prefixes = tuple(text for text in texts if len(text) >= MIN_PREFIX)
        return lambda value: bool(value.startswith(prefixes))
    if field == "status":
        for state in texts:
            if state not in STATES:
                raise UnknownName("status", state, STATES)
    if len(texts) == len(allowed):
        return lambda value: value in texts
    if len(allowed) == 1:
        return lambda value: _same(value, allowed[0])
    return lambda value: any(_same(value, one) for one in allowed)


def _same(one: Any, other: Any) -> bool:
    """Compare values: 1 equals 1.0 but not True, and NaN equals NaN."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    return bool(one == other) or bool(one != one and other != other)


def _span(value: Any, field: str) -> tuple[float, float]:
    """Return the start and the end of a value: a day, or a second."""
    if isinstance(value, str) and len(value) == len("2026-01-31"):  # quoted, or in Python
        with suppress(ValueError):
            value = date.fromisoformat(value)
    start = timestamp(value, field)
    if isinstance(value, date) and not isinstance(value, datetime):
        return start, timestamp(value + timedelta(days=1), field)
    return start, start + 1.0


def timestamp(value: Any, field: str = "") -> float:
    """Return a time in seconds since the epoch; one without a zone is local.

    Raises:
        InvalidValue: The value given for the field is not a time.
    """
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.replace("Z", "+00:00") if value.endswith("Z") else value)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, date):
            return datetime.combine(value, time()).timestamp()
    except (ValueError, OverflowError):
        pass
    raise InvalidValue(
        f"{field} is a time, and {value!r} is not",
        given=value,
        todo=f"Write {field}>2026-01-31, or {field}>'2026-01-31 09:15' for a time of the day.",
    )


def order(value: Any) -> tuple[int, Any] | None:
    """Return a key by which values of one kind, its first item, are in order; None for NaN, null and collections."""
    if isinstance(value, bool):
        return 0, value
    if isinstance(value, (int, float)):
        return (1, value) if value == value else None
    if isinstance(value, str):
        return 2, value
    if isinstance(value, date):
        return 3, timestamp(value)
    return None


def in_order(values: Sequence[Any], descending: bool = False) -> list[int]:
    """Return the positions of values in their order; equal ones stay, and NaN, then None, are last in any case."""
    keys = [order(value) for value in values]
    with_key = [(key, number) for number, key in enumerate(keys) if key]
    without = [number for number, key in enumerate(keys) if not key]
    ordered = sorted(with_key, key=lambda one: one[0], reverse=descending)
    return [number for _, number in ordered] + sorted(without, key=lambda number: values[number] is None)


def comparable(value: Any) -> Any:
    """Return a hashable value that is equal for the same values."""
    if isinstance(value, bool) or value != value or isinstance(value, (list, tuple, dict)):
        return canonical(value), type(value).__name__
    return value
