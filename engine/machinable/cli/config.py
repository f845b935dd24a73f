"""`machinable config` and `machinable versions`: the configuration of a component, its origin and its versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from machinable.cli.arguments import parse_version, placed_on_command_line, portable_words
from machinable.cli.output import message, write_json
from machinable.cli.values import schema_class
from machinable.config.declaration import Block, open_block
from machinable.config.inheritance import base_of
from machinable.config.nodes import as_written
from machinable.config.registry import Entry
from machinable.config.resolve import find_component
from machinable.display.tables import Table, exact, write_table
from machinable.display.terminal import echo
from machinable.errors import MachinableError, UsageError
from machinable.execution.environment import visible_words
from machinable.plan.table import flatten
from machinable.project import Project
from machinable.serialization import Plain, canonical, is_hidden

if TYPE_CHECKING:
    from machinable.config.loader import Workspace
    from machinable.config.resolved import Resolved

__all__ = [
    "MISSING",
    "KeyChange",
    "config_command",
    "key_changes",
    "version_names",
    "versions_command",
]

MISSING: Any = object()
MAX_VERSIONS = 1000  # blocks that refer to each other can be nested without end
MAX_DEPTH = 8  # of nested versions; a block that refers to the one around it would have no end


def config_command(
    component: str, versions: tuple[str, ...], explain: str | None, diff: tuple[str, ...], as_json: bool
) -> None:
    """Show the configuration of a component, where a key was set, or what other versions would change."""
    if explain is not None and diff:
        raise UsageError("--explain and --diff cannot be combined", todo="Use one of them.")
    project = Project()
    resolved = _resolve(project, component, versions)
    if explain is not None:
        _explain(resolved, explain, as_json)
    elif diff:
        words = [word for word in diff if word]
        names = [" ".join(visible_words(portable_words(one))) or "as declared" for one in (versions, words)]
        _show_changes(resolved, _resolve(project, component, words), names, as_json)
    elif as_json:
        write_json(
            {
                "component": resolved.component,
                "module": resolved.module,
                "versions": resolved.versions,
                "mixins": resolved.mixins,
                "config": _typed(project, resolved, versions),
                "warnings": resolved.warnings,
            }
        )
    else:
        _show(resolved, _typed(project, resolved, versions), portable_words(versions))


def _resolve(project: Project, component: str, words: Sequence[str]) -> Resolved:
    with placed_on_command_line(words):
        resolved = project.resolve(component, parse_version(words, project, [component]))
    for text in resolved.warnings:
        message(f"warning: {text}")
    return resolved


def _typed(project: Project, resolved: Resolved, words: Sequence[str]) -> Mapping[str, Plain]:
    """Return the configuration as the `class Config` of the component makes it, where there is one and it imports."""
    try:
        with placed_on_command_line(words):
            code = schema_class(project, resolved)
            if code is None:
                return resolved.stored
            from machinable.component.config_schema import typed_config  # imports pydantic

            try:
                return typed_config(code, resolved.config, resolved.stored, resolved.mixin_only_keys())[1]
            except MachinableError as error:
                resolved.locate(error)
                raise
    except MachinableError as error:
        resolved.warnings.append(f"the values are shown as written, without `class Config`:\n{error}")
        message(f"warning: {resolved.warnings[-1]}")
        return resolved.stored


def _show(resolved: Resolved, config: Mapping[str, Plain], words: Sequence[str]) -> None:
    echo(f"# {' '.join([resolved.component, *visible_words(words)])}")
    echo(f"# module: {resolved.module}")
    mixins = []
    for mixin in resolved.mixins:
        origin = f" ({mixin['origin']})" if mixin["origin"] != mixin["name"] else ""
        mixins.append(mixin["name"] + origin + (f" as {mixin['attribute']}" if "attribute" in mixin else ""))
    if mixins:
        echo(f"# mixins: {', '.join(mixins)}")
    from machinable.cli.yaml_text import yaml_text

    echo(yaml_text(config), end="")


def _explain(resolved: Resolved, key: str, as_json: bool) -> None:
    """Show the layers that set a key, the oldest first."""
    links = resolved.explain(key)
    parts = key.replace("[", ".").replace("]", "").split(".")
    hidden = any(map(is_hidden, parts))
    value: Any = None if hidden else resolved.stored
    for part in () if hidden else parts:
        if isinstance(value, list):
            value = value[int(part)]
        else:  # a key need not be text
            value = value[part] if part in value else {str(key): item for key, item in value.items()}[part]
    texts = ["…" if hidden else link.text for link in links]
    if as_json:
        layers = [
            {"layer": link.layer, "at": str(link.place) if link.place else None, "text": text}
            for link, text in zip(links, texts, strict=True)
        ]
        write_json({"component": resolved.component, "key": key, "value": value, "layers": layers})
        return
    chain = " → ".join(
        " ".join(filter(None, ("" if link.layer == resolved.component else link.layer, str(link.place or ""), text)))
        for link, text in zip(links, texts, strict=True)
    )
    if not hidden and texts and as_written(value) != texts[-1]:
        chain += f" = {as_written(value)}"
    echo(chain)


def _show_changes(before: Resolved, after: Resolved, names: Sequence[str], as_json: bool) -> None:
    changes = key_changes(before.stored, after.stored)
    if as_json:
        write_json(
            {
                "component": before.component,
                "versions": [before.versions, after.versions],
                "differences": [change.as_data() for change in changes],
            }
        )
    elif changes:
        write_table(Table(["", *names], [[change.key, *change.cells] for change in changes]))
    else:
        message(f"no difference between {names[0]} and {names[1]}")


# --- differences of two configurations


class KeyChange(NamedTuple):
    """A key, by its dotted path, and its two values; `MISSING` where a side does not have it."""

    key: str
    before: Plain
    after: Plain

    @property
    def cells(self) -> list[str]:
        """Both values as text in a table, `-` where a side does not have the key."""
        return ["-" if value is MISSING else exact(value) for value in (self.before, self.after)]

    def as_data(self) -> dict[str, Plain]:
        """Return the change for programs; a side that does not have the key has no entry."""
        values = {"before": self.before, "after": self.after}
        return {"key": self.key} | {side: value for side, value in values.items() if value is not MISSING}


def key_changes(before: Mapping[str, Plain], after: Mapping[str, Plain]) -> list[KeyChange]:
    """Return the leaves that differ, in the order of the first configuration, then of the second."""
    one, other = flatten(before), flatten(after)
    changes = [KeyChange(key, one.get(key, MISSING), other.get(key, MISSING)) for key in {**one, **other}]
    return [
        change
        for change in changes
        if change.before is MISSING or change.after is MISSING or canonical(change.before) != canonical(change.after)
    ]


# --- versions


def versions_command(component: str, as_json: bool) -> None:
    """Show what each version of a component changes."""
    project = Project()
    workspace = project.workspace()
    entry = find_component(workspace, component)
    resolved = {"": project.resolve(component)}
    found: list[dict[str, Any]] = []
    rows = []
    for version in version_names(workspace, entry):
        resolved[version] = one = project.resolve(component, version)
        changes = key_changes(_with_reserved(resolved[version.rpartition(":")[0]]), _with_reserved(one))
        found.append({"version": version, "changes": [change.as_data() for change in changes]})
        rows += [[version, change.key, *change.cells] for change in changes] or [[version, "", "", ""]]
    if as_json:
        write_json({"component": entry.name, "versions": found})
    elif rows:
        write_table(Table(["version", "key", "without", "with"], rows))
    else:
        message(f"{entry.name} has no versions; a key that starts with ~ in its entry declares one")


def _with_reserved(resolved: Resolved) -> dict[str, Any]:
    """Return the configuration with the reserved keys, except the environment, which may hold secrets."""
    reserved = {key: value for key, value in (resolved.reserved | resolved.shown).items() if key != "_environment_"}
    return resolved.stored | reserved | {"_mixins_": [mixin["name"] for mixin in resolved.mixins]}


def version_names(workspace: Workspace, entry: Entry) -> list[str]:
    """Return the versions of a component in the order of the file, each followed by those nested in it.

    Nested versions are named `~a:b`; versions of mixins and parents are included.
    """
    return list(islice(_nested_versions("", base_of(workspace, entry).body.blocks), MAX_VERSIONS))


def _nested_versions(outer: str, blocks: Mapping[str, Block]) -> Iterator[str]:
    for name, block in blocks.items():
        if len(name) < 2 or ":" in name or any(c.isspace() for c in name):
            continue  # it cannot be requested
        version = f"{outer}:{name[1:]}" if outer else name
        yield version
        if version.count(":") < MAX_DEPTH:
            yield from _nested_versions(version, open_block(block).blocks)
