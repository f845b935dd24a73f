"""What a project reads, and when it reads again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from machinable.errors import InvalidType, InvalidValue, MachinableError, MissingFile
from machinable.project import Project
from machinable.storage.open import storage_url

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of the project with times that differ from those of an earlier version."""
    count = 0

    def write(name: str, text: str) -> None:
        nonlocal count
        count += 1
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(count * 10**9, count * 10**9))

    return write


def test_a_directory_without_a_project_file_is_reported_with_what_to_do(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "not there"):
        with pytest.raises(FileNotFoundError) as caught:
            Project(directory).resolve("c")
        assert isinstance(caught.value, MissingFile)
        assert str(caught.value) == (
            f"no machinable.yaml in {directory}\n  Go to the directory of your project, or create one: machinable init"
        )


def test_a_project_is_the_working_directory_by_default(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("machinable.yaml", "components: [c: {a: 1}]\n")
    monkeypatch.chdir(tmp_path)
    project = Project()
    monkeypatch.chdir("/")

    assert project.resolve("c").to_dict() == {"a": 1}
    assert repr(project) == f"Project({str(tmp_path)!r})"


def test_a_project_is_found_from_its_subdirectories(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("machinable.yaml", "components: [outer: ]\n")
    write("deep/machinable.yaml", "components: [inner: ]\n")
    for directory in ("deep/er", "a/b/c", "empty"):
        (tmp_path / directory).mkdir(parents=True)
    for directory, expected in (("a/b/c", ""), ("empty", ""), ("deep/er", "deep"), ("deep", "deep")):
        monkeypatch.chdir(tmp_path / directory)
        assert Project().path == str(tmp_path / expected)
        assert Project(".").path == str(tmp_path / directory), "a given directory is taken as it is"


def test_a_file_of_another_user_above_the_working_directory_is_no_project(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("machinable.yaml", "components: [outer: ]\n")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    owner = tmp_path.stat().st_uid
    assert Project().path == str(tmp_path / "below" if owner else tmp_path)
    monkeypatch.chdir(tmp_path)
    assert Project().path == str(tmp_path)


def test_a_working_directory_that_was_removed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for act in (Project, lambda: storage_url("relative"), lambda: Project("relative")):
        with pytest.raises(InvalidValue, match="the working directory no longer exists"):
            act()
    assert Project(tmp_path).path == str(tmp_path)
    assert storage_url(str(tmp_path)) == str(tmp_path)
    monkeypatch.chdir(tmp_path)


def test_the_home_directory_is_expanded(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("odd näme, with ${X}/machinable.yaml", "components: [c: {a: 1}]\n")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert Project("~/odd näme, with ${X}").resolve("c").to_dict() == {"a": 1}


@pytest.mark.parametrize(("text", "name"), [("name: my.project\n", "my.project"), ("", "odd.dir")])
def test_a_project_has_its_declared_name_or_that_of_its_directory(tmp_path: Path, text: str, name: str) -> None:
    directory = tmp_path / "odd.dir"
    directory.mkdir()
    (directory / "machinable.yaml").write_text(text)

    assert Project(directory).name == name


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path, write: Write) -> None:
    write("machinable.yaml", "+: [lib]\ncomponents: [c: {a: $/p/x.yaml}, d^+.lib.e: {}]\n")
    write("p/x.yaml", "1")
    write("vendor/lib/machinable.yaml", "components: [e: {a: 1}]\n")
    project = Project(tmp_path)
    first = project.workspace()
    assert project.resolve("c").to_dict() == {"a": 1}
    assert project.workspace() is first

    write("p/x.yaml", "2")
    assert project.resolve("c").to_dict() == {"a": 2}
    write("vendor/lib/machinable.yaml", "components: [e: {a: 3}]\n")
    assert project.resolve("d").to_dict() == {"a": 3}
    write("machinable.yaml", "components: [c: {a: 4}]\n")
    assert project.resolve("c").to_dict() == {"a": 4}


def test_a_version_file_is_read_again_when_it_has_changed(tmp_path: Path, write: Write) -> None:
    write("machinable.yaml", "components: [c: {a: 0}]\n")
    project = Project(tmp_path)
    with pytest.raises(FileNotFoundError):
        project.resolve("c", "v.yaml")
    write("v.yaml", "a: 1")
    assert project.resolve("c", "v.yaml").to_dict() == {"a": 1}
    write("v.yaml", "a: [")
    with pytest.raises(ValueError, match="not YAML"):
        project.resolve("c", "v.yaml")
    write("v.yaml", "a: 2")
    assert project.resolve("c", "v.yaml").to_dict() == {"a": 2}


def test_a_project_is_read_again_after_an_error(tmp_path: Path, write: Write) -> None:
    project = Project(tmp_path)
    write("machinable.yaml", "+: [lib]\ncomponents: [c^+.lib.d: {}]\n")
    with pytest.raises(FileNotFoundError, match="machinable vendor fetch lib"):
        project.resolve("c")
    write("vendor/lib/machinable.yaml", "components: [d: {a: 1}]\n")

    assert project.resolve("c").to_dict() == {"a": 1}


def test_a_changed_variable_is_read_again(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("machinable.yaml", "components: [c: {a: '${TEST_OF_A_PROJECT:-unset}'}]\n")
    project = Project(tmp_path)
    monkeypatch.delenv("TEST_OF_A_PROJECT", raising=False)
    assert project.resolve("c").to_dict() == {"a": "unset"}
    monkeypatch.setenv("TEST_OF_A_PROJECT", "5")
    assert project.resolve("c").to_dict() == {"a": "5"}
    first = project.workspace()
    monkeypatch.setenv("TEST_OF_ANOTHER", "5")
    assert project.workspace() is first


def test_a_vendored_project_may_be_a_link(tmp_path: Path, write: Write) -> None:
    write("elsewhere/machinable.yaml", "components: [d: {a: $/part.yaml}]\n")
    write("elsewhere/part.yaml", "1")
    write("project/machinable.yaml", "+: {lib: ../elsewhere}\ncomponents: [c^+.lib.d: {}]\n")
    (tmp_path / "project/vendor").mkdir()
    (tmp_path / "project/vendor/lib").symlink_to(tmp_path / "elsewhere", target_is_directory=True)

    assert Project(tmp_path / "project").resolve("c").to_dict() == {"a": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "the project file 'machinable.yaml' cannot be read: it is not UTF-8"),
        (None, "the project file 'machinable.yaml' cannot be read: Is a directory"),
        (b"# " + b"a" * 2**26, "the project file 'machinable.yaml' cannot be read: it has more than 64.0 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is None:
        (tmp_path / "machinable.yaml").mkdir()
    else:
        (tmp_path / "machinable.yaml").write_bytes(content)

    with pytest.raises(MachinableError) as caught:
        Project(tmp_path).resolve("c")
    assert caught.value.message == message


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_bytes("components: [c: {ä: 1}]\n".encode("utf-8-sig"))

    assert Project(tmp_path).resolve("c").to_dict() == {"ä": 1}


@pytest.mark.parametrize(
    "path", ["$/\0.yaml", "$/" + "a" * 5000 + ".yaml", "$/\udc80.yaml", "$/machinable.yaml/x.yaml"]
)
def test_an_invalid_file_name_is_a_configuration_error(tmp_path: Path, write: Write, path: str) -> None:
    write("machinable.yaml", "components: [c: {a: 1}]\n")

    with pytest.raises(MachinableError) as caught:
        Project(tmp_path).resolve("c", path)
    assert str(caught.value.at) == "machinable.yaml:1:14"


def test_circular_links_are_an_error(tmp_path: Path, write: Write) -> None:
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    write("x.yaml", "$/loop/x.yaml")
    write("machinable.yaml", "components: [c: {a: $/x.yaml}]\n")

    with pytest.raises(ValueError, match=r"(cannot be read|include each other)"):
        Project(tmp_path).resolve("c")


@pytest.mark.parametrize(("name", "versions"), [(5, ()), (None, ()), ("c", "~v"), ("c", {"a": 1})])
def test_arguments_of_the_wrong_type_are_refused(tmp_path: Path, write: Write, name: object, versions: object) -> None:
    write("machinable.yaml", "components: [c: {}]\n")

    with pytest.raises(InvalidType):
        Project(tmp_path).resolve(name, None, versions)  # type: ignore[arg-type]


def test_bytes_that_are_not_utf_8_have_a_place(tmp_path: Path, write: Write) -> None:
    write("machinable.yaml", "components: [c: {a: $/part.yaml}]\n")
    (tmp_path / "part.yaml").write_bytes(b"x: 1\ncaf\xc3\xa9: caf\xe9, _token: s3cret\n")

    with pytest.raises(MachinableError) as caught:
        Project(tmp_path).resolve("c")
    assert str(caught.value).splitlines() == [
        "part.yaml:2:10: the file 'part.yaml' cannot be read: it is not UTF-8",
        "  in components[0].c.a",
        "    2 | café: caf\\xe9, _token: …",
        "                 ^",
        "  referred to at machinable.yaml:1:18",
        "  Save it as UTF-8.",
    ]


@pytest.mark.parametrize("name", ["pipe.yaml", "/dev/zero", "/dev/urandom", "/dev/stdin"])
def test_only_regular_files_are_read(tmp_path: Path, write: Write, name: str) -> None:
    up = "../" * len(tmp_path.parts)
    path = name if name[0] != "/" else up + name[1:]
    if name == "pipe.yaml":
        os.mkfifo(tmp_path / name)
    write("machinable.yaml", f"components: [c: {{a: $/{path}}}]\n")

    with pytest.raises(MachinableError, match="cannot be read: it is not a regular file"):
        Project(tmp_path).resolve("c")


def test_a_call_with_invalid_arguments_is_an_error_unless_the_module_lacks_the_method(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - c: {rate: log(p), unit: time (s)}\n")

    with pytest.raises(NameError, match=r"machinable\.yaml:2:"):
        Project(tmp_path).resolve("c")
    (tmp_path / "c.py").write_text("from machinable import Component\n\n\nclass C(Component):\n    pass\n")
    assert Project(tmp_path).resolve("c").to_dict() == {"rate": "log(p)", "unit": "time (s)"}
    with (tmp_path / "c.py").open("a") as file:
        file.write("    def config_log(self, x):\n        return x\n")
    with pytest.raises(NameError):
        Project(tmp_path).resolve("c")
