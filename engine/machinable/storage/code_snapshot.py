"""A snapshot of the code that runs: its state in git, its uncommitted changes, and a reproducible archive.

Files are scanned for secrets before they are archived.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, NoReturn

from machinable.errors import StorageError, listed, warn
from machinable.storage import layout
from machinable.storage.temporary import is_temporary
from machinable.units import format_size

__all__ = [
    "MAX_LISTED",
    "SIZE_LIMIT",
    "code_diff",
    "code_state",
    "is_secret_file",
    "leads_out",
    "pack_into",
    "project_files",
    "scan",
]

SIZE_LIMIT = 100 * 2**20  # bytes of the files of a project, together
MAX_LISTED = 5  # findings named in the warning


def code_state(directory: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return `{"commit", "branch", "dirty"}` of the git repository around a directory, None without repository or git.

    `commit` is None before the first commit, `branch` is None where HEAD is detached, `dirty` says whether tracked
    files of the repository, including submodules, differ from the commit.
    """
    out = _git(directory, "status", "--porcelain=v2", "--branch", "--untracked-files=no", "-z")
    if out is None:
        return None
    lines = out.decode("utf-8", "surrogateescape").split("\0")
    facts = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    commit, branch = facts["branch.oid"], facts["branch.head"]
    return {
        "commit": None if commit == "(initial)" else commit,
        "branch": None if branch == "(detached)" else branch,
        "dirty": any(line and not line.startswith("# ") for line in lines),
    }


def code_diff(directory: str | os.PathLike[str], state: Mapping[str, Any] | None) -> bytes | None:
    """Return the uncommitted changes of tracked files as input of `git apply`; None if there are none.

    Args:
        directory: The directory.
        state: Its `code_state`.
    """
    if state is None or not state["commit"] or not state["dirty"]:
        return None
    # The diff must apply whatever the user has configured.
    plain = ["--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative"]
    plain += ["--ignore-submodules=dirty"]
    return _git(directory, "diff", *plain, "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/", "HEAD") or None


def pack_into(
    file: IO[bytes],
    directory: str | os.PathLike[str],
    *,
    exclude: Sequence[str | os.PathLike[str]] = (),
    ignore: Sequence[str] = (),
    limit: int = SIZE_LIMIT,
    look_for_secrets: bool = True,
    read_source: Callable[[str], bytes] | None = None,
    needed: Iterable[str] = (),
) -> None:
    """Write a zip archive of the code in a directory; the same files give the same bytes.

    In a git repository it contains the files that are tracked or not ignored, including those of submodules; elsewhere
    all files that no `.gitignore` names. Caches, virtual environments, the data of version control, the executions of
    any storage, what experiment trackers write, and folders that `machinable export` wrote are left out. Links stay
    links, so nothing from outside the directory is included.

    Files that seem to contain secrets are packed as well, and reported in one warning.

    Args:
        file: The file to write to.
        directory: The project.
        exclude: Storages, as absolute paths. If one contains the project, only its executions are left out.
        ignore: Patterns as in `.gitignore` of files to leave out, tracked or not.
        limit: The largest size of all files together, in bytes.
        look_for_secrets: Whether to scan for secrets.
        read_source: Returns the content of a `.py` file, by its path relative to the project; by default the file's.
        needed: Files that must be in it, by their paths relative to the project; one warning names those that are not.

    Raises:
        StorageError: A file cannot be read, or the files are too large. Then nothing is written.
    """
    from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo  # 5 ms, and not every execution archives its code

    root = os.path.realpath(directory)
    # If the project itself is a storage, only this folder and executions are left out.
    storages = [os.path.realpath(os.path.join(path, name)) for path in exclude for name in ("", layout.BY_CONTENT)]
    rules = [_IgnoreRules("", ignore)] if ignore else []
    needed = list(needed)
    # Compiled files are caches unless there is no source.
    compiled = {path for path in needed if path.endswith(_COMPILED) and os.path.isfile(os.path.join(root, path))}
    names = sorted({*_chosen(root, storages, rules), *compiled})
    _check_sizes(root, names, limit)
    findings: list[str] = []
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name in names:
            if (found := _read(root, name, read_source)) is None:
                continue
            mode, content = found
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")  # names in a zip are Unicode
            if look_for_secrets and stat.S_ISREG(mode):
                findings += scan(shown, content)
            info = ZipInfo(shown)  # without a time
            info.create_system = 3
            info.external_attr = mode << 16
            info.compress_type = ZIP_DEFLATED
            archive.writestr(info, content)
    packed = set(names)
    lacking = [path for path in needed if not _is_in(path, packed) and not _is_ignored(path, False, rules)]
    if lacking:
        warn(
            f"the code backup lacks files that the code imports, because git ignores them: "
            f"{listed(lacking, MAX_LISTED)}. The execution cannot be reproduced from it. "
            "Let git include them, or exclude them on purpose with `execution: {code_backup: {ignore: [FILE]}}`."
        )
    outside = [name for name in names if os.path.islink(os.path.join(root, name)) and leads_out(root, name)]
    if outside:
        warn(
            f"these links lead out of the project, so the code backup lacks their targets: "
            f"{', '.join(outside[:MAX_LISTED])}{' …' if len(outside) > MAX_LISTED else ''}. A component that reads "
            "them cannot be reproduced from it. Replace them with copies, or exclude them in .gitignore."
        )
    if findings:
        warn(
            f"the code backup contains possible secrets: {listed(findings, MAX_LISTED)}. "
            "Exclude files in .gitignore or with `execution: {code_backup: {ignore: [FILE]}}`, mark a false alarm "
            "with `not a secret` on its line, or disable the scan with {scan: false}.",
        )


def _is_in(path: str, names: Collection[str]) -> bool:
    """Return whether a file, or a link to a folder above it, is among names."""
    parts = path.split("/")
    return any(os.sep.join(parts[:number]) in names for number in range(1, len(parts) + 1))


def project_files(directory: str | os.PathLike[str]) -> set[str]:
    """Return the files of a project that a backup of its code contains, relative to it, with `/`."""
    return {name.replace(os.sep, "/") for name in _chosen(os.path.realpath(directory), (), ())}


def _chosen(root: str, storages: Sequence[str], rules: Sequence[_IgnoreRules]) -> list[str]:
    return sorted(
        name
        for name in _listed(root, storages, rules)
        if not _is_ignored(name, False, rules)
        and not any(map(is_temporary, name.split(os.sep)))
        and not _OF_TRACKERS.search(name)
    )


def leads_out(root: str, name: str) -> bool:
    """Return whether a file of a project, or a folder above it, is a link to something outside of the project."""
    path = os.path.join(root, name)
    return os.path.exists(path) and not os.path.realpath(path).startswith(os.path.realpath(root) + os.sep)


def _check_sizes(root: str, names: Sequence[str], limit: int) -> None:
    sizes = {}
    for name in names:
        with suppress(OSError):  # reading it raises the error
            found = os.lstat(os.path.join(root, name))
            if stat.S_ISREG(found.st_mode):
                sizes[name] = found.st_size
    total = sum(sizes.values())
    if total > limit:
        largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:10]
        raise StorageError(
            f"the code is too large to back up: {format_size(total)} in {len(sizes)} files, "
            f"the limit is {format_size(limit)}",
            given=total,
            details=[f"{format_size(sizes[name]):>10}  {name}" for name in largest],
            todo="Exclude data in .gitignore or with `execution: {code_backup: {ignore: [data/]}}`, raise the limit "
            "with {limit: 1GiB}, or disable the backup with {code_backup: false}.",
        )


def _read(root: str, name: str, read_source: Callable[[str], bytes] | None) -> tuple[int, bytes] | None:
    """Return mode and content of a file or link; None if it is gone, or e.g. a pipe, which would block."""
    path = os.path.join(root, name)
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return stat.S_IFLNK | 0o777, os.fsencode(os.readlink(path))
        if not stat.S_ISREG(mode):
            return None
        mode = stat.S_IFREG | (0o755 if mode & stat.S_IXUSR else 0o644)
        if read_source is not None and name.endswith(".py"):
            return mode, read_source(name.replace(os.sep, "/"))
        with open(path, "rb") as file:
            return mode, file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        _unreadable(error)


# --- which files

_VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", "_darcs", "CVS", ".jj"})
_CACHES = frozenset(
    {
        "__pycache__",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".hypothesis",
        ".ipynb_checkpoints",
        ".tox",
        ".nox",
        ".eggs",
        ".cache",
        "node_modules",
    }
)
_COMPILED = (".pyc", ".pyo")
_OF_TRACKERS = re.compile(  # what Weights & Biases, MLflow and TensorBoard write, perhaps while the code is packed
    r"(?:^|/)(?:wandb/(?:(?:offline-)?run-|latest-run|debug)|mlruns/|mlflow\.db|[^/]*\.tfevents\.)"
)


_IN_EXPORT = "/machinable/replay/exported.py"


def _listed(root: str, storages: Sequence[str], rules: Sequence[_IgnoreRules] = ()) -> set[str]:
    """Return the files of a project, relative to it; `rules` name folders that need not be entered."""
    names = _listed_by_git(root, storages)
    # An outer repository, such as one of a home directory, may ignore the project altogether.
    names = names or set(_walk(root, storages, rules))
    left_out = {os.path.dirname(name) for name in names if os.path.basename(name) == "pyvenv.cfg"} - {""}
    # Archives in another storage would be archived again, each several times as large as the one before.
    candidates = {os.path.dirname(name) for name in names if os.path.basename(name) == layout.EXECUTION}
    executions = {folder for folder in candidates if _is_execution(os.path.join(root, folder))}
    left_out |= executions | {os.path.join(os.path.dirname(folder), layout.BY_CONTENT) for folder in executions}
    exports = (name.removesuffix(_IN_EXPORT) for name in names if name.endswith(_IN_EXPORT))
    left_out |= {folder for folder in exports if os.path.isfile(os.path.join(root, folder, "run.py"))}
    beginnings = tuple(f"{folder}/" for folder in left_out)
    return {name for name in names if not name.startswith(beginnings)}


def _is_execution(folder: str) -> bool:
    return all(os.path.isfile(os.path.join(folder, name)) for name in (layout.EXECUTION, layout.PLAN))


def _listed_by_git(root: str, storages: Sequence[str]) -> set[str] | None:
    top = _top(root)
    if top is None:
        return None
    patterns = [*sorted(_VERSION_CONTROL | _CACHES), *(f"*{ending}" for ending in _COMPILED)]
    # git must not walk through a storage with a million files that are then dropped.
    below = [storage[len(top) :] for storage in storages if storage != root and storage.startswith(f"{top}/")]
    patterns += [re.sub(r"([\\*?\[ ])", r"\\\1", path) for path in below]
    skipped = [f"--exclude={pattern}" for pattern in patterns]
    out = _git(root, "ls-files", "--cached", "--others", "--exclude-standard", *skipped, "-z")
    if out is None:
        return None
    names = set()
    for name in filter(None, map(os.fsdecode, out.split(b"\0"))):
        name = os.path.normpath(name)
        path = os.path.join(root, name)
        if os.path.islink(path) or not os.path.isdir(path):
            names.add(name)
        elif name != ".":  # a submodule, or a directory with an unfinished repository
            is_repository = os.path.lexists(os.path.join(path, ".git"))
            found = _listed(path, storages) if is_repository else _walk(path, storages)
            names |= {os.path.join(name, below) for below in found}
    return names


def _walk(root: str, storages: Sequence[str], rules: Sequence[_IgnoreRules] = (), here: str = "") -> Iterator[str]:
    """Yield the files of a folder in the project and below that no `.gitignore` excludes."""
    try:
        with os.scandir(os.path.join(root, here)) as found:
            entries = list(found)
    except OSError as error:
        _unreadable(error)
    if os.path.isfile(path := os.path.join(root, here, ".gitignore")):
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            rules = [*rules, _IgnoreRules(here, file.read().split("\n"))]
    folders = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    executions = {name for name in folders if _is_execution(os.path.join(root, here, name))}
    left_out = _CACHES | executions | ({layout.BY_CONTENT} if executions else set())
    for entry in entries:
        name, path = entry.name, os.path.join(here, entry.name)
        # `.git` is a file in a worktree
        if name in _VERSION_CONTROL or _is_ignored(path, name in folders, rules):
            continue
        if name not in folders:
            if not name.endswith(_COMPILED):
                yield path
        elif name not in left_out and entry.path not in storages and not _is_environment(entry.path):
            yield from _walk(root, storages, rules, path)


def _is_environment(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, "pyvenv.cfg")) or os.path.isdir(os.path.join(folder, "conda-meta"))


def _unreadable(error: OSError) -> NoReturn:
    raise StorageError(
        f"cannot back up the code: cannot read {error.filename!r}: {error.strerror}",
        given=error.filename,
        todo="Make it readable, or exclude it in .gitignore.",
    ) from error


# --- ignore files, git, secrets


class _IgnoreRules:
    """The rules of a `.gitignore` in a folder, given relative to the project."""

    def __init__(self, folder: str, lines: Iterable[str]) -> None:
        from pathspec import GitIgnoreSpec, PathSpec  # 25 ms, and in a repository git itself reads the files

        self.folder = folder
        patterns: list[Any] = []
        for line in lines:
            with suppress(ValueError, re.error):  # git ignores it, too
                patterns += GitIgnoreSpec.from_lines([line]).patterns
        self._files = GitIgnoreSpec(patterns)
        # GitIgnoreSpec is made for files: it prefers rules for them. For a folder, the last rule that matches wins.
        self._folders = PathSpec(patterns)

    def include(self, path: str, is_folder: bool) -> bool | None:
        """Return whether the rules exclude (True) or include (False) a path; None if no rule matches."""
        path = os.path.relpath(path, self.folder or os.curdir)
        found = self._folders.check_file(path + "/") if is_folder else self._files.check_file(path)
        return found.include


def _is_ignored(path: str, is_folder: bool, rules: Sequence[_IgnoreRules]) -> bool:
    """Return whether the innermost rules that match exclude a path; the folders above it are not excluded."""
    return next((found for one in reversed(rules) if (found := one.include(path, is_folder)) is not None), False)


def _top(directory: str | os.PathLike[str]) -> str | None:
    """Return the nearest enclosing folder with a `.git`: a directory, or a file in submodules and worktrees."""
    folder = os.path.realpath(directory)
    while not os.path.exists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


# The configuration of a repository may come from others, and these settings name programs.
_WITHOUT_PROGRAMS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


def _git(directory: str | os.PathLike[str], *command: str) -> bytes | None:
    """Return the output of a git command; None if the directory is in no repository, or git is not installed."""
    if _top(directory) is None:
        return None
    import subprocess  # 3 ms, and only for a repository

    # Reading must not change the project, not even the index of git. GitPython would take 58 ms to import.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "LANGUAGE": "C"}
    try:
        done = subprocess.run(
            ["git", *_WITHOUT_PROGRAMS, *command], cwd=directory, env=environment, capture_output=True, check=False
        )
    except FileNotFoundError:
        return None
    if not done.returncode:
        return done.stdout
    reason = done.stderr.decode("utf-8", "replace").strip()
    if "not a git repository" not in reason:  # an empty .git is not a repository; other causes can be fixed
        warn(f"the code is treated as if it were in no git repository, because git reports: {reason}")
    return None


MAX_SCANNED = 2**20  # bytes of a file; larger ones are data
MAX_LINE = 2000  # bytes of a line; longer ones are data

_FILES = {
    r"\.env(?:\.(?!example|sample|template|dist|defaults?)[\w.-]+)?": "(settings of an environment)",
    r"id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?": "(a private key)",
    r"\.netrc|_netrc|\.pgpass|\.htpasswd|\.git-credentials|\.pypirc": "(passwords)",
}
# Patterns are text and compiled on first use, which saves 2 ms without a backup.
_TEXTS = {
    "a private key": rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-",
    "an AWS key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": rb"\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{22}",
    "a Google API key": rb"\bAIza[0-9A-Za-z_-]{35}|\bGOCSPX-[0-9A-Za-z_-]{20}",
    "a Slack token": rb"\bxox[abeoprs]-[0-9A-Za-z-]{10}|hooks\.slack\.com/services/T[0-9A-Za-z]+/B",
    "a password in a URL": rb"://[^\s:@/'\"<>${}]*:[^\s:@/'\"<>${}]{3,}@[\w.-]",
}
_WORDS = rb"passw(?:or)?d|passphrase|secret|token|api_?key|access_?key|account_?key|credential"
# Lower-case words in lines with secrets: one search finds the lines to examine.
_CLUES = _WORDS + rb"|private key|putty-user-|akia|asia|gh[pousr]_|github_pat_|aiza|gocspx-|xox|hooks\.slack|://"
_ASSIGNED = (
    rb"(?i)(?P<name>[\w.-]*(?:" + _WORDS + rb")[\w.-]*)[\"']?[ \t]*(?::=?|=)[ \t]*"
    rb"(?:[bru]{0,2}(?P<quote>[\"'])(?P<quoted>[^\s\"'<>${}()%]{8,200})(?P=quote)"
    rb"|(?P<bare>[^\s\"'<>${}()\[\]%,;#]{8,200})[ \t]*(?:#|$))"
)
_ALLOWED = rb"gitleaks:allow|pragma: allowlist secret|not a secret"
_PLACEHOLDER = rb"(?i)example|placeholder|dummy|change|your|xxx|\*\*\*|\.\.\.|test|redacted|none|null|todo"


def is_secret_file(name: str) -> bool:
    """Return whether files of this name contain secrets: `.env`, `id_rsa`."""
    return any(re.fullmatch(names, name.rpartition("/")[2]) for names in _FILES)


def scan(name: str, content: bytes) -> Iterator[str]:
    """Yield the places and kinds of possible secrets in a file, without the secrets: `keys.py:5 a GitHub token`.

    Lines with `gitleaks:allow`, `pragma: allowlist secret` or `not a secret` are skipped. Only the names of large and
    binary files count.
    """
    for names, kind in _FILES.items():
        if re.fullmatch(names, name.rpartition("/")[2]) and content.strip():
            yield f"{name} {kind}"
            return
    if len(content) > MAX_SCANNED or b"\0" in content[:8192]:
        return
    clue = re.compile(_CLUES).search
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not clue(line.lower()) or re.search(_ALLOWED, line):
            continue
        kind = next((kind for kind, pattern in _TEXTS.items() if re.search(pattern, line)), "")
        if not kind and len(line) <= MAX_LINE and _is_assigned(line):
            kind = "a value with the name of a secret"
        if kind:
            yield f"{name}:{number} {kind}"


def _is_assigned(line: bytes) -> bool:
    """Return whether a line assigns letters and digits, and not an expression, to the name of a secret."""
    for match in re.finditer(_ASSIGNED, line):
        value = match["quoted"] or match["bare"]
        has_both = re.search(rb"[0-9]", value) and re.search(rb"[A-Za-z]", value)
        is_code = match["bare"] and re.search(rb"[.:=]", value)
        if has_both and not is_code and not re.search(_PLACEHOLDER, value):
            return True
    return False
