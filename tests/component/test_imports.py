"""Import the code of components."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from machinable.component.imports import (
    import_module,
    importing,
    load_component,
    load_mixin,
)
from machinable.errors import ImportFailed, InvalidType, MalformedText, MissingMember
from machinable.plan.spec import MixinSpec, Target

HEAD = "from machinable.component.base import Component, Mixin\n"


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Writes modules into a project of the given name; they are forgotten afterwards."""

    def write(modules: dict[str, str], project: str = "project") -> str:
        for name, text in modules.items():
            path = tmp_path / project / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(HEAD + text)
        return str(tmp_path / project)

    before, flag, paths = set(sys.modules), sys.dont_write_bytecode, list(sys.path)
    yield write
    assert (sys.dont_write_bytecode, sys.path) == (flag, paths)
    assert list(tmp_path.rglob("*.pyc")) == []
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_one_class_of_a_module_is_its_component(write: Callable[..., str]) -> None:
    project = write(
        {
            "shelf_a": "class Base(Component): pass\nclass Work(Base): pass\nAlias = Work\nclass Other: pass\n",
            "pkg/shelf_b": "from shelf_a import Base, Work\nclass Mine(Work): pass\nclass M(Mixin): pass\n",
        }
    )

    assert load_component(Target("shelf_a"), project).__name__ == "Work"
    assert load_component(Target("pkg.shelf_b"), project).__qualname__ == "Mine"
    assert load_component(Target("pkg.shelf_b", "Base"), project).__module__ == "shelf_a"
    assert load_mixin(MixinSpec("_m_", "pkg.shelf_b"), project).__name__ == "M"
    assert load_component(Target("shelf_a"), project) is load_component(Target("shelf_a"), project)


@pytest.mark.parametrize(
    ("text", "name", "kind", "message"),
    [
        ("X = 1\n", None, MissingMember, "the module 'shelf' has no subclass of Component\n  Define it in"),
        (
            "class Two(Component): pass\nclass One(Component): pass\n",
            None,
            MalformedText,
            "the module 'shelf' has several subclasses of Component: One, Two\n  Name one: _class_: One",
        ),
        (
            "class Work(Component): pass\n",
            "Wrok",
            MissingMember,
            "the module 'shelf' has no subclass of Component called 'Wrok'\n  Did you mean 'Work'?",
        ),
        (
            "class Work(Component): pass\nclass Plain: pass\n",
            "Plain",
            MissingMember,
            "no subclass of Component called 'Plain'",
        ),
        (
            "import no_such_module_here\n",
            None,
            ImportFailed,
            "the module 'shelf' cannot be imported: ModuleNotFoundError: No module named 'no_such_module_here'",
        ),
        ("raise SystemExit(3)\n", None, ImportFailed, "the module 'shelf' cannot be imported: SystemExit: 3"),
        ("def x(:\n", None, ImportFailed, "the module 'shelf' cannot be imported: SyntaxError"),
    ],
)
def test_code_that_cannot_be_found_is_an_error(
    text: str, name: str | None, kind: type[Exception], message: str, write: Callable[..., str]
) -> None:
    project = write({"shelf": text})
    with pytest.raises(kind) as caught:
        load_component(Target("shelf", name), project)

    assert message in str(caught.value)
    assert kind is not ImportFailed or caught.value.__cause__ is not None


def test_a_missing_module_is_an_error_with_the_expected_place(write: Callable[..., str]) -> None:
    project = write({"shelf": ""})
    with pytest.raises(ImportFailed, match=rf"Expected nets/dense\.py in {project}"):
        load_component(Target("nets.dense"), project)


def test_a_class_or_function_of_the_task_is_found_by_its_name(write: Callable[..., str]) -> None:
    project = write(
        {"shelf": "class Outer:\n    class Work(Component): pass\n    @staticmethod\n    def f(config): pass\nX = 1\n"}
    )

    assert load_component(Target("shelf", "Outer.Work", "class"), project).__qualname__ == "Outer.Work"
    assert load_component(Target("shelf", "Outer.f", "function"), project).__qualname__ == "Outer.f"
    with pytest.raises(MissingMember, match=r"nothing called 'Outer\.Wrk'\n  Did you mean 'Work'"):
        load_component(Target("shelf", "Outer.Wrk", "class"), project)
    with pytest.raises(InvalidType, match="shelf:Outer is not a subclass"):
        load_component(Target("shelf", "Outer", "class"), project)
    with pytest.raises(InvalidType, match="shelf:X cannot be called"):
        load_component(Target("shelf", "X", "function"), project)


def test_the_project_goes_before_all_other_directories(write: Callable[..., str]) -> None:
    project = write({"this": "class Mine(Component): pass\n"})
    sys.modules.pop("this", None)  # also a module of the standard library

    assert load_component(Target("this"), project).__name__ == "Mine"


def test_two_projects_may_have_modules_of_the_same_name(write: Callable[..., str]) -> None:
    one = write({"shelf": "import part\nclass One(Component):\n    x = part.X\n", "part": "X = 1\n", "own": ""}, "one")
    two = write({"shelf": "import part\nclass Two(Component):\n    x = part.X\n", "part": "X = 2\n"}, "two")

    first: Any = load_component(Target("shelf"), one)
    with importing(one):
        own = __import__("own")
    second: Any = load_component(Target("shelf"), two)
    assert (first.__name__, first.x, second.__name__, second.x) == ("One", 1, "Two", 2)
    assert sys.modules["own"] is own
    third: Any = load_component(Target("shelf"), one)
    assert (third.__name__, third.x) == ("One", 1)


def test_overlapping_imports_restore_the_state_of_python(write: Callable[..., str]) -> None:
    project = write({"shelf": ""})
    first, second = importing(project), importing(project)
    before = sys.dont_write_bytecode
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.dont_write_bytecode and sys.path[0] == project
    second.__exit__(None, None, None)
    assert (sys.dont_write_bytecode, project in sys.path) == (before, False)


def test_modules_of_any_former_project_make_way_for_those_of_this_one(tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
    for name in ("first", "third"):
        (tmp_path / name / "same.py").write_text(f"WHERE = {name!r}\n")
    assert import_module("same", str(tmp_path / "first")).WHERE == "first"
    with importing(str(tmp_path / "second")):
        pass
    assert import_module("same", str(tmp_path / "third")).WHERE == "third"


NUMBERS = "from machinable import Component\nclass Numbers(Component):\n    x = {x}\n"


@pytest.fixture
def numbers_project(tmp_path: Path) -> Path:
    (tmp_path / "numbers.py").write_text(NUMBERS.format(x=1))
    return tmp_path


def test_the_component_is_found_though_python_has_imported_its_own(numbers_project: Path) -> None:
    import numbers

    found = load_component(Target("numbers"), str(numbers_project))
    assert (getattr(found, "x", None), sys.modules["numbers"]) == (1, numbers)
    assert load_component(Target("numbers"), str(numbers_project)) is found


def test_two_projects_have_their_own(numbers_project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "numbers.py").write_text(NUMBERS.format(x=2))
    found = [
        getattr(load_component(Target("numbers"), str(one)), "x", 0)
        for one in (numbers_project, other, numbers_project)
    ]
    assert found == [1, 2, 1]


@pytest.mark.parametrize("order", [("numbers", "other"), ("other", "numbers")])
def test_libraries_find_pythons_own_in_whatever_order(numbers_project: Path, order: tuple[str, str]) -> None:
    (numbers_project / "other.py").write_text(
        "import fractions\nfrom machinable import Component\n"
        "class Other(Component):\n    half = fractions.Fraction(1, 2)\n"
    )
    script = (
        "import sys\nassert 'numbers' not in sys.modules\n"
        "from machinable.component.imports import load_component\nfrom machinable.plan.spec import Target\n"
        f"print([load_component(Target(name), {str(numbers_project)!r}).__name__ for name in {order!r}])\n"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert printed.stdout == f"{[name.title() for name in order]}\n"


def test_a_module_that_is_no_component_is_found_first_as_ever(tmp_path: Path) -> None:
    (tmp_path / "this.py").write_text("X = 7\n")
    (tmp_path / "work.py").write_text(
        "import this\nfrom machinable import Component\nclass Work(Component):\n    x = this.X\n"
    )
    script = (
        "from machinable.component.imports import load_component\nfrom machinable.plan.spec import Target\n"
        f"print(load_component(Target('work'), {str(tmp_path)!r}).x)\n"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert printed.stdout == "7\n"


def test_the_module_of_the_project_is_found_though_a_library_of_that_name_is_loaded(tmp_path: Path) -> None:
    import yaml

    (tmp_path / "yaml.py").write_text(NUMBERS.format(x=3))

    found: Any = load_component(Target("yaml"), str(tmp_path))

    assert (found.x, sys.modules["yaml"]) == (3, yaml)
    assert load_component(Target("yaml"), str(tmp_path)) is found


def test_a_module_beside_a_script_does_not_stand_in_for_the_one_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, x in (("scripts", 1), ("project", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train_net.py").write_text(NUMBERS.format(x=x))
    monkeypatch.syspath_prepend(str(tmp_path / "scripts"))
    beside = __import__("train_net")

    found: Any = load_component(Target("train_net"), str(tmp_path / "project"))

    assert (found.x, beside.Numbers.x) == (2, 1)


def test_the_class_of_a_module_that_the_user_has_reloaded_is_the_new_one(write: Callable[..., str]) -> None:
    project = write({"reloaded": "class A(Component):\n    x = 1\n"})
    target = Target("reloaded", None, "component")
    assert load_component(target, project).x == 1  # type: ignore[union-attr]
    write({"reloaded": "class A(Component):\n    x = 22\n"})
    with importing(None):
        sys.path.insert(0, project)
        importlib.reload(sys.modules["reloaded"])
        sys.path.remove(project)
    assert load_component(target, project).x == 22  # type: ignore[union-attr]


def test_a_module_that_was_imported_through_a_link_is_not_imported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "linked_net.py").write_text(NUMBERS.format(x=1))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.syspath_prepend(str(tmp_path / "link"))

    assert load_component(Target("linked_net"), str(tmp_path / "real")) is __import__("linked_net").Numbers
