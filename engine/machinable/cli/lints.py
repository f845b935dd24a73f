"""What is rarely meant in a project file: scalars that are something else than they look, entries that vanish."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from machinable.config.loader import Document
from machinable.config.reader import MappingNode, SequenceNode, Source, read
from machinable.errors import MachinableError, Place, near_names

__all__ = ["Hint", "misspelt_sections", "replaced_entries", "scalar_hints", "sources_of"]

_VARIABLE = re.compile(r"\$\{[^}\n]*\}")
_SUSPECT = re.compile(r"None|[-+]?[0-9.][0-9._:]*")
_OCTAL = re.compile(r"[-+]?0[0-7_]+")


_ROOT = ("name", "+", "mixins", "components", "includes", "execution", "_evaluate_")


class Hint(NamedTuple):
    """Something that is allowed and probably not meant."""

    at: Place | None
    message: str

    def __str__(self) -> str:
        return f"{self.at}: hint: {self.message}" if self.at else f"hint: {self.message}"

    def as_data(self) -> dict[str, str | None]:
        """The hint for programs."""
        return {"at": str(self.at) if self.at else None, "message": self.message}


def sources_of(tree: Any) -> list[Source]:
    """The texts that a tree was read from, includes too, each once."""
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


def scalar_hints(source: Source) -> Iterator[Hint]:
    """Unquoted scalars that are rarely meant: the text `None`, sexagesimals, octals, underscores in numbers."""
    # Variables mean nothing to YAML; places stay what they are.
    text = _VARIABLE.sub(lambda found: "x" * len(found[0]), source.text)
    tagged = False
    try:
        for token in yaml.scan(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(token, yaml.ScalarToken) and token.plain and not tagged and _SUSPECT.fullmatch(token.value):
                message = _suspicion(token.value)
                if message:
                    yield Hint(source.place(token.start_mark), message)
            tagged = isinstance(token, yaml.TagToken)
    except yaml.YAMLError:
        return  # an error that is told as such


def misspelt_sections(root: Any) -> Iterator[Hint]:
    """Keys of the root that mean nothing but are nearly the name of a section."""
    if not isinstance(root, MappingNode):
        return
    for key in root:
        if isinstance(key, str) and key not in _ROOT and not key.startswith("components"):
            near = near_names(key, [name for name in _ROOT if len(name) > 1], limit=1)
            if near and near[0] not in root:
                yield Hint(root.place(key), f"{key!r} is only material for references; did you mean {near[0]!r}?")


def _suspicion(text: str) -> str | None:
    if text == "None":
        return "None is the text 'None'; for nothing write null, for the text \"None\""
    try:
        value = read(Source("", text))
    except MachinableError:
        return None  # told as an error
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if ":" in text:
        return f'{text} is the number {value} (base 60); for the text write "{text}"'
    if _OCTAL.fullmatch(text) and isinstance(value, int):
        return f'{text} is the number {value} (base 8); for the text write "{text}"'
    if "_" in text:
        return f'{text} is the number {value}; for the text write "{text}"'
    return None


def replaced_entries(document: Document) -> Iterator[Hint]:
    """Entries that a later one of the same name replaces entirely."""
    for names in (document.mixins, document.components):
        for earlier, later in names.replaced:
            if not later.key.startswith("^"):  # which is written in order to replace
                yield Hint(later.place, f"the {names.kind} {later.name!r} replaces that at {earlier.place} entirely")
