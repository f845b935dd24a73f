"""Read the results that a trial requires: `self.requires.data.read("x.npy")` is an artifact of a finished trial."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from machinable.component.base import Component, Context
from machinable.config.config import Config
from machinable.errors import (
    Damaged,
    InvalidType,
    MissingArtifact,
    MissingAttribute,
    MissingIndex,
    NotAvailable,
    NotStored,
    WrongKind,
    import_optional,
    suggestion,
)
from machinable.plan.spec import Requirement, members_of
from machinable.storage import layout
from machinable.storage.artifacts import RESULT, ROWS, Artifacts, artifacts_in, checkpoint_digests, data_digest
from machinable.storage.documents import STATUS, TRIAL, Kind, read_document
from machinable.storage.files import Files
from machinable.storage.formats.registry import check_name, load
from machinable.storage.hashing import digest, file_digest, tree_digest

__all__ = ["Required", "Requires", "SeveralRequired"]


class Requires(Mapping[str, "Required | SeveralRequired"]):
    """The requirements of a trial by name, as items and as attributes; those of a required one have a prefix.

    Several that have one name are a sequence. Those of a list can be indexed by number.
    """

    def __init__(
        self, requirements: Mapping[str, Requirement], files: Files, context: Context, prefix: str = ""
    ) -> None:
        self._prefix = prefix
        self._context = context
        self._files = files
        self._requirements = requirements
        self._opened: dict[str, Required] = {}
        self._several = members_of(requirements)

    def __getitem__(self, name: str | int) -> Required | SeveralRequired:
        if isinstance(name, int):
            return self._numbered(name)
        if name in self._several:
            return SeveralRequired(self._prefix + name, [self._one(one) for one in self._several[name]])
        if name not in self._requirements:
            required = f"Required: {', '.join(self) or 'nothing at all'}"
            raise MissingAttribute(
                f"nothing is required under the name {name!r}",
                given=name,
                known=list(self),
                todo=suggestion(name, list(self), required),
            )
        return self._one(name)

    def _numbered(self, number: int) -> Required | SeveralRequired:
        names = list(self)
        if names != [str(index) for index in range(len(names))]:
            raise MissingIndex(
                f"requirements have the number {number} only if they were given as a list",
                given=number,
                todo=f"Use a name: {', '.join(names)}.",
            )
        try:
            return self[names[number]]
        except IndexError:
            raise MissingIndex(f"there is no requirement {number}: {len(names)} are required", given=number) from None

    def _one(self, name: str) -> Required:
        if name not in self._opened:
            requirement, full_name = self._requirements[name], self._prefix + name
            read = self._context.inputs_of(full_name, requirement)
            self._opened[name] = Required(full_name, requirement, self._files, self._context, read)
        return self._opened[name]

    def __getattr__(self, name: str) -> Required | SeveralRequired:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        member_of = {member: name for name, members in self._several.items() for member in members}
        return iter(dict.fromkeys(member_of.get(name, name) for name in self._requirements))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<requires {', '.join(self) or 'nothing'}>"


class SeveralRequired(Sequence["Required"]):
    """Several requirements that have one name, in the order in which they were written."""

    def __init__(self, name: str, members: Sequence[Required]) -> None:
        self._name = name
        self._members = members

    def __getitem__(self, number: Any) -> Any:
        try:
            return self._members[number]
        except IndexError:
            count = len(self._members)
            raise MissingIndex(
                f"there is no requirement {self._name}[{number}]: there are {count}",
                given=number,
                todo=f"Count from 0 to {count - 1}.",
            ) from None

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"<{len(self)} requirements {self._name!r}>"

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(Required, name):
            raise NotAvailable(
                f"{self._name!r} is {len(self)} requirements, so it has no {name!r}",
                given=name,
                todo=f"Take one of them: self.requires.{self._name}[0].{name}",
            )
        raise AttributeError(name)


class Required:
    """The results of one requirement, such as `data`, or `model.data` for one that a required trial requires.

    `read` receives the digests of everything that is read, by name.
    """

    def __init__(
        self, name: str, requirement: Requirement, files: Files, context: Context, read: dict[str, str]
    ) -> None:
        self.name = name
        self.requirement = requirement
        self._files = files
        self._context = context
        self._read = read
        self._is_loaded = False

    def __repr__(self) -> str:
        return f"<{self.label}>"

    @property
    def label(self) -> str:
        """The name in messages."""
        return f"the requirement {self.name!r} ({self.requirement.component}, {self.requirement.place})"

    @cached_property
    def folder(self) -> str:
        """The folder of its trial in the storage."""
        if self.requirement.place is None:
            component = self.requirement.component
            raise NotAvailable(
                f"the requirement {self.name!r} ({component}) has no result, and this execution does not compute it",
                given=self.name,
                todo=f"Require it directly, or compute it again: rerun={component!r} (--rerun {component}).",
            )
        return layout.folder_of(self.requirement.place)

    @cached_property
    def status(self) -> Mapping[str, Any]:
        """Its status.json."""
        return self._stored(layout.STATUS, STATUS)

    @cached_property
    def description(self) -> Mapping[str, Any]:
        """Its trial.json."""
        return self._stored(layout.TRIAL, TRIAL)

    def _stored(self, name: str, kind: Kind) -> Mapping[str, Any]:
        found = read_document(self._files, layout.join(self.folder, name), kind)
        if found is None:
            raise NotStored(
                f"{self.label} no longer exists",
                given=self.requirement.place,
                todo=f"Execute it again: rerun={self.requirement.component!r}.",
            )
        return found

    @cached_property
    def _artifacts(self) -> Artifacts:
        path = layout.join(self.folder, layout.ARTIFACTS)
        return Artifacts(self._files, path, self.label, trust=self._context.trust)

    # artifacts

    def read(self, name: str | None = None, *, load: Callable[[str], Any] | None = None) -> Any:
        """Return an artifact as it was written.

        Args:
            name: Its name; None: the only one.
            load: Reads a model (`.zip`); default: the function that was named when it was written.

        Raises:
            MissingArtifact: There is none of that name, or there are several and no name was given.
            BadName: The name is not that of an artifact.
            NotAvailable: The trial depends on another artifact only.
            Damaged: It is not what the required trial wrote.
        """
        name = self._name(name)
        check_name(name)
        content = self._artifacts.content(name)
        self._note_read(name, digest(content))
        # An artifact that the trial did not write may be from anybody.
        return _load(name, content, trust=self._context.trust and name in self._digests, load=load)

    @cached_property
    def _digests(self) -> Mapping[str, str]:
        """The digests of its artifacts when it finished, by name."""
        return self.requirement.digests or artifacts_in(self.status)

    def _note_read(self, name: str, found: str, expected: str | None = None) -> None:
        """Record what was read.

        Raises:
            Damaged: It is not what the trial wrote.
        """
        expected = expected or self._digests.get(name)
        if expected not in (None, found):
            raise Damaged(
                f"{name!r} of {self.label} is not what was stored",
                given=name,
                todo=f"Compute it again: rerun={self.requirement.component!r} (--rerun {self.requirement.component}).",
            )
        self._read[name] = found

    @property
    def files(self) -> list[str]:
        """The names of its artifacts, sorted, as `files` of a trial."""
        return self._artifacts.names()

    def _name(self, name: str | None) -> str:
        """Return the name if the trial depends on that artifact; for None, return the only name."""
        only = self.requirement.artifact
        if name is not None:
            if only is not None and name != only and not (only.endswith("/") and name.startswith(only)):
                raise self._only_part(repr(name), name)
            return name
        if only is not None:
            return only
        names = self.files
        if len(names) != 1:
            raise MissingArtifact(
                f"{self.label} has {'no artifacts' if not names else f'{len(names)} artifacts'}, not a single one",
                known=names,
                todo=f"Name one: {', '.join(names)}" if names else "Let it write one.",
            )
        return names[0]

    def _refuse_part(self, what: str) -> None:
        if self.requirement.artifact is not None:
            raise self._only_part(f"its {what}", what)

    def _only_part(self, what: str, given: str) -> NotAvailable:
        return NotAvailable(
            f"{self.label}: the trial depends only on {self.requirement.artifact!r}, not on {what}",
            given=given,
            todo=f"Require all of it: {self.name}: {self.requirement.component}",
        )

    def frame(self, name: str | None = None, columns: Sequence[str] | None = None) -> Any:
        """Return a table as a pandas DataFrame.

        Args:
            name: The name of the artifact; None: the only one.
            columns: Exactly these columns, in this order; None: all.

        Raises:
            NotAvailable: Pandas is not installed, or as for `read`.
            WrongKind: It is not a table, or lacks a column.
            InvalidType: The columns are not a list.
        """
        if isinstance(columns, str):
            raise InvalidType(
                f"columns is the text {columns!r}", given=columns, todo=f"Give a list: columns=[{columns!r}]."
            )
        name = self._name(name)
        data = self.read(name)
        pandas = import_optional("pandas", "a frame needs pandas", "[frames]")
        if isinstance(data, list) and all(isinstance(row, Mapping) for row in data):
            # Rows contain their columns, so without rows no column is missing.
            data = pandas.DataFrame(data, columns=None if data or columns is None else list(columns))
        if not isinstance(data, pandas.DataFrame):
            raise WrongKind(
                f"{name!r} of {self.label} is not a table but {type(data).__name__}",
                given=name,
                todo="A table is a DataFrame or a list of mappings; read others with .read().",
            )
        if columns is None:
            return data
        absent = [column for column in columns if column not in data.columns]
        if absent:
            known = [str(column) for column in data.columns]
            raise WrongKind(
                f"{name!r} of {self.label} has no column {', '.join(map(repr, absent))}",
                given=absent,
                known=known,
                details=[f"its columns: {', '.join(known) or 'none'}"],
                todo=suggestion(absent[0], known),
            )
        return data[list(columns)]

    def path(self, name: str | None = None) -> str:
        """Return a local path of an artifact, or of a directory of artifacts for a name that ends in `/`.

        It is fetched from a remote storage once in a trial. Do not change it.

        Args:
            name: The name of the artifact; None: the only one.

        """
        name = self._name(name)
        place = self._artifacts.local_path(name)
        # Files of this host that have changed since were found before the start; files may be large.
        is_fetched = self._files.local_path("") is None
        for one in [each for each in self.files if each.startswith(name)] if name.endswith("/") else [name]:
            if is_fetched or one not in self._digests:
                self._note_read(one, file_digest(os.path.join(place, one.removeprefix(name)) if one != name else place))
            else:
                self._read[one] = self._digests[one]
        return place

    # its trial

    @property
    def config(self) -> Config:
        """The stored configuration of its trial."""
        return Config(self.description["config"])

    @property
    def trial(self) -> Any:
        """The stored trial. Its artifacts, rows and result are all recorded as inputs."""
        self._refuse_part("trial")
        known = self.status.get("artifacts") or {}
        self._read.update({name: facts["digest"] for name, facts in known.items()})
        self._note(RESULT, ROWS)
        return self._context.stored_trial(f"{self.requirement.place}")

    @property
    def result(self) -> Any:
        """What its `on_execute` returned, if that was plain data."""
        self._refuse_part("result")
        self._note(RESULT)
        return self.status.get("result")

    @property
    def records(self) -> Any:
        """The rows of its trial; `records("validation")` are those of another scope."""
        self._refuse_part("records")
        self._note(ROWS)
        return self._context.stored_trial(f"{self.requirement.place}").records

    def _note(self, *names: str) -> None:
        for name in names:
            if name not in self._read:
                self._read[name] = data_digest(self._files, self.folder, name)

    # its component

    @cached_property
    def _instance(self) -> Component:
        return self._context.required_component(self)

    @property
    def component(self) -> Any:
        """The component, created in this process with the same configuration, after `on_load()`.

        By default `on_load` restores its last checkpoint. Each requirement of a trial has one component.
        """
        self._refuse_part("component")
        if not self._is_loaded:
            self._instance.on_load()
            self._is_loaded = True
        return self._instance

    def load_into(self, into: Any) -> Any:
        """Let the component load its state into another object: `on_load(into=…)`."""
        self._refuse_part("component")
        return self._instance.on_load(into=into)

    def last_checkpoint(self, saver: str = "node") -> str | None:
        """Return a local path of the last checkpoint that the component, or a child, saved; None if there is none.

        Args:
            saver: "node", or the index of a child.
        """
        saved = (self.status.get("at_checkpoint") or {}).get("saved") or {}
        name = saved[saver]["name"] if saver in saved else None
        if name is None and saver == "node":
            name = self.status.get("checkpoint")
        if name is None or name.partition("/")[0] != layout.CHECKPOINTS:
            return name
        where = Artifacts(self._files, self.folder, self.label, trust=self._context.trust)
        is_directory = self._files.is_directory(layout.join(self.folder, name))
        place = where.local_path(f"{name}/" if is_directory else name)
        self._note_read(f"../{name}", tree_digest(place), checkpoint_digests(self.status).get(f"../{name}"))
        return place


_load = load  # `read` has an argument of that name
