from __future__ import annotations

import pytest

from machinable.ui.selection import Selection, address


def test_an_address_says_which_trials_are_shown() -> None:
    given = {
        "where": "rate<0.3 and a='b&c'",
        "sort": "seconds",
        "descending": "1",
        "columns": "uid, seed,uid,",
        "page": "3",
    }
    selection = Selection.read(given)

    assert selection == Selection("rate<0.3 and a='b&c'", "", "seconds", True, "uid, seed,uid,", "", 3)
    assert selection.fields == ["uid", "seed"] and selection.groups == []
    assert selection.parameters() == given


@pytest.mark.parametrize("page", ["", "0", "-1", "x", "1.5", "²", "9" * 30])
def test_a_page_that_is_no_number_is_the_first(page: str) -> None:
    assert Selection.read({"page": page}) == Selection() and Selection().parameters() == {}


def test_names_in_an_address_are_quoted() -> None:
    assert address("artifact", "OY1p1o", "a/../b?c.txt") == "/artifact/OY1p1o/a%2F..%2Fb%3Fc.txt"
    assert address("trials", where="a=1 & b", sort="") == "/trials?where=a%3D1+%26+b"
    assert address(page="2") == "/?page=2"
