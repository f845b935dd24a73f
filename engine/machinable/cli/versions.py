"""`machinable versions`: what each version of a component changes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from machinable.cli.output import json_option, tell, write_json

if TYPE_CHECKING:
    from machinable.config.resolve import Resolved

__all__ = ["command"]


@click.command("versions")
@click.argument("component")
@json_option
def command(component: str, as_json: bool) -> None:
    """Show what each version of COMPONENT changes; one inside another, ~a:b, on top of that one."""
    from machinable.cli.blocks import version_names
    from machinable.cli.differences import differences
    from machinable.config.resolve import find_component
    from machinable.display.tables import Table, exact, write_table
    from machinable.project import Project

    project = Project()
    workspace = project.workspace()
    entry = find_component(workspace, component)
    resolved = {"": project.resolve(component)}
    found: list[dict[str, Any]] = []
    rows = []
    for version in version_names(workspace, entry):
        resolved[version] = one = project.resolve(component, version)
        changes = differences(_shown(resolved[version.rpartition(":")[0]]), _shown(one))
        found.append({"version": version, "changes": [change.as_data() for change in changes]})
        rows += [
            [version, change.key, *(exact(value) if there else "-" for value, there in change.sides)]
            for change in changes
        ]
        if not changes:
            rows.append([version, "", "", ""])
    if as_json:
        write_json({"component": entry.name, "versions": found})
    elif rows:
        write_table(Table(["version", "key", "without", "with"], rows), sys.stdout)
    else:
        tell(f"{entry.name} has no versions; a key with ~ in its entry would be one")


def _shown(resolved: Resolved) -> dict[str, Any]:
    """The configuration with what steers; environments may hold secrets."""
    steering = {key: value for key, value in resolved.reserved.items() if key != "_environment_"}
    return resolved.stored | steering | {"_mixins_": [mixin["name"] for mixin in resolved.mixins]}
