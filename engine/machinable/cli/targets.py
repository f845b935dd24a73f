"""What `ID` and `ID/UID` mean on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from machinable.display.summary import Side
    from machinable.results.execution import Execution
    from machinable.results.storage import Storage
    from machinable.results.trial import Trial

__all__ = ["Chosen", "chosen", "several", "trial_of"]


class Chosen(NamedTuple):
    """An execution, or one of its trials."""

    execution: Execution
    trial: Trial | None

    @property
    def trials(self) -> list[Trial]:
        """The trial, or all of the execution."""
        return list(self.execution.trials) if self.trial is None else [self.trial]

    @property
    def side(self) -> Side:
        """It as one side of a comparison."""
        from machinable.display.summary import Side

        return Side(str(self.execution), self.trial.uid if self.trial else None, self.trials)

    def __str__(self) -> str:
        return str(self.execution) if self.trial is None else f"{self.execution}/{self.trial.uid}"


def chosen(storage: Storage, text: str) -> Chosen:
    """What an `ID` or `ID/UID` names.

    Raises:
        NotStored: there is no such execution, or it has no such trial.
    """
    name, slash, uid = text.partition("/")
    execution = storage[name]
    return Chosen(execution, trial_of(execution, uid) if slash else None)


def several(storage: Storage, texts: Iterable[str]) -> list[Chosen]:
    """What several of them name, each once."""
    return list({str(one): one for one in (chosen(storage, text) for text in texts)}.values())


def trial_of(execution: Execution, uid: str) -> Trial:
    """The trial of that uid; the beginning is enough if only one uid begins so.

    Raises:
        NotStored: there is none.
    """
    found = [trial for trial in execution.trials if trial.uid.startswith(uid)] if uid else []
    return found[0] if len(found) == 1 else execution[uid]
