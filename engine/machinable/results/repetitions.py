"""Recognise repetitions: trials that differ in their seeds only, and so may be summarised together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from machinable.results.query import MISSING, default_fields, differing_paths, find_field, mean
from machinable.results.trial import Trial
from machinable.serialization import canonical

__all__ = ["Measured", "distinguishing_fields", "measured", "measured_by", "repetition_key", "separate_values"]

_LEVEL = re.compile(r"(\w+)_NUMBER((?:_[0-9]+)?)")
_OWN_FLAGS = frozenset(
    ("SEED", "UID", "NAME", "MODULE", "GLOBAL_SEED", "EXECUTION", "INDEX", "TOTAL", "ATTEMPT", "PAIRED_SEED")
)
_CHOSEN_BY_VERSION = ("component", "module", "version", "config", "children", "tags", "flags")
FOLDS = ("SPLIT", "FOLD")  # with what the names of levels begin that are folds; others repeat


def _levels(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a trial in its levels, by the flag."""
    levels = filter(None, map(_LEVEL.fullmatch, flags))
    return {level[0]: flags[level[0]] for level in levels if f"{level[1]}_SEED{level[2]}" in flags}


def repetition_key(trial: Trial, without: str | None = None) -> str:
    """Return a text that is equal for repetitions.

    They have the same component, configuration, version, planned tags, flags of the user, children, and identities of
    their requirements.

    Args:
        trial: The trial.
        without: A field that may differ, such as `config.rate`, and what sets it.
    """
    children: Any = trial.planned("children")
    parts: dict[str, Any] = {
        "component": trial.component,
        "module": trial.module,
        "version": trial.version,
        "config": trial.planned("config"),
        "tags": trial.planned("tags"),
        "flags": _chosen_flags(trial),
        "children": [[child["component"], child["config"]] for child in children or ()],
        "requires": {
            name: [one["component"], one["identity"], one.get("artifact")]
            for name, one in trial.planned("requires").items()
        },
    }
    head, _, rest = (without or "").partition(".")
    if head in ("config", "tags", "flags"):
        parts[head] = _without(parts[head], rest.split("."))
        if head == "config":
            parts["tags"] = {name: value for name, value in parts["tags"].items() if name != rest}
            del parts["version"]
    elif head in ("component", "module", "version"):
        parts = {name: part for name, part in parts.items() if name not in _CHOSEN_BY_VERSION}
    elif head == "requires":
        parts["requires"] = {
            name: one for name, one in parts["requires"].items() if not f"{rest}.".startswith(f"{name}.")
        }
    return canonical(_equal_numbers(parts))


def _chosen_flags(trial: Trial) -> dict[str, Any]:
    """Return the flags that the user has set."""
    flags = trial.planned("flags")
    of_levels = {name.replace("_NUMBER", part) for name in _levels(flags) for part in ("_NUMBER", "_TOTAL", "_SEED")}
    return {name: value for name, value in flags.items() if name not in _OWN_FLAGS and name not in of_levels}


def _equal_numbers(value: Any) -> Any:
    """Return the value with whole numbers as integers, because 1 and 1.0 are equal settings."""
    if type(value) is float and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _equal_numbers(item) for key, item in value.items()}
    return [_equal_numbers(item) for item in value] if isinstance(value, (list, tuple)) else value


def _without(values: Any, keys: Sequence[str]) -> Any:
    """Return nested mappings without a key."""
    if not isinstance(values, dict):
        return values
    joined = ".".join(keys)
    return {
        key: _without(value, keys[1:]) if key == keys[0] and len(keys) > 1 else value
        for key, value in values.items()
        if key != joined
    }


def distinguishing_fields(trials: Iterable[Trial]) -> list[str]:
    """Return the fields in which trials of different repetitions differ, apart from results and numbers.

    Tags that were added later do not distinguish them.
    """
    chosen = list(trials)
    tags = {f"tags.{name}" for trial in chosen for name in trial.planned("tags")}
    fields = [name for name in default_fields(chosen) if name.startswith("config.") or name in tags]
    if len({trial.component for trial in chosen}) > 1:
        fields.insert(0, "component")
    fields += differing_paths(list(map(_chosen_flags, chosen)), "flags")
    requires = [{name: one["identity"] for name, one in trial.planned("requires").items()} for trial in chosen]
    fields += [f"{path}.identity" for path in differing_paths(requires, "requires")]
    known = [find_field(name) for name in fields]
    columns = [field.values(chosen) if field else [] for field in known]
    different = [
        (name, column)
        for name, column in zip(fields, columns, strict=True)
        if len({"" if value is MISSING else canonical(value) for value in column}) > 1
    ]
    found = [name for name, _ in different]
    rows = zip(*(column for _, column in different), strict=True) if different else ()
    distinct = {canonical([None if value is MISSING else value for value in row]) for row in rows}
    versions = {canonical(trial.version) for trial in chosen}
    if len(versions) > 1 and max(1, len(distinct)) < len({repetition_key(trial) for trial in chosen}):
        found.append("version")
    return found


class Measured(NamedTuple):
    """A value of a trial.

    Attributes:
        value: The value.
        unit: The repetition that it belongs to, whose folds are averaged.
        folds: The number in each level of folds.
        label: What is equal for trials that can be paired.
    """

    value: float
    unit: Any
    folds: Any
    label: Any


def measured(value: float, execution: str, levels: Mapping[str, Any], seed: Any = None) -> Measured:
    """Return a value with its repetition.

    A repetition is an execution and the numbers of its levels apart from those of folds. Trials can be paired if they
    have the same `PAIRED_SEED`, or without it, the same numbers in one execution.

    Args:
        value: The value.
        execution: The name of the execution.
        levels: The number in each level, by the name of its flag.
        seed: The flag `PAIRED_SEED`.
    """
    numbers = sorted(levels.items())
    folds = tuple(one for one in numbers if one[0].upper().startswith(FOLDS))
    unit = (execution, tuple(one for one in numbers if one not in folds))
    return Measured(value, unit, folds, (unit, folds) if seed is None else seed)


def measured_by(trial: Trial, value: float) -> Measured:
    """Return a value of a trial with its repetition."""
    flags = trial.planned("flags")
    return measured(value, str(trial.execution), _levels(flags), flags.get("PAIRED_SEED"))


def separate_values(values: Sequence[Measured]) -> list[float]:
    """Return the values that count as separate: the mean over the folds of each repetition.

    Of a single repetition, each fold is a value. Folds of one repetition share most of their data, so counting each of
    them would make intervals too narrow (C. Nadeau and Y. Bengio, Inference for the Generalization Error, 2003).
    """
    units: dict[Any, list[float]] = {}
    for one in values:
        units.setdefault(one.unit, []).append(one.value)
    if len(units) > 1 and any(one.folds for one in values):
        return [mean(folds) for folds in units.values()]
    return [one.value for one in values]
