"""The output of commands: messages, JSON documents, one-line warnings, and commands to run next."""

from __future__ import annotations

import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from machinable import ids
from machinable.display.search import importance_of, is_search
from machinable.display.terminal import echo
from machinable.errors import InvalidValue
from machinable.serialization import Plain, canonical, decode, dumps

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = [
    "execution_data",
    "failures_report",
    "message",
    "replace_file",
    "rerun_command",
    "short_warnings",
    "trial_data",
    "write_json",
    "zone",
]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# Arguments of a component request in Python that no command line can give.
_PYTHON_ONLY = ("children", "flags", "checkpoint", "resources", "requires")


def message(text: str) -> None:
    """Write a message to stderr."""
    echo(text, file=sys.stderr)


def replace_file(path: str, content: bytes, todo: str) -> None:
    """Write a file in one step, so that a reader never meets a part of it; a link stays, and so do permissions.

    Args:
        path: The file, whose directory exists.
        content: Its bytes.
        todo: What to do where that is not possible.

    Raises:
        InvalidValue: It cannot be written.
    """
    target = os.path.realpath(path)
    new = f"{target}.{os.getpid()}.new"
    try:
        if os.path.lexists(target) and not os.path.isfile(target):  # a pipe, a terminal or a directory
            with open(target, "wb") as file:
                file.write(content)
            return
        try:
            with open(new, "xb") as file:
                file.write(content)
            if os.path.exists(target):
                shutil.copymode(target, new)
            os.replace(new, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            raise
    except OSError as error:
        raise InvalidValue(f"cannot write {path}: {error.strerror}", given=path, todo=todo) from error


def write_json(data: Any) -> None:
    """Write one JSON document to stdout, with NaN, infinities and dates as in stored files."""
    sys.stdout.write(dumps(data).replace("\x7f", "\\u007f") + "\n")


@contextmanager
def short_warnings() -> Iterator[None]:
    """Show warnings of this package on one line each, `warning: …`, and other warnings as usual."""
    with warnings.catch_warnings():
        default = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if filename.startswith(_PACKAGE):
                echo(f"warning: {message}", file=sys.stderr)
            else:
                default(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


@contextmanager
def zone(name: str | None) -> Iterator[None]:
    """Show times in a zone, by default in the local one."""
    if name is None:
        yield
        return
    before = os.environ.get("TZ")
    try:
        os.environ["TZ"] = name
        time.tzset()
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


def execution_data(execution: Execution) -> dict[str, Any]:
    """Return an execution with its trials, and its search if it is one, as plain data."""
    search: dict[str, Any] = {}
    if is_search(execution):
        search["search"] = execution.search.as_data() | {"importance": importance_of(execution)}
    return {
        "execution": str(execution),
        "id": execution.id,
        "seed": execution.seed,
        "name": execution.name,
        "started": execution.started,
        "status": execution.status,
        "storage": execution.storage,
        **search,
        "trials": [trial_data(trial) for trial in execution.trials],
    }


def trial_data(trial: Trial) -> dict[str, Any]:
    """Return a trial with its last row as plain data."""
    return {
        "uid": trial.uid,
        "index": trial.index,
        "component": trial.component,
        "version": trial.version,
        "config": decode(trial.planned("config")),
        "flags": trial.flags,
        "tags": trial.tags,
        "seed": trial.seed,
        "identity": trial.identity,
        "status": trial.status,
        "source": trial.source,
        "because": trial.because,
        "seconds": trial.seconds,
        "record": trial.last_row,
        "error": trial.error if trial.status == "failed" else None,
    }


# --- commands to run next


def rerun_command(execution: Execution, trial: Trial, storage: str | None, options: Sequence[str] = ()) -> str | None:
    """Return the command that runs a stored trial again.

    It is `machinable execute …` with the same words, id and repetition if that gives exactly this trial. Otherwise
    (the trial is required by others, or comes from Python in a way that has no words) it is `machinable resume`, which
    runs everything that failed again.

    Returns:
        The command; None for an execution in memory, which cannot be resumed, and for code of a script, which no
        command finds.
    """
    from machinable.display.progress import is_memory
    from machinable.execution.environment import command_on  # only these commands need it

    words = _execute_words(execution, trial)
    if words is not None:
        place = ["--storage", storage] if storage else []
        seed = execution.seed_text
        seed = f"id:{seed}" if seed.isdigit() else seed  # digits alone would be a number
        return command_on(None, "execute", *words, *options, *place, "--seed", seed)
    requests = (execution.data.get("task") or {}).get("components") or ()
    if is_memory(execution.storage) or any(one["component"].startswith("__main__:") for one in requests):
        return None
    return command_on(storage, "resume", str(execution), *options)


def failures_report(
    execution: Execution, rows: Sequence[Mapping[str, Any]], storage: str | None, options: Sequence[str] = ()
) -> str | None:
    """Return what failed and how to run it again with `options`, given the rows of all trials; None if nothing did."""
    from machinable.display.failures import Failed, failure_text

    by_uid = {row["uid"]: row for row in rows}
    failed = [Failed(by_uid[trial.uid], trial.error or {"type": "unknown"}) for trial in execution.failures]
    if not failed:
        return None
    return failure_text(failed, rows, lambda row: rerun_command(execution, execution[row["uid"]], storage, options))


def _execute_words(execution: Execution, trial: Trial) -> list[str] | None:
    """Return component, version and `--repeat`; None if they would not make a trial with this uid and settings."""
    from machinable.cli.arguments import format_version  # 30 ms, and only failures are run again

    task: Mapping[str, Any] = execution.data.get("task") or {}
    requests = [one for one in task.get("components", ()) if one["component"] == trial.flags.get("NAME")]
    if not requests or task.get("versions_of") or any(one.get(what) for one in requests for what in _PYTHON_ONLY):
        return None
    name, version = str(trial.flags["NAME"]), format_version(trial.version)
    if ":" in name or version is None:  # a class or a function
        return None
    number = trial.flags.get("REPEAT_NUMBER")
    levels: list[Plain] = []
    repeat = []
    if isinstance(number, int):
        levels.append(["REPEAT", number])
        # The number of repetitions does not change a seed, so that fewer end with the wanted one.
        repeat = ["--repeat", str(number + 1)]
    key = {"component": trial.component, "version": trial.version, "children": [], "levels": levels, "ordinal": 0}
    ((_, uid),) = ids.assign(execution.seed, [canonical(key)], [None])
    return [name, *version, *repeat] if uid == trial.uid else None
