"""The handwritten digits: whole data, correct gradients, and a perceptron that reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import machinable
from examples.digits import data
from examples.digits.mlp import Perceptron
from examples.digits.softmax import Softmax
from examples.digits.training import Classifier, Parameters

ROOT = Path(__file__).parents[2]


def test_the_data_set_is_whole() -> None:
    images, labels = data.load()

    assert (images.shape, images.dtype, labels.shape, labels.dtype) == ((1797, 8, 8), np.uint8, (1797,), np.uint8)
    assert (images.min(), images.max()) == (0, 16)
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    checksum = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    assert checksum == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_a_split_uses_every_image_once() -> None:
    parts = data.split(0.2, 0)

    assert (len(parts.train_images), len(parts.test_images)) == (1438, 359)
    both = np.concatenate([parts.train_labels, parts.test_labels])
    assert np.bincount(both).tolist() == np.bincount(data.load()[1]).tolist()
    rows = {row.tobytes() for part in (parts.train_images, parts.test_images) for row in part}
    assert len(rows) == len(np.unique(data.load()[0], axis=0))


def test_a_split_is_standardised_by_its_training_images() -> None:
    parts = data.split(0.2, 0)

    np.testing.assert_allclose(parts.train_images.mean(axis=0), 0.0, atol=1e-12)
    assert abs(parts.test_images.mean()) < 0.1


def test_the_same_seed_divides_in_the_same_way_and_another_one_does_not() -> None:
    first, same, other = data.split(0.2, 3), data.split(0.2, 3), data.split(0.2, 4)

    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not np.array_equal(first.test_labels, other.test_labels)


@pytest.mark.parametrize("test_share", [0.0, 1.0, -0.5, 2])
def test_a_share_that_leaves_one_side_empty_is_refused(test_share: float) -> None:
    with pytest.raises(ValueError, match=r"data\.test_share is .*: it must leave training and test images"):
        data.split(test_share, 0)


def softmax_parameters(random: np.random.Generator) -> Parameters:
    return {"weights": random.normal(size=(64, 10)), "bias": random.normal(size=10)}


def perceptron_parameters(random: np.random.Generator) -> Parameters:
    model = SimpleNamespace(config=SimpleNamespace(hidden=[6, 5]))
    parameters = Perceptron.initial(model, random, 64)
    return {name: value + random.normal(0.0, 0.1, value.shape) for name, value in parameters.items()}


@pytest.mark.parametrize(
    ("model", "make"), [(Softmax, softmax_parameters), (Perceptron, perceptron_parameters)], ids=["softmax", "mlp"]
)
def test_gradients_agree_with_finite_differences(model: type[Classifier], make) -> None:
    random = np.random.default_rng(0)
    parameters = make(random)
    images, labels = random.normal(size=(7, 64)), random.integers(0, 10, size=7)
    width = 1e-5

    _, gradients = model.loss_and_gradients(parameters, images, labels)

    assert {name: value.shape for name, value in gradients.items()} == {n: v.shape for n, v in parameters.items()}
    for name, value in parameters.items():
        for index in np.ndindex(value.shape):
            kept = value[index]
            value[index] = kept + width
            above, _ = model.loss_and_gradients(parameters, images, labels)
            value[index] = kept - width
            below, _ = model.loss_and_gradients(parameters, images, labels)
            value[index] = kept
            assert gradients[name][index] == pytest.approx((above - below) / (2 * width), abs=1e-7), (name, index)


def test_the_loss_of_equal_scores_is_that_of_guessing() -> None:
    zeros = {"weights": np.zeros((64, 10)), "bias": np.zeros(10)}

    loss, _ = Softmax.loss_and_gradients(zeros, np.ones((3, 64)), np.array([0, 4, 9]))

    assert loss == pytest.approx(np.log(10))


def test_large_scores_do_not_overflow() -> None:
    parameters = {"weights": np.full((64, 10), 1e3), "bias": np.arange(10) * 1e3}

    loss, gradients = Softmax.loss_and_gradients(parameters, np.ones((1, 64)), np.array([9]))

    assert loss == 0.0
    assert all(np.isfinite(value).all() for value in gradients.values())


def run(tmp_path: Path, *component: str, seed: int = 1) -> machinable.Execution:
    storage = {"storage": str(tmp_path), "code_backup": False}
    return machinable.execute(machinable.Task(component), storage=storage, seed=seed, project=ROOT)


def test_the_perceptron_reads_nineteen_of_twenty_digits(tmp_path: Path) -> None:
    (trial,) = run(tmp_path, "digits.mlp").trials

    rows = list(trial.records)
    assert [row["_iteration"] for row in rows] == list(range(40))
    assert rows[-1]["loss"] < 0.2 < rows[0]["loss"]
    assert rows[-1]["train_accuracy"] >= 0.98
    assert rows[-1]["test_accuracy"] >= 0.95


def test_the_stored_weights_are_those_of_the_last_row(tmp_path: Path) -> None:
    (trial,) = run(tmp_path, "digits.softmax", "~quick").trials

    weights, parts = trial.read("weights.npz"), data.split(trial.config.data.test_share, trial.config.data.split)
    answers = Softmax.scores(weights, parts.test_images).argmax(axis=1)
    assert list(trial.records)[-1]["test_accuracy"] == (answers == parts.test_labels).mean()


@pytest.mark.parametrize(
    ("component", "versions", "accuracy"),
    [
        ("digits.softmax", [], 0.93),
        ("digits.softmax", ["~momentum"], 0.93),
        ("digits.mlp", ["~quick"], 0.92),
        ("digits.mlp", ["~quick", "~momentum"], 0.92),
        ("digits.mlp", ["~quick", "~wide"], 0.92),
        ("digits.mlp", ["~quick", "~deep"], 0.92),
    ],
)
def test_every_version_learns(component: str, versions: list[str], accuracy: float, tmp_path: Path) -> None:
    (trial,) = run(tmp_path, component, *versions).trials

    assert list(trial.records)[-1]["test_accuracy"] >= accuracy


def test_the_same_seed_gives_the_same_numbers_and_another_one_does_not(tmp_path: Path) -> None:
    def losses(seed: int) -> list[float]:
        (trial,) = run(tmp_path, "digits.mlp", "~quick", seed=seed).trials
        return [row["loss"] for row in trial.records]

    assert losses(7) == losses(7) != losses(8)


def test_fewer_epochs_let_the_rate_fall_sooner() -> None:
    resolved = machinable.Project(ROOT).resolve("digits.mlp", ("~quick", "~wide"))

    assert resolved.component == resolved.module == "examples.digits.mlp"
    assert resolved.to_dict() == {
        "data": {"test_share": 0.2, "split": 0, "batch_size": 32, "noise": 0.5},
        "epochs": 5,
        "rate": {"start": 0.2, "end": 0.02, "epochs": 5},
        "momentum": 0.0,
        "hidden": [256],
    }


def test_the_study_varies_momentum_noise_and_seed_of_both_models() -> None:
    project = machinable.Project(ROOT)
    plan = project.task("digits_study").plan()

    assert len(plan) == 24
    assert {(trial.component, trial.config["momentum"], trial.config["data"]["noise"]) for trial in plan} == {
        (f"examples.digits.{model}", momentum, noise)
        for model in ("softmax", "mlp")
        for momentum in (0.0, 0.9)
        for noise in (0.0, 0.5)
    }
    assert {trial.config["epochs"] for trial in plan} == {5}
    task = (ROOT / "machinable.yaml").read_text().split("tasks:\n")[1].split("\n\n")[0]
    assert task in (ROOT / "examples/digits/README.md").read_text()
