"""Commands and scripts run in unusual surroundings: other users, no home, subdirectories, removed directories."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import machinable as ml
from tests.conftest import World

CODE = """
from machinable import Component


class Job(Component):
    def on_execute(self):
        return self.config.a
"""
YAML = "components:\n  - job: {a: 1}\nexecution: {storage: ./results}\n"


def run(directory: Path, *command: str, home: str | None, prefix: tuple[str, ...] = ()) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])}
    environment.pop("HOME", None)
    if home is not None:
        environment["HOME"] = home
    ran = subprocess.run(
        [*prefix, sys.executable, *command], cwd=directory, env=environment, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return f"{ran.returncode} {ran.stdout}{ran.stderr}"


@pytest.fixture
def other_user() -> tuple[str, ...]:
    """Return a command that runs another one as a user who has no name and may not read everything."""
    command = ("unshare", "--user", "--map-user=12345", "--map-group=12345")
    if sys.platform != "linux" or subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no other user can be made here")
    return command


@pytest.mark.parametrize("home", ["unreadable", "missing", "a file", "empty", None])
def test_a_user_without_a_home_directory(
    project: World, tmp_path: Path, other_user: tuple[str, ...], home: str | None
) -> None:
    here = project(YAML, job=CODE)
    (tmp_path / "unreadable").mkdir()
    (tmp_path / "a file").touch()
    if os.geteuid() == 0:
        os.chown(tmp_path / "unreadable", 4711, 4711)
    (tmp_path / "unreadable").chmod(0)
    place = None if home is None else "" if home == "empty" else str(tmp_path / home)
    try:
        said = run(here, "-m", "machinable", "execute", "job", "--seed", "OY1p1o", home=place, prefix=other_user)
        assert said.startswith("0 "), said
        assert "OY1p1o" in run(here, "-m", "machinable", "list", home=place, prefix=other_user)
        script = "import machinable as ml\nprint(ml.execute('job', 'mem://', progress=False).status)"
        assert run(here, "-c", script, home=place, prefix=other_user) == "0 finished\n"
    finally:
        (tmp_path / "unreadable").chmod(0o700)


def test_settings_that_cannot_be_read_are_reported(project: World, tmp_path: Path, other_user: tuple[str, ...]) -> None:
    here = project(YAML, job=CODE)
    settings = tmp_path / ".machinable" / "settings.yaml"
    settings.parent.mkdir()
    settings.write_text("engine: local\n")
    if os.geteuid() == 0:
        os.chown(settings, 4711, 4711)
    settings.chmod(0o200)
    said = run(here, "-m", "machinable", "execute", "job", home=str(tmp_path), prefix=other_user)
    assert said == ("3 ~/.machinable/settings.yaml cannot be read: permission denied\n  Change its permissions.\n")


def test_a_subdirectory_of_the_project(project: World, tmp_path: Path) -> None:
    here = project(YAML, job=CODE)
    below = here / "notebooks" / "deep"
    below.mkdir(parents=True)
    assert run(below, "-m", "machinable", "execute", "job", "--seed", "OY1p1o", home=str(tmp_path)).startswith("0 ")
    assert (here / "results" / "OY1p1o").is_dir(), "paths in machinable.yaml start at its directory"
    assert "OY1p1o" in run(below, "-m", "machinable", "list", home=str(tmp_path))
    said = run(below, "-m", "machinable", "execute", "job", "--storage", "own", home=str(tmp_path))
    assert said.startswith("0 ") and (below / "own").is_dir(), (
        "paths on the command line start at the working directory"
    )
    for command in (["check"], ["config", "job"], ["schema"]):
        assert run(below, "-m", "machinable", *command, home=str(tmp_path)).startswith("0 ")
    script = "import machinable as ml\nprint(ml.execute('job', engine='processes:1', progress=False).trials[0].result)"
    assert run(below, "-c", script, home=str(tmp_path)) == "0 1\n"


@pytest.mark.parametrize("command", [["execute", "job"], ["check"], ["config", "job"], ["schema"], ["list"]])
def test_a_removed_working_directory_is_reported(tmp_path: Path, command: list[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"import os, sys; os.rmdir({str(gone)!r}); from machinable.cli import main; sys.exit(main({command!r}))"
    said = run(gone, "-c", script, home=str(tmp_path))
    assert said.startswith("2 ") and "the working directory no longer exists" in said, said
    assert "--help" in run(gone.parent, "-m", "machinable", "--help", home=str(tmp_path))


def test_executions_work_where_the_working_directory_was_removed(project: World, tmp_path: Path) -> None:
    here, gone = (
        project(YAML, job=CODE.replace("return", "assert 'x'.encode('cp037')\n        return")),
        tmp_path / "gone",
    )
    gone.mkdir()
    (gone / "script.py").write_text(
        "import os, shutil, sys\nimport machinable as ml\nsys.path.insert(0, '')\nshutil.rmtree(os.getcwd())\n"
        "for engine in ('local', 'processes:1'):\n"
        f"    done = ml.execute('job', {str(tmp_path / 's')!r}, engine=engine, project={str(here)!r}, progress=False)\n"
        "    print(done.trials[0].result)\n"
    )
    assert run(gone, "script.py", home=str(tmp_path)) == "0 1\n1\n"
