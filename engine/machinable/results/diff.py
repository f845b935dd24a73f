"""Compare stored trials and executions.

Two trials can differ in states, results, rows and artifacts, which are compared by bytes, then by value. Trials are
matched first. Executions can differ in their environment: versions, host, platform, engine, and the state of the code.
"""

from __future__ import annotations

import io
import math
import sys
import zipfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from difflib import unified_diff
from typing import Any, Literal, TypeAlias

import msgspec

from machinable.errors import Damaged, MachinableError
from machinable.results.trial import Trial
from machinable.serialization import Plain, canonical, dumps
from machinable.storage.archive import UNREADABLE
from machinable.storage.artifacts import TIMES
from machinable.storage.formats.registry import load

__all__ = [
    "Change",
    "Difference",
    "FileChange",
    "Matched",
    "Verdict",
    "code_changes",
    "code_facts_changes",
    "compare",
    "environment_changes",
    "match",
    "package_changes",
    "verdict",
]

Verdict: TypeAlias = Literal["identical", "equal within tolerance", "different"]


_MISSING: Any = object()
_NUMBERS = "iufc"  # kinds of arrays
_MAX_WIDTH = 60  # characters of a value
MAX_SIZE = 2**20  # bytes of a file of code that is compared line by line


class Difference(msgspec.Struct, frozen=True):
    """One difference between two trials.

    Attributes:
        part: `status`, `error`, `result`, `records` or `artifacts`.
        name: The artifact, or `scope.column` or the scope of a record, else "".
        text: The difference on one line.
        largest: The largest difference of two numbers, absolute up to 1 and relative to the larger one beyond; infinite
            if not only numbers differ.
        is_within: Whether it is within the tolerance.
    """

    part: str
    name: str
    text: str
    largest: float
    is_within: bool

    def __str__(self) -> str:
        return f"{self.part} {self.name}: {self.text}" if self.name else f"{self.part}: {self.text}"

    def as_data(self) -> dict[str, Plain]:
        """Return the difference for programs; `largest` is null if not only numbers differ."""
        return {
            "part": self.part,
            "name": self.name,
            "text": self.text,
            "within": self.is_within,
            "largest": self.largest if math.isfinite(self.largest) else None,
        }


def verdict(found: Sequence[Difference]) -> Verdict:
    """Return the verdict on differences."""
    if not found:
        return "identical"
    return "equal within tolerance" if all(one.is_within for one in found) else "different"


def compare(one: Trial, other: Trial, tolerance: float = 0.0) -> list[Difference]:
    """Return all differences in the results of two trials. Times do not count, nor whether a result was reused.

    There is nothing to compare with a trial that was not needed. The tolerance is the largest accepted difference of
    numbers, absolute up to 1 and relative beyond.
    """
    if "unneeded" in (one.status, other.status):
        return []
    found = []
    states = ["finished" if trial.status == "reused" else trial.status for trial in (one, other)]
    if states[0] != states[1]:
        found.append(Difference("status", "", f"{states[0]} → {states[1]}", math.inf, False))
    errors = [_headline(trial.error) if trial.status == "failed" else None for trial in (one, other)]
    if errors[0] != errors[1]:
        found.append(Difference("error", "", f"{errors[0] or 'none'} → {errors[1] or 'none'}", math.inf, False))
    found += _values("result", "", [(one.result, other.result)], tolerance, "")
    found += _records(one, other, tolerance)
    found += _artifacts(one, other, tolerance)
    return found


def _headline(error: Mapping[str, str] | None) -> str | None:
    if error is None:
        return None
    message = (error.get("message") or "").strip()
    return f"{error.get('type')}: {message}" if message else str(error.get("type"))


# --- values


def _unequal(one: Any, other: Any) -> Iterator[tuple[str, Any, Any, float]]:
    """Yield the path, both sides and the distance of each difference between two nested values."""
    waiting = [("", one, other)]
    while waiting:
        path, one, other = waiting.pop()
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            keys = reversed(dict.fromkeys([*one, *other]))
            waiting += [
                (f"{path}.{key}" if path else str(key), one.get(key, _MISSING), other.get(key, _MISSING))
                for key in keys
            ]
        elif isinstance(one, (list, tuple)) and type(one) is type(other) and len(one) == len(other):
            waiting += [(f"{path}[{i}]", one[i], other[i]) for i in reversed(range(len(one)))]
        elif _is_array(one) and _is_array(other):
            yield from _unequal_arrays(path, one, other)
        elif not _is_same(one, other):
            yield path, one, other, _distance(one, other)


def _unequal_arrays(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any, float]]:
    if one.shape != other.shape:
        yield path, f"shape {one.shape}", f"shape {other.shape}", math.inf
        return
    kinds = one.dtype.kind + other.dtype.kind
    are_numbers = set(kinds) <= set(_NUMBERS)
    if one.dtype != other.dtype:
        yield path, str(one.dtype), str(other.dtype), 0.0 if are_numbers else math.inf
        if not are_numbers:
            return
    import numpy

    is_different = one != other
    far: Any = math.inf
    if are_numbers:
        is_different &= ~((one != one) & (other != other))  # NaN is NaN
        kind = complex if "c" in kinds else numpy.longdouble
        a, b = one.astype(kind)[is_different], other.astype(kind)[is_different]
        with numpy.errstate(invalid="ignore", over="ignore"):
            far = numpy.abs(a - b) / numpy.maximum(1.0, numpy.maximum(numpy.abs(a), numpy.abs(b)))
        far = float(numpy.where(numpy.isfinite(far), far, math.inf).max(initial=0.0))
    places = numpy.argwhere(is_different)
    if len(places):
        place = tuple(map(int, places[0]))
        yield f"{path}[{', '.join(map(str, place))}]", one[place].item(), other[place].item(), far


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _is_same(one: Any, other: Any) -> bool:
    if one is _MISSING or other is _MISSING:
        return False
    try:
        return canonical(one) == canonical(other)
    except MachinableError:  # e.g. a tree of XML
        return False


def _distance(one: Any, other: Any) -> float:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (one, other))
    if not numbers:
        return math.inf
    if one == other:
        return 0.0  # 1 and 1.0, 0.0 and -0.0
    far = abs(one - other) / max(1.0, abs(one), abs(other))
    return float(far) if math.isfinite(far) else math.inf


def _format(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    try:
        text = value if isinstance(value, str) else dumps(value)
    except MachinableError:
        text = f"a {type(value).__name__}"
    return text if len(text) <= _MAX_WIDTH else text[: _MAX_WIDTH - 1] + "…"


def _values(
    part: str, name: str, pairs: Sequence[tuple[Any, Any]], tolerance: float, unit: str
) -> Iterator[Difference]:
    """Yield the difference of pairs, such as the values of a column, if there is one."""
    largest, count, first = 0.0, 0, ""
    for index, (one, other) in enumerate(pairs):
        unequal = list(_unequal(one, other))
        if not unequal:
            continue
        count += 1
        largest = max(largest, *(far for *_, far in unequal))
        if not first:
            path, before, after, _ = unequal[0]
            where = " ".join(filter(None, (f"{unit} {index}" if unit else "", path)))
            first = f"{where}: " if where else ""
            first += f"{_format(before)} → {_format(after)}"
    if not count:
        return
    many = f"{count} of {len(pairs)} {unit}s, first in " if unit else ""
    apart = (
        " (equal as numbers)" if not largest else f" (at most {largest:.2g} apart)" if math.isfinite(largest) else ""
    )
    yield Difference(part, name, f"{many}{first}{apart}", largest, largest <= tolerance)


# --- records


def _records(one: Trial, other: Trial, tolerance: float) -> Iterator[Difference]:
    scopes = one.records.scopes, other.records.scopes
    for scope in sorted({*scopes[0], *scopes[1]}):
        rows = (
            one.records(scope).rows if scope in scopes[0] else [],
            other.records(scope).rows if scope in scopes[1] else [],
        )
        if len(rows[0]) != len(rows[1]):
            yield Difference("records", scope, f"{len(rows[0])} → {len(rows[1])} rows", math.inf, False)
        both = list(zip(*rows, strict=False))
        columns = dict.fromkeys(column for pair in both for row in pair for column in row)
        for column in columns:
            if column not in TIMES:
                pairs = [(a.get(column, _MISSING), b.get(column, _MISSING)) for a, b in both]
                yield from _values("records", f"{scope}.{column}", pairs, tolerance, "row")


# --- artifacts


def _artifacts(one: Trial, other: Trial, tolerance: float) -> Iterator[Difference]:
    names = [trial.files for trial in (one, other)]
    for name in sorted({*names[0], *names[1]}):
        if name not in names[0] or name not in names[1]:
            text = "was written, now it is missing" if name in names[0] else "was not written before"
            yield Difference("artifacts", name, text, math.inf, False)
            continue
        contents = one.content(name), other.content(name)
        if contents[0] != contents[1]:
            yield _artifact(name, contents, tolerance)


def _artifact(name: str, contents: tuple[bytes, bytes], tolerance: float) -> Difference:
    """Compare different bytes by value, if the format has values."""
    try:
        values = [_comparable(load(name, content, trust=False)) for content in contents]
    except (MachinableError, ImportError):  # unknown format, one that runs code, damaged: only bytes can be compared
        values = []
    if values and not any(isinstance(value, (str, bytes)) for value in values):
        found = list(_values("artifacts", name, [(values[0], values[1])], tolerance, ""))
        return found[0] if found else Difference("artifacts", name, "different bytes, equal values", 0.0, True)
    sizes = " → ".join(f"{len(content):,}" for content in contents)
    return Difference("artifacts", name, f"different bytes ({sizes})", math.inf, False)


def _comparable(value: Any) -> Any:
    """Return a frame as its columns, and any other value unchanged."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        index = [str(label) for label in value.index]
        columns = {str(name): value[name].tolist() for name in value.columns}
        return {"index": index, "columns": columns}
    return value


# --- matching


class Matched(msgspec.Struct, frozen=True):
    """Pairs of trials in the order of the first execution, and those without a counterpart."""

    pairs: list[tuple[Trial, Trial]]
    only_one: list[Trial]
    only_other: list[Trial]


def match(one: Iterable[Trial], other: Iterable[Trial]) -> Matched:
    """Pair trials by uid, then by request, then by component and repetition, then by component.

    A request is a component, a version and the numbers of the repetition. Equal trials are paired in order.
    """
    first, second = list(one), list(other)
    partners: dict[int, Trial] = {}
    taken: set[int] = set()
    for key in _KEYS:
        waiting: dict[Hashable, list[Trial]] = {}
        for trial in second:
            if id(trial) not in taken:
                waiting.setdefault(key(trial), []).append(trial)
        for members in waiting.values():
            members.reverse()
        for trial in first:
            candidates = waiting.get(key(trial)) if id(trial) not in partners else None
            if candidates:
                partners[id(trial)] = found = candidates.pop()
                taken.add(id(found))
    pairs = [(trial, partners[id(trial)]) for trial in first if id(trial) in partners]
    return Matched(
        pairs,
        [trial for trial in first if id(trial) not in partners],
        [trial for trial in second if id(trial) not in taken],
    )


def _numbers(trial: Trial) -> tuple[tuple[str, int], ...]:
    """Return the numbers of the repetitions."""
    flags = trial.planned("flags")
    names = [name for name in flags if "_NUMBER" in name and name.replace("_NUMBER", "_SEED") in flags]
    return tuple((name, flags[name]) for name in names)


_KEYS: tuple[Callable[[Trial], Hashable], ...] = (
    lambda trial: trial.uid,
    lambda trial: (trial.component, canonical(trial.version), _numbers(trial)),
    lambda trial: (trial.component, _numbers(trial)),
    lambda trial: trial.component,
)


# --- environment and code


class _Change(msgspec.Struct, frozen=True):
    def as_data(self) -> dict[str, Plain]:
        """Return the change for programs."""
        return msgspec.structs.asdict(self)


class Change(_Change, frozen=True):
    """A fact that differs; None where one side lacks it."""

    name: str
    before: Plain
    after: Plain


_ENVIRONMENT = {
    "python": "python",
    "platform": "platform",
    "engine": "engine.type",
    "host": "host.name",
    "user": "host.user",
}
_CODE = {
    "commit": "code.commit",
    "branch": "code.branch",
    "uncommitted changes": "code.dirty",
    "backup": "code.backup",
}


def environment_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the differences in the environment of two executions, given their execution.json, without packages."""
    return _changes(_facts(before, _ENVIRONMENT), _facts(after, _ENVIRONMENT))


def code_facts_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the differences in the facts about the code of two executions: commit, branch, digest of the backup."""
    return _changes(_facts(before, _CODE), _facts(after, _CODE))


def package_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the packages that have changed, are missing or are new, given two execution.json."""
    one, other = (data.get("packages") or {} for data in (before, after))
    return sorted(_changes(one, other), key=lambda change: change.name)


def _facts(data: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Plain]:
    """Return the facts at dotted places in execution.json; None where there is none."""
    found = {}
    for name, place in places.items():
        value: Any = data
        for key in place.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        found[name] = value
    return found


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    found = [Change(name, before.get(name), after.get(name)) for name in dict.fromkeys([*before, *after])]
    return [change for change in found if change.before != change.after]


class FileChange(_Change, frozen=True):
    """A file that differs.

    Attributes:
        name: The path in the project.
        how: `changed`, `new` or `missing`.
        lines: A unified diff without line breaks; None if the file is not text or too large.
    """

    name: str
    how: str
    lines: list[str] | None


def code_changes(before: bytes, after: bytes) -> list[FileChange]:
    """Return the files that differ between two code backups, by name.

    Raises:
        Damaged: One of them cannot be read.
    """
    if before == after:
        return []
    one, other = _open(before), _open(after)
    changes = []
    for name in sorted({*one.NameToInfo, *other.NameToInfo}):
        old, new = one.NameToInfo.get(name), other.NameToInfo.get(name)
        if old and new and _identity(old) == _identity(new):
            continue
        texts = _text(one, old), _text(other, new)
        lines = None
        if texts[0] is not None and texts[1] is not None:
            lines = list(unified_diff(texts[0].splitlines(), texts[1].splitlines(), name, name, lineterm=""))
        changes.append(FileChange(name, "new" if old is None else "missing" if new is None else "changed", lines))
    return changes


def _open(archive: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(archive))
    except UNREADABLE as error:
        raise Damaged(f"a code backup cannot be read: {error}", todo="Restore code.zip from a copy.") from error


def _identity(file: zipfile.ZipInfo) -> tuple[int, int, int]:
    return file.CRC, file.file_size, file.external_attr


def _text(archive: zipfile.ZipFile, file: zipfile.ZipInfo | None) -> str | None:
    """Return the content of a text file, None for any other file; without a file it is empty."""
    if file is None:
        return ""
    if file.file_size > MAX_SIZE:
        return None
    try:
        content = archive.read(file)
    except UNREADABLE as error:
        message = f"{file.filename} in a code backup cannot be read: {error}"
        raise Damaged(message, given=file.filename, todo="Restore code.zip from a copy.") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
