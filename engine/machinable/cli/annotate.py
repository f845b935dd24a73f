"""`machinable tag` and `machinable note`: add to what has run, beside it."""

from __future__ import annotations

from machinable.cli.output import message, write_json
from machinable.cli.targets import open_storage, parse_target
from machinable.display.tables import settings_text
from machinable.errors import InvalidValue, UnknownName
from machinable.results.annotate import add, check_note, tag_values
from machinable.results.trials import Trials

__all__ = ["note_command", "tag_command"]


def tag_command(
    identifier: str, words: tuple[str, ...], storage: str | None, removed: tuple[str, ...], as_json: bool
) -> None:
    """Add tags to an execution or a trial, or remove some."""
    tags = tag_values(words, removed)
    if not tags and not removed:
        raise InvalidValue("no tag is given", given=identifier, todo="Write key=value, or --remove KEY.")
    with open_storage(storage) as opened:
        target = parse_target(opened, identifier)
        trials = Trials(target.trials)
        known = dict.fromkeys(name for trial in trials for name in trial.tags)
        for name in removed:
            if name not in known:
                raise UnknownName("tag", name, known)
        add(target.execution, target.trial, tags=tags, removed=list(removed))
    if as_json:
        write_json({"target": str(target), "tags": tags, "removed": list(removed)})
        return
    done = [f"tagged {target}: {settings_text(tags)}"] if tags else []
    done += [f"removed {', '.join(removed)} from {target}"] if removed else []
    message("\n".join(done))


def note_command(identifier: str, text: str, storage: str | None, as_json: bool) -> None:
    """Add a note to an execution or a trial."""
    check_note(text)
    with open_storage(storage) as opened:
        target = parse_target(opened, identifier)
        add(target.execution, target.trial, note=text)
    if as_json:
        write_json({"target": str(target), "note": text})
        return
    message(f"noted on {target}")
