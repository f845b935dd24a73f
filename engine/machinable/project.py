"""A project: a directory with a machinable.yaml, whose files are read for the configuration."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from machinable.config.loader import FILE, Workspace, load
from machinable.config.method_calls import argument_problem, called_name, calls_in, hidden_problem
from machinable.config.resolve import resolve
from machinable.config.resolved import Resolved
from machinable.errors import InvalidType, MachinableError, MissingFile, SeveralErrors
from machinable.settings import absolute_path
from machinable.units import format_size

__all__ = ["Project", "ProjectDirectory", "find_project"]

MAX_SIZE = 2**26  # bytes of a file


def find_project() -> str:
    """Return the working directory, or the nearest one above it with a machinable.yaml, if only that has one.

    Above the working directory, files of other users do not count, because their code would run; root's do.

    Raises:
        InvalidValue: The working directory no longer exists.
    """
    here = directory = absolute_path(".")
    users = (os.geteuid(), 0)
    while not os.path.exists(os.path.join(directory, FILE)) or (directory != here and _owner(directory) not in users):
        above = os.path.dirname(directory)
        if above == directory:
            return here
        directory = above
    return directory


def _owner(directory: str) -> int:
    return os.stat(os.path.join(directory, FILE)).st_uid


class Project:
    """A directory with a machinable.yaml.

    Args:
        path: The directory; by default the working directory, or the nearest one above it with a machinable.yaml.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        if path is None:
            self.path = find_project()
        else:
            self.path = absolute_path(os.path.expanduser(os.fspath(path)))
        self._workspace: Workspace | None = None
        self._files: ProjectDirectory | None = None
        self._environment: _Environment | None = None

    def __repr__(self) -> str:
        return f"Project({self.path!r})"

    @property
    def name(self) -> str:
        """The declared name of the project, else that of its directory."""
        return self.workspace().main.name or os.path.basename(self.path) or "project"

    def workspace(self) -> Workspace:
        """Return the parsed declarations; they are read again when a file or variable that was used has changed.

        Raises:
            MissingFile: There is no machinable.yaml.
            ConfigurationError: The file has an error.
        """
        if self._workspace is None or self._changed():
            self._workspace = None
            files = self._files = ProjectDirectory(self.path)
            environment = self._environment = _Environment(os.environ)
            try:
                self._workspace = load(files, environment)
            except MissingFile as error:
                if error.given == FILE:
                    raise MissingFile(
                        f"no {FILE} in {self.path}",
                        given=self.path,
                        todo="Go to the directory of your project, or create one: machinable init",
                    ) from None
                raise
        return self._workspace

    def _changed(self) -> bool:
        return any(one is not None and one.changed() for one in (self._files, self._environment))

    def resolve(self, name: str, version: Any = None, task_versions: Sequence[Any] = ()) -> Resolved:
        """Return the configuration of one use of a component.

        Args:
            name: A name of the component.
            version: None, "~name", "_mixin_", a mapping, YAML text, a file, or a tuple of these, merged left to right.
            task_versions: Versions of the task, below `version`, in order.

        Raises:
            ConfigurationError: The project or this use of the component has an error, such as a call of a config
                method with invalid arguments. Nothing is imported: a call is text if the module is a file of the
                project that does not mention the method.
            InvalidType: The name is not text.
        """
        if not isinstance(name, str):
            raise InvalidType(
                f"the name of a component is text, not {name!r}",
                given=name,
                todo="Use its name in machinable.yaml.",
            )
        if isinstance(task_versions, (str, Mapping)):
            raise InvalidType(
                f"`task_versions` takes a list of versions, not {task_versions!r}",
                given=task_versions,
                todo="Put it in brackets.",
            )
        resolved = resolve(self.workspace(), name, version, task_versions)
        self._check_calls(resolved)
        return resolved

    def _check_calls(self, resolved: Resolved) -> None:
        errors: list[MachinableError] = []
        for path, text in calls_in(resolved.config) if resolved.evaluate else ():
            name = called_name(text)
            if f"{name}(" not in text:  # with a blank, it is rather text, such as `time (s)`
                continue
            problem = argument_problem(text)
            if problem is not None and self.may_have(resolved.module, f"config_{name}"):
                problem = problem if resolved.may_show(path, text) else hidden_problem(problem)
                problem.path = path
                resolved.locate(problem)
                errors.append(problem)
        SeveralErrors.raise_any(errors)

    def may_have(self, module: str, method: str) -> bool:
        """Return whether a module mentions a method, or is no file of this project."""
        path = os.path.join(self.path, *module.split("."))
        for file in (f"{path}.py", os.path.join(path, "__init__.py")):
            with suppress(OSError), open(file, encoding="utf-8", errors="replace") as opened:
                return method in opened.read()
        return True


class ProjectDirectory:
    """The files of a project, with the state in which they were read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: dict[tuple[Callable[[str], Any], str], Any] = {}

    def read(self, path: str) -> str:
        """Return the text of a file."""
        self._look(_state, path)
        place = os.path.join(self.path, path)
        if not stat.S_ISREG(os.stat(place).st_mode) and not os.path.isdir(place):  # opening a pipe would block
            raise OSError(errno.EINVAL, "it is not a regular file", place)
        with open(place, "rb") as file:
            data = file.read(MAX_SIZE + 1)
        if len(data) > MAX_SIZE:
            raise OSError(errno.EFBIG, f"it has more than {format_size(MAX_SIZE)}", place)
        return data.decode("utf-8-sig")

    def is_directory(self, path: str) -> bool:
        """Return whether a path is a directory."""
        return bool(self._look(os.path.isdir, path))

    def _look(self, look: Callable[[str], Any], path: str) -> Any:
        place = os.path.join(self.path, path)
        self._seen[look, place] = found = look(place)
        return found

    def changed(self) -> bool:
        """Return whether a file or directory that was looked at has changed."""
        return any(look(place) != found for (look, place), found in self._seen.items())


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class _Environment(Mapping[str, str]):
    """The environment variables, with those that were read."""

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
