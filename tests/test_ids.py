"""Ids, seeds and uids: the steps in the golden vectors, and their general properties."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machinable import ids
from machinable.serialization import canonical, decode
from tests import golden_cases

DERIVATION = golden_cases.load("ids")["derivation"]
G = 22490017876


@pytest.mark.parametrize("step", DERIVATION["trials"], ids=lambda step: str(step["key"])[:40])
def test_a_trials_seed_and_uid_follow_from_its_key(step: dict[str, Any]) -> None:
    key = decode(step["key"])
    assert canonical([G, "seed", key]) == step["hashed"]
    assert ids.assign(G, [canonical(key)], [None]) == [(step["SEED"], step["uid"])]


@pytest.mark.parametrize("step", DERIVATION["levels"], ids=lambda step: step["label"])
def test_a_levels_seed_follows_from_its_label(step: dict[str, Any]) -> None:
    assert ids.level_seed(G, step["label"]) == step["seed"]


@given(st.integers(ids.LOWEST, ids.HIGHEST))
def test_an_id_encodes_its_seed(seed: int) -> None:
    identifier = ids.encode(seed)
    assert len(identifier) == 6
    assert ids.decode(identifier) == ids.seed_of(identifier) == ids.seed_of(f"{identifier}-2") == seed


def test_every_execution_without_a_seed_draws_one() -> None:
    drawn = {ids.seed_of(None) for _ in range(100)}
    assert len(drawn) > 90
    assert all(ids.LOWEST <= seed <= ids.HIGHEST for seed in drawn)


def test_a_chosen_seed_does_not_change_other_trials() -> None:
    keys = [canonical({"k": i}) for i in range(3)]
    free = ids.assign(G, keys, [None] * 3)
    chosen = ids.assign(G, keys, [None, free[0][0], None])
    assert chosen == [free[0], (free[0][0], free[1][1]), free[2]]


@given(st.lists(st.integers(0, 10_000), unique=True, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_a_plan_does_not_matter(numbers: list[int], random: Any) -> None:
    keys = [canonical({"k": number}) for number in numbers]
    shuffled = list(keys)
    random.shuffle(shuffled)
    first = dict(zip(keys, ids.assign(G, keys, [None] * len(keys)), strict=True))
    second = dict(zip(shuffled, ids.assign(G, shuffled, [None] * len(keys)), strict=True))
    assert first == second


def test_folders_of_reruns_have_a_suffix() -> None:
    assert [ids.folder_name("OY1p1o", run) for run in (1, 2, 10)] == ["OY1p1o", "OY1p1o-2", "OY1p1o-10"]
    assert [ids.parse_folder_name(text) for text in ("OY1p1o", "OY1p1o-2")] == [("OY1p1o", 1), ("OY1p1o", 2)]


def test_the_seed_of_a_content_is_pinned() -> None:
    """If this changes, requirements get other random numbers than those whose results are stored."""
    assert [ids.seed_of_content(content) for content in ("", "ab12")] == [1566024466, 262232282]
    assert len({ids.seed_of_content(str(number)) for number in range(1000)}) == 1000
