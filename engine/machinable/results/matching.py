"""Which trials of two executions belong together, so that they can be compared."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from machinable.plain import canonical
from machinable.results.trial import Trial

__all__ = ["Matched", "match"]


class Matched(NamedTuple):
    """Pairs of trials in the order of the first execution, and those that have no counterpart."""

    pairs: list[tuple[Trial, Trial]]
    only_one: list[Trial]
    only_other: list[Trial]


def match(one: Iterable[Trial], other: Iterable[Trial]) -> Matched:
    """Pair trials: those of the same uid, then those that were asked for alike, then those of the same component.

    Asked for alike are trials of one component, version and number of repetition; among equal ones the order counts.
    """
    first, second = list(one), list(other)
    partners: dict[int, Trial] = {}
    taken: set[int] = set()
    for key in (_uid, _wish, _place, _component):
        waiting: dict[Hashable, list[Trial]] = {}
        for trial in second:
            if id(trial) not in taken:
                waiting.setdefault(key(trial), []).append(trial)
        for members in waiting.values():
            members.reverse()
        for trial in first:
            candidates = waiting.get(key(trial)) if id(trial) not in partners else None
            if candidates:
                partners[id(trial)] = found = candidates.pop()
                taken.add(id(found))
    pairs = [(trial, partners[id(trial)]) for trial in first if id(trial) in partners]
    return Matched(
        pairs,
        [trial for trial in first if id(trial) not in partners],
        [trial for trial in second if id(trial) not in taken],
    )


def _uid(trial: Trial) -> Hashable:
    return trial.uid


def _numbers(trial: Trial) -> tuple[tuple[str, int], ...]:
    """The numbers of its repetitions."""
    flags = trial.planned("flags")
    names = [name for name in flags if "_NUMBER" in name and name.replace("_NUMBER", "_SEED") in flags]
    return tuple((name, flags[name]) for name in names)


def _wish(trial: Trial) -> Hashable:
    return trial.component, canonical(trial.version), _numbers(trial)


def _place(trial: Trial) -> Hashable:
    return trial.component, _numbers(trial)


def _component(trial: Trial) -> Hashable:
    return trial.component
