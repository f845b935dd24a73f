"""`machinable tag` and `machinable note`: add to what has run, beside it."""

from __future__ import annotations

from contextlib import suppress
from getpass import getuser
from typing import TYPE_CHECKING, Any

from machinable.cli.output import message, write_json
from machinable.cli.targets import open_storage, parse_target
from machinable.config.nodes import Source
from machinable.config.reader import read
from machinable.display.tables import settings_text
from machinable.errors import InvalidValue, MachinableError, UnknownName
from machinable.execution.environment import now
from machinable.results.annotations import annotate
from machinable.results.trials import Trials
from machinable.serialization import as_plain

if TYPE_CHECKING:
    from machinable.display.summary import Side

__all__ = ["note_command", "tag_command"]

MAX_NOTE = 100_000  # characters


def tag_command(
    identifier: str, words: tuple[str, ...], storage: str | None, removed: tuple[str, ...], as_json: bool
) -> None:
    """Add tags to an execution or a trial, or remove some."""
    tags: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name or name != name.strip():
            todo = "Write key=value, such as study=ablation; --remove KEY removes a tag."
            raise InvalidValue(f"{word!r} is not a tag", given=word, todo=todo)
        if name in tags or name in removed:
            raise InvalidValue(f"the tag {name!r} is given twice", given=word, todo="Keep one of them.")
        try:
            tags[name] = as_plain(read(Source("", text)), tuples=True) if text else ""
        except MachinableError as error:
            todo = f"Quote text: {name}=\"'…'\"."
            raise InvalidValue(f"{word!r} has no value in YAML: {error.message}", given=word, todo=todo) from error
    if not tags and not removed:
        raise InvalidValue("no tag is given", given=identifier, todo="Write key=value, or --remove KEY.")
    with open_storage(storage) as opened:
        target = parse_target(opened, identifier)
        trials = Trials(target.trials)
        known = dict.fromkeys(name for trial in trials for name in trial.tags)
        for name in removed:
            if name not in known:
                raise UnknownName("tag", name, known)
        _add(target, {"tags": tags, "removed": list(removed)})
    if as_json:
        write_json({"target": str(target), "tags": tags, "removed": list(removed)})
        return
    done = [f"tagged {target}: {settings_text(tags)}"] if tags else []
    done += [f"removed {', '.join(removed)} from {target}"] if removed else []
    message("\n".join(done))


def note_command(identifier: str, text: str, storage: str | None, as_json: bool) -> None:
    """Add a note to an execution or a trial."""
    if not text.strip():
        raise InvalidValue("the note is empty", given=text, todo='Write it in quotes: machinable note ID "text".')
    if len(text) > MAX_NOTE:
        todo = "Store it as a file, and note its name."
        raise InvalidValue(f"the note has {len(text):,} characters; at most {MAX_NOTE:,} are possible", todo=todo)
    with open_storage(storage) as opened:
        target = parse_target(opened, identifier)
        _add(target, {"note": text})
    if as_json:
        write_json({"target": str(target), "note": text})
        return
    message(f"noted on {target}")


def _add(target: Side, facts: dict[str, Any]) -> None:
    execution, trial = target.execution, target.trial
    user = None
    with suppress(KeyError, OSError):  # a container without an entry for its user
        user = getuser()
    line = {"time": now(), "user": user, "uid": None if trial is None else trial.uid} | facts
    execution.data  # noqa: B018 - a folder that is not a readable execution is refused
    given = {name: value for name, value in line.items() if value is not None and value != {} and value != []}
    annotate(execution.files, str(execution), given)
