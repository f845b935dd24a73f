"""Import the modules of a project as its files were when an execution began."""

from __future__ import annotations

import importlib
import inspect
import linecache
import os
import py_compile
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZipFile

import pytest

from machinable.component import project_modules
from machinable.component.imports import import_module
from machinable.component.project_modules import (
    begin_project,
    changed_since_import,
    imported_files,
    importing,
    note_libraries,
    sources_of,
)
from machinable.component.source_files import code_of
from machinable.errors import ImportFailed
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


DYNAMIC = {
    "import_module": "import importlib\n\ndef load(name):\n    return importlib.import_module('pm_' + name)\n",
    "__import__": "def load(name):\n    return __import__('pm_' + name)\n",
    "find_loader": "import pkgutil\n\ndef load(name):\n    return pkgutil.resolve_name('pm_' + name)\n",
    "spec": "import importlib.util as u, sys\n\ndef load(name):\n    spec = u.find_spec('pm_' + name)\n"
    "    module = sys.modules['pm_' + name] = u.module_from_spec(spec)\n    spec.loader.exec_module(module)\n"
    "    return module\n",
    "thread": "from concurrent.futures import ThreadPoolExecutor\n\ndef load(name):\n"
    "    return ThreadPoolExecutor(1).submit(lambda: __import__('pm_' + name)).result()\n",
}


@pytest.mark.parametrize("way", list(DYNAMIC))
def test_a_module_is_imported_again_with_what_it_imports_by_a_computed_name(write: Write, way: str) -> None:
    project = write({"pm_a.py": DYNAMIC[way] + "\nX = load('b').X\n", "pm_b.py": "X = 1\n", "pm_c.py": "X = 1\n"})
    first = import_module("pm_a", project)
    with importing(project):
        first.load("c")
    begin_project(project)
    assert import_module("pm_a", project) is first
    assert sorted(code_of(sources_of(project), ["pm_a"])) == ["pm_a.py", "pm_b.py", "pm_c.py"]
    for name in ("b", "c"):
        write({f"pm_{name}.py": "X = 2\n"})
        begin_project(project)
        module = import_module("pm_a", project)
        with importing(project):
            assert module.load(name).X == 2
    assert module.X == 2
    write({"pm_a.py": "X = 3\n"})
    begin_project(project)
    assert import_module("pm_a", project).X == 3
    assert sorted(code_of(sources_of(project), ["pm_a"])) == ["pm_a.py"]


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
        sources_of(project).read("pm_b.py")
        write({"pm_b.py": "Y = 2\n"})
        assert import_module("pm_a", project).pm_b.Y == 1
    assert imported_files(project)["pm_b.py"] == digest(b"Y = 1\n")


def test_a_module_that_stays_is_named_with_the_files_that_have_changed(write: Write) -> None:
    project = write({"pm_a.py": "import pm_b\n", "pm_b.py": "import pm_c\n", "pm_c.py": "X = 1\n", "pm_d.py": ""})
    before = [import_module(name, project) for name in ("pm_a", "pm_d")]
    write({"pm_c.py": "X = 2\n"})
    begin_project(project, keep=["pm_a", "pm_d"])
    assert [changed_since_import(module, project) for module in before] == [["pm_c.py"], []]
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
        assert not [path for path in imported_files(repository) if "machinable" in path]
    finally:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def by_path(write: Write) -> Callable[[str], ModuleType]:
    """Import modules of the project as a script in it does, without this package."""

    def by_path(name: str) -> ModuleType:
        project = write({})
        sys.path.insert(0, project)
        try:
            return importlib.import_module(name)
        finally:
            sys.path.remove(project)

    return by_path


def test_a_module_that_stayed_is_imported_again_the_next_time(write: Write) -> None:
    project = write({"pm_a.py": "from pm_b import X\n", "pm_b.py": "X = 1\n"})
    module = import_module("pm_a", project)
    write({"pm_b.py": "X = 2\n"})
    for _ in range(2):
        begin_project(project, keep=["pm_a"])
        assert (import_module("pm_a", project).X, changed_since_import(module, project)) == (1, ["pm_b.py"])
    begin_project(project)
    assert (import_module("pm_a", project).X, changed_since_import(module, project)) == (2, ["pm_b.py"])


def test_classes_and_functions_of_forgotten_modules_are_known_as_outdated(write: Write) -> None:
    project = write({"pm_a.py": "import pm_b\nclass A:\n    pass\ndef f():\n    pass\n", "pm_b.py": "X = 1\n"})
    old = import_module("pm_a", project)
    write({"pm_b.py": "X = 2\n"})
    begin_project(project)
    new = import_module("pm_a", project)
    assert [changed_since_import(one, project) for one in (old.A, old.f)] == [["pm_b.py"]] * 2
    assert [changed_since_import(one, project) for one in (new.A, new.f, 1)] == [[]] * 3
    write({"pm_b.py": "X = 1\n"})
    begin_project(project)
    assert changed_since_import(old.A, project) == []


def test_a_module_that_the_user_has_reloaded_is_current(write: Write, by_path: Callable[[str], ModuleType]) -> None:
    project = write({"pm_a.py": "import pm_b\nX = 1\n", "pm_b.py": ""})
    module = by_path("pm_a")
    begin_project(project)
    write({"pm_a.py": "import pm_b\nX = 2\n"})
    sys.path.insert(0, project)
    importlib.reload(module)
    sys.path.remove(project)
    begin_project(project, keep=["pm_a"])
    assert (changed_since_import(module, project), module.X) == ([], 2)
    assert import_module("pm_a", project) is module


@pytest.mark.parametrize(
    "replaced",
    [
        "import sys\nclass Module:\n    X = {}\nsys.modules[__name__] = Module()\n",
        "import sys, types\nmodule = types.ModuleType(__name__)\nmodule.X = {}\nsys.modules[__name__] = module\n",
    ],
)
def test_a_module_that_replaces_itself_is_imported_again_when_it_changes(write: Write, replaced: str) -> None:
    project = write({"pm_a.py": "from pm_b import X\n", "pm_b.py": replaced.format(1)})
    assert import_module("pm_a", project).X == 1
    write({"pm_b.py": replaced.format(2)})
    begin_project(project)
    assert import_module("pm_a", project).X == 2


def test_a_project_is_the_same_by_all_paths_that_lead_to_it(write: Write, tmp_path: Path) -> None:
    project = write({"pm_a.py": "from pm_b import X\n", "pm_b.py": "X = 1\n"})
    (tmp_path / "link").symlink_to(project)
    for number, path in enumerate([project, str(tmp_path / "link")] * 2, start=1):
        write({"pm_b.py": f"X = {number}\n"})
        begin_project(path)
        assert number == import_module("pm_a", path).X


def test_threads_that_run_projects_with_equal_names_take_turns(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pm_a.py").write_text(f"X = {name!r}\n")
        (tmp_path / name / "pm_late.py").write_text(f"X = {name!r}\n")
    found: dict[str, set[Any]] = {"one": set(), "two": set()}

    def work(name: str) -> None:
        project = str(tmp_path / name)
        for _ in range(20):
            begin_project(project)
            import_module("pm_a", project)
            with importing(project):
                module = import_module("pm_a", project)
                time.sleep(0.001)
                found[name].add((module.X, __import__("pm_late").X))

    threads = [threading.Thread(target=work, args=(name,)) for name in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"one": {("one", "one")}, "two": {("two", "two")}}
    for name in ("pm_a", "pm_late"):
        sys.modules.pop(name, None)


def thread_inside(project: str) -> tuple[threading.Thread, threading.Event]:
    """Return a thread that imports code of a project, and the event for which it waits to leave."""
    is_inside, may_leave = threading.Event(), threading.Event()

    def stay() -> None:
        with importing(project):
            is_inside.set()
            may_leave.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    is_inside.wait()
    return thread, may_leave


def test_a_thread_that_waits_for_another_project_says_so(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_modules, "RIVAL_NOTICE", 0.01)
    project = write({"pm_a.py": ""})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pm_a.py").write_text("")
    thread, may_leave = thread_inside(project)
    threading.Timer(0.1, may_leave.set).start()
    with (
        pytest.warns(UserWarning, match=r"other waits for another thread, .*: both have modules called pm_a\. "),
        importing(str(tmp_path / "other")),
    ):
        pass
    thread.join()


def test_a_file_that_changed_before_this_package_was_imported_is_noticed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys\nsys.dont_write_bytecode = False\nsys.path.insert(0, sys.argv[1])\n"
        "import pm_a, pm_b\nfile = pathlib.Path(sys.argv[1], 'pm_a.py')\nfile.write_text('X = 22\\n')\n"
        "os.utime(file, (1e9 + 9, 1e9 + 9))\n"
        "from machinable.component.project_modules import begin_project, changed_since_import\n"
        "begin_project(sys.argv[1])\nprint([changed_since_import(one, sys.argv[1]) for one in (pm_a, pm_b)])\n"
    )
    for name in ("pm_a", "pm_b"):
        (tmp_path / f"{name}.py").write_text("X = 1\n")
        os.utime(tmp_path / f"{name}.py", (1e9, 1e9))
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout == "[['pm_a.py'], []]\n"


@pytest.mark.parametrize("broken", ["X = = 2\n", "X = 1\0\n", "raise ValueError\n", "# coding: none\nX = 2\n"])
def test_a_file_that_is_broken_for_a_while_is_imported_when_it_is_mended(write: Write, broken: str) -> None:
    project = write({"pm_a.py": "from pm_b import X\n", "pm_b.py": "X = 1\n"})
    assert import_module("pm_a", project).X == 1
    write({"pm_b.py": broken})
    begin_project(project)
    with pytest.raises(ImportFailed, match=r"^the module 'pm_a' cannot be imported: "):
        import_module("pm_a", project)
    write({"pm_b.py": "X = 3\n"})
    begin_project(project)
    assert import_module("pm_a", project).X == 3


OPTIONAL = "try:\n    {how}\n    X = pm_b.X\nexcept (ImportError, SyntaxError):\n    X = None\n"


@pytest.mark.parametrize(
    ("how", "file"),
    [
        ("import pm_b", "pm_b.py"),
        ("from pm_p import pm_b", "pm_p/pm_b.py"),
        ("import pm_p.pm_b as pm_b", "pm_p/pm_b.py"),
    ],
)
def test_a_module_is_imported_again_when_what_it_could_not_import_has_changed(
    write: Write, how: str, file: str
) -> None:
    project = write({"pm_a.py": OPTIONAL.format(how=how), "pm_c.py": "import pm_a\n", "pm_p/__init__.py": ""})
    found = []
    for text in (None, "X = (\n", "import pm_d\n", "X = 1\n", None, "X = 2\n"):
        if text is None:
            Path(project, file).unlink(missing_ok=True)
        else:
            write({file: text})
        begin_project(project)
        found.append(import_module("pm_c", project).pm_a.X)
    assert found == [None, None, None, 1, None, 2]

    write({"pm_d.py": "", file: "import pm_d, pm_e\nX = 3\n"})
    begin_project(project)
    assert import_module("pm_a", project).X is None
    module = import_module("pm_a", project)
    begin_project(project)
    assert import_module("pm_a", project) is module
    write({"pm_e.py": ""})
    begin_project(project)
    assert import_module("pm_a", project).X == 3


def test_a_file_that_is_deleted_after_it_was_read_is_imported_as_it_was(write: Write) -> None:
    project = write({"pm_a.py": "X = 1\n", "pm_p/__init__.py": "Y = 2\n", "pm_p/b.py": "Z = 3\n"})
    begin_project(project)
    for path in ("pm_a.py", "pm_p/__init__.py", "pm_p/b.py"):
        sources_of(project).read(path)
        Path(project, path).unlink()
    Path(project, "pm_p").rmdir()
    assert import_module("pm_a", project).X == 1
    module = import_module("pm_p.b", project)
    assert (module.Z, sys.modules["pm_p"].Y, module.__file__) == (3, 2, f"{project}/pm_p/b.py")


def test_a_name_that_code_has_blocked_can_be_imported_the_next_time(write: Write) -> None:
    project = write({"pm_a.py": "X = 1\n"})
    sys.modules["pm_a"] = None  # type: ignore[assignment]
    begin_project(project)
    assert import_module("pm_a", project).X == 1


@pytest.mark.parametrize("value", ["None", "object()", "type('M', (), {})()"])
def test_a_module_with_another_object_in_its_place_is_refused(write: Write, value: str) -> None:
    project = write({"pm_a.py": f"import sys\nsys.modules[__name__] = {value}\n"})
    for _ in range(2):
        begin_project(project)
        with pytest.raises(ImportFailed, match=r"^the module 'pm_a' cannot be imported: it has put .* in its place"):
            import_module("pm_a", project)
    write({"pm_a.py": "X = 1\n"})
    begin_project(project)
    assert import_module("pm_a", project).X == 1


def test_a_module_without_a_file_is_from_elsewhere(write: Write) -> None:
    project = write({"pm_a.py": "X = 1\n", "__main__.py": ""})
    main, made = sys.modules["__main__"], ModuleType("pm_a")
    sys.modules["pm_a"] = made
    begin_project(project)
    with importing(project):
        assert sys.modules["__main__"] is main
        assert import_module("pm_a", project).X == 1
    assert sys.modules["pm_a"] is made


def bytecode(file: Path, text: str) -> None:
    source = file.with_suffix(".py")
    source.write_text(text)
    py_compile.compile(str(source), cfile=str(file))
    source.unlink()


def archive(file: Path, text: str) -> None:
    with ZipFile(file, "w") as opened:
        opened.writestr("pm_z.py", text)


@pytest.mark.parametrize(
    ("source", "file", "make"),
    [
        ("import pm_b\nX = pm_b.X\n", "pm_b.pyc", bytecode),
        (
            "import os, sys\nsys.path.append(os.path.join(os.path.dirname(__file__), 'pm.zip'))\n"
            "import pm_z\nsys.path.pop()\nX = pm_z.X\n",
            "pm.zip",
            archive,
        ),
    ],
    ids=["bytecode", "archive"],
)
def test_modules_without_a_source_file_are_code(
    write: Write, source: str, file: str, make: Callable[[Path, str], None]
) -> None:
    project = write({"pm_a.py": source})
    for value in (1, 22, 333):
        make(Path(project, file), f"X = {value}\n")
        begin_project(project)
        imported_files(project)
        module = import_module("pm_a", project)
        assert value == module.X
        assert sorted(code_of(sources_of(project), ["pm_a"])) == sorted(["pm_a.py", file])
        assert imported_files(project)[file] == digest(Path(project, file).read_bytes())
        begin_project(project)
        assert import_module("pm_a", project) is module


def test_an_extension_module_that_has_changed_stays_and_is_known(write: Write) -> None:
    spec = find_spec("xxlimited")  # an example that Python comes with
    if spec is None or spec.origin is None or not spec.origin.endswith(".so"):
        pytest.skip("this Python has no example of an extension module")
    project = write({"pm_a.py": "import xxlimited\n"})
    file = Path(project, Path(spec.origin).name)
    shutil.copyfile(spec.origin, file)
    module = import_module("pm_a", project)
    assert module.xxlimited.__file__ == str(file)
    assert sorted(code_of(sources_of(project), ["pm_a"])) == ["pm_a.py", file.name]
    begin_project(project)
    assert sources_of(project).stuck == []

    copy = file.with_name("copy")
    copy.write_bytes(file.read_bytes() + b" ")
    copy.replace(file)
    for _ in range(2):
        begin_project(project)
        assert sources_of(project).stuck == [file.name]
        assert import_module("pm_a", project).xxlimited is module.xxlimited


def test_the_objects_of_sys_modules_are_not_called(write: Write) -> None:
    project = write({"pm_a.py": "import pm_b\n", "pm_b.py": "def __getattr__(name):\n    raise RuntimeError(name)\n"})
    import_module("pm_a", project)
    write({"pm_a.py": "import pm_b\nX = 2\n"})
    sys.modules["pm_lazy"] = Lazy("pm_lazy")
    begin_project(project)
    assert import_module("pm_a", project).X == 2


class Lazy(ModuleType):
    """A module that is imported on first access."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"{name} was read")


def test_the_module_of_the_project_comes_before_an_installed_one(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write({"src/pm_p/__init__.py": "", "src/pm_p/b.py": "X = 1\n", "pm_a.py": "from pm_p import b\n"})
    other = tmp_path / "site-packages" / "pm_p"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    (other / "b.py").write_text("X = 2\n")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(other.parent), f"{project}/src", *sys.path])
        begin_project(project)
        assert import_module("pm_a", project).b.X == 1
        assert note_libraries(project) == {}


def test_an_encoding_error_names_the_file(write: Write) -> None:
    project = write({"pm_a.py": "import pm_b\n", "pm_b.py": ""})
    Path(project, "pm_b.py").write_bytes(b"X = '\xe4'\n")
    with pytest.raises(ImportFailed, match=r"pm_b\.py, line 1"):
        import_module("pm_a", project)


def test_a_package_without_init_is_imported_again_when_it_changes(write: Write) -> None:
    project = write({"pm_a.py": "from pm_space.inner import X\n", "pm_space/inner.py": "X = 1\n"})
    assert import_module("pm_a", project).X == 1
    write({"pm_space/inner.py": "from .deep.more import X\n", "pm_space/deep/more.py": "X = 2\n"})
    begin_project(project)
    assert import_module("pm_a", project).X == 2
    write({"pm_space/__init__.py": "", "pm_space/deep/more.py": "X = 3\n"})
    begin_project(project)
    assert import_module("pm_a", project).X == 3


def test_projects_in_projects_have_their_own_modules(write: Write) -> None:
    outer = write({"pm_a.py": "from pm_b import X\n", "pm_b.py": "X = 1\n"})
    write({"in/pm_a.py": "from pm_b import X\n", "in/pm_b.py": "X = 2\n"})
    for _ in range(2):
        for project, expected in ((outer, 1), (f"{outer}/in", 2)):
            begin_project(project)
            assert expected == import_module("pm_a", project).X


def test_tracebacks_show_the_lines_that_ran(write: Write) -> None:
    from machinable.trial.capture import error_data

    project = write({"pm_a.py": "def f():\n    raise ValueError(1)\n"})
    with importing(project):
        module = import_module("pm_a", project)
        write({"pm_a.py": "# new\n# lines\ndef f():\n    raise ValueError(1)\n"})
        try:
            module.f()
        except ValueError as error:
            found = error_data(error)
    assert found["traceback"].splitlines()[-2:] == ["    raise ValueError(1)", "ValueError: 1"]
    linecache.checkcache()
    assert linecache.getline(str(Path(project, "pm_a.py")), 1) == "# new\n"


SHOWS = """
import inspect
import traceback
import warnings


class A:
    def f(self):
        warnings.warn("here", stacklevel=1)
        return inspect.getsource(A), inspect.getsource(self.f), traceback.extract_stack()[-1].line
"""


def test_source_is_shown_as_it_was_imported(write: Write) -> None:
    project = write({"pm_a.py": SHOWS})
    module = import_module("pm_a", project)
    write({"pm_a.py": "# new\n# lines\n" + SHOWS.replace("return", "return 1,")})
    linecache.checkcache()
    with pytest.warns(UserWarning, match="^here$") as warned:
        source, method, line = module.A().f()
    assert SHOWS.endswith(source)
    assert source.endswith(method)
    assert line == method.splitlines()[-1].strip()
    shown = warnings.formatwarning(warned[0].message, UserWarning, warned[0].filename, warned[0].lineno)
    assert shown.endswith('warnings.warn("here", stacklevel=1)\n')


def test_source_is_shown_as_the_user_has_imported_it_later(write: Write, by_path: Callable[[str], ModuleType]) -> None:
    project = write({"pm_a.py": SHOWS})
    import_module("pm_a", project)
    write({"pm_a.py": "# new\n# lines\n" + SHOWS})
    del sys.modules["pm_a"]
    module = by_path("pm_a")
    assert inspect.getsource(module).startswith("# new\n# lines\n")
    write({"pm_a.py": "# newer\n" + SHOWS})
    sys.path.insert(0, project)
    try:
        importlib.reload(module)
    finally:
        sys.path.remove(project)
    assert inspect.getsource(module).startswith("# newer\n\n")


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_threads_of_its_parent(write: Write, tmp_path: Path) -> None:
    project = write({"pm_a.py": ""})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pm_a.py").write_text("")
    thread, may_leave = thread_inside(project)
    child = os.fork()
    if child == 0:
        with importing(str(tmp_path / "other")):
            os._exit(0)
    may_leave.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_a_change_is_noticed_though_time_and_size_of_the_file_are_as_before(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write({"pm_a.py": "X = 1\n"})
    file = Path(project, "pm_a.py")
    os.utime(file, (1e9, 1e9))
    monkeypatch.setattr(project_modules, "CLOCK_STEP", 0.0)
    assert import_module("pm_a", project).X == 1
    time.sleep(0.02)
    file.write_text("X = 2\n")
    os.utime(file, (1e9, 1e9))
    begin_project(project)
    assert import_module("pm_a", project).X == 2
