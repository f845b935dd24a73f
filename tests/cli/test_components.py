"""`machinable components`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import YAML, Run


def test_everything_that_is_declared_is_listed_with_what_it_is(run: Run, project: Path) -> None:
    lib = project / "vendor" / "lib"
    lib.mkdir(parents=True)
    (lib / "machinable.yaml").write_text("components: [{net: {}}]\ntasks: {sweep: {component: net, each: [null]}}")
    (lib / "net.py").write_text(
        "class Net:\n    '''Not a component.'''\nclass Other(Net):\n    '''A net.\n\n    More.'''\n"
    )
    tasks = "tasks:\n  both: {components: [base, {component: train}], repeat: 2}\n"
    (project / "machinable.yaml").write_text(f"+: [lib]\n{YAML}{tasks}")
    (project / "train.py").write_text('"""Train a model."""\nraise SystemExit("imported")\n')

    ran = run("components")

    assert (ran.code, ran.err) == (0, "")
    assert [line.split(maxsplit=2)[:2] for line in ran.out.splitlines()[1:]] == [
        ["base", "component"],
        ["train", "component"],
        ["both", "task"],
        ["loader", "mixin"],
        ["+.lib.net", "component"],
        ["+.lib.sweep", "task"],
    ]
    lines = ran.out.splitlines()
    assert "~fast ~fast:big" in lines[1]
    assert lines[2].endswith("machinable.yaml:12:5             Train a model.")
    assert lines[3].endswith("base, train repeat")
    assert lines[5].endswith("vendor/lib/machinable.yaml:1:15  A net.")
    assert run("components", "--json").data["tasks"][1] == {
        "name": "+.lib.sweep",
        "kind": "task",
        "versions": [],
        "at": "vendor/lib/machinable.yaml:2:9",
        "about": "+.lib.net each",
    }


def test_an_empty_project_says_so(run: Run, project: Path) -> None:
    (project / "machinable.yaml").write_text("")

    assert "machinable.yaml declares no components" in run("components").err
