"""`machinable vendor fetch`: fill vendor/ with the projects that this one imports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from machinable.cli.output import tell
from machinable.errors import Place

__all__ = ["Import", "command", "fetch", "imports_of"]


@click.group("vendor")
def command() -> None:
    """Fetch the projects that this one imports."""


@command.command("fetch")
@click.argument("names", nargs=-1, metavar="[NAME]…")
def fetch_command(names: tuple[str, ...]) -> None:
    """Fill vendor/ with the imported projects, or those named, and with what they import themselves.

    A directory is linked, git+URL is cloned. What is there already is left alone.
    """
    from machinable.execution.options import preferences

    sources = preferences(os.environ).get("imports") or {}
    fetch(os.getcwd(), names, sources)


class Import(NamedTuple):
    """One imported project: where it comes from, as its file says, and where that is said."""

    name: str
    source: str | None
    at: Place


def imports_of(project: str, name: str = "") -> list[Import]:
    """What a project's file says under `+`; nothing if there is no file.

    Args:
        project: the executing project's directory. name: of an imported project; "" is the executing one.

    Raises:
        ConfigurationError: the file cannot be read, or `+` is something else than names and sources.
    """
    from machinable.config.includes import ProjectReader
    from machinable.config.loader import FILE
    from machinable.config.reader import EnvValue, MappingNode, ProjectScope, SequenceNode
    from machinable.errors import MalformedText, MissingFile, SeveralErrors

    library = ProjectReader(_Directory(project), os.environ)
    path = f"vendor/{name}/{FILE}" if name else FILE
    try:
        root = library.read(path, ProjectScope(name), kind="project file")
    except MissingFile:
        if name:
            return []
        raise MissingFile(
            f"no {FILE} in {project}", given=project, todo="Go to the directory of your project."
        ) from None
    value = root.get("+") if isinstance(root, MappingNode) else None
    if value is None:
        SeveralErrors.raise_any(library.errors)
        return []
    pairs: list[tuple[Any, Any, Place]] = []
    for item in [value] if isinstance(value, MappingNode) else value if isinstance(value, SequenceNode) else ():
        if isinstance(item, MappingNode):
            pairs += [(key, source, item.place(key)) for key, source in item.items()]
        else:
            pairs.append((item, None, root.place("+")))
    if not pairs and not isinstance(value, (MappingNode, SequenceNode)):
        raise MalformedText("`+` takes a list of names or a mapping of names and sources", at=root.place("+"))
    found = []
    for key, source, place in pairs:
        if isinstance(source, EnvValue):
            source = source.value
        # It becomes the name of a folder.
        if not isinstance(key, str) or not key.isidentifier():
            raise MalformedText(f"the imported project {key!r} is not named by an identifier", at=place, given=key)
        if source is not None and not isinstance(source, str):
            raise MalformedText(f"the source of {key!r} is not text", at=place, given=source)
        found.append(Import(key, source, place))
    return found


class _Directory:
    """The files of a project, as the configuration reads them."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, path: str) -> str:
        with open(os.path.join(self._path, path), "rb") as file:
            return file.read().decode("utf-8-sig")

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(os.path.join(self._path, path))


def fetch(project: str, names: tuple[str, ...], settings: Mapping[str, Any]) -> None:
    """Fetch the imports of a project, and theirs.

    Args:
        project: its directory. names: which of them; none means all. settings: sources that go before those in files.

    Raises:
        ConfigurationError: an import that nobody declares, that has no source, or whose source cannot be fetched;
            several as one, after the others have been fetched.
    """
    from machinable.errors import MachinableError, SeveralErrors, UnknownName

    declared = imports_of(project)
    known = [one.name for one in declared]
    for name in names:
        if name not in known:
            raise UnknownName("imported project", name, known, todo=None if known else "Name it under `+` first.")
    if not declared:
        tell("no projects are imported")
    waiting = [(one, project) for one in declared if not names or one.name in names]
    errors: list[MachinableError] = []
    done: set[str] = set()
    while waiting:
        one, importer = waiting.pop(0)
        if one.name in done:
            continue
        done.add(one.name)
        try:
            target = os.path.join(project, "vendor", one.name)
            if os.path.isdir(target):
                tell(f"vendor/{one.name} is there already")
            else:
                _fetch_one(project, one, importer, settings.get(one.name))
            waiting += [(inner, os.path.realpath(target)) for inner in imports_of(project, one.name)]
        except SeveralErrors as error:
            errors += error.errors
        except MachinableError as error:
            errors.append(error)
    SeveralErrors.raise_any(errors)


def _fetch_one(project: str, one: Import, importer: str, setting: Any) -> None:
    from machinable.errors import InvalidValue, MissingFile
    from machinable.storage.open import without_credentials

    target = os.path.join(project, "vendor", one.name)
    if os.path.lexists(target):
        kind = f"a link to {os.readlink(target)!r}, which is not there" if os.path.islink(target) else "a file"
        raise MissingFile(f"vendor/{one.name} is {kind}", at=one.at, given=one.name, todo="Remove it and fetch again.")
    source = str(setting) if setting is not None else one.source
    base = project if setting is not None else importer
    if not source:
        raise InvalidValue(
            f"nobody says where {one.name!r} comes from",
            at=one.at,
            given=one.name,
            todo=f"Write `+: {{{one.name}: SOURCE}}` there, or `imports: {{{one.name}: SOURCE}}` in "
            "~/.machinable/settings.yaml; SOURCE is a directory or git+URL.",
        )
    if source.startswith("git+"):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _clone(source[len("git+") :], target, one)
        tell(f"vendor/{one.name} is cloned from {without_credentials(source[len('git+') :])}")
        return
    directory = os.path.abspath(os.path.join(base, os.path.expanduser(source)))
    if not os.path.isdir(directory) or directory == target:
        raise MissingFile(
            f"the source of {one.name!r} is no directory: {directory}",
            at=one.at,
            given=source,
            todo="Give a directory, relative to the project that imports it, or git+URL.",
        )
    os.makedirs(os.path.dirname(target), exist_ok=True)
    is_relative = not os.path.isabs(os.path.expanduser(source))
    # A relative link goes along when both are moved. vendor/ itself may be a link.
    start = os.path.realpath(os.path.dirname(target))
    link = os.path.relpath(os.path.realpath(directory), start) if is_relative else directory
    os.symlink(link, target, target_is_directory=True)
    tell(f"vendor/{one.name} is linked to {directory}")


def _clone(url: str, target: str, one: Import) -> None:
    """Clones beside and renames, so that an interrupted clone leaves nothing behind."""
    import shutil
    import tempfile

    from machinable.errors import InvalidValue
    from machinable.storage.open import without_credentials

    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import git

    shown = without_credentials(url)
    if url.startswith("-"):
        raise InvalidValue(f"{url!r} is no URL", at=one.at, given=url)
    beside = tempfile.mkdtemp(prefix=f".fetching-{one.name}-", dir=os.path.dirname(target))
    try:
        try:
            # Nobody is there to type a password where git asks for it.
            git.Repo.clone_from(url, os.path.join(beside, "clone"), env={"GIT_TERMINAL_PROMPT": "0"}).close()
        except git.GitCommandNotFound as error:
            raise InvalidValue(
                "git is not installed", at=one.at, given=shown, todo="Install it, then fetch again."
            ) from error
        except (git.GitError, ValueError) as error:
            told = str(getattr(error, "stderr", "") or error).replace(url, shown).strip().splitlines()
            # Shown as it stands in the file, the line could have a password in it.
            place = one.at if shown == url else one.at._replace(excerpt="")
            raise InvalidValue(
                f"{one.name!r} cannot be cloned from {shown}",
                at=place,
                given=shown,
                details=[line for line in told if line.startswith(("fatal:", "error:"))] or told[-1:],
                todo="Check the URL, and that git can reach it without asking for a password.",
            ) from None
        os.rename(os.path.join(beside, "clone"), target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
