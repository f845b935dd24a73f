"""Read `_mixins_` lists: the mixins of a component, and the projects they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from machinable.config.interpolation import Resolver
from machinable.config.nodes import EnvValue, Reference, SequenceNode, described, unwrapped
from machinable.config.registry import Entry
from machinable.errors import ConfigurationError, MalformedText, Place, UnknownName

if TYPE_CHECKING:
    from machinable.config.loader import Workspace

__all__ = ["MixinUse", "read_list"]


class MixinUse(Struct, frozen=True):
    """One mixin in a component's list: the name used there, the entry, and the attribute if given."""

    name: str
    entry: Entry
    attribute: str | None

    @property
    def origin(self) -> str:
        """The canonical name, with `+.<project>.` before it for another project."""
        name = self.entry.name
        if self.entry.project and not name.startswith("+."):
            return f"+.{self.entry.project}.{name}"
        return name

    @property
    def reached_as(self) -> str:
        """The attribute of the component that gives access to its methods."""
        return self.attribute or f"_{self.name.replace('.', '_')}_"


def read_list(
    workspace: Workspace, project: str, value: Any, replaces: Sequence[MixinUse], at: Place | None, path: str
) -> list[MixinUse]:
    """Return the mixins of a list, each once.

    Args:
        workspace: The project and its imports.
        project: The project whose file contains the list; names refer to its mixins.
        value: Null, one entry or a list; `"^"` in it stands for `replaces`.
        replaces: The inherited mixins that this list replaces.
        at: The place of the list, for messages.
        path: The name of the component, for messages.

    Raises:
        UnknownName: A mixin or a project is not declared.
        MalformedText: An entry has another form.
    """
    listed = _followed(value, path)
    uses: dict[tuple[int, str | None], MixinUse] = {}
    items = listed if isinstance(listed, list) else [] if listed is None else [value]
    for index, item in enumerate(items):
        place = items.place(index) if isinstance(items, SequenceNode) else at
        if _followed(item, path) == "^":
            found = list(replaces)
        else:
            try:
                found = [_one(workspace, project, item, path)]
            except ConfigurationError as error:
                error.at = error.at or place
                error.path = f"{path}._mixins_"
                raise
        for use in found:
            uses.setdefault((id(use.entry), use.attribute), use)
    return list(uses.values())


def _followed(value: Any, path: str) -> Any:
    """Return a value that is needed before others are resolved: with variables and `$.` references."""
    if isinstance(value, Reference):
        if value.written.startswith("$self."):
            raise MalformedText(
                f"`_mixins_` is read before values are resolved, so it cannot refer to {value.written!r}",
                at=value.place,
                path=f"{path}._mixins_",
                given=value.written,
                todo="Refer to a value at the root of the file: $.key.",
            )
        value = Resolver({}, path).container(value)
    return unwrapped(value)


def _as_given(name: Any) -> str:
    """Return a name as written, for messages."""
    return name.written if isinstance(name, (EnvValue, Reference)) else str(name)


def _one(workspace: Workspace, project: str, item: Any, path: str) -> MixinUse:
    document = workspace.documents[project]
    if isinstance(item, Reference) and isinstance(followed := _followed(item, path), dict):
        item = followed
    parts = item if isinstance(item, dict) else {"name": item}
    unknown = [key for key in parts if key not in ("name", "vendor", "attribute")]
    if unknown:
        raise UnknownName("part of a mixin", unknown[0], ["name", "vendor", "attribute"])
    written = parts.get("name")
    name, vendor, attribute = (_followed(parts.get(part), path) for part in ("name", "vendor", "attribute"))
    if attribute is not None and not (type(attribute) is str and attribute.isidentifier()):
        shown = described(parts["attribute"])
        raise MalformedText(
            f"the attribute of a mixin is not an identifier but {shown}",
            given=shown,
            todo="Write letters, digits and underscores.",
        )
    if vendor is not None and type(vendor) is not str:
        shown = described(parts["vendor"])
        todo = "Write {name: …, vendor: project}."
        raise MalformedText(f"the vendor of a mixin is not a name but {shown}", given=shown, todo=todo)
    if type(name) is not str:
        shown = described(written)
        raise MalformedText(
            f"a mixin is a name or a mapping with a name, not {shown}",
            given=shown,
            todo="Write `_mixins_: [name, {name: …, attribute: …}]`.",
        )
    given = _as_given(written)
    if name.startswith("+."):
        other, _, inner = given.removeprefix("+.").partition(".")
        raise MalformedText(
            f"a mixin of another project is not named {given!r}",
            given=given,
            todo=f"Write {{name: {inner or 'NAME'}, vendor: {other or 'PROJECT'}}}.",
        )
    if vendor is not None:
        imported = workspace.imported(document, vendor)
        if imported is None:
            raise UnknownName("imported project", _as_given(parts["vendor"]), document.imports)
        document = imported
    entry = document.mixins.lookup(name)
    if entry is None:
        raise UnknownName("mixin", given, document.mixins.known())
    return MixinUse(name, entry, attribute)
