"""Look up the entries of one project by canonical name, alias, short name or group alias."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from machinable.config.nodes import Mark, Source
from machinable.errors import MachinableError, MalformedText, Place

if TYPE_CHECKING:
    from machinable.config.declaration import Body

__all__ = ["Entry", "Registry"]


class Entry(Struct, eq=False):
    """One declaration of a component or a mixin.

    Attributes:
        key: Its key as written.
        name: The canonical name.
        module: The import path, relative to the project directory.
        group: The group, or "" outside of groups.
        alias: The alias, without the group.
        body: What it declares.
        source: The file.
        mark: The place of its key in the file; None for a class that is not declared.
        parent: The entry that it inherits from.
        imported: The entry of another project that its name refers to.
        errors: Errors of its reserved keys: whatever consists of the entry cannot be used.
        base: Cached by `inheritance.base_of`.
    """

    key: str
    name: str
    module: str
    group: str
    alias: str | None
    body: Body
    source: Source
    mark: Mark
    parent: Entry | None = None
    imported: Entry | None = None
    errors: list[MachinableError] = field(default_factory=list)
    base: object = None

    @property
    def project(self) -> str:
        """The name of its project; "" for the executing one."""
        return self.source.scope.name

    @property
    def place(self) -> Place | None:
        """The place of its key; None for a class that is not declared."""
        return self.source.place(self.mark) if self.mark is not None else None

    @property
    def import_path(self) -> str:
        """The module as the executing project imports it."""
        if not self.project or self.module.startswith("vendor."):
            return self.module
        return f"vendor.{self.project}.{self.module}"

    @property
    def short(self) -> str:
        """The name without the group."""
        prefix = f"{self.group}."
        return self.name[len(prefix) :] if self.group and self.name.startswith(prefix) else self.name

    @property
    def full_alias(self) -> str | None:
        """The alias with its group, as it is looked up."""
        return f"{self.group}.{self.alias}" if self.alias and self.group else self.alias


class Registry:
    """The entries of one kind, in the order of the file."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.entries: dict[str, Entry] = {}
        self.replaced: list[tuple[Entry, Entry]] = []
        self._aliases: dict[str, str] = {}
        self._shorts: dict[str, str] = {}
        self.groups: dict[str, str] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def add(self, entry: Entry) -> None:
        """Add an entry, replacing an earlier one of the same name."""
        earlier = self.entries.get(entry.name)
        if earlier is not None:
            self.replaced.append((earlier, entry))
            if earlier.full_alias:
                self._aliases.pop(earlier.full_alias, None)
        self.entries[entry.name] = entry
        short = entry.short.removeprefix("mixins.") if self.kind == "mixin" else entry.short
        if short != entry.name:
            self._shorts.setdefault(short, entry.name)
        if entry.full_alias is not None:
            self._aliases.setdefault(entry.full_alias, entry.name)

    def clashes(self) -> Iterator[MalformedText]:
        """Yield an error for each alias that is also the name or the alias of another entry."""
        for entry in self:
            alias = entry.full_alias
            other = self.entries.get(alias or "") or self.entries[self._aliases.get(alias or "", entry.name)]
            if alias and other is not entry:
                yield MalformedText(
                    f"the alias {alias!r} is already the name of another {self.kind}",
                    at=entry.place,
                    path=entry.name,
                    given=alias,
                    details=[f"{other.key}   {other.place}"],
                    todo="Choose another alias.",
                )

    def lookup(self, name: str, group: str = "") -> Entry | None:
        """Return the entry with a name, or None.

        Names inside `group` come first; then canonical names, aliases, short names and group aliases.
        """
        if group:
            own = self.entries.get(f"{group}.{name}") or self.entries.get(self._aliases.get(f"{group}.{name}", ""))
            if own is not None:
                return own
        found = name if name in self.entries else self._aliases.get(name) or self._shorts.get(name)
        if found is None and "." in name:
            head, _, rest = name.partition(".")
            if head in self.groups:
                inside = f"{self.groups[head]}.{rest}"
                found = inside if inside in self.entries else self._aliases.get(inside)
        return self.entries.get(found) if found is not None else None

    def rename(self, new_names: Mapping[str, str]) -> None:
        """Change canonical names; the old ones become short names."""
        if not new_names:
            return
        self.entries = {new_names.get(name, name): entry for name, entry in self.entries.items()}
        for table in (self._aliases, self._shorts):
            for key, name in table.items():
                table[key] = new_names.get(name, name)
        for old, new in new_names.items():
            self._shorts.setdefault(old, new)

    def known(self) -> list[str]:
        """Return every name, canonical ones first."""
        return list(dict.fromkeys([*self.entries, *self._aliases, *self._shorts]))
