"""The storage that a command reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def stored(run: Run, project: Path) -> str:
    """A storage with two executions."""
    run("execute", "train", "--seed", "42", "--storage", "out", "--quiet")
    run("execute", "train", "~fast", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    return str(project / "out")


def test_a_storage_is_found_in_the_environment_then_the_project_then_the_settings(
    run: Run, stored: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path.home() / ".machinable"
    home.mkdir()
    (home / "settings.yaml").write_text(f"storage: {stored}\n")
    assert len(run("list").out.splitlines()) == 3
    (project / "empty").mkdir()
    (project / "machinable.yaml").write_text("execution: {storage: empty}\n")
    assert run("list").err == f"no executions in {project / 'empty'}\n"
    monkeypatch.setenv("MACHINABLE_STORAGE", stored)
    assert len(run("list").out.splitlines()) == 3


def test_no_storage_at_all_says_how_to_name_one(run: Run) -> None:
    for words in (["list"], ["show", "8gWVkz"]):
        ran = run(*words)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == (
            "no storage is given\n  Name one: --storage DIRECTORY, MACHINABLE_STORAGE=DIRECTORY, "
            "or `execution: {storage: DIRECTORY}` in machinable.yaml.\n"
        )


def test_a_missing_storage_is_not_created(run: Run, project: Path) -> None:
    ran = run("list", "--storage", "nowhere", "--json")

    assert (ran.code, ran.data["error"]["type"]) == (3, "StorageUnavailable")
    assert not (project / "nowhere").exists()


def test_a_storage_can_be_listed_without_a_project(run: Run, stored: str, project: Path) -> None:
    (project / "machinable.yaml").unlink()

    assert run("list", "--storage", stored).code == 0
    assert run("list").code == 2


def test_reading_needs_only_the_storage_of_a_project_that_is_wrong_elsewhere(
    run: Run, stored: str, project: Path
) -> None:
    file = project / "machinable.yaml"
    file.write_text(
        "execution: {storage: $.where, engine: '${NOT_SET}'}\nwhere: out\n+: [gone]\ncomponents: [{a: '${NOT_SET}'}]\n"
    )
    assert len(run("list").out.splitlines()) == 3
    assert run("show", "OY1p1o").code == 0

    file.write_text("execution: {storage: '${NOT_SET}'}\n")
    ran = run("list")
    assert ran.code == 2
    assert ran.err.startswith("machinable.yaml:1:13: the environment variable 'NOT_SET' is not set\n")
