"""What could stand where the cursor is: commands, options, components, versions, keys. No component is imported."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

from machinable.cli.commands import COMMANDS

__all__ = ["candidates", "complete"]

FILES = "<files>"  # the shell knows better
_READING = {  # commands that take executions, and how many
    "show": 1,
    "tail": 1,
    "compare": 1000,
    "diff": 2,
    "report": 1000,
    "reproduce": 1,
    "export": 1,
    "resume": 1,
    "restore": 1,
}
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"?|'[^']*'?)+""")


def complete(shell: str, words: Sequence[str]) -> int:
    """Writes what could complete the last word, a line each. A broken project completes nothing, silently.

    Args:
        shell: bash, zsh or fish. words: what was typed behind `machinable`; of bash the whole line.
    """
    try:
        typed = _split(words[0]) if shell == "bash" and words else list(words)
        found = candidates(typed, "@" if shell == "zsh" else "~")
    except (Exception, SystemExit):
        return 0  # there is somebody at the keyboard who has not asked for an error
    if shell == "bash" and typed:
        # bash replaces only what stands behind the last character at which it breaks words.
        breaks = os.environ.get("_MACHINABLE_BREAKS", "")
        cut = max((typed[-1].rfind(c) for c in breaks), default=-1) + 1
        found = [one if one == FILES else one[cut:] for one in found]
    sys.stdout.write("".join(f"{one}\n" for one in found))
    return 0


def _split(line: str) -> list[str]:
    """The words of a line behind the command's name; the last one is what is being typed and may be empty."""
    words = [word.group() for word in _WORD.finditer(line)]
    if not line or line[-1].isspace():
        words.append("")
    return [re.sub(r"""["']|\\(.)""", r"\1", word) for word in words[1:]]


def candidates(words: Sequence[str], mark: str = "~") -> list[str]:
    """What could complete the last word.

    Args:
        words: what was typed behind `machinable`. mark: `~` or `@`, how versions are offered where neither was typed.
    """
    if not words:
        return []
    *before, last = words
    if not before:
        return _starting(last, COMMANDS) if last[:1] != "-" else _starting(last, ["--help", "--version"])
    name, *before = before
    if name not in COMMANDS:
        return []
    if name == "vendor":
        if not before:
            return _starting(last, ["fetch"])
        name = before.pop(0)
    if any(word[:1] == "-" for word in words):
        options = _options(name)
        waiting = options.get(before[-1]) if before else None
        if waiting is not None and not waiting.is_flag and waiting.name != "diff":
            positional = _positional(before[:-1], options)
            if waiting.name in ("uid", "uids") and positional:
                return _starting(last, _trials(positional[0], _storage(before)))
            return _values(waiting, last, positional)
        if last[:1] == "-":
            return _starting(last, [*options, "--help"])
        storage, before = _storage(before), _positional(before, options)
        return _ids(name, before, last, storage) or _arguments(name, before, last, mark)
    return _ids(name, before, last, None) or _arguments(name, before, last, mark)


def _options(name: str) -> dict[str, Any]:
    """The options of a command by name. Only who has typed one waits for the library that knows them."""
    if name == "fetch":
        return {}
    command = import_module(f"machinable.cli.{COMMANDS[name].module}").command
    return {option: parameter for parameter in command.params for option in parameter.opts if option.startswith("-")}


def _starting(beginning: str, names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(beginning)]


def _positional(words: Sequence[str], options: dict[str, Any]) -> list[str]:
    """The words that are neither options nor their values."""
    found = []
    takes_value = False
    for word in words:
        if takes_value:
            takes_value = False
        elif word[:1] == "-":
            option = options.get(word)
            takes_value = option is not None and not option.is_flag and option.name != "diff"
        else:
            found.append(word)
    return found


def _values(option: Any, last: str, positional: list[str]) -> list[str]:
    """What could be the value of an option."""
    if option.name in ("storage", "file"):
        return [FILES]
    if option.name == "engine":
        from machinable.engines.registry import KNOWN

        return _starting(last, KNOWN)
    if option.name == "rerun":
        from machinable.project import Project

        return _starting(last, Project().workspace().main.components.known())
    if option.name == "explain" and positional:
        return _starting(last, _keys(positional))
    return _starting(last, getattr(option.type, "choices", ()))


def _ids(command: str, positional: list[str], last: str, storage: str | None) -> list[str]:
    """The executions that could be meant; behind one and a slash its trials."""
    if command not in _READING or len(positional) >= _READING[command]:
        return []
    if "/" in last:
        execution = last.partition("/")[0]
        return _starting(last, [f"{execution}/{uid}" for uid in _trials(execution, storage)])
    return _starting(last, _stored(lambda opened: [str(execution) for execution in opened.executions], storage))


def _trials(execution: str, storage: str | None) -> list[str]:
    return _stored(lambda opened: [trial.uid for trial in opened[execution].trials], storage)


def _stored(names: Callable[[Any], list[str]], storage: str | None) -> list[str]:
    """What a storage has; nothing where none is named, or it is not there."""
    from machinable.cli.reading import open_storage
    from machinable.errors import MachinableError

    try:
        with open_storage(storage) as opened:
            return names(opened)
    except MachinableError:
        return []


def _storage(words: Sequence[str]) -> str | None:
    """The storage that was typed."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--storage" and following:
            return following
        if word.startswith("--storage="):
            return word.partition("=")[2]
    return None


def _arguments(command: str, positional: list[str], last: str, mark: str) -> list[str]:
    if command == "completion":
        return [] if positional else _starting(last, ["bash", "zsh", "fish"])
    if command == "init":
        return [] if positional else [FILES]
    if command == "fetch":
        from machinable.cli.vendor import imports_of

        names = [one.name for one in imports_of(os.getcwd())]
        return [name for name in _starting(last, names) if name not in positional]
    if command == "resume" and positional:
        positional = positional[1:]  # behind the id it is as for execute
    elif command not in ("execute", "config", "versions") or (command == "versions" and positional):
        return []
    if not positional:
        from machinable.project import Project

        return _starting(last, Project().workspace().main.components.known())
    if last[:1] in ("~", "@"):
        mark = last[0]
    given = {word.partition("=")[0] for word in positional[1:]}
    versions = [f"{mark}{version[1:]}" for version in _versions(positional)]
    keys = [f"{key}=" for key in _keys(positional) if key not in given]
    return [one for one in _starting(last, [*versions, *keys]) if one not in given]


def _versions(positional: list[str]) -> list[str]:
    """The versions of the component, and those that the versions typed so far open."""
    from machinable.cli.blocks import version_names
    from machinable.config.resolve import find_component
    from machinable.project import Project

    workspace = Project().workspace()
    names = version_names(workspace, find_component(workspace, positional[0]))
    opened = [f"~{word[1:]}:" for word in positional[1:] if word[:1] in ("~", "@")]
    return names + [f"~{name[len(path) :]}" for path in opened for name in names if name.startswith(path)]


def _keys(positional: list[str]) -> list[str]:
    """The keys that the component has with the versions typed so far."""
    from machinable.cli.words import version_of
    from machinable.errors import MachinableError
    from machinable.plan.table import flatten
    from machinable.project import Project

    project = Project()
    try:
        resolved = project.resolve(positional[0], version_of(positional[1:]))
    except MachinableError:
        resolved = project.resolve(positional[0])  # a word before is not finished, or wrong
    return list(flatten(resolved.stored))
