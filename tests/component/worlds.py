"""Run single trials: a component class, a hand-written specification, a storage in memory."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from machinable.component.base import Component
from machinable.plan.spec import ComponentSpec, Outcome, Target, TrialSpec
from machinable.serialization import without_hidden
from machinable.storage.documents import read_rows
from machinable.storage.files import Files
from machinable.storage.memory import MemoryFiles
from machinable.storage.streams import read_text
from machinable.trial.runner import run

FOLDER = "OY1p1o"
UID = "9JkiDky8G5m7"


def spec(config: dict[str, Any] | None = None, **more: Any) -> TrialSpec:
    """Return a trial of a component called `work`."""
    config = config or {}
    own = {name: more.pop(name) for name in TrialSpec.__struct_fields__ if name in more}
    own.setdefault("flags", {"SEED": 1884819273, "NAME": "work", "MODULE": "work"})
    definition = ComponentSpec("work", "work", None, config, Target("work"), stored=without_hidden(config))
    trial = TrialSpec(index=0, uid=UID, seed=1884819273, flags={}, definition=replace(definition, **more))
    return replace(trial, **own)


def child(name: str, cls: type[Component], config: dict[str, Any] | None = None, **more: Any) -> ComponentSpec:
    """Return a child whose class is at the top of a test module."""
    whole = ComponentSpec(
        component=name,
        module=cls.__module__,
        version=None,
        config=config or {},
        flags={"NAME": name},
        target=Target(cls.__module__, cls.__qualname__, "class"),
        stored=without_hidden(config or {}),
    )
    return replace(whole, **more)


class World:
    """What a trial has written."""

    def __init__(self, code: Any, trial: TrialSpec | None = None, files: Files | None = None, **options: Any) -> None:
        self.files = files or MemoryFiles()
        self.outcome: Outcome | None = None
        self.interrupt: KeyboardInterrupt | None = None
        options.setdefault("capture", None)
        try:
            self.outcome = run(trial or spec(), self.files, FOLDER, code=code, **options)
        except KeyboardInterrupt as interrupt:
            self.interrupt = interrupt

    @property
    def ended(self) -> Outcome:
        assert self.outcome is not None
        return self.outcome

    def text(self, name: str) -> str:
        return read_text(self.files, f"{FOLDER}/trials/{UID}/{name}")

    def json(self, name: str) -> Any:
        return json.loads(self.text(name))

    def rows(self, scope: str = "default") -> list[dict[str, Any]]:
        return read_rows(self.files, f"{FOLDER}/trials/{UID}/records/{scope}.jsonl")

    def names(self, below: str = "") -> list[str]:
        """Return all files of the trial."""
        path = f"{FOLDER}/trials/{UID}/{below}".rstrip("/")
        result = []
        for entry in self.files.entries(path):
            name = f"{below}/{entry.name}".lstrip("/")
            result += self.names(name) if entry.is_directory else [name]
        return result


def messages(log: str) -> list[str]:
    """Return the lines of a log without their times."""
    return [line[20:] for line in log.splitlines()]
