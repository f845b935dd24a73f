"""`machinable migrate`: rewrite names of earlier versions in the components of a project."""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from difflib import unified_diff
from pathlib import Path
from typing import NamedTuple

from machinable.cli.output import message, replace_file
from machinable.component.base import Component
from machinable.display.terminal import echo
from machinable.former_names import COMPONENT, MODULE, STORE
from machinable.project import Project
from machinable.storage.code_snapshot import project_files

__all__ = ["Rest", "migrate_command", "rewrite"]

_EVENTS = frozenset(name for name in vars(Component) if name.startswith("on_"))
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")  # `splitlines` has more kinds of ends
_EXPRESSION = re.compile(r"(self(?:\.\w+)+)(\(.*\))?")  # what can replace a name as it is


class Rest(NamedTuple):
    """A former name that a person has to replace: its line and column, from 1, the name, and what replaces it."""

    line: int
    column: int
    name: str
    advice: str


class _Use(NamedTuple):
    """An attribute of `self`, or of its store, with a former name, and whether it is called."""

    node: ast.Attribute
    me: str
    name: str
    advice: str
    is_called: bool


def migrate_command(*, write: bool) -> None:
    """Show what changes in the files of the project, or change it, and list what is left."""
    project = Project().path
    changed = rest = 0
    for name in sorted(name for name in project_files(project) if name.endswith(".py")):
        path = os.path.join(project, name)
        if os.path.islink(path):  # its target is a file of this project, or not of this project
            continue
        content = Path(path).read_bytes()
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
            before = content.decode(encoding)
            after, left = rewrite(before)
        except (SyntaxError, ValueError, RecursionError) as error:
            message(f"{name}: not changed, because it cannot be read: {error}")
            continue
        if after != before:
            changed += 1
            lines = unified_diff(before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", lineterm="")
            echo("\n".join(lines))
            if write:
                replace_file(path, after.encode(encoding), "Make it writable.")
        for one in left:
            rest += 1
            message(f"{name}:{one.line}:{one.column}: {one.name} is to be replaced by hand: {one.advice}")
    done = "changed" if write else "would be changed; to change them: machinable migrate --write"
    message(f"{changed} file{'' if changed == 1 else 's'} {done}" if changed else "nothing to rewrite")
    if rest:
        message(f"{rest} name{'' if rest == 1 else 's'} to replace by hand")
    sys.stdout.flush()


def rewrite(text: str) -> tuple[str, list[Rest]]:
    """Return the text of a module with the names that it can take now, and the former names that are left.

    Raises:
        SyntaxError: It is not Python 3.
    """
    while True:  # `self.storage.save_data` takes two rounds
        tree = ast.parse(text)
        uses = list(_uses(tree))
        placed = [use for use in uses if _is_at_its_place(use, text)]
        edits = {use.node: new for use in placed if (new := _replacement(use)) is not None}
        if not edits:
            rest = [_rest(use.node, f"self.{use.name}", use.advice) for use in uses]
            return text, sorted(rest + [_rest(node, name, MODULE[name]) for node, name in _module_names(tree)])
        text = _replaced(text, edits)


def _is_at_its_place(use: _Use, text: str) -> bool:
    """Return whether the tree knows where an attribute is; before Python 3.12, it may not for one in an f-string."""
    found = ast.get_source_segment(text, use.node)
    return found is not None and re.sub(r"\s", "", found) == f"{use.me}.{use.name}"


def _replacement(use: _Use) -> str | None:
    found = _EXPRESSION.fullmatch(use.advice)
    if found is None or (use.is_called and not found[2]):
        return None
    return use.me + found[1].removeprefix("self")


def _replaced(text: str, edits: dict[ast.Attribute, str]) -> str:
    lines = [line.encode() for line in _LINE.findall(text)]  # columns of the tree are bytes
    for node, new in sorted(edits.items(), key=lambda item: (item[0].lineno, item[0].col_offset), reverse=True):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        first, last = node.lineno - 1, node.end_lineno - 1
        lines[first : last + 1] = [lines[first][: node.col_offset] + new.encode() + lines[last][node.end_col_offset :]]
    return b"".join(lines).decode()


def _rest(node: ast.expr | ast.stmt, name: str, advice: str) -> Rest:
    return Rest(node.lineno, node.col_offset + 1, name, f"use {advice}")


def _uses(tree: ast.Module) -> Iterator[_Use]:
    """Find former names in classes that are components or mixins; names that a class defines itself are its own."""
    known: set[str] = set()
    for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        methods = [node for node in cls.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        if not (_derives(cls, known) or _EVENTS & {method.name for method in methods}):
            continue
        known.add(cls.name)
        own = {method.name for method in methods} | _assigned(cls)
        for method in methods:
            if method.args.posonlyargs or method.args.args:
                me = [*method.args.posonlyargs, *method.args.args][0].arg
                yield from _uses_in(method, me, own)


def _derives(cls: ast.ClassDef, known: Iterable[str]) -> bool:
    bases = [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in cls.bases]
    return any(base.endswith(("Component", "Mixin")) or base in known for base in bases)


def _assigned(cls: ast.ClassDef) -> set[str]:
    """Return the attributes that a class assigns."""
    return {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(cls)
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store)
    }


def _uses_in(method: ast.AST, me: str, own: set[str]) -> Iterator[_Use]:
    called = {id(node.func) for node in ast.walk(method) if isinstance(node, ast.Call)}
    for node in ast.walk(method):
        if not isinstance(node, ast.Attribute):
            continue
        above = node.value
        if isinstance(above, ast.Name) and above.id == me and node.attr in COMPONENT and node.attr not in own:
            yield _Use(node, me, node.attr, COMPONENT[node.attr], id(node) in called)
        elif isinstance(above, ast.Attribute) and ast.unparse(above) == f"{me}.store" and node.attr in STORE:
            yield _Use(node, me, f"store.{node.attr}", STORE[node.attr], id(node) in called)


def _module_names(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Find names of the package that no longer exist."""
    names = {"machinable"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname for one in node.names if one.name == "machinable" and one.asname}
        elif isinstance(node, ast.ImportFrom) and node.module == "machinable":
            yield from ((node, one.name) for one in node.names if one.name in MODULE)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr not in MODULE:
            continue
        if isinstance(node.value, ast.Name) and node.value.id in names:
            yield node, node.attr
