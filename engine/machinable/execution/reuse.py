"""Decide which results are reused, and share them between executions: one computes what several need.

A result is found by the identity of its trial. While an execution computes it, it holds the lease of that identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from machinable.component.imports import source_digest
from machinable.errors import Damaged, InvalidType, InvalidValue, UnknownName, warn
from machinable.execution.environment import now
from machinable.execution.options import Options
from machinable.execution.queue import Available
from machinable.plan.plan import Plan
from machinable.plan.spec import ComponentSpec, Outcome, TrialSpec
from machinable.results.pointers import Pointer, changed_input, find_pointer
from machinable.serialization import dumps
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.locks import Lease, Locks

__all__ = [
    "Reuse",
    "ReuseDecision",
    "ReusePolicy",
    "SharedResults",
    "decide_reuse",
    "holder_text",
    "reuse_policy",
]

Reuse: TypeAlias = Literal[True, False, "all", "same-code"]
MODES = (True, False, "all", "same-code")


class ReusePolicy(Struct, frozen=True):
    """Which results are reused.

    Attributes:
        mode: True: results of requirements; "all": also those of listed components; "same-code": those of
            requirements that the present source computed; False: none.
        rerun: Components that run in any case, by their canonical name or the one that the task uses.
        cascade: Whether a trial runs again when an input has changed since its result was computed.
        is_shared: Whether results are shared with other executions; one function for all components computes something
            else than they do.
    """

    mode: Reuse = True
    rerun: frozenset[str] = frozenset()
    cascade: bool = True
    is_shared: bool = True

    def shares(self, definition: ComponentSpec) -> bool:
        """Return whether other executions may use the results of a component."""
        if not self.is_shared or definition.target.module == "__main__":  # a different module in every script
            return False
        return definition.is_requirement or self.mode == "all"

    def reruns(self, definition: ComponentSpec) -> bool:
        """Return whether a component runs in any case."""
        return definition.component in self.rerun or definition.flags.get("NAME") in self.rerun


def reuse_policy(options: Options, plan: Plan) -> ReusePolicy:
    """Return the policy of an execution.

    Raises:
        InvalidValue, InvalidType: One has a wrong value or type.
        UnknownName: `rerun` matches no component of the plan.
    """
    mode, rerun, cascade = options.reuse, options.rerun, options.cascade
    if not any(mode is one or (mode == one and isinstance(mode, str)) for one in MODES):
        raise InvalidValue(
            f"reuse is {mode!r}",
            given=mode,
            known=("True", "False", "all", "same-code"),
            todo="Expected True (requirements), 'same-code', 'all' or False.",
        )
    if not isinstance(cascade, bool):
        raise InvalidType(f"cascade is {cascade!r}", given=cascade, todo="Expected True or False.")
    patterns = ("*",) if rerun is True else (rerun,) if isinstance(rerun, str) else rerun
    if patterns is None or patterns is False:
        patterns = ()
    if not isinstance(patterns, (list, tuple, set, frozenset)) or not all(isinstance(one, str) for one in patterns):
        raise InvalidType(
            f"rerun is {rerun!r}",
            given=rerun,
            todo="Expected the name of a component, a pattern such as 'net.*', a list of these, or True for all.",
        )
    known = list(dict.fromkeys(name for use in plan.uses for name in (use.component, use.name)))
    matched: set[str] = set()
    for pattern in patterns:
        found = [name for name in known if fnmatchcase(name, pattern)]
        if not found:
            raise UnknownName("component of the plan", pattern, known, details=["given as `rerun`"])
        matched.update(found)
    return ReusePolicy(mode, frozenset(matched), cascade, is_shared=options.function is None)


class ReuseDecision(Struct, frozen=True):
    """What to do about a trial, and why.

    Attributes:
        action: "run" it, "reuse" its result, or run it because its result is "stale".
        why: The reason, as text.
        pointer: To the stored result, if there is one.
        other_source: The digest of the present source, if the result was computed by another one.
    """

    action: Literal["run", "reuse", "stale"]
    why: str
    pointer: Pointer | None = None
    other_source: str | None = None


def decide_reuse(
    spec: TrialSpec,
    policy: ReusePolicy,
    pointer: Pointer | None,
    artifacts: Mapping[str, Mapping[str, str]],
    source: str | None,
) -> ReuseDecision:
    """Decide whether to run a trial or to reuse its result.

    Args:
        spec: The trial.
        policy: Which results are reused.
        pointer: To the stored result, if there is one.
        artifacts: The digests of its requirements' present artifacts, by the names it uses for them.
        source: The digest of its component's present source.
    """
    if policy.mode is False:
        return ReuseDecision("run", "nothing is reused", pointer)
    if policy.reruns(spec.definition):
        return ReuseDecision("run", "rerun was requested", pointer)
    if pointer is None:
        return ReuseDecision("run", "there is no result yet")
    is_other = source is not None and pointer.source is not None and pointer.source != source
    if is_other and policy.mode == "same-code":
        return ReuseDecision("run", f"its result {pointer.trial} was computed by other source code", pointer)
    changed = changed_input(pointer.inputs, artifacts)
    if changed is not None and policy.cascade:
        return ReuseDecision("stale", f"{changed} has changed since {pointer.trial}", pointer)
    why = f"stale, because {changed} has changed" if changed is not None else "its result exists"
    return ReuseDecision("reuse", why, pointer, source if is_other else None)


class SharedResults:
    """The results that an execution shares with others.

    Args:
        files: The storage.
        policy: Which results are reused.
        plan: The trials.
        locks: The locks of the storage.
        folder: The directory of the execution; "" to look only.
        is_loaded: Whether trials run with the code that is loaded in this process.
    """

    def __init__(
        self, files: Files, policy: ReusePolicy, plan: Plan, locks: Locks, folder: str = "", *, is_loaded: bool = False
    ) -> None:
        self._files = files
        self._policy = policy
        self._locks = locks
        self._folder = folder
        self._leases: dict[str, Lease] = {}
        self._warned: set[tuple[str, str | None]] = set()
        shared = [use.definition for use in plan.uses if policy.shares(use.definition)]
        targets = {definition.module: definition.target for definition in shared}
        self._sources = {  # now, because the files may be edited while trials run
            module: source_digest(target, plan.project, as_loaded=is_loaded) for module, target in targets.items()
        }

    def find(self, identity: str) -> Pointer | None:
        """Return the pointer to the result of an identity, if there is one.

        Raises:
            Damaged: Its file cannot be read.
        """
        pointer = find_pointer(self._files, identity)
        if pointer is None or not self._files.appends:
            return pointer
        folder, _, uid = pointer.trial.partition("/")
        # The execution may have been deleted by hand. Where each look is a request, reading it will show that.
        return pointer if self._files.exists(layout.join(folder, layout.status(uid))) else None

    def decide(self, spec: TrialSpec, artifacts: Mapping[str, Mapping[str, str]]) -> ReuseDecision:
        """Decide whether to run a trial or to reuse its result, see `decide_reuse`.

        Raises:
            Damaged: The pointer to its result cannot be read.
        """
        return decide_reuse(spec, self._policy, self.find(spec.identity), artifacts, self._sources.get(spec.module))

    def reusable(self, spec: TrialSpec, artifacts: Mapping[str, Mapping[str, str]]) -> Pointer | None:
        """Return the pointer to the result of a trial if it is reused; warn about results of other source code."""
        policy, definition = self._policy, spec.definition
        if not policy.shares(definition) or policy.mode is False or policy.reruns(definition):
            return None  # without a look into the storage
        try:
            decision = self.decide(spec, artifacts)
        except Damaged as error:
            warn(f"{error.message}; {spec.component} runs again", RuntimeWarning)
            return None
        pointer = decision.pointer
        if pointer is None or decision.action != "reuse":
            return None
        if decision.other_source is not None and (spec.module, pointer.source) not in self._warned:
            self._warned.add((spec.module, pointer.source))
            warn(
                f"reusing {spec.component} from {pointer.trial}, which {spec.module} as of {pointer.source} "
                f"computed; it is {decision.other_source} now. To compute it again: rerun={spec.component!r}; "
                "to always do so: reuse='same-code'"
            )
        return pointer

    def publish(self, spec: TrialSpec, outcome: Outcome) -> Available:
        """Return the result of a trial that finished, and make it available to others by writing the pointer to it."""
        place = f"{self._folder}/{spec.uid}"
        if not self._policy.shares(spec.definition):
            return Available(place, outcome.artifacts)
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

    # leases

    def claim(self, spec: TrialSpec, artifacts: Mapping[str, Mapping[str, str]]) -> Pointer | str | None:
        """Take the lease of a trial that is to run.

        Returns:
            None if it is held now; the pointer to the result if another execution has just computed it; otherwise which
            one is computing it.
        """
        if not self._policy.shares(spec.definition) or spec.uid in self._leases:
            return None
        lease = self._locks.take(layout.lease(spec.identity), {"execution": self._folder, "uid": spec.uid})
        if lease is None:
            return self.holder(spec) or "another execution"
        self._leases[spec.uid] = lease
        pointer = self.reusable(spec, artifacts)
        if pointer is not None:
            self.release(spec)
        return pointer

    def holder(self, spec: TrialSpec) -> str | None:
        """Return who computes a trial, as text; None if no execution does."""
        facts = self._locks.holder(layout.lease(spec.identity))
        return None if facts is None else holder_text(facts)

    def release(self, spec: TrialSpec) -> None:
        """Release the lease of a trial, if it is held."""
        lease = self._leases.pop(spec.uid, None)
        if lease is not None:
            lease.release()

    def close(self) -> None:
        """Release all leases."""
        while self._leases:
            self._leases.popitem()[1].release()


def holder_text(facts: Mapping[str, Any]) -> str:
    """Return the holder of a lease as text: `OY1p1o on node7 (process 4711)`."""
    text = str(facts.get("execution") or "another execution")
    if facts.get("host"):
        text += f" on {facts['host']}"
    return f"{text} (process {facts['pid']})" if facts.get("pid") else text
