"""The stored code is the code that ran: edits between and during executions, and of imported modules."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

import machinable as ml
from machinable.results.pointers import find_pointer
from machinable.storage.hashing import digest
from machinable.storage.local import DirectoryFiles
from tests.conftest import World

DECLARATIONS = """
mixins:
  - shift:
components:
  - net: {_mixins_: [shift]}
  - edit: {}
  - after: {_requires_: {first: edit}}
  - use: {_requires_: {net: net}}
"""
NET = """
import helper
from machinable import Component

class Net(Component):
    def on_execute(self):
        import late
        return self._shift_.shift() + helper.VALUE + late.VALUE
"""
SHIFT = "from machinable import Mixin\n\nclass Shift(Mixin):\n    def shift(self):\n        return 1\n"
EDIT = """
from pathlib import Path
from machinable import Component

class Edit(Component):
    def on_execute(self):
        for name in ("after", "helper"):
            file = Path(__file__).with_name(f"{name}.py")
            file.write_text(file.read_text().replace("= 10", "= 20"))
"""
AFTER = """
from machinable import Component

OWN = 10

class After(Component):
    def on_execute(self):
        from helper import VALUE
        return OWN + VALUE
"""
USE = (
    "from machinable import Component\n\nclass Use(Component):\n    def on_execute(self):\n        self.requires.net\n"
)


@pytest.fixture
def here(project: World) -> Path:
    return project(
        DECLARATIONS,
        net=NET,
        helper='"""Values."""\nVALUE = 10\n',
        late="VALUE = 100\n",
        shift=SHIFT,
        edit=EDIT,
        after=AFTER,
        use=USE,
    )


def results(execution: Any) -> list[Any]:
    return [trial.result for trial in execution.trials]


def imported(name: str, directory: Path) -> Any:
    """Import a module as a script in a directory does."""
    sys.path.insert(0, str(directory))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(directory))


def backup_of(execution: Any, name: str) -> bytes:
    folder = Path(execution.storage, str(execution))
    with ZipFile(folder / "code.zip") as archive:
        return archive.read(name)


@pytest.mark.parametrize("name", ["net", "helper", "late", "shift"])
@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_an_edit_between_two_executions_of_a_process_takes_effect(
    here: Path, tmp_path: Path, name: str, engine: str
) -> None:
    file, storage = here / f"{name}.py", str(tmp_path / "storage")
    assert results(ml.execute("net", storage, engine=engine)) == [111]
    edited = file.read_text().replace("VALUE = 1", "VALUE = 2").replace("return 1\n", "return 2\n")
    file.write_text(edited.replace("+ late.VALUE", "- late.VALUE"))

    second = ml.execute("net", storage, engine=engine)

    assert results(second) == [{"net": -89, "helper": 121, "late": 211, "shift": 112}[name]]
    assert backup_of(second, f"{name}.py") == file.read_bytes()
    assert second.data["code"]["files"] == {
        path: digest(backup_of(second, path)) for path in ("helper.py", "late.py", "net.py", "shift.py")
    }


@pytest.mark.parametrize(
    "engine", ["local", "processes:1", "processes:2", {"type": "processes", "slots": 1, "recycle": 1}], ids=str
)
def test_an_edit_during_an_execution_changes_nothing(here: Path, tmp_path: Path, engine: Any) -> None:
    execution = ml.execute("after", str(tmp_path / "storage"), engine=engine)

    assert execution.trials[-1].result == 20
    assert b"= 10" in backup_of(execution, "after.py")
    assert b"= 10" in backup_of(execution, "helper.py")
    assert "= 20" in (here / "after.py").read_text()
    assert ml.execute("after", str(tmp_path / "storage"), rerun="edit", cascade=False).trials[-1].result == 40


def test_a_class_from_before_an_edit_runs_as_it_is_and_the_record_says_so(here: Path, tmp_path: Path) -> None:
    net = imported("net", here)
    storage = str(tmp_path / "storage")
    task = ml.Task().component(net.Net)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = ml.execute(task, storage)
    assert first.data["code"]["changed"] == []
    (here / "helper.py").write_text("VALUE = 20\n")

    with pytest.warns(UserWarning, match=r"^helper\.py changed after net was imported: Net runs as imported") as found:
        second = ml.execute(task, storage)

    assert len(found) == 1
    assert results(second) == results(first)
    assert second.data["code"]["changed"] == ["helper.py"]


def test_workers_import_a_class_from_before_an_edit_as_its_files_are(here: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(here))
    try:
        net = __import__("net")
    finally:
        sys.path.remove(str(here))
    storage, task = str(tmp_path / "storage"), ml.Task().component(net.Net)
    assert results(ml.execute(task, storage, engine="processes:1")) == [111]
    (here / "helper.py").write_text("VALUE = 20\n")

    for name in (task, "net", task):  # the class of the third is not that of its module any more
        execution = ml.execute(name, storage, engine="processes:1")
        assert (results(execution), execution.data["code"]["changed"]) == ([121], [])


def test_a_class_from_before_an_edit_is_named_in_each_execution_until_it_is_imported_again(
    here: Path, tmp_path: Path
) -> None:
    def imported() -> Any:
        sys.path.insert(0, str(here))
        try:
            return __import__("net").Net
        finally:
            sys.path.remove(str(here))

    storage, net = str(tmp_path / "storage"), imported()
    (here / "helper.py").write_text("VALUE = 20\n")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"^helper\.py changed after net was imported"):
            assert results(ml.execute(ml.Task().component(net), storage)) == [111]
        assert results(ml.execute("net", storage)) == [121]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert results(ml.execute(ml.Task().component(imported()), storage)) == [121]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("helper", "VALUE = 10", "VALUE = 11"),
        ("shift", "return 1", "return 2"),
        ("late", "VALUE = 100", "VALUE = 101"),
        ("net", "import helper", "import helper\nX = 1"),
    ],
)
def test_a_change_of_what_a_component_imports_is_named_when_its_result_is_reused(
    here: Path, tmp_path: Path, name: str, before: str, after: str
) -> None:
    storage, file = str(tmp_path / "storage"), here / f"{name}.py"
    first = ml.execute("use", storage)
    file.write_text(file.read_text().replace(before, after))

    with pytest.warns(UserWarning, match=f"its code has changed since: {name}.py. To compute it again"):
        assert ml.execute("use", storage).trials[0].source == f"{first}/{first.trials[0].uid}"
    assert ml.execute("use", storage, reuse="same-code").trials[0].source is None


def test_comments_blank_lines_and_docstrings_are_not_changes(here: Path, tmp_path: Path) -> None:
    storage = str(tmp_path / "storage")
    ml.execute("use", storage)
    (here / "helper.py").write_text('"""Other words."""\n\n# a comment\nVALUE = 10  # ten\n')
    assert ml.execute("use", storage, reuse="same-code").trials[0].source is not None


def test_a_result_of_an_old_class_is_never_reused_for_the_new_code(here: Path, tmp_path: Path) -> None:
    net = imported("net", here)
    storage = str(tmp_path / "storage")
    (here / "helper.py").write_text("VALUE = 20\n")
    with pytest.warns(UserWarning, match="Net runs as imported"):
        first = ml.execute(ml.Task().component(net.Net), storage, reuse="all")
    pointer = find_pointer(DirectoryFiles(storage), first.trials[0].identity)
    assert pointer is not None
    assert pointer.code["helper.py"] == "unknown"


PLUGINS = """
from importlib import import_module
from machinable import Component

EARLY = import_module("plugins." + "early")

class Net(Component):
    def on_execute(self):
        return EARLY.VALUE + import_module(f"plugins.{self.flags.NAME}").VALUE
"""


@pytest.mark.parametrize("backup", [True, False])
@pytest.mark.parametrize("engine", ["local", "processes:1", "processes:2"])
def test_modules_that_are_imported_by_computed_names_are_code_too(
    here: Path, tmp_path: Path, engine: str, backup: bool
) -> None:
    (here / "net.py").write_text(PLUGINS)
    (here / "plugins").mkdir()
    (here / "plugins" / "early.py").write_text("VALUE = 1\n")
    (here / "plugins" / "net.py").write_text("VALUE = 10\n")
    storage = {"storage": str(tmp_path / "storage"), "code_backup": backup}
    first = ml.execute("use", storage, engine=engine)
    ledger = Path(tmp_path, "storage", str(first), "ledger.jsonl").read_text()
    listed = first.data["code"]["files"]
    rows = map(json.loads, ledger.splitlines())
    noted = {path: one for row in rows for path, one in row.get("imported", {}).items()}
    assert listed["plugins/early.py"] == digest(b"VALUE = 1\n")
    assert noted == {"plugins/net.py": digest(b"VALUE = 10\n")}
    pointer = find_pointer(DirectoryFiles(str(tmp_path / "storage")), first.trials[0].identity)
    assert pointer is not None
    assert sorted(pointer.code) == ["net.py", "plugins/early.py", "plugins/net.py", "shift.py"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ml.execute("use", storage, engine=engine, reuse="same-code").trials[0].source is not None

    for name in ("early", "net"):
        (here / "plugins" / f"{name}.py").write_text("VALUE = 20\n")
        with pytest.warns(UserWarning, match=f"its code has changed since: plugins/{name}.py. To compute it again"):
            assert ml.execute("use", storage, engine=engine).trials[0].source is not None
        again = ml.execute("use", storage, engine=engine, reuse="same-code").trials[0]
        assert again.result == {"early": 30, "net": 40}[name]


@pytest.mark.parametrize("engine", ["local", "processes:1"])
@pytest.mark.parametrize("text", [None, "VALUE = ("])
def test_a_module_that_is_deleted_or_broken_during_an_execution_is_imported_as_it_was(
    here: Path, tmp_path: Path, engine: str, text: str | None
) -> None:
    (here / "after.py").write_text(AFTER)
    change = "unlink()" if text is None else f"write_text({text!r})"
    (here / "edit.py").write_text(EDIT.replace("file.write_text(file.read_text().replace(", f"file.{change}  # (("))
    execution = ml.execute("after", str(tmp_path / "storage"), engine=engine)
    assert execution.trials[-1].result == 20
    assert b"VALUE = 10" in backup_of(execution, "helper.py")


@pytest.mark.parametrize("engine", ["local", "processes:1"])
@pytest.mark.parametrize("name", ["yaml", "random", "msgspec"])
def test_a_module_with_the_name_of_an_imported_library_is_refused(
    name: str, engine: str, here: Path, tmp_path: Path
) -> None:
    (here / "net.py").write_text(NET.replace("import helper", f"import helper, {name}"))
    (here / f"{name}.py").write_text("")
    with pytest.raises(ml.errors.Refused, match=rf"^the code imports {name}, but .* and not {name}\.py of the project"):
        ml.execute("net", str(tmp_path / "storage"), engine=engine)
    assert not (tmp_path / "storage").exists()


def test_a_directory_with_the_name_of_a_library_is_no_module(here: Path, tmp_path: Path) -> None:
    (here / "net.py").write_text(NET.replace("import helper", "import helper, yaml\nassert yaml.safe_load"))
    (here / "yaml").mkdir()
    (here / "yaml" / "convert.py").write_text("")
    execution = ml.execute("net", str(tmp_path / "storage"))
    assert list(execution.data["code"]["files"]) == ["helper.py", "late.py", "net.py", "shift.py"]


def test_a_script_beside_the_project_keeps_its_own_modules(here: Path, tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "net.py").write_text("X = 'script'\n")
    (scripts / "helper.py").write_text("VALUE = 0\n")
    sys.path.insert(0, str(scripts))
    try:
        own = __import__("net"), __import__("helper")
        for _ in range(2):
            assert results(ml.execute("net", str(tmp_path / "storage"))) == [111]
            assert (sys.modules["net"], sys.modules["helper"]) == own
    finally:
        sys.path.remove(str(scripts))
        for name in ("net", "helper"):
            del sys.modules[name]
