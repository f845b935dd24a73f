"""Read the files of a project: the project file, the files it includes with `$/`, and those of imported projects."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, Protocol

from machinable.config.nodes import Mark, ProjectScope, Source, Tree, without_hidden_values
from machinable.errors import MachinableError, MalformedText, MissingFile, Place, SeveralErrors

__all__ = ["ProjectFiles", "ProjectReader"]

_MAX_INCLUDE_DEPTH = 50


class ProjectFiles(Protocol):
    """The project directory: paths are POSIX paths relative to it."""

    def read(self, path: str) -> str:
        """Return the text of a file.

        Raises:
            FileNotFoundError: There is no such file.
        """

    def is_directory(self, path: str) -> bool:
        """Return whether a path is a directory."""


class ProjectReader:
    """Read the files of a project, each once; collect errors that leave the rest readable in `errors`."""

    def __init__(self, files: ProjectFiles, environment: Mapping[str, str]) -> None:
        self.files = files
        self.environment = environment
        self.errors: list[MachinableError] = []
        self.incomplete: set[str] = set()  # projects with a missing include, and so perhaps with missing names
        self._open: list[str] = []
        self._trees: dict[tuple[str, str], Tree] = {}

    def read(
        self,
        path: str,
        scope: ProjectScope,
        *,
        kind: str = "file",
        shown: str | None = None,
        at: Place | None = None,
        todo: str | None = None,
    ) -> Tree:
        """Return the value of a file in the project directory.

        Args:
            path: POSIX path, relative to the project directory.
            scope: The project that the file belongs to.
            kind: What the file is, for messages.
            shown: The path as written, for messages.
            at: The place that refers to the file, for messages.
            todo: What to do next, for messages.

        Raises:
            MissingFile: The file does not exist.
            MalformedText: The file includes itself, or is not YAML.
        """
        path = posixpath.normpath(path)
        shown = shown or path
        key = (scope.name, path)
        if key in self._trees:
            return self._trees[key]
        if path in self._open:
            raise MalformedText(
                "a file includes itself",
                at=at,
                given=path,
                details=[" → ".join([*self._open, path])],
                todo="Remove one of the includes.",
            )
        if len(self._open) > _MAX_INCLUDE_DEPTH:
            message = f"includes are nested deeper than {_MAX_INCLUDE_DEPTH} files"
            raise MalformedText(message, at=at, given=path, todo="Nest less deeply.")
        try:
            text = self.files.read(path)
        except (FileNotFoundError, NotADirectoryError):
            raise MissingFile(f"no {kind} {shown!r}", at=at, given=shown, todo=todo) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not a valid file name"
            details: list[str] = []
            if isinstance(error, UnicodeDecodeError):
                reason, todo = "it is not UTF-8", "Save it as UTF-8."
                details = [f"referred to at {at}"] if at else []
                at = _place_of(error, path)
            message = f"the {kind} {shown!r} cannot be read: {reason}"
            raise MalformedText(message, at=at, given=shown, details=details, todo=todo) from None
        from machinable.config.reader import read, read_json  # 15 ms with yaml, and tasks of classes need none

        self._open.append(path)
        try:
            read_text = read_json if path.endswith(".json") else read
            source = Source(path, text, scope)
            tree = read_text(source, environment=self.environment, include=self._include, errors=self.errors)
        finally:
            self._open.pop()
        self._trees[key] = tree
        if kind == "project file" and source.start is not None:
            scope.start = source.place(source.start)
        return tree

    def read_alone(self, path: str, scope: ProjectScope, **facts: Any) -> Tree:
        """Return the value of a file that is read after the project, such as a version file.

        Args:
            path: As in `read`.
            scope: As in `read`.
            facts: The other arguments of `read`.

        Raises:
            ConfigurationError: The file, or one that it includes, has errors. It is read again the next time.
        """
        known = set(self._trees)
        project_errors, self.errors = self.errors, []
        try:
            tree = self.read(path, scope, **facts)
            SeveralErrors.raise_any(self.errors)
        except MachinableError:
            for key in self._trees.keys() - known:
                del self._trees[key]
            raise
        finally:
            self.errors = project_errors
        return tree

    def _include(self, path: str, written: str, source: Source, mark: Mark) -> Tree:
        place = source.place(mark)
        todo = "Write $/path/to/file.yaml, relative to the directory of this file."
        try:
            if not path.strip() or path.startswith("/"):
                raise MalformedText(f"{written!r} is not a path of a file", at=place, given=written, todo=todo)
            below = posixpath.join(posixpath.dirname(source.file), path)
            shown = None if written == f"$/{path}" else written
            return self.read(below, source.scope, shown=shown, at=place, todo=todo)
        except MachinableError:
            self.incomplete.add(source.scope.name)
            raise


def _place_of(error: UnicodeDecodeError, file: str) -> Place:
    """Return the place of the first byte of a file that is not UTF-8."""
    before = error.object[: error.start].decode("utf-8-sig").split("\n")
    rest = error.object[error.start :].split(b"\n", 1)[0].decode("utf-8", "backslashreplace")
    return Place(file, len(before), len(before[-1]) + 1, without_hidden_values(before[-1] + rest))
