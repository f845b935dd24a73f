"""Hints: what is allowed in a project or on the command line, but probably a mistake."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from machinable.config.declaration import misspelt_sections
from machinable.config.nodes import MappingNode, SequenceNode, Source
from machinable.config.reader import read
from machinable.config.secrets import masked_values
from machinable.errors import MachinableError, Place

if TYPE_CHECKING:
    from machinable.config.loader import Document
    from machinable.config.resolved import Resolved

__all__ = ["Hint", "carried_hints", "replaced_entries", "scalar_hints", "section_hints", "sources_of"]

_VARIABLE = re.compile(r"\$\{[^}\n]*\}")
_SUSPECT = re.compile(r"None|[-+]?[0-9.][0-9._:]*(?:[eE][-+]?[0-9]+)?")
_OCTAL = re.compile(r"[-+]?0[0-7_]+")


class Hint(NamedTuple):
    """Something that is allowed but probably a mistake."""

    at: Place | None
    message: str

    def __str__(self) -> str:
        return f"{self.at}: hint: {self.message}" if self.at else f"hint: {self.message}"

    def as_data(self) -> dict[str, str | None]:
        """Return the hint for programs."""
        return {"at": str(self.at) if self.at else None, "message": self.message}


def sources_of(tree: Any) -> list[Source]:
    """Return the texts that a tree was read from, including included files, each once."""
    found: dict[str, Source] = {}
    seen: set[int] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (MappingNode, SequenceNode)) and id(node) not in seen:
            seen.add(id(node))
            found.setdefault(node.source.file, node.source)
            waiting += node.values() if isinstance(node, MappingNode) else node
    return sorted(found.values(), key=lambda source: source.file)


def carried_hints(resolved: Resolved) -> Iterator[Hint]:
    """Find numbers that are made from hidden values: secrets are text, and results usually depend on numbers."""
    for path, value in masked_values(resolved.config, resolved.stored).items():
        if isinstance(value, (int, float)):
            message = f"{path} is made from a hidden value, so it is neither stored nor part of the identity"
            yield Hint(resolved.place(path), f"{message}; if results depend on it, use a visible key")


def scalar_hints(source: Source) -> Iterator[Hint]:
    """Find unquoted scalars that are rarely intended: `None`, sexagesimals, octals, underscores, too large numbers."""
    # Variables mean nothing to YAML; the replacement keeps every column.
    readable = _VARIABLE.sub(lambda found: "x" * len(found[0]), source.text)
    tagged = False
    try:
        for token in yaml.scan(readable, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            text = token.value if isinstance(token, yaml.ScalarToken) and token.plain and not tagged else ""
            if _SUSPECT.fullmatch(text) and (message := _scalar_hint(text)):
                yield Hint(source.place(token.start_mark), message)
            tagged = isinstance(token, yaml.TagToken)
    except yaml.YAMLError:
        return  # reported as an error


def section_hints(root: Any) -> Iterator[Hint]:
    """Find root keys without a meaning whose names resemble those of sections."""
    for key, near in misspelt_sections(root):
        yield Hint(root.place(key), f"{key!r} is only used by references; did you mean {near!r}?")


def _scalar_hint(text: str) -> str | None:
    if text == "None":
        return "None is the text 'None'; for no value write null, for the text \"None\""
    try:
        value = read(Source("", text))
    except MachinableError:
        return None  # reported as an error
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if math.isinf(value):
        return f"{text} is infinite, because the largest number is 1.8e308; for infinity write .inf"
    base = " (base 60)" if ":" in text else " (base 8)" if _OCTAL.fullmatch(text) and isinstance(value, int) else ""
    return f'{text} is the number {value}{base}; for the text write "{text}"' if base or "_" in text else None


def replaced_entries(document: Document) -> Iterator[Hint]:
    """Find entries that are replaced entirely by a later one of the same name."""
    for names in (document.mixins, document.components):
        for earlier, later in names.replaced:
            if not later.key.startswith("^"):  # ^ replaces on purpose
                yield Hint(later.place, f"the {names.kind} {later.name!r} replaces the one at {earlier.place} entirely")
