"""Searches by Ray Tune: what it is asked for, checked before; and how it is made to search quietly."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import fields
from datetime import timedelta
from typing import Any, NamedTuple

from ray import tune
from ray.tune.result import DONE, EPISODES_TOTAL, TIME_THIS_ITER_S, TIME_TOTAL_S, TIMESTEPS_TOTAL, TRAINING_ITERATION
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import SearchAlgorithm, Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.variant_generator import generate_variants

from machinable.engines.base import Alarm, Movable, OnProgress, Sampling, StorageTransfer
from machinable.engines.processes.pool import Scratch
from machinable.engines.ray.leader import Enough, Leader
from machinable.engines.ray.sample import Desk, Party, Sample
from machinable.errors import InvalidType, InvalidValue, Refused, UnknownName
from machinable.plan.request import Tuning

__all__ = ["Desk", "Party", "Wanted", "check", "columns_of", "first_values", "search"]

SHOWN = 400  # characters of what Ray Tune says
LONG = 10**7  # seconds that Ray Tune gives a sample to end; it has work to do then

_SETTINGS = {field.name for field in fields(tune.TuneConfig)} - {"num_samples", "chdir_to_trial_dir"}
_KINDS: dict[str, tuple[type[Any], ...]] = {
    "scheduler": (TrialScheduler, str),
    "search_alg": (SearchAlgorithm, Searcher, str),
    "time_budget_s": (int, float, timedelta),
    "max_concurrent_trials": (int,),
    "reuse_actors": (bool,),
}
_FILLED = {
    DONE,
    TRAINING_ITERATION,
    TIME_TOTAL_S,
    TIME_THIS_ITER_S,
    TIMESTEPS_TOTAL,
    EPISODES_TOTAL,
    "timestamp",
    "iterations_since_restore",
    "time_since_restore",
    "pid",
    "date",
    "hostname",
    "node_ip",
    "trial_id",
}
_RUN = {field.name for field in fields(tune.RunConfig)} - {"stop", "local_dir"}


class Wanted(NamedTuple):
    """A search over the configuration of one trial.

    Attributes:
        tuning: as it was asked for. seed: of what is drawn if no searcher is given. resources: as Ray calls them.
        retries: how often a sample that failed is tried again. stops: whether none begins after one has failed.
    """

    tuning: Tuning
    seed: int
    resources: Mapping[str, float]
    retries: int
    stops: bool


def check(tuning: Tuning) -> None:
    """See that Ray Tune knows the options.

    Raises:
        UnknownName, InvalidValue: it does not, or they are for others to set.
    """
    for name in tuning.options:
        if name not in _SETTINGS | _RUN:
            raise UnknownName("option of Task.tune", name, sorted(_SETTINGS | _RUN | {"stop", "config", "num_samples"}))
    for name, kinds in _KINDS.items():
        given = tuning.options.get(name)
        if given is not None and not isinstance(given, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds if kind is not str)
            raise InvalidType(f"{name} of Task.tune is {given!r}", given=given, todo=f"Give {wanted}.")
    mode = tuning.options.get("mode")
    if mode not in (None, "min", "max"):
        raise InvalidValue(
            f"mode of Task.tune is {mode!r}", given=mode, known=("min", "max"), todo="It is 'min' or 'max'."
        )
    try:
        with tempfile.TemporaryDirectory(prefix="machinable-") as directory:
            settings, run = _configs(Wanted(tuning, 0, {}, 0, False), directory)
            run.storage_path = directory
            tune.Tuner(Sample, param_space=dict(tuning.config), tune_config=settings, run_config=run)
    except Exception as error:  # searchers and schedulers are code of others
        raise InvalidValue(
            f"Ray Tune does not take this: {_line(error)}",
            given=sorted(tuning.options),
            todo="The options of Task.tune are those of ray.tune.TuneConfig and ray.tune.RunConfig.",
        ) from error


def columns_of(tuning: Tuning) -> tuple[str, ...]:
    """The columns that Ray Tune looks at, of those that it does not fill itself."""
    stops = tuning.stop if isinstance(tuning.stop, Mapping) else {}
    names = [*stops, *[name for name in (tuning.options.get("metric"),) if name is not None]]
    return tuple(name for name in names if name not in _FILLED and "/" not in name)


def first_values(tuning: Tuning, seed: int) -> dict[str, Any]:
    """The values of one sample, such as Ray Tune draws them.

    Raises:
        InvalidValue: it can draw none from what is given.
    """
    try:
        for _, drawn in generate_variants({"config": dict(tuning.config)}, random_state=seed % 2**32):
            return dict(drawn["config"])
    except Exception as error:  # what is sampled may be a function of the user
        raise InvalidValue(
            f"nothing can be sampled: {_line(error.__cause__ or error.__context__ or error)}",
            given=sorted(tuning.config),
            path="config of Task.tune",
            todo="Give values, or distributions of Ray Tune such as tune.loguniform(1e-4, 1e-1).",
        ) from error
    return {}


def _configs(wanted: Wanted, directory: str) -> tuple[tune.TuneConfig, tune.RunConfig]:
    """What is said to Ray Tune; what the user has said counts."""
    options = wanted.tuning.options
    settings = {name: value for name, value in options.items() if name in _SETTINGS}
    run = {name: value for name, value in options.items() if name in _RUN}
    settings.setdefault("reuse_actors", True)  # to start one takes seconds
    if settings.get("search_alg") is None:
        at_once = settings.pop("max_concurrent_trials", None) or 0
        settings["search_alg"] = BasicVariantGenerator(max_concurrent=at_once, random_state=wanted.seed % 2**32)
    failing = tune.FailureConfig(max_failures=wanted.retries)
    defaults = {
        "storage_path": directory,
        "name": "search",
        "verbose": 0,
        "failure_config": failing,
        "checkpoint_config": tune.CheckpointConfig(checkpoint_at_end=False),  # the trial's own are what counts
    }
    return (
        tune.TuneConfig(**settings, num_samples=wanted.tuning.num_samples),
        tune.RunConfig(**{**defaults, **run}, stop=wanted.tuning.stop),
    )


def search(
    wanted: Wanted,
    party: Party,
    work: Movable,
    sampling: Sampling,
    alarm: Alarm,
    depot: StorageTransfer | None,
    on_progress: OnProgress | None,
) -> None:
    """Let Ray Tune search.

    Args:
        sampling: makes the trials and writes down what becomes of them. depot: the storage, for samples that do not
            reach it. alarm: is asked all the time.

    Raises:
        KeyboardInterrupt: all samples have ended. Refused: Ray Tune gave up, with its reason.
        Exception: whatever `sampling` raises; samples that ran were interrupted.
    """
    leader = Leader(party, work, sampling, alarm, depot, on_progress, wanted.stops)
    with closing(Scratch()) as scratch, _quiet_tune(wanted.tuning):
        settings, run = _configs(wanted, scratch.path)
        run.callbacks = [*(run.callbacks or ()), leader]
        occupied = tune.PlacementGroupFactory([dict(wanted.resources)])
        samples = tune.with_resources(tune.with_parameters(Sample, party=party), occupied)
        try:
            tune.Tuner(samples, param_space=dict(wanted.tuning.config), tune_config=settings, run_config=run).fit()
        except Exception as error:
            if leader.problem is None:
                leader.break_off()
                raise Refused(f"Ray Tune gave up the search: {_line(error)}", given=str(wanted.tuning.stop)) from error
            if not isinstance(leader.problem, Enough):
                raise leader.problem from None
        leader.close()


@contextmanager
def _quiet_tune(tuning: Tuning) -> Iterator[None]:
    """Ray Tune neither prints nor writes what nobody asked for, and leaves Ctrl-C alone."""
    wanted = {
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_FORCE_TRIAL_CLEANUP_S": str(LONG),
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    }
    logger = logging.getLogger("ray.tune")
    level = logger.level
    if not tuning.options.get("verbose"):
        wanted["RAY_AIR_NEW_OUTPUT"] = "0"  # the new one is never quite silent
        logger.setLevel(logging.CRITICAL)  # what fails is told by us
    if "storage_path" not in tuning.options:
        wanted["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # into a directory that will be gone
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update({name: value for name, value in wanted.items() if before[name] is None})
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGUSR1) if is_main and hasattr(signal, "SIGUSR1") else None
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
        if handler is not None:
            signal.signal(signal.SIGUSR1, handler)  # Ray Tune has taken it


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}"[:SHOWN] if lines else type(error).__name__
