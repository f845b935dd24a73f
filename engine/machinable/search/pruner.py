"""Pruners, which end trials early that are worse than others at the same iteration: median, ASHA, those of Optuna."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from inspect import isclass
from statistics import median
from typing import Any, Protocol

from machinable.errors import InvalidType, InvalidValue
from machinable.factories import check_options
from machinable.search.sample import Mode, check_mode
from machinable.search.sampler import name_and_options

__all__ = ["Pruner", "make_pruner"]


class Pruner(Protocol):
    """What ends trials early. What it answers depends only on the calls before, in their order.

    A trial is compared with those of the same repetition only: their seeds are paired over samples, so that they differ
    in their settings, not in their luck.
    """

    def judge(self, sample: int, repeat: int, iteration: int, value: float) -> str | None:
        """Return why a trial does not go on, None if it does.

        Args:
            sample: The number of its sample.
            repeat: The number of the repetition of the sample.
            iteration: How many iterations it has run, from 1.
            value: The metric after this iteration; NaN counts as the worst value.
        """
        ...

    def end(self, sample: int, value: float | None) -> None:
        """Hear that a sample has ended, with its value, or None if it failed."""
        ...


def make_pruner(prune: Any, mode: Mode) -> Pruner | None:
    """Return a pruner.

    Args:
        prune: None, "median", "asha", the name of one of Optuna's ("hyperband", "percentile", "patient", "threshold",
            "wilcoxon", …), a mapping from a name to options (`{"asha": {"reduction": 4}}`), or a pruner of Optuna.
        mode: Whether less ("min") or more ("max") is better.

    Raises:
        InvalidType, InvalidValue, UnknownName: There is no such pruner, or it does not take these options.
        ImportFailed: Optuna is not installed.
    """
    mode = check_mode(mode)
    if prune is None:
        return None
    if isinstance(prune, (str, Mapping)):
        name, options = name_and_options("pruner", prune)
        if name in _OURS:
            check_options(_OURS[name], f"the pruner {name!r}", options)
            return _Signed(_OURS[name](**options), mode)
        from machinable.search.optuna import OptunaPruner, make

        return OptunaPruner(make("pruner", name, options, tuple(_OURS)), mode, name)
    from machinable.search.optuna import OptunaPruner, is_of_optuna

    if is_of_optuna("pruner", prune):
        return OptunaPruner(prune, mode, type(prune).__name__)
    if isclass(prune):
        todo = f"Write {prune.__name__}(…)."
        raise InvalidType(f"the pruner {prune.__name__} is a class, not an object", given=prune, todo=todo)
    todo = 'Give None, "median", "asha", the name of one of Optuna\'s, or a pruner of Optuna.'
    raise InvalidType(f"{prune!r} is not a pruner", given=prune, todo=todo)


class _Signed:
    """Turn values around so that less is better; NaN is the worst."""

    def __init__(self, pruner: Median | Asha, mode: Mode) -> None:
        self._pruner = pruner
        self._sign = 1 if mode == "min" else -1

    def judge(self, sample: int, repeat: int, iteration: int, value: float) -> str | None:
        """Return why a trial does not go on, None if it does."""
        worse = math.inf if math.isnan(value) else self._sign * value
        because = self._pruner.judge(sample, repeat, iteration, worse)
        return None if because is None else f"{self._pruner.name}: {value:.6g} at iteration {iteration} {because}"

    def end(self, sample: int, value: float | None) -> None:
        """Ignore ends."""


class Median:
    """Prune trials whose best value is worse than the median of the others' running means at the same iteration.

    The median stopping rule of Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017,
    section 3.2.2, except that others count when they have reached the iteration, whether they have finished or not.

    Args:
        first: The first iteration at which trials are pruned.
        others: How many others must have reached an iteration before trials are pruned there.
    """

    name = "median"

    def __init__(self, first: int = 1, others: int = 5) -> None:
        self._first = _whole("median", "first", first, 1)
        self._others = _whole("median", "others", others, 1)
        # By repetition and sample: its iterations, and the running mean and the best value at each
        self._curves: dict[int, dict[int, _Curve]] = {}

    def judge(self, sample: int, repeat: int, iteration: int, value: float) -> str | None:
        """Return why a trial does not go on, None if it does; less is better."""
        curves = self._curves.setdefault(repeat, {})
        own = curves.setdefault(sample, _Curve())
        own.add(iteration, value)
        if iteration < self._first:
            return None
        others = [
            mean for other, curve in curves.items() if other != sample and (mean := curve.at(iteration)) is not None
        ]
        if len(others) < self._others or not own.best > median(others):
            # Without comparable others, a trial whose values are all NaN goes on as any other
            return None
        return f"is worse than the median of {len(others)} others"


class _Curve:
    """The running mean of the values of a trial by iteration, and the best one."""

    def __init__(self) -> None:
        self.best = math.inf
        self._sum = 0.0
        self._iterations: list[int] = []
        self._means: list[float] = []

    def add(self, iteration: int, value: float) -> None:
        from bisect import bisect_left

        if self._iterations and iteration <= self._iterations[-1]:  # again, after a resumption from a checkpoint
            keep = bisect_left(self._iterations, iteration)
            del self._iterations[keep:], self._means[keep:]
            self._sum = self._means[-1] * keep if keep else 0.0
        self.best = min(self.best, value)
        self._sum += value
        self._iterations.append(iteration)
        self._means.append(self._sum / len(self._iterations))

    def at(self, iteration: int) -> float | None:
        """Return the mean of the values up to an iteration, None if the trial has not reached it."""
        from bisect import bisect_right

        if not self._iterations or self._iterations[-1] < iteration:
            return None
        index = bisect_right(self._iterations, iteration) - 1
        return self._means[index] if index >= 0 else None


class Asha:
    """Let only the best 1/reduction of the trials pass each of the iterations first, first x reduction, ….

    Asynchronous successive halving of Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020,
    in its variant that stops trials: each is compared with those that have come to the iteration before it, at once, so
    that no worker waits. The first to come passes, and so does every one that is better than all before.

    Args:
        reduction: The share that passes is 1/reduction.
        first: The first iteration at which trials are pruned.
    """

    name = "asha"

    def __init__(self, reduction: float = 3, first: int = 1) -> None:
        if isinstance(reduction, bool) or not isinstance(reduction, (int, float)) or not 1 < reduction < math.inf:
            todo = "Give a number greater than 1, such as 3."
            raise InvalidValue(f"reduction of the pruner 'asha' is {reduction!r}", given=reduction, todo=todo)
        self._reduction = reduction
        self._first = _whole("asha", "first", first, 1)
        self._rungs: dict[tuple[int, int], list[float]] = {}  # by repetition and number: values, the best first
        self._passed: dict[tuple[int, int], int] = {}  # by sample and repetition: how many rungs it has passed

    def judge(self, sample: int, repeat: int, iteration: int, value: float) -> str | None:
        """Return why a trial does not go on, None if it does; less is better."""
        from bisect import bisect_left, insort

        rung = self._passed.get((sample, repeat), 0)
        if iteration < self._iteration(rung):
            return None
        while self._iteration(rung + 1) <= iteration:  # rows may be rarer than rungs
            rung += 1
        self._passed[sample, repeat] = rung + 1
        values = self._rungs.setdefault((repeat, rung), [])
        place = bisect_left(values, value) + 1
        insort(values, value)
        passing = max(1, int(len(values) / self._reduction))
        if place <= passing and value != math.inf:
            return None
        return f"is number {place} of {len(values)}, of which {passing} {'passes' if passing == 1 else 'pass'}"

    def _iteration(self, rung: int) -> int:
        return math.ceil(self._first * self._reduction**rung - 1e-9)


_OURS: Mapping[str, Callable[..., Median | Asha]] = {"median": Median, "asha": Asha}


def _whole(pruner: str, name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        todo = f"Give a whole number from {least} on."
        raise InvalidValue(f"{name} of the pruner {pruner!r} is {value!r}", given=value, todo=todo)
    return value
