"""Which files of a project some modules need, and what of them counts as code."""

from __future__ import annotations

from pathlib import Path

import pytest

from machinable.component.source_files import SourceFiles, Sources, code_digest, find_source_files


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "train.py": "import os, numpy.linalg\nfrom machinable import Component\nimport tools.noise as noise\n",
        "tools/__init__.py": "from . import scale\n",
        "tools/noise.py": "from .deep.inner import draw\nfrom ..nothing import x\n",
        "tools/scale.py": "",
        "tools/unused.py": "import nowhere\n",
        "tools/deep/__init__.py": "",
        "tools/deep/inner.py": "from .. import late\ndef draw():\n    from helpers import lazy\n",
        "tools/late.py": "import train\n",
        "helpers.py": "import importlib\nlazy = importlib.import_module('plugins.one')\nother = __import__('plain')\n",
        "plugins/one.py": "importlib.import_module(name)\nimport_module('.relative', 'plugins')\n",
        "plain.py": "from names import *\n",
        "names.py": "",
        "broken.py": "def (:\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_all_that_is_imported_directly_or_not_and_nothing_else(project: Path) -> None:
    found = find_source_files(Sources(str(project)), ["train"])

    assert found.files == [
        "helpers.py",
        "names.py",
        "plain.py",
        "plugins/one.py",
        "tools/__init__.py",
        "tools/deep/__init__.py",
        "tools/deep/inner.py",
        "tools/late.py",
        "tools/noise.py",
        "tools/scale.py",
        "train.py",
    ]
    assert set(found.others) >= {"os", "numpy", "machinable", "importlib"}
    assert not {"tools", "helpers", "plugins", "names"} & set(found.others)
    assert (found.missing, found.unread) == ([], [])


def test_a_module_in_a_package_brings_the_package(project: Path) -> None:
    assert find_source_files(Sources(str(project)), ["tools.deep.inner"]).files[:3] == [
        "helpers.py",
        "names.py",
        "plain.py",
    ]
    assert "tools/__init__.py" in find_source_files(Sources(str(project)), ["tools.scale"]).files


def test_what_is_not_in_the_project_is_reported(project: Path) -> None:
    assert find_source_files(Sources(str(project)), ["absent", "tools.absent", "names"]).missing == [
        "absent",
        "tools.absent",
    ]


def test_a_file_that_does_not_parse_is_included_and_reported(project: Path) -> None:
    assert find_source_files(Sources(str(project)), ["broken"]) == SourceFiles(["broken.py"], [], [], ["broken.py"])


def test_data_that_the_code_names_comes_along(project: Path) -> None:
    for name in ("tools/near.npz", "data/far.csv", "data/unnamed.csv", "unnamed.txt"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("1")
    (project.parent / "outside.txt").write_text("1")
    (project / "tools/scale.py").write_text(
        "near = Path(__file__).with_name('near.npz')\nfar = open('data/far.csv')\n"
        "no = 'data', '', '../../outside.txt', '/'\n"
    )

    assert find_source_files(Sources(str(project)), ["tools.scale"]).files == [
        "data/far.csv",
        "tools/__init__.py",
        "tools/near.npz",
        "tools/scale.py",
    ]


@pytest.mark.parametrize(
    "same",
    [
        "def f(x):\n    return x + 1\n",
        "# a comment\n\n\ndef f(x):  # and another\n    return x + 1\n",
        '"""A module."""\ndef f(x):\n    """Add one."""\n    return x + 1\n',
        "def f(x):\n\treturn (x +\n\t\t1)\n",
        "def f(x): return x + 1",
    ],
)
def test_comments_blank_lines_layout_and_docstrings_are_not_code(same: str) -> None:
    assert code_digest(same.encode()) == code_digest(b"def f(x):\n    return x + 1\n")


@pytest.mark.parametrize(
    "other",
    [
        "def f(x):\n    return x + 2\n",
        "def f(x):\n    return x + 1.0\n",
        "def f(y):\n    return y + 1\n",
        "def f(x):\n    return x + 1\nX = 'text'\n",
        "def f(x=None):\n    return x + 1\n",
        "def f(x):\n    'doc'\n    'no doc'\n    return x + 1\n",
        "def f(x:\n",
    ],
)
def test_everything_else_is_code(other: str) -> None:
    assert code_digest(other.encode()) != code_digest(b"def f(x):\n    return x + 1\n")


def test_two_files_that_do_not_parse_are_the_same_code_if_they_are_equal() -> None:
    assert code_digest(b"def (:\n") == code_digest(b"def (:\n") != code_digest(b"def (: #\n")


def test_modules_of_a_src_layout_are_found_where_python_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src" / "pkg").mkdir(parents=True)
    (tmp_path / "src" / "pkg" / "__init__.py").write_text("")
    (tmp_path / "src" / "pkg" / "train.py").write_text("from pkg import lib\n")
    (tmp_path / "src" / "pkg" / "lib.py").write_text("")
    assert find_source_files(Sources(str(tmp_path)), ["pkg.train"]).missing == ["pkg.train"]
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    found = find_source_files(Sources(str(tmp_path)), ["pkg.train"])
    assert found.files == ["src/pkg/__init__.py", "src/pkg/lib.py", "src/pkg/train.py"]
