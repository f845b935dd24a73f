"""The share of each setting in how much the metric varies over the samples of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence

from machinable.errors import ImportFailed, InvalidValue, Refused
from machinable.search.optuna import distribution, import_optuna, parameters, quiet, study
from machinable.search.sample import Sample
from machinable.search.space import Space

__all__ = ["LEAST", "importance"]

LEAST = 5  # samples; with fewer, a forest of decision trees finds nothing


def importance(space: Space, samples: Sequence[Sample], values: Sequence[float]) -> dict[str, float]:
    """Return the share of each setting in the variance of the metric, the largest first; together 1.

    By fANOVA of Optuna: Hutter et al., "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014.
    Settings that only some samples have, since a choice reaches them, are left out; the choice itself counts. Samples
    without a finite value are left out.

    Args:
        space: The space.
        samples: The samples.
        values: The metric of each.

    Raises:
        ImportFailed: Optuna or scikit-learn is not installed.
        Refused: There are fewer than five samples, all have the same value, or no setting varies.
    """
    try:
        optuna = import_optuna("sklearn")
    except ImportFailed as error:
        error.message = f"the importance of settings needs Optuna and scikit-learn: {error.message}"
        raise
    if len(samples) != len(values):
        raise InvalidValue(f"{len(samples)} samples have {len(values)} values", given=len(values))
    known = [(sample, value) for sample, value in zip(samples, values, strict=True) if math.isfinite(value)]
    if len(known) < LEAST:
        raise Refused(
            f"the importance of settings needs {LEAST} samples, not {len(known)}",
            given=len(known),
            todo="Search on with more samples.",
        )
    if len({value for _, value in known}) == 1:
        raise Refused(
            f"all {len(known)} samples have the value {known[0][1]!r}, so no setting has a share",
            given=known[0][1],
            todo="Choose another metric, or wider domains.",
        )
    found = [parameters(space, sample.values) for sample, _ in known]
    common = [name for name in space.settings if all(name in params for params in found)]
    varied = [name for name in common if len({params[name] for params in found}) > 1]
    if not varied:
        raise Refused("no setting has different values in all samples", todo="Search on with more samples.")
    with quiet():
        finished = study("min")
        for params, (_, value) in zip(found, known, strict=True):
            finished.add_trial(
                optuna.create_trial(
                    value=value,
                    params={name: params[name] for name in varied},
                    distributions={name: distribution(space.settings[name]) for name in varied},
                )
            )
        shares = optuna.importance.get_param_importances(
            finished, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )
    shares = {name: float(share) for name, share in shares.items()} | {n: 0.0 for n in common if n not in varied}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
