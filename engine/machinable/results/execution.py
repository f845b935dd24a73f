"""A stored execution: a plan that was run, its trials and their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from machinable.errors import InvalidType, Refused
from machinable.former_names import EXECUTION, find_former_name
from machinable.ids import CONTENT
from machinable.results.reader import ExecutionInfo, Reader, Rows, not_stored
from machinable.results.trial import Trial
from machinable.serialization import decode, encode, without_collections
from machinable.storage import layout
from machinable.storage.files import Files

if TYPE_CHECKING:
    from machinable.plan.spec import TrialSpec
    from machinable.results.search import SearchResult, SearchSample
    from machinable.results.trials import Trials

__all__ = ["EXECUTION_STATES", "Execution", "trial_that_ended"]


EXECUTION_STATES = ("running", "failed", "interrupted", "partial", "finished")
_STATUS = (
    ("running", {"running"}),
    ("failed", {"failed", "blocked"}),
    ("interrupted", {"interrupted", "pending"}),
    ("partial", {"skipped"}),
)
_DONE = {"finished", "reused", "skipped", "unneeded", "pruned"}


class Execution(ExecutionInfo):
    """An execution in a storage. It is read on demand and kept in memory until `refresh`.

    It is true if no trial failed, its length is the number of trials, and `execution[uid]` is a trial. Without `trust`,
    artifacts that run code, such as pickles, are not read.
    """

    def __init__(
        self,
        files: Files,
        folder: str,
        *,
        plan: Sequence[TrialSpec] | None = None,
        trust: bool = False,
        clock: Callable[[], float] = time.time,
        ledger_parts: Sequence[int] | None = None,
        annotation_parts: Sequence[int] | None = None,
        plan_parts: Sequence[int] | None = None,
    ) -> None:
        super().__init__(Reader(files, folder, trust=trust, clock=clock))
        self._reader.ledger_parts = ledger_parts
        self._reader.annotation_parts = annotation_parts
        self._reader.plan_parts = plan_parts
        self._given_plan = plan
        self._trials: dict[str, Trial] | None = None
        self._search: SearchResult | None = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return find_former_name(self, name, EXECUTION)

    @property
    def plan(self) -> Sequence[TrialSpec]:
        """The plan. From a storage, it lacks hidden keys, resources and origins, which are not stored."""
        if self._given_plan is None:
            from machinable.plan.spec import spec_from_data  # tables need no plan

            self._given_plan = tuple(spec_from_data(decode(row)) for row in self._reader.plan.all)
        return self._given_plan

    @property
    def trials(self) -> Trials:
        """All trials, in the order of the plan."""
        from machinable.results.trials import Trials  # 3 ms with what it imports, and `execute` needs no queries

        return Trials(self._by_uid.values())

    @property
    def _by_uid(self) -> dict[str, Trial]:
        if self._trials is None:
            reader, rows = self._reader, self._reader.plan
            with without_collections():
                self._trials = {uid: Trial(reader, rows, at, uid, self) for at, uid in enumerate(rows.uids)}
        return self._trials

    @property
    def code(self) -> bytes | None:
        """The archive with the code of the project; None if there is no code backup."""
        return self._reader.content(layout.CODE)

    @property
    def later_code(self) -> list[bytes]:
        """The archives of the code with which it was resumed, in order; none where the code had not changed."""
        found: list[bytes] = []
        while (archive := self._reader.content(layout.former(layout.CODE, len(found) + 1))) is not None:
            found.append(archive)
        return found

    @property
    def code_diff(self) -> bytes | None:
        """The uncommitted changes in the format of `git apply`; None if there were none."""
        return self._reader.content(layout.DIFF)

    @property
    def failures(self) -> Trials:
        """The trials that failed."""
        from machinable.results.query import states
        from machinable.results.trials import Trials

        trials = list(self)
        return Trials(trial for trial, state in zip(trials, states(trials), strict=True) if state == "failed")

    @property
    def status(self) -> str:
        """The state of the worst trial.

        `running` if one is running, or if a process holds the lease of the execution although trials failed or have not
        ended, else `failed` if one failed or was blocked, `interrupted` if one was interrupted or is pending, `partial`
        if one was skipped, else `finished`.
        """
        from machinable.results.query import states

        found = set(states(list(self)))
        if found <= _DONE and not self._reader.has_ended and self.data["task"].get("search") is not None:
            found.add("pending")  # further samples
        state = next((state for state, those in _STATUS if found & those), "finished" if found else "interrupted")
        return "running" if state in ("failed", "interrupted") and self._reader.is_held else state

    @property
    def seed_text(self) -> str:
        """What `seed` takes to draw the same numbers."""
        return f"{CONTENT}:{self.id}" if self.data.get("seeds") == CONTENT else self.id

    @property
    def waiting(self) -> dict[str, str]:
        """What trials of a running execution wait for that other executions hold, by uid."""
        return self._reader.waiting if self._reader.is_held else {}

    @property
    def search(self) -> SearchResult:
        """The search that it is: its samples, the best of them, and its course; it is read once.

        Raises:
            Refused: It is no search.
        """
        from machinable.results.search import SearchLog, SearchResult  # few executions are searches

        if self._search is None:
            task = self.data["task"].get("search")
            if task is None:
                raise Refused(
                    f"{self} is not a search",
                    given=str(self),
                    todo="The trials of other executions are compared by execution.trials.best(metric).",
                )
            self._search = SearchResult(self, task, SearchLog.read(self.files, str(self)))
        return self._search

    def best(self, n: int = 1) -> list[SearchSample]:
        """Return the best `n` samples of a search, the best first; see `SearchResult.best`."""
        return self.search.best(n)

    def refresh(self) -> None:
        """Discard what was read, so that the execution and its trials are read again."""
        self._reader.refresh()
        self._trials = self._search = None

    def load(self) -> None:
        """Read plan and ledger, unless they are cached, and raise what is wrong with them."""
        self._reader.load()

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
        return len(self._reader.plan)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._by_uid.values())

    def __contains__(self, trial: object) -> bool:
        return trial in self._by_uid if isinstance(trial, str) else trial in self._by_uid.values()

    def __getitem__(self, uid: str) -> Trial:
        """Return the trial of a uid.

        Raises:
            NotStored: There is none.
        """
        if not isinstance(uid, str):
            raise InvalidType(
                f"{uid!r} is not the uid of a trial", given=uid, todo="By its place in the plan: execution.trials[0]."
            )
        try:
            return self._by_uid[uid]
        except KeyError:
            message = f"the execution {self} has no trial {uid!r}"
            raise not_stored(message, uid, self._by_uid, "Its trials", "It has none.") from None


def trial_that_ended(files: Files, folder: str, spec: TrialSpec, event: Mapping[str, Any]) -> Trial:
    """Return a trial that has just ended with this event, without reading plan and ledger, which may be long."""
    execution = Execution(files, folder, trust=True)
    alone = Reader(files, folder, trust=True, clock=time.time)
    alone.assume(spec.uid, dict(event))
    return Trial(alone, Rows([encode(spec.as_data())]), 0, spec.uid, execution)
