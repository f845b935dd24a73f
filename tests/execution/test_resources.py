"""The resources that trials request are compared with those of the hosts before the start."""

from __future__ import annotations

import pytest

import machinable as ml
from machinable.errors import Refused, SeveralErrors
from machinable.execution.resources import Capacity
from tests.conftest import World

HEAD = {"cpus": 0.0, "gpus": 0.0, "memory": 1.0}


def test_hosts_that_may_join_make_a_notice_of_a_refusal(project: World) -> None:
    project("components:\n  - plain: \n  - large: {_resources_: {cpus: 1, gpus: 8}}\n")
    plan = ml.Task("plain").component("large").plan()
    capacity = Capacity([HEAD], is_assigned=True)
    said: list[str] = []

    capacity.check(plan.uses, said.append)
    capacity.take({"license": 1})
    capacity.give_back({"license": 1})

    assert said == [
        "plain needs 1 cpu, the default, but no host has one: it waits for a host that joins",
        "large requests 1 cpu, but there is no cpu: it waits for a host that joins",
        "large requests 8 gpus, but there is no gpu: it waits for a host that joins",
    ]
    with pytest.raises(SeveralErrors, match="plain needs 1 cpu, the default, but no host has one"):
        capacity.check(plan.uses)


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        (
            "{license: 1.5}",
            r"The hosts have: cpus, gpus, memory\. If the engine starts them, declare it: `execution: \{resources: "
            r"\{license: 1\.5\}\}`\. If not, start one with it, or declare it as a limit that executions share: "
            r"`license: \{total: 2, shared: true\}`\.",
        ),
        ("{gpus: 1}", r"`execution: \{resources: \{gpus: 1\}\}`\. If not, add a host that has it\.$"),
    ],
)
def test_a_resource_that_running_hosts_lack_is_refused_with_the_ways_to_add_it(
    project: World, requested: str, message: str
) -> None:
    project(f"components:\n  - large: {{_resources_: {requested}}}\n")
    host = {"cpus": 1.0, "memory": 1.0} if "gpus" in requested else {**HEAD, "cpus": 1.0}

    with pytest.raises(Refused, match=message):
        Capacity([host], is_assigned=True).check(ml.Task("large").component("large").plan().uses)
