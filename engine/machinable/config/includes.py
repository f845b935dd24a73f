"""Reads the files of a project: the main one, what it includes with `$/`, and those of imported projects."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, Protocol

from machinable.config.reader import Mark, ProjectScope, Source, Tree, read, read_json
from machinable.errors import MachinableError, MalformedText, MissingFile, Place, SeveralErrors

__all__ = ["ProjectFiles", "ProjectReader"]

_DEPTH = 50  # of files that include each other


class ProjectFiles(Protocol):
    """The project directory as the configuration sees it; names are posix paths below it."""

    def read(self, path: str) -> str:
        """The text of a file. Raises FileNotFoundError."""

    def is_directory(self, path: str) -> bool:
        """Whether there is such a directory."""


class ProjectReader:
    """The texts of a project, each read once; errors that leave the rest readable are gathered in `errors`."""

    def __init__(self, files: ProjectFiles, environment: Mapping[str, str]) -> None:
        self.files = files
        self.environment = environment
        self.errors: list[MachinableError] = []
        self.incomplete: set[str] = set()  # projects with an include that is not there: names may be missing in them
        self._open: list[str] = []
        self._trees: dict[tuple[str, str], Tree] = {}

    def read(
        self,
        path: str,
        scope: ProjectScope,
        *,
        kind: str = "file",
        shown: str | None = None,
        wanted_at: Place | None = None,
        todo: str | None = None,
    ) -> Tree:
        """The value of a file below the project directory.

        Args:
            path: posix, relative. scope: the project that the file belongs to.
            kind, shown, wanted_at, todo: for messages: what it is, how it was written, where, and what to do.

        Raises:
            MissingFile: there is none. MalformedText: it includes itself, or is not YAML.
        """
        path = posixpath.normpath(path)
        shown = shown or path
        key = (scope.name, path)
        if key in self._trees:
            return self._trees[key]
        if path in self._open:
            raise MalformedText(
                "a file includes itself",
                at=wanted_at,
                given=path,
                details=[" → ".join([*self._open, path])],
                todo="Leave one of the includes out.",
            )
        if len(self._open) > _DEPTH:
            raise MalformedText(
                f"more than {_DEPTH} files include each other", at=wanted_at, given=path, todo="Include less deeply."
            )
        try:
            text = self.files.read(path)
        except (FileNotFoundError, NotADirectoryError):
            raise MissingFile(f"no {kind} {shown!r}", at=wanted_at, given=shown, todo=todo) from None
        except (UnicodeDecodeError, OSError, ValueError) as error:
            reason = "it is not UTF-8"
            if isinstance(error, OSError):
                reason = error.strerror or type(error).__name__
            elif not isinstance(error, UnicodeDecodeError):
                reason = "that is no name of a file"
            message = f"the {kind} {shown!r} cannot be read: {reason}"
            raise MalformedText(message, at=wanted_at, given=shown, todo=todo) from None
        self._open.append(path)
        try:
            read_text = read_json if path.endswith(".json") else read
            tree = read_text(
                Source(path, text, scope), environment=self.environment, include=self._include, errors=self.errors
            )
        finally:
            self._open.pop()
        self._trees[key] = tree
        return tree

    def read_alone(self, path: str, scope: ProjectScope, **facts: Any) -> Tree:
        """As `read`, for a file that is read after the project, such as a version's: its errors are its own.

        Raises:
            ConfigurationError: whatever is wrong in it and in what it includes; it is read again the next time.
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
                raise MalformedText(f"{written!r} names no file", at=place, given=written, todo=todo)
            below = posixpath.join(posixpath.dirname(source.file), path)
            shown = None if written == f"$/{path}" else written
            return self.read(below, source.scope, shown=shown, wanted_at=place, todo=todo)
        except MachinableError:
            self.incomplete.add(source.scope.name)
            raise
