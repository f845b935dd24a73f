"""Compare the results of settings with those of a baseline: differences, effect sizes, tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from machinable.errors import InvalidValue, UnknownName, listed
from machinable.results.conditions import comparable
from machinable.results.query import MISSING, find_field, mean, spread
from machinable.results.repetitions import Measured, distinguishing_fields, repetition_key, separate_values
from machinable.results.summary import FigureTable, scipy_stats, t_interval
from machinable.results.tables import format_cell
from machinable.results.trial import Trial

__all__ = ["Contrast", "LeftOut", "cliffs_delta", "cohens_d", "contrast", "holm"]

FIGURES = (
    "design",
    "n",
    "n_baseline",
    "mean",
    "mean_baseline",
    "difference",
    "low",
    "high",
    "d",
    "delta",
    "p",
    "p_holm",
    "wilcoxon",
    "wilcoxon_holm",
    "left_out",
)


class LeftOut(NamedTuple):
    """A trial that did not count in a comparison, and why."""

    trial: Trial
    why: str


class Contrast(FigureTable):
    """A row for each comparison of a value with the baseline.

    A row has the settings that distinguish comparisons, the value, `baseline`, and

    * `design`: `paired` if at least two trials of the value have a partner in the baseline, else `Welch`; `n` and
      `n_baseline` are the numbers of values that count: of pairs, or of all
    * `mean`, `mean_baseline`, their `difference`, and its 95 % interval from `low` to `high` (Student 1908 for pairs,
      else B. L. Welch, The Generalization of "Student's" Problem, 1947)
    * the effect sizes `d` and `delta`, see `cohens_d` and `cliffs_delta`
    * `p` of the paired t-test or Welch's test, and `wilcoxon` of the signed-rank test for pairs or of the rank-sum test
      (F. Wilcoxon, Individual Comparisons by Ranking Methods, 1945); `p_holm` and `wilcoxon_holm` are adjusted for all
      rows, see `holm`
    * `left_out`: how many trials did not count; the attribute of that name says which, and why

    A figure that is undefined, such as the test of one value, is None.

    Attributes:
        field: The field that is compared.
        between: The field whose values are compared.
        settings: The fields that distinguish comparisons.
        left_out: The trials that did not count, by the number of the row.
    """

    figures = FIGURES

    def __init__(
        self,
        field: str,
        between: str,
        settings: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        left_out: Sequence[Sequence[LeftOut]],
    ) -> None:
        super().__init__(field, settings, rows)
        self.between = between
        self.left_out = left_out

    def _headings(self) -> list[str]:
        return [*self.settings, self.between, "baseline", *self.figures]

    def notes(self) -> list[str]:
        """Return which trials were left out, and why."""
        lines = []
        for row, several in zip(self._rows, self.left_out, strict=True):
            for why in dict.fromkeys(one.why for one in several):
                uids = [one.trial.uid for one in several if one.why == why]
                lines.append(f"left out of {self.between}={format_cell(row[self.between])}, {why}: {listed(uids)}")
        return lines


def contrast(
    field: str,
    between: str,
    baseline: Any,
    trials: Sequence[tuple[Trial, Any]],
    counted: Mapping[Trial, Measured],
    others: Mapping[Trial, str],
) -> Contrast:
    """Return the comparisons, see `Trials.contrast`.

    Args:
        field: The field that is compared.
        between: The field whose values are compared.
        baseline: The value that the others are compared with.
        trials: Trials with their value of `between`, None for none.
        counted: The numbers of the trials that count.
        others: Why other trials do not count.
    """
    known = {comparable(value): value for _, value in trials if value is not None}
    if comparable(baseline) not in known:
        values = list(known.values())
        todo = f"Its values are {listed(list(map(repr, values)))}." if str(baseline) in map(str, values) else None
        raise UnknownName(f"value of {between}", baseline, values, todo=todo)  # '0.1' is not 0.1, and resembles it
    strata: dict[str, dict[Any, list[Trial]]] = {}
    for trial, value in trials:
        if value is not None:
            strata.setdefault(repetition_key(trial, between), {}).setdefault(comparable(value), []).append(trial)
    for groups in strata.values():
        for key, group in groups.items():
            _check_repetitions(between, known[key], group)
    compared = [
        (groups, key)
        for groups in strata.values()
        if comparable(baseline) in groups
        for key in groups
        if key != comparable(baseline)
    ]
    settings = []
    if len({id(groups) for groups, _ in compared}) > 1:
        first = [next(iter(groups.values()))[0] for groups in strata.values()]
        settings = [name for name in distinguishing_fields(first) if name != between]
    rows, left_out = [], []
    for groups, key in compared:
        row, without = _compare(groups[key], groups[comparable(baseline)], counted, others)
        place = {name: _value(name, groups[key][0]) for name in settings}
        rows.append(place | {between: known[key], "baseline": baseline} | row)
        left_out.append(without)
    for name in ("p", "wilcoxon"):
        for row, adjusted in zip(rows, holm([row[name] for row in rows]), strict=True):
            row[f"{name}_holm"] = adjusted
    return Contrast(field, between, settings, rows, left_out)


def _value(name: str, trial: Trial) -> Any:
    field = find_field(name)
    value = MISSING if field is None else field.of(trial)
    return None if value is MISSING else value


def _check_repetitions(between: str, value: Any, trials: Sequence[Trial]) -> None:
    if len({repetition_key(trial) for trial in trials}) < 2:
        return
    fields = [name for name in distinguishing_fields(trials) if name != between]
    if not fields or (between.startswith("config.") and fields == ["version"]):
        return  # two ways to write one configuration
    raise InvalidValue(
        f"the trials with {between}={format_cell(value)} are not repetitions: they differ in {', '.join(fields)}",
        given=value,
        known=fields,
        todo=f"Choose those to compare: where('{fields[0]}=…').contrast(…)",
    )


def _compare(
    trials: Sequence[Trial], baseline: Sequence[Trial], counted: Mapping[Trial, Measured], others: Mapping[Trial, str]
) -> tuple[dict[str, Any], list[LeftOut]]:
    """Return the figures of one comparison, and the trials that did not count."""
    sides = [{trial: counted[trial] for trial in side if trial in counted} for side in (trials, baseline)]
    without = [LeftOut(trial, others[trial]) for trial in (*trials, *baseline) if trial not in counted]
    by_label = [{one.label: one for one in side.values()} for side in sides]
    common = [label for label in by_label[0] if label in by_label[1]]
    is_unique = all(len(labels) == len(side) for labels, side in zip(by_label, sides, strict=True))
    if is_unique and len(common) > 1:
        pairs = [(by_label[0][label], by_label[1][label]) for label in common]
        differences = separate_values([one._replace(value=one.value - other.value) for one, other in pairs])
        if len(differences) > 1:
            without += [
                LeftOut(trial, "without a partner")
                for side in sides
                for trial, one in side.items()
                if one.label not in common
            ]
            ours, base = (separate_values([pair[side] for pair in pairs]) for side in (0, 1))
            return _figures("paired", ours, base, _paired(differences), len(without)), without
    ours, base = (separate_values(list(side.values())) for side in sides)
    return _figures("Welch", ours, base, _welch(ours, base), len(without)), without


_Tests = tuple["float | None", "float | None", "float | None", "float | None"]  # low and high, and p of two tests


def _figures(
    design: str,
    values: Sequence[float],
    base: Sequence[float],
    tests: _Tests,
    left_out: int,
) -> dict[str, Any]:
    low, high, p, wilcoxon = tests
    middle, middle_base = (mean(side) if side else None for side in (values, base))
    return {
        "design": design,
        "n": len(values),
        "n_baseline": len(base),
        "mean": middle,
        "mean_baseline": middle_base,
        "difference": None if middle is None or middle_base is None else middle - middle_base,
        "low": low,
        "high": high,
        "d": cohens_d(values, base),
        "delta": cliffs_delta(values, base),
        "p": p,
        "wilcoxon": wilcoxon,
        "left_out": left_out,
    }


def _paired(differences: Sequence[float]) -> _Tests:
    """Return the interval of the mean difference, and p of the paired t-test and of the signed-rank test."""
    stats = scipy_stats()
    low, high = t_interval(mean(differences), spread(differences), len(differences))
    if not any(differences):
        return low, high, 1.0, 1.0
    p = None if len(set(differences)) == 1 else _number(stats.ttest_1samp(differences, 0.0).pvalue)
    return low, high, p, _number(stats.wilcoxon(differences).pvalue)


def _welch(values: Sequence[float], base: Sequence[float]) -> _Tests:
    """Return the interval of the difference, and p of Welch's test and of the rank-sum test."""
    if len(values) < 2 or len(base) < 2:
        return None, None, None, None
    stats = scipy_stats()
    wilcoxon = _number(stats.mannwhitneyu(values, base).pvalue)
    if spread(values) == spread(base) == 0:
        difference = mean(values) - mean(base)
        return difference, difference, None if difference else 1.0, wilcoxon
    found = stats.ttest_ind(values, base, equal_var=False)
    interval = found.confidence_interval(0.95)
    return _number(interval.low), _number(interval.high), _number(found.pvalue), wilcoxon


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def cohens_d(values: Sequence[float], base: Sequence[float]) -> float | None:
    """Return the difference of the means in units of the pooled standard deviation.

    From J. Cohen, Statistical Power Analysis for the Behavioral Sciences (1988). It does not depend on pairs, so that
    it can be compared between designs. None if a side has fewer than two values, or nothing varies.
    """
    if len(values) < 2 or len(base) < 2:
        return None
    freedom = len(values) + len(base) - 2
    pooled = math.sqrt(((len(values) - 1) * spread(values) ** 2 + (len(base) - 1) * spread(base) ** 2) / freedom)
    return (mean(values) - mean(base)) / pooled if pooled else None


def cliffs_delta(values: Sequence[float], base: Sequence[float]) -> float | None:
    """Return how often a value is larger than one of the baseline, minus how often it is smaller: from -1 to 1.

    From N. Cliff, Dominance Statistics: Ordinal Analyses to Answer Ordinal Questions (1993). None without values.
    """
    if not values or not base:
        return None
    return sum((one > other) - (one < other) for one in values for other in base) / (len(values) * len(base))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for their number; None stays and does not count.

    From S. Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979): the smallest is multiplied by their
    number, the next by one less, and so on; none is smaller than the one before, or larger than 1.
    """
    ordered = sorted((value, number) for number, value in enumerate(values) if value is not None)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (value, number) in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * value))
        adjusted[number] = highest
    return adjusted
