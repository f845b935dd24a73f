"""`machinable schema`: a JSON Schema of this project's machinable.yaml, for editors with a language server."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from machinable.cli.output import tell

if TYPE_CHECKING:
    from machinable.config.loader import Workspace
    from machinable.config.registry import Entry

__all__ = ["command", "project_schema"]

MARK = "made by `machinable schema`"
DIALECT = "http://json-schema.org/draft-07/schema#"
Schema = dict[str, Any]


@click.command("schema")
@click.option("--output", "file", metavar="FILE", help="Write it there instead of to stdout.")
def command(file: str | None) -> None:
    """Write a JSON Schema of this project's machinable.yaml.

    It knows components, mixins, versions, keys, reserved keys and sections; other keys stay allowed wherever the
    language allows them.
    """
    import json

    from machinable.project import Project
    from machinable.serialization import encode

    text = json.dumps(encode(project_schema(Project().workspace())), indent=2, ensure_ascii=False) + "\n"
    if file is None:
        sys.stdout.write(text)
        return
    _write(file, text)
    tell(f"wrote {file}; for the editor, begin machinable.yaml with\n# yaml-language-server: $schema={file}")


def _write(file: str, text: str) -> None:
    """Writes the file; one that somebody else made is left alone."""
    from machinable.errors import InvalidValue

    try:
        with open(file, encoding="utf-8", errors="replace") as former:
            if MARK not in former.read(4096):
                raise InvalidValue(
                    f"{file} is there and was not made by this command",
                    given=file,
                    todo="Give another name, or remove it.",
                )
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise InvalidValue(f"{file} is a directory", given=file, todo="Give the name of a file.") from None
    except OSError as error:
        raise InvalidValue(f"{file} cannot be written: {error.strerror}", given=file) from error
    beside = f"{file}.{os.getpid()}.writing"
    try:
        with open(beside, "x", encoding="utf-8", newline="\n") as new:
            new.write(text)
        os.replace(beside, file)
    except OSError as error:
        raise InvalidValue(f"{file} cannot be written: {error.strerror}", given=file) from error


def project_schema(workspace: Workspace) -> Schema:
    """The schema (draft-07) of the main file of a project."""
    main = workspace.main
    definitions: dict[str, Schema] = {
        "reserved": _reserved(workspace),
        "entry": _body({}, {}, "the configuration of a component"),
        "mixin": _body({}, {}, "configuration and methods to borrow", in_mixin=True),
        "version": _version({}, {}),
    }
    sections: dict[str, Schema] = {}
    for group in sorted({entry.group for entry in main.components}):
        known = {}
        for entry in main.components:
            if entry.group == group:
                definitions[f"component {entry.name}"] = _entry(workspace, entry)
                known[entry.key] = {"$ref": f"#/definitions/component {entry.name}"}
        sections[group] = _section(known, "entry")
    mixins = {}
    for entry in main.mixins:
        definitions[f"mixin {entry.name}"] = _entry(workspace, entry, in_mixin=True)
        mixins[entry.key] = {"$ref": f"#/definitions/mixin {entry.name}"}
    definitions["components"] = _section({}, "entry")
    definitions["mixins"] = _section(mixins, "mixin")
    patterns = {
        f"^components:{group}(=[A-Za-z_][A-Za-z0-9_]*)?$": section for group, section in sections.items() if group
    }
    named = "|".join(group for group in sections if group)
    other = f"(?!(?:{named})(?:=|$))" if named else ""
    patterns[f"^components:{other}[A-Za-z_][A-Za-z0-9_]*(=[A-Za-z_][A-Za-z0-9_]*)?$"] = _ref("components")
    patterns["^components(?!$|:[A-Za-z_][A-Za-z0-9_]*(=[A-Za-z_][A-Za-z0-9_]*)?$)"] = False  # type: ignore[assignment]
    patterns["^_(?!evaluate_$).+_$"] = False  # type: ignore[assignment]
    return {
        "$schema": DIALECT,
        "$comment": MARK,
        "title": f"machinable.yaml of {main.name}" if main.name else "machinable.yaml",
        "type": ["object", "null"],
        "properties": {
            "name": {"type": "string", "description": "The project's name, a dotted identifier."},
            "+": {
                "description": "Imported projects: names, or names with sources (a directory or git+URL).",
                "type": ["array", "object", "null"],
                "items": {"type": ["string", "object"], "additionalProperties": {"type": ["string", "null"]}},
                "additionalProperties": {"type": ["string", "null"]},
            },
            "mixins": _ref("mixins"),
            "components": sections.get("", _ref("components")),
            "includes": {"type": ["object", "string", "null"], "additionalProperties": {"type": ["object", "string"]}},
            "execution": _execution(),
            "_evaluate_": {"type": "boolean", "description": "false switches config methods off for the project."},
        },
        "patternProperties": patterns,
        "definitions": definitions,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _included(schema: Schema) -> Schema:
    """What may also stand in a file of its own, or in the file's root."""
    return {"anyOf": [schema, {"type": "string", "pattern": r"^\$[/.]"}]}


def _section(known: Mapping[str, Schema], other: str) -> Schema:
    """Null, entries, or a list of such; lists nest."""
    entries: Schema = {"type": "object", "properties": dict(known), "additionalProperties": _ref(other)}
    items = _included({"anyOf": [entries, {"type": "array", "items": _included(entries)}, {"type": "null"}]})
    return {"anyOf": [{"type": "null"}, _included(entries), {"type": "array", "items": items}]}


def _entry(workspace: Workspace, entry: Entry, in_mixin: bool = False) -> Schema:
    from machinable.config.declaration import open_block
    from machinable.config.inheritance import ancestry, base_of
    from machinable.config.resolve import resolve
    from machinable.errors import MachinableError

    blocks = {}
    try:
        if in_mixin:
            body = None
            for one in ancestry(entry):
                body = one.body if body is None else one.body.over(body)
            assert body is not None
            config: Mapping[str, Any] = {}
        else:
            body = base_of(workspace, entry).body
            config = resolve(workspace, entry).stored
        values: dict[str, Any] = dict(body.values)
        blocks = {name: dict(open_block(block).values) for name, block in body.blocks.items()}
    except MachinableError:  # `check` tells what is wrong with it; its keys are still worth knowing
        values, config = dict(entry.body.values), {}
    return _body(values, blocks, f"declared at {entry.place}", in_mixin=in_mixin, config=config)


def _body(
    values: Mapping[str, Any],
    blocks: Mapping[str, Mapping[str, Any]],
    description: str,
    *,
    in_mixin: bool = False,
    config: Mapping[str, Any] | None = None,
) -> Schema:
    """The schema of an entry: its keys, its versions, reserved keys, and anything else."""
    from machinable.config.declaration import RESERVED

    reserved = [key for key in RESERVED if not (in_mixin and key == "_mixins_")]
    properties: dict[str, Any] = _keys(values, config or {})
    properties |= {key: {"$ref": f"#/definitions/reserved/properties/{key}"} for key in reserved}
    properties |= {name: _version({**values, **block}, {}) for name, block in blocks.items()}
    return _included(
        {
            "type": ["object", "null"],
            "description": description,
            "properties": properties,
            "patternProperties": {
                "^~": _ref("version"),
                f"^_(?!(?:{'|'.join(key[1:] for key in reserved)})$).+_$": False,
            },
        }
    )


def _version(values: Mapping[str, Any], config: Mapping[str, Any]) -> Schema:
    """A `~` block: what an entry has, but not the class."""
    from machinable.config.declaration import RESERVED

    properties = _keys(values, config)
    reserved = [key for key in RESERVED if key != "_class_"]
    properties |= {key: {"$ref": f"#/definitions/reserved/properties/{key}"} for key in reserved}
    return _included(
        {
            "type": ["object", "null"],
            "description": "a version: what it changes when it is asked for",
            "properties": properties,
            "patternProperties": {
                "^~": _ref("version"),
                f"^_(?!(?:{'|'.join(key[1:] for key in reserved)})$).+_$": False,
            },
        }
    )


def _keys(values: Mapping[Any, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Known keys with what they are set to; a version may put any value in place of another."""
    from machinable.serialization import is_hidden

    properties: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            continue
        schema: Schema = {}
        if isinstance(value, Mapping):
            inner = config.get(key)
            schema["properties"] = _keys(value, inner if isinstance(inner, Mapping) else {})
        elif key in config and not is_hidden(key) and not isinstance(config[key], (Mapping, list)):
            schema["default"] = config[key]
        properties[key] = schema
    return properties


def _reserved(workspace: Workspace) -> Schema:
    """What steers: a property for each reserved key."""
    main = workspace.main
    components, mixins = main.components.known(), main.mixins.known()
    versions = sorted({name for entry in main.components for name in _version_names(workspace, entry)})
    a_mixin: Schema = {
        "anyOf": [
            {"enum": ["^", *mixins]},
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "examples": mixins},
                    "vendor": {"type": "string", "examples": list(main.imports)},
                    "attribute": {"type": "string"},
                },
                "required": ["name"],
                "additionalProperties": False,
            },
        ]
    }
    text: Schema = {"type": "string"}
    requirement: Schema = {
        "anyOf": [
            {"enum": components},
            text,
            {"type": "array", "items": {"anyOf": [{"enum": components + versions}, {}]}},
        ]
    }
    names = {"type": ["array", "null"], "items": text}
    a_list_of_mixins: Schema = {
        "anyOf": [
            {"type": "null"},
            a_mixin,
            {"type": "array", "items": a_mixin},
            {"type": "string", "pattern": r"^\$[./]"},
        ]
    }
    properties: dict[str, tuple[str, Schema]] = {
        "_mixins_": (
            "Mixins to borrow, the first wins; ^ stands for the list that this one replaces.",
            a_list_of_mixins,
        ),
        "_class_": ("The class in the module, where several could be meant.", text),
        "_evaluate_": ("false: config methods are called by hand.", {"type": "boolean"}),
        "_seed_": ("The seed of every trial, used as it is.", {"type": ["integer", "null"]}),
        "_seeding_": ("Dotted callables that get the seed.", names),
        "_requires_": (
            "Components whose finished outputs are read: name to component.",
            {"type": ["object", "null"], "additionalProperties": requirement},
        ),
        "_results_": ("Artifacts that are promised.", names),
        "_resources_": ("What a trial needs: cpus, gpus, memory, …", {"type": ["object", "null"]}),
        "_environment_": ("Environment variables of the trial.", {"type": ["object", "null"]}),
        "_retries_": ("How often a failed trial is tried again.", {"type": ["integer", "object", "null"]}),
        "_chdir_": ("true: the trial's own directory is its working directory.", {"type": "boolean"}),
    }
    variable: Schema = {"type": "string", "pattern": r"\$"}  # a variable or a reference may stand for anything
    return {
        "properties": {
            key: {"description": said, "anyOf": [schema, variable]} for key, (said, schema) in properties.items()
        }
    }


def _version_names(workspace: Workspace, entry: Entry) -> list[str]:
    from machinable.cli.blocks import version_names
    from machinable.errors import MachinableError

    try:
        return version_names(workspace, entry)
    except MachinableError:  # told by `check`
        return []


def _execution() -> Schema:
    from machinable.config.loader import EXECUTION_KEYS
    from machinable.engines.registry import KNOWN

    engines: Schema = {"anyOf": [{"enum": list(KNOWN)}, {"type": ["string", "object"]}]}
    known: dict[str, Schema] = {
        "storage": {"type": "string", "description": "A directory, relative to the project, or a URL."},
        "engine": engines,
        "code_backup": {
            "anyOf": [
                {"type": "boolean"},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "limit": {
                            "type": ["integer", "string"],
                            "description": "How large the code may be: bytes, or 100MiB.",
                        },
                        "ignore": {
                            "type": "array",
                            "items": {"type": "string"},
                            "description": "Patterns as in .gitignore.",
                        },
                        "scan": {"type": "boolean", "description": "false: do not look for secrets."},
                    },
                },
            ]
        },
        "seeding": {"type": "array", "items": {"type": "string"}},
        "strict": {"type": "boolean", "description": "true: a version that brings an unknown key is an error."},
        "on_failure": {"enum": ["raise", "continue", "stop"]},
        "on_busy": {"enum": ["wait", "skip", "fail"]},
        "retries": {"type": "integer"},
        "retry_delay": {"type": "number"},
        "timeout": {"type": ["number", "null"]},
        "threads": {"type": "integer"},
        "lease": {"type": "number"},
        "locks": {"type": "string"},
        "resources": {"type": "object"},
    }
    variable: Schema = {"type": "string", "pattern": r"\$"}
    properties = {key: {"anyOf": [known[key], variable]} if key in known else {} for key in EXECUTION_KEYS}
    return {"type": ["object", "null"], "properties": properties, "additionalProperties": False}
