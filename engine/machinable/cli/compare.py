"""`machinable compare` and `machinable diff`: executions and trials side by side, and everything that differs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from machinable.cli.arguments import Target, parse_target, parse_targets
from machinable.cli.config import MISSING, KeyChange, key_changes
from machinable.cli.output import message, write_json
from machinable.cli.stored import open_storage
from machinable.display.summary import side_by_side, side_table
from machinable.display.tables import Table, exact, printable, write_table
from machinable.results.diff import (
    Change,
    Matched,
    code_changes,
    code_facts_changes,
    compare,
    environment_changes,
    match,
    package_changes,
)
from machinable.serialization import canonical

if TYPE_CHECKING:
    from machinable.results.diff import Difference, FileChange
    from machinable.results.trial import Trial

__all__ = ["compare_command", "diff_command"]

MAX_FILE_LINES = 60  # of one file that are shown; --json has all
MAX_LINES = 20  # of one section that are shown

Pair = tuple["Trial", "Trial"]


def compare_command(identifiers: tuple[str, ...], storage: str | None, fields: tuple[str, ...], as_json: bool) -> None:
    """Show executions or trials side by side."""
    with open_storage(storage) as opened:
        targets = parse_targets(opened, identifiers)
        sides = [one.side for one in targets]
        lines = side_by_side(sides, fields)
        if as_json:
            write_json({"storage": opened.url, "groups": [line.as_data() for line in lines]})
            return
        write_table(side_table(lines), sys.stdout)
        _warn_about_code(targets)


def _warn_about_code(targets: Sequence[Target]) -> None:
    """Report executions whose code or packages differ from the first one's: their numbers may not be comparable."""
    first, *others = targets
    for target in others:
        data = first.execution.data, target.execution.data
        checks = (("code", code_facts_changes), ("packages", package_changes))
        if changed := [what for what, changes in checks if changes(*data)]:
            message(
                f"{target} ran with other {' and other '.join(changed)} than {first}: machinable diff {first} {target}"
            )


# --- diff


def diff_command(first: str, second: str, storage: str | None, as_json: bool) -> None:
    """Show everything in which two executions or trials differ."""
    with open_storage(storage) as opened:
        sides = parse_target(opened, first), parse_target(opened, second)
        found = _compare(*sides)
        if as_json:
            write_json({"storage": opened.url, "first": str(sides[0]), "second": str(sides[1])} | found.as_data())
        else:
            _show_comparison(str(sides[0]), str(sides[1]), found)


class _Comparison(NamedTuple):
    """Everything in which two executions or trials differ."""

    facts: list[Change]
    code: list[Change]
    files: list[FileChange]
    packages: list[Change]
    config: list[tuple[list[KeyChange], list[Pair]]]
    seeds: list[Pair]
    results: list[tuple[Pair, list[Difference]]]
    only_first: list[Trial]
    only_second: list[Trial]
    same: int  # pairs of trials with the same results

    def as_data(self) -> dict[str, Any]:
        """Return the differences for programs."""
        return {
            "facts": [change.as_data() for change in self.facts],
            "code": [change.as_data() for change in self.code],
            "files": [change.as_data() for change in self.files],
            "packages": [change.as_data() for change in self.packages],
            "config": [
                {"trials": [_names(pair) for pair in pairs], "changes": [change.as_data() for change in changes]}
                for changes, pairs in self.config
            ],
            "seeds": [{"trials": _names(pair), "before": pair[0].seed, "after": pair[1].seed} for pair in self.seeds],
            "results": [
                {"trials": _names(pair), "differences": [one.as_data() for one in found]}
                for pair, found in self.results
            ],
            "only_first": [trial.uid for trial in self.only_first],
            "only_second": [trial.uid for trial in self.only_second],
            "same_results": self.same,
        }


def _names(pair: Pair) -> list[str]:
    return [trial.uid for trial in pair]


def _compare(one: Target, other: Target) -> _Comparison:
    before, after = one.execution, other.execution
    is_same = str(before) == str(after)
    facts = [] if is_same else environment_changes(before.data, after.data)
    own = [("name", before.name, after.name), ("seed", before.seed, after.seed)]
    facts = [Change(name, a, b) for name, a, b in own if a != b] + facts
    archives = before.code, after.code
    both = archives[0] is not None and archives[1] is not None
    if one.trial is not None and other.trial is not None:
        matched = Matched([(one.trial, other.trial)], [], [])
    else:
        matched = match(one.trials, other.trials)
    results = [(pair, compare(*pair)) for pair in matched.pairs if pair[0] is not pair[1]]
    return _Comparison(
        facts=facts,
        code=[] if is_same else code_facts_changes(before.data, after.data),
        files=code_changes(archives[0] or b"", archives[1] or b"") if both and not is_same else [],
        packages=[] if is_same else package_changes(before.data, after.data),
        config=_config_changes(matched.pairs),
        seeds=[pair for pair in matched.pairs if pair[0].seed != pair[1].seed],
        results=[(pair, found) for pair, found in results if found],
        only_first=matched.only_one,
        only_second=matched.only_other,
        same=sum(not found for _, found in results),
    )


def _config_changes(pairs: Sequence[Pair]) -> list[tuple[list[KeyChange], list[Pair]]]:
    """Return the changes of components and configurations, with all pairs that differ in the same way."""
    groups: dict[str, tuple[list[KeyChange], list[Pair]]] = {}
    for pair in pairs:
        changes = key_changes(*map(_settings, pair))
        if changes:
            key = canonical([pair[0].component, [change.as_data() for change in changes]])
            groups.setdefault(key, (changes, []))[1].append(pair)
    return list(groups.values())


def _settings(trial: Trial) -> Mapping[str, Any]:
    specs: Any = trial.planned("children")
    children = {
        f"child {index}": {"component": child["component"], "config": child["config"]}
        for index, child in enumerate(specs or ())
    }
    return {"component": trial.component, **trial.config.to_dict(evaluate=False, hidden=False), **children}


# --- for people


def _show_comparison(first: str, second: str, found: _Comparison) -> None:
    write = _Sections(first, second)
    write.table("execution", ((change.name, change.before, change.after) for change in found.facts))
    write.table("code", ((change.name, _short(change.before), _short(change.after)) for change in found.code))
    for change in found.files:
        _show_file(change)
    write.table("packages", ((change.name, change.before, change.after) for change in found.packages))
    for changes, pairs in found.config:
        write.table(
            f"configuration of {_pair_text(pairs)}",
            ((change.key, *map(_side, (change.before, change.after))) for change in changes),
        )
    if found.seeds and not any(change.name == "seed" for change in found.facts):
        write.table("seeds", ((_pair_text([pair]), pair[0].seed, pair[1].seed) for pair in found.seeds))
    for trials, where in ((found.only_first, first), (found.only_second, second)):
        if trials:
            write.heading(f"only in {where}")
            _limited((f"  {trial.component} {trial.uid}" for trial in trials), len(trials))
    if found.results:
        write.heading(f"results of {len(found.results)} of {len(found.results) + found.same} trials")
        lines = [line for pair, several in found.results for line in _result_lines(pair, several)]
        _limited(iter(lines), len(lines))
    if not write.has_written and not found.files:
        print(f"{first} and {second} do not differ")


def _short(fact: Any) -> Any:
    """Return the beginning of a commit or a digest, which is enough to recognize it."""
    return fact[:18] if isinstance(fact, str) and (fact.startswith("sha256:") or len(fact) == 40) else fact


def _result_lines(pair: Pair, found: list[Difference]) -> list[str]:
    return [f"  {_pair_text([pair])}", *(f"    {one}" for one in found)]


def _limited(lines: Iterable[str], total: int, limit: int = MAX_LINES) -> None:
    print("\n".join(islice(lines, limit)))
    if total > limit:
        print(f"  … and {total - limit} more lines; --json has all")


def _pair_text(pairs: Sequence[Pair]) -> str:
    one, other = pairs[0]
    if len(pairs) > 1:
        return f"{one.component}, {len(pairs)} trials"
    return f"{one.component} {one.uid}" + (f" → {other.uid}" if other.uid != one.uid else "")


def _side(value: Any) -> Any:
    return None if value is MISSING else "null" if value is None else value


class _Sections:
    """Write sections with a blank line between them."""

    def __init__(self, first: str, second: str) -> None:
        self._sides = [first, second]
        self.has_written = False

    def heading(self, text: str) -> None:
        """Begin a section."""
        if self.has_written:
            print()
        print(text)
        self.has_written = True

    def table(self, heading: str, rows: Iterable[tuple[str, Any, Any]]) -> None:
        """Write a table, if there are rows: what differs, and its two sides."""
        cells = [[name, *("" if side is None else exact(side) for side in sides)] for name, *sides in rows]
        if cells:
            if self.has_written:
                print()
            self.has_written = True
            write_table(Table([heading, *self._sides], cells), sys.stdout)


def _show_file(change: FileChange) -> None:
    print(f"\n{change.how} {printable(change.name)}" + ("" if change.lines is not None else " (not text)"))
    if change.how == "changed" and change.lines is not None:
        tabs: Callable[[str], str] = str.expandtabs
        shown = [f"  {printable(tabs(line))}".rstrip() for line in change.lines[2:]]  # the first two repeat the name
        _limited(shown, len(shown), MAX_FILE_LINES)
