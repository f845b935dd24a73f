"""Searches: plan, ledger and folders of an execution grow while an engine tries out samples of a configuration."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from machinable.component.base import Component, overrides
from machinable.component.imports import importing, load_component
from machinable.engines.base import Alarm, Engine, Sampling, Searcher, Work, WorkerLost
from machinable.errors import InvalidType, InvalidValue, Refused
from machinable.execution.attempts import outcome_left, outcome_without, set_aside, write_end
from machinable.execution.directory import extend_plan
from machinable.execution.ledger import Journal
from machinable.execution.preflight import preflight
from machinable.execution.scheduler import Policy
from machinable.execution.worker_task import WorkerTask
from machinable.plan.plan import Plan, Use
from machinable.plan.request import Tuning
from machinable.plan.samples import Samples, expected_samples, grid_of
from machinable.plan.spec import Outcome, Retries, Target, TrialSpec
from machinable.plan.task import Task
from machinable.project import Project
from machinable.serialization import Plain, dumps
from machinable.storage.files import Files

__all__ = ["Search", "cannot_go_on", "refuse_search"]

SHOWN = 200  # characters of the versions
ANSWER = 0.1  # seconds until an interrupt is answered


def refuse_search(task: Task, tuning: Tuning, engine: Engine, function: Callable[..., Any] | None) -> None:
    """See that a task that is tuned can be.

    Raises:
        Refused: the engine does not search. InvalidType: a function runs.
    """
    if not isinstance(engine, Searcher):
        raise Refused(
            f"the engine {engine.name!r} does not search as Task.tune wants it; the engine 'ray' does",
            given=engine.name,
            todo=_as_versions(task, tuning) or "Use engine='ray'.",
        )
    if function is not None:
        raise InvalidType(
            "a function in place of the components has no iterations for Task.tune to stop",
            given=function,
            todo="Write a component with on_execute_iteration.",
        )


def cannot_go_on() -> Refused:
    """Why a search is not resumed."""
    return Refused(
        "a search does not go on where it was: Ray Tune would have to know what it has seen",
        todo="Execute the task again. With the same seed, samples that Ray Tune draws by itself are the same.",
    )


def _as_versions(task: Task, tuning: Tuning) -> str | None:
    """How to run the same without a search: a grid as versions; None if anything is drawn."""
    choices = []
    for key, value in tuning.config.items():
        grid = grid_of(value)
        if grid is not None:
            choices.append([(key, one) for one in grid])
        elif isinstance(value, (bool, int, float, str, type(None))):
            choices.append([(key, value)])
        else:
            return None
    versions = [dict(one) for one in product(*choices)]
    text = repr(versions)
    if len(text) > SHOWN:
        text = f"{text[:SHOWN]}… ({len(versions)} of them)"
    name = task.calls[0].name if task.calls and isinstance(task.calls[0].name, str) else "NAME"
    times = f".repeat({tuning.num_samples})" if tuning.num_samples > 1 else ""
    return f"Use engine='ray'; or, as versions: .component({name!r}, {text}){times}"


@dataclass
class _Sample:
    """A sample: its last attempt, or what is planned of it as attempt 0, and of which values."""

    spec: TrialSpec
    values: str


class Search:
    """The searches of one execution: one for each trial that its task lists.

    Args:
        plan: of the task, checked. project: where it was planned. live: classes that are at hand. policy: for failures.

    Attributes:
        required: the plan of what runs before.

    Raises:
        ConfigurationError, Refused, UsageError: a sample could not be made, or run.
    """

    def __init__(
        self, plan: Plan, project: Project, engine: Engine, live: Mapping[Target, Any], policy: Policy
    ) -> None:
        assert plan.wish.tuning is not None
        assert isinstance(engine, Searcher)
        self._tuning = plan.wish.tuning
        self._engine = engine
        self._live = live
        self._policy = policy
        self._samples = Samples(plan, project)
        self.required = self._samples.required
        self._check(plan)

    @property
    def expected(self) -> int:
        """How many trials there will be, if Ray Tune is left to itself."""
        each = expected_samples(self._tuning.config, self._tuning.num_samples)
        return len(self.required) + len(self._samples.origins) * each

    def _check(self, plan: Plan) -> None:
        if self._policy.timeout is not None:
            raise Refused(
                "a search takes no timeout of trials",
                given=self._policy.timeout,
                todo="Let Ray Tune stop samples: .tune(stop={'time_total_s': …}).",
            )
        for use in {origin.component: origin for origin in self._samples.origins}.values():
            with importing(plan.project):
                code = self._live.get(use.target) or load_component(use.target, plan.project)
            if not (isinstance(code, type) and issubclass(code, Component) and overrides(code, "on_execute_iteration")):
                raise InvalidValue(
                    f"{use.component} has no on_execute_iteration, so there is nothing that Task.tune could stop",
                    given=use.component,
                    todo="Write one iteration in it, and save its numbers with self.record.",
                )
        for origin in self._samples.origins:
            self._retries(origin)
        values = self._engine.check_search(self._tuning, plan.seed)
        for origin in self._samples.origins:
            self._use(origin, values)
        for text in self._samples.warnings:
            warnings.warn(text, UserWarning, stacklevel=2)

    def _retries(self, origin: TrialSpec) -> int:
        rule = origin.retries or Retries(self._policy.retries, self._policy.retry_delay)
        if rule.count and (rule.delay or rule.on):
            raise Refused(
                "Ray Tune tries samples again at once and after every error, so a delay and a choice of errors have "
                "no meaning here",
                given=rule,
                todo="Leave them out, or give failure_config= to Task.tune.",
            )
        return rule.count

    def _use(self, origin: TrialSpec, values: Mapping[str, Any]) -> Use:
        """The component of a sample, checked as a whole plan is."""
        use = self._samples.use(origin, values)
        alone = replace(self.required, uses=(replace(use, requires={}),), rows=())
        use = replace(preflight(alone, self._live).uses[0], requires=use.requires)
        if dict(use.resources) != dict(origin.resources):
            raise Refused(
                f"the resources of {origin.component} are sampled: {dumps(dict(use.resources))} in place of "
                f"{dumps(dict(origin.resources))}",
                given=dict(values),
                todo="Let them not depend on what is sampled: all samples occupy the same.",
            )
        return use

    def run(
        self,
        work: WorkerTask,
        journal: Journal,
        files: Files,
        folder: str,
        placed: Callable[[TrialSpec], TrialSpec | None],
        alarm: Alarm,
    ) -> None:
        """Search, one trial of the task after the other.

        Args:
            work: what is done for a trial. placed: a trial with the places of what it requires, None if it has none.

        Raises:
            KeyboardInterrupt: everything is written. Refused: the engine gave up.
        """
        led = replace(work, is_led=True)
        stops = self._policy.on_failure == "stop"
        for origin in self._samples.origins:
            if placed(origin) is None:
                journal.notice(f"{origin.component} is not searched: what it requires has failed")
                continue
            books = _Books(self, origin, journal, files, folder, placed)
            self._engine.search(led, self._tuning, origin, self._retries(origin), stops, books, alarm)
            books.close(self._engine, work, alarm)
            if stops and journal.counts["failed"]:
                return

    def sample(self, origin: TrialSpec, number: int, values: Mapping[str, Any], index: int) -> TrialSpec:
        """One sample as a trial."""
        return self._samples.trial(self._use(origin, values), origin, number, values, index, self.expected)


class _Books(Sampling):
    """Makes trials of the samples of one search, and writes down what becomes of them."""

    def __init__(
        self,
        search: Search,
        origin: TrialSpec,
        journal: Journal,
        files: Files,
        folder: str,
        placed: Callable[[TrialSpec], TrialSpec | None],
    ) -> None:
        self._search = search
        self._origin = origin
        self._journal = journal
        self._files = files
        self._folder = folder
        self._placed = placed
        self._first = journal.planned  # samples have their places in the plan from there on
        self._samples: dict[int, _Sample] = {}
        self._unfinished: list[int] = []

    def plans(self, number: int, values: Mapping[str, Any]) -> None:
        spec = self._made(number, values)
        extend_plan(self._files, self._folder, spec)
        self._journal.joined()
        self._samples[number] = _Sample(replace(spec, attempt=0), _told(values))

    def begins(self, number: int, values: Mapping[str, Any]) -> TrialSpec:
        known, text = self._samples[number], _told(values)
        facts: dict[str, Plain] = {}
        spec = known.spec
        if text != known.values:  # a scheduler has other ideas by now
            spec = replace(self._made(number, values), attempt=spec.attempt)
            facts["values"] = (spec.sample or {})["values"]
        if spec.attempt:
            set_aside(self._files, self._folder, spec.uid, spec.attempt)
        spec = replace(spec, attempt=spec.attempt + 1)
        self._samples[number] = _Sample(spec, text)
        self._journal.started(spec, **facts)
        placed = self._placed(spec)
        assert placed is not None
        return placed

    def _made(self, number: int, values: Mapping[str, Any]) -> TrialSpec:
        return self._search.sample(self._origin, number, values, self._first + number)

    def ends(self, spec: TrialSpec, future: Future[Outcome], again: bool) -> None:
        problem = future.exception()
        if isinstance(problem, KeyboardInterrupt):
            write_end(self._files, self._folder, spec, "interrupted", None)
            self._journal.interrupted(spec)
            return
        if problem is None:
            outcome = future.result()
        else:
            left = None
            if isinstance(problem, WorkerLost):  # it may have been lost when the trial was over
                left = outcome_left(self._files, self._folder, spec.uid, spec.attempt)
            outcome = left or outcome_without(self._files, self._folder, spec, problem)
        if outcome.state == "interrupted":  # it is over, and not in the storage
            self._journal.lost(spec)
        elif outcome.error is None:
            self._journal.finished(spec, outcome)
        else:
            self._journal.failed(spec, outcome, again)

    def pauses(self, spec: TrialSpec) -> None:
        self._journal.paused(spec)

    def finishes(self, number: int) -> None:
        self._unfinished.append(number)

    def close(self, engine: Any, work: Work, alarm: Alarm) -> None:
        """Let samples that were stopped while they were set aside come to their end, without a further iteration."""
        for sample in self._samples.values():
            if not sample.spec.attempt:
                self._journal.skipped(sample.spec, "the search was over")
        for number in self._unfinished:
            spec = self._samples[number].spec
            aside = set_aside(self._files, self._folder, spec.uid, spec.attempt)
            spec = replace(spec, attempt=spec.attempt + 1, resume_from=aside)
            self._journal.started(spec)
            future = engine.submit(work, self._placed(spec))
            try:
                while not wait([future], timeout=ANSWER).done:
                    alarm.answer()
            except KeyboardInterrupt:
                engine.end(future)
                self.ends(spec, _interrupted(), False)
                raise
            self.ends(spec, future, False)


def _interrupted() -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_exception(KeyboardInterrupt())
    return future


def _told(values: Mapping[str, Any]) -> str:
    return repr(sorted(values.items()))
