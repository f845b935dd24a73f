"""Stored trials as they are written; tests/execution/test_stored_trials.py has what is read."""

from __future__ import annotations

from typing import Any

import pytest

import machinable as ml
from machinable.plan.request import RequirementRequest
from machinable.plan.task import task_from_data


@pytest.mark.parametrize(
    ("text", "name", "artifact"),
    [
        ("OY1p1o/9c2Eap", "OY1p1o/9c2Eap", None),
        ("OY1p1o-2/9c2Eap:w.json", "OY1p1o-2/9c2Eap", "w.json"),
        ("./a b/OY1p1o/9c", "./a b/OY1p1o/9c", None),
        ("s3://bucket/x/OY1p1o/9c:d/", "s3://bucket/x/OY1p1o/9c", "d/"),
        ("fold:OY1p1o/9c", "fold", "OY1p1o/9c"),  # an artifact
    ],
)
def test_a_text_with_a_slash_before_any_colon_is_a_stored_trial(text: str, name: str, artifact: str | None) -> None:
    task = ml.Task().component("a", requires={"x": text})
    assert task.request.components[0].requires == {"x": RequirementRequest(name, None, artifact)}
    assert task_from_data(task.request.as_data()).request == task.request


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("OY1p1o/", "'OY1p1o/' is not a stored trial"),
        ("a/b/c", "'a/b/c' is not a stored trial"),
        ("OY1p1o/9c/x", "'OY1p1o/9c/x' is not a stored trial"),
        ("s3://bucket", "'s3://bucket' is not a stored trial"),
        (("OY1p1o/9c", {"x": 1}), "the stored trial 'OY1p1o/9c' has a version"),
    ],
)
def test_another_text_with_a_slash_is_refused_at_once(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        ml.Task().component("a", requires={"x": given})
    assert caught.value.path == "requires.x"  # type: ignore[attr-defined]
