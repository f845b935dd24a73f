"""The graph of requirements of an execution: which trial, or which component, reads the results of which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

from machinable.results.execution import Execution
from machinable.results.query import states
from machinable.results.trial import Trial
from machinable.results.trials import STATES
from machinable.ui.selection import address

__all__ = ["Graph", "Node", "graph", "graph_options"]

# More trials are not shown one by one: there is one node for each component.
MAX_NODES, MAX_ROWS = 40, 12
_BAD = ("failed", "blocked", "running", "interrupted", "pending", "skipped")
_WORST = (*_BAD, *(state for state in STATES if state not in (*_BAD, "finished", "reused")), "finished", "reused")
_COLOURS = {
    "finished": "#217a44",
    "reused": "#217a44",
    "running": "#0072b2",
    "failed": "#c0382f",
    "blocked": "#c0382f",
}
_OTHER = "#8a5f10"
# ECharts ends lines at a circle around a node, whose diameter is the size of its symbol. This circle is around the
# whole box, so that the box does not hide the heads of arrows. The corners of the symbol are empty.
_WIDTH, _HEIGHT, _SIZE = 140, 38, 148
_LEFT, _TOP = (_SIZE - _WIDTH) // 2, (_SIZE - _HEIGHT) // 2
_BOX = f"path://M0,0M{_LEFT},{_TOP}h{_WIDTH}v{_HEIGHT}h-{_WIDTH}zM{_SIZE},{_SIZE}"


class Node(NamedTuple):
    """A trial, or all trials of a component.

    Attributes:
        name: The component, and the uid of a trial.
        text: The states of its trials.
        status: The state that counts most.
        level: The length of the longest chain of what it requires, from 0.
        row: Its number among those of its level.
        href: The address of the trials.
    """

    name: str
    text: str
    status: str
    level: int
    row: int
    href: str


class Graph(NamedTuple):
    """Nodes, and pairs of the numbers of nodes: the first is required by the second."""

    nodes: list[Node]
    edges: list[tuple[int, int]]


def graph(execution: Execution) -> Graph | None:
    """Return the graph, None if no trial requires another one."""
    trials = list(execution)
    if not any(trial.planned("requires") for trial in trials):
        return None
    by_uid = {trial.uid: trial for trial in trials}
    components = {needed["uid"]: needed["component"] for one in trials for needed in one.planned("requires").values()}
    sizes = Counter([*components.values(), *(trial.component for trial in trials if trial.uid not in components)])
    is_single = sizes.total() <= MAX_NODES and max(sizes.values()) <= MAX_ROWS

    def key(uid: str) -> Hashable:
        if is_single:
            return uid
        return by_uid[uid].component if uid in by_uid else components[uid]

    members: dict[Hashable, list[str]] = {}
    for uid in [*components, *by_uid]:
        found = members.setdefault(key(uid), [])
        if uid not in found:
            found.append(uid)
    edges = {
        (key(needed["uid"]), key(trial.uid)): None for trial in trials for needed in trial.planned("requires").values()
    }
    state_of = dict(zip(by_uid, states(trials), strict=True))
    levels = _levels(members, edges)
    rows = Counter[int]()
    numbers: dict[Hashable, int] = {}
    nodes: list[Node] = []
    for name, uids in members.items():
        level = levels[name]
        numbers[name] = len(nodes)
        nodes.append(_node(execution, uids, by_uid, components, state_of, level, rows[level]))
        rows[level] += 1
    return Graph(nodes, [(numbers[one], numbers[other]) for one, other in edges if one != other])


def _levels(members: Mapping[Hashable, Any], edges: Mapping[tuple[Hashable, Hashable], None]) -> dict[Hashable, int]:
    """Return the length of the longest chain that leads to each node; a chain that comes back ends."""
    levels = dict.fromkeys(members, 0)
    for _ in members:
        has_changed = False
        for one, other in edges:
            if one != other and levels[other] <= levels[one] < len(members):
                levels[other] = levels[one] + 1
                has_changed = True
        if not has_changed:
            break
    return levels


def _node(
    execution: Execution,
    uids: list[str],
    by_uid: Mapping[str, Trial],
    components: Mapping[str, str],
    state_of: Mapping[str, str],
    level: int,
    row: int,
) -> Node:
    uid = uids[0]
    component = by_uid[uid].component if uid in by_uid else components[uid]
    found = Counter(state_of.get(one, "stored") for one in uids)
    counts = [f"{found[state]} {state}" for state in (*STATES, "stored") if found[state]]
    status = next((state for state in _WORST if found[state]), "finished")
    if len(uids) == 1 and uid in by_uid:
        return Node(f"{component} {uid[:6]}", status, status, level, row, address("trial", str(execution), uid))
    where = address("trials", execution=str(execution), where=f"component='{component}'")
    return Node(component, ", ".join(counts), status, level, row, where)


def graph_options(found: Graph) -> dict[str, Any]:
    """Return the graph for ECharts: one column for each level, from left to right."""
    heights = Counter(node.level for node in found.nodes)
    data = [
        {
            "name": str(number),
            "value": [node.level, (heights[node.level] - 1) / 2 - node.row],
            "label": {"formatter": node.name if node.text == node.status else f"{node.name}\n{node.text}"},
            "itemStyle": {"color": _COLOURS.get(node.status, _OTHER)},
        }
        for number, node in enumerate(found.nodes)
    ]
    highest, last = max(heights.values()), max(heights)
    return {
        "animation": False,
        "grid": {"left": 4, "right": 4, "top": 4, "bottom": 4},
        "xAxis": {"show": False, "type": "value", "min": -0.5, "max": last + 0.5},
        "yAxis": {"show": False, "type": "value", "min": -highest / 2, "max": highest / 2},
        "series": [
            {
                "type": "graph",
                "layout": "none",
                "coordinateSystem": "cartesian2d",
                "symbol": _BOX,
                "symbolSize": _SIZE,
                "label": {
                    "show": True,
                    "fontSize": 11,
                    "lineHeight": 15,
                    "color": "#fff",
                    "overflow": "truncate",
                    "width": _WIDTH - 8,
                },
                "edgeSymbol": ["none", "arrow"],
                "edgeSymbolSize": 8,
                "lineStyle": {"color": "#8a94a6", "width": 1.5},
                "data": data,
                "links": [{"source": str(one), "target": str(other)} for one, other in found.edges],
            }
        ],
    }
