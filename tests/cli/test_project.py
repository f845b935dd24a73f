"""`machinable init` and `machinable vendor fetch`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import git
import pytest

from tests.cli.conftest import Run


def test_a_new_project_works_as_its_comments_say(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("init", "new/one")

    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[-1] == "next: cd new/one && machinable execute"
    monkeypatch.chdir("new/one")
    assert run("check").out == "1 component, 1 version, 1 task, 0 errors, 0 hints\n"
    assert "points: 100000\n" in run("config", "pi", "@precise").out
    executed = run("execute", "--seed", "42", "--quiet")
    assert executed.code == 0
    assert [line.split()[:3] for line in executed.out.splitlines()[:4]] == [
        ["component", "points", "n"],
        ["pi", "100", "5"],
        ["pi", "1000", "5"],
        ["pi", "10000", "5"],
    ]
    assert run("list", "--json").data["executions"][0]["execution"] == "8gWVkz"
    names = [".gitignore", "machinable.yaml", "pi.py", "results", "tests"]
    assert sorted(path.name for path in Path.cwd().iterdir()) == names


def test_the_test_of_a_new_project_passes(run: Run, project: Path) -> None:
    run("init", "new")

    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run([*command, "new"], capture_output=True, text=True, timeout=60, check=False)

    assert ran.stdout.splitlines()[-1].startswith("2 passed in "), ran.stdout
    assert sorted(path.name for path in (project / "new").iterdir()) == [
        ".gitignore",
        "machinable.yaml",
        "pi.py",
        "tests",
    ]


def test_nothing_is_overwritten(run: Run, project: Path) -> None:
    before = {path.name: path.read_text() for path in project.iterdir()}

    ran = run("init")

    assert ran.code == 2
    assert "machinable.yaml already exists" in ran.err
    assert {path.name: path.read_text() for path in project.iterdir()} == before


def test_an_existing_gitignore_is_left_unchanged(run: Run, project: Path) -> None:
    (project / "here").mkdir()
    (project / "here" / ".gitignore").write_text("mine\n")

    ran = run("init", "here")

    assert ran.code == 0
    assert "add results/ to it" in ran.err
    assert (project / "here" / ".gitignore").read_text() == "mine\n"


def test_a_file_cannot_become_the_directory(run: Run, project: Path) -> None:
    ran = run("init", "train.py")

    assert (ran.code, ran.out) == (2, "")
    assert "train.py" in ran.err
    assert "Traceback" not in ran.err


def library(path: Path, text: str = "components: [{net: {a: 1}}]\n") -> Path:
    """A project to import."""
    path.mkdir(parents=True)
    (path / "machinable.yaml").write_text(text)
    return path


def imports(project: Path, text: str) -> None:
    (project / "machinable.yaml").write_text(f"+: {text}\ncomponents: []\n")


def repository(path: Path) -> Path:
    library(path)
    with git.Repo.init(path) as repo:
        repo.index.add(["machinable.yaml"])
        author = git.Actor("Ada", "ada@example.org")
        repo.index.commit("all", author=author, committer=author)
    return path


def test_a_directory_is_linked_relative_to_the_project(run: Run, project: Path) -> None:
    library(project.parent / "lib")
    imports(project, "{lib: ../lib}")

    ran = run("vendor", "fetch")

    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"vendor/lib is linked to {project.parent / 'lib'}\n"
    assert os.readlink(project / "vendor" / "lib") == "../../lib"
    assert run("config", "+.lib.net").out.endswith("a: 1\n")


def test_existing_entries_are_left_unchanged(run: Run, project: Path) -> None:
    library(project.parent / "lib")
    library(project / "vendor" / "lib", "components: [{own: {}}]\n")
    imports(project, "{lib: ../lib}")

    ran = run("vendor", "fetch", "lib")

    assert (ran.code, ran.err) == (0, "vendor/lib already exists\n")
    assert not (project / "vendor" / "lib").is_symlink()


def test_imports_of_imports_are_fetched_too(run: Run, project: Path) -> None:
    library(project.parent / "libs" / "one", "+: {two: ../two}\n")
    library(project.parent / "libs" / "two", "+: {one: ../one}\n")
    imports(project, "{one: ../libs/one}")

    ran = run("vendor", "fetch")

    assert ran.code == 0
    assert sorted(os.listdir(project / "vendor")) == ["one", "two"]
    assert (project / "vendor" / "two").resolve() == project.parent / "libs" / "two"


def test_a_repository_is_cloned_whole(run: Run, project: Path) -> None:
    source = repository(project.parent / "upstream")
    imports(project, f"[{{lib: 'git+file://{source}'}}]")

    ran = run("vendor", "fetch")

    assert ran.code == 0, ran.err
    assert ran.err == f"vendor/lib is cloned from file://{source}\n"
    assert os.listdir(project / "vendor") == ["lib"]
    assert sorted(os.listdir(project / "vendor" / "lib")) == [".git", "machinable.yaml"]


def test_a_clone_that_fails_leaves_nothing_behind_and_the_others_are_fetched(run: Run, project: Path) -> None:
    library(project.parent / "lib")
    imports(project, "{broken: git+file:///nowhere/at/all, lib: ../lib}")

    ran = run("vendor", "fetch")

    assert (ran.code, os.listdir(project / "vendor")) == (2, ["lib"])
    assert ran.err.splitlines() == [
        f"vendor/lib is linked to {project.parent / 'lib'}",
        "machinable.yaml:1:5: cannot clone 'broken' from file:///nowhere/at/all",
        "    1 | +: {broken: git+file:///nowhere/at/all, lib: ../lib}",
        "            ^",
        "  fatal: '/nowhere/at/all' does not appear to be a git repository",
        "  fatal: Could not read from remote repository.",
        "  Check the URL, and that git can reach it without asking for a password.",
    ]


def test_a_password_in_a_url_is_not_shown(run: Run, project: Path) -> None:
    imports(project, "{lib: 'git+http://ada:s3cret@127.0.0.1:9/lib.git'}")

    ran = run("vendor", "fetch")

    assert ran.code == 2
    assert "s3cret" not in ran.err


def test_the_settings_file_takes_precedence_over_the_project(run: Run, project: Path) -> None:
    library(project.parent / "mine")
    (Path.home() / ".machinable").mkdir()
    (Path.home() / ".machinable" / "settings.yaml").write_text(f"imports: {{lib: {project.parent / 'mine'}}}\n")
    imports(project, "[{lib: ../nowhere}]")

    assert run("vendor", "fetch").code == 0
    assert os.readlink(project / "vendor" / "lib") == str(project.parent / "mine")


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("[lib]", [], "machinable.yaml:1:5: the imported project 'lib' has no source"),
        ("[lib]", [], "`imports: {lib: SOURCE}` in ~/.machinable/settings.yaml"),
        ("{lib: ../nowhere}", [], "the source of 'lib' is not a directory"),
        ("{lib: vendor/lib}", [], "the source of 'lib' is not a directory"),
        ("{lib: 'git+--upload-pack=x'}", [], "'--upload-pack=x' is not the URL of a repository"),
        ("{lib: 'git+ext::sh -c true'}", [], "'ext::sh -c true' is not the URL of a repository"),
        ("{lib: 'git+fd::17'}", [], "Write git+https://…, git+ssh://…, git+file:///… or git+user@host:path."),
        ("{lib: git+}", [], "'' is not the URL of a repository"),
        ("{lib: ../lib}", ["lip"], "Did you mean 'lib'?"),
        ("{../evil: ../lib}", [], "an imported project is named by an identifier, not by '../evil'"),
        ("3", [], "`+` takes a list of names"),
    ],
)
def test_imports_that_cannot_be_fetched_are_errors(
    run: Run, project: Path, text: str, words: list[str], message: str
) -> None:
    imports(project, text)

    ran = run("vendor", "fetch", *words)

    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert not (project / "vendor").exists() or os.listdir(project / "vendor") == []


def test_a_broken_link_is_an_error(run: Run, project: Path) -> None:
    library(project.parent / "lib")
    imports(project, "{lib: ../lib}")
    (project / "vendor").mkdir()
    (project / "vendor" / "lib").symlink_to("../gone")

    ran = run("vendor", "fetch")

    assert ran.code == 2
    assert "vendor/lib is a broken link to '../gone'" in ran.err


@pytest.mark.parametrize("source", ["../lib", "git+file:///nowhere"])
def test_nothing_is_fetched_through_a_link(run: Run, project: Path, source: str) -> None:
    library(project.parent / "lib")
    (project.parent / "elsewhere").mkdir()
    (project / "vendor").symlink_to("../elsewhere")
    imports(project, f"{{lib: '{source}'}}")

    ran = run("vendor", "fetch")

    assert ran.code == 2
    assert "machinable.yaml:1:5: vendor/ is a link to '../elsewhere', so nothing is fetched into it" in ran.err
    assert os.listdir(project.parent / "elsewhere") == []


def test_a_file_in_place_of_the_directory_is_an_error(run: Run, project: Path) -> None:
    library(project.parent / "lib")
    (project / "vendor").write_text("")
    imports(project, "{lib: ../lib}")

    assert "vendor/ is a file, so nothing is fetched into it" in run("vendor", "fetch").err


def test_a_project_without_imports_needs_nothing(run: Run) -> None:
    ran = run("vendor", "fetch")

    assert (ran.code, ran.err) == (0, "no projects are imported\n")
