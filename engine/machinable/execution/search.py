"""Search for the best configuration: ask the sampler for samples, and tell it their results.

The samples, their results and the decisions of the pruner are written to the ledger in their order. A search that is
resumed repeats them, and then goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from machinable.errors import InvalidType, InvalidValue, MachinableError, MissingKey, SeveralErrors, UnknownName
from machinable.execution.directory import plan_line
from machinable.execution.ledger import Ledger
from machinable.ids import level_seed
from machinable.plan.plan import Use
from machinable.plan.search_plan import SearchPlan
from machinable.plan.spec import Outcome, TrialSpec
from machinable.plan.table import flatten
from machinable.results.conditions import Condition, parse, satisfied
from machinable.results.execution import Execution, trial_that_ended
from machinable.results.lookup import look
from machinable.results.query import MISSING, Field, find_field, is_number, known_fields, mean
from machinable.results.search import SearchLog
from machinable.results.trial import Trial
from machinable.search.pruner import make_pruner
from machinable.search.sample import Sample
from machinable.search.sampler import make_sampler
from machinable.search.space import read_space
from machinable.serialization import Plain, as_plain, canonical
from machinable.storage import layout
from machinable.storage.files import Files

if TYPE_CHECKING:
    from machinable.execution.resources import Capacity
    from machinable.results.search import SampleState

__all__ = ["Search"]

SHOWN = 10  # samples of a dry run

Check = Callable[[Use], Use]


class _Open(Struct):
    """A sample whose result is not known yet: its trials that have not ended, and what the others gave."""

    sample: Sample
    pending: set[str]
    values: dict[str, float | None] = field(default_factory=dict)  # by uid; None for no value
    judged: dict[str, float] = field(default_factory=dict)  # by uid, the last value that the pruner has seen
    because: str = ""  # why it failed
    pruned: str = ""  # why it is pruned
    reaches_stop: bool = True  # whether all its trials so far satisfy `stop`


class Search:
    """The search of one execution.

    Args:
        plan: Its plan, to which the trials of samples are added.
        check: Return a use of the plan as it runs, after checking it.
        log: What a resumed search has done before.

    Attributes:
        problem: Why no further sample can be tried; None if there is no such reason.
        over: Why no further sample follows; "" if one may follow.
        has_value: Whether a sample has a value.
        capacity: What there is for trials, once that is known.
        on_row: Set by the scheduler. Receives trials that may be pruned, at an iteration, with the value of the metric.

    Raises:
        MachinableError: The search cannot begin.
    """

    def __init__(self, plan: SearchPlan, check: Check, log: SearchLog | None = None) -> None:
        request = plan.search
        self.plan = plan
        self.problem: MachinableError | None = None
        self.over = ""
        self.has_value = False
        self._request = request
        self._check = check
        field = find_field(request.metric)
        if field is None:
            raise _no_field("metric", request.metric)
        self._metric: Field = field
        self.capacity: Capacity | None = None
        self.on_row: Callable[[str, int, Any], None] = lambda uid, iteration, value: None
        _check_paths(read_space(request.space).paths, plan.base, check)
        self._stop = _stop_of(request.stop, request.metric, request.mode)
        seed = level_seed(0 if plan.by_content else plan.seed, "SEARCH")
        self._sampler = make_sampler(request.sampler, read_space(request.space), request.mode, seed, request.samples)
        self._pruner = None if request.prune is None else make_pruner(request.prune, request.mode)
        self._open: dict[int, _Open] = {}
        self._seen: set[tuple[str, int]] = set()  # trials and iterations that the pruner has judged
        self._ends: dict[str, tuple[int, str]] = {}  # after which iteration trials end, if a search is repeated
        self._unwritten: list[int] = []  # samples that were asked for before there was a ledger
        self._is_recorded = log is not None and bool(log.over) and plan.repeated is None  # that it is complete
        self._spent = 0.0 if log is None else log.seconds
        self._began = time.monotonic()
        self._differs = ""
        self._ledger: Ledger
        self._files: Files
        self._folder = ""
        if log is not None:
            self._replay(log)
        if not plan.samples and not self.more():
            raise self.problem or InvalidValue("the space of the search has no sample", given=dict(request.space))

    def _replay(self, log: SearchLog) -> None:
        """Repeat what was done before; the stored values count."""
        for row in log.rows:
            if row["event"] == "asked":
                number, values = row["sample"], row["values"]
                answer = self._answer(number)
                if not row["uids"]:
                    self.plan.refuse()
                    self._open[number] = _Open(Sample(number, values), set(), because="its values were refused")
                    continue
                if canonical(answer) != canonical(values) and not self._differs:
                    self._differs = f"sample {number} is {values}, and the sampler now answers {answer}"
                self._add(number, values)
            elif row["event"] == "judged":
                number = self.plan.sample_of[row["uid"]]
                self._judge(number, row["uid"], row["iteration"], row["value"])
                self._open[number].pruned = self._open[number].pruned or row.get("because") or ""
            elif row["event"] == "pruned":
                self._ends[row["uid"]] = row["iteration"], row["because"]
            elif row["event"] == "evaluated":
                self._tell(self._open[row["sample"]], row.get("value"), row["state"])
        self.over = log.over

    def begin(self, ledger: Ledger, files: Files, folder: str, ended: Collection[str]) -> None:
        """Begin or go on, with trials that have ended before."""
        self._ledger, self._files, self._folder = ledger, files, folder
        self._lines = files.appender(layout.join(folder, layout.PLAN))
        self._began = time.monotonic()
        self.plan.unwritten = range(0)
        ledger.is_open, ledger.planned = True, self.plan.to_run
        if self._differs:
            ledger.notice(f"the sampler differs from before: {self._differs}; the stored samples count")
        for number in self._unwritten:
            self._write_asked(number)
        self._unwritten.clear()
        waiting = [uid for one in self._open.values() for uid in one.pending if uid in ended]
        stored = Execution(files, folder, trust=True) if waiting else None
        for one in list(self._open.values()):
            if not one.pending:
                self._tell_result(one, None, "failed")
            for uid in self.plan.uids(one.sample.number):
                if stored is not None and uid in one.pending and uid in ended:
                    trial = stored[uid]
                    because = trial.because or (trial.error or {}).get("message")
                    self._trial_ended(one, uid, trial.status, trial, because=because)

    # asking

    @property
    def trials_left(self) -> int:
        """The number of trials of samples that have not ended."""
        return sum(len(one.pending) for one in self._open.values())

    @property
    def may_go_on(self) -> bool:
        """Whether trials have not ended, or samples may follow."""
        return bool(self._open) or not self._is_over()

    def more(self) -> bool:
        """Add trials of a further sample, and return whether there is one."""
        while self.problem is None and not self._is_over():
            number = len(self.plan.samples)
            try:
                values = self._answer(number)
            except MachinableError as error:
                self.problem = error
                break
            if values is None:
                self.over = "the space is exhausted"
                break
            try:
                self._add(number, values)
            except MachinableError as error:
                self._refuse(number, values, error)
                continue
            if self._folder:
                self._write_asked(number)
            else:
                self._unwritten.append(number)
            return True
        return False

    def preview(self) -> None:
        """Add the first samples, for a dry run, as they are before any result is known."""
        while len(self.plan.samples) < SHOWN and self.more():
            pass

    def _is_over(self) -> bool:
        if not self.over:
            samples, timeout = self._request.samples, self._request.timeout
            if samples is not None and len(self.plan.samples) >= samples:
                self.over = f"{samples} sample{'' if samples == 1 else 's'}"
            elif timeout is not None and self._spent + time.monotonic() - self._began >= timeout:
                self.over = f"the timeout of {timeout:g} s"
        return bool(self.over)

    def _answer(self, number: int) -> dict[str, Plain] | None:
        sampler = self._request.sampler
        try:
            answer = self._sampler.ask(number)
        except MachinableError:
            raise
        except Exception as error:
            raise InvalidValue(
                f"the sampler {sampler!r} raised {type(error).__name__} when it was asked for sample {number}: {error}",
                given=sampler,
            ) from error
        if answer is None:
            return None
        if not isinstance(answer, Mapping) or not all(isinstance(path, str) for path in answer):
            raise InvalidType(
                f"the sampler {sampler!r} answered {answer!r} for sample {number}",
                given=answer,
                todo="`ask` returns a mapping of paths to values, or None at the end of the space.",
            )
        return as_plain(dict(answer), "sample")  # type: ignore[no-any-return]

    def _add(self, number: int, values: dict[str, Plain]) -> None:
        """Add the trials of a sample to the plan.

        Raises:
            ConfigurationError: The values make no configuration.
        """
        plan = self.plan
        new = plan.plan_sample(values)
        try:
            for use in new:
                plan.uses[use] = self._check(plan.uses[use])
            if self.capacity is not None:
                self.capacity.check([plan.uses[use] for use in new])
        except MachinableError:
            plan.drop()
            raise
        plan.add()
        self._open[number] = _Open(Sample(number, values), set(plan.uids(number)))

    def _refuse(self, number: int, values: dict[str, Plain], error: MachinableError) -> None:
        """Count a sample that has no trials as failed; the first one ends the search, because the others are alike."""
        if not self._folder:
            self.problem = error
            return
        self.plan.refuse()
        self._ledger.asked(number, values, [], self.plan.expected)
        one = _Open(Sample(number, values), set(), because=error.message)
        self._tell_result(one, None, "failed")

    def _write_asked(self, number: int) -> None:
        """Write a sample to the ledger, and then its trials to the plan, before any of them starts."""
        plan = self.plan
        self._ledger.asked(number, self._open[number].sample.values, plan.uids(number), plan.expected)
        if plan.unwritten:
            for index in plan.unwritten:
                self._lines.write(plan_line(plan[index]))
            self._lines.flush()
            plan.unwritten = range(0)

    # results

    def ended(self, spec: TrialSpec, outcome: Outcome | None, row: Mapping[str, Any]) -> None:
        """Take the end of a trial, which the ledger has recorded as a row."""
        state = row["event"]
        number = self.plan.sample_of.get(spec.uid)
        one = None if number is None else self._open.get(number)
        if one is None or spec.uid not in one.pending:
            return
        value = MISSING if outcome is None or self._stop is not None else _simple(self._request.metric, outcome)
        trial = None
        if value is MISSING and state in ("finished", "reused"):
            trial = trial_that_ended(self._files, self._folder, spec, row)
        because = row.get("because") or (row.get("error") or {}).get("message")
        self._trial_ended(one, spec.uid, state, trial, value, because)

    def _trial_ended(
        self, one: _Open, uid: str, state: str, trial: Trial | None, value: Any = MISSING, because: str | None = None
    ) -> None:
        one.pending.discard(uid)
        one.values[uid] = None
        if state in ("finished", "reused"):
            if value is MISSING and trial is not None:
                value = self._metric.of(trial)
            self._check_value(value, trial, uid)
            one.values[uid] = float(value) if is_number(value) else None
            if one.values[uid] is None:
                one.because = f"{uid} has no {self._request.metric}"
            if self._stop is not None and trial is not None:
                one.reaches_stop = one.reaches_stop and self._reaches_stop(trial)
        elif state != "pruned":
            one.because = one.because or because or f"{uid}: {state}"
        if one.pending:
            return
        values = [one.values[uid] for uid in self.plan.uids(one.sample.number)]
        if one.pruned:
            self._tell_result(one, mean(list(one.judged.values())), "pruned")
        elif all(value is not None for value in values):
            self._tell_result(one, mean([value for value in values if value is not None]), "finished")
        else:
            self._tell_result(one, None, "failed")

    def _check_value(self, value: Any, trial: Trial | None, uid: str) -> None:
        """Stop the search if the first trials show that the metric is none."""
        if is_number(value) or self.has_value or self.problem is not None:
            return
        metric = self._request.metric
        if value is MISSING or value is None:
            known = [] if trial is None else [name for name in known_fields([trial]) if name != metric]
            self.problem = UnknownName(
                "field",
                metric,
                [name for name in known if name.startswith(("records.", "result"))] or known,
                path="metric",
                details=[f"the trial {uid} of the first sample has finished without it"],
            )
        else:
            self.problem = InvalidType(
                f"the metric {metric} of the trial {uid} is {value!r}, and not a number",
                given=value,
                path="metric",
                todo="Give a field that is a number, such as metric='records.loss.last'.",
            )

    def _tell_result(self, one: _Open, value: float | None, state: SampleState) -> None:
        because = {"pruned": one.pruned, "failed": one.because}.get(state)
        over = ""
        if self._stop is not None and state == "finished" and one.reaches_stop and not self.over:
            self.over = over = f"sample {one.sample.number} satisfies `stop`"
        self._ledger.evaluated(one.sample.number, value, state, because, over)
        self._tell(one, value, state)

    def _tell(self, one: _Open, value: float | None, state: str) -> None:
        self._open.pop(one.sample.number, None)
        self.has_value = self.has_value or (state == "finished" and value is not None)
        try:
            if self._pruner is not None:
                self._pruner.end(one.sample.number, value)
            self._sampler.tell(one.sample, value)
        except MachinableError as error:
            self.problem = self.problem or error
        except Exception as error:
            self.problem = self.problem or InvalidValue(
                f"the sampler {self._request.sampler!r} raised {type(error).__name__} for the result "
                f"{value!r} of sample {one.sample.number}: {error}",
                given=self._request.sampler,
            )

    def _reaches_stop(self, trial: Trial) -> bool:
        try:
            return bool(self._stop and self._stop(trial))
        except MachinableError as error:
            self.problem = self.problem or error
        except Exception as error:
            self.problem = self.problem or InvalidValue(
                f"`stop` of the search raised {type(error).__name__} at the trial {trial.uid}: {error}"
            )
        return False

    def close(self) -> None:
        """Record that the search is complete, if it is."""
        self._lines.close()
        if self.problem is not None or self.may_go_on:
            return
        if self._is_recorded:  # by a process that was killed after it
            self._ledger.is_open = False
        else:
            self._ledger.searched(self.over)

    # pruning

    @property
    def prunes(self) -> bool:
        """Whether trials may be pruned."""
        return self._pruner is not None

    @property
    def column(self) -> str:
        """The column of the rows by which trials are pruned."""
        name = self._request.metric.removeprefix("records.")
        head, _, last = name.rpartition(".")
        return head if head and last in ("first", "last", "min", "max", "mean") else name

    def prepared(self, spec: TrialSpec) -> TrialSpec:
        """Return a trial that starts, with what ends it early."""
        if spec.uid in self._ends:
            return replace(spec, ends_after=self._ends[spec.uid])
        if self._pruner is not None and spec.uid in self.plan.sample_of and self.plan.repeated is None:
            return replace(spec, judged=self.column)
        return spec

    def pruned(self, uid: str) -> str:
        """Return why a trial is pruned; "" if it is not."""
        number = self.plan.sample_of.get(uid)
        one = None if number is None else self._open.get(number)
        return "" if one is None else one.pruned

    def row(self, uid: str, iteration: int, value: Any) -> list[str]:
        """Take the metric of a running trial at an iteration.

        Returns:
            The trials that are pruned because of it, which may run or not.
        """
        number = self.plan.sample_of[uid]
        one = self._open.get(number)
        if one is not None and one.pruned and uid in one.pending:
            return [uid]  # it had not begun when the decision was sent
        if one is None or uid not in one.pending or not is_number(value) or (uid, iteration) in self._seen:
            return []
        because = self._judge(number, uid, iteration, float(value))
        self._ledger.judged(uid, iteration, float(value), because)
        if not because:
            return []
        one.pruned = because
        return list(one.pending)

    def _judge(self, number: int, uid: str, iteration: int, value: float) -> str | None:
        assert self._pruner is not None
        self._seen.add((uid, iteration))
        self._open[number].judged[uid] = value
        repeat = self.plan.uids(number).index(uid)
        return self._pruner.judge(number, repeat, iteration, value)


def _check_paths(paths: Collection[str], base: Use, check: Check) -> None:
    """Check that the configuration has the keys that are searched; one below another is a condition of its values.

    Raises:
        UnknownName: It lacks one; all are reported.
    """
    try:
        config = check(base).definition.config
    except MachinableError as error:
        if all(isinstance(one, MissingKey) and (one.path in paths or "~" in paths) for one in error.parts):
            return  # each sample gives these values, and `class Config`, which needs them, refuses unknown keys
        raise
    if not config:  # of a function or class that is not declared, whose keys are those that are given
        return
    errors: list[MachinableError] = []
    for path in paths:
        parts = path.split(".")
        if path == "~" or any(".".join(parts[:count]) in paths for count in range(1, len(parts))):
            continue
        if look(config, tuple(parts)) is MISSING:
            errors.append(
                UnknownName(
                    "key",
                    path,
                    list(dict.fromkeys([*flatten(config), *config])),
                    path=f"space.{path}",
                    at=base.at,
                    details=[f"{base.component} does not declare it"],
                )
            )
    SeveralErrors.raise_any(errors)


def _no_field(what: str, given: str) -> UnknownName:
    known = ("records.loss.last", "result", "result.loss", "seconds")
    return UnknownName("field", given, known, path=what, todo="Give a field of trials, such as records.loss.last.")


def _simple(metric: str, outcome: Outcome) -> Any:
    """Return the metric of a trial that has just finished, if that is known without reading its files."""
    head, _, rest = metric.partition(".")
    if head == "records":
        column = rest.removesuffix(".last")
        return MISSING if "." in column else (outcome.record or {}).get(column, MISSING)
    if head == "result":
        value = look(outcome.result, tuple(rest.split("."))) if rest else outcome.result
        return value if is_number(value) else MISSING
    return MISSING


def _stop_of(stop: Any, metric: str, mode: str) -> Callable[[Trial], bool] | None:
    """Return whether a trial satisfies `stop`, as a function.

    Raises:
        UnknownName: It names a field that does not exist.
        InvalidValue: It is a condition that does not parse.
    """
    if stop is None or callable(stop):
        return stop  # type: ignore[no-any-return]
    if isinstance(stop, Mapping):
        conditions = [
            Condition(field, "<=" if field == metric and mode == "min" else ">=", value)
            for field, value in stop.items()
        ]
    else:
        conditions = list(parse(stop))
    fields: list[tuple[Condition, Field]] = []
    for one in conditions:
        field = find_field(one.field)
        if field is None:
            raise _no_field("stop", one.field)
        fields.append((one, field))

    known: set[str] = set()  # fields that a trial has had

    def stops(trial: Trial) -> bool:
        values = [field.of(trial) for _, field in fields]
        known.update(one.field for (one, _), value in zip(fields, values, strict=True) if value is not MISSING)
        for one, _ in fields:
            if one.field not in known:
                raise UnknownName(
                    "field",
                    one.field,
                    [name for name in known_fields([trial]) if name.startswith(("records.", "result"))],
                    path="stop",
                    details=[f"the trial {trial.uid} has finished without it, so the search would not stop"],
                )
        pairs = zip(fields, values, strict=True)
        return all(satisfied(one, [value], is_time=field.is_time)[0] for (one, field), value in pairs)

    return stops
