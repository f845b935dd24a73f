from __future__ import annotations

from machinable.ui.executions import list_executions
from machinable.ui.html import render
from tests.results.worlds import failed, finished, planned, started, stored


def test_the_list_has_states_of_trials_and_pages() -> None:
    execution = stored([planned(0), planned(1), planned(2)], [started(0), finished(0), started(1), failed(1)])

    (one,) = list_executions([execution])

    assert one[:4] == ("OY1p1o", "/execution/OY1p1o", "rates", "failed") and one.components == "train"
    assert str(one.counts) == "1 pending, 1 finished, 1 failed"
    assert list_executions([execution], page=2) == []


def test_texts_of_users_never_become_html() -> None:
    nasty = "<img src=x onerror=alert(1)>{{ 7*7 }}"
    execution = stored([planned(0, component=nasty)], [], name=nasty)

    html = render(
        "executions",
        executions=list_executions([execution]),
        left_out={nasty: nasty},
        hint=None,
        page=1,
        pages=1,
        link=str,
    )

    assert "<img" not in html and html.count("&lt;img src=x onerror=alert(1)&gt;{{ 7*7 }}") == 4
