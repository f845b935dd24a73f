"""`machinable schema`: a JSON Schema of this project's machinable.yaml, for editors with a language server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from machinable.cli.config import version_names
from machinable.cli.output import message
from machinable.config.declaration import RESERVED, open_block
from machinable.config.inheritance import ancestry, base_of
from machinable.config.loader import EXECUTION_KEYS
from machinable.config.resolve import resolve
from machinable.engines.registry import KNOWN
from machinable.errors import InvalidValue, MachinableError
from machinable.project import Project
from machinable.serialization import encode, is_hidden

if TYPE_CHECKING:
    from machinable.config.loader import Workspace
    from machinable.config.registry import Entry

__all__ = ["project_schema", "schema_command"]

MARK = "made by `machinable schema`"
DIALECT = "http://json-schema.org/draft-07/schema#"
Schema = dict[str, Any]

_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"


def schema_command(file: str | None) -> None:
    """Write a JSON Schema of this project's machinable.yaml."""
    text = json.dumps(encode(project_schema(Project().workspace())), indent=2, ensure_ascii=False) + "\n"
    if file is None:
        sys.stdout.write(text)
        return
    _write(file, text)
    message(f"wrote {file}; for the editor, start machinable.yaml with\n# yaml-language-server: $schema={file}")


def _write(file: str, text: str) -> None:
    """Write the file, unless it exists and comes from something else."""
    try:
        with open(file, encoding="utf-8", errors="replace") as existing:
            if MARK not in existing.read(4096):
                raise InvalidValue(
                    f"{file} exists and was not written by this command",
                    given=file,
                    todo="Give another name, or remove it.",
                )
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise InvalidValue(f"{file} is a directory", given=file, todo="Give the name of a file.") from None
    except OSError as error:
        raise InvalidValue(f"cannot write {file}: {error.strerror}", given=file) from error
    temporary = f"{file}.{os.getpid()}.writing"
    try:
        with open(temporary, "x", encoding="utf-8", newline="\n") as new:
            new.write(text)
        os.replace(temporary, file)
    except OSError as error:
        raise InvalidValue(f"cannot write {file}: {error.strerror}", given=file) from error


def project_schema(workspace: Workspace) -> Schema:
    """Return the schema (draft-07) of the main file of a project."""
    main = workspace.main
    definitions: dict[str, Schema] = {
        "reserved": _reserved(workspace),
        "entry": _body({}, {}, "the configuration of a component"),
        "mixin": _body({}, {}, "configuration and methods that components can use", in_mixin=True),
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
    patterns: dict[str, Any] = {
        f"^components:{group}(={_IDENTIFIER})?$": section for group, section in sections.items() if group
    }
    named = "|".join(group for group in sections if group)
    other = f"(?!(?:{named})(?:=|$))" if named else ""
    patterns[f"^components:{other}{_IDENTIFIER}(={_IDENTIFIER})?$"] = _ref("components")
    patterns[f"^components(?!$|:{_IDENTIFIER}(={_IDENTIFIER})?$)"] = False
    patterns["^_(?!evaluate_$).+_$"] = False
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
            "_evaluate_": {"type": "boolean", "description": "false: config methods are off for the project."},
        },
        "patternProperties": patterns,
        "definitions": definitions,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _included(schema: Schema) -> Schema:
    """Return the schema, or a reference to a file or to a key of the root."""
    return {"anyOf": [schema, {"type": "string", "pattern": r"^\$[/.]"}]}


def _section(known: Mapping[str, Schema], other: str) -> Schema:
    """Return the schema of a section: null, entries, or a list of these, which may be nested."""
    entries: Schema = {"type": "object", "properties": dict(known), "additionalProperties": _ref(other)}
    items = _included({"anyOf": [entries, {"type": "array", "items": _included(entries)}, {"type": "null"}]})
    return {"anyOf": [{"type": "null"}, _included(entries), {"type": "array", "items": items}]}


def _entry(workspace: Workspace, entry: Entry, in_mixin: bool = False) -> Schema:
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
    except MachinableError:  # `check` reports it; its keys are still known
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
    """Return the schema of an entry: its keys, its versions, reserved keys, and anything else."""
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
    """Return the schema of a `~` block: that of an entry, without the class."""
    properties = _keys(values, config)
    reserved = [key for key in RESERVED if key != "_class_"]
    properties |= {key: {"$ref": f"#/definitions/reserved/properties/{key}"} for key in reserved}
    return _included(
        {
            "type": ["object", "null"],
            "description": "a version: what it changes when it is requested",
            "properties": properties,
            "patternProperties": {
                "^~": _ref("version"),
                f"^_(?!(?:{'|'.join(key[1:] for key in reserved)})$).+_$": False,
            },
        }
    )


def _keys(values: Mapping[Any, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return known keys with their values as defaults; a version may replace them with any value."""
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
    """Return a schema with a property for each reserved key."""
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
            "Mixins, the first takes precedence; ^ is the list that this one replaces.",
            a_list_of_mixins,
        ),
        "_class_": ("The class in the module, if it has several.", text),
        "_evaluate_": ("false: config methods are only called explicitly.", {"type": "boolean"}),
        "_seed_": ("The seed of every trial, used unchanged.", {"type": ["integer", "null"]}),
        "_seeding_": ("Dotted names of functions that are called with the seed.", names),
        "_requires_": (
            "Components whose results are read: name to component.",
            {"type": ["object", "null"], "additionalProperties": requirement},
        ),
        "_results_": ("Artifacts that the component must write.", names),
        "_resources_": ("What a trial needs: cpus, gpus, memory, …", {"type": ["object", "null"]}),
        "_environment_": ("Environment variables of the trial.", {"type": ["object", "null"]}),
        "_retries_": ("How often a failed trial is retried.", {"type": ["integer", "object", "null"]}),
        "_chdir_": ("true: the trial runs in its local directory.", {"type": "boolean"}),
    }
    variable: Schema = {"type": "string", "pattern": r"\$"}  # a variable or a reference may have any value
    return {
        "properties": {
            key: {"description": text, "anyOf": [schema, variable]} for key, (text, schema) in properties.items()
        }
    }


def _version_names(workspace: Workspace, entry: Entry) -> list[str]:
    try:
        return version_names(workspace, entry)
    except MachinableError:  # reported by `check`
        return []


def _execution() -> Schema:
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
                            "description": "Largest size of the code: bytes, or 100MiB.",
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
