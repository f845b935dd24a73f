"""The GPUs of a host: what the environment shows, and how trials share them."""

from __future__ import annotations

import json
import os

import pytest

import machinable as ml
from machinable.engines.devices import Devices, visible_devices
from machinable.errors import MalformedText, Refused
from tests.conftest import World


@pytest.mark.parametrize(
    ("environment", "visible"),
    [
        ({}, None),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, ("2", "0")),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932f937, MIG-1/2"}, ("GPU-8932f937", "MIG-1/2")),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,0"}, ("1",)),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ()),
        ({"HIP_VISIBLE_DEVICES": "3"}, ("3",)),
        ({"ROCR_VISIBLE_DEVICES": "4,7"}, ("0", "1")),
    ],
)
def test_the_environment_says_which_devices_a_process_sees(
    environment: dict[str, str], visible: tuple[str, ...] | None
) -> None:
    assert visible_devices(environment) == visible


@pytest.mark.parametrize(
    ("visible", "declared", "names"),
    [
        (None, 2, ("0", "1")),
        ("5,7,9", 2, ("5", "7")),
        ("5", 2, ("5",)),
        ("5,7", None, ("5", "7")),
    ],
)
def test_the_project_declares_how_many_of_the_visible_devices_are_used(
    visible: str | None, declared: int | None, names: tuple[str, ...]
) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}

    assert Devices(environment, declared).names == names


def test_fractions_share_a_device_and_whole_requests_do_not() -> None:
    devices = Devices({}, 3)
    thirds = [devices.take(0.3) for _ in range(3)]

    assert thirds == [("0",)] * 3
    assert devices.take(0.1) == ("0",)  # although 3 * 0.3 is not exactly 0.9
    assert devices.take(2) == ("1", "2")
    assert devices.find(0.1) is None
    assert devices.take(0) == ()

    devices.give_back(("0",), 0.3)
    devices.give_back(("1", "2"), 2)

    assert devices.take(0.5) == ("1",)
    assert devices.take(0.5) == ("1",)  # the other one stays whole
    assert devices.find(2) is None
    assert devices.take(1) == ("2",)


GPUS = """
execution: {resources: {gpus: 2}}
components:
  - train: {_resources_: {gpus: 1}, _retries_: 5}
  - half: {_resources_: {gpus: 0.5, cpus: 0.1}}
"""
TRAIN = """
import os, signal
from machinable import Component

class Train(Component):
    def on_execute(self):
        if self.flags.ATTEMPT == 1 and self.flags.REPEAT_NUMBER == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.flags.ATTEMPT == 1 and self.flags.REPEAT_NUMBER == 1:
            while True:
                signal.pause()
        return [os.environ["CUDA_VISIBLE_DEVICES"], os.environ["HIP_VISIBLE_DEVICES"], os.getpid()]
"""
HALF = """
import os
from machinable import Component

class Half(Component):
    def on_execute(self):
        return os.environ["CUDA_VISIBLE_DEVICES"]
"""


def test_each_trial_has_its_own_devices_and_they_are_free_again_after_a_kill_and_a_timeout(project: World) -> None:
    world = project(GPUS, train=TRAIN, half=HALF)
    plan = ml.Task().component("train").component("half").repeat(6)

    execution = ml.execute(plan, engine="processes:4", timeout=2, storage=world / "results")

    of_train = [trial for trial in execution.trials if trial.component == "train"]
    assert execution.status == "finished"
    assert all(trial.attempt > 1 for trial in of_train[:2])
    for trial in of_train:
        assert trial.result[:2] == [trial.devices[0]] * 2
    # A process that has used a device does not change to another one.
    assert len({(pid, device) for device, _, pid in (trial.result for trial in of_train)}) == len(
        {trial.result[2] for trial in of_train}
    )
    attempts = [
        json.loads((world / "results" / str(execution) / "trials" / trial.uid / "attempts/1/status.json").read_text())
        for trial in of_train[:2]
    ]
    assert {one["devices"][0] for one in attempts} <= {"0", "1"}
    assert {one["error"]["type"] for one in attempts} <= {"WorkerLost", "TimeoutError"}


def test_a_trial_in_this_process_has_its_devices_while_it_runs(project: World, monkeypatch: pytest.MonkeyPatch) -> None:
    project(GPUS, half=HALF)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5,GPU-6,GPU-7")

    execution = ml.execute(ml.Task("half").repeat(2))

    assert [(trial.result, trial.devices) for trial in execution.trials] == [("GPU-5", ["GPU-5"])] * 2
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-5,GPU-6,GPU-7"


@pytest.mark.parametrize(
    ("declared", "component", "error", "message"),
    [
        ("gpus: 2", "_resources_: {gpus: 3}", Refused, "half requests 3 gpus, but there are only 2 gpus"),
        ("gpus: 2", "_resources_: {gpus: 1.5}", MalformedText, "1.5 gpus are neither whole devices nor a part of one"),
        ("gpus: 0.5", "_resources_: {gpus: 0.5}", MalformedText, "0.5 gpus are no number of devices"),
        (
            "gpus: 2",
            "_resources_: {gpus: 1}, _environment_: {CUDA_VISIBLE_DEVICES: 0}",
            Refused,
            "half requests gpus and sets CUDA_VISIBLE_DEVICES in `_environment_`",
        ),
    ],
)
def test_devices_that_cannot_be_assigned_are_an_error_before_the_start(
    project: World, declared: str, component: str, error: type[Exception], message: str
) -> None:
    world = project(f"execution: {{resources: {{{declared}}}}}\ncomponents:\n  - half: {{{component}}}\n", half=HALF)

    with pytest.raises(error) as raised:
        ml.execute("half", engine="processes", storage=world / "results")

    assert message in str(raised.value)
    assert not (world / "results").exists()


def test_a_variable_that_hides_devices_is_named(project: World, monkeypatch: pytest.MonkeyPatch) -> None:
    project(GPUS, half=HALF)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")

    with pytest.raises(Refused, match="let this process see more: CUDA_VISIBLE_DEVICES is '-1'"):
        ml.execute("half")
