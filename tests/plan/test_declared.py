"""Tasks that are declared in machinable.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import MachinableError, UnknownName

COMPONENTS = """\
rates: {all: [1, 2], pair: {rate: 7}}
_token: secret
mixins:
  - extra: {depth: 9}
components:
  - net:
      rate: 0.1
      layers: [64]
      data: {name: mnist, size: 100}
      ~small: {layers: [8]}
      ~large: {layers: [512]}
  - svm: {rate: 0.5, kernel: rbf, ~small: {kernel: linear}}
  - data: {size: 10, _token: none}
  - tuned: {rate: 0, _requires_: {data: data}}
  - parent: {_children_: {model: svm, source: data}}
"""


@pytest.fixture
def project(tmp_path: Path) -> ml.Project:
    return ml.Project(tmp_path)


def declare(project: ml.Project, task: str) -> None:
    lines = "".join(f"    {line}\n" for line in task.splitlines())
    Path(project.path, "machinable.yaml").write_text(f"{COMPONENTS}tasks:\n  study:\n{lines}")


def configs(project: ml.Project, *keys: str, version: Any = None) -> list[Any]:
    """Return the values of these keys in the trials of the task, one or a tuple for each."""
    plan = project.task("study", version).plan(project, seed=1)
    found = [tuple(trial.config.get(key) for key in keys) for trial in plan if not trial.definition.is_requirement]
    return [one[0] for one in found] if len(keys) == 1 else found


# --- what is declared


def test_a_task_is_a_component_with_versions_alternatives_and_repetitions(project: ml.Project) -> None:
    declare(
        project,
        "component: net\nversion: [~small, {epochs: 5}]\neach: [~large, null]\n"
        "grid: {rate: [1, 2], data.name: [a, b]}\nrepeat: 2\ntags: {study: lr}",
    )

    task = project.task("study")
    plan = task.plan(project, seed="OY1p1o")

    same = ml.Task(name="study").component(
        "net",
        ("~small", {"epochs": 5}, ["~large", None], ml.grid({"rate": [1, 2], "data.name": ["a", "b"]})),
        tags={"study": "lr"},
    )
    assert [trial.uid for trial in plan] == [trial.uid for trial in same.repeat(2).plan(project, seed="OY1p1o")]
    assert (plan.name, len(plan)) == ("study", 16)
    assert configs(project, "layers", "rate")[:5] == [([512], 1), ([512], 1), ([512], 2), ([512], 2), ([8], 1)]
    assert plan[0].tags == {"layers": [512], "epochs": 5, "rate": 1, "data.name": "a", "study": "lr"}
    assert str(plan).startswith("study OY1p1o: 16 trials")


def test_a_grid_beside_a_mapping_is_one_version_as_the_same_words_on_the_command_line(project: ml.Project) -> None:
    declare(project, "component: net\nversion: {epochs: 5}\ngrid: {rate: [1, 2]}")

    plan = project.task("study").plan(project, seed=1)
    typed = ml.Task().component("net", [{"epochs": 5, "rate": 1}, {"epochs": 5, "rate": 2}]).plan(project, seed=1)

    assert [trial.uid for trial in plan] == [trial.uid for trial in typed]


@pytest.mark.parametrize(
    ("task", "found"),
    [
        ("component: net", [(0.1, [64])]),
        ("component: net\nversion: ~small", [(0.1, [8])]),
        ("component: net\nversion: {rate: 3}", [(3, [64])]),
        ("component: net\nversion: [_extra_, 'rate: 4', null]", [(4, [64])]),
        ("component: net\neach: [[~small, {rate: 2}], {rate: 3}]", [(2, [8]), (3, [64])]),
        ("component: net\ngrid: {layers: [[1], [2]]}", [(0.1, [1]), (0.1, [2])]),
        ("component: net\ngrid: {layers._append_: [[1], [2]]}", [(0.1, [64, 1]), (0.1, [64, 2])]),
        ("component: net\ngrid: {}\neach:\nversion:\ntags:\nrequires:\nexecution:", [(0.1, [64])]),
        ("component: net\nversion: $.rates.pair", [(7, [64])]),
        ("component: net\ngrid: {rate: $.rates.all}", [(1, [64]), (2, [64])]),
        ("component: net\nversion: {rate: '${RATE:-6}'}", [("6", [64])]),
        ("component: net\nversion: {rate: ${RATE:-6}}", [(6, [64])]),
        ("components: [net, {component: svm, version: ~small}]", [(0.1, [64]), (0.5, None)]),
    ],
)
def test_versions_and_alternatives_have_every_form(project: ml.Project, task: str, found: list[Any]) -> None:
    declare(project, task)

    assert configs(project, "rate", "layers") == found


def test_what_a_task_sets_beside_components_applies_to_all_below_theirs(project: ml.Project) -> None:
    declare(
        project,
        "components:\n  - net\n  - {component: svm, version: {rate: 9}, tags: {own: 1}}\n"
        "version: {rate: 3}\neach: [~small, null]\ntags: {study: both}",
    )

    plan = project.task("study").plan(project)

    assert [(trial.component, trial.config["rate"]) for trial in plan] == [
        *[("net", 3), ("net", 3)],
        *[("svm", 9), ("svm", 9)],
    ]
    assert (plan[0].tags["study"], plan[2].tags["own"]) == ("both", 1)


def test_levels_are_calls_of_split_and_repeat_in_this_order(project: ml.Project) -> None:
    declare(project, "component: net\nlevels: [{split: 5}, {repeat: 2}]")

    plan = project.task("study").plan(project, seed=1)

    same = ml.Task("net").split(5).repeat(2).plan(project, seed=1)
    assert [trial.uid for trial in plan] == [trial.uid for trial in same]


def test_requirements_are_laid_over_those_of_the_component(project: ml.Project) -> None:
    declare(project, "component: tuned\nrequires: {data: [data, {size: 3}], other: data}")
    plan = project.task("study").plan(project)
    assert {name: one.spec.config["size"] for name, one in plan[-1].requires.items()} == {"data": 3, "other": 10}

    declare(project, "component: tuned\nrequires: {data: null}")
    assert dict(project.task("study").plan(project)[-1].requires) == {}

    declare(project, "component: tuned\nrequires: {folds: {component: data, grid: {size: [1, 2]}}}")
    assert list(project.task("study").plan(project)[-1].requires) == ["data", "folds.0", "folds.1"]


def test_children_are_laid_over_those_of_the_component(project: ml.Project) -> None:
    declare(
        project, "component: parent\nchildren: {model: [net, ~small], more: {component: net, grid: {rate: [1, 2]}}}"
    )

    children = project.task("study").plan(project)[0].children

    assert [(one.called, one.component, one.config.get("layers")) for one in children] == [
        ("model", "net", [8]),
        ("source", "data", None),
        ("more.0", "net", [64]),
        ("more.1", "net", [64]),
    ]


def test_children_and_requirements_of_all_are_below_those_of_one(project: ml.Project) -> None:
    declare(
        project,
        "components: [tuned, {component: tuned, requires: {data: [data, {size: 4}]}}]\n"
        "requires: {data: [data, {size: 3}]}\ngrid: {rate: [1]}",
    )

    plan = project.task("study").plan(project)

    assert [trial.requires["data"].spec.config["size"] for trial in plan if trial.requires] == [3, 4]


def test_origins_name_the_line_of_the_task(project: ml.Project) -> None:
    declare(project, "component: net\nversion:\n  data: {size: 5}\ngrid:\n  rate: [1, 2]\neach:\n  - {layers: [1]}")

    trial = project.task("study").plan(project)[0]

    found = {key: trial.definition.origins[key] for key in ("data.size", "data.name", "rate", "layers")}
    assert found == {
        "data.size": "machinable.yaml:20:14",
        "data.name": "machinable.yaml:9:14",
        "rate": "machinable.yaml:22:7",
        "layers": "machinable.yaml:24:10",
    }


def test_settings_are_above_those_of_the_project_and_below_the_call(project: ml.Project, tmp_path: Path) -> None:
    declare(project, "component: net\nexecution: {storage: ./studies, on_failure: continue}")
    Path(project.path, "net.py").write_text("from machinable import Component\nclass Net(Component): pass\n")

    assert ml.execute(project.task("study"), project=project).storage == str(tmp_path / "studies")
    assert ml.execute(project.task("study").plan(project)).storage == str(tmp_path / "studies")
    assert ml.execute(project.task("study"), storage="mem://", project=project).storage.startswith("mem:")


def test_execute_takes_the_name_of_a_task(project: ml.Project) -> None:
    declare(project, "component: net\ngrid: {rate: [1, 2]}")
    Path(project.path, "net.py").write_text("from machinable import Component\nclass Net(Component): pass\n")

    assert [trial.config["rate"] for trial in ml.execute("study", engine="dry", project=project)] == [1, 2]


def test_hidden_values_are_used_but_not_stored(project: ml.Project) -> None:
    declare(project, "component: data\nversion: {_token: $._token}")

    plan = project.task("study").plan(project)

    assert plan[0].config["_token"] == "secret"
    assert "secret" not in str(plan.request.as_data())


def test_a_secret_under_a_visible_key_is_refused(project: ml.Project) -> None:
    declare(project, "component: data\nversion: {name: $._token}")

    with pytest.raises(MachinableError, match="the task 'study' contains a secret, which would be stored"):
        project.task("study")


def test_tasks_of_imported_projects_have_the_name_of_the_import_in_front(project: ml.Project) -> None:
    lib = Path(project.path, "vendor", "lib")
    lib.mkdir(parents=True)
    (lib / "machinable.yaml").write_text(
        "components: [{net: {x: 1, ~big: {x: 5}}}, {data: {n: 1}}]\n"
        "tasks: {sweep: {component: net, each: [~big, {x: 2}], requires: {data: data}}}"
    )
    Path(project.path, "machinable.yaml").write_text("+: [lib]\ncomponents: [{net: {x: 100}}]")

    plan = project.task("+.lib.sweep").plan(project)

    assert [(trial.component, trial.config) for trial in plan] == [
        ("+.lib.data", {"n": 1}),
        ("+.lib.net", {"x": 5}),
        ("+.lib.net", {"x": 2}),
    ]
    with pytest.raises(UnknownName, match=r"no task named '\+\.lib\.sweeps'") as caught:
        project.task("+.lib.sweeps")
    assert "'+.lib.sweep'" in str(caught.value)


# --- a version over a task


@pytest.mark.parametrize(
    ("task", "version", "found"),
    [
        ("component: net\nversion: {rate: 5}", {"rate": 1}, [(1, [64])]),
        ("component: net\ngrid: {rate: [1, 2], layers: [[1], [2]]}", {"rate": 9}, [(9, [1]), (9, [2])]),
        ("component: net\ngrid: {rate: [1, 2]}", [{"rate": 8}, {"rate": 9}], [(8, [64]), (9, [64])]),
        ("component: net\ngrid: {rate: [1, 2]}", "~small", [(1, [8]), (2, [8])]),
        ("component: net\neach: [{rate: 1}, {rate: 2, layers: [3]}]", {"rate": 9}, [(9, [64]), (9, [3])]),
        ("component: net\neach: [{layers: [1]}, ~small]", ("~large", {"rate": 9}), [(9, [512]), (9, [512])]),
        ("component: net\ngrid: {rate: [1, 2]}", {}, [(1, [64]), (2, [64])]),
    ],
)
@pytest.mark.filterwarnings("ignore:an alternative has the configuration of an earlier one")
def test_a_version_over_a_task_wins_and_replaces_alternatives(
    project: ml.Project, task: str, version: Any, found: list[Any]
) -> None:
    declare(project, task)

    assert configs(project, "rate", "layers", version=version) == found


# --- what is wrong


@pytest.mark.parametrize(
    ("task", "message", "todo"),
    [
        ("{}", "17:3: the task 'study' has no component", "Write `component: NAME`"),
        ("components: []", "18:5: `components` takes at least one component", "Write `components: [{component:"),
        ("components: net", "18:5: `components` takes a list, not 'net'", "Write `components: [{component:"),
        ("components: [3]", "18:18: item 0 of `components` is 3", "Write `{component: NAME}`."),
        ("components: [{version: ~small}]", "18:18: item 0 of `components` has no `component`", "Write `{component"),
        (
            "components: [{component: net, repeat: 2}]",
            "18:35: no key of a component of a task named 'repeat'",
            "Known:",
        ),
        ("component: net\ncomponents: [net]", "18:5: a task has either `component` or `components`", "Keep one"),
        ("component: nett", "18:5: no component named 'nett'", "Did you mean 'net'?"),
        ("component: study", "18:5: no component named 'study'", "execute study --dry"),
        ("component: [net, ~small]", "18:5: `component` takes the name of a component, not a list", "below `version`"),
        ("component: net\nversions: ~small", "19:5: no key of a task named 'versions'", "Did you mean 'version'?"),
        ("component: net\nsplit: 3", "19:5: no key of a task named 'split'", "Write `levels: [{split: 5}]`."),
        ("component: net\n3: 3", "19:5: the key '3' is not text", "Write it in quotes"),
        ("component: net\nversion: ~smal", "19:5: no version named '~smal'", "Did you mean '~small'?"),
        ("component: net\nversion: [~large, ~smal]", "19:23: no version named '~smal'", "Did you mean '~small'?"),
        ("component: net\nversion: 3", "19:5: 3 is not a version", "Write ~name, _mixin_"),
        ("component: net\nversion: [[~small]]", "19:15: a list in a version", "below `each`"),
        ("component: net\nversion: gone.yaml", "19:5: no version file 'gone.yaml'", "relative to the project"),
        ("component: net\nversion: {_seeds_: 3}", "19:15: no reserved key named '_seeds_'", "'_seed_'"),
        ("component: net\nversion: {rate: $.rates.al}", "19:21: '$.rates.al': there is no key 'al'", "'all'"),
        (
            "component: net\nversion: {rate: $self.size}",
            "19:21: the reference '$self.size' has no meaning in a",
            "version",
        ),
        ("component: net\neach: ~small", "19:5: `each` takes a list of versions, not '~small'", "Write `each: ["),
        ("component: net\neach: []", "19:5: `each` takes at least one version", "Write `each: ["),
        ("component: net\neach: [~small, ~larg]", "19:20: no version named '~larg'", "Did you mean '~large'?"),
        ("component: net\neach: [~small, 3]", "19:20: 3 is not a version", "Write ~name"),
        (
            "component: net\neach: [~small, {rate: 1}, ~small]",
            "19:31: `each` has the same alternative twice",
            "Keep one",
        ),
        (
            "component: net\ngrid: [1]",
            "19:5: `grid` takes a mapping from keys to lists, not a list",
            "a list of values",
        ),
        ("component: net\ngrid: {rate: 3}", "19:12: the values of 'rate' are not a list but 3", "a list of values for"),
        (
            "component: net\ngrid: {data: {name: [a]}}",
            "19:12: the values of 'data' are not a list but a map",
            "with dots",
        ),
        ("component: net\ngrid: {rate: []}", "19:12: 'rate' has no values: its list is empty", "Write at least one"),
        ("component: net\ngrid: {rate: [1, 2, 1]}", "19:25: 'rate' has the value 1 twice", "Keep one of them"),
        ("component: net\ngrid: {3: [1]}", "19:12: the key '3' is not text", "Write it in quotes"),
        ("component: net\ngrid: {data: [{}], data.x: [1]}", "19:24: 'data.x' is part of 'data'", "Write it within"),
        (
            "component: net\nversion: {rate: 1}\ngrid: {rate: [1]}",
            "19:15: 'rate' has a value in a version, and",
            "Keep one",
        ),
        ("component: net\neach: [{rate: 1}, null]\ngrid: {rate: [1]}", "19:13: 'rate' has a value in a", "Keep one"),
        ("component: net\nrepeat: 0", "19:5: repeat takes a number of at least 1, not 0", "Give 1 or more."),
        ("component: net\nrepeat: many", "19:5: repeat takes a whole number, not 'many'", ""),
        (
            "component: net\nrepeat: 2\nlevels: [{split: 2}]",
            "19:5: a task has either `repeat` or `levels`",
            "Write both",
        ),
        ("component: net\nlevels: {split: 2}", "19:5: `levels` takes a list, not a mapping", "Write `levels: ["),
        ("component: net\nlevels: []", "19:5: `levels` takes at least one level", "Write `levels: ["),
        (
            "component: net\nlevels: [{split: 2, repeat: 2}]",
            "19:14: a level is `repeat` or `split` with a number",
            "Write",
        ),
        ("component: net\nlevels: [{splt: 2}]", "19:15: no kind of level named 'splt'", "Did you mean 'split'?"),
        ("component: net\nlevels: [{split: -1}]", "19:15: split takes a number of at least 1, not -1", ""),
        (
            "component: net\ntags: [a]",
            "19:5: `tags` takes a mapping with names that are text, not a list",
            "Write `tags",
        ),
        ("component: net\nchildren: {model: [nett]}", "19:16: no component named 'nett'", "Did you mean 'net'?"),
        ("component: net\nchildren: net", "19:5: children are a mapping of names", "Write {"),
        ("component: tuned\nrequires: {data: dat}", "19:16: no component named 'dat'", "Did you mean 'data'?"),
        ("component: tuned\nrequires: {data: 3}", "19:16: 3 is not a requirement", "Write a component"),
        ("component: tuned\nrequires: data", "19:5: requirements are a mapping of names", "Write {data: component}"),
        ("component: net\nexecution: local", "19:5: `execution` takes a mapping, not 'local'", "Its keys are storage"),
        ("component: net\nexecution: {engin: local}", "19:17: no setting of a task named 'engin'", "'engine'"),
        (
            "component: net\nexecution: {threads: 2}",
            "19:17: no setting of a task named 'threads'",
            "It is the same for all",
        ),
        (
            f"component: net\ngrid: {{a: {list(range(999))}, b: {list(range(999))}, c: {list(range(99))}}}",
            "19:5: the grid has more than 10,000,000 combinations: 999 x 999 x 99",
            "Give fewer values",
        ),
        (
            f"component: net\ngrid: {{a: {list(range(999))}, b: {list(range(999))}}}\nrepeat: 100",
            "17:3: the task 'study' has more than 10,000,000 trials",
            "List fewer",
        ),
    ],
)
def test_what_is_wrong_is_one_message_with_its_place_and_the_next_step(
    project: ml.Project, task: str, message: str, todo: str
) -> None:
    declare(project, task)

    with pytest.raises(MachinableError) as caught:
        project.task("study").plan(project)

    text = str(caught.value)
    assert text.splitlines()[0].startswith(f"machinable.yaml:{message}")
    assert todo in text
    assert len(caught.value.parts) == 1


@pytest.mark.parametrize("grid", ["{_token: abcdef}", "{_token: [abcdef, abcdef]}", "{data._key: [abcdef, abcdef]}"])
def test_values_of_hidden_keys_are_not_shown(project: ml.Project, grid: str) -> None:
    declare(project, f"component: net\ngrid: {grid}")

    with pytest.raises(MachinableError) as caught:
        project.task("study")

    assert "abcdef" not in str(caught.value) + str(caught.value.as_data())


def test_all_errors_of_a_task_are_told_together(project: ml.Project) -> None:
    declare(project, "component: nett\neach: []\nrepeat: 0\nlevel: 3")

    with pytest.raises(MachinableError) as caught:
        project.task("study")

    assert [str(one.at).rpartition(":")[0] for one in caught.value.parts] == [
        "machinable.yaml:21",
        "machinable.yaml:18",
        "machinable.yaml:19",
        "machinable.yaml:20",
    ]


def test_an_error_in_one_task_does_not_stop_the_others(project: ml.Project) -> None:
    declare(project, "component: net\neach: []")

    assert len(ml.Task("net").plan(project)) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("studdy", "Did you mean 'study'?"), ("net", "'net' is a component: Task('net').")],
)
def test_an_unknown_name_says_what_there_is(project: ml.Project, name: str, message: str) -> None:
    declare(project, "component: net")

    with pytest.raises(UnknownName) as caught:
        project.task(name)

    assert str(caught.value).startswith(f"no task named {name!r}")
    assert message in str(caught.value)


def test_a_misspelt_key_of_a_grid_is_named_with_its_line(project: ml.Project) -> None:
    declare(project, "component: net\ngrid: {laiers: [[1], [2]]}")

    with pytest.warns(UserWarning, match=r"net has no key 'laiers', so it is added. Did you mean 'layers'\?") as caught:
        project.task("study").plan(project)

    assert len(caught) == 1
    assert "machinable.yaml:19:12" in str(caught[0].message)
