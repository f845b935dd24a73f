"""A stored execution: one plan carried out, with its trials and what came out of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from machinable.errors import InvalidType, NotStored, did_you_mean, near_names
from machinable.results.query import states
from machinable.results.reader import Folder, Rows
from machinable.results.trial import Trial
from machinable.results.trials import Trials
from machinable.serialization import decode, encode, without_collections
from machinable.storage import layout
from machinable.storage.files import Files

if TYPE_CHECKING:
    from machinable.plan.spec import TrialSpec

__all__ = ["Execution", "trial_that_ended"]


_STATUS = (
    ("running", {"running"}),
    ("failed", {"failed", "blocked"}),
    ("interrupted", {"interrupted", "pending"}),
    ("partial", {"skipped"}),
)


class Execution:
    """An execution in a storage: a folder that is read when something is asked for, and stays as read until `refresh`.

    It is true when nothing failed, has the number of its trials as length, and `execution[uid]` is one of them.

    Args:
        files: the storage. folder: the name of the execution's folder, such as `OY1p1o-2`.
        plan: the plan, if it is at hand; by default it is made from what is stored.
        trust: whether artifacts may be read that run code, as pickles do.
        clock: the time, in seconds since the epoch.
    """

    def __init__(
        self,
        files: Files,
        folder: str,
        *,
        plan: Sequence[TrialSpec] | None = None,
        trust: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = Folder(files, folder, trust=trust, clock=clock)
        self._given_plan = plan
        self._trials: dict[str, Trial] | None = None

    @property
    def data(self) -> Mapping[str, Any]:
        """execution.json: task, engine, code, host, versions of Python and packages.

        Raises:
            NotStored: there is none. Damaged: it cannot be read. StorageError: it was written by a newer version.
        """
        return self._folder.data

    @property
    def id(self) -> str:
        """The execution id, which stands for the seed."""
        return self.data["id"]  # type: ignore[no-any-return]

    @property
    def seed(self) -> int:
        """The execution seed."""
        return self.data["seed"]  # type: ignore[no-any-return]

    @property
    def name(self) -> str | None:
        """The name of the task."""
        return self.data.get("name")

    @property
    def started(self) -> str:
        """When it began (ISO-8601, UTC)."""
        return self.data["started"]  # type: ignore[no-any-return]

    @property
    def run(self) -> int:
        """How often the id had been used in this storage: 1, 2 for `OY1p1o-2`, …"""
        return self.data["run"]  # type: ignore[no-any-return]

    @property
    def storage(self) -> str:
        """The URL of the storage, without credentials."""
        return self._folder.files.url

    @property
    def plan(self) -> Sequence[TrialSpec]:
        """What was to run. Made from a storage it has what is stored: no hidden keys, no resources, no origins."""
        if self._given_plan is None:
            from machinable.plan.spec import spec_from_data  # dataclasses cost 8 ms, and tables do without the plan

            self._given_plan = tuple(spec_from_data(decode(row)) for row in self._folder.plan)
        return self._given_plan

    @property
    def trials(self) -> Trials:
        """All trials, in the order of the plan."""
        return Trials(self._by_uid.values())

    @property
    def _by_uid(self) -> dict[str, Trial]:
        if self._trials is None:
            folder, rows = self._folder, self._folder.plan
            with without_collections():
                self._trials = {uid: Trial(folder, rows, at, uid, self) for at, uid in enumerate(rows.uids)}
        return self._trials

    @property
    def code(self) -> bytes | None:
        """The archive of the project's code; None if there was no code backup."""
        return self._folder.content(layout.CODE)

    @property
    def code_diff(self) -> bytes | None:
        """The changes that were not committed, as `git apply` takes them; None if there were none."""
        return self._folder.content(layout.DIFF)

    @property
    def failures(self) -> Trials:
        """The trials that failed."""
        trials = list(self)
        return Trials(trial for trial, state in zip(trials, states(trials), strict=True) if state == "failed")

    @property
    def status(self) -> str:
        """`running` if a trial is, else `failed` if one is or was blocked, `interrupted` if one is or is pending,
        `partial` if one was skipped, else `finished`."""
        found = set(states(list(self)))
        for state, those in _STATUS:
            if found & those:
                return state
        return "finished" if found else "interrupted"

    @property
    def files(self) -> Files:
        """The storage that it lies in."""
        return self._folder.files

    @property
    def has_ended(self) -> bool:
        """Whether its ledger says that it is over. An execution whose process was killed never says so."""
        return self._folder.has_ended

    def refresh(self) -> None:
        """Forget what has been read, so that everything is as it is now; trials that were given out, too."""
        self._folder.refresh()
        self._trials = None

    def __str__(self) -> str:
        return self._folder.name

    def __repr__(self) -> str:
        return f"<Execution {self}: {len(self)} trial{'' if len(self) == 1 else 's'}, {self.status}>"

    def _repr_html_(self) -> str:
        from html import escape

        name = f"<b>{escape(self.name)}</b> " if self.name else ""
        facts = f"{len(self)} trial{'' if len(self) == 1 else 's'}, {self.status}"
        return f"<p>{name}<code>{self}</code>, {facts}</p>{self.trials._repr_html_()}"

    def __bool__(self) -> bool:
        return not self.failures

    def __len__(self) -> int:
        return len(self._folder.plan)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._by_uid.values())

    def __contains__(self, trial: object) -> bool:
        return trial in self._by_uid if isinstance(trial, str) else trial in self._by_uid.values()

    def __getitem__(self, uid: str) -> Trial:
        """The trial of that uid.

        Raises:
            NotStored: there is none.
        """
        if not isinstance(uid, str):
            raise InvalidType(
                f"{uid!r} is not the uid of a trial", given=uid, todo="By its place in the plan: execution.trials[0]."
            )
        try:
            return self._by_uid[uid]
        except KeyError:
            near = near_names(uid, self._by_uid)
            shown = ", ".join(list(self._by_uid)[:10]) + (" …" if len(self._by_uid) > 10 else "")
            raise NotStored(
                f"the execution {self} has no trial {uid!r}",
                given=uid,
                known=self._by_uid,
                todo=did_you_mean(near) if near else f"Its trials: {shown}",
            ) from None


def trial_that_ended(files: Files, folder: str, spec: TrialSpec, event: Mapping[str, Any]) -> Trial:
    """A trial that has ended just now, without a look at the plan and the ledger, which may be long.

    Args:
        files, folder: the storage, and the folder of the execution. event: the line of the ledger.
    """
    execution = Execution(files, folder, trust=True)
    alone = Folder(files, folder, trust=True, clock=time.time)
    alone.tell(spec.uid, dict(event))
    return Trial(alone, Rows([encode(spec.as_data())]), 0, spec.uid, execution)
