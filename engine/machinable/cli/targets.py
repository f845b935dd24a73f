"""What arguments of commands name: storages, executions and trials."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from machinable.display.summary import Side
from machinable.errors import InvalidValue, NotStored
from machinable.results.conditions import is_condition
from machinable.results.storage import Storage
from machinable.results.trials import Trials
from machinable.settings import storage_choice
from machinable.storage.open import storage_url

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = [
    "chosen_storage",
    "chosen_trials",
    "field_names",
    "find_trial",
    "open_storage",
    "parse_target",
    "parse_targets",
]


def open_storage(given: str | tuple[str, ...] | None) -> Storage:
    """Open the storages named on the command line, else by the environment, the project or the user's settings."""
    return Storage(given if isinstance(given, tuple) else chosen_storage(given))


def chosen_storage(given: str | None) -> str:
    """Return the URL of that storage, which may not exist yet.

    Raises:
        InvalidValue: There is none: results stay in memory.
    """
    if given is not None:
        return given
    section: Mapping[str, Any] = {}
    user: Mapping[str, Any] = {}
    directory = None
    if not os.environ.get("MACHINABLE_STORAGE"):
        # 40 ms with YAML, which commands on a storage that is named can save
        from machinable.execution.options import declared_storage, preferences
        from machinable.project import find_project

        user, directory = preferences(os.environ), find_project()
        section = {"storage": declared_storage(directory)}
    chosen = storage_choice(None, os.environ, section, user)
    if chosen.url is None:
        raise InvalidValue(
            "no storage is given",
            details=["MACHINABLE_MODE is DEV, which stores nothing"] if chosen.source == "environment" else [],
            todo="Name one: --storage DIRECTORY, MACHINABLE_STORAGE=DIRECTORY, "
            "or `execution: {storage: DIRECTORY}` in machinable.yaml.",
        )
    return storage_url(chosen.url, directory if chosen.source == "project" else None)


def parse_target(storage: Storage, text: str, uid: str | None = None) -> Side:
    """Return what an `ID` or `ID/UID` names, or the trial of an `ID` with that uid; see `Storage.find`."""
    name, slash, rest = (text if uid is None else f"{text}/{uid}").partition("/")
    execution = storage.find(name)
    return Side(execution, find_trial(execution, rest) if slash else None)


def parse_targets(storage: Storage, words: Sequence[str]) -> list[Side]:
    """Return what several words name, each once; with conditions among them, the trials that satisfy all of these.

    Raises:
        NotStored: No trial satisfies the conditions.
    """
    if not any(map(is_condition, words)):
        return list({str(one): one for one in (parse_target(storage, word) for word in words)}.values())
    found = chosen_trials(storage, words)
    if not len(found):
        conditions = " and ".join(filter(is_condition, words))
        raise NotStored(f"no trial in {storage.url} satisfies {conditions}", given=conditions)
    by_execution: dict[int, tuple[Any, list[Trial]]] = {}
    for trial in found:
        by_execution.setdefault(id(trial.execution), (trial.execution, []))[1].append(trial)
    return [Side(execution, chosen=trials) for execution, trials in by_execution.values()]


def chosen_trials(storage: Storage, words: Sequence[str]) -> Trials:
    """Return the trials of the ids among the words, by default all, that satisfy the conditions among them."""
    conditions = [word for word in words if is_condition(word)]
    targets = [parse_target(storage, word) for word in words if not is_condition(word)]
    found = Trials({id(trial): trial for target in targets for trial in target.trials}.values())
    return (found if targets else storage.trials).where(*conditions)


def field_names(text: str | None, option: str) -> list[str]:
    """Return the fields in a list with commas, each once."""
    if text is None:
        return []
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InvalidValue(
            f"{option} {text!r} lacks a field", given=text, todo="Separate fields by commas: status,records.loss"
        )
    return list(dict.fromkeys(names))


def find_trial(execution: Execution, uid: str) -> Trial:
    """Return the trial with that uid, or the only one whose uid starts with it."""
    found = [trial for trial in execution.trials if trial.uid.startswith(uid)] if uid else []
    return found[0] if len(found) == 1 else execution[uid]
