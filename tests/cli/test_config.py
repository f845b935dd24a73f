"""`machinable config`."""

from __future__ import annotations

from pathlib import Path

import pytest

from machinable.config.nodes import Source
from machinable.config.reader import read
from tests.cli.conftest import Run


def test_the_configuration_is_yaml_without_hidden_keys(run: Run) -> None:
    ran = run("config", "tr", "~fast", "data.batch=16")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "# train @fast data.batch=16\n# module: train\n# mixins: loader\n"
        "data:\n  name: mnist\n  batch: 16\nrate: 0.5\nlayers: [1, 2]\nhalf: 0.5\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["text='1e-3'", "number=1e-3", "large=1e300", "none=null", "word='yes'", "date=2020-01-31", "zero='012'"],
        ["text='a: b'", 'lines="a\\nb"', "tilde='~'", "empty={}", "list=[]", "nested=[{a: [1]}, x]", "umlaut=ä"],
        ["nan=.nan"],
    ],
)
def test_printed_yaml_reads_back_as_the_same_values(run: Run, words: list[str]) -> None:
    ran = run("config", "train", *words)

    again = read(Source("again", ran.out))
    expected = read(Source("words", "\n".join(word.replace("=", ": ", 1) for word in words)))
    assert repr({key: again[key] for key in expected}) == repr(dict(expected))


def test_explain_names_every_layer_the_oldest_first(run: Run) -> None:
    assert run("config", "train", "~fast", "rate=2", "--explain", "rate").out == (
        "base machinable.yaml:6:7 0.1 → ~fast machinable.yaml:9:9 0.5 → here 2\n"
    )
    assert run("config", "train", "--explain", "data.batch").out == "mixin loader machinable.yaml:2:34 8\n"
    assert run("config", "train", "rate=2", "--explain", "half").out == "machinable.yaml:13:7 $self.rate = 2\n"
    assert run("config", "train", "--explain", "layers[1]").out == "machinable.yaml:12:19 2\n"


def test_explain_never_shows_a_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")

    ran = run("config", "train", "_token=other", "--explain", "_token")

    assert ran.out == "base machinable.yaml:7:7 … → here …\n"
    assert "s3cret" not in run("config", "train", "--json").out


def test_explain_suggests_keys_similar_to_an_unknown_one(run: Run) -> None:
    ran = run("config", "train", "--explain", "data.bacth")

    assert ran.code == 2
    assert "Did you mean 'data.batch' or" in ran.err


def test_diff_shows_the_keys_that_differ_in_two_columns(run: Run) -> None:
    assert run("config", "train", "~deep", "--diff", "~fast", "data.batch=16").out == (
        "            @deep      @fast data.batch=16\n"
        "data.batch  8          16\n"
        "rate        0.1        0.5\n"
        "layers      [1, 2, 3]  [1, 2]\n"
        "half        0.1        0.5\n"
    )


def test_diff_alone_compares_with_the_declaration(run: Run) -> None:
    data = run("config", "train", "new=1", "--diff", "--json").data

    assert data == {
        "component": "train",
        "versions": [[], []],
        "differences": [{"key": "new", "before": 1}],
    }
    same = run("config", "train", "rate=0.1", "--diff")
    assert (same.code, same.out, same.err) == (0, "", "no difference between rate=0.1 and as declared\n")


def test_json_has_the_whole_configuration(run: Run) -> None:
    assert run("config", "train", "@fast", "--json").data == {
        "component": "train",
        "module": "train",
        "versions": ["~fast"],
        "mixins": [{"name": "loader", "origin": "loader"}],
        "config": {"data": {"name": "mnist", "batch": 8}, "rate": 0.5, "layers": [1, 2], "half": 0.5},
        "warnings": [],
    }
    assert run("config", "train", "~fast", "--explain", "rate", "--json").data == {
        "component": "train",
        "key": "rate",
        "value": 0.5,
        "layers": [
            {"layer": "base", "at": "machinable.yaml:6:7", "text": "0.1"},
            {"layer": "~fast", "at": "machinable.yaml:9:9", "text": "0.5"},
        ],
    }


def test_no_module_is_imported(run: Run, project: Path) -> None:
    (project / "train.py").write_text("raise RuntimeError('imported')\n")

    assert run("config", "train").code == 0


TYPED = """\
from dataclasses import dataclass, field
from pathlib import Path

from machinable import Component

print("imported")


class Train(Component):
    @dataclass
    class Config:
        data: dict
        rate: float
        half: float
        layers: tuple[int, ...]
        folder: Path = Path("a//b")
"""


def test_values_are_shown_as_a_config_class_makes_them(run: Run, project: Path) -> None:
    (project / "train.py").write_text(TYPED)

    ran = run("config", "train", "rate='2'")

    assert ran.out.splitlines()[-5:] == ["  batch: 8", "rate: 2.0", "layers: [1, 2]", "half: 2.0", "folder: a/b"]
    assert run("config", "train", "--json").data["config"]["folder"] == "a/b"


def test_a_config_class_in_a_module_that_the_component_imports_from_is_found(run: Run, project: Path) -> None:
    (project / "shared.py").write_text(TYPED)
    (project / "train.py").write_text("from shared import Train as Base\n\n\nclass Train(Base):\n    pass\n")

    assert run("config", "train").out.splitlines()[-1] == "folder: a/b"


def test_values_that_a_config_class_refuses_are_shown_as_written_with_a_warning(run: Run, project: Path) -> None:
    (project / "train.py").write_text(TYPED)

    ran = run("config", "train", "rate=fast")

    assert (ran.code, "rate: fast" in ran.out) == (0, True)
    assert "without `class Config`:\ncommand line:1:1: rate is 'fast', but it must be a float\n" in ran.err


def test_values_are_shown_as_written_where_the_component_does_not_import(run: Run, project: Path) -> None:
    (project / "train.py").write_text("import nothing_of_this_name\n" + TYPED)
    ran = run("config", "train")
    assert (ran.code, "rate: 0.1" in ran.out) == (0, True)
    assert "the module 'train' cannot be imported" in ran.err


def test_versions_lists_what_each_version_changes(run: Run) -> None:
    ran = run("versions", "train")

    assert ran.out == (
        "version    key         without  with\n"
        "~fast      rate            0.1  0.5\n"
        "~fast      half            0.1  0.5\n"
        "~fast:big  data.batch        8  512\n"
        "~deep      layers       [1, 2]  [1, 2, 3]\n"
    ).replace("    0.1  0.5", "0.1      0.5").replace("      8  512", "8        512").replace(
        " [1, 2]  [", "[1, 2]   ["
    )
    assert run("versions", "train", "--json").data["versions"][2] == {
        "version": "~deep",
        "changes": [{"key": "layers", "before": [1, 2], "after": [1, 2, 3]}],
    }


def test_a_component_without_versions_says_so(run: Run, project: Path) -> None:
    (project / "machinable.yaml").write_text("components:\n  - plain: {a: 1}\n")

    ran = run("versions", "plain")

    assert (ran.code, ran.out) == (0, "")
    assert ran.err == "plain has no versions; a key that starts with ~ in its entry declares one\n"


def test_directives_work_on_the_command_line(run: Run) -> None:
    words = ["layers.-1=9", "layers.0=5", "data=null", "data.name=x", "_remove_=[half]"]
    assert run("config", "train", *words, "--json").data["config"] == {
        "data": {"name": "x"},
        "rate": 0.1,
        "layers": [5, 9],
    }
    ran = run("config", "train", "rate=1", "layers.5=9")
    assert (ran.code, ran.err.splitlines()[0]) == (
        2,
        "command line:1:8: there is no element 5: the list has 2 elements",
    )
