"""Import the modules of a project as its files were when an execution began."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from machinable.component.imports import import_module
from machinable.component.project_modules import begin_project, importing, loaded_digests
from machinable.storage.hashing import digest

Write = Callable[[dict[str, str]], str]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Write files of a project, and forget its modules afterwards."""

    def write(files: dict[str, str]) -> str:
        for name, text in files.items():
            path = tmp_path / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path / "project")

    before, path, finders = set(sys.modules), list(sys.path), list(sys.meta_path)
    yield write
    assert (sys.path, sys.meta_path) == (path, finders)
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_whose_file_has_changed_is_imported_again(write: Write) -> None:
    project = write({"pm_a.py": "X = 1\n"})
    first = import_module("pm_a", project)
    write({"pm_a.py": "X = 2\n"})

    assert import_module("pm_a", project) is first  # the execution goes on
    begin_project(project)
    assert import_module("pm_a", project).X == 2


def test_what_has_not_changed_stays(write: Write) -> None:
    project = write({"pm_a.py": "import pm_b\nX = 1\n", "pm_b.py": "", "pm_c.py": ""})
    loaded = [import_module(name, project) for name in ("pm_a", "pm_b", "pm_c")]
    os.utime(Path(project, "pm_b.py"), (1, 1))
    begin_project(project)
    assert [import_module(name, project) for name in ("pm_a", "pm_b", "pm_c")] == loaded


@pytest.mark.parametrize(
    "importer",
    [
        "from pm_helper import X\n",
        "import pm_helper\nX = pm_helper.X\n",
        "import importlib\nX = importlib.import_module('pm_helper').X\n",
        "from pm_between import X\n",
        "from pm_pkg.inner import X\n",
        "from pm_pkg import inner\nX = inner.X\n",
    ],
)
def test_a_module_is_imported_again_if_what_it_imports_has_changed(write: Write, importer: str) -> None:
    project = write(
        {
            "pm_a.py": importer,
            "pm_helper.py": "X = 1\n",
            "pm_between.py": "def late():\n    import os\nfrom pm_helper import X\n",
            "pm_pkg/__init__.py": "",
            "pm_pkg/inner.py": "from .deep import X\n",
            "pm_pkg/deep.py": "from pm_helper import X\n",
        }
    )
    assert import_module("pm_a", project).X == 1
    write({"pm_helper.py": "X = 2\n"})
    begin_project(project)
    assert import_module("pm_a", project).X == 2


def test_a_package_that_has_changed_has_its_submodules_again(write: Write) -> None:
    project = write({"pm_pkg/__init__.py": "X = 1\n", "pm_pkg/inner.py": "", "pm_a.py": "import pm_pkg.inner\n"})
    import_module("pm_a", project)
    write({"pm_pkg/__init__.py": "X = 2\n"})
    begin_project(project)
    package = import_module("pm_a", project).pm_pkg
    assert (package.X, package.inner is sys.modules["pm_pkg.inner"]) == (2, True)


def test_modules_that_import_each_other_are_imported_again_together(write: Write) -> None:
    project = write({"pm_a.py": "import pm_b\nX = 1\n", "pm_b.py": "import pm_a\nY = 1\n"})
    import_module("pm_a", project)
    write({"pm_b.py": "import pm_a\nY = 2\n"})
    begin_project(project)
    found = import_module("pm_a", project)
    assert (found.pm_b.Y, found.pm_b.pm_a) == (2, found)


def test_a_file_that_changes_after_it_was_read_counts_as_it_was(write: Write) -> None:
    project = write({"pm_a.py": "import pm_b\n", "pm_b.py": "Y = 1\n"})
    begin_project(project)
    with importing(project):
        from machinable.component.project_modules import sources_of

        sources_of(project).read("pm_b.py")
        write({"pm_b.py": "Y = 2\n"})
        assert import_module("pm_a", project).pm_b.Y == 1
    assert loaded_digests(project)["pm_b.py"] == digest(b"Y = 1\n").removeprefix("sha256:")


def test_a_module_that_stays_is_named_with_the_files_that_have_changed(write: Write) -> None:
    project = write({"pm_a.py": "import pm_b\n", "pm_b.py": "import pm_c\n", "pm_c.py": "X = 1\n", "pm_d.py": ""})
    before = [import_module(name, project) for name in ("pm_a", "pm_d")]
    write({"pm_c.py": "X = 2\n"})
    assert begin_project(project, keep=["pm_a", "pm_d"]) == {"pm_a": ["pm_c.py"]}
    assert [import_module(name, project) for name in ("pm_a", "pm_d")] == before
    assert import_module("pm_b", project).pm_c.X == 2


def test_nothing_is_forgotten_while_code_of_the_project_runs(write: Write) -> None:
    project = write({"pm_a.py": "X = 1\n"})
    with importing(project):
        found = import_module("pm_a", project)
        write({"pm_a.py": "X = 2\n"})
        begin_project(project)
        assert import_module("pm_a", project) is found


def test_a_file_that_is_gone_is_not_imported_any_more(write: Write) -> None:
    project = write({"pm_a.py": "X = 1\n"})
    import_module("pm_a", project)
    os.remove(Path(project, "pm_a.py"))
    begin_project(project)
    with pytest.raises(Exception, match=r"the module 'pm_a' cannot be imported: ModuleNotFoundError"):
        import_module("pm_a", project)


def test_a_file_that_is_new_is_found(write: Write) -> None:
    project = write({"pm_a.py": ""})
    import_module("pm_a", project)
    write({"pm_new.py": "X = 1\n"})
    begin_project(project)
    assert import_module("pm_new", project).X == 1


def test_modules_from_elsewhere_are_back_afterwards(write: Write, tmp_path: Path) -> None:
    project = write({"pm_same.py": "X = 'project'\n", "pm_a.py": "import pm_same\n"})
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "pm_same.py").write_text("X = 'script'\n")
    sys.path.insert(0, str(tmp_path / "script"))
    own: ModuleType = __import__("pm_same")
    sys.path.remove(str(tmp_path / "script"))
    begin_project(project)

    for _ in range(2):
        with importing(project):
            found = import_module("pm_a", project)
            assert (found.pm_same.X, sys.modules["pm_same"].X) == ("project", "project")
        assert sys.modules["pm_same"] is own

    write({"pm_same.py": "X = 'edited'\n"})
    begin_project(project)
    assert import_module("pm_a", project).pm_same.X == "edited"
    assert sys.modules["pm_same"] is own


def test_sources_of_a_worker_are_those_that_it_was_given(write: Write) -> None:
    project = write({"pm_a.py": "import pm_b\n", "pm_b.py": "Y = 1\n", "pm_c.py": "Z = 1\n"})
    begin_project(project, {"pm_a.py": b"import pm_b\nX = 0\n", "pm_b.py": b"Y = 0\n"})
    found = import_module("pm_a", project)
    assert (found.X, found.pm_b.Y, import_module("pm_c", project).Z) == (0, 0, 1)


def test_bytecode_counts_only_if_it_is_certainly_of_the_source(write: Write) -> None:
    import py_compile

    project = write({"pm_a.py": "X = 1\n", "pm_b.py": "X = 1\n"})
    for name in ("pm_a", "pm_b"):
        file = Path(project, f"{name}.py")
        os.utime(file, (1e9, 1e9))
        py_compile.compile(str(file))
        file.write_text("X = 2\n")
        os.utime(file, (1e9, 1e9))  # which Python cannot tell from the file that it has compiled
    cache = next(Path(project, "__pycache__").glob("pm_b.*"))
    os.utime(cache, (1e9, 1e9))
    assert import_module("pm_b", project).X == 2


def test_this_package_is_never_imported_again_where_it_is_developed(write: Write) -> None:
    import machinable.errors

    repository = str(Path(machinable.errors.__file__).parents[2])
    begin_project(repository)
    file = Path(machinable.errors.__file__)
    before = file.stat()
    os.utime(file)
    try:
        begin_project(repository)
        assert sys.modules["machinable.errors"] is machinable.errors
        assert not [path for path in loaded_digests(repository) if "machinable" in path]
    finally:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
