"""A project: a directory with a machinable.yaml. Reads its files and hands their text to the configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from machinable.config.loader import FILE, Workspace, load
from machinable.config.resolve import resolve
from machinable.config.resolved import Resolved
from machinable.errors import InvalidType, MissingFile

__all__ = ["Project"]


class Project:
    """A directory with a machinable.yaml.

    Args:
        path: the directory; default: the working directory.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = os.path.abspath(os.path.expanduser(os.fspath(path) if path is not None else os.getcwd()))
        self._workspace: Workspace | None = None
        self._files: _Directory | None = None
        self._environment: _Environment | None = None

    def __repr__(self) -> str:
        return f"Project({self.path!r})"

    @property
    def name(self) -> str:
        """The project's name: as declared, else that of its directory."""
        return self.workspace().main.name or os.path.basename(self.path) or "project"

    def workspace(self) -> Workspace:
        """The parsed declarations; read again when a file or a variable that was used has changed.

        Raises:
            MissingFile: there is no machinable.yaml. ConfigurationError: something in it is wrong.
        """
        if self._workspace is None or self._changed():
            self._workspace = None
            files = self._files = _Directory(self.path)
            environment = self._environment = _Environment(os.environ)
            try:
                self._workspace = load(files, environment)
            except MissingFile as error:
                if error.given == FILE:
                    raise MissingFile(
                        f"no {FILE} in {self.path}",
                        given=self.path,
                        todo="Go to the directory of your project, or begin one: machinable init",
                    ) from None
                raise
        return self._workspace

    def _changed(self) -> bool:
        return any(one is not None and one.changed() for one in (self._files, self._environment))

    def resolve(self, name: str, version: Any = None, task_versions: Sequence[Any] = ()) -> Resolved:
        """The configuration of one use of a component.

        Args:
            name: any name that the component has.
            version: None, "~name", "_mixin_", a mapping, YAML text, a file, or a tuple of such, merged left to right.
            task_versions: versions of the task, below `version`, in order.

        Raises:
            ConfigurationError: the project or this use is wrong; the message says where and what to do.
            InvalidType: a name that is no text.
        """
        if not isinstance(name, str):
            raise InvalidType(
                f"a component is named by text, not by {name!r}",
                given=name,
                todo="Use the name that it has in machinable.yaml.",
            )
        if isinstance(task_versions, (str, Mapping)):
            raise InvalidType(
                f"`task_versions` takes a list of versions, not {task_versions!r}",
                given=task_versions,
                todo="Put it in brackets.",
            )
        return resolve(self.workspace(), name, version, task_versions)


class _Directory:
    """The files of a project, each remembered as it was when it was read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: dict[str, tuple[int, int, int] | None] = {}
        self._directories: dict[str, bool] = {}

    def read(self, path: str) -> str:
        self._seen[path] = self._state(path)
        with open(os.path.join(self.path, path), "rb") as file:
            return file.read().decode("utf-8-sig")

    def is_directory(self, path: str) -> bool:
        self._directories[path] = found = os.path.isdir(os.path.join(self.path, path))
        return found

    def _state(self, path: str) -> tuple[int, int, int] | None:
        try:
            status = os.stat(os.path.join(self.path, path))
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino

    def changed(self) -> bool:
        return any(self._state(path) != state for path, state in self._seen.items()) or any(
            os.path.isdir(os.path.join(self.path, path)) != found for path, found in self._directories.items()
        )


class _Environment(Mapping[str, str]):
    """The environment's variables; remembers which were asked for."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._asked: dict[str, str | None] = {}

    def __getitem__(self, name: str) -> str:
        self._asked[name] = self._variables.get(name)
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def changed(self) -> bool:
        return any(self._variables.get(name) != value for name, value in self._asked.items())
