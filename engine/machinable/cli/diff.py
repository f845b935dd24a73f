"""`machinable diff`: everything in which two executions or trials differ, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from machinable.cli.output import json_option, storage_option, write_json

if TYPE_CHECKING:
    from machinable.cli.differences import Change as KeyChange
    from machinable.cli.targets import Chosen
    from machinable.results.diff import Change, Difference, FileChange
    from machinable.results.trial import Trial

__all__ = ["command"]

LINES = 60  # of one file that are shown; --json has all
SHOWN = 20  # differences of results that are shown

Pair = tuple["Trial", "Trial"]


@click.command("diff")
@click.argument("first", metavar="A[/TRIAL]")
@click.argument("second", metavar="B[/TRIAL]")
@storage_option
@json_option
def command(first: str, second: str, storage: str | None, as_json: bool) -> None:
    """Show in which settings, code, packages, host, seeds and results A and B differ.

    Trials are compared with their counterparts: those of the same uid, else those that were asked for alike.
    """
    from machinable.cli.reading import open_storage
    from machinable.cli.targets import chosen

    with open_storage(storage) as opened:
        sides = chosen(opened, first), chosen(opened, second)
        found = _compared(*sides)
        if as_json:
            write_json({"storage": opened.url, "first": str(sides[0]), "second": str(sides[1])} | found.as_data())
        else:
            _show(str(sides[0]), str(sides[1]), found)


class _Found(NamedTuple):
    """What differs, and nothing else."""

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
        """All of it for programs."""
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


def _compared(one: Chosen, other: Chosen) -> _Found:
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
    return _Found(
        facts=facts,
        code=[] if is_same else code_facts_changes(before.data, after.data),
        files=code_changes(archives[0] or b"", archives[1] or b"") if both and not is_same else [],
        packages=[] if is_same else package_changes(before.data, after.data),
        config=_config(matched.pairs),
        seeds=[pair for pair in matched.pairs if pair[0].seed != pair[1].seed],
        results=[(pair, found) for pair, found in results if found],
        only_first=matched.only_one,
        only_second=matched.only_other,
        same=sum(not found for _, found in results),
    )


def _config(pairs: Sequence[Pair]) -> list[tuple[list[KeyChange], list[Pair]]]:
    """What differs in configurations, component and version; pairs that differ alike stand together."""
    from machinable.cli.differences import differences
    from machinable.serialization import canonical

    groups: dict[str, tuple[list[KeyChange], list[Pair]]] = {}
    for pair in pairs:
        changes = differences(*map(_settings, pair))
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


def _show(first: str, second: str, found: _Found) -> None:
    write = _Sections(first, second)
    write.table("execution", ((change.name, change.before, change.after) for change in found.facts))
    write.table("code", ((change.name, _short(change.before), _short(change.after)) for change in found.code))
    for change in found.files:
        _show_file(change)
    write.table("packages", ((change.name, change.before, change.after) for change in found.packages))
    for changes, pairs in found.config:
        write.table(f"configuration of {_called(pairs)}", ((c.key, *(_side(s) for s in c.sides)) for c in changes))
    if found.seeds and not any(change.name == "seed" for change in found.facts):
        write.table("seeds", ((_called([pair]), pair[0].seed, pair[1].seed) for pair in found.seeds))
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
    """The beginning of a commit or a digest, which is enough to tell it from others."""
    return fact[:18] if isinstance(fact, str) and (fact.startswith("sha256:") or len(fact) == 40) else fact


def _result_lines(pair: Pair, found: list[Difference]) -> list[str]:
    return [f"  {_called([pair])}", *(f"    {one}" for one in found)]


def _limited(lines: Iterable[str], total: int, limit: int = SHOWN) -> None:
    print("\n".join(islice(lines, limit)))
    if total > limit:
        print(f"  … and {total - limit} more lines; --json has all")


def _called(pairs: Sequence[Pair]) -> str:
    one, other = pairs[0]
    if len(pairs) > 1:
        return f"{one.component}, {len(pairs)} trials"
    return f"{one.component} {one.uid}" + (f" → {other.uid}" if other.uid != one.uid else "")


def _side(side: tuple[Any, bool]) -> Any:
    value, is_there = side
    return None if not is_there else "null" if value is None else value


class _Sections:
    """Writes sections with a blank line between them."""

    def __init__(self, first: str, second: str) -> None:
        self._sides = [first, second]
        self.has_written = False

    def heading(self, text: str) -> None:
        if self.has_written:
            print()
        print(text)
        self.has_written = True

    def table(self, heading: str, rows: Iterable[tuple[str, Any, Any]]) -> None:
        """A table, if there are rows: what differs, and its two sides."""
        from machinable.display.tables import Table, exact, write_table

        cells = [[name, *("" if side is None else exact(side) for side in sides)] for name, *sides in rows]
        if cells:
            if self.has_written:
                print()
            self.has_written = True
            write_table(Table([heading, *self._sides], cells), sys.stdout)


def _show_file(change: FileChange) -> None:
    from machinable.display.tables import printable

    print(
        f"\n{change.how} {printable(change.name)}" + ("" if change.lines is not None else " (no text that is compared)")
    )
    if change.how == "changed" and change.lines is not None:
        tabs: Callable[[str], str] = str.expandtabs
        shown = [f"  {printable(tabs(line))}".rstrip() for line in change.lines[2:]]  # the first two say the name again
        _limited(shown, len(shown), LINES)
