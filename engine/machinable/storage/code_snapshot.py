"""What code ran: its state in git, its uncommitted changes, and an archive of it that has the same bytes each time.

Looks for what should be told to nobody, in files that are about to be copied somewhere.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO, Any, NamedTuple, NoReturn

from machinable.errors import StorageError
from machinable.storage import layout
from machinable.storage.files import is_temporary
from machinable.storage.hashing import digest, file_digest
from machinable.units import shown_size

__all__ = ["LIMIT", "Finding", "code_diff", "code_state", "digest", "file_digest", "pack", "pack_into", "scan"]

LARGEST = 2**20  # bytes of a file that is looked through: larger ones are data
LONGEST = 2000  # characters of a line: longer ones are data, too


class Finding(NamedTuple):
    """Something that looks like a secret, which is not in here.

    Attributes:
        file: its name. line: from 1, or 0 if it is the file as a whole. kind: what it looks like.
    """

    file: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.kind}" if self.line else f"{self.file} {self.kind}"


_FILES = re.compile(
    r"(?P<settings>\.env(?:\.(?!example|sample|template|dist|defaults?)[\w.-]+)?)"
    r"|(?P<private_key>id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?)"
    r"|(?P<passwords>\.netrc|_netrc|\.pgpass|\.htpasswd|\.git-credentials|\.pypirc)"
)
_OF_FILES = {
    "settings": "(settings of an environment)",
    "private_key": "(a private key)",
    "passwords": "(passwords)",
}

# What a text must have somewhere (a search for fixed letters takes next to nothing), and what it then looks like.
_TEXTS = (
    (
        "a private key",
        (b"PRIVATE KEY", b"PuTTY-User-Key-File-"),
        re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-"),
    ),
    ("a key of AWS", (b"AKIA", b"ASIA"), re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    (
        "a token of GitHub",
        (b"gh", b"github_pat_"),
        re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{22}"),
    ),
    ("a key of Google", (b"AIza", b"GOCSPX-"), re.compile(rb"\bAIza[0-9A-Za-z_-]{35}|\bGOCSPX-[0-9A-Za-z_-]{20}")),
    (
        "a token of Slack",
        (b"xox", b"hooks.slack.com"),
        re.compile(rb"\bxox[abeoprs]-[0-9A-Za-z-]{10}|hooks\.slack\.com/services/T[0-9A-Za-z]+/B"),
    ),
    ("a password in a URL", (b"://",), re.compile(rb"://[^\s:@/'\"<>${}]*:[^\s:@/'\"<>${}]{3,}@[\w.-]")),
)

_WORDS = rb"passw(?:or)?d|passphrase|secret|token|api_?key|access_?key|account_?key|credential"
_WORD = re.compile(_WORDS)
_ASSIGNED = re.compile(
    rb"(?i)(?P<name>[\w.-]*(?:" + _WORDS + rb")[\w.-]*)[\"']?[ \t]*(?::=?|=)[ \t]*"
    rb"(?:[bru]{0,2}(?P<quote>[\"'])(?P<quoted>[^\s\"'<>${}()%]{8,200})(?P=quote)"
    rb"|(?P<bare>[^\s\"'<>${}()\[\]%,;#]{8,200})[ \t]*(?:#|$))",
)
_ALLOWED = re.compile(rb"gitleaks:allow|pragma: allowlist secret|not a secret")
_PLACEHOLDER = re.compile(rb"(?i)example|placeholder|dummy|change|your|xxx|\*\*\*|\.\.\.|test|redacted|none|null|todo")


def scan(name: str, content: bytes) -> Iterator[Finding]:
    """What of a file looks like a secret.

    A line that says so is none: `gitleaks:allow`, `pragma: allowlist secret` or `not a secret`. Large files, and those
    that are no text, are judged by their names only.

    Args:
        name: of the file, with / between folders. content: what is in it.
    """
    found = _FILES.fullmatch(name.rpartition("/")[2])
    if found and content.strip():
        yield Finding(name, 0, _OF_FILES[found.lastgroup or ""])
        return
    if len(content) > LARGEST or b"\0" in content[:8192]:
        return
    seen = set()
    for kind, needles, pattern in _TEXTS:
        if not any(needle in content for needle in needles):
            continue
        for number, line in _lines(content, pattern, content):
            if number not in seen and not _ALLOWED.search(line):
                seen.add(number)
                yield Finding(name, number, kind)
    for number, line in _lines(content.lower(), _WORD, content):
        if number not in seen and len(line) <= LONGEST and _is_assigned(line):
            yield Finding(name, number, "a value that is called a secret")


def _lines(searched: bytes, pattern: re.Pattern[bytes], content: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of the content, with their numbers, in which a pattern is found; it is searched in another spelling."""
    number, counted, position = 1, 0, 0
    while match := pattern.search(searched, position):
        number += content.count(b"\n", counted, match.start())
        counted = match.start()
        beginning = content.rfind(b"\n", 0, counted) + 1
        end = content.find(b"\n", counted)
        position = len(content) if end < 0 else end
        yield number, content[beginning:position]


def _is_assigned(line: bytes) -> bool:
    """Whether a line gives a secret's name to what looks like one: letters and digits, and no word of a program."""
    for match in _ASSIGNED.finditer(line):
        value = match["quoted"] or match["bare"]
        has_both = re.search(rb"[0-9]", value) and re.search(rb"[A-Za-z]", value)
        is_code = match["bare"] and re.search(rb"[.:=]", value)
        if has_both and not is_code and not _PLACEHOLDER.search(value):
            return not _ALLOWED.search(line)
    return False


LIMIT = 100 * 2**20  # bytes of the files of a project


def code_state(directory: str | os.PathLike[str]) -> dict[str, Any] | None:
    """`{"commit", "branch", "dirty"}` of the git repository that a directory is in; None if there is none, or no git.

    `commit` is None before the first commit, `branch` is None where HEAD is detached, `dirty` says whether tracked
    files of the repository, submodules included, differ from the commit.
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


def code_diff(directory: str | os.PathLike[str]) -> bytes | None:
    """What `git apply` needs to make the tracked files of the repository what they are now; None if nothing."""
    state = code_state(directory)
    if state is None or not state["commit"] or not state["dirty"]:
        return None
    # Whatever the user has configured, the result must be something that applies.
    plain = ["--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative"]
    plain += ["--ignore-submodules=dirty"]
    return _git(directory, "diff", *plain, "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/", "HEAD") or None


def pack(directory: str | os.PathLike[str], *, exclude: Sequence[str | os.PathLike[str]] = ()) -> bytes:
    """The archive of `pack_into` with its defaults, as bytes."""
    from io import BytesIO

    buffer = BytesIO()
    pack_into(buffer, directory, exclude=exclude)
    return buffer.getvalue()


def pack_into(
    file: IO[bytes],
    directory: str | os.PathLike[str],
    *,
    exclude: Sequence[str | os.PathLike[str]] = (),
    ignore: Sequence[str] = (),
    limit: int = LIMIT,
    look_for_secrets: bool = True,
) -> None:
    """Write a zip archive of the code in a directory; the same files give the same bytes.

    In a git repository these are the files that are tracked or not ignored, in its submodules too; elsewhere all but
    those that `.gitignore` files name. Caches, virtual environments, what version control keeps for itself, and the
    executions of any storage are left out. Links are kept as links, so nothing comes in from outside.

    What looks like a secret is packed like all else, and told in one warning.

    Args:
        file: what it is written to. directory: the project.
        exclude: storages, as absolute paths. One that the project lies in excludes its executions.
        ignore: patterns as in `.gitignore` of what is left out, tracked or not.
        limit: bytes that the files may have together.

    Raises:
        StorageError: a file cannot be read, or they are too large; nothing has been written then.
    """
    from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

    root = os.path.realpath(directory)
    storages = [os.path.realpath(storage) for storage in exclude]
    rules = list(_rules(ignore, ""))
    names = sorted(
        name
        for name in _listed(root, storages, rules)
        if not _is_stored(root, os.path.join(root, name), storages)
        and not _is_left_out(name, rules)
        and not any(map(is_temporary, name.split(os.sep)))
    )
    _check_sizes(root, names, limit)
    findings: list[Finding] = []
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name in names:
            found = _read(os.path.join(root, name))
            if found is not None:
                mode, content = found
                shown = os.fsencode(name).decode("utf-8", "backslashreplace").replace(os.sep, "/")
                if look_for_secrets and stat.S_ISREG(mode):
                    findings += scan(shown, content)
                # A zip has only names in Unicode, and no time before 1980; times do not matter here.
                info = ZipInfo(shown, (1980, 1, 1, 0, 0, 0))
                info.create_system = 3
                info.external_attr = mode << 16
                info.compress_type = ZIP_DEFLATED
                archive.writestr(info, content)
    if findings:
        _warn(findings)


def _check_sizes(root: str, names: Sequence[str], limit: int) -> None:
    sizes = {}
    for name in names:
        try:
            found = os.lstat(os.path.join(root, name))
        except OSError:
            continue  # what cannot be read is told when it is read
        if stat.S_ISREG(found.st_mode):
            sizes[name] = found.st_size
    total = sum(sizes.values())
    if total > limit:
        largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:10]
        raise StorageError(
            f"the code is too large to be backed up: {shown_size(total)} in {len(sizes)} files, "
            f"and the limit is {shown_size(limit)}",
            given=total,
            details=[f"{shown_size(sizes[name]):>10}  {name}" for name in largest],
            todo="Name what is no code in .gitignore or in `execution: {code_backup: {ignore: [data/]}}`, "
            "or set another limit: {limit: 1GiB}. Without a backup: {code_backup: false}.",
        )


SHOWN = 5


def _warn(findings: Sequence[Finding]) -> None:
    more = f" and {len(findings) - SHOWN} more" if len(findings) > SHOWN else ""
    warnings.warn(
        f"the code backup has what looks like secrets: {', '.join(map(str, findings[:SHOWN]))}{more}. "
        "To leave files out, name them in .gitignore or in `execution: {code_backup: {ignore: [FILE]}}`; "
        "to say that a line is none, write `not a secret` into it; not to be told: {scan: false}.",
        UserWarning,
        stacklevel=4,
    )


def _read(path: str) -> tuple[int, bytes] | None:
    """Mode and content of a file or link; None if it is gone, or neither: reading a pipe would never end."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return stat.S_IFLNK | 0o777, os.fsencode(os.readlink(path))
        if not stat.S_ISREG(mode):
            return None
        with open(path, "rb") as file:
            return stat.S_IFREG | (0o755 if mode & stat.S_IXUSR else 0o644), file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        _unreadable(error)


def _is_stored(root: str, path: str, storages: Sequence[str]) -> bool:
    """Whether a path belongs to a storage, rather than to the project in `root`."""
    for storage in storages:
        if root == storage:
            top = os.path.relpath(path, root).split(os.sep)[0]
            if top == layout.BY_CONTENT or os.path.isfile(os.path.join(root, top, layout.EXECUTION)):
                return True
        elif _is_below(path, storage) and not _is_below(root, storage):
            return True
    return False


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


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


def _listed(root: str, storages: Sequence[str], rules: Sequence[_Rule] = ()) -> set[str]:
    """The files of a project, relative to it, with the separators of the system.

    Args:
        rules: spare the way through folders that are left out in any case.
    """
    names = _listed_by_git(root, storages)
    # An outer repository may ignore the project altogether, as one of a home directory does.
    names = names or set(_walk(root, storages, rules))
    left_out = {os.path.dirname(name) for name in names if os.path.basename(name) == "pyvenv.cfg"} - {""}
    # Another storage holds archives like this one: each would be several times as large as the one before.
    candidates = {os.path.dirname(name) for name in names if os.path.basename(name) == layout.EXECUTION}
    executions = {folder for folder in candidates if _is_execution(os.path.join(root, folder))}
    left_out |= executions | {os.path.join(os.path.dirname(folder), layout.BY_CONTENT) for folder in executions}
    return {name for name in names if left_out.isdisjoint(_folders(name))} if left_out else names


def _is_execution(folder: str) -> bool:
    return all(os.path.isfile(os.path.join(folder, name)) for name in (layout.EXECUTION, layout.PLAN))


def _folders(name: str) -> Iterator[str]:
    while name:
        name = os.path.dirname(name)
        yield name


def _listed_by_git(root: str, storages: Sequence[str]) -> set[str] | None:
    top = _top(root)
    if top is None:
        return None
    patterns = [*sorted(_VERSION_CONTROL | _CACHES), *(f"*{ending}" for ending in _COMPILED)]
    # git must not walk through a storage with a million files to find what is dropped afterwards.
    below = [os.path.relpath(s, top).replace(os.sep, "/") for s in storages if s != root and _is_below(s, top)]
    patterns += ["/" + re.sub(r"([\\*?\[ ])", r"\\\1", path) for path in below]
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
        elif name != ".":  # a submodule, or a repository that is none yet
            is_repository = os.path.lexists(os.path.join(path, ".git"))
            found = _listed(path, storages) if is_repository else _walk(path, storages)
            names |= {os.path.join(name, below) for below in found}
    return names


def _walk(root: str, storages: Sequence[str], others: Sequence[_Rule] = ()) -> Iterator[str]:
    """The files that no ignore file excludes."""
    rules: dict[str, list[_Rule]] = {}
    for folder, folders, files in os.walk(root, onerror=_unreadable):
        here = os.path.relpath(folder, root)
        here = "" if here == os.curdir else here
        rules[here] = rules[os.path.dirname(here)] if here else list(others)
        if ".gitignore" in files:
            rules[here] = rules[here] + _read_rules(folder, here)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [
            name
            for name in folders
            if name not in links
            and name not in _VERSION_CONTROL
            and name not in _CACHES
            and not _is_ignored(os.path.join(here, name), True, rules[here])
            and not _is_environment(os.path.join(folder, name))
            and not _is_stored(root, os.path.join(folder, name), storages)
        ]
        if stored := {name for name in folders if _is_execution(os.path.join(folder, name))}:
            folders[:] = [name for name in folders if name not in stored and name != layout.BY_CONTENT]
        for name in files + links:
            path = os.path.join(here, name)
            is_made = name.endswith(_COMPILED) or name in _VERSION_CONTROL  # `.git` is a file in a worktree
            if not is_made and not _is_ignored(path, False, rules[here]):
                yield path


def _is_environment(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, "pyvenv.cfg")) or os.path.isdir(os.path.join(folder, "conda-meta"))


def _unreadable(error: OSError) -> NoReturn:
    raise StorageError(
        f"the code cannot be backed up: {error.filename!r} cannot be read: {error.strerror}",
        given=error.filename,
        todo="Make it readable, or name it in .gitignore.",
    ) from error


# --- ignore files


class _Rule:
    """A line of a `.gitignore`."""

    def __init__(self, line: str, folder: str) -> None:
        self.includes = line.startswith("!")
        line = line.removeprefix("!")
        self.only_folders = line.endswith("/")
        line = line.rstrip("/")
        anywhere = "" if "/" in line else "(?:.*/)?"
        base = re.escape(folder.replace(os.sep, "/") + "/") if folder else ""
        self.matches = re.compile(base + anywhere + _expression(line.removeprefix("/")), re.DOTALL).fullmatch


def _expression(pattern: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        text = found[0]
        if text.endswith("**/"):
            return text[: text.index("*")] + "(?:.*/)?"
        if text.endswith("/**"):
            return "/.+"
        if text[0] == "*":
            return "[^/]*"
        if text == "?":
            return "[^/]"
        if text == "[":
            return "(?!)"  # a class that is not closed matches nothing
        if len(text) > 2 and text[0] == "[":
            inside = text[2:-1] if text[1] in "!^" else text[1:-1]
            # In a class of git a backslash quotes, as in Python; only [ and doubled signs mean more in Python.
            inside = re.sub(r"\[:(\w+):\]", lambda c: _CLASSES.get(c[1], ""), inside)
            inside = re.sub(r"(?<!\\)\[|([&~|])(?=\1)", r"\\\g<0>", inside)
            return f"(?!/)[{'^' if text[1] in '!^' else ''}{inside}]"
        return re.escape(text[1] if text[0] == "\\" and len(text) > 1 else text)

    return _TOKEN.sub(replaced, pattern)


_TOKEN = re.compile(
    r"\A(?:\*\*/)+|(?:/\*\*)+/|(?:/\*\*)+\Z|\*+|\?|\[[!^]?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]|\\.|.", re.DOTALL
)
_CLASSES = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "space": r"\s",
    "xdigit": "0-9a-fA-F",
    "punct": r"!-/:-@\[-`{-~",
}


def _read_rules(folder: str, here: str) -> list[_Rule]:
    with open(os.path.join(folder, ".gitignore"), encoding="utf-8-sig", errors="surrogateescape") as file:
        return list(_rules(file.read().split("\n"), here))


def _rules(lines: Iterable[str], here: str) -> Iterator[_Rule]:
    for line in lines:
        line = re.sub(r"(?<!\\) +\Z", "", line.removesuffix("\r"))
        if line.strip("/") and not line.startswith("#"):
            with suppress(re.error):  # git matches nothing with a class that means nothing, such as [z-a]
                yield _Rule(line, here)


def _is_left_out(name: str, rules: list[_Rule]) -> bool:
    """Whether a file or a folder that it is in is excluded."""
    above = [folder for folder in _folders(name) if folder and folder != name]
    return bool(rules) and (_is_ignored(name, False, rules) or any(_is_ignored(f, True, rules) for f in above))


def _is_ignored(path: str, is_folder: bool, rules: list[_Rule]) -> bool:
    """Whether the last rule that matches excludes. What is below an ignored folder is never asked for."""
    path = path.replace(os.sep, "/")
    for rule in reversed(rules):
        if (is_folder or not rule.only_folders) and rule.matches(path):
            return not rule.includes
    return False


# --- git


def _top(directory: str | os.PathLike[str]) -> str | None:
    """The nearest folder upwards with a `.git`, which is a directory, or a file in submodules and worktrees."""
    folder = os.path.realpath(directory)
    while not os.path.exists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


def _git(directory: str | os.PathLike[str], *command: str) -> bytes | None:
    """What a command of git prints in a directory; None if it is in no repository, or git is not installed."""
    if _top(directory) is None:
        return None
    git = _import_git()
    program = git.Git(os.path.realpath(directory))
    program.update_environment(GIT_OPTIONAL_LOCKS="0")  # reading must not write into the project, not even the index
    try:
        out: bytes = program.execute(["git", *command], stdout_as_string=False, strip_newline_in_stdout=False)
        return out
    except git.GitCommandNotFound:
        return None
    except git.GitCommandError as error:
        reason = str(error.stderr).strip().removeprefix("stderr:").strip(" '\n")
        if "not a git repository" not in reason:  # an empty .git is none, all else the user can mend
            warnings.warn(f"the code is taken as if it were in no repository, for git says: {reason}", stacklevel=4)
        return None


def _import_git() -> Any:
    before = os.environ.get("GIT_PYTHON_REFRESH")
    os.environ["GIT_PYTHON_REFRESH"] = "quiet"  # else the import fails where there is no git
    try:
        import git
    finally:
        if before is None:
            del os.environ["GIT_PYTHON_REFRESH"]
        else:
            os.environ["GIT_PYTHON_REFRESH"] = before
    return git
