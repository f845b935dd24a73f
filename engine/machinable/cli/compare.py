"""`machinable compare` and `machinable diff`: executions and trials side by side, and everything that differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from machinable.cli.config import KeyChange, key_changes
from machinable.cli.output import message, write_json
from machinable.cli.targets import open_storage, parse_target, parse_targets
from machinable.display.summary import side_by_side, side_table
from machinable.display.tables import Table, counted, exact, printable, write_table
from machinable.display.terminal import echo
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
    from machinable.display.summary import Side
    from machinable.results.diff import Difference, FileChange
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["compare_command", "diff_command"]

MAX_FILE_LINES = 60  # of one file that are shown; --json has all
MAX_LINES = 20  # of one section that are shown

Pair = tuple["Trial", "Trial"]


def compare_command(
    identifiers: tuple[str, ...],
    storage: str | tuple[str, ...] | None,
    fields: tuple[str, ...],
    wide: bool,
    as_json: bool,
) -> None:
    """Show executions or trials side by side."""
    with open_storage(storage) as opened:
        sides = parse_targets(opened, identifiers)
        lines = side_by_side(sides, fields)
        if as_json:
            write_json({"storage": opened.url, "groups": [line.as_data() for line in lines]})
            return
        write_table(side_table(lines), wide=wide)
        _warn_about_code(sides)


def _warn_about_code(sides: Sequence[Side]) -> None:
    """Report executions whose code or packages differ from the first one's: their numbers may be incomparable."""
    first, *others = sides
    for target in others:
        data = first.execution.data, target.execution.data
        checks = (("code", code_facts_changes), ("packages", package_changes))
        if changed := [what for what, changes in checks if changes(*data)]:
            message(
                f"{target} ran with different {' and '.join(changed)} from {first}: machinable diff {first} {target}"
            )


# --- diff


def diff_command(first: str, second: str, storage: str | None, as_json: bool) -> None:
    """Show everything in which two executions or trials differ."""
    with open_storage(storage) as opened:
        sides = parse_target(opened, first), parse_target(opened, second)
        found = _compare(*sides)
        if as_json:
            write_json({"storage": opened.url, "first": str(sides[0]), "second": str(sides[1])} | found.as_data())
            return
        sections = list(filter(None, _sections(str(sides[0]), str(sides[1]), found)))
        for number, section in enumerate(sections or [f"{sides[0]} and {sides[1]} do not differ"]):
            if number:
                echo()
            if isinstance(section, Table):
                write_table(section)
            else:
                echo(section)


class _Comparison(NamedTuple):
    """Everything in which two executions or trials differ."""

    facts: list[Change]
    code: list[Change]
    files: list[FileChange]
    packages: list[Change]
    config: list[tuple[list[KeyChange], list[Pair]]]
    seeds: list[Pair]
    results: list[tuple[Pair, list[Difference]]]
    resumed: list[tuple[str, list[FileChange]]]  # executions that were resumed with other code, each time
    only_first: list[Trial]
    only_second: list[Trial]
    same: int  # pairs of trials with the same results

    def as_data(self) -> dict[str, Any]:
        """Return the differences for programs."""
        changes = ("facts", "code", "files", "packages")
        return {part: [change.as_data() for change in getattr(self, part)] for part in changes} | {
            "config": [
                {"trials": [_uids(pair) for pair in pairs], "changes": [change.as_data() for change in changes]}
                for changes, pairs in self.config
            ],
            "seeds": [{"trials": _uids(pair), "before": pair[0].seed, "after": pair[1].seed} for pair in self.seeds],
            "results": [
                {"trials": _uids(pair), "differences": [one.as_data() for one in found]} for pair, found in self.results
            ],
            "resumed": [
                {"execution": name, "files": [change.as_data() for change in files]} for name, files in self.resumed
            ],
            "only_first": _uids(self.only_first),
            "only_second": _uids(self.only_second),
            "same_results": self.same,
        }


def _uids(trials: Iterable[Trial]) -> list[str]:
    return [trial.uid for trial in trials]


def _compare(one: Side, other: Side) -> _Comparison:
    before, after = one.execution, other.execution
    is_same = str(before) == str(after)
    facts = [Change("name", before.name, after.name), Change("seed", before.seed, after.seed)]
    data = before.data, after.data
    archives = before.code, after.code
    if one.trial is not None and other.trial is not None:
        matched = Matched([(one.trial, other.trial)], [], [])
    else:
        matched = match(one.trials, other.trials)
    results = [(pair, compare(*pair)) for pair in matched.pairs if pair[0] is not pair[1]]
    return _Comparison(
        facts=[] if is_same else [c for c in facts if c.before != c.after] + environment_changes(*data),
        code=[] if is_same else code_facts_changes(*data),
        files=[] if is_same or None in archives else code_changes(archives[0] or b"", archives[1] or b""),
        packages=[] if is_same else package_changes(*data),
        config=_config_changes(matched.pairs),
        seeds=[pair for pair in matched.pairs if pair[0].seed != pair[1].seed],
        results=[(pair, found) for pair, found in results if found],
        resumed=[change for execution in ([before] if is_same else [before, after]) for change in _resumed(execution)],
        only_first=matched.only_one,
        only_second=matched.only_other,
        same=sum(not found for _, found in results),
    )


def _resumed(execution: Execution) -> Iterator[tuple[str, list[FileChange]]]:
    """Yield the changes of the code of an execution, each time that it was resumed with other code."""
    codes = [execution.code, *execution.later_code]
    for one, other in pairwise(codes):
        if one is not None and other is not None:
            yield str(execution), code_changes(one, other)


def _config_changes(pairs: Sequence[Pair]) -> list[tuple[list[KeyChange], list[Pair]]]:
    """Return the changes of components and configurations, with all pairs that differ in the same way."""
    groups: dict[str, tuple[list[KeyChange], list[Pair]]] = {}
    for pair in pairs:
        if changes := key_changes(*map(_settings, pair)):
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


def _sections(first: str, second: str, found: _Comparison) -> Iterator[Table | str | None]:
    """Yield the table or the text of each section; nothing where nothing differs."""

    def table(heading: str, rows: Iterable[Sequence[Any]]) -> Table | None:
        cells = [[name, *("" if side is None else exact(side) for side in sides)] for name, *sides in rows]
        return Table([heading, first, second], cells) if cells else None

    yield table("execution", ((change.name, change.before, change.after) for change in found.facts))
    yield table("code", ((change.name, _short(change.before), _short(change.after)) for change in found.code))
    for change in found.files:
        yield "\n".join(_file_lines(change))
    for name, files in found.resumed:
        yield f"{name} was resumed with other code"
        for change in files:
            yield "\n".join(_file_lines(change))
    yield table("packages", ((change.name, change.before, change.after) for change in found.packages))
    for changes, pairs in found.config:
        yield table(f"configuration of {_pair_text(pairs)}", ((change.key, *change.cells) for change in changes))
    if not any(change.name == "seed" for change in found.facts):
        yield table("seeds", ((_pair_text([pair]), pair[0].seed, pair[1].seed) for pair in found.seeds))
    for trials, where in ((found.only_first, first), (found.only_second, second)):
        if trials:
            listed = _limited([f"  {trial.component} {trial.uid}" for trial in trials])
            yield "\n".join([f"only in {where}", *listed])
    if found.results:
        lines = []
        for pair, differences in found.results:
            lines += [f"  {_pair_text([pair])}", *(f"    {one}" for one in differences)]
        total = len(found.results) + found.same
        yield "\n".join([f"results of {len(found.results)} of {counted(total, 'trial')}", *_limited(lines)])


def _short(fact: Any) -> Any:
    """Return the beginning of a commit or a digest, which is enough to recognize it."""
    return fact[:18] if isinstance(fact, str) and (fact.startswith("sha256:") or len(fact) == 40) else fact


def _limited(lines: list[str], limit: int = MAX_LINES) -> list[str]:
    more = [f"  … and {len(lines) - limit} more lines; --json has all"] if len(lines) > limit else []
    return lines[:limit] + more


def _pair_text(pairs: Sequence[Pair]) -> str:
    one, other = pairs[0]
    if len(pairs) > 1:
        return f"{one.component}, {len(pairs)} trials"
    return f"{one.component} {one.uid}" + (f" → {other.uid}" if other.uid != one.uid else "")


def _file_lines(change: FileChange) -> list[str]:
    heading = f"{change.how} {printable(change.name)}" + ("" if change.lines is not None else " (not text)")
    if change.how != "changed" or change.lines is None:
        return [heading]
    own = change.lines[2:]  # the first two repeat the name
    return [heading, *_limited([f"  {printable(line.expandtabs())}".rstrip() for line in own], MAX_FILE_LINES)]
