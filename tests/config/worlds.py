"""Small projects in memory, and their result: a configuration, or errors as type, place and message."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pytest

from machinable.config.loader import Workspace, load
from machinable.config.resolve import resolve
from machinable.config.resolved import Resolved
from machinable.errors import MachinableError, SeveralErrors

Texts: TypeAlias = "str | Mapping[str, str]"  # machinable.yaml, or files by name
Summary: TypeAlias = "list[tuple[str, str, str]]"


class ProjectFiles:
    """The files of a project, by name."""

    def __init__(self, texts: Texts) -> None:
        self.texts = {"machinable.yaml": texts} if isinstance(texts, str) else texts

    def read(self, path: str) -> str:
        if path not in self.texts:
            raise FileNotFoundError(path)
        return self.texts[path]

    def is_directory(self, path: str) -> bool:
        return any(posixpath.dirname(name).startswith(path) for name in self.texts)


def workspace(texts: Texts, environment: Mapping[str, str] | None = None) -> Workspace:
    return load(ProjectFiles(texts), environment or {})


def resolved(
    texts: Texts,
    name: str = "c",
    version: Any = None,
    *,
    task: Sequence[Any] = (),
    environment: Mapping[str, str] | None = None,
) -> Resolved:
    return resolve(workspace(texts, environment), name, version, task)


def config(texts: Texts, name: str = "c", version: Any = None, **options: Any) -> dict[str, Any]:
    return resolved(texts, name, version, **options).to_dict()


def entry(text: str) -> str:
    """Return a project with one component `c` with this configuration."""
    return "components:\n  - c:\n" + "".join(f"      {line}\n" for line in text.splitlines())


def failure(texts: Texts, name: str = "c", version: Any = None, **options: Any) -> MachinableError:
    with pytest.raises(MachinableError) as caught:
        resolved(texts, name, version, **options)
    return caught.value


def summary(error: MachinableError) -> Summary:
    """Return type, place and message of an error, or of each error that was found."""
    errors = error.errors if isinstance(error, SeveralErrors) else (error,)
    return [(type(one).__name__, str(one.at or ""), one.message) for one in errors]


def errors(texts: Texts, name: str = "c", version: Any = None, **options: Any) -> Summary:
    return summary(failure(texts, name, version, **options))
