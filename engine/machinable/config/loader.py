"""Load the declarations of a project and of the projects that it imports, and link entries to their parents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from msgspec import Struct, field

from machinable.config.declaration import is_reserved, parse_body, parse_key
from machinable.config.includes import ProjectFiles, ProjectReader
from machinable.config.nodes import (
    UNREADABLE,
    MappingNode,
    ProjectScope,
    SequenceNode,
    described,
    key_is_not_text,
    unwrapped,
)
from machinable.config.registry import Entry, Registry
from machinable.config.tasks import TaskEntry, clashes, read_tasks
from machinable.errors import MachinableError, MalformedText, MissingFile, Place, SeveralErrors, UnknownName

__all__ = ["EXECUTION_KEYS", "Document", "Workspace", "declared_imports", "load"]

FILE = "machinable.yaml"
EXECUTION_KEYS = (
    "storage",
    "engine",
    "code_backup",
    "seeding",
    "strict",
    "threads",
    "retries",
    "retry_delay",
    "timeout",
    "on_failure",
    "reuse",
    "on_busy",
    "resources",
    "locks",
    "lease",
    "listeners",
)
_MAX_SUGGESTIONS = 20  # errors of one project that suggest near names, because searching them is slow
_SECTION = re.compile(r"components(?::([^\W\d]\w*)(?:=([^\W\d]\w*))?)?")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def _is_section(key: str) -> bool:
    return key in ("mixins", "tasks") or _SECTION.fullmatch(key) is not None


class Document(Struct, eq=False):
    """The declarations of one machinable.yaml.

    Attributes:
        scope: The project.
        file: The path of the file.
        name: The name of the project.
        evaluate: The value of `_evaluate_` at the root.
        execution: The section `execution`.
        imports: Source and place of each imported project.
        is_complete: Whether all parts that may declare names could be read.
        tasks: The declared tasks, by name.
    """

    scope: ProjectScope
    file: str
    name: str | None = None
    evaluate: bool | None = None
    execution: Mapping[str, Any] = {}
    imports: dict[str, tuple[str | None, Place]] = field(default_factory=dict)
    is_complete: bool = True
    components: Registry = field(default_factory=partial(Registry, "component"))
    mixins: Registry = field(default_factory=partial(Registry, "mixin"))
    tasks: dict[str, TaskEntry] = field(default_factory=dict)

    @property
    def strict(self) -> bool:
        """Whether an override of an unknown key is an error."""
        return unwrapped(self.execution.get("strict")) is True


class Workspace:
    """A project with its imports, read and linked. It is not changed after loading.

    Attributes:
        errors: The errors that concern only some entries, which have them, too.
    """

    def __init__(self, library: ProjectReader) -> None:
        self.library = library
        self.documents: dict[str, Document] = {}
        self.errors: list[MachinableError] = []

    @classmethod
    def empty(cls) -> Workspace:
        """Return a project without declarations, for classes and functions that are used without a project."""
        workspace = cls(ProjectReader(_NoFiles(), {}))
        workspace.documents[""] = Document(ProjectScope(), FILE)
        return workspace

    @property
    def main(self) -> Document:
        """The executing project."""
        return self.documents[""]

    @property
    def tasks(self) -> dict[str, TaskEntry]:
        """All tasks by name: those of the project, then those of the projects that it imports."""
        known = dict(self.main.tasks)
        for name in self.main.imports:
            document = self.imported(self.main, name)
            known |= {f"+.{name}.{task}": entry for task, entry in document.tasks.items()} if document else {}
        return known

    def imported(self, document: Document, project: str) -> Document | None:
        """Return the document of a project that `document` imports, or None."""
        return self.documents.get(project) if project in document.imports else None


class _NoFiles:
    def read(self, path: str) -> str:
        raise FileNotFoundError(path)

    def is_directory(self, path: str) -> bool:
        return False


def load(files: ProjectFiles, environment: Mapping[str, str]) -> Workspace:
    """Read and link the project in a directory.

    Args:
        files: The project directory.
        environment: Values for `${NAME}`.

    Raises:
        MissingFile: There is no machinable.yaml.
        ConfigurationError: The project has errors that do not concern single entries; several are raised as one,
            together with those that do.
    """
    workspace = Workspace(library := ProjectReader(files, environment))
    errors = library.errors
    parsers = []
    waiting: list[tuple[str, Place | None]] = [("", None)]
    while waiting:
        project, wanted_at = waiting.pop(0)
        if project in workspace.documents:
            continue
        scope = ProjectScope(project)
        directory = f"vendor/{project}/" if project else ""
        document = workspace.documents[project] = Document(scope, directory + FILE)
        if project and not files.is_directory(f"vendor/{project}"):
            document.is_complete = False
            errors.append(
                MissingFile(
                    f"the imported project {project!r} is not in vendor/{project}",
                    at=wanted_at,
                    given=project,
                    todo=f"Fetch it: machinable vendor fetch {project}",
                )
            )
            continue
        try:
            scope.root = library.read(directory + FILE, scope, kind="project file")
        except MissingFile:
            if not project:
                raise
            continue  # a directory without declarations contributes only code
        except MachinableError as error:
            document.is_complete = False
            errors.append(error)
            continue
        document.is_complete = project not in library.incomplete
        parsers.append(parser := _Parser(workspace, document, errors))
        parser.read_root(scope.root)
        waiting += [(name, place) for name, (_, place) in document.imports.items()]
    for parser in parsers:
        parser.link()
    _adopt_names(workspace, errors)
    for document in workspace.documents.values():
        for names in (document.mixins, document.components):
            names.rename({old: entry.name for old, entry in names.entries.items() if old != entry.name})
        errors.extend(clashes(document.tasks.values(), document.components))
    if len(errors) > len(workspace.errors):
        SeveralErrors.raise_any(errors)
    return workspace


class _Parser:
    """Fill a document from the root of its file."""

    def __init__(self, workspace: Workspace, document: Document, errors: list[MachinableError]) -> None:
        self.workspace = workspace
        self.document = document
        self.errors = errors
        self.links: list[tuple[Entry, str, str, Registry]] = []  # entry, attribute, name in another project, its kind
        self.missing_parents: list[tuple[Entry, str, Registry]] = []

    def fail(self, message: str, at: Place | None, value: Any, todo: str, path: str | None = None) -> None:
        self.errors.append(MalformedText(message, at=at, path=path, given=described(value), todo=todo))

    def read_root(self, root: Any) -> None:
        if root is None or root is UNREADABLE:
            return
        if not isinstance(root, MappingNode):
            at = self.document.scope.start
            message = f"{'' if at else self.document.file + ': '}a project file is a mapping, not {described(root)}"
            self.fail(message, at, root, "Begin with `components:`.")
            return
        readers = {
            "name": self.read_name,
            "_evaluate_": self.read_evaluate,
            "execution": self.read_execution,
        }
        sections: dict[str, list[tuple[Any, MappingNode]]] = {}
        for key, value in root.items():
            if type(key) is not str:
                self.errors.append(key_is_not_text(key, root))
            elif value is UNREADABLE:
                continue
            elif _is_section(key):
                sections.setdefault(key, []).append((value, root))
            elif key.startswith("components"):
                self.fail(
                    f"{key!r} is not a valid section name",
                    root.place(key),
                    key,
                    "Sections are components, components:<group> and components:<group>=<alias>, "
                    "with identifiers as names.",
                )
            elif key == "+":
                self.document.imports.update(declared_imports(root, self.errors))
            elif key in readers:
                readers[key](value, root)
            elif is_reserved(key):
                self.errors.append(UnknownName("reserved key", key, ["_evaluate_"], at=root.place(key)))
        self.read_includes(root.get("includes"), root, sections)
        tasks = [(value, owner.place("tasks")) for value, owner in sections.pop("tasks", ())]
        self.document.tasks = read_tasks(tasks, self.errors)
        for names, kind in ((self.document.mixins, "mixins"), (self.document.components, "components")):
            for key, parts in sections.items():
                match = _SECTION.fullmatch(key)
                if (match is None) != (kind == "mixins"):
                    continue
                group = (match[1] if match else None) or ""
                if match and match[2]:
                    names.groups.setdefault(match[2], group)
                for value, owner in parts:
                    for entry_key, body, section in self.items(value, owner.place(key)):
                        self.read_entry(entry_key, body, section, group, names)
            self.errors.extend(names.clashes())

    def read_evaluate(self, value: Any, root: MappingNode) -> None:
        evaluate = unwrapped(value)
        if type(evaluate) is not bool:
            message = f"`_evaluate_` takes true or false, not {described(value)}"
            todo = "Write `_evaluate_: false`, or leave it out."
            self.fail(message, root.place("_evaluate_"), value, todo, path="_evaluate_")
        self.document.evaluate = evaluate is not False

    def read_name(self, value: Any, root: MappingNode) -> None:
        name = unwrapped(value)
        if type(name) is str and _DOTTED.fullmatch(name):
            self.document.name = name
            return
        message = f"the project's name is not a dotted identifier but {described(value)}"
        self.fail(message, root.place("name"), value, "Write letters, digits, underscores and dots.", path="name")

    def read_execution(self, value: Any, root: MappingNode) -> None:
        if value is None:
            return
        if not isinstance(value, MappingNode):
            message = f"`execution` takes a mapping, not {described(value)}"
            todo = f"Its keys are {', '.join(EXECUTION_KEYS)}."
            self.fail(message, root.place("execution"), value, todo, path="execution")
            return
        for key in value:
            if key not in EXECUTION_KEYS:
                self.errors.append(UnknownName("setting", key, EXECUTION_KEYS, at=value.place(key), path="execution"))
        strict = value.get("strict", False)
        if type(unwrapped(strict)) is not bool and strict is not UNREADABLE:
            message = f"`strict` takes true or false, not {described(strict)}"
            self.fail(message, value.place("strict"), strict, "Write `strict: true`.", path="execution")
        self.document.execution = value

    def read_includes(self, value: Any, root: MappingNode, sections: dict[str, list[tuple[Any, MappingNode]]]) -> None:
        if value is None or value is UNREADABLE:
            return
        todo = "Write `includes: {name: {components: …}}`, or a file instead of the inner mapping: `$/more.yaml`."
        if not isinstance(value, MappingNode):
            message = f"`includes` takes a mapping of names and mappings, not {described(value)}"
            self.fail(message, root.place("includes"), value, todo, path="includes")
            return
        for name, inner in value.items():
            if isinstance(inner, MappingNode):
                for key, part in inner.items():
                    if type(key) is str and _is_section(key):
                        sections.setdefault(key, []).append((part, inner))
            elif inner is not UNREADABLE:
                message = f"the include {name!r} is not a mapping but {described(inner)}"
                self.fail(message, value.place(name), inner, todo, path="includes")

    def items(self, value: Any, at: Place) -> Iterator[tuple[Any, Any, MappingNode]]:
        """Yield key, value and mapping of each entry of a section: null, a mapping, or lists of mappings."""
        waiting = [(value, at)]
        while waiting:
            value, at = waiting.pop()
            if isinstance(value, MappingNode):
                for key, body in value.items():
                    yield key, body, value
            elif isinstance(value, SequenceNode):
                waiting += [(item, value.place(i)) for i, item in reversed(list(enumerate(value)))]
            elif value is not None and value is not UNREADABLE:
                message = f"an entry is a mapping `name: configuration`, not {described(value)}"
                self.fail(message, at, value, "Write `- name:`, with the configuration below or nothing.")

    def read_entry(self, key: Any, value: Any, section: MappingNode, group: str, names: Registry) -> None:
        if type(key) is not str:
            self.errors.append(key_is_not_text(key, section))
            return
        try:
            parsed = parse_key(key, section.source.key_text(section.marks[key]) if "$" in section.source.text else key)
        except MalformedText as error:
            error.at = section.place(key)
            self.errors.append(error)
            return
        if value is UNREADABLE or unwrapped(value) is None:
            value = None
        elif not isinstance(value, MappingNode):
            message = f"the entry {key!r} is not a mapping but {described(value)}"
            self.fail(message, section.place(key), value, "Write its configuration below it, or nothing.", path=key)
            return
        own: list[MachinableError] = []
        body = parse_body(value if value is not None else MappingNode(section.source), key, self.errors, own)
        if names.kind == "mixin" and "_mixins_" in body.reserved:
            todo = "List both mixins where they are used, or inherit from the other with `^`."
            self.fail("a mixin cannot have mixins", body.place("_mixins_"), key, todo, path=key)
            own.append(self.errors[-1])
        if names.kind == "mixin" and "_identity_" in body.reserved:
            self.fail("a mixin has no `_identity_`", body.place("_identity_"), key, "Set it in a component.", path=key)
            own.append(self.errors[-1])
        self.workspace.errors += own
        name, parent_name, alias = parsed
        in_project = parent_name is not None and not parent_name.startswith("+.")
        parent = names.lookup(parent_name, group) if parent_name and in_project else None
        target = name or parent_name or ""
        if name is None and parent is not None:
            name, module, group = parent.name, parent.module, parent.group
            alias = alias or parent.alias
        elif target.startswith("+."):
            module = _vendored(target)
            name = name or module
        else:
            is_inside = name is None or not group or name.startswith(f"{group}.")
            name = module = target if is_inside else f"{group}.{target}"
        entry = Entry(key, name, module, group, alias, body, section.source, section.marks[key], parent, errors=own)
        if parent_name and not in_project:
            self.links.append((entry, "parent", parent_name, names))
        elif parent_name and parent is None:
            self.missing_parents.append((entry, parent_name, names))
        if parsed[0] and parsed[0].startswith("+."):
            self.links.append((entry, "imported", parsed[0], names))
        if names.kind == "mixin":
            called = [entry.name, entry.short.removeprefix("mixins."), entry.alias or ""]
            if not any(text.isidentifier() for text in called):
                message = f"the mixin {key!r} has no name that is an identifier"
                self.fail(message, entry.place, key, "Give it an alias: name=alias.")
        names.add(entry)

    def link(self) -> None:
        """Link entries to parents and entries of other projects, after all projects are read."""
        for entry, name, names in self.missing_parents:
            later = names.lookup(name, entry.group)
            if later is not None and later is not entry:
                self.errors.append(
                    UnknownName(
                        f"earlier {names.kind}",
                        name,
                        [later.name],
                        at=entry.place,
                        path=entry.name,
                        details=[f"declared later, at {later.place}"],
                        todo=f"Move {later.key!r} above {entry.key!r}.",
                    )
                )
            elif self.document.is_complete:
                known = (other for other in names.known() if other != entry.name)
                self.report_unknown(names.kind, name, known, entry, "Declare it above.")
        for entry, attribute, name, names in self.links:
            _, project, inner = name.split(".", 2)
            other = self.workspace.imported(self.document, project)
            if other is None:
                details = [] if self.document.imports else [f"Import it first: `+: [{project}]`"]
                imports = self.document.imports
                error = UnknownName(
                    "imported project", project, imports, at=entry.place, path=entry.key, details=details
                )
                self.errors.append(error)
                continue
            table = other.mixins if names.kind == "mixin" else other.components
            found = table.lookup(inner)
            if found is not None:
                setattr(entry, attribute, found)
            elif other.is_complete:
                known = (f"+.{project}.{text}" for text in table.known())
                self.report_unknown(names.kind, name, known, entry, "Declare it there.")

    def report_unknown(self, kind: str, name: str, known: Iterable[str], entry: Entry, todo: str) -> None:
        near = len(self.errors) < _MAX_SUGGESTIONS
        self.errors.append(
            UnknownName(kind, name, known if near else (), at=entry.place, path=entry.name, todo=None if near else todo)
        )


def declared_imports(root: MappingNode, errors: list[MachinableError]) -> dict[str, tuple[str | None, Place]]:
    """Return source and place of the projects that a project file imports with `+`, by name.

    Args:
        root: The root of the file.
        errors: Collects errors.
    """
    todo = "Write `+: [name]` or `+: {name: source}`."

    def fail(message: str, given: Any, at: Place, path: str = "+") -> None:
        errors.append(MalformedText(message, at=at, path=path, given=described(given), todo=todo))

    value = root.get("+")
    pairs: list[tuple[Any, Any, Place]] = []
    if isinstance(value, MappingNode):
        pairs = [(name, source, value.place(name)) for name, source in value.items()]
    elif isinstance(value, SequenceNode):
        for index, item in enumerate(value):
            if isinstance(item, MappingNode):
                pairs += [(name, source, item.place(name)) for name, source in item.items()]
            else:
                pairs.append((item, None, value.place(index)))
    elif value is not None and value is not UNREADABLE:
        fail(
            f"`+` takes a list of names or a mapping of names and sources, not {described(value)}",
            value,
            root.place("+"),
        )
    imports = {}
    for written, given, place in pairs:
        name, source = unwrapped(written), unwrapped(given)
        if written is UNREADABLE:
            continue
        if type(name) is not str or not name.isidentifier():
            fail(f"an imported project is named by an identifier, not by {described(written)}", written, place)
        elif source is not None and type(source) is not str:
            fail(f"the source of {name!r} is not text but {described(given)}", given, place, f"+.{name}")
        else:
            imports[name] = source, place
    return imports


def _adopt_names(workspace: Workspace, errors: list[MachinableError]) -> None:
    """Give entries that refer to another one its module and canonical name, which that one must have first.

    Projects that import each other can declare cycles, which are reported and cut.
    """
    is_done: dict[int, bool] = {}  # by id of the entry; False while those that it refers to get their names

    def adopt(entry: Entry) -> None:
        is_done[id(entry)] = False
        for attribute in ("parent", "imported"):
            other: Entry | None = getattr(entry, attribute)
            if other is None or is_done.get(id(other)):
                continue
            if id(other) not in is_done:
                adopt(other)
                continue
            setattr(entry, attribute, None)
            errors.append(
                MalformedText(
                    "an entry is its own ancestor",
                    at=entry.place,
                    path=entry.key,
                    given=entry.key,
                    details=[f"through {other.key}   {other.place}"],
                    todo="Remove the parent of one of them.",
                )
            )
        if entry.imported is not None:
            entry.module = entry.imported.import_path
            entry.name = f"+.{entry.imported.project}.{entry.imported.name}"
        elif entry.key.startswith("^") and entry.parent is not None:
            if entry.parent.project == entry.project:
                entry.name, entry.module = entry.parent.name, entry.parent.module
            else:
                entry.name = entry.module = entry.parent.import_path
        is_done[id(entry)] = True

    for document in workspace.documents.values():
        for entry in (*document.mixins, *document.components):
            if id(entry) not in is_done:
                adopt(entry)


def _vendored(name: str) -> str:
    """Return the import path of a name: `+.lib.models.net` → `vendor.lib.models.net`."""
    return "vendor" + name[1:]
