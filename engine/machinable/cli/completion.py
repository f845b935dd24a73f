"""Completion in shells: the candidates and the scripts. No component is imported for it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from machinable.cli.arguments import parse_version
from machinable.cli.config import version_names
from machinable.cli.options import program
from machinable.cli.targets import open_storage, parse_target
from machinable.config.declaration import OF_ENTRIES, RESERVED
from machinable.config.resolve import find_component
from machinable.display.terminal import echo
from machinable.errors import MachinableError
from machinable.plan.reserved_keys import PARTS
from machinable.plan.table import flatten
from machinable.project import Project, find_project
from machinable.results.query import find_field, known_fields
from machinable.results.trials import Trials

if TYPE_CHECKING:
    from machinable.config.resolved import Resolved
    from machinable.results.storage import Storage

__all__ = ["complete", "completion_command", "values"]

VARIABLE = "_MACHINABLE_COMPLETE"
# Shells insert candidates as they are, and execute `$(…)` or `;` in a name, which others may have given, with the line.
_SAFE = re.compile(r"[\w@~./:=,+%^-]+")
MAX_VALUES = 1000  # trials whose values are candidates
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"?|'[^']*'?)+""")


# --- shells


class _Bash(BashComplete):
    """bash, which completes only what follows the last of its word breaks, such as `:`, `=` and `@`."""

    source_template = """\
# For this session: source <(machinable completion bash). For every session add that line to ~/.bashrc.
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        if [[ $type == file ]]; then
            compopt -o default 2>/dev/null
        else
            [[ $value == *= ]] && compopt -o nospace 2>/dev/null
            COMPREPLY+=("$value")
        fi
    done < <(COMP_WORDS="${COMP_LINE:0:COMP_POINT}" COMP_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete %(prog_name)s 2>/dev/null)
}
complete -F %(complete_func)s %(prog_name)s
"""

    def source(self) -> str:
        return self.source_template % self.source_vars()  # without a bash to ask for its version

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        words = [re.sub(r"""["']|\\(.)""", r"\1", found.group()) for found in _WORD.finditer(line)]
        if not line or line[-1].isspace():
            words.append("")
        *args, self._incomplete = words[1:] or [""]
        return args, self._incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        cut = max((self._incomplete.rfind(c) for c in os.environ.get("COMP_BREAKS", "")), default=-1) + 1
        return f"{item.type},{item.value[cut:]}"


class _Zsh(ZshComplete):
    """zsh, with no space after the `=` of a key."""

    source_template = """\
#compdef %(prog_name)s
# Add to ~/.zshrc after compinit: source <(machinable completion zsh)
%(complete_func)s() {
    local type value
    local -a plain keys
    for type value in "${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}"; do
        case $type:$value in
            file:*) _files ;;
            *=) keys+=($value) ;;
            *) plain+=($value) ;;
        esac
    done
    compadd -Q -U -V plain -a plain
    compadd -Q -U -V keys -S '' -a keys
}
compdef %(complete_func)s %(prog_name)s
"""

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type}\n{item.value}"


class _Fish(FishComplete):
    source_template = (
        "# For this session: machinable completion fish | source. "
        "For every session add that line to ~/.config/fish/config.fish.\n" + FishComplete.source_template
    )


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}


def _shell(name: str) -> ShellComplete:
    # zsh and fish expand ~name to a home directory, or complete names of users after it.
    return _SHELLS[name](program, {"obj": "~" if name == "bash" else "@"}, "machinable", VARIABLE)


def complete(instruction: str) -> int:
    """Write the candidates for the word at the cursor, for `bash_complete`, `zsh_complete` or `fish_complete`.

    The exit code is always 0, since an error would be printed into the line that is being typed.
    """
    try:
        text = _shell(instruction.partition("_")[0]).complete()
    except (Exception, SystemExit):
        return 0
    echo(text, end="\n" if text else "")
    return 0


def completion_command(shell: str) -> None:
    """Print the completion script for a shell."""
    sys.stdout.write(_shell(shell).source())


# --- values of arguments and options


def values(kind: str, context: click.Context, incomplete: str) -> list[CompletionItem[str]] | list[str]:
    """Return the candidates for a value of a kind, which is the name of a function below."""
    if kind == "files":
        return [CompletionItem(incomplete, type="file")]  # the shell completes paths
    found: Iterable[str] = globals()[f"_{kind}"](context, incomplete)
    return [name for name in dict.fromkeys(found) if name.startswith(incomplete) and _SAFE.fullmatch(name)]


def _engines(context: click.Context, incomplete: str) -> Iterable[str]:
    from machinable.engines.registry import KNOWN  # completing one thing does not pay for the others

    return KNOWN


def _figures(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return the figures of a summary, behind those that are typed."""
    from machinable.results.summary import FIGURES

    typed = incomplete[: incomplete.rfind(",") + 1]
    return [f"{typed}{name}" for name in FIGURES if name not in typed.split(",")]


def _components(context: click.Context, incomplete: str) -> Iterable[str]:
    return Project().workspace().main.components.known()


def _of(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return components after `--of`, and then versions and keys of the one that is named."""
    return _versions_and_keys(context, incomplete) if any(context.meta["of"]) else _components(context, incomplete)


def _runnable(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return components and tasks."""
    workspace = Project().workspace()
    return [*workspace.main.components.known(), *workspace.tasks]


def _imported_projects(context: click.Context, incomplete: str) -> Iterable[str]:
    from machinable.cli.project import imports_of

    given = context.params.get("names") or ()
    return [one.name for one in imports_of(find_project()) if one.name not in given]


def _versions_and_keys(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return versions of the component, and keys, without those that are typed."""
    _, words = _typed_component(context)
    given = {f"{word.partition('=')[0]}=" if "=" in word else word for word in words}
    found = [*_version_words(context, incomplete), *_settings(context, incomplete)]
    return [one for one in found if one not in given]


def _version_words(context: click.Context, incomplete: str) -> list[str]:
    """Return versions of the component, and those nested in the versions typed so far."""
    _, words = _typed_component(context)
    mark = incomplete[0] if incomplete[:1] in ("~", "@") else context.find_root().obj
    names = _versions(context)
    outer = [f"~{word[1:]}:" for word in words if word[:1] in ("~", "@")]
    nested = [f"~{name[len(path) :]}" for path in outer for name in names if name.startswith(path)]
    return [f"{mark}{name[1:]}" for name in names + nested]


def _versions(context: click.Context) -> list[str]:
    """Return the versions of the component, or of the components of the task."""
    workspace = Project().workspace()
    entries = [find_component(workspace, name) for name in _typed_components(context)]
    return list(dict.fromkeys(name for entry in entries for name in version_names(workspace, entry)))


def _resolved(context: click.Context) -> list[Resolved]:
    """Return the component, or those of the task, with the versions typed so far."""
    project = Project()
    _, words = _typed_component(context)
    found = []
    for component in _typed_components(context):
        try:
            found.append(project.resolve(component, parse_version(words)))
        except MachinableError:
            found.append(project.resolve(component))  # one of the words is incomplete or wrong
    return found


def _keys(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return the keys of the component with the versions typed so far."""
    return dict.fromkeys(key for resolved in _resolved(context) for key in flatten(resolved.stored))


def _settings(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return what a word may set: `key=`, reserved keys after an underscore, and `true` and `false` for a switch."""
    resolved = _resolved(context)
    found: dict[str, Any] = {}
    for one in resolved:
        found |= flatten(one.stored)
    key, equals, values = incomplete.partition("=")
    if equals:
        given = values.split(",")[:-1]
        others = [value for value in ("true", "false") if value not in given] if type(found.get(key)) is bool else ()
        return [f"{key}={','.join([*given, value])}" for value in others]
    if incomplete[:1] == "_":
        found |= dict.fromkeys(name for one in resolved for name in _reserved(one))
    return [f"{key}=" for key in found]


def _reserved(resolved: Resolved) -> Iterator[str]:
    """Yield the reserved keys that a version can set, with their parts."""
    for key in RESERVED:
        named = resolved.reserved.get(key) if key in ("_children_", "_requires_") else None
        parts = PARTS.get(key) or (list(named) if isinstance(named, dict) else [])
        yield from [f"{key}.{part}" for part in parts] or ([] if key in OF_ENTRIES else [key])


def _grids(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return keys, or versions, also after those of the same option, which are not offered again."""
    before, comma, last = incomplete.rpartition(",")
    if "=" in incomplete or not comma:
        words = [] if "=" in incomplete else _version_words(context, last)
        return [*words, *_settings(context, incomplete)]
    given = [f"~{word[1:]}" for word in before.split(",")]
    return [f"{before},{word}" for word in _version_words(context, last) if f"~{word[1:]}" not in given]


def _domains(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return keys, and after `=` the domains."""
    from machinable.search.domains import DOMAINS

    key, equals, _ = incomplete.partition("=")
    if equals:
        return [f"{key}={name}(" for name in DOMAINS]
    return [f"{one}=" for one in ("~", *_keys(context, incomplete))]


def _metrics(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return the fields that trials of the storage have, and `result`."""
    return dict.fromkeys([*(one for one in _fields(context, incomplete) if "=" not in one), "result"])


def _samplers(context: click.Context, incomplete: str) -> Iterable[str]:
    return ("random", "grid", "tpe", "cmaes", "gp", "nsgaii", "qmc")


def _pruners(context: click.Context, incomplete: str) -> Iterable[str]:
    return ("median", "asha", "hyperband", "patient", "percentile", "threshold")


def _executions(context: click.Context, incomplete: str) -> Iterable[str]:
    return _stored(context, lambda storage: map(str, storage.executions))


def _trials(context: click.Context, incomplete: str) -> Iterable[str]:
    execution = _typed(context, "identifier")[0]
    return _stored(context, lambda storage: [trial.uid for trial in storage.find(execution).trials])


def _targets(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return ids of executions, or the trials of one after a slash."""
    execution, slash, _ = incomplete.partition("/")
    if not slash:
        return _executions(context, incomplete)
    return _stored(context, lambda storage: [f"{execution}/{trial.uid}" for trial in storage.find(execution).trials])


def _targets_and_fields(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return ids, and once a field is begun, conditions."""
    return [*_targets(context, incomplete), *(_fields(context, incomplete) if "." in incomplete else ())]


def _fields(context: click.Context, incomplete: str) -> Iterable[str]:
    """Return the fields of the newest execution, or after `FIELD=` its values of that field."""
    name, equals, _ = incomplete.partition("=")
    before = incomplete[: incomplete.rfind(",") + 1]  # of a list of fields

    def names(storage: Storage) -> Iterable[str]:
        trials = next(iter(storage.newest(1)[0]), Trials())
        if equals and (field := find_field(name)):
            return [f"{name}={value}" for value in field.values(list(trials)[:MAX_VALUES]) if is_simple(value)]
        return [before + one for one in known_fields(list(trials)[:MAX_VALUES])]

    return _stored(context, names)


def is_simple(value: object) -> bool:
    """Return whether a value can be typed as it is."""
    return isinstance(value, (str, int, float))


def _artifacts(context: click.Context, incomplete: str) -> Iterable[str]:
    target = _typed(context, "identifier")[0]
    return _stored(
        context, lambda storage: [f for trial in parse_target(storage, target).trials[:1] for f in trial.files]
    )


def _typed(context: click.Context, name: str) -> list[str]:
    """Return an argument and those after it.

    click leaves them in `args` if the last option on the line has no value yet.
    """
    given = [context.params[name], *(context.params.get("versions") or ())] if context.params.get(name) else []
    return given or context.args


def _typed_components(context: click.Context) -> list[str]:
    """Return the component that was typed, or the components of the task."""
    name, _ = _typed_component(context)
    task = Project().workspace().tasks.get(name)
    return [name] if task is None else task.components


def _typed_component(context: click.Context) -> tuple[str, list[str]]:
    if any(context.meta.get("of", ())):  # words after `--of NAME` are for that component
        name, *words = context.meta["of"]
        return name, words
    component, *words = _typed(context, "component")
    return component, [*words, *(word for word in context.params.get("diff") or () if word)]


def _stored(context: click.Context, names: Callable[[Storage], Iterable[str]]) -> list[str]:
    """Return the content of the storage; nothing if none is named or it does not exist."""
    try:
        with open_storage(context.params.get("storage")) as storage:
            return list(names(storage))
    except MachinableError:
        return []
