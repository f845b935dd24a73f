"""What was computed once: pointers from an identity to the trial that holds its result, and when they count.

Sees to it that of several executions that want the same result one computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple, TypeAlias

from machinable.errors import InvalidType, InvalidValue, UnknownName
from machinable.execution.environment import now
from machinable.execution.queue import Available
from machinable.plan.plan import Plan
from machinable.plan.spec import Outcome, TrialSpec
from machinable.results.pointers import Pointer, changed_input, find_pointer
from machinable.serialization import dumps
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.locks import Lease, Locks

__all__ = ["Exclusion", "Mode", "Pointers", "ReuseDecision", "ReusePolicy", "decide_reuse", "described", "rule_of"]

Mode: TypeAlias = Literal[True, False, "all", "same-code"]
MODES = (True, False, "all", "same-code")


@dataclass(frozen=True)
class ReusePolicy:
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


def rule_of(mode: Any, rerun: Any, cascade: Any, plan: Plan) -> ReusePolicy:
    """The rule that arguments ask for.

    Raises:
        InvalidValue, InvalidType: they have no meaning. UnknownName: `rerun` names nothing in the plan.
    """
    if not any(mode is one or (mode == one and isinstance(mode, str)) for one in MODES):
        raise InvalidValue(
            f"reuse is {mode!r}",
            given=mode,
            known=("True", "False", "all", "same-code"),
            todo="It is True (requirements), 'same-code', 'all' or False.",
        )
    if not isinstance(cascade, bool):
        raise InvalidType(f"cascade is True or False, not {cascade!r}", given=cascade)
    patterns = ("*",) if rerun is True else (rerun,) if isinstance(rerun, str) else rerun
    if patterns is None or patterns is False:
        patterns = ()
    if not isinstance(patterns, (list, tuple, set, frozenset)) or not all(isinstance(one, str) for one in patterns):
        raise InvalidType(
            f"rerun is {rerun!r}",
            given=rerun,
            todo="Give the name of a component, a pattern such as 'net.*', a list of these, or True for all.",
        )
    known = list(dict.fromkeys(name for use in plan.uses for name in (use.component, use.name)))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UnknownName("component of the plan", pattern, known, details=["it was to be run again (rerun)"])
    return ReusePolicy(mode, tuple(patterns), cascade)


class ReuseDecision(NamedTuple):
    """What becomes of a trial and why: it is to "run", its result is to be "reuse"d, or is "stale" and so runs."""

    action: Literal["run", "reuse", "stale"]
    why: str
    pointer: Pointer | None = None
    other_source: str | None = None  # the digest of the source that is there now, if another one made the result


def decide_reuse(
    spec: TrialSpec,
    rule: ReusePolicy,
    pointer: Pointer | None,
    artifacts: Mapping[str, Mapping[str, str]],
    source: str | None,
) -> ReuseDecision:
    """What becomes of a trial whose result may be shared.

    Args:
        pointer: to a result, if there is one. artifacts: those of its requirements as they are now, by name.
        source: the digest of the component's source as it is now.
    """
    if rule.mode is False:
        return ReuseDecision("run", "nothing is reused")
    if rule.reruns(spec):
        return ReuseDecision("run", "it is to be run again")
    if pointer is None:
        return ReuseDecision("run", "there is no result yet")
    is_other = source is not None and pointer.source is not None and pointer.source != source
    if is_other and rule.mode == "same-code":
        return ReuseDecision("run", f"its result {pointer.trial} was made by other source")
    changed = changed_input(pointer.inputs, artifacts)
    if changed is not None and rule.cascade:
        return ReuseDecision("stale", f"{changed} has changed since {pointer.trial}")
    why = f"stale, for {changed} has changed" if changed is not None else "its result is there"
    return ReuseDecision("reuse", why, pointer, source if is_other else None)


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

    def write(self, spec: TrialSpec, folder: str, outcome: Outcome) -> Available:
        """Point to the result of a trial that has finished: from now on it exists."""
        place = f"{folder}/{spec.uid}"
        row = {
            "format": layout.FORMAT,
            "identity": spec.identity,
            "trial": place,
            "time": now(),
            "seconds": outcome.seconds,
            "record": outcome.record,
            "artifacts": dict(outcome.artifacts),
            "inputs": {
                name: {"identity": spec.requires[name].identity, "artifacts": dict(read)}
                for name, read in outcome.inputs.items()
            },
            "module": {"name": spec.module, "digest": self._sources.get(spec.module)},
        }
        self._files.write(layout.pointer(spec.identity), dumps(row).encode() + b"\n")
        return Available(place, outcome.artifacts)


class Exclusion:
    """The leases that an execution holds while it computes what others may want, too.

    Args:
        locks: of the storage; None where there is nothing to share. folder: of the execution.
    """

    def __init__(self, locks: Locks | None, folder: str) -> None:
        self._locks = locks
        self._folder = folder
        self._held: dict[str, Lease] = {}

    def has(self, spec: TrialSpec) -> bool:
        """Whether we have the lease of a trial."""
        return self._locks is None or spec.uid in self._held

    def take(self, spec: TrialSpec) -> bool:
        """Take the lease of a trial. False while somebody else has it."""
        if self._locks is None:
            return True
        lease = self._locks.take(layout.lease(spec.identity), {"execution": self._folder, "uid": spec.uid})
        if lease is None:
            return False
        self._held[spec.uid] = lease
        return True

    def release(self, spec: TrialSpec) -> None:
        """Give the lease of a trial back, if we have it."""
        lease = self._held.pop(spec.uid, None)
        if lease is not None:
            lease.release()

    def holder(self, spec: TrialSpec) -> str | None:
        """Who computes a trial, in words; None if nobody."""
        facts = self._locks.holder(layout.lease(spec.identity)) if self._locks is not None else None
        return described(facts) if facts is not None else None

    def close(self) -> None:
        """Give back what is held."""
        for lease in self._held.values():
            lease.release()
        self._held.clear()


def described(facts: Mapping[str, Any]) -> str:
    """The holder of a lease in words: `OY1p1o on node7 (process 4711)`."""
    text = str(facts.get("execution") or "somebody")
    if facts.get("host"):
        text += f" on {facts['host']}"
    return f"{text} (process {facts['pid']})" if facts.get("pid") else text
