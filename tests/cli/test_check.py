"""`machinable check`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run

MODULE = "from machinable import Component\n\n\nclass One(Component):\n    def config_rate(self):\n        return 1\n"


def test_a_valid_project_has_one_line(run: Run) -> None:
    ran = run("check")

    assert (ran.code, ran.out, ran.err) == (0, "2 components, 5 versions, 0 errors, 0 hints\n", "")


def test_wrong_settings_of_executions_are_reported_with_their_places(run: Run, project: Path) -> None:
    text = (project / "machinable.yaml").read_text()
    (project / "machinable.yaml").write_text(
        text + "\nexecution:\n"
        "  resources: {license: {total: 3, sharde: true}}\n"
        "  retries: -2\n"
        "  on_failure: stopp\n"
        "  engine: prozesses\n"
        "  lease: 0\n"
        "  storage: 3\n"
        "  timeout: 5\n"
    )
    first = text.count("\n") + 3

    ran = run("check", "--json")

    found = [(error["at"], error["message"].splitlines()[0]) for error in ran.data["errors"]]
    assert ran.code == 2
    assert [at for at, _ in found] == [f"machinable.yaml:{first + line}:3" for line in range(6)]
    assert [message for _, message in found] == [
        "no part of a resource named 'sharde'",
        "a number of retries cannot be negative or infinite: -2",
        "on_failure is 'stopp'",
        "no engine named 'prozesses'",
        "a lease of 0 s is too short",
        "not a storage: 3",
    ]


def test_all_errors_are_reported_together(run: Run, project: Path) -> None:
    (project / "machinable.yaml").write_text(
        "components:\n"
        "  - a: {x: $self.y, ~v: {z: $.nowhere}}\n"
        "  - b: {_mixins_: [unknown]}\n"
        "  - c: {call: rato()}\n"
        "  - d:\n"
        "  - e: {n: many, ~w: {n: 2}}\n"
    )
    for name in "acd":
        (project / f"{name}.py").write_text(MODULE)
    (project / "d.py").write_text("def broken(:\n")
    (project / "e.py").write_text(
        "from dataclasses import dataclass\n" + MODULE + "\n    @dataclass\n    class Config:\n        n: int = 1\n"
    )

    ran = run("check", "--json")

    assert ran.code == 2
    found = [(error["type"], error["at"]) for error in ran.data["errors"]]
    assert found == [
        ("MissingKey", "machinable.yaml:2:12"),
        ("MissingKey", "machinable.yaml:2:29"),
        ("UnknownName", "machinable.yaml:3:20"),
        ("MissingMember", "machinable.yaml:4:9"),
        ("ImportFailed", "machinable.yaml:5:5"),
        ("WrongType", "machinable.yaml:6:9"),
    ]
    assert (ran.data["components"], ran.data["versions"], ran.data["hints"]) == (5, 2, [])
    text = run("check")
    assert text.code == 2
    assert text.out.splitlines()[-1] == "5 components, 2 versions, 6 errors, 0 hints"


def test_all_errors_in_the_file_are_reported(run: Run, project: Path) -> None:
    (project / "machinable.yaml").write_text("components:\n  - a: {b: 1, b: 1:30}\n  - 3: {}\n")

    ran = run("check")

    assert ran.code == 2
    lines = ran.out.splitlines()
    assert lines[0] == "machinable.yaml:2:15: the key 'b' is defined twice in this mapping"
    assert "machinable.yaml:3:5: the key '3' is not text" in lines
    assert lines[-1] == "0 components, 0 versions, 2 errors, 0 hints"


def test_probable_mistakes_are_hints(run: Run, project: Path) -> None:
    (project / "part.yaml").write_text("n: 012\n")
    (project / "machinable.yaml").write_text(
        "components:\n"
        "  - a: {none: None, quoted: 'None', time: 1:30, big: 1_000, oct: 012, date: 2020-01-01 10:30:00}\n"
        "  - b: {variable: ${N:-1_0}, tagged: !!str 012, zero: 0, float: 0.5, text: a_1}\n"
        "  - part: $/part.yaml\n"
        "  - a: {ok: 1}\n"
    )
    for name in ("a", "b", "part"):
        (project / f"{name}.py").write_text(MODULE)

    ran = run("check")

    assert ran.code == 0
    assert ran.out.splitlines() == [
        "machinable.yaml:2:15: hint: None is the text 'None'; for no value write null, for the text \"None\"",
        'machinable.yaml:2:43: hint: 1:30 is the number 90 (base 60); for the text write "1:30"',
        'machinable.yaml:2:54: hint: 1_000 is the number 1000; for the text write "1_000"',
        'machinable.yaml:2:66: hint: 012 is the number 10 (base 8); for the text write "012"',
        'part.yaml:1:4: hint: 012 is the number 10 (base 8); for the text write "012"',
        "machinable.yaml:5:5: hint: the component 'a' replaces the one at machinable.yaml:2:5 entirely",
        "",
        "3 components, 0 versions, 0 errors, 6 hints",
    ]


def test_a_parent_needs_no_module(run: Run, project: Path) -> None:
    (project / "base.py").unlink()

    ran = run("check")

    assert ran.code == 0
    assert (
        "machinable.yaml:4:5: hint: base has no module and cannot be executed; other components inherit from it"
        in ran.out
    )


@pytest.mark.parametrize("words", [["check"], ["check", "--json"]])
def test_no_project_is_an_error(run: Run, project: Path, words: list[str]) -> None:
    (project / "machinable.yaml").unlink()

    ran = run(*words)

    assert ran.code == 2
    assert "machinable init" in ran.out + ran.err


def test_output_of_modules_goes_to_stderr(run: Run, project: Path) -> None:
    (project / "train.py").write_text("print('imported')\n" + MODULE)

    ran = run("check", "--json")

    assert (ran.data["errors"], ran.err) == ([], "imported\n")


def test_a_misspelt_section_is_a_hint(run: Run, project: Path) -> None:
    (project / "machinable.yaml").write_text("componets:\n  - walk: {a: 1}\nshared: {x: 1}\n")
    ran = run("check")
    assert (ran.code, ran.out.splitlines()[0]) == (
        0,
        "machinable.yaml:1:1: hint: 'componets' is only used by references; did you mean 'components'?",
    )


def test_without_imports_no_code_runs(run: Run, project: Path) -> None:
    (project / "train.py").write_text("open('ran', 'w')\n" + MODULE)
    (project / "base.py").unlink()
    (project / "sitecustomize.py").write_text("open('ran', 'w')\n")

    ran = run("check", "--no-import")

    assert (ran.code, ran.out.splitlines()[-1], ran.err) == (0, "2 components, 5 versions, 0 errors, 0 hints", "")
    assert not (project / "ran").exists()
    (project / "machinable.yaml").write_text("components: [train: {a: $self.b, _requires_: {d: nothing}}]\n")
    data = run("check", "--no-import", "--json").data
    assert [error["type"] for error in data["errors"]] == ["MissingKey"]
    assert not (project / "ran").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--no-import"],
        ["versions", "train"],
        ["schema"],
        ["config", "train"],
        ["config", "train", "--explain", "rate"],
        ["list", "--storage", "out"],
        ["show", "OY1p1o", "--storage", "out"],
        ["diff", "OY1p1o", "OY1p1o", "--storage", "out"],
        ["verify", "--storage", "out"],
        ["export", "OY1p1o", "--storage", "out"],
        ["restore", "OY1p1o", "restored", "--storage", "out"],
        ["clean", "--storage", "out"],
    ],
)
def test_commands_that_are_documented_to_run_no_code_run_none(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    trace = "import os\nif 'TRACE' in os.environ:\n    open(os.environ['TRACE'], 'w')\n"
    (project / "loader.py").write_text("from machinable import Mixin\n\n\nclass Loader(Mixin):\n    pass\n")
    for name in ("train.py", "base.py", "loader.py"):
        (project / name).write_text(trace + (project / name).read_text())
    assert run("execute", "train", "--storage", "out", "--seed", "OY1p1o", "--quiet").code == 0
    monkeypatch.setenv("TRACE", str(project / "ran"))
    for module in ("train", "base", "loader"):
        sys.modules.pop(module, None)

    assert run(*words).code == 0
    assert not (project / "ran").exists()


def test_a_number_that_is_made_from_a_hidden_value_is_a_hint(run: Run, project: Path) -> None:
    (project / "train.py").write_text(MODULE)
    (project / "machinable.yaml").write_text(
        "components:\n  - train:\n      _widths: {small: 8, large: 64}\n      _token: abcdef\n      size: small\n"
        "      width: $self._widths[$self.size]\n      header: $self._token\n      ~large: {size: large}\n"
    )
    ran = run("check")
    assert (ran.code, ran.out.splitlines()[:2]) == (
        0,
        [
            "machinable.yaml:6:7: hint: width is made from a hidden value, so it is neither stored nor part of the "
            "identity; if results depend on it, use a visible key",
            "",
        ],
    )


def test_a_wrong_reserved_key_does_not_stop_other_components(run: Run, project: Path) -> None:
    (project / "machinable.yaml").write_text(
        "mixins: [unused: {_timeout_: never}]\ncomponents: [a: {}, b: {_retires_: 3}, e: {_requires_: {b: b}}]\n"
    )
    for name in "abe":
        (project / f"{name}.py").write_text(MODULE)

    assert run("execute", "a", "--storage", "mem://").code == 0
    checked = run("check", "--json")
    assert checked.code == 2
    assert [error["message"] for error in checked.data["errors"]] == [
        "no reserved key named '_timeout_'",
        "no reserved key named '_retires_'",
    ]
    refused, requiring = run("execute", "b"), run("execute", "e")
    assert refused.code == requiring.code == 2
    assert all(line in requiring.err for line in refused.err.splitlines())
    assert "machinable.yaml:2:25: no reserved key named '_retires_'" in refused.err
    assert run("execute", "b").err == refused.err


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("execution: {engine: {type: processes, slot: 2}}", "machinable.yaml:2:13"),
        ("tasks: {t: {component: a, execution: {engine: {type: processes, slot: 2}}}}", "machinable.yaml:2:39"),
    ],
)
def test_options_of_the_engine_are_checked(run: Run, project: Path, text: str, place: str) -> None:
    (project / "machinable.yaml").write_text(f"components: [{{a: null}}]\n{text}\n")
    (project / "a.py").write_text("from machinable import Component\n\n\nclass A(Component):\n    pass\n")

    ran = run("check")

    assert ran.code == 2
    assert f"{place}: the engine 'processes' takes no slot\n" in ran.out
    assert "Did you mean 'slots'?" in ran.out
    assert ", 1 error," in ran.out
