from __future__ import annotations

import re
from typing import Any

from machinable.ui.graph import graph, graph_options
from tests.results.worlds import failed, finished, planned, started, stored, uid


def needing(index: int, *required: int, component: str = "train") -> dict[str, Any]:
    requires = {
        str(number): {"component": "data", "uid": uid(one), "identity": f"{one:032x}"}
        for number, one in enumerate(required)
    }
    return planned(index, component=component, requires=requires)


def test_each_trial_is_one_level_behind_what_it_requires() -> None:
    plan = [planned(0, component="data"), needing(1, 0), needing(2, 0), needing(3, 1, 0, component="report")]

    found = graph(stored(plan, [started(0), finished(0), started(1), failed(1)]))

    assert found is not None
    assert [(node.name, node.status, node.level, node.row) for node in found.nodes] == [
        ("data 000000", "finished", 0, 0),
        ("train 000000", "failed", 1, 0),
        ("train 000000", "pending", 1, 1),
        ("report 000000", "pending", 2, 0),
    ]
    assert found.edges == [(0, 1), (0, 2), (1, 3), (0, 3)]
    assert found.nodes[1].href == "/trial/OY1p1o/000000000001"
    links = graph_options(found)["series"][0]["links"]
    assert links[0] == {"source": "0", "target": "1"}


def test_arrows_end_outside_of_the_box_of_a_node() -> None:
    found = graph(stored([planned(0, component="data"), needing(1, 0)], []))
    assert found is not None
    (series,) = graph_options(found)["series"]

    left, top, width, height = map(int, re.findall(r"M0,0M(\d+),(\d+)h(\d+)v(\d+)", series["symbol"])[0])

    size = series["symbolSize"]
    assert (2 * left + width, 2 * top + height) == (size, size) and series["symbol"].endswith(f"M{size},{size}")
    assert size > (width**2 + height**2) ** 0.5  # ECharts ends lines on the circle with this diameter


def test_many_trials_are_one_node_for_each_component() -> None:
    plan = [planned(0, component="data"), *(needing(index, 0) for index in range(1, 60))]

    found = graph(stored(plan, [started(0), finished(0), started(1), failed(1)]))

    assert found is not None
    assert [(node.name, node.text, node.status) for node in found.nodes] == [
        ("data 000000", "finished", "finished"),
        ("train", "58 pending, 1 failed", "failed"),
    ]
    assert found.edges == [(0, 1)]
    assert found.nodes[1].href == "/trials?execution=OY1p1o&where=component%3D%27train%27"


def test_what_is_stored_elsewhere_is_a_node_and_a_circle_of_a_damaged_plan_ends() -> None:
    found = graph(stored([needing(1, 7), needing(2, 3), needing(3, 2)], []))

    assert found is not None and len(found.nodes) == 4
    assert ("data", "1 stored") in [(node.name, node.text) for node in found.nodes]


def test_without_requirements_there_is_no_graph() -> None:
    assert graph(stored([planned(0), planned(1)], [])) is None
