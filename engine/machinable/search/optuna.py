"""Samplers and pruners of Optuna, asked and answered without its loop, its log and its storages.

The methods are described in Optuna's documentation: TPE, CMA-ES, Gaussian processes, NSGA-II, quasi-Monte Carlo.
"""

from __future__ import annotations

import importlib
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from inspect import isclass, signature
from types import ModuleType
from typing import Any

from machinable.errors import ImportFailed, InvalidValue, MachinableError, UnknownName
from machinable.factories import check_options
from machinable.search.domains import Domain, Number
from machinable.search.sample import Mode, Sample
from machinable.search.space import Space

__all__ = [
    "OptunaPruner",
    "OptunaSampler",
    "distribution",
    "finite",
    "import_optuna",
    "is_of_optuna",
    "make",
    "parameters",
    "quiet",
    "study",
]

_NEEDS = {
    "cmaes": ("cmaes",),
    "gp": ("torch", "scipy"),
    "qmc": ("scipy",),
    "wilcoxon": ("scipy",),
}
# They call `Study.stop` at their end, which works only in the loop of Optuna; `grid` does what they do
_LOOPS = frozenset({"bruteforce", "grid"})
_NOT_NAMED = _LOOPS | {"partialfixed"}  # it takes a sampler, so that only an object can be given
_IN_EXTRA = frozenset({"optuna", "cmaes", "scipy", "sklearn"})


def import_optuna(*more: str) -> ModuleType:
    """Import Optuna, and further libraries that what is asked for needs.

    Raises:
        ImportFailed: One of them is not installed.
    """
    for name in ("optuna", *more):
        try:
            importlib.import_module(name)
        except ImportError as error:
            if sys.modules.get(name) is not None or (error.name or name).partition(".")[0] != name:
                raise
            install = "'machinable-engine[tune]'" if name in _IN_EXTRA else name
            raise ImportFailed(
                f"{'Optuna' if name == 'optuna' else name} is not installed",
                given=name,
                todo=f"Install it: pip install {install}",
            ) from None
    return sys.modules["optuna"]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log lines and its warnings about experimental classes back."""
    optuna = import_optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def is_of_optuna(kind: str, value: Any) -> bool:
    """Return whether a value is a sampler or a pruner of Optuna, without importing it."""
    if "optuna" not in sys.modules:
        return False
    optuna = import_optuna()
    base = optuna.samplers.BaseSampler if kind == "sampler" else optuna.pruners.BasePruner
    if isinstance(value, base) and type(value) in [_classes(kind, getattr(optuna, f"{kind}s")).get(n) for n in _LOOPS]:
        name = type(value).__name__
        raise InvalidValue(f"{name} works only in the loop of Optuna", given=name, todo='Write sampler="grid".')
    return isinstance(value, base)


def make(kind: str, name: str, options: Mapping[str, Any], ours: Sequence[str], seed: int | None = None) -> Any:
    """Return the sampler or the pruner with a name.

    Args:
        kind: "sampler" or "pruner".
        name: The name of its class in lower case without the kind, such as "tpe".
        options: What it is called with.
        ours: The names that need no Optuna, for messages.
        seed: Its seed, if it takes one and the options have none.

    Raises:
        ImportFailed: Optuna, or a library that this one needs, is not installed.
        UnknownName: There is none with this name.
        InvalidValue: It does not take these options.
    """
    try:
        optuna = import_optuna()
    except ImportFailed as error:
        error.message = f"the {kind} {name!r} needs Optuna, which is not installed"
        error.todo = f"{error.todo}; without it: {', '.join(ours)}."
        raise
    classes = _classes(kind, getattr(optuna, f"{kind}s"))
    known = name.replace("-", "").replace("_", "")
    if known not in classes or known in _NOT_NAMED:
        raise UnknownName(kind, name, [*ours, *(n for n in classes if n not in (*ours, *_NOT_NAMED))])
    try:
        import_optuna(*_NEEDS.get(known, ()))
    except ImportFailed as error:
        error.message = f"the {kind} {name!r} needs {error.given}, which is not installed"
        raise
    check_options(classes[known], f"the {kind} {name!r}", options)
    options = dict(options)
    if seed is not None and "seed" in signature(classes[known]).parameters:
        options.setdefault("seed", seed % 2**32)
    try:
        with quiet():
            return classes[known](**options)
    except Exception as error:
        message = f"the {kind} {name!r} of Optuna does not take {options!r}: {error}"
        raise InvalidValue(message, given=options, todo=f"See optuna.{kind}s.{classes[known].__name__}.") from error


def _classes(kind: str, module: ModuleType) -> dict[str, Callable[..., Any]]:
    end = kind.capitalize()
    found = {
        name: getattr(module, name) for name in module.__all__ if name.endswith(end) and not name.startswith("Base")
    }
    return {name.removesuffix(end).lower(): value for name, value in found.items() if isclass(value)}


def study(mode: Mode, sampler: Any = None, pruner: Any = None) -> Any:
    """Return a study in memory, whose name does not vary since some pruners draw from it."""
    optuna = import_optuna()
    with quiet():
        return optuna.create_study(
            direction="minimize" if mode == "min" else "maximize",
            sampler=sampler if sampler is not None else optuna.samplers.RandomSampler(seed=0),
            pruner=pruner if pruner is not None else optuna.pruners.NopPruner(),
            study_name="search",
        )


def distribution(domain: Domain) -> Any:
    """Return the distribution of what `Space.draw` picks: for steps and choices, that of their numbers."""
    distributions = import_optuna().distributions
    if not isinstance(domain, Number):
        return distributions.CategoricalDistribution(range(len(domain.options)))
    if domain.step is not None:
        assert domain.count is not None
        return distributions.IntDistribution(0, domain.count - 1)
    if domain.is_whole:
        return distributions.IntDistribution(int(domain.low), int(domain.high), log=domain.is_logarithmic)
    return distributions.FloatDistribution(float(domain.low), float(domain.high), log=domain.is_logarithmic)


def parameters(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a trial of Optuna for the values of a sample."""
    return {
        name: round((pick - domain.low) / domain.step) if isinstance(domain, Number) and domain.step else pick
        for name, pick in space.picks(values).items()
        for domain in (space.settings[name],)
    }


def finite(value: float, mode: Mode) -> float:
    """Return a value that Optuna compares: NaN, which it takes for a failure, is the worst one."""
    return (math.inf if mode == "min" else -math.inf) if math.isnan(value) else value


class OptunaSampler:
    """Ask and tell a sampler of Optuna."""

    def __init__(self, sampler: Any, space: Space, mode: Mode, name: str) -> None:
        self._study = study(mode, deepcopy(sampler))  # what it learns in one search is not known in the next one
        self._space = space
        self._mode = mode
        self._name = name
        self._asked: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._distributions = {path: distribution(domain) for path, domain in space.settings.items()}

    def ask(self, number: int) -> dict[str, Any] | None:
        """Return the values of the sample with a number.

        Raises:
            InvalidValue: The sampler raises an error.
        """
        with quiet(), self._failures(f"asked for sample {number}"):
            trial = self._study.ask()

            def pick(name: str, domain: Domain) -> Any:
                found = self._distributions[name]
                if not isinstance(domain, Number):
                    return trial.suggest_categorical(name, found.choices)
                if domain.is_whole or domain.step is not None:
                    value = trial.suggest_int(name, found.low, found.high, log=found.log)
                    return domain.at(value) if domain.step is not None else value
                return trial.suggest_float(name, found.low, found.high, log=found.log)

            values = self._space.draw(pick)
        self._asked[number] = trial, values
        return values

    def tell(self, sample: Sample, value: float | None) -> None:
        """Pass a result on. A sample with other values than the sampler answered counts in place of that one.

        Raises:
            InvalidType, InvalidValue: The sample is not in the space, or the sampler raises an error.
        """
        state = import_optuna().trial.TrialState
        trial, values = self._asked.pop(sample.number, (None, None))
        outcome = {"state": state.FAIL} if value is None else {"values": finite(value, self._mode)}
        with quiet(), self._failures(f"given the result {value!r} of sample {sample.number}"):
            if trial is not None and values == sample.values:
                self._study.tell(trial, **outcome)
                return
            if trial is not None:
                self._study.tell(trial, state=state.FAIL)
            params = parameters(self._space, self._space.read(sample.values))
            self._study.add_trial(
                import_optuna().create_trial(
                    state=state.FAIL if value is None else state.COMPLETE,
                    value=None if value is None else finite(value, self._mode),
                    params=params,
                    distributions={name: self._distributions[name] for name in params},
                )
            )

    @contextmanager
    def _failures(self, when: str) -> Iterator[None]:
        try:
            yield
        except MachinableError:
            raise
        except Exception as error:
            raise InvalidValue(
                f"the sampler {self._name!r} of Optuna raises {type(error).__name__} when {when}: {error}",
                given=self._name,
                todo="See its options in the documentation of Optuna, or choose another one.",
            ) from error


class OptunaPruner:
    """Ask a pruner of Optuna: one study for each repetition, one of its trials for each of ours."""

    def __init__(self, pruner: Any, mode: Mode, name: str) -> None:
        self._pruner = pruner
        self._mode: Mode = mode
        self._name = name
        self._studies: dict[int, Any] = {}
        self._trials: dict[int, dict[int, Any]] = {}  # by sample and repetition

    def judge(self, sample: int, repeat: int, iteration: int, value: float) -> str | None:
        """Return why a trial does not go on, None if it does.

        Raises:
            InvalidValue: The pruner raises an error.
        """
        try:
            with quiet():
                if repeat not in self._studies:
                    self._studies[repeat] = study(self._mode, pruner=deepcopy(self._pruner))
                trials = self._trials.setdefault(sample, {})
                if repeat not in trials:
                    trials[repeat] = self._studies[repeat].ask()
                trials[repeat].report(finite(value, self._mode), iteration)
                pruned = trials[repeat].should_prune()
        except Exception as error:
            raise InvalidValue(
                f"the pruner {self._name!r} of Optuna raises {type(error).__name__} at iteration {iteration} of sample "
                f"{sample}: {error}",
                given=self._name,
                todo="See its options in the documentation of Optuna, or choose another one.",
            ) from error
        return f"{self._name}: {value:.6g} at iteration {iteration}" if pruned else None

    def end(self, sample: int, value: float | None) -> None:
        """Let the trials of a sample count as complete, with which some pruners compare others."""
        state = import_optuna().trial.TrialState
        with quiet():
            for repeat, trial in self._trials.pop(sample, {}).items():
                if value is None:
                    self._studies[repeat].tell(trial, state=state.FAIL)
                else:
                    self._studies[repeat].tell(trial, finite(value, self._mode))
