"""Components that are called like modules of Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from machinable.component.imports import load_component, source_digest
from machinable.plan.spec import Target
from machinable.storage.hashing import digest

NUMBERS = "from machinable import Component\nclass Numbers(Component):\n    x = {x}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "numbers.py").write_text(NUMBERS.format(x=1))
    return tmp_path


def test_the_component_is_found_though_python_has_imported_its_own(project: Path) -> None:
    import numbers

    found = load_component(Target("numbers"), str(project))
    assert (getattr(found, "x", None), sys.modules["numbers"]) == (1, numbers)
    assert load_component(Target("numbers"), str(project)) is found


def test_two_projects_have_their_own(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "numbers.py").write_text(NUMBERS.format(x=2))
    found = [getattr(load_component(Target("numbers"), str(one)), "x", 0) for one in (project, other, project)]
    assert found == [1, 2, 1]


def test_its_digest_is_that_of_the_projects_file(project: Path) -> None:
    target = Target("numbers")
    expected = digest((project / "numbers.py").read_bytes())
    assert source_digest(target, str(project)) == expected
    load_component(target, str(project))
    assert source_digest(target, str(project), as_loaded=True) == expected


@pytest.mark.parametrize("order", [("numbers", "other"), ("other", "numbers")])
def test_libraries_find_pythons_own_in_whatever_order(project: Path, order: tuple[str, str]) -> None:
    (project / "other.py").write_text(
        "import fractions\nfrom machinable import Component\n"
        "class Other(Component):\n    half = fractions.Fraction(1, 2)\n"
    )
    script = (
        "import sys\nassert 'numbers' not in sys.modules\n"
        "from machinable.component.imports import load_component\nfrom machinable.plan.spec import Target\n"
        f"print([load_component(Target(name), {str(project)!r}).__name__ for name in {order!r}])\n"
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
