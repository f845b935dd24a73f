"""What was computed once: pointers from an identity to the trial that holds its result, and when they count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple, TypeAlias

from machinable.errors import InvalidType, InvalidValue, UnknownName
from machinable.execution.host import now
from machinable.execution.order import Result
from machinable.plain import dumps
from machinable.plan.plan import Plan
from machinable.plan.spec import Outcome, TrialSpec
from machinable.results.pointers import Pointer, changed_input, find_pointer
from machinable.storage import layout
from machinable.storage.files import Files

__all__ = ["Mode", "Pointers", "Rule", "Verdict", "judge", "rule_of"]

Mode: TypeAlias = Literal[True, False, "all", "same-code"]
MODES = (True, False, "all", "same-code")


@dataclass(frozen=True)
class Rule:
    """Which results count.

    Attributes:
        mode: True: those of requirements; "all": those of listed trials too; "same-code": those of requirements that
            were made by the source that is there now; False: none.
        rerun: patterns of components that run in any case. cascade: whether what read something that has changed
            since runs again.
    """

    mode: Mode = True
    rerun: tuple[str, ...] = ()
    cascade: bool = True
    _known: dict[tuple[str, str], bool] = field(default_factory=dict, compare=False, repr=False)

    def shares(self, spec: TrialSpec) -> bool:
        """Whether the result of a trial is for others, too. What a script calls `__main__` is another thing there."""
        return (spec.is_requirement or self.mode == "all") and spec.target.module != "__main__"

    def reruns(self, spec: TrialSpec) -> bool:
        """Whether a trial is to be run though its result is there."""
        return self.names(spec.component, str(spec.flags.get("NAME", spec.component)))

    def names(self, component: str, used_as: str) -> bool:
        """Whether a component, by its canonical name or the one that is used, is to be run in any case."""
        if not self.rerun:
            return False
        names = component, used_as
        if names not in self._known:
            self._known[names] = any(fnmatchcase(name, pattern) for pattern in self.rerun for name in names)
        return self._known[names]


def rule_of(mode: Any, rerun: Any, cascade: Any, plan: Plan) -> Rule:
    """The rule that arguments ask for.

    Raises:
        InvalidValue, InvalidType: they have no meaning. UnknownName: `rerun` names nothing in the plan.
    """
    if not any(mode is one or (mode == one and isinstance(mode, str)) for one in MODES):
        raise InvalidValue(
            f"reuse is {mode!r}", given=mode, known=("True", "False", "all", "same-code"),
            todo="It is True (requirements), 'same-code', 'all' or False.",
        )  # fmt: skip
    if not isinstance(cascade, bool):
        raise InvalidType(f"cascade is True or False, not {cascade!r}", given=cascade)
    patterns = ("*",) if rerun is True else (rerun,) if isinstance(rerun, str) else rerun
    if patterns is None or patterns is False:
        patterns = ()
    if not isinstance(patterns, (list, tuple, set, frozenset)) or not all(isinstance(one, str) for one in patterns):
        raise InvalidType(
            f"rerun is {rerun!r}", given=rerun,
            todo="Give the name of a component, a pattern such as 'net.*', a list of these, or True for all.",
        )  # fmt: skip
    known = list(dict.fromkeys(name for use in plan.uses for name in (use.component, use.name)))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UnknownName("component of the plan", pattern, known, details=["it was to be run again (rerun)"])
    return Rule(mode, tuple(patterns), cascade)


class Verdict(NamedTuple):
    """What becomes of a trial and why: it is to "run", its result is to be "reuse"d, or is "stale" and so runs."""

    action: Literal["run", "reuse", "stale"]
    why: str
    pointer: Pointer | None = None
    other_source: str | None = None  # the digest of the source that is there now, if another one made the result


def judge(
    spec: TrialSpec, rule: Rule, pointer: Pointer | None, artifacts: Mapping[str, Mapping[str, str]], source: str | None
) -> Verdict:
    """What becomes of a trial whose result may be shared.

    Args:
        pointer: to a result, if there is one. artifacts: those of its requirements as they are now, by name.
        source: the digest of the component's source as it is now.
    """
    if rule.mode is False:
        return Verdict("run", "nothing is reused")
    if rule.reruns(spec):
        return Verdict("run", "it is to be run again")
    if pointer is None:
        return Verdict("run", "there is no result yet")
    is_other = source is not None and pointer.source is not None and pointer.source != source
    if is_other and rule.mode == "same-code":
        return Verdict("run", f"its result {pointer.trial} was made by other source")
    changed = changed_input(pointer.inputs, artifacts)
    if changed is not None and rule.cascade:
        return Verdict("stale", f"{changed} has changed since {pointer.trial}")
    why = f"stale, for {changed} has changed" if changed is not None else "its result is there"
    return Verdict("reuse", why, pointer, source if is_other else None)


class Pointers:
    """The pointers of a storage.

    Args:
        files: the storage. sources: the digest of a module's source by its import path.
    """

    def __init__(self, files: Files, sources: Mapping[str, str | None]) -> None:
        self._files = files
        self._sources = sources

    def source(self, spec: TrialSpec) -> str | None:
        """The digest of the source of a trial's component."""
        return self._sources.get(spec.module)

    def find(self, identity: str) -> Pointer | None:
        """Where the result of an identity lies, if there is one.

        Raises:
            Damaged: there is something else in the place of its pointer.
        """
        pointer = find_pointer(self._files, identity)
        if pointer is None or not self._files.appends:
            return pointer
        folder, _, uid = pointer.trial.partition("/")
        # Somebody may have removed the execution by hand. Where a look is a request, this shows when it is read.
        return pointer if self._files.exists(layout.join(folder, layout.status(uid))) else None

    def write(self, spec: TrialSpec, folder: str, outcome: Outcome) -> Result:
        """Point to the result of a trial that has finished: from now on it exists."""
        place = f"{folder}/{spec.uid}"
        row = {
            "format": layout.FORMAT, "identity": spec.identity, "trial": place, "time": now(),
            "seconds": outcome.seconds, "record": outcome.record, "artifacts": dict(outcome.artifacts),
            "inputs": {
                name: {"identity": spec.requires[name].identity, "artifacts": dict(read)}
                for name, read in outcome.inputs.items()
            },
            "module": {"name": spec.module, "digest": self._sources.get(spec.module)},
        }  # fmt: skip
        self._files.write(layout.pointer(spec.identity), dumps(row).encode() + b"\n")
        return Result(place, outcome.artifacts)
