"""Load the declarations of a project and of the projects that it imports, and link entries to their parents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from machinable.config.declaration import EntryKey, is_reserved, parse_body, parse_key
from machinable.config.includes import ProjectFiles, ProjectReader
from machinable.config.nodes import UNREADABLE, MappingNode, ProjectScope, SequenceNode, described, unwrapped
from machinable.config.registry import Entry, Registry
from machinable.errors import MachinableError, MalformedText, MissingFile, Place, SeveralErrors, UnknownName

__all__ = ["EXECUTION_KEYS", "Document", "Workspace", "load"]

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
)
_MAX_SUGGESTIONS = 20  # errors of one project that suggest near names, because searching them is slow
_SECTION = re.compile(r"components(?::([^\W\d]\w*)(?:=([^\W\d]\w*))?)?")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Document:
    """The declarations of one machinable.yaml."""

    def __init__(self, scope: ProjectScope, file: str) -> None:
        self.scope = scope
        self.file = file
        self.name: str | None = None
        self.evaluate: bool | None = None
        self.execution: Mapping[str, Any] = {}
        self.strict = False  # whether an override of an unknown key is an error
        self.imports: dict[str, tuple[str | None, Place]] = {}
        self.complete = True  # False if a part that may declare names could not be read
        self.components = Registry("component")
        self.mixins = Registry("mixin")


class Workspace:
    """A project with its imports, read and linked. It is not changed after loading."""

    def __init__(self, library: ProjectReader) -> None:
        self.library = library
        self.documents: dict[str, Document] = {}

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
    def strict(self) -> bool:
        """Whether an override of an unknown key is an error."""
        return self.main.strict

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
        ConfigurationError: The project has errors; several are raised as one.
    """
    library = ProjectReader(files, environment)
    workspace = Workspace(library)
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
            document.complete = False
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
            root = library.read(directory + FILE, scope, kind="project file")
        except MissingFile:
            if not project:
                raise
            continue  # a directory without declarations contributes only code
        except MachinableError as error:
            document.complete = False
            errors.append(error)
            continue
        document.complete = project not in library.incomplete
        scope.root = root
        parser = _Parser(workspace, document, errors)
        parser.read_root(root)
        parsers.append(parser)
        waiting += [(name, place) for name, (_, place) in document.imports.items()]
    for parser in parsers:
        parser.link()
    _adopt_names(_ancestors_first(workspace, errors))
    for document in workspace.documents.values():
        for names in (document.mixins, document.components):
            names.rename({old: entry.name for old, entry in names.entries.items() if old != entry.name})
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

    def fail(self, message: str, at: Place | None, **facts: Any) -> None:
        self.errors.append(MalformedText(message, at=at, **facts))

    def read_root(self, root: Any) -> None:
        if root is None or root is UNREADABLE:
            return
        if not isinstance(root, MappingNode):
            self.fail(
                f"{self.document.file}: a project file is a mapping, not {described(root)}",
                None,
                todo="Begin with `components:`.",
            )
            return
        sections: dict[str, list[tuple[Any, MappingNode]]] = {}
        for key, value in root.items():
            if type(key) is not str:
                self.report_key(key, root)
            elif value is UNREADABLE:
                continue
            elif key == "mixins" or _SECTION.fullmatch(key):
                sections.setdefault(key, []).append((value, root))
            elif key.startswith("components"):
                self.fail(
                    f"{key!r} is not a valid section name",
                    root.place(key),
                    given=key,
                    todo="Sections are components, components:<group> and components:<group>=<alias>, "
                    "with identifiers as names.",
                )
            elif key == "name":
                self.read_name(value, root)
            elif key == "+":
                self.read_imports(value, root)
            elif key == "_evaluate_":
                value = unwrapped(value)
                if type(value) is not bool:
                    self.fail(
                        f"`_evaluate_` takes true or false, not {described(root[key])}",
                        root.place(key),
                        path=key,
                        given=described(root[key]),
                        todo="Write `_evaluate_: false`, or leave it out.",
                    )
                self.document.evaluate = value is not False
            elif key == "execution":
                self.read_execution(value, root)
            elif is_reserved(key):
                self.errors.append(UnknownName("reserved key", key, ["_evaluate_"], at=root.place(key)))
        self.read_includes(root.get("includes"), root, sections)
        for names, kind in ((self.document.mixins, "mixins"), (self.document.components, "components")):
            for key, parts in sections.items():
                match = _SECTION.fullmatch(key)
                if (match is None) != (kind == "mixins"):
                    continue
                group = (match[1] if match else None) or ""
                if match and match[2]:
                    names.add_group(group, match[2])
                for value, owner in parts:
                    for entry_key, body, section in self.items(value, owner.place(key)):
                        self.read_entry(entry_key, body, section, group, names)
        for names in (self.document.mixins, self.document.components):
            self.errors.extend(names.clashes())

    def report_key(self, key: Any, section: MappingNode, path: str | None = None) -> None:
        typed = section.source.key_text(section.marks[key])
        self.fail(
            f"the key '{typed}' is not text",
            section.place(key),
            path=path,
            given=typed,
            todo=f'Write it in quotes: "{typed}".',
        )

    def read_name(self, value: Any, root: MappingNode) -> None:
        name = unwrapped(value)
        if type(name) is not str or not _DOTTED.fullmatch(name):
            self.fail(
                f"the project's name is not a dotted identifier but {described(value)}",
                root.place("name"),
                path="name",
                given=described(value),
                todo="Write letters, digits, underscores and dots.",
            )
        else:
            self.document.name = name

    def read_imports(self, value: Any, root: MappingNode) -> None:
        at = root.place("+")
        pairs: list[tuple[Any, Any, Place]] = []
        if isinstance(value, MappingNode):
            pairs = [(name, source, value.place(name)) for name, source in value.items()]
        elif isinstance(value, SequenceNode):
            for index, item in enumerate(value):
                if isinstance(item, MappingNode):
                    pairs += [(name, source, item.place(name)) for name, source in item.items()]
                else:
                    pairs.append((item, None, value.place(index)))
        elif value is not None:
            self.fail(
                f"`+` takes a list of names or a mapping of names and sources, not {described(value)}",
                at,
                path="+",
                given=described(value),
                todo="Write `+: [name]` or `+: {name: source}`.",
            )
        for written, source, place in pairs:
            name, source = unwrapped(written), unwrapped(source)
            if written is UNREADABLE:
                continue
            if type(name) is not str or not name.isidentifier():
                self.fail(
                    f"an imported project is named by an identifier, not by {described(written)}",
                    place,
                    path="+",
                    given=described(written),
                    todo="Write `+: [name]` or `+: {name: source}`.",
                )
            elif source is not None and type(source) is not str:
                self.fail(
                    f"the source of {name!r} is not text but {described(source)}",
                    place,
                    path=f"+.{name}",
                    given=described(source),
                    todo="Write a directory or git+URL.",
                )
            else:
                self.document.imports[name] = (source, place)

    def read_execution(self, value: Any, root: MappingNode) -> None:
        if value is None:
            return
        if not isinstance(value, MappingNode):
            self.fail(
                f"`execution` takes a mapping, not {described(value)}",
                root.place("execution"),
                path="execution",
                given=described(value),
                todo=f"Its keys are {', '.join(EXECUTION_KEYS)}.",
            )
            return
        for key in value:
            if key not in EXECUTION_KEYS:
                self.errors.append(UnknownName("setting", key, EXECUTION_KEYS, at=value.place(key), path="execution"))
        strict = unwrapped(value.get("strict", False))
        if type(strict) is not bool and value["strict"] is not UNREADABLE:
            self.fail(
                f"`strict` takes true or false, not {described(value['strict'])}",
                value.place("strict"),
                path="execution",
                given=described(value["strict"]),
                todo="Write `strict: true`.",
            )
        self.document.execution = value
        self.document.strict = strict is True

    def read_includes(self, value: Any, root: MappingNode, sections: dict[str, list[tuple[Any, MappingNode]]]) -> None:
        if value is None or value is UNREADABLE:
            return
        todo = "Write `includes: {name: {components: …}}`, or a file in place of the inner mapping: `$/more.yaml`."
        if not isinstance(value, MappingNode):
            self.fail(
                f"`includes` takes a mapping of names and mappings, not {described(value)}",
                root.place("includes"),
                path="includes",
                given=described(value),
                todo=todo,
            )
            return
        for name, inner in value.items():
            if inner is UNREADABLE:
                continue
            if not isinstance(inner, MappingNode):
                self.fail(
                    f"the include {name!r} is not a mapping but {described(inner)}",
                    value.place(name),
                    path="includes",
                    given=described(inner),
                    todo=todo,
                )
                continue
            for key, part in inner.items():
                if type(key) is str and (key == "mixins" or _SECTION.fullmatch(key)):
                    sections.setdefault(key, []).append((part, inner))

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
                self.fail(
                    f"an entry is a mapping `name: configuration`, not {described(value)}",
                    at,
                    given=described(value),
                    todo="Write `- name:`, with the configuration below or nothing.",
                )

    def read_entry(self, key: Any, value: Any, section: MappingNode, group: str, names: Registry) -> None:
        if type(key) is not str:
            self.report_key(key, section)
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
            self.fail(
                f"the entry {key!r} is not a mapping but {described(value)}",
                section.place(key),
                path=key,
                given=described(value),
                todo="Write its configuration below it, or nothing.",
            )
            return
        body = parse_body(value if value is not None else MappingNode(section.source), key, self.errors)
        if names.kind == "mixin" and "_mixins_" in body.reserved:
            self.fail(
                "a mixin cannot have mixins",
                body.place("_mixins_"),
                path=key,
                todo="List both mixins where they are used, or inherit from the other with `^`.",
            )
        parent, missing = self.parent(parsed, group, names)
        name, module, entry_group = self.naming(parsed, group, parent)
        entry = Entry(key, name, module, entry_group, parsed.alias, body, section.source, section.marks[key])
        if isinstance(parent, Entry):
            entry.parent = parent
            if not parsed.name and not parsed.alias:
                entry.alias = parent.alias
        elif parent is not None:
            self.links.append((entry, "parent", parent, names))
        if missing:
            self.missing_parents.append((entry, missing, names))
        if parsed.name and parsed.name.startswith("+."):
            self.links.append((entry, "imported", parsed.name, names))
        if names.kind == "mixin":
            called = [entry.name, entry.short.removeprefix("mixins."), entry.alias or ""]
            if not any(text.isidentifier() for text in called):
                self.fail(
                    f"the mixin {key!r} has no name that is an identifier",
                    entry.place,
                    given=key,
                    todo="Give it an alias: name=alias.",
                )
        clash = names.add(entry)
        if clash is not None:
            self.errors.append(clash)

    @staticmethod
    def parent(key: EntryKey, group: str, names: Registry) -> tuple[Entry | str | None, str | None]:
        """Return the parent (or its name, if it is in another project), and the name of a parent that is missing."""
        if not key.parent:
            return None, None
        if key.parent.startswith("+."):
            return key.parent, None
        found = names.lookup(key.parent, group)
        return found, None if found else key.parent

    @staticmethod
    def naming(key: EntryKey, group: str, parent: Entry | str | None) -> tuple[str, str, str]:
        """Return canonical name, module and group of an entry."""
        if key.name is None:
            if isinstance(parent, Entry):
                return parent.name, parent.module, parent.group
            if isinstance(parent, str):
                return (module := _vendored(parent)), module, group
            return key.parent or "", key.parent or "", group
        if key.name.startswith("+."):
            return key.name, _vendored(key.name), group
        name = key.name if not group or key.name.startswith(f"{group}.") else f"{group}.{key.name}"
        return name, name, group

    def link(self) -> None:
        """Link entries to parents and entries of other projects, after all projects are read."""
        for entry, name, names in self.missing_parents:
            later = names.lookup(name, entry.group)
            if later is not None and later is not entry:
                self.errors.append(
                    UnknownName(
                        f"{names.kind} (above)",
                        name,
                        [later.name],
                        at=entry.place,
                        path=entry.name,
                        details=[f"declared later, at {later.place}"],
                        todo=f"Move {later.key!r} above {entry.key!r}.",
                    )
                )
            elif self.document.complete:
                near = len(self.errors) < _MAX_SUGGESTIONS
                known = [other for other in names.known() if other != entry.name] if near else []
                self.errors.append(
                    UnknownName(
                        names.kind,
                        name,
                        known,
                        at=entry.place,
                        path=entry.name,
                        todo=None if near else "Declare it above.",
                    )
                )
        for entry, attribute, name, names in self.links:
            _, project, inner = name.split(".", 2)
            other = self.workspace.imported(self.document, project)
            if other is None:
                self.errors.append(
                    UnknownName(
                        "imported project",
                        project,
                        self.document.imports,
                        at=entry.place,
                        path=entry.key,
                        details=[] if self.document.imports else [f"Import it first: `+: [{project}]`"],
                    )
                )
                continue
            table = other.mixins if names.kind == "mixin" else other.components
            found = table.lookup(inner)
            if found is not None:
                setattr(entry, attribute, found)
            elif other.complete:
                near = len(self.errors) < _MAX_SUGGESTIONS
                known = [f"+.{project}.{text}" for text in table.known()] if near else []
                self.errors.append(
                    UnknownName(
                        names.kind,
                        name,
                        known,
                        at=entry.place,
                        path=entry.key,
                        todo=None if near else "Declare it there.",
                    )
                )


def _ancestors_first(workspace: Workspace, errors: list[MachinableError]) -> list[Entry]:
    """Return all entries, each after the entries it inherits from.

    Projects that import each other can declare cycles, which are reported and cut.
    """
    order: list[Entry] = []
    done: set[int] = set()
    inside: set[int] = set()
    entries = [entry for document in workspace.documents.values() for entry in (*document.mixins, *document.components)]
    waiting = [(entry, False) for entry in reversed(entries)]
    while waiting:
        entry, complete = waiting.pop()
        if complete:
            inside.discard(id(entry))
            done.add(id(entry))
            order.append(entry)
            continue
        if id(entry) in done:
            continue
        inside.add(id(entry))
        waiting.append((entry, True))
        for attribute in ("parent", "imported"):
            other: Entry | None = getattr(entry, attribute)
            if other is None:
                continue
            if id(other) in inside:
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
            else:
                waiting.append((other, False))
    return order


def _adopt_names(entries: Iterable[Entry]) -> None:
    """Give entries that refer to another one its module and canonical name."""
    for entry in entries:
        if entry.imported is not None:
            entry.module = entry.imported.import_path
            entry.name = f"+.{entry.imported.project}.{entry.imported.name}"
        elif entry.key.startswith("^") and entry.parent is not None:
            if entry.parent.project == entry.project:
                entry.name, entry.module = entry.parent.name, entry.parent.module
            else:
                entry.name = entry.module = entry.parent.import_path


def _vendored(name: str) -> str:
    """Return the import path of a name: `+.lib.models.net` → `vendor.lib.models.net`."""
    return "vendor" + name[1:]
