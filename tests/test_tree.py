"""The tests mirror the package: each file of tests belongs to a module."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "engine" / "machinable"
WITHOUT_MODULE = ("examples/", "journeys/", "kits/")
# Commands, and subjects that span several modules of a package.
SUBJECTS = {
    "component/test_golden.py",
    "config/test_fuzz.py",
    "config/test_golden.py",
    "config/test_messages.py",
    "execution/test_golden.py",
    "plan/test_golden.py",
    "plan/test_seeds.py",
    "results/test_written_by_trials.py",
    "storage/test_gcs.py",
    "test_documentation.py",
    "test_floor_plan.py",
    "test_package.py",
    "test_site.py",
    "test_tree.py",
    "test_words.py",
}


def has_module(test: str) -> bool:
    """Return whether `<package>/test_<module>.py` or `<package>/test_<module>_<subject>.py` has its module."""
    folder, _, name = test.rpartition("/")
    words = name.removeprefix("test_").removesuffix(".py").split("_")
    names = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
    return any((PACKAGE / folder / f"{name}.py").exists() or (PACKAGE / folder / name).is_dir() for name in names)


def test_every_file_of_tests_belongs_to_a_module() -> None:
    files = [file.relative_to(TESTS).as_posix() for file in sorted(TESTS.rglob("test_*.py"))]

    lost = [
        file for file in files if not file.startswith(WITHOUT_MODULE) and file not in SUBJECTS and not has_module(file)
    ]

    assert lost == []


def test_every_subject_has_tests() -> None:
    assert [subject for subject in sorted(SUBJECTS) if not (TESTS / subject).exists()] == []
