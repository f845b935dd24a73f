"""Listeners by name, in settings and in calls."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import MachinableError
from machinable.listeners import registry
from tests.conftest import World

NOTES = """\
from machinable.events import Listener

heard = []


def tell(event):
    heard.append(type(event).__name__)


def two(one, another):
    pass


class Counts(Listener):
    def __init__(self, name="x"):
        self.name = name

    def on_trial(self, trial):
        heard.append((self.name, trial.event, trial.status, dict(trial.config), len(trial.records), trial.files))


class Plain:
    pass


instance = Counts("instance")
number = 5
"""
WORK = """\
from machinable import Component


class Work(Component):
    def on_execute(self):
        self.record["loss"] = 0.5
        self.record.save()
        self.store.write("a.json", [])
        if self.config.fails:
            raise ValueError("no")
"""
YAML = "components: [work: {fails: false, _token: hush}]\n"


@pytest.fixture
def here(project: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = project(YAML, work=WORK, notes=NOTES)
    monkeypatch.chdir(path)
    return path


def heard() -> list[Any]:
    import notes  # type: ignore[import-not-found]

    found: list[Any] = notes.heard
    return found


def settings(text: str) -> None:
    path = Path.home() / ".machinable"
    path.mkdir(exist_ok=True)
    (path / "settings.yaml").write_text(text)


def test_listeners_of_the_project_the_user_and_the_call_hear_each_once(here: Path) -> None:
    (here / "machinable.yaml").write_text(f"{YAML}execution: {{listeners: [notes.tell]}}\n")
    settings("listeners: [notes.tell, {type: notes.Counts, name: user}]\n")
    try:
        ml.execute("work", listeners=["notes.instance"])
    finally:
        settings("")

    assert heard() == [
        "ExecutionStarted",
        "TrialStarted",
        ("instance", "started", "running", {"fails": False}, 0, []),
        ("user", "started", "running", {"fails": False}, 0, []),
        "TrialFinished",
        ("instance", "finished", "finished", {"fails": False}, 1, ["a.json"]),
        ("user", "finished", "finished", {"fails": False}, 1, ["a.json"]),
        "ExecutionFinished",
    ]


def test_a_trial_that_is_retried_has_not_ended_for_listeners(here: Path) -> None:
    ml.execute(
        ml.Task("work", name="n").version({"fails": True}), on_failure="continue", retries=1, listeners=["notes.Counts"]
    )

    assert [event for _, event, *_ in heard()] == ["started", "started", "failed"]


@pytest.mark.parametrize(
    ("variable", "number"), [("off", 0), ("OFF", 0), ("notes.tell", 4), ("notes.tell, notes.tell", 8)]
)
def test_the_environment_replaces_the_settings(
    here: Path, monkeypatch: pytest.MonkeyPatch, variable: str, number: int
) -> None:
    (here / "machinable.yaml").write_text(f"{YAML}execution: {{listeners: [webhook]}}\n")
    monkeypatch.setenv("MACHINABLE_LISTENERS", variable)

    ml.execute("work")

    assert len(heard()) == number


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("webhok", "no listener named 'webhok'\n  Did you mean 'webhook'?"),
        ("machinable.listeners.webook", "no listener named 'webook'\n  Did you mean 'webhook'?"),
        ("notes.tel", "the module 'notes' has no 'tel'\n  Did you mean 'tell'?"),
        ("note.tell", "the module 'note' cannot be imported: ModuleNotFoundError: No module named 'note'"),
        ("notes..tell", "'notes..tell' is not `module.name`"),
        ("", "no listener named ''"),
        ("notes.two", "the listener two(one, another) cannot take one event"),
        ("notes.number", "the listener 5 cannot be called"),
        ("notes.Plain", "the listener 'notes.Plain' is not a subclass of machinable.events.Listener"),
        ({"type": "notes.Counts", "nam": "a"}, "the listener 'notes.Counts' takes no nam\n  Did you mean 'name'?"),
        ({"type": "notes.tell", "a": 1}, "the listener 'notes.tell' takes no a: it is not a class"),
        ({"name": "webhook"}, "the listener has no `type`"),
        ({"type": 3}, "3 is not the name of a listener"),
        ({"type": "webhook", "event": "x"}, "the listener 'webhook' takes no event\n  Did you mean 'events'?"),
        ({"type": "webhook", "events": ["finish"]}, "no event of the listener 'webhook' named 'finish'"),
        ({"type": "webhook", "events": 3}, "`events` of the listener 'webhook' is 3"),
        ({"type": "webhook", "variable": []}, "`variable` of the listener 'webhook' is []"),
        ("webhook", "needs a URL, and the environment variable MACHINABLE_WEBHOOK is not set"),
        ({"type": "mlflow", "experiment": 3}, "`experiment` of the listener 'mlflow' is 3, and not text"),
        ({"type": "mlflow", "experiment": ""}, "`experiment` of the listener 'mlflow' is empty"),
        ({"type": "tensorboard", "artifacts": "no"}, "`artifacts` of the listener 'tensorboard' takes true or false"),
        ({"type": "wandb", "mode": "offlin"}, "no mode of the listener 'wandb' named 'offlin'"),
    ],
)
def test_what_is_not_a_listener_is_an_error_before_anything_runs(here: Path, given: Any, message: str) -> None:
    for call in (lambda: registry.make(given, str(here)), lambda: ml.execute("work", here / "s", listeners=[given])):
        with pytest.raises(MachinableError) as caught:
            call()
        assert message in str(caught.value)
    assert not (here / "s").exists()


def test_wrong_settings_are_reported_together_and_at_their_places(here: Path) -> None:
    (here / "machinable.yaml").write_text(f"{YAML}execution:\n  listeners: [webhok, notes.tel]\n")

    with pytest.raises(MachinableError) as caught:
        ml.execute("work", engine="dry")

    assert [(str(one.at), one.path) for one in caught.value.parts] == [
        ("machinable.yaml:3:15", "execution.listeners"),
        ("machinable.yaml:3:23", "execution.listeners"),
    ]


@pytest.mark.parametrize("text", ["webhook", "{type: webhook}", "3"])
def test_settings_that_are_not_a_list_are_an_error(here: Path, text: str) -> None:
    (here / "machinable.yaml").write_text(f"{YAML}execution:\n  listeners: {text}\n")
    with pytest.raises(TypeError, match=r"(?s)machinable.yaml:3:3: execution.listeners is .*Put it in brackets"):
        ml.execute("work")
    (here / "machinable.yaml").write_text(YAML)
    settings(f"listeners: {text}\n")
    try:
        with pytest.raises(TypeError, match=r"listeners in ~/.machinable/settings.yaml is .* not a list"):
            ml.execute("work")
    finally:
        settings("")


def test_other_packages_add_listeners_by_an_entry_point(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("count", "notes:Counts", registry.GROUP),
        EntryPoint("broken", "no_such_package:Listener", registry.GROUP),
    ]
    monkeypatch.syspath_prepend(here)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == registry.GROUP else [])

    ml.execute("work", listeners=["count"])

    assert len(heard()) == 2
    with pytest.raises(ImportError, match="the listener 'broken' cannot be imported from no_such_package:Listener"):
        registry.make("broken")
    with pytest.raises(KeyError, match="Did you mean 'count'"):
        registry.make("coun")


def test_a_tool_that_is_not_installed_is_an_error_that_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("machinable.listeners.tracker.find_spec", lambda name: None)

    with pytest.raises(ImportError, match=r"(?s)needs tensorboardX.*pip install 'machinable-engine\[tensorboard\]'"):
        registry.make("machinable.listeners.tensorboard")
