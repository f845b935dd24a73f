"""`machinable schema`: a JSON Schema of this project's machinable.yaml, for editors with a language server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from functools import reduce
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from machinable.cli.config import version_names
from machinable.cli.output import message
from machinable.config.declaration import ENTRY_DIRECTIVES, RESERVED, open_block
from machinable.config.inheritance import ancestry, base_of
from machinable.config.resolve import resolve
from machinable.engines import registry as engines
from machinable.errors import InvalidValue, MachinableError
from machinable.listeners import registry as listeners
from machinable.plan.declared import TASK_SETTINGS
from machinable.project import Project
from machinable.serialization import encode, is_hidden

if TYPE_CHECKING:
    from machinable.config.loader import Workspace
    from machinable.config.registry import Entry

__all__ = ["project_schema", "schema_command"]

Schema = dict[str, Any]

_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"


def schema_command(file: str | None) -> None:
    """Write a JSON Schema of this project's machinable.yaml."""
    schema = project_schema(Project().workspace())
    text = json.dumps(encode(schema), indent=2, ensure_ascii=file is None) + "\n"
    if file is None:
        sys.stdout.write(text)
        return
    temporary = Path(f"{file}.{os.getpid()}.writing")
    try:
        if os.path.lexists(file) and schema["$comment"] not in Path(file).read_text(encoding="utf-8", errors="replace"):
            raise InvalidValue(
                f"{file} exists and was not written by this command",
                given=file,
                todo="Give another name, or remove it.",
            )
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        todo = "Give the name of a file that can be written."
        raise InvalidValue(f"cannot write {file}: {error.strerror}", given=file, todo=todo) from error
    message(f"wrote {file}; for the editor, start machinable.yaml with\n# yaml-language-server: $schema={file}")


def project_schema(workspace: Workspace) -> Schema:
    """Return the schema (draft-07) of the main file of a project."""
    main = workspace.main
    schema: Schema = yaml.safe_load(Path(__file__).with_name("schema.yaml").read_text(encoding="utf-8"))
    definitions, patterns = schema["definitions"], schema["patternProperties"]
    if main.name:
        schema["title"] = f"machinable.yaml of {main.name}"
    sections: dict[str, dict[str, Schema]] = {}
    for entry in main.components:
        definitions |= _entry(workspace, entry, f"component {entry.name}")
        sections.setdefault(entry.group, {})[entry.key] = _ref(f"component {entry.name}")
    for entry in main.mixins:
        definitions |= _entry(workspace, entry, f"mixin {entry.name}", in_mixin=True)
    definitions |= {
        "entry": _block({}, "the configuration of a component"),
        "mixin": _block({}, "configuration and methods that components can use", without=("_mixins_", "_identity_")),
        "version": _block({}, _VERSION, without=("_class_", "_identity_")),
        "components": _section(sections.pop("", {}), "entry"),
        "mixins": _section({entry.key: _ref(f"mixin {entry.name}") for entry in main.mixins}, "mixin"),
        "other components": _section({}, "entry"),
    }
    for group, known in sections.items():
        patterns[f"^components:{group}(={_IDENTIFIER})?$"] = _section(known, "entry")
    other = f"(?!(?:{'|'.join(sections)})(?:=|$))" if sections else ""
    patterns[f"^components:{other}{_IDENTIFIER}(={_IDENTIFIER})?$"] = _ref("other components")
    _add_names(definitions, workspace)
    return schema


def _add_names(definitions: dict[str, Schema], workspace: Workspace) -> None:
    """Add the names of the project where reserved keys and settings take one."""
    main = workspace.main
    components, mixins = main.components.known(), main.mixins.known()
    name, mapping = definitions["mixin_request"]["anyOf"]
    name["enum"] += mixins
    mapping["properties"]["name"]["examples"] = mixins
    mapping["properties"]["vendor"]["examples"] = list(main.imports)
    one, _, several, *_ = definitions["requirement"]["anyOf"]
    one["enum"] = definitions["requirement_name"]["anyOf"][0]["enum"] = components
    versions = {name for entry in main.components for name in _versions(workspace, entry)}
    several["items"]["anyOf"][0]["enum"] = components + sorted(versions)
    settings = definitions["execution"]["properties"]
    settings["engine"]["examples"] = list(engines.KNOWN)
    definitions["task_version"]["anyOf"][0]["enum"] = sorted(versions)
    task = definitions["task"]["anyOf"][1]["properties"]
    task["execution"]["properties"] = {name: settings[name] for name in TASK_SETTINGS}
    settings["engine"]["allOf"] = [{"if": {"type": "object"}, "then": {"required": ["type"]}}, *_options(engines.KNOWN)]
    name, mapping = settings["listeners"]["anyOf"][0]["items"]["anyOf"]
    name["examples"] = mapping["properties"]["type"]["examples"] = list(listeners.KNOWN)
    mapping["allOf"] = _options(listeners.KNOWN, f"{listeners.GROUP}.")


def _options(known: Mapping[str, str], prefix: str = "") -> list[Schema]:
    """Return which options a mapping may have, by its `type`: those of this engine or listener."""
    found: list[Schema] = []
    for name, path in known.items():
        module, _, attribute = path.partition(":")
        parameters = signature(getattr(import_module(module), attribute)).parameters.values()
        # Another library may have further options, which depend on its version; those are checked when it is used.
        is_open = any(one.kind is one.VAR_KEYWORD for one in parameters)
        options: Schema = {
            one.name: {"default": one.default} if isinstance(one.default, (str, int)) else {}
            for one in parameters
            if one.kind is not one.VAR_KEYWORD
        }
        types: Schema = {"properties": {"type": {"enum": sorted({name, prefix + name})}}, "required": ["type"]}
        closed: Schema = {} if is_open else {"additionalProperties": False}
        found.append({"if": types, "then": {"properties": {"type": {}} | options, **closed}})
    return found


def _versions(workspace: Workspace, entry: Entry) -> list[str]:
    try:
        return version_names(workspace, entry)
    except MachinableError:  # reported by `check`
        return []


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _section(known: Mapping[str, Schema], other: str) -> Schema:
    """Return the schema of a section: null, entries, or a list of these, which may be nested."""
    entries: Schema = {"type": "object", "properties": dict(known), "additionalProperties": _ref(other)}
    null, file = {"type": "null"}, _ref("file")
    items = {"anyOf": [entries, {"type": "array", "items": {"anyOf": [entries, file]}}, null, file]}
    return {"anyOf": [null, entries, file, {"type": "array", "items": items}]}


def _entry(workspace: Workspace, entry: Entry, name: str, in_mixin: bool = False) -> Schema:
    """Return definitions of an entry of that name: its keys, its versions, reserved keys, and anything else.

    All versions refer to one definition of the keys of the entry: heirs of heirs have many keys and versions.
    """
    config: Mapping[str, Any] = {}
    body = entry.body
    versions: Schema = {}
    try:
        if in_mixin:
            body = reduce(lambda below, above: above.over(below), [one.body for one in ancestry(entry)])
        else:
            body = base_of(workspace, entry).body
            config = resolve(workspace, entry).stored
        keys = f"keys of {name}"
        versions = {
            version: _version({key: part.values[key] for part in open_block(block).parts for key in part.values}, keys)
            for version, block in body.blocks.items()
        }
    except MachinableError:  # `check` reports it; its keys are still known
        body = entry.body
    properties = _keys(body.values, config) | versions
    found = {
        name: _block(properties, f"declared at {entry.place}", without=("_mixins_", "_identity_") if in_mixin else ())
    }
    return found | ({f"keys of {name}": {"properties": _keys(body.values, {})}} if versions else {})


_VERSION = "a version: what it changes when it is requested"


def _version(values: Mapping[Any, Any], keys: str) -> Schema:
    """Return the schema of a version that sets these values, of an entry whose keys have their own definition."""
    return {"allOf": [_ref("version"), {"properties": _keys(values, {})}, _ref(keys)]}


def _block(properties: Schema, description: str, without: tuple[str, ...] = ()) -> Schema:
    """Return the schema of a mapping with these keys, versions and reserved keys, or of a file with one."""
    reserved = [key for key in (*RESERVED, *ENTRY_DIRECTIVES) if key not in without]
    return {
        "anyOf": [
            {
                "type": ["object", "null"],
                "description": description,
                "properties": properties | {key: _ref(f"reserved/properties/{key}") for key in reserved},
                "patternProperties": {
                    "^~": _ref("version"),
                    f"^_(?!(?:{'|'.join(key[1:] for key in reserved)})$).+_$": False,
                },
            },
            _ref("file"),
        ]
    }


def _keys(values: Mapping[Any, Any], config: Mapping[str, Any]) -> Schema:
    """Return known keys with their values as defaults; a version may replace them with any value."""
    properties: Schema = {}
    for key, value in values.items():
        if not isinstance(key, str) or key in ENTRY_DIRECTIVES:
            continue
        schema: Schema = {}
        if isinstance(value, Mapping):
            inner = config.get(key)
            schema["properties"] = _keys(value, inner if isinstance(inner, Mapping) else {})
        elif key in config and not is_hidden(key) and not isinstance(config[key], (Mapping, list)):
            schema["default"] = config[key]
        properties[key] = schema
    return properties
