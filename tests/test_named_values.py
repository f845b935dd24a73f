"""A dict of tags or flags is a dict whose missing keys are explained."""

from __future__ import annotations

import copy
import pickle

import pytest

from machinable.errors import UnknownName
from machinable.named_values import NamedValues


def test_a_missing_key_is_a_key_error_that_names_the_near_ones() -> None:
    tags = NamedValues("tag", {"study": "depth"})

    assert (tags["study"], tags.get("studdy"), "studdy" in tags, tags) == ("depth", None, False, {"study": "depth"})
    with pytest.raises(KeyError) as caught:
        tags["studdy"]
    assert str(caught.value) == str(UnknownName("tag", "studdy", ["study"]))


def test_copies_that_leave_the_process_are_plain() -> None:
    tags = NamedValues("tag", {"study": "depth"})

    for copied in (pickle.loads(pickle.dumps(tags)), copy.copy(tags), copy.deepcopy(tags)):
        assert (type(copied), copied) == (dict, {"study": "depth"})
