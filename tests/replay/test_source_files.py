"""Which files of a project some modules need."""

from __future__ import annotations

from pathlib import Path

import pytest

from machinable.replay.source_files import SourceFiles, find_source_files


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
    found = find_source_files(str(project), ["train"])

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
    assert find_source_files(str(project), ["tools.deep.inner"]).files[:3] == ["helpers.py", "names.py", "plain.py"]
    assert "tools/__init__.py" in find_source_files(str(project), ["tools.scale"]).files


def test_what_is_not_in_the_project_is_told(project: Path) -> None:
    assert find_source_files(str(project), ["absent", "tools.absent", "names"]).missing == ["absent", "tools.absent"]


def test_a_file_that_does_not_parse_is_taken_and_told(project: Path) -> None:
    assert find_source_files(str(project), ["broken"]) == SourceFiles(["broken.py"], [], [], ["broken.py"])


def test_data_that_the_code_names_comes_along(project: Path) -> None:
    for name in ("tools/near.npz", "data/far.csv", "data/unnamed.csv", "unnamed.txt"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("1")
    (project.parent / "outside.txt").write_text("1")
    (project / "tools/scale.py").write_text(
        "near = Path(__file__).with_name('near.npz')\nfar = open('data/far.csv')\n"
        "no = 'data', '', '../../outside.txt', '/'\n"
    )

    assert find_source_files(str(project), ["tools.scale"]).files == [
        "data/far.csv",
        "tools/__init__.py",
        "tools/near.npz",
        "tools/scale.py",
    ]
