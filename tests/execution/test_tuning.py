"""Searches are refused before anything runs, never left out in silence."""

from __future__ import annotations

import pytest

import machinable as ml
from machinable.errors import Refused


@pytest.mark.parametrize("engine", ["local", "dry", "processes:1"])
def test_a_grid_is_refused_with_the_same_as_versions(engine: str, project: object) -> None:
    project("components:\n  - a: {lr: 1, size: 2}\n", a="")  # type: ignore[operator]
    task = ml.Task("a").tune(config={"lr": {"grid_search": [0.1, 0.2]}, "size": 3}, num_samples=2)

    with pytest.raises(Refused) as caught:
        ml.execute(task, engine=engine)

    assert str(caught.value) == (
        "this version of machinable does not hand trials to Ray Tune\n"
        "  The same as versions: .component('a', [{'lr': 0.1, 'size': 3}, {'lr': 0.2, 'size': 3}]).repeat(2)"
    )


def test_what_is_drawn_has_no_versions(project: object) -> None:
    project("components:\n  - a: {lr: 1}\n", a="")  # type: ignore[operator]

    with pytest.raises(Refused, match="Give a list of versions to the component, one for each sample"):
        ml.execute(ml.Task("a").tune(config={"lr": lambda: 1}))
