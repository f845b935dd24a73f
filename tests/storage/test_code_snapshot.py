"""Which files of a project are backed up, and what git says about it."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import StorageError
from machinable.storage.code_snapshot import code_diff, code_state, pack_into
from machinable.storage.hashing import digest, stream_digest


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Use git without a configuration."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "ada@example.org")


def git(directory: Path, *command: str) -> str:
    done = subprocess.run(["git", *command], cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write(root: Path, *names: str, text: str = "1\n") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "a project!"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    write(root, "train.py", "nets/dense.py")
    write(root, ".gitignore", text="*.ckpt\n/build/\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def names(archive: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return opened.namelist()


def pack(root: Path, **options: Any) -> bytes:
    file = io.BytesIO()
    pack_into(file, root, **options)
    return file.getvalue()


COMMITTED = [".gitignore", "nets/dense.py", "train.py"]


# --- in a repository


def test_tracked_and_untracked_files_are_packed_and_ignored_ones_are_not(repository: Path) -> None:
    write(repository, "new.py", "nets/ünï %?.py", "model.ckpt", "build/x", "nets/__pycache__/dense.pyc")
    write(repository, ".venv/pyvenv.cfg", ".venv/lib/x.py", "node_modules/x.js")
    assert names(pack(repository)) == [".gitignore", "nets/dense.py", "nets/ünï %?.py", "new.py", "train.py"]


def test_what_trackers_of_experiments_write_is_left_out(repository: Path) -> None:
    write(repository, "wandb/run-2026_x/files/config.yaml", "wandb/offline-run-2026_x/run.wandb", "wandb/debug.log")
    write(repository, "mlruns/0/meta.yaml", "mlflow.db", "runs/OY1p1o/events.out.tfevents.1.host.2.0")
    write(repository, "wandb/sweep.py", "nets/runs.py")
    for archive in (pack(repository), _without_git(repository)):
        assert names(archive) == [".gitignore", "nets/dense.py", "nets/runs.py", "train.py", "wandb/sweep.py"]


def test_tracked_files_are_packed_even_if_ignored(repository: Path) -> None:
    write(repository, "model.ckpt", "__pycache__/x.py")
    git(repository, "add", "-f", "model.ckpt", "__pycache__/x.py")
    assert names(pack(repository)) == [".gitignore", "__pycache__/x.py", "model.ckpt", "nets/dense.py", "train.py"]


def test_deleted_and_special_files_are_left_out(repository: Path) -> None:
    (repository / "train.py").unlink()
    os.mkfifo(repository / "pipe")
    assert names(pack(repository)) == [".gitignore", "nets/dense.py"]


def test_links_stay_links(repository: Path, tmp_path: Path) -> None:
    write(tmp_path, "outside/secret.txt", text="secret")
    (repository / "dangling").symlink_to("nowhere")
    (repository / "folder").symlink_to(tmp_path / "outside")
    (repository / "file").symlink_to("train.py")
    git(repository, "add", "dangling")
    with pytest.warns(UserWarning, match=r"^these links lead out of the project, .* targets: folder\. A component"):
        archives = [pack(repository), _without_git(repository)]
    for archive in archives:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            found = {i.filename: opened.read(i) for i in opened.infolist() if stat.S_ISLNK(i.external_attr >> 16)}
        assert found == {"dangling": b"nowhere", "folder": os.fsencode(tmp_path / "outside"), "file": b"train.py"}
        assert b"secret" not in archive


def _without_git(repository: Path) -> bytes:
    copy = repository.with_name("copy")
    shutil.copytree(repository, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    return pack(copy)


def test_a_subdirectory_is_packed_alone(repository: Path) -> None:
    write(repository, "nets/wide.py", "nets/x.ckpt")
    assert names(pack(repository / "nets")) == ["dense.py", "wide.py"]


def test_a_project_that_an_outer_repository_ignores_is_packed(repository: Path) -> None:
    write(repository, "build/project/train.py", "build/project/x.tmp")
    write(repository, "build/project/.gitignore", text="*.tmp\n")
    assert names(pack(repository / "build/project")) == [".gitignore", "train.py"]


def test_submodules_and_repositories_inside_are_packed(repository: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q", "-b", "main")
    write(library, "lib.py")
    write(library, ".gitignore", text="*.tmp\n")
    git(library, "add", ".")
    git(library, "commit", "-q", "-m", "x")
    for name in ("sub", "gone", "broken"):
        git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), name)
    git(repository, "submodule", "--quiet", "deinit", "-f", "gone")
    (repository / "broken/.git").unlink()
    (repository / "broken/.git").mkdir()
    write(repository, "sub/new.py", "sub/x.tmp", "inner/x.py")
    git(repository / "inner", "init", "-q")
    assert names(pack(repository)) == [
        ".gitignore",
        ".gitmodules",
        "broken/.gitignore",
        "broken/lib.py",
        "inner/x.py",
        "nets/dense.py",
        "sub/.gitignore",
        "sub/lib.py",
        "sub/new.py",
        "train.py",
    ]


def test_a_worktree_is_a_repository(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    assert names(pack(tmp_path / "tree")) == COMMITTED
    assert (code_state(tmp_path / "tree") or {})["branch"] == "other"


def test_the_state_is_commit_branch_and_changes(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    clean = {"commit": commit, "branch": "main", "dirty": False}
    assert code_state(repository) == code_state(repository / "nets") == clean
    assert code_diff(repository, code_state(repository)) is None
    write(repository, "untracked.py", "x.ckpt")
    assert code_state(repository) == clean
    write(repository, "train.py", text="2\n")
    assert code_state(repository) == {**clean, "dirty": True}


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "checkout", "-q", "--detach")
    assert code_state(repository) == {"commit": commit, "branch": None, "dirty": False}


def test_an_empty_repository_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    write(tmp_path, "train.py")
    assert code_state(tmp_path) == {"commit": None, "branch": "main", "dirty": False}
    git(tmp_path, "add", ".")
    assert code_state(tmp_path) == {"commit": None, "branch": "main", "dirty": True}
    assert code_diff(tmp_path, code_state(tmp_path)) is None
    assert names(pack(tmp_path)) == ["train.py"]


def test_the_diff_turns_the_commit_into_the_working_tree(repository: Path, tmp_path: Path) -> None:
    for key, value in {
        "diff.noprefix": "true",
        "diff.external": "false",
        "color.ui": "always",
        "diff.relative": "true",
    }.items():
        git(repository, "config", key, value)
    write(repository, "train.py", text="no end of line")
    write(repository, "staged ü.py", text="new\n")
    (repository / "image.bin").write_bytes(bytes(range(256)))
    git(repository, "add", "staged ü.py", "image.bin")
    (repository / "nets/dense.py").unlink()
    diff = code_diff(repository, code_state(repository))
    assert diff is not None
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    subprocess.run(["git", "apply", "-"], cwd=clone, input=diff, check=True)
    for root in (repository, clone):
        shutil.rmtree(root / ".git")
    assert pack(clone) == pack(repository)


def test_reading_does_not_change_the_repository(repository: Path) -> None:
    os.utime(repository / "train.py", (1e9, 1e9))
    index = repository / ".git/index"
    before = (index.stat().st_mtime_ns, index.read_bytes(), sorted(os.listdir(repository / ".git")))
    code_diff(repository, code_state(repository)), pack(repository)
    assert (index.stat().st_mtime_ns, index.read_bytes(), sorted(os.listdir(repository / ".git"))) == before


def test_a_refusal_by_git_is_a_warning_and_the_files_are_packed(repository: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    for path in (repository, repository / ".git"):
        os.chown(path, 65534, 65534)
    with pytest.warns(UserWarning, match="dubious ownership"):
        assert code_state(repository) is None
    with pytest.warns(UserWarning, match="dubious ownership"):
        assert names(pack(repository)) == COMMITTED


@pytest.mark.parametrize("make", ["empty .git", "bare", "nothing"])
def test_without_a_repository_there_is_no_state(tmp_path: Path, make: str) -> None:
    root = tmp_path / "project"
    root.mkdir()
    if make == "empty .git":
        (root / ".git").mkdir()
    elif make == "bare":
        git(root, "init", "-q", "--bare")
    assert code_state(root) is None
    assert code_diff(root, code_state(root)) is None
    write(root, "train.py")
    assert "train.py" in names(pack(root))


_WITHOUT_A_PROGRAM = """
import sys
from machinable.storage.code_snapshot import code_diff, code_state, pack_into
assert "git" not in sys.modules
assert code_state(sys.argv[1]) is None
assert code_diff(sys.argv[1], code_state(sys.argv[1])) is None
with open(sys.argv[2], "wb") as file:
    pack_into(file, sys.argv[1])
"""


def test_without_a_git_program_the_ignore_files_count(repository: Path, tmp_path: Path) -> None:
    write(repository, "new.py", "x.ckpt")
    subprocess.run(
        [sys.executable, "-W", "error", "-c", _WITHOUT_A_PROGRAM, str(repository), str(tmp_path / "code.zip")],
        env={**os.environ, "PATH": str(tmp_path / "nothing")},
        capture_output=True,
        check=True,
    )
    archive = (tmp_path / "code.zip").read_bytes()
    assert names(archive) == [".gitignore", "nets/dense.py", "new.py", "train.py"]
    assert archive == pack(repository)


def test_neither_gitpython_nor_pathspec_is_imported(repository: Path) -> None:
    code = (
        "import io, sys; from machinable.storage.code_snapshot import code_state, pack_into\n"
        "code_state(sys.argv[1]), pack_into(io.BytesIO(), sys.argv[1])\n"
        "assert not {'git', 'pathspec', 'fs', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(repository)], check=True)


# --- without a repository


PATTERNS = [
    "*.tmp",
    "!keep.tmp",
    "/top",
    "folder/",
    "a/**/z",
    "**/deep",
    "logs/**",
    "b/*.py",
    "x?y",
    "[abc].c",
    "[!a-c].d",
    "[]x].e",
    "\\#hash",
    "\\!bang",
    "# comment",
    "trailing   ",
    "kept\\ ",
    "",
    "  ",
    "**/n/**/m",
    "q/**/**/r",
    "s*p",
    "!folder/inside",
    "un[closed",
    "[z-a].g",
    "back\\slash",
    "ü*",
    "**",
    "!**/",
    "!*.*",
    "star\\*",
    "w/**x",
    "*/one",
]
PATHS = [
    "a.tmp",
    "keep.tmp",
    "sub/keep.tmp",
    "top",
    "sub/top",
    "folder/inside",
    "sub/folder/x",
    "other/folder",
    "a/z",
    "a/b/z",
    "a/b/c/z",
    "deep",
    "a/deep",
    "p/deep/x",
    "logs/x",
    "logs/y/z",
    "b/x.py",
    "b/c/x.py",
    "xzy",
    "x/y",
    "a.c",
    "d.c",
    "d.d",
    "a.d",
    "].e",
    "x.e",
    "y.e",
    "#hash",
    "!bang",
    "# comment",
    "trailing",
    "kept ",
    "n/m",
    "k/n/l/m",
    "q/r",
    "q/1/r",
    "q/1/2/r",
    "stop",
    "s/p",
    "un[closed",
    "y.g",
    "backslash",
    "üx",
    "star*",
    "starx",
    "w/x",
    "w/1/x",
    "w/yx",
    "1/one",
    "1/2/one",
]
SETS = [
    PATTERNS[:27],
    ["*", "!*/", "!*.py", "!keep.tmp"],
    ["/*", "!/a/", "!/sub/", "/sub/*", "!/sub/top"],
    ["**"],
    ["**/"],
    ["/**"],
    ["a/**", "!a/b/"],
    ["*/one", "/1"],
    ["w/**x", "un[closed", "[z-a].g", "back\\slash"],
    ["star\\*", "ü*"],
    ["folder", "!folder/"],
    ["!*.tmp", "*.tmp"],
    ["*.tmp\r", "top\r"],
    ["/", "//", "!", "!/"],
]


@pytest.mark.parametrize("patterns", SETS)
def test_ignore_files_mean_the_same_as_in_git(tmp_path: Path, patterns: list[str]) -> None:
    root = tmp_path / "project"
    for path in PATHS:
        if not (root / path).is_dir() and not any(p.is_file() for p in (root / path).parents):
            write(root, path)
    write(root, "sub/.gitignore", text="!*.tmp\n/top\n")
    (root / ".gitignore").write_bytes("\n".join(patterns).encode())
    walked = names(pack(root))
    git(root, "init", "-q")
    listed = git(root, "ls-files", "-o", "--exclude-standard", "-z").split("\0")
    assert walked == sorted(filter(None, listed))


def test_caches_environments_and_version_control_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.py",
        ".hidden",
        ".git/config",
        ".hg/x",
        ".svn/x",
        "sub/.git",
        "__pycache__/a.pyc",
        "a.pyc",
        ".mypy_cache/x",
        ".pytest_cache/x",
        ".ipynb_checkpoints/x",
        "node_modules/x",
        ".tox/x",
        "env/pyvenv.cfg",
        "env/bin/x",
        "conda/conda-meta/x",
        "conda/x",
        "sub/venv/pyvenv.cfg",
        "sub/x.py",
    )
    assert names(pack(tmp_path)) == [".hidden", "sub/x.py", "train.py"]


def test_a_project_that_is_itself_an_environment_is_packed(tmp_path: Path) -> None:
    write(tmp_path, "pyvenv.cfg", "train.py")
    assert "train.py" in names(pack(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="names must be Unicode elsewhere")
def test_a_file_name_that_is_not_text_is_packed(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/a\xff.py", "wb"):
        pass
    assert names(pack(tmp_path)) == ["a\\xff.py"]


def test_an_unreadable_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "train.py")

    def closed(path: str, *more: Any) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", closed)
    with pytest.raises(StorageError, match=r"cannot read .*train\.py': Permission denied"):
        pack(tmp_path)


# --- everywhere


@pytest.fixture(params=["git", "no git"])
def project(request: pytest.FixtureRequest, repository: Path) -> Path:
    if request.param == "no git":
        shutil.rmtree(repository / ".git")
    return repository


def test_storages_are_left_out(project: Path, tmp_path: Path) -> None:
    write(project, "results/OY1p1o/execution.json", "results [1] *!/x", "results2/x.py", "nets/results/x")
    (project / "link").symlink_to(project / "results")
    storages = [
        project / "results",
        project / "results [1] *!",
        project / "nets/results",
        tmp_path / "elsewhere",
        project / "nets/none",
    ]
    assert names(pack(project, exclude=storages)) == [
        ".gitignore",
        "link",
        "nets/dense.py",
        "results2/x.py",
        "train.py",
    ]
    assert names(pack(project, exclude=[project / "link"])) == [
        ".gitignore",
        "link",
        "nets/dense.py",
        "nets/results/x",
        "results [1] *!/x",
        "results2/x.py",
        "train.py",
    ]
    assert names(pack(project / "nets", exclude=storages)) == ["dense.py"]


def test_a_storage_around_the_project_leaves_out_its_executions_only(project: Path) -> None:
    write(project, "OY1p1o/execution.json", "OY1p1o/plan.jsonl", "OY1p1o/trials/x/log.txt", "by-content/ab/x.json")
    assert names(pack(project, exclude=[project])) == COMMITTED
    shutil.rmtree(project / "OY1p1o")
    assert names(pack(project, exclude=[project])) == COMMITTED
    assert names(pack(project / "nets", exclude=[project])) == ["dense.py"]


def test_the_same_files_give_the_same_bytes(project: Path, tmp_path: Path) -> None:
    (project / "train.py").chmod(0o755)
    first = pack(project)
    os.utime(project / "train.py", (0, 0))  # a zip cannot store times before 1980
    (project / "nets/dense.py").chmod(0o600)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in reversed(COMMITTED):
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(project / name, copy / name)
    assert pack(project) == pack(copy) == first
    (project / "train.py").chmod(0o644)
    assert pack(project) != first


def test_an_archive_contains_contents_and_modes(project: Path, tmp_path: Path) -> None:
    (project / "train.py").write_bytes(b"\x00\xff" * 1000)
    (project / "train.py").chmod(0o700)
    with zipfile.ZipFile(io.BytesIO(pack(project))) as opened:
        found = {i.filename: (i.date_time, i.external_attr >> 16, opened.read(i)) for i in opened.infolist()}
    time = (1980, 1, 1, 0, 0, 0)
    assert found == {
        ".gitignore": (time, 0o100644, b"*.ckpt\n/build/\n"),
        "nets/dense.py": (time, 0o100644, b"1\n"),
        "train.py": (time, 0o100755, b"\x00\xff" * 1000),
    }


def test_an_empty_project_is_an_empty_archive(tmp_path: Path) -> None:
    assert names(pack(tmp_path)) == []


def test_a_digest_names_its_kind() -> None:
    file = io.BytesIO(b"abc")
    file.seek(2)
    assert digest(b"abc") == stream_digest(file) == "sha256:" + hashlib.sha256(b"abc").hexdigest()


# --- size limit and secrets


@pytest.mark.parametrize(
    ("ignore", "left"),
    [
        (["nets/"], [".gitignore", "train.py"]),
        (["*.py"], [".gitignore"]),
        (["*.py", "!train.py"], [".gitignore", "train.py"]),
        (["/train.py", "# x", ""], [".gitignore", "nets/dense.py"]),
        (["nets"], [".gitignore", "train.py"]),
        (["train.py/"], COMMITTED),
    ],
)
def test_ignored_files_are_left_out_tracked_or_not(project: Path, ignore: list[str], left: list[str]) -> None:
    assert names(pack(project, ignore=ignore)) == left


def test_a_project_that_is_too_large_is_refused_with_its_largest_files(project: Path) -> None:
    for number in range(12):
        write(project, f"data/{number}.csv", text="x" * (1000 + number))
    (project / "link").symlink_to("data/1.csv")
    file = io.BytesIO()

    with pytest.raises(StorageError) as caught:
        pack_into(file, project, limit=12_000)

    assert str(caught.value) == (
        "the code is too large to back up: 11.8 KiB in 15 files, the limit is 11.7 KiB\n"
        + "".join(f"  {'1011 bytes' if n == 11 else f'{1000 + n} bytes':>10}  data/{n}.csv\n" for n in range(11, 1, -1))
        + "  Exclude data in .gitignore or with `execution: {code_backup: {ignore: [data/]}}`, raise the limit with "
        "{limit: 1GiB}, or disable the backup with {code_backup: false}."
    )
    assert file.getvalue() == b""
    assert names(pack(project, limit=12_000, ignore=["/data/1*"])) != []


def test_secrets_are_packed_and_one_warning_names_their_places(project: Path) -> None:
    write(project, ".env", text="A=1\n")
    write(project, "keys.py", text="\n" + "# comment\n" * 3 + "token = 'gh" + "p_" + "a1" * 18 + "'\n")
    with pytest.warns(UserWarning, match="secret") as caught:
        assert ".env" in names(pack(project))
    assert [str(one.message) for one in caught] == [
        "the code backup contains possible secrets: .env (settings of an environment), "
        "keys.py:5 a GitHub token. Exclude files in .gitignore or with "
        "`execution: {code_backup: {ignore: [FILE]}}`, mark a false alarm with `not a secret` on its line, or "
        "disable the scan with {scan: false}."
    ]
    names(pack(project, look_for_secrets=False))
    names(pack(project, ignore=[".env", "keys.py"]))


def test_of_many_secrets_the_first_five_are_named(project: Path) -> None:
    write(project, *(f"{number}/.env" for number in range(9)))
    with pytest.warns(UserWarning, match=r"0/\.env .*4/\.env \(settings of an environment\) and 4 more\. "):
        names(pack(project))


@pytest.mark.parametrize("in_git", [True, False])
def test_executions_of_any_storage_are_left_out(tmp_path: Path, in_git: bool) -> None:
    """Each archive would hold those of all executions before it, and so grow without end."""
    if in_git:
        git(tmp_path, "init", "--quiet")
    write(tmp_path, "a.py", "data/execution.json")
    for storage in ("one", "deep/two"):
        write(
            tmp_path, *(f"{storage}/OY1p1o/{name}" for name in ("execution.json", "plan.jsonl", "code.zip", "trials/x"))
        )
        write(tmp_path, f"{storage}/by-content/8a/8a16.json")
    assert names(pack(tmp_path)) == ["a.py", "data/execution.json"]


@pytest.mark.parametrize("in_git", [True, False])
def test_exported_folders_are_left_out(tmp_path: Path, in_git: bool) -> None:
    if in_git:
        git(tmp_path, "init", "--quiet")
    write(tmp_path, "a.py", "engine/machinable/replay/exported.py")
    write(tmp_path, "export-OY1p1o/run.py", "export-OY1p1o/code/a.py", "export-OY1p1o/machinable/replay/exported.py")
    assert names(pack(tmp_path)) == ["a.py", "engine/machinable/replay/exported.py"]


def test_many_executions_in_the_project_do_not_make_the_backup_grow(tmp_path: Path) -> None:
    write(tmp_path, "a.py")
    sizes = []
    for number in range(5):
        archive = pack(tmp_path, exclude=[tmp_path / f"s{number}"])
        sizes.append(len(archive))
        for name in ("execution.json", "plan.jsonl"):
            write(tmp_path, f"s{number}/OY1p1o/{name}")
        (tmp_path / f"s{number}/OY1p1o/code.zip").write_bytes(archive)
    assert len(set(sizes)) == 1


def test_an_execution_with_too_much_code_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "data.csv", text="x" * 5000)
    write(tmp_path, "machinable.yaml", text="components: [job: ]\nexecution: {code_backup: {limit: 1 KiB}}\n")
    write(tmp_path, "job.py", text="from machinable import Component\n\n\nclass Job(Component):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(StorageError, match=r"4\.9 KiB  data\.csv"):
        ml.execute("job", tmp_path / "stored")
    assert os.listdir(tmp_path / "stored") == []
    options = {"ignore": ["*.csv", "__pycache__"], "limit": 1000}
    execution = ml.execute("job", {"storage": tmp_path / "stored", "code_backup": options}, seed="OY1p1o")
    archive = (tmp_path / "stored/OY1p1o/code.zip").read_bytes()
    assert names(archive) == ["job.py", "machinable.yaml"]
    assert execution.data["code"]["backup"] == digest(archive)


def test_no_program_in_the_settings_of_a_repository_is_run(repository: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    program.chmod(0o755)
    hooks = repository / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    shutil.copy(program, hooks / "post-index-change")
    for name in ("core.fsmonitor", "diff.external", "core.pager", "core.editor"):
        git(repository, "config", name, str(program))
    (tmp_path / "ran").unlink(missing_ok=True)
    write(repository, "train.py", "new.py", text="2\n")

    state = code_state(repository)
    assert state is not None
    assert code_diff(repository, code_state(repository))
    assert "new.py" in names(pack(repository))
    assert not (tmp_path / "ran").exists()
