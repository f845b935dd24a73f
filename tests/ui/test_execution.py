from __future__ import annotations

from typing import Any

from machinable.ui.execution import execution_view, failure_kinds
from machinable.ui.html import render
from tests.results.worlds import failed, finished, planned, started, stored, time, uid


def test_failures_are_grouped_by_kind_with_the_command_that_runs_them_again() -> None:
    plan = [planned(index, {"rate": index}) for index in range(4)]
    ledger = [started(0), finished(0)]
    for index, message in ((1, "step 3"), (2, "step 7"), (3, "<b>other</b>")):
        ledger += [started(index), failed(index) | {"error": {"type": "ValueError", "message": message}}]
    execution = stored(plan, ledger)

    first, second = failure_kinds(execution, lambda execution, trial: f"again {execution} {trial.uid[-1]}")

    assert (first.number, first.text, first.conditions) == (2, "ValueError: step …", ["rate ≥ 1"])
    assert first.command == "again OY1p1o 1"
    assert [link.href for link in first.trials] == [f"/trial/OY1p1o/{uid(1)}", f"/trial/OY1p1o/{uid(2)}"]
    html = render("failures", executions=[("OY1p1o", [first, second])], left_out="")
    assert "<b>other" not in html and "&lt;b&gt;other&lt;/b&gt;" in html


def test_an_execution_without_failures_has_no_kinds() -> None:
    execution = stored([planned(0)], [started(0), finished(0)])

    assert failure_kinds(execution, lambda execution, trial: None) == []
    assert "No trial has failed." in render("failures", executions=[], left_out="")


def test_an_execution_has_facts_and_packages() -> None:
    view = execution_view(stored([planned(0)], [], packages={"numpy": "2.1"}, host={"user": "ada", "name": "node7"}))

    assert view.title == "OY1p1o rates" and str(view.counts) == "1 pending"
    assert view.facts["host"] == "ada on node7" and view.packages == {"numpy": "2.1"}


def test_an_execution_that_is_a_search_has_its_samples_the_best_first() -> None:
    search = {"metric": "result", "mode": "min", "space": {"rate": {"uniform": [0, 1]}}, "samples": 2}
    ledger: list[dict[str, Any]] = []
    for number, value in enumerate((0.7, 0.3)):
        at = {"sample": number, "time": time(5)}
        ledger.append({"event": "asked", "values": {"rate": value}, "uids": [uid(number)], **at})
        ledger += [started(number), finished(number)]
        ledger.append({"event": "evaluated", "value": value, "state": "finished", **at})
    execution = stored([planned(0), planned(1)], ledger, task={"search": search})

    html = render("execution", execution="OY1p1o", view=execution_view(execution))

    assert "<h2>Samples</h2>" in html and html.index("<td>0.3") < html.index("<td>0.7")
    assert "Samples" not in render("execution", execution="OY1p1o", view=execution_view(stored([planned(0)], [])))
