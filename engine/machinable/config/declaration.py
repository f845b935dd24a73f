"""Parse the mapping of an entry, a `~` block or a version into values, reserved keys and blocks."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from machinable.config.interpolation import Resolver
from machinable.config.merge import expand_dots, merge
from machinable.config.nodes import (
    MAX_DEPTH,
    UNREADABLE,
    MappingNode,
    Reference,
    described,
    key_is_not_text,
    type_name,
    unwrapped,
    without_keys,
)
from machinable.errors import MachinableError, MalformedText, Place, SeveralErrors, UnknownName, near_names

__all__ = [
    "EMPTY",
    "ENTRY_DIRECTIVES",
    "OF_ENTRIES",
    "RESERVED",
    "Block",
    "Body",
    "LayeredBlock",
    "block_values",
    "is_reserved",
    "lay_block",
    "misspelt_sections",
    "open_block",
    "parse_body",
    "parse_key",
    "reserved_form_problem",
]

RESERVED = (
    "_mixins_",
    "_class_",
    "_identity_",
    "_evaluate_",
    "_seed_",
    "_seeding_",
    "_requires_",
    "_children_",
    "_results_",
    "_resources_",
    "_environment_",
    "_retries_",
    "_checkpoints_",
    "_chdir_",
)

OF_ENTRIES = ("_class_", "_identity_")  # those that a version cannot set
ENTRY_DIRECTIVES = ("_replace_", "_remove_")  # directives at the top of an entry, a block or a version

_IDENTIFIER = r"[^\W\d]\w*"
_PATH = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*"
_NAME = rf"(?:\+\.{_IDENTIFIER}\.)?{_PATH}"
_KEY = re.compile(rf"(?P<name>{_NAME})?(?:\^(?P<parent>{_NAME}))?(?:=(?P<alias>[^=^]*))?")

_MAX_BLOCKS = 5_000  # of one component: a block that refers to a mapping around it would never end

Block: TypeAlias = "Body | Reference | LayeredBlock"
Trail: TypeAlias = "Body | tuple[Trail, Trail]"


def is_reserved(key: object) -> bool:
    """Return whether a key has an underscore at both ends, such as `_mixins_`."""
    return type(key) is str and len(key) > 2 and key[0] == "_" and key[-1] == "_"


class Body:
    """Values, reserved keys and `~` blocks of one mapping, or of several merged ones."""

    __slots__ = ("_layers", "_reserved", "_trail", "_values", "blocks", "section")

    def __init__(
        self,
        values: Mapping[Any, Any],
        reserved: dict[str, Any] | None = None,
        blocks: dict[str, Block] | None = None,
        section: Mapping[Any, Any] | None = None,
        trail: Trail | None = None,
        layers: tuple[Body, Body] | None = None,
    ) -> None:
        self._values = values
        self._reserved = {} if reserved is None else reserved
        self.blocks = {} if blocks is None else blocks
        self.section = values if section is None else section
        self._trail = trail
        self._layers = layers  # instead of values and reserved keys: the lower and the upper body

    @property
    def trail(self) -> Trail:
        """The bodies that it was merged from."""
        return self if self._trail is None else self._trail

    @property
    def values(self) -> Mapping[Any, Any]:
        """The values, merged."""
        self._merge()
        return self._values

    @property
    def reserved(self) -> dict[str, Any]:
        """The reserved keys, merged."""
        self._merge()
        return self._reserved

    def _merge(self) -> None:
        # When it is asked for, because blocks are not merged with each other: each is merged over the configuration.
        if self._layers is not None:
            below, above = self._layers
            values, reserved = below.values, below.reserved
            for part in above.parts:
                values = merge(values, part.values)
                reserved = merge(reserved, part.reserved) if part.reserved else reserved
            self._values, self._reserved, self._layers = values, reserved, None

    @property
    def parts(self) -> list[Body]:
        """The bodies that it was merged from, lowest first."""
        result: list[Body] = []
        waiting = [self.trail]
        while waiting:
            trail = waiting.pop()
            if isinstance(trail, tuple):
                waiting += reversed(trail)
            else:
                result.append(trail)
        return result

    def place(self, key: str) -> Place | None:
        """Return the place of a top-level key, or None for a value from Python."""
        return self.section.place(key) if isinstance(self.section, MappingNode) and key in self.section.marks else None

    def over(self, base: Body) -> Body:
        """Return this body merged over another one."""
        blocks = base.blocks
        if self.blocks:
            blocks = dict(blocks)
            for name, block in self.blocks.items():
                blocks[name] = lay_block(block, blocks.get(name))
        return Body({}, None, blocks, self.section, (base.trail, self.trail), (base, self))

    def without(self, *reserved: str) -> Body:
        """Return the body without some reserved keys."""
        # Without merging: directives of a mixin refer to the component that uses it.
        if all(part.reserved.keys().isdisjoint(reserved) for part in self.parts):
            return self
        remaining = {key: value for key, value in self.reserved.items() if key not in reserved}
        return Body(self.values, remaining, self.blocks, self.section, self.trail)


class LayeredBlock(Struct, eq=False):
    """A block over another one of the same name, where one is a reference; merged when it is used."""

    above: Block
    below: Block


EMPTY = Body({})


def parse_body(
    mapping: Mapping[Any, Any],
    path: str,
    errors: list[MachinableError],
    reserved_errors: list[MachinableError] | None = None,
    *,
    in_version: bool = False,
) -> Body:
    """Split a mapping into values, reserved keys and blocks.

    Args:
        mapping: The value of an entry, of a block or of a version.
        path: Its key path, for messages.
        errors: Collects errors: keys that are not text, unknown reserved keys, blocks that are not mappings.
        reserved_errors: Collects those of reserved keys as well, if it is given.
        in_version: Whether it is a version, which cannot choose the class.
    """
    other_keys = [key for key in mapping if type(key) is not str]
    if other_keys:
        errors += [key_is_not_text(key, mapping, path) for key in other_keys]
        mapping = without_keys(mapping, other_keys)
    if not any(key[:1] in ("~", "_") or "." in key for key in mapping):
        return Body(mapping)
    longest = max(mapping, key=lambda key: key.count("."))
    if longest.count(".") >= MAX_DEPTH:
        at = mapping.place(longest) if isinstance(mapping, MappingNode) else None
        message = f"a key has more than {MAX_DEPTH} parts"
        errors.append(MalformedText(message, at=at, path=path or None, todo="Nest less deeply."))
        return Body({}, section=mapping)
    expanded = expand_dots(mapping)
    names = [key for key in expanded if key[:1] == "~" or (is_reserved(key) and key not in ENTRY_DIRECTIVES)]
    if not names:
        return Body(expanded)
    body = Body(without_keys(expanded, names), section=expanded)
    for key in names:
        value = expanded[key]
        if value is UNREADABLE:
            continue
        problem: MachinableError | None
        if key[0] != "~":
            problem = _reserved_problem(key, value, in_version)
            if problem is None:
                body.reserved[key] = unwrapped(value) if key in ("_class_", "_identity_") else value
        else:
            problem = None
            value = unwrapped(value)
            if isinstance(value, Reference) and not value.written.startswith("$self."):
                body.blocks[key] = value
            elif value is None or isinstance(value, dict):
                inner = f"{path}.{key}" if path else key
                body.blocks[key] = parse_body(value or {}, inner, errors, reserved_errors, in_version=True)
            else:
                problem = MalformedText(
                    f"the version {key!r} is not a mapping but {described(expanded[key])}",
                    given=key,
                    todo="A version is a mapping, nothing, `$/file.yaml`, or a `$.` reference to a mapping.",
                )
        if problem is not None:
            problem.at = body.place(key)
            problem.path = path or None
            errors.append(problem)
            if reserved_errors is not None and key[0] != "~":
                reserved_errors.append(problem)
    return body


def _reserved_problem(key: str, value: Any, in_version: bool) -> MachinableError | None:
    """Return the problem of a reserved key, if it can be checked before references are resolved."""
    if key not in RESERVED:
        return UnknownName("reserved key", key, (*RESERVED, *ENTRY_DIRECTIVES))
    if key in OF_ENTRIES and in_version:
        return MalformedText(f"a version cannot set `{key}`", given=key, todo="Set it in the entry.")
    if not isinstance(value, Reference):
        return reserved_form_problem(key, value)
    if key == "_identity_":
        message = f"`_identity_` takes the former name of the component, not the reference {value.written!r}"
        return MalformedText(message, given=value.written, todo="Write the name.")
    if key in ("_class_", "_mixins_") and value.written.startswith("$self."):
        return MalformedText(
            f"`{key}` is read before values are resolved, so it cannot refer to {value.written!r}",
            given=value.written,
            todo="Refer to a value at the root of the file: $.key.",
        )
    return None


def reserved_form_problem(key: str, value: Any, reference: Reference | None = None) -> MalformedText | None:
    """Return an error if the value of a reserved key has the wrong form. Other keys are checked when used.

    Args:
        key: The reserved key.
        value: Its value.
        reference: The reference that the value comes from, if any.
    """
    form, is_valid = _RESERVED_FORM.get(key, ("", lambda value: True))
    if is_valid(unwrapped(value)):
        return None
    if reference is None:
        return MalformedText(f"`{key}` takes {form}, not {described(value)}", given=described(value))
    message = f"`{key}` takes {form}, but {reference.written!r} refers to {type_name(value)}"
    return MalformedText(message, at=reference.place, given=reference.written)


def _are_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(type(name) is str for name in value))


_RESERVED_FORM: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "_evaluate_": ("true or false", lambda value: type(value) is bool),
    "_chdir_": ("true or false", lambda value: type(value) is bool),
    "_seed_": ("a whole number", lambda value: type(value) is int or value is None),
    "_class_": ("the name of a class", lambda value: type(value) is str and value.isidentifier()),
    "_seeding_": ("a list of dotted names", _are_names),
    "_identity_": (
        "the former name of the component",
        lambda value: type(value) is str and re.fullmatch(_PATH, value) is not None,
    ),
}


def lay_block(above: Block, below: Block | None) -> Block:
    """Return a block merged over one of the same name."""
    if below is None or below is above:
        return above
    if isinstance(above, Body) and isinstance(below, Body):
        return above.over(below)
    return LayeredBlock(above, below)


def open_block(block: Block) -> Body:
    """Return the body of a block, which may be a `$.` reference to a mapping at the root of the file.

    Raises:
        MalformedText: It does not refer to a mapping.
    """
    if isinstance(block, LayeredBlock):
        return open_block(block.above).over(open_block(block.below))
    return block if isinstance(block, Body) else _body_of_reference(block)


def _body_of_reference(block: Reference) -> Body:
    value = unwrapped(Resolver({}, block.source.scope.name).container(block))
    if value is not None and not isinstance(value, dict):
        raise MalformedText(
            f"the version refers to {type_name(value)}, which is not a mapping",
            at=block.place,
            given=block.written,
            todo="Refer to a mapping, or to null.",
        )
    errors: list[MachinableError] = []
    body = parse_body(value or {}, block.written, errors, in_version=True)
    SeveralErrors.raise_any(errors)
    return body


def block_values(blocks: Mapping[str, Block]) -> Iterator[Mapping[Any, Any]]:
    """Yield the values that blocks set, including blocks in blocks. Blocks with errors are skipped."""
    waiting = deque(blocks.values())
    for _ in range(_MAX_BLOCKS):
        if not waiting:
            return
        try:
            body = open_block(waiting.popleft())
        except MachinableError:
            continue  # reported when the block is used
        yield from (part.values for part in body.parts)
        waiting += body.blocks.values()


def parse_key(key: str, written: str) -> tuple[str | None, str | None, str | None]:
    """Return the name, parent and alias in an entry's key `name^parent=alias`. Names may begin with `+.project.`.

    Args:
        key: The key, with variables replaced.
        written: The key as written, for messages.

    Raises:
        MalformedText: A part is missing, repeated or not a valid name.
    """
    match = _KEY.fullmatch(key)
    if match is None or not (match["name"] or match["parent"]):
        raise MalformedText(
            f"{written!r} is not a valid name of an entry",
            given=written,
            todo="Write name, name^parent, name=alias, name^parent=alias or ^parent; names are import paths.",
        )
    if match["alias"] is not None and not match["alias"].isidentifier():
        raise MalformedText(
            f"the alias in {written!r} is not an identifier",
            given=written,
            todo="An alias has letters, digits and underscores and does not begin with a digit.",
        )
    return match["name"], match["parent"], match["alias"]


_SECTIONS = ("name", "mixins", "components", "tasks", "includes", "execution", "_evaluate_")


def misspelt_sections(root: Any) -> Iterator[tuple[str, str]]:
    """Yield each root key without a meaning that resembles the name of a missing section, and that name."""
    for key in root if isinstance(root, MappingNode) else ():
        if isinstance(key, str) and key not in (*_SECTIONS, "+") and not key.startswith("components"):
            near = near_names(key, _SECTIONS, limit=1)
            if near and near[0] not in root:
                yield key, near[0]
