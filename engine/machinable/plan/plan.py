"""The plan: all trials of a task in a project, frozen and exactly as they will be executed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar, overload

from msgspec import Struct
from msgspec.structs import replace

from machinable import ids
from machinable.errors import Place
from machinable.plan.identity import identity
from machinable.plan.request import TaskRequest
from machinable.plan.spec import ComponentSpec, Requirement, TrialSpec, members_of
from machinable.plan.table import cell, flatten, html_table, text_table
from machinable.serialization import Plain, dumps

__all__ = ["Needed", "Plan", "Row", "Use"]


_P = TypeVar("_P", bound="Plan")
MAX_PRINTED = 40  # trials of a plan
IDENTITY_LENGTH = 8  # characters of an identity that is printed


class Needed(Struct, frozen=True):
    """A requirement of a use: the number of its use, its identity, and the only artifact that is read."""

    use: int
    identity: str
    artifact: str | None


class Use(Struct, frozen=True):
    """A component as the plan uses it, listed or required; its trials share the definition."""

    definition: ComponentSpec  # what its trials share
    requires: Mapping[str, Needed]  # the uses that it requires, by the names that it uses
    at: Place | None  # where it is declared
    # Identity of a requirement; "" for a listed component, where it depends on the seed of the trial
    identity: str = ""

    @property
    def component(self) -> str:
        """Canonical name of the component."""
        return self.definition.component

    @property
    def name(self) -> str:
        """The name that the task, or the component that requires it, uses for it."""
        return str(self.definition.flags["NAME"])


class Row(Struct, frozen=True, gc=False):
    """One trial: which use, its number in each level, its seed and uid."""

    use: int
    numbers: tuple[int, ...]
    seed: int
    uid: str


class Plan(Sequence[TrialSpec]):
    """The trials of a task in a project: a sequence of `TrialSpec`s, which are made on access. It is never changed.

    Attributes:
        id: Id of the execution.
        seed: The same as a number.
        name: Name of the execution.
        project: Its directory.
        project_name: Its name.
        request: The task as it was planned.
        uses: The components, listed and required.
        rows: The trials.
        by_content: Whether trials take their seeds from their content, which then are the same everywhere.
    """

    def __init__(  # a dataclass takes 3 ms at the first import
        self,
        id: str,
        seed: int,
        name: str | None,
        project: str,
        project_name: str,
        request: TaskRequest,
        uses: tuple[Use, ...],
        rows: tuple[Row, ...],
        by_content: bool = False,
    ) -> None:
        self.id = id
        self.seed = seed
        self.name = name
        self.project = project
        self.project_name = project_name
        self.request = request
        self.uses = uses
        self.rows = rows
        self.by_content = by_content

    @property
    def seed_text(self) -> str:
        """What `seed` takes to make the same plan."""
        return f"{ids.CONTENT}:{self.id}" if self.by_content else self.id

    def with_uses(self: _P, uses: Iterable[Use]) -> _P:
        """Return the same plan with other components."""
        return self._copied(type(self), uses=tuple(uses))

    def _copied(self, kind: type[_P], **facts: Any) -> _P:
        """Return the same plan as a class of plans, with other or more attributes."""
        copy = object.__new__(kind)
        vars(copy).update({name: value for name, value in vars(self).items() if name[0] != "_"} | facts)
        return copy

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> TrialSpec: ...

    @overload
    def __getitem__(self, index: slice) -> list[TrialSpec]: ...

    def __getitem__(self, index: int | slice) -> TrialSpec | list[TrialSpec]:
        if isinstance(index, slice):
            return [self._spec(i) for i in range(*index.indices(len(self.rows)))]
        return self._spec(range(len(self.rows))[index])

    def __iter__(self) -> Iterator[TrialSpec]:
        return map(self._spec, range(len(self.rows)))

    def _spec(self, index: int, requires: Mapping[str, Requirement] | None = None) -> TrialSpec:
        row = self.rows[index]
        use = self.uses[row.use]
        if requires is None:
            requires = self._requirements[row.use] if use.requires else {}
        flags = {
            **use.definition.flags,
            "GLOBAL_SEED": self.seed,
            "EXECUTION": self.id,
            "SEED": row.seed,
            "UID": row.uid,
            "INDEX": index,
            "TOTAL": len(self.rows),
        }
        for (shared, name_of_number), number in zip(self._flags_of_levels, row.numbers, strict=not use.identity):
            flags.update(shared)
            flags[name_of_number] = number
        flags["PAIRED_SEED"] = row.seed if use.identity else self._paired_seed(row.numbers)
        return TrialSpec(index, row.uid, row.seed, flags, use.definition, requires, self.identity(index))

    @cached_property
    def _flags_of_levels(self) -> list[tuple[dict[str, int], str]]:
        """The flags of each level that all its trials share, and the name of the one with their number."""
        return [
            (
                {level.flag("SEED"): ids.level_seed(self._seed, level.label), level.flag("TOTAL"): level.total},
                level.flag("NUMBER"),
            )
            for level in self.request.levels
        ]

    @property
    def _seed(self) -> int:
        """The seed of what trials share: part of the content if their seeds are made from that."""
        return 0 if self.by_content else self.seed

    def _paired_seed(self, numbers: tuple[int, ...]) -> int:
        seed = self._paired_seeds.get(numbers)
        if seed is None:
            labels = [level.label for level in self.request.levels]
            pairs: Plain = sorted([label, number] for label, number in zip(labels, numbers, strict=True))
            seed = self._paired_seeds[numbers] = ids.paired_seed(self._seed, pairs)
        return seed

    @cached_property
    def _paired_seeds(self) -> dict[tuple[int, ...], int]:
        return {}

    def identity(self, index: int) -> str:
        """Return the identity of a trial."""
        row = self.rows[index]
        use = self.uses[row.use]
        if use.identity:
            return use.identity
        content = use.definition.content
        is_as_required = self.by_content and row.seed == ids.seed_of_content(content)
        return identity(content, None if is_as_required else row.seed)

    @cached_property
    def _requirements(self) -> dict[int, Mapping[str, Requirement]]:
        """The requirements of each use, by its number; its trials share them."""
        found: dict[int, TrialSpec] = {}
        for index, row in enumerate(self.rows):
            if self.uses[row.use].identity:
                spec = self._spec(index, {})
                found[row.use] = replace(spec, definition=replace(spec.definition, origins={}))
        return {
            number: {
                name: Requirement(
                    self.uses[needed.use].component,
                    found[needed.use].uid,
                    needed.identity,
                    needed.artifact,
                    spec=found[needed.use],
                )
                for name, needed in use.requires.items()
            }
            for number, use in enumerate(self.uses)
            if use.requires
        }

    def __repr__(self) -> str:
        return f"<Plan {self.id}: {len(self)} trial{'' if len(self) == 1 else 's'}>"

    def __str__(self) -> str:
        lines = [f"{self.name or 'Plan'} {self.id}: {len(self)} trial{'' if len(self) == 1 else 's'}"]
        lines += text_table(*self.table(MAX_PRINTED))
        if len(self) > MAX_PRINTED:
            lines.append(f"… and {len(self) - MAX_PRINTED:,} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from html import escape  # its table of characters takes a millisecond

        title = f"<p><b>{escape(self.name or 'Plan')}</b> <code>{self.id}</code>, {len(self)} trials</p>"
        more = f"<p>… and {len(self) - MAX_PRINTED:,} more</p>" if len(self) > MAX_PRINTED else ""
        return title + html_table(*self.table(MAX_PRINTED)) + more

    def table(self, limit: int | None = None) -> tuple[list[str], list[list[str]]]:
        """Return headings and rows of a table of the first trials, with the values that differ between trials."""
        differing = self._differing()
        levels = self.request.levels
        required = {row.uid: index for index, row in enumerate(self.rows) if self.uses[row.use].identity}
        headings = ["#", "uid", "component", *[level.label.lower() for level in levels], *differing]
        if required:
            headings[3:3] = ["requires", "identity"]
        rows = []
        for spec in self[: len(self) if limit is None else limit]:
            flat = {key: value for _, values in _parts(spec.definition) for key, value in values.items()}
            names = ", ".join(child.component for child in spec.children)
            numbers = self.rows[spec.index].numbers or [None] * len(levels)
            row = [
                str(spec.index),
                spec.uid,
                f"{spec.component} ({names})" if names else spec.component,
                *[
                    f"{number + 1}/{level.total}" if number is not None else ""
                    for number, level in zip(numbers, levels, strict=True)
                ],
                *[cell(flat[key]) if key in flat else "" for key in differing],
            ]
            if required:
                members = members_of(spec.requires)
                numbers_of: dict[str, list[int]] = {}
                for name, one in spec.requires.items():
                    shared = name.rpartition(".")[0]
                    numbers_of.setdefault(shared if name in members.get(shared, ()) else name, []).append(
                        required[one.uid]
                    )
                needed = (f"{name} {' '.join(f'#{number}' for number in found)}" for name, found in numbers_of.items())
                row[3:3] = [cell(", ".join(needed)), spec.identity[:IDENTITY_LENGTH]]
            rows.append(row)
        return headings, rows

    def _differing(self) -> list[str]:
        """Return the paths whose values differ between trials of one component, in the order of the configuration.

        Those of children begin with `children.` and the name or number of the child.
        """
        first: dict[tuple[str, ...], dict[str, Any]] = {}
        known: dict[str, None] = {}
        found: set[str] = set()
        for use in self.uses:
            for part, flat in _parts(use.definition):
                other = first.setdefault(part, flat)
                known |= dict.fromkeys(flat)
                for key in {**other, **flat} if other is not flat else ():
                    if key not in flat or key not in other or dumps(flat[key]) != dumps(other[key]):
                        found.add(key)
        return [key for key in known if key in found]

    def as_data(self) -> dict[str, Plain]:
        """Return the plan as plain data, for programs."""
        return {
            "id": self.id,
            "seed": self.seed,
            "name": self.name,
            "project": self.project_name,
            "trials": [spec.as_data() for spec in self],
        }


def _parts(definition: ComponentSpec) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the flat values of a component and of each child, with what they are comparable by."""
    yield (definition.component,), flatten(definition.stored)
    for number, child in enumerate(definition.children):
        name = f"children.{child.called or number}"
        flat = flatten(child.stored)
        yield (definition.component, name, child.component), {f"{name}.{key}": value for key, value in flat.items()}
