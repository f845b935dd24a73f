"""`machinable config`: the configuration that a component receives, where it comes from, how two uses differ."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from machinable.cli.output import json_option, tell, write_json

if TYPE_CHECKING:
    from machinable.config.resolve import Resolved

__all__ = ["command"]


class _Config(click.Command):
    """Lets several words follow `--diff`."""

    def parse_args(self, context: click.Context, words: list[str]) -> list[str]:
        if "--diff" in words:
            at = words.index("--diff")
            end = next((i for i in range(at + 1, len(words)) if words[i].startswith("--")), len(words))
            spread = [part for word in words[at + 1 : end] or [""] for part in ("--diff", word)]
            words = [*words[:at], *spread, *words[end:]]
        return super().parse_args(context, words)


@click.command("config", cls=_Config)
@click.argument("component")
@click.argument("versions", nargs=-1, metavar="[~VERSION | @VERSION | KEY=VALUE]…")
@click.option("--explain", metavar="KEY", help="Who set this key, the oldest first.")
@click.option("--diff", multiple=True, metavar="~VERSION…", help="Only what is different with these versions instead.")
@json_option
def command(
    component: str, versions: tuple[str, ...], explain: str | None, diff: tuple[str, ...], as_json: bool
) -> None:
    """Show the configuration that COMPONENT receives, as YAML."""
    from machinable.cli.words import shown_words, version_of
    from machinable.errors import UsageError
    from machinable.project import Project

    if explain is not None and diff:
        raise UsageError("--explain and --diff do not go together", todo="Leave one of them out.")
    project = Project()
    resolved = project.resolve(component, version_of(versions))
    for text in resolved.warnings:
        tell(f"warning: {text}")
    if explain is not None:
        _explain(resolved, explain, as_json)
    elif diff:
        words = [word for word in diff if word]
        other = project.resolve(component, version_of(words))
        for text in other.warnings:
            tell(f"warning: {text}")
        names = [" ".join(shown_words(one)) or "as declared" for one in (versions, words)]
        _differences(resolved, other, names, as_json)
    elif as_json:
        write_json(
            {
                "component": resolved.component,
                "module": resolved.module,
                "versions": resolved.versions,
                "mixins": resolved.mixins,
                "config": resolved.stored,
                "warnings": resolved.warnings,
            }
        )
    else:
        _print(resolved, shown_words(versions))


def _print(resolved: Resolved, words: Sequence[str]) -> None:
    from machinable.cli.yaml_text import yaml_text

    print(f"# {' '.join([resolved.component, *words])}")
    print(f"# module: {resolved.module}")
    if resolved.mixins:
        print(f"# mixins: {', '.join(_mixin(mixin) for mixin in resolved.mixins)}")
    sys.stdout.write(yaml_text(resolved.stored))


def _mixin(mixin: dict[str, str]) -> str:
    origin = f" ({mixin['origin']})" if mixin["origin"] != mixin["name"] else ""
    return mixin["name"] + origin + (f" as {mixin['attribute']}" if "attribute" in mixin else "")


def _explain(resolved: Resolved, key: str, as_json: bool) -> None:
    from machinable.serialization import is_hidden

    links = resolved.explain(key)
    parts = key.replace("[", ".").replace("]", "").split(".")
    hidden = any(map(is_hidden, parts))
    value = None if hidden else _look(resolved.stored, parts)
    layers = [
        (
            "" if link.layer == resolved.component else link.layer,
            str(link.place) if link.place else None,
            "…" if hidden else link.text,
        )
        for link in links
    ]
    if as_json:
        write_json(
            {
                "component": resolved.component,
                "key": key,
                "value": value,
                "layers": [
                    {"layer": layer or resolved.component, "at": at, "text": text} for layer, at, text in layers
                ],
            }
        )
        return
    chain = " → ".join(" ".join(part for part in layer if part) for layer in layers)
    if not hidden and layers and _written(value) != layers[-1][2]:
        chain += f" = {_written(value)}"
    print(chain)


def _written(value: Any) -> str:
    from machinable.config.resolve import as_written

    return as_written(value)


def _look(value: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        if isinstance(value, list):
            value = value[int(part)]
        else:
            value = value[part] if part in value else {str(key): item for key, item in value.items()}[part]
    return value


def _differences(one: Resolved, other: Resolved, names: Sequence[str], as_json: bool) -> None:
    from machinable.cli.differences import differences
    from machinable.display.tables import Table, exact, write_table

    found = differences(one.stored, other.stored)
    if as_json:
        write_json(
            {
                "component": one.component,
                "versions": [one.versions, other.versions],
                "differences": [one.as_data() for one in found],
            }
        )
    elif found:
        rows = [[change.key, *(exact(value) if there else "-" for value, there in change.sides)] for change in found]
        write_table(Table(["", *names], rows), sys.stdout)
    else:
        tell(f"no difference between {names[0]} and {names[1]}")
