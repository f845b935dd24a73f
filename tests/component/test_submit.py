"""What is checked and changed before trials run: config methods, and `on_submit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import machinable as ml
from machinable.component.base import Component, Mixin, Submission
from machinable.component.submit import apply_on_submit
from machinable.errors import MachinableError
from machinable.plan.spec import MixinSpec
from tests.component.worlds import spec

BEFORE = spec().definition


def applied(cls: type[Component], *mixins: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what the hooks of a component with mixins of this module set."""
    specs = tuple(MixinSpec(f"_{name.lower()}_", __name__, name) for name in mixins)
    before = replace(BEFORE, environment={"HOME": "/x", "OLD": "1"}, resources={"cpus": 1}, mixins=specs)
    return apply_on_submit(before, config or {}, cls, (), "/nowhere")


class Silent(Component):
    pass


class Java(Mixin):
    @classmethod
    def on_submit(cls, submission: Submission) -> None:
        submission.environment["JAVA"] = submission.environment.get("JAVA", "") + cls.__name__


class Kotlin(Java):
    pass


class Quiet(Mixin):
    pass


class Greedy(Component):
    @classmethod
    def on_submit(cls, submission: Submission) -> None:
        assert submission.component == "work"
        submission.resources["memory"] = f"{submission.config['size']}GiB"
        submission.resources["cpus"] += 1
        submission.environment |= {"JAVA": submission.environment.get("JAVA", "") + "!", "OLD": None, "N": 4}
        submission.config["size"] = 99


def test_components_and_mixins_change_what_trials_run_with() -> None:
    config = {"size": 2}
    assert applied(Greedy, "Java", config=config) == {
        "environment": {"HOME": "/x", "JAVA": "Java!", "N": "4"},
        "resources": {"cpus": 2, "memory": 2 * 2**30},
    }
    assert config == {"size": 2}


def test_a_hook_that_several_classes_share_is_called_once() -> None:
    assert applied(Silent, "Java", "Kotlin")["environment"]["JAVA"] == "Java"
    assert applied(Silent, "Kotlin", "Java")["environment"]["JAVA"] == "Kotlin"


def test_nothing_changes_without_hooks() -> None:
    assert applied(Silent, "Quiet") == {}


def speaking(body: Any) -> type[Component]:
    return type("Speaking", (Component,), {"on_submit": body})


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (lambda submission: None, TypeError, "on_submit of Speaking is not a class method"),
        (classmethod(lambda cls, submission: 1 / 0), ValueError, "on_submit of Speaking raised ZeroDivisionError"),
        (classmethod(lambda cls, s: s.environment.update({"A=B": "x"})), ValueError, "'A=B' cannot be the name"),
        (classmethod(lambda cls, s: s.environment.update({"A": [1]})), TypeError, "the variable A is text, not list"),
        (classmethod(lambda cls, s: s.resources.update(cpus="two")), TypeError, "an amount of cpus is a number"),
        (classmethod(lambda cls, s: setattr(s, "environment", 3)), TypeError, "an environment is a mapping, not 3"),
    ],
)
def test_errors_of_hooks_are_raised_before_anything_runs(body: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        applied(speaking(body))
    assert isinstance(caught.value, MachinableError)
    assert words in str(caught.value)


def test_the_hook_of_the_component_is_last_and_mixins_that_do_not_load_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "speaking_mixin.py").write_text(
        "from machinable import Mixin\nclass Loud(Mixin):\n    @classmethod\n    def on_submit(cls, submission):\n"
        "        submission.environment['SAID'] = submission.environment.get('SAID', '') + 'loud '\n"
    )
    (tmp_path / "empty_mixin.py").write_text("X = 1\n")
    (tmp_path / "broken_mixin.py").write_text("1 / 0\n")
    names = ("speaking_mixin", "empty_mixin", "broken_mixin", "missing_mixin")
    before = replace(BEFORE, mixins=tuple(MixinSpec("_a_", name) for name in names))

    def says(word: str) -> type[Component]:
        def on_submit(cls: Any, submission: Submission) -> None:
            submission.environment["SAID"] = submission.environment.get("SAID", "") + f"{word} "

        return speaking(classmethod(on_submit))

    changed = apply_on_submit(before, {}, says("own"), [says("child"), print], str(tmp_path))
    assert changed["environment"] == {"SAID": "child loud own "}


def test_trials_run_with_submitted_environment_and_resources(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text(
        "mixins:\n  - loud_of_submit: {}\n"
        "components:\n"
        "  - needed_by_submit: {_environment_: {SUBMITTED: needed}}\n"
        "  - work_of_submit:\n"
        "      _mixins_: [loud_of_submit]\n      _environment_: {SUBMITTED: declared}\n"
        "      _requires_: {data: needed_by_submit}\n"
    )
    (tmp_path / "loud_of_submit.py").write_text(
        "from machinable import Mixin\nclass Loud(Mixin):\n    @classmethod\n    def on_submit(cls, submission):\n"
        "        submission.environment['SUBMITTED'] += ', submitted'\n        submission.resources['cpus'] = 2\n"
    )
    for name in ("needed_by_submit", "work_of_submit"):
        (tmp_path / f"{name}.py").write_text(
            "import os\nfrom machinable import Component\nclass Work(Component):\n    def on_execute(self):\n"
            "        return os.environ['SUBMITTED']\n"
        )
    execution = ml.execute(ml.Task("work_of_submit").repeat(2), project=tmp_path)
    assert [trial.result for trial in execution.trials] == ["needed", "declared, submitted", "declared, submitted"]
    assert [trial.threads for trial in execution.trials] == [1, 2, 2]
