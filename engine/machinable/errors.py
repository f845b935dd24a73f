"""The errors of machinable. Each says what was given, what was expected, where, and what to do.

    MachinableError
    ├── ConfigurationError          machinable.yaml, a version, a setting                     exit code 2
    │   ├── MalformedText           also ValueError
    │   ├── UnknownName             also KeyError
    │   ├── MissingKey              also KeyError
    │   ├── MissingIndex            also IndexError
    │   ├── WrongType               also TypeError
    │   ├── UndefinedName           also NameError
    │   ├── MissingMember           also AttributeError
    │   ├── MissingFile             also FileNotFoundError
    │   ├── ImportFailed            also ImportError
    │   └── SeveralErrors           also ValueError; `errors` holds them all
    ├── UsageError                  arguments of a call or of a command                       exit code 2
    │   ├── InvalidValue            also ValueError
    │   ├── InvalidType             also TypeError
    │   └── NotAvailable            also AttributeError, RuntimeError: used too early
    ├── AccessError                 reading a configuration while a component runs            exit code 1
    │   ├── MissingAttribute        also KeyError and AttributeError
    │   ├── CallFailed…             ArithmeticTypeError (TypeError), NumberTooLarge (OverflowError),
    │   └── EndlessCall             also RecursionError
    ├── StorageError                bytes with names                                          exit code 3
    │   ├── StorageUnavailable      also OSError: missing, not writable, a file
    │   ├── LeaseLost               another process has taken over what this one was writing
    │   ├── NotStored               also KeyError: no such execution or trial
    │   ├── MissingArtifact         also FileNotFoundError
    │   ├── ArtifactExists          also FileExistsError
    │   ├── BadName                 also ValueError: an unknown extension, a name that leaves the folder
    │   ├── WrongKind               also TypeError: data that a format does not take
    │   └── Damaged                 also ValueError: a stored file that cannot be read
    ├── Refused                     also RuntimeError: nothing was started                    exit code 3
    └── TrialsFailed                also RuntimeError: `execution` is attached                exit code 1

Raise where the facts are, with the facts; the text is composed when it is read.
"""

from __future__ import annotations

import copyreg
import functools
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

__all__ = [
    "AccessError",
    "ArithmeticTypeError",
    "ArtifactExists",
    "BadName",
    "ConfigurationError",
    "Damaged",
    "EndlessCall",
    "ImportFailed",
    "InvalidType",
    "InvalidValue",
    "LeaseLost",
    "MachinableError",
    "MalformedText",
    "MissingArtifact",
    "MissingAttribute",
    "MissingFile",
    "MissingIndex",
    "MissingKey",
    "MissingMember",
    "NotAvailable",
    "NotStored",
    "NumberTooLarge",
    "Place",
    "Refused",
    "SeveralErrors",
    "StorageError",
    "StorageUnavailable",
    "TrialsFailed",
    "UndefinedName",
    "UnknownName",
    "UsageError",
    "WarningsHeld",
    "WrongKind",
    "WrongType",
    "did_you_mean",
    "import_optional",
    "listed",
    "near_names",
    "suggestion",
    "warn",
]

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class Place(NamedTuple):
    """A position in a file.

    Attributes:
        file: The file.
        line: The line, from 1.
        column: The column, from 1.
        excerpt: The text of the line.
    """

    file: str
    line: int
    column: int
    excerpt: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


def near_names(given: object, known: Iterable[object], limit: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the known names that resemble the given one, nearest first.

    A name without a dot does not resemble one with a dot only because they have many letters in common: `started` is
    not `tags.rate`. It does if it is the first part, or resembles the last one.
    """
    from difflib import get_close_matches  # 4 ms, and only errors need it

    names = [str(name) for name in known]
    alike = names if "." in str(given) else [name for name in names if "." not in name or name.startswith(f"{given}.")]
    near = get_close_matches(str(given), alike, n=limit, cutoff=cutoff)
    if not near and alike is not names:
        ends = {name.rpartition(".")[2]: name for name in reversed(names)}
        near = [ends[end] for end in get_close_matches(str(given), ends, n=limit, cutoff=max(cutoff, 0.75))]
    lowered = str(given).lower()
    near += [name for name in names if name.lower().rpartition(".")[2] == lowered and name not in near]
    return near[:limit]


def did_you_mean(near: Iterable[str]) -> str:
    """Return the question that offers near names."""
    return f"Did you mean {' or '.join(map(repr, near))}?"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return the first names in one text, with the number of further ones: `a, b and 3 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def suggestion(given: object, known: Iterable[object], otherwise: str | None = None) -> str | None:
    """Return the question that offers the known names that resemble the given one, or `otherwise` if none does."""
    near = near_names(given, known)
    return did_you_mean(near) if near else otherwise


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that names the line of the user's code that called this package.

    A command, which is not called by code of the user, issues it from the package `cli`. What is read on first use is
    called by `functools`.
    """
    held = _held.get()
    if held is not None:
        held.append((text, category))
        return
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((_PACKAGE, functools.__file__)):
        if frame.f_code.co_filename.startswith(f"{_PACKAGE}cli{os.sep}"):
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


_held: ContextVar[list[tuple[str, type[Warning]]] | None] = ContextVar("held warnings", default=None)


class WarningsHeld:
    """Issue the warnings of a block after it; none if it raises an error, which says more about the same mistake."""

    def __enter__(self) -> None:
        self._warnings: list[tuple[str, type[Warning]]] = []
        self._token = _held.set(self._warnings)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        _held.reset(self._token)
        for text, category in self._warnings if kind is None else ():
            warn(text, category)


class MachinableError(Exception):
    """The root of all errors of machinable.

    Attributes:
        message: One line that says what is wrong, with the value given.
        at: The position in a file to look at, if there is one.
        path: The key path, dotted as in the file.
        given: The value given.
        known: The valid values.
        details: Further lines, printed below the position.
        todo: What to do next.
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        at: Place | None = None,
        path: str | None = None,
        given: object = None,
        known: Iterable[object] = (),
        details: Sequence[str] = (),
        todo: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.path = path
        self.given = given
        self.known = tuple(known)
        self.details = tuple(details)
        self.todo = todo

    @property
    def parts(self) -> tuple[MachinableError, ...]:
        """This error, or the errors that were found together."""
        return (self,)

    def advice(self) -> str | None:
        """Return what to do next as a sentence, or None."""
        return self.todo

    def __str__(self) -> str:
        lines = [f"{self.at}: {self.message}" if self.at else self.message]
        if self.path:
            lines.append(f"  in {self.path}")
        if self.at and self.at.excerpt.strip():
            number = str(self.at.line)
            excerpt = self.at.excerpt.rstrip()
            start = max(0, self.at.column - 80)  # the part of a long line around the caret
            shown = ("…" if start else "") + excerpt[start : start + 110] + ("…" if excerpt[start + 110 :] else "")
            indent = "".join("\t" if c == "\t" else " " for c in excerpt[start : self.at.column - 1])
            lines.append(f"    {number} | {shown}")
            lines.append(f"    {' ' * len(number)}   {' ' if start else ''}{indent}^")
        lines += [f"  {line}" for line in self.details]
        advice = self.advice()
        if advice:
            lines.append(f"  {advice}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), *self.args), self._facts()  # type: ignore[attr-defined]

    def _facts(self) -> dict[str, Any]:
        return self.__dict__ | {"path": self.path}  # ImportError has `path` outside of the dictionary

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._facts() == other._facts()

    __hash__ = Exception.__hash__

    def as_data(self) -> dict[str, Any]:
        """Return the error as plain data, for `--json`."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "at": str(self.at) if self.at else None,
            "path": self.path,
            "given": None if self.given is None else str(self.given),
            "known": [str(name) for name in self.known],
            "details": list(self.details),
            "todo": self.advice(),
        }


class ConfigurationError(MachinableError):
    """Something in machinable.yaml, in a version or in a setting is wrong."""


class MalformedText(ConfigurationError, ValueError):
    """Text of the wrong form."""


class UnknownName(ConfigurationError, KeyError):
    """A name that is not declared; suggests near names, or else lists the known ones, if any."""

    def __init__(self, kind: str, given: object, known: Iterable[object] = (), **facts: Any) -> None:
        super().__init__(f"no {kind} named {given!r}", given=given, known=known, **facts)
        self.kind = kind

    def advice(self) -> str | None:
        """Suggest near names, else list known ones."""
        if self.todo:
            return self.todo
        if not self.known:
            return f"No {self.kind} is defined here."
        near = near_names(self.given, self.known)
        if near:
            return did_you_mean(near)
        return f"Known: {listed([str(name) for name in self.known], 20)}"


class MissingKey(ConfigurationError, KeyError):
    """A reference to a missing key."""


class MissingIndex(ConfigurationError, IndexError):
    """A reference to an element beyond the end of a list."""


class WrongType(ConfigurationError, TypeError):
    """A value of a type that is not allowed in its position."""


class UndefinedName(ConfigurationError, NameError):
    """A name without a meaning in the arguments of a config method."""


class MissingMember(ConfigurationError, AttributeError):
    """A module without a component, or a class without a method that the configuration calls."""


class MissingFile(ConfigurationError, FileNotFoundError):
    """A missing project file, included file, version file or imported project."""


class ImportFailed(ConfigurationError, ImportError):
    """A module of a component that cannot be imported; the original error is its cause."""


class SeveralErrors(ConfigurationError, ValueError):
    """Independent errors that were found together; `errors` holds them all."""

    def __init__(self, errors: Sequence[MachinableError]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = tuple(errors)
        self.exit_code = min(error.exit_code for error in errors)

    @property
    def parts(self) -> tuple[MachinableError, ...]:
        """The errors that were found together."""
        return self.errors

    def __str__(self) -> str:
        return "\n\n".join(str(error) for error in self.errors)

    def as_data(self) -> dict[str, Any]:
        """Return the error as plain data, with all errors in it."""
        return super().as_data() | {"errors": [error.as_data() for error in self.errors]}

    @staticmethod
    def raise_any(errors: Sequence[MachinableError]) -> None:
        """Raise one error as it is, and several as one; do nothing if there are none."""
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise SeveralErrors(errors)


class UsageError(MachinableError):
    """An argument that a function or a command does not accept."""


class InvalidValue(UsageError, ValueError):
    """An argument with a value that is not allowed."""


class InvalidType(UsageError, TypeError):
    """An argument of a type that is not allowed."""


class NotAvailable(UsageError, AttributeError, RuntimeError):
    """Something that does not exist yet, or not in this environment."""


def import_optional(name: str, what: str, install: str) -> Any:
    """Return a module of a library that is not always installed.

    Args:
        name: The name of the module, such as `scipy.stats`.
        what: What needs it, for the message.
        install: What pip installs: a package, or an extra of this one, such as `[stats]`.

    Raises:
        NotAvailable: It is not installed.
    """
    from importlib import import_module  # few commands need it

    try:
        return import_module(name)
    except ImportError as error:
        package = f"'machinable-engine{install}'" if install.startswith("[") else install
        raise NotAvailable(what, todo=f"Install it: pip install {package}") from error


class AccessError(MachinableError):
    """Reading a value of a configuration failed while a component runs."""

    exit_code = 1


class MissingAttribute(AccessError, KeyError, AttributeError):
    """A key that a configuration does not have, read as an attribute or as an item."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message, **facts)
        # Python would append the near names of `obj` to the message, which offers them already.
        self.name, self.obj = str(self.given), None


class ArithmeticTypeError(AccessError, TypeError):
    """Arithmetic with something that is not a number in the arguments of a config method."""


class NumberTooLarge(AccessError, OverflowError):
    """A power in the arguments of a config method that is too large to compute."""


class EndlessCall(AccessError, RecursionError):
    """A config method that depends on its own value; shows the chain."""


class StorageError(MachinableError):
    """An error of stored data."""

    exit_code = 3


class StorageUnavailable(StorageError, OSError):
    """A storage that does not exist, cannot be written, or is not a storage."""


class LeaseLost(StorageError):
    """Another process has taken over what this one was writing, so this one stops writing."""


class NotStored(StorageError, KeyError):
    """A missing execution, trial or record."""


class MissingArtifact(StorageError, FileNotFoundError):
    """An artifact that a trial did not write."""


class ArtifactExists(StorageError, FileExistsError):
    """An artifact that exists and may not be overwritten."""


class BadName(StorageError, ValueError):
    """A name of an artifact without a known extension, or one that leaves its folder."""


class WrongKind(StorageError, TypeError):
    """Data that a format does not accept."""


class Damaged(StorageError, ValueError):
    """A stored file that cannot be read."""


class Refused(MachinableError, RuntimeError):
    """Nothing was started, because it could not succeed."""

    exit_code = 3


class TrialsFailed(MachinableError, RuntimeError):
    """Trials of an execution failed; the others have run.

    Attributes:
        execution: The execution.
        executions: All executions that ran.
    """

    exit_code = 1

    def __init__(self, message: str, *, execution: Any = None, executions: Sequence[Any] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.execution = execution
        self.executions = tuple(executions) or ((execution,) if execution is not None else ())

    def _facts(self) -> dict[str, Any]:
        return super()._facts() | {"execution": None, "executions": ()}  # they hold an open storage
