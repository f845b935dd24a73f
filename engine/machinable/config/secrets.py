"""The values of a configuration that are not stored, and texts without them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from machinable.serialization import is_hidden

__all__ = ["is_secret_name", "mask_of", "masked_paths", "masked_values", "secret_texts"]

SHORTEST = 6  # characters of a value that is recognized in a text; shorter ones are in too many other words
SHORTEST_NUMBER = 8  # digits
SHORTEST_LINE = 16  # characters of a line of a longer value, such as a private key


_SECRET_NAME = re.compile(
    r"(?i)(?:^|[-_.])(?:pass(?:word|wd|phrase|code)?|pwd|secrets?|token|auth|bearer|credentials?"
    r"|(?:api|access|private|account|secret|auth|encryption|signing|ssh)[-_.]?key)(?:$|[-_.])"
)


def is_secret_name(name: str) -> bool:
    """Return whether an option or a variable of this name usually has a secret as its value: `--api-key`."""
    return _SECRET_NAME.search(re.sub(r"([a-z])(?=[A-Z])", r"\1-", name)) is not None


def masked_values(config: Mapping[Any, Any], stored: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the visible values whose stored form is another one, because they are made from hidden ones, by path."""
    return {path: value for path, value in _differing(config, stored, "") if path}


def masked_paths(config: Mapping[Any, Any], stored: Mapping[Any, Any]) -> frozenset[str]:
    """Return the paths of these values."""
    return frozenset(masked_values(config, stored))


def secret_texts(config: Mapping[Any, Any], stored: Mapping[Any, Any]) -> set[str]:
    """Return the texts in hidden values, and in visible ones whose stored form is another one."""
    return {text for _, value in _differing(config, stored, "", hidden=True) for text in _texts(value)}


def _differing(value: Any, stored: Any, path: str, hidden: bool = False) -> Iterator[tuple[str, Any]]:
    if value is stored:
        return
    if isinstance(value, dict) and isinstance(stored, Mapping):
        for key, item in value.items():
            below = f"{path}.{key}" if path else str(key)
            if is_hidden(key):
                if hidden:
                    yield below, item
            elif key in stored:
                yield from _differing(item, stored[key], below, hidden)
    elif isinstance(value, (list, tuple)) and isinstance(stored, (list, tuple)) and len(value) == len(stored):
        for index, (item, other) in enumerate(zip(value, stored, strict=True)):
            yield from _differing(item, other, f"{path}[{index}]", hidden)
    elif type(value) is not type(stored) or (value != stored and value == value):  # NaN is not equal to itself
        yield path, value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        if len(value.strip()) >= SHORTEST:
            yield value.strip()
            yield from (line.strip() for line in value.splitlines()[1:] if len(line.strip()) >= SHORTEST_LINE)
    elif type(value) is int and abs(value) >= 10 ** (SHORTEST_NUMBER - 1):
        yield str(value)


def mask_of(secrets: set[str]) -> Callable[[str], str]:
    """Return a function that replaces secrets in a text by `…`, also where they are quoted or escaped."""
    if not secrets:
        return lambda text: text
    from urllib.parse import quote, quote_plus

    forms = {
        form
        for text in secrets
        for form in (
            text,
            repr(text)[1:-1],
            json.dumps(text)[1:-1],
            quote(text),
            quote(text, safe=""),
            quote_plus(text),
        )
    }
    pattern = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))
    return lambda text: pattern.sub("…", text)
