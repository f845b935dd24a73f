"""Which settings matter, as far as the samples show it."""

from __future__ import annotations

import math
import sys

import pytest

import machinable as ml
from machinable.errors import ImportFailed, Refused
from machinable.search.importance import importance
from machinable.search.sample import Sample
from machinable.search.sampler import make_sampler
from machinable.search.space import Space, read_space

CONDITIONAL = ml.choice([{"name": "sgd", "momentum": ml.uniform(0, 1)}, {"name": "adam"}])
SPACE = read_space({"rate": ml.loguniform(1e-4, 1e-1), "size": ml.quniform(0, 1, 0.25), "optimizer": CONDITIONAL})


def drawn(space: Space, count: int) -> list[Sample]:
    sampler = make_sampler("random", space, "min", 1)
    return [Sample(number, sampler.ask(number) or {}) for number in range(count)]


def test_the_setting_that_decides_has_the_largest_share_and_conditional_ones_have_none() -> None:
    samples = drawn(SPACE, 30)
    values = [abs(math.log10(sample.values["rate"]) + 2) + 0.1 * sample.values["size"] for sample in samples]

    shares = importance(SPACE, samples, values)

    assert list(shares) == sorted(shares, key=shares.__getitem__, reverse=True)
    assert set(shares) == {"rate", "size", "optimizer"}
    assert shares["rate"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


def test_samples_without_a_finite_value_and_settings_that_do_not_vary_do_not_count() -> None:
    space = read_space({"rate": ml.uniform(0, 1), "one": ml.choice(["a"])})
    samples = drawn(space, 12)
    values = [math.nan if sample.number % 2 else sample.values["rate"] for sample in samples]

    assert importance(space, samples, values) == {"rate": 1.0, "one": 0.0}


@pytest.mark.parametrize(
    ("space", "values", "message"),
    [
        ({"a": ml.uniform(0, 1)}, [1.0, 2.0], "the importance of settings needs 5 samples, not 2"),
        ({"a": ml.uniform(0, 1)}, [1.0, math.nan, math.inf, 2.0, 3.0], "needs 5 samples, not 3"),
        ({"a": ml.uniform(0, 1)}, [1.0] * 6, "all 6 samples have the value 1.0, so no setting has a share"),
        ({"a": ml.choice(["b"])}, [1.0, 2.0, 3.0, 4.0, 5.0], "no setting has different values in all samples"),
    ],
)
def test_too_little_is_refused(space: dict[str, object], values: list[float], message: str) -> None:
    read = read_space(space)
    with pytest.raises(Refused) as raised:
        importance(read, drawn(read, len(values)), values)

    assert raised.value.message.startswith(message) or message in raised.value.message


@pytest.mark.parametrize("missing", ["optuna", "sklearn"])
def test_a_missing_library_is_an_error_that_says_how_to_install_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(ImportFailed) as raised:
        importance(SPACE, [], [])

    assert raised.value.message.startswith("the importance of settings needs Optuna and scikit-learn: ")
    assert raised.value.todo == "Install it: pip install 'machinable-engine[tune]'"
