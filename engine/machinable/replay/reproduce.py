"""Run a stored execution again from its stored code, and compare the results."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import msgspec
from msgspec.structs import asdict

from machinable.display.tables import counted
from machinable.engines.registry import KNOWN
from machinable.errors import InvalidValue, Refused, listed
from machinable.execution.directory import engine_again
from machinable.execution.environment import host, packages
from machinable.replay.rerun import submit
from machinable.replay.restore_code import (
    CodeVersion,
    code_versions,
    refuse_other_code,
    refuse_unreachable,
    restore,
    source_files,
)
from machinable.results.diff import (
    Change,
    Difference,
    Verdict,
    code_facts_changes,
    compare,
    environment_changes,
    package_changes,
    verdict,
)
from machinable.results.execution import Execution
from machinable.results.storage import Storage
from machinable.results.trial import Trial
from machinable.serialization import Plain
from machinable.storage.temporary import Scratch

__all__ = ["Compared", "Reproduction", "reproduce"]

_PACKAGES = {"ray": "ray", "slurm": "submitit"}  # that engines need
ENDED = ("finished", "failed", "reused")  # states in which there is something to compare


class Compared(msgspec.Struct, frozen=True):
    """A trial that ran again, and how its results differ."""

    uid: str
    component: str
    differences: tuple[Difference, ...]

    @property
    def verdict(self) -> Verdict:
        """The verdict on the differences."""
        return verdict(self.differences)


class Reproduction(msgspec.Struct, frozen=True):
    """The comparison of a repeated execution with the stored one."""

    execution: str
    tolerance: float
    trials: tuple[Compared, ...]  # in the order of the plan
    rows: int  # that were compared
    artifacts: int
    environment: tuple[Change, ...]  # of Python, platform, host, threads, engine and code
    packages: tuple[Change, ...]  # with another version; None if one is missing or new
    notes: tuple[str, ...]  # notes about things that could not be restored or compared
    kept: str | None  # the directory with code and results of the new run

    @property
    def verdict(self) -> Verdict:
        """`identical`, `equal within tolerance` or `different`."""
        return verdict([one for trial in self.trials for one in trial.differences])

    def as_data(self) -> dict[str, Plain]:
        """Return all of it for programs."""
        return {
            **asdict(self),
            "verdict": self.verdict,
            "trials": [
                {**asdict(one), "verdict": one.verdict, "differences": [each.as_data() for each in one.differences]}
                for one in self.trials
            ],
            "environment": [change.as_data() for change in self.environment],
            "packages": [change.as_data() for change in self.packages],
            "notes": list(self.notes),
        }


def reproduce(
    storage: Storage,
    identifier: str,
    *,
    uids: Sequence[str] | None = None,
    tolerance: float = 0.0,
    project: str | None = None,
    engine: Any = None,
    keep: str | None = None,
    notify: Callable[[str], None] | None = None,
) -> Reproduction:
    """Restore the code of an execution, run its task with its seed, and compare.

    The task runs in another process and in a temporary directory, which is removed afterwards.

    Args:
        storage: Where the execution is stored.
        identifier: The execution.
        uids: The trials that run again; None means all that have ended.
        tolerance: The largest accepted difference of numbers, absolute up to 1 and relative beyond.
        project: A directory with the code, instead of the code backup.
        engine: Where trials run; None means the original engine, or local if that is not available.
        keep: A new directory for the restored code (`code`) and the results (`storage`), which are kept.
        notify: Called with each note before the run; with it, progress goes to stderr.

    Raises:
        NotStored: There is no such execution or trial.
        Refused: It cannot run again, or on its engine only with options that are not stored.
        InvalidValue: The tolerance is negative or not finite, or `keep` is not an empty directory.
    """
    if not 0 <= tolerance < float("inf"):
        raise InvalidValue(f"the tolerance is {tolerance}", given=tolerance, todo="Give a number such as 1e-6.")
    execution = storage[identifier]
    trials = _ended(execution, uids)
    refuse_unreachable(execution)
    codes = code_versions(execution, trials) if project is None else [CodeVersion(None, {}, (), trials)]
    notes = list(_notes(execution, trials, len(codes)))
    with _directory(keep) as directory, ExitStack() as opened:
        repeated = []
        for number, version in enumerate(codes, start=1):
            suffix = "" if number == 1 else f"-{number}"
            members = version.trials
            source, missing = restore(execution, version.file, project, os.path.join(directory, f"code{suffix}"))
            if project is None:
                refuse_other_code(execution, version.files, source, version.changed)
            notes += missing
            if notify is not None:
                for line in [*notes, *_known_changes(execution.data)] if number == 1 else missing:
                    notify(line)
            url = os.path.join(directory, f"storage{suffix}")
            folder: str = submit(
                execution,
                "run",
                None if len(members) == len(execution) else [trial.uid for trial in members],
                source,
                directory,
                storage=url,
                engine=_engine(execution) if engine is None else engine,
                show_progress=notify is not None,
            )
            after = opened.enter_context(Storage(url))[folder]
            repeated.append((members, after))
            if project is None:
                # The proof: what was imported is what was restored.
                refuse_other_code(execution, source_files(after), source)
                if version.changed:
                    changed = ", ".join(version.changed)
                    notes.append(f"these files had changed after their import, so what ran is not stored: {changed}")
            else:
                notes += _other_files(source_files(execution), source_files(after))
        return _compared(execution, repeated, tolerance, notes, project, None if keep is None else directory)


def _other_files(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield a note if the imported source files differ from the original ones."""
    if others := sorted(path for path in {*then, *now} if then.get(path) != now.get(path)):
        yield f"these files differ from those that ran originally: {', '.join(others)}"


def _ended(execution: Execution, uids: Sequence[str] | None) -> list[Trial]:
    trials = list(execution.trials) if uids is None else [execution[uid] for uid in dict.fromkeys(uids)]
    # A pruned one may not have started.
    ended = [trial for trial in trials if trial.status in ENDED or (trial.status == "pruned" and trial.last_row)]
    if not ended:
        states = ", ".join(sorted({trial.status for trial in trials})) or "there are none"
        raise Refused(
            f"no trial of {execution} has ended, so there is nothing to compare with ({states})",
            given=str(execution),
            todo=f"Let it end: machinable resume {execution}",
        )
    return ended


_HIDDEN = re.compile(r"(?:^|\s|')([^\s=']*(?:^|\.|(?<=['\s]))_[^\s=']*[^_\s=']\??)=…|\"(_[^\"]*)\": \"…\"")


def _notes(execution: Execution, trials: Sequence[Trial], codes: int) -> Iterator[str]:
    """Yield notes about things that cannot be restored or compared."""
    if codes > 1:
        yield f"{execution} was resumed with different code; each trial runs again with the code that it ran with"
    command = (execution.data.get("host") or {}).get("command") or ""
    for names in _HIDDEN.findall(command):
        name = "".join(names)
        yield (
            f"the value of {name} was given on the command line; hidden values are not stored, so that of the project "
            "is used"
        )
    left_out = len(execution) - len(trials)
    others = [trial for trial in execution.trials if trial.status not in (*ENDED, "unneeded", "pruned")]
    if others and left_out >= len(others):
        yield f"{counted(len(others), 'trial')} of {execution} had not ended and cannot be compared"
    for trial in trials:
        if trial.attempt > 1:
            yield f"trial {trial.uid} ended with attempt {trial.attempt}, and begins with attempt 1 again"
        if (checkpoint := trial.flags.get("CHECKPOINT")) is not None:
            yield f"trial {trial.uid} began from the checkpoint {checkpoint}, which is not in the backup"


def _known_changes(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the changes that are known before the run."""
    here = {"python": platform.python_version(), "platform": sys.platform, "packages": packages(), "host": host()}
    for change in environment_changes(data, {**data, **here}):
        if change.name in ("python", "platform"):
            yield f"{change.name} was {change.before}, now it is {change.after}"
    if changes := package_changes(data, here):
        shown = [f"{change.name} {change.before or 'nothing'} → {change.after or 'nothing'}" for change in changes]
        yield f"{len(changes)} package{' differs' if len(changes) == 1 else 's differ'}: {listed(shown)}"


def _engine(execution: Execution) -> str | dict[str, Any]:
    """Return the engine of a stored execution with its options, or "local" if it is not available here.

    Raises:
        Refused: Some of its options are not stored.
    """
    facts = execution.data.get("engine") or {}
    kind = facts.get("type")
    if kind not in KNOWN or kind == "dry" or find_spec(_PACKAGES.get(kind, "machinable")) is None:
        return "local"
    if kind == "processes" and facts.get("slots"):  # which depends on the host if it was not given
        facts = {**facts, "given": f"processes:{facts['slots']}"}
    return engine_again(str(execution), facts, f"Run it without them: --engine {kind}; or here: --engine local.")


@contextmanager
def _directory(keep: str | None) -> Iterator[str]:
    """Provide a temporary directory, or an empty one that is kept."""
    if keep is None:
        with Scratch() as directory:
            yield os.path.realpath(directory)
        return
    path = os.path.abspath(os.path.expanduser(keep))
    try:
        os.makedirs(path, exist_ok=True)
        is_free = not os.listdir(path)
    except OSError as error:
        raise InvalidValue(f"{path} cannot be a directory: {error.strerror}", given=keep) from error
    if not is_free:
        raise InvalidValue(f"{path} is not empty", given=keep, todo="Name a directory that does not exist.")
    yield path


# --- comparing


def _compared(
    before: Execution,
    repeated: Sequence[tuple[Sequence[Trial], Execution]],
    tolerance: float,
    notes: Sequence[str],
    project: str | None,
    kept: str | None,
) -> Reproduction:
    pairs = sorted(((trial, after) for trials, after in repeated for trial in trials), key=lambda pair: pair[0].index)
    gone = Difference("status", "", "the restored code makes a plan without this trial", float("inf"), False)
    compared = [
        Compared(
            trial.uid,
            trial.component,
            tuple(compare(trial, after[trial.uid], tolerance)) if trial.uid in after else (gone,),
        )
        for trial, after in pairs
    ]
    again = [(trial, after[trial.uid]) for trial, after in pairs if trial.uid in after]
    _, after = repeated[0]
    changes = [change for change in environment_changes(before.data, after.data) if change.name != "user"]
    then, now = _threads(one for one, _ in again), _threads(other for _, other in again)
    if then and then != now:
        changes.append(Change("threads", then, now))
    if project is not None:
        changes += [change for change in code_facts_changes(before.data, after.data) if change.name != "backup"]
    return Reproduction(
        execution=str(before),
        tolerance=tolerance,
        trials=tuple(compared),
        rows=sum(len(one.records(scope)) for one, _ in again for scope in one.records.scopes),
        artifacts=sum(len(one.files) for one, _ in again),
        environment=tuple(changes),
        packages=tuple(package_changes(before.data, after.data)),
        notes=tuple(notes),
        kept=kept,
    )


def _threads(trials: Iterable[Trial]) -> str:
    """Return the numbers of threads that trials computed with."""
    return ", ".join(map(str, sorted({trial.threads for trial in trials if trial.threads is not None})))
