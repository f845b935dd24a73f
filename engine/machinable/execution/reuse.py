"""Decide which results are reused, and share them between executions: one execution computes each result.

A result is found by the identity of its trial. While an execution computes it, it holds the lease of that identity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from machinable.component.source_files import Sources, code_digest, code_of, modules_of
from machinable.errors import Damaged, InvalidType, InvalidValue, UnknownName, listed, warn
from machinable.execution.environment import now
from machinable.execution.options import Options
from machinable.execution.stored_trials import given_result
from machinable.plan.plan import Plan
from machinable.plan.spec import ComponentSpec, Outcome, TrialSpec
from machinable.results.pointers import Available, Input, Pointer, changed_input, find_pointer
from machinable.serialization import dumps
from machinable.storage import layout
from machinable.storage.artifacts import artifact_fault
from machinable.storage.files import Files
from machinable.storage.hashing import digest
from machinable.storage.locks import Lease, Locks

__all__ = [
    "Reuse",
    "ReusePolicy",
    "SharedResults",
    "decide_reuse",
    "holder_text",
    "inputs_of",
    "reuse_policy",
]

Results: TypeAlias = Callable[[str], "Available | None"]  # the current result of an identity
Reuse: TypeAlias = Literal[True, False, "all", "same-code"]
GIVEN = "it is given as a stored trial"
MODES = (True, False, "all", "same-code")


class ReusePolicy(Struct, frozen=True):
    """The policy that decides which results are reused."""

    # True: results of requirements; "all": also those of listed components; "same-code": those of requirements that the
    # current source computed; False: none
    mode: Reuse = True
    # Components that run in any case, by their canonical name or the one that the task uses
    rerun: frozenset[str] = frozenset()
    cascade: bool = True  # whether a trial runs again when an input has changed since its result was computed
    # Whether results are shared with other executions; one function for all components computes something else than
    # they do
    is_shared: bool = True
    by_content: bool = False  # whether listed components have the seeds, and so the results, that requirements have

    def shares(self, definition: ComponentSpec) -> bool:
        """Return whether other executions may use the results of a component."""
        if definition.stored_at:
            return True
        target = definition.target
        if not self.is_shared or target.module == "__main__" or "<" in str(target.name):
            return False  # `__main__` is another module in every script, and a local function depends on its variables
        return definition.is_requirement or self.mode == "all"

    def publishes(self, definition: ComponentSpec) -> bool:
        """Return whether the results of a component are made available to other executions."""
        return self.shares(definition) or (self.by_content and replace(self, mode="all").shares(definition))

    def reruns(self, definition: ComponentSpec) -> bool:
        """Return whether a component runs in any case."""
        if definition.stored_at:  # it is given
            return False
        return definition.component in self.rerun or definition.flags.get("NAME") in self.rerun


def reuse_policy(options: Options, plan: Plan) -> ReusePolicy:
    """Return the policy of an execution.

    Raises:
        InvalidValue, InvalidType, UnknownName: An option has a wrong value, or `rerun` matches no component.
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
    uses = [use for use in plan.uses if not use.definition.stored_at]
    known = list(dict.fromkeys(name for use in uses for name in (use.component, use.name)))
    matched: set[str] = set()
    for pattern in patterns:
        found = [name for name in known if fnmatchcase(name, pattern)]
        if not found:
            raise UnknownName("component of the plan", pattern, known, details=["given as `rerun`"])
        matched.update(found)
    is_shared = options.function is None
    return ReusePolicy(mode, frozenset(matched), cascade, is_shared=is_shared, by_content=plan.by_content)


class ReuseDecision(Struct, frozen=True):
    """The decision about a trial, and the reason."""

    action: Literal["run", "reuse", "stale"]  # "stale": run it, because an input has changed
    why: str
    pointer: Pointer | None = None  # to the stored result, if there is one
    changed: tuple[str, ...] = ()  # the source files that have changed since the result was computed


def decide_reuse(
    spec: TrialSpec,
    policy: ReusePolicy,
    pointer: Pointer | None,
    changed: str | None,
    code: Mapping[str, str],
) -> ReuseDecision:
    """Decide whether to run a trial or to reuse its stored result.

    Args:
        spec: The trial.
        policy: Which results are reused.
        pointer: To the stored result, if there is one.
        changed: An input that has changed since it was read, see `changed_input`.
        code: The digests of its current code, by file.
    """
    if policy.mode is False:
        return ReuseDecision("run", "nothing is reused", pointer)
    if policy.reruns(spec.definition):
        return ReuseDecision("run", "rerun was requested", pointer)
    if pointer is None:
        return ReuseDecision("run", "there is no result yet")
    files = sorted(_changed_files(pointer.code, code))
    if files and policy.mode == "same-code":
        return ReuseDecision("run", f"its code has changed since {pointer.trial}: {listed(files)}", pointer)
    if changed is not None and policy.cascade:
        return ReuseDecision("stale", f"{changed} has changed since {pointer.trial}", pointer)
    why = f"stale, because {changed} has changed" if changed is not None else "its result exists"
    return ReuseDecision("reuse", why, pointer, tuple(files))


def _changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> set[str]:
    """Return the files whose code differs. A file that only has another name now is unchanged."""
    differing = {path for path in {*before, *now} if before.get(path) != now.get(path)}
    gone = {path: before[path] for path in differing if path in before and now.get(path, "gone") == "gone"}
    new = {path: now[path] for path in differing if path not in before}
    moved = {*gone.values()} & {*new.values()}
    return {path for path in differing if {**gone, **new}.get(path) not in moved}


class SharedResults:
    """The results that an execution shares with others; without its folder, they are only read.

    `changed` are files that differ from the code that runs; `listed_files` are those that the execution lists, with
    their digests.
    """

    def __init__(
        self,
        files: Files,
        policy: ReusePolicy,
        sources: Sources,
        changed: Sequence[str],
        locks: Locks,
        folder: str = "",
        listed_files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._files = files
        self._policy = policy
        self._sources = sources
        self._changed = changed
        self._code: dict[tuple[str, ...], dict[str, str]] = {}
        self._locks = locks
        self._folder = folder
        self._listed_files = listed_files
        self._leases: dict[str, Lease] = {}
        self._warned: set[tuple[str, ...]] = set()
        self._sound: set[str] = set()  # results whose artifacts were checked
        self._ahead: dict[str, Pointer | None] = {}  # what was found ahead, by identity

    def find(self, identity: str) -> Pointer | None:
        """Return the pointer to the result of an identity, if there is one.

        Raises:
            Damaged: Its file cannot be read, or an artifact of the result is gone or is not what was stored.
        """
        if identity in self._ahead:
            return self._ahead.pop(identity)
        pointer = find_pointer(self._files, identity)
        if pointer is None:
            return None
        folder = layout.folder_of(pointer.trial)
        # It may have been deleted by hand. On object stores one request has to do: the listing of its artifacts, if it
        # has any.
        has_artifacts = not all(name.startswith("../") for name in pointer.artifacts)
        is_listed = not self._files.appends and (has_artifacts or pointer.trial in self._sound)
        if not is_listed and not self._files.exists(layout.join(folder, layout.STATUS)):
            return None
        if pointer.trial not in self._sound:
            fault = artifact_fault(self._files, folder, pointer.artifacts, pointer.time)
            if fault is not None:
                raise Damaged(f"{fault} (of {pointer.trial})", given=pointer.trial)
            self._sound.add(pointer.trial)
        return pointer

    def decide(self, spec: TrialSpec, result: Results) -> ReuseDecision:
        """Decide whether to run a trial or to reuse its result, see `decide_reuse`; raise `Damaged` as `find`."""
        if spec.definition.stored_at:
            return ReuseDecision("reuse", GIVEN, given_result(spec, self._files, ""))
        pointer = self.find(spec.identity)
        if pointer is None:
            return decide_reuse(spec, self._policy, None, None, {})
        changed = changed_input(self._files, pointer.inputs, result)
        code = self.code(spec)
        others = {path: self._code_digest(path) for path in pointer.code.keys() - code.keys()}
        return decide_reuse(spec, self._policy, pointer, changed, {**code, **others})

    def look_ahead(self, spec: TrialSpec, result: Results) -> ReuseDecision:
        """Decide as `decide`, and let the next decision be about the same result."""
        decision = self.decide(spec, result)
        self._ahead[spec.identity] = decision.pointer
        return decision

    def code(self, spec: TrialSpec) -> dict[str, str]:
        """Return the digests of the code that computes a trial, by file; see `code_digest`."""
        modules = modules_of(spec.definition)
        if modules not in self._code:
            code = {path: code_digest(data) for path, data in code_of(self._sources, modules).items()}
            # The code that ran was imported before the file changed.
            self._code[modules] = code | {path: "unknown" for path in self._changed if path in code}
        return self._code[modules]

    def _code_digest(self, path: str, expected: str = "") -> str:
        """Return `code_digest` of a file; "unknown" if it is not the expected one, "gone" if there is none."""
        try:
            data = self._sources.read(path)
        except OSError:
            return "unknown" if expected else "gone"
        return "unknown" if expected and digest(data) != expected else code_digest(data)

    def checked_code(self, spec: TrialSpec, outcome: Outcome) -> Outcome:
        """Return the outcome without the source files that the execution lists.

        The others are code of the component from now on. No source file contains the names of their modules.
        """
        others = {path: one for path, one in outcome.imported.items() if self._listed_files.get(path) != one}
        if others:
            self.code(spec).update({path: self._code_digest(path, one) for path, one in others.items()})
        return replace(outcome, imported=others) if others != outcome.imported else outcome

    def reusable(self, spec: TrialSpec, result: Results) -> Pointer | None:
        """Return the pointer to the result of a trial if it is reused; warn about results of other source code."""
        policy, definition = self._policy, spec.definition
        if definition.stored_at:
            return given_result(spec, self._files, self._folder)
        if not policy.shares(definition) or policy.mode is False or policy.reruns(definition):
            return None  # without reading the storage
        try:
            decision = self.decide(spec, result)
        except Damaged as error:
            warn(f"{error.message}; {spec.component} runs again", RuntimeWarning)
            return None
        pointer = decision.pointer
        if pointer is None or decision.action != "reuse":
            return None
        warning = (spec.component, pointer.trial.partition("/")[0], *decision.changed)
        if decision.changed and warning not in self._warned:
            self._warned.add(warning)
            name = spec.component
            warn(
                f"reusing {name} from {pointer.trial}, but its code has changed since: "
                f"{listed(decision.changed)}. To compute it again: rerun={name!r} (--rerun {name}); "
                "to always do so: reuse='same-code' (--reuse same-code)"
            )
        return pointer

    def publish(self, spec: TrialSpec, outcome: Outcome) -> Available:
        """Return the result of a finished trial, and make it available to others by writing a pointer to it."""
        place = f"{self._folder}/{spec.uid}"
        if not self._policy.publishes(spec.definition):
            return Available(place, outcome.artifacts)
        row = {
            "format": layout.FORMAT,
            "identity": spec.identity,
            "trial": place,
            "time": now(),
            "seconds": outcome.seconds,
            "record": outcome.record,
            "artifacts": dict(outcome.artifacts),
            "inputs": {name: dict(one._asdict()) for name, one in inputs_of(spec, outcome).items()},
            "code": self.code(spec),
        }
        self._files.write(layout.pointer(spec.identity), dumps(row).encode() + b"\n")
        return Available(place, outcome.artifacts)

    # leases

    def claim(self, spec: TrialSpec, result: Results) -> Pointer | str | None:
        """Take the lease of a trial that will run, and return None if this succeeds.

        Otherwise return the pointer to a result that another execution has just computed, or the name of its holder.
        """
        if not self._policy.shares(spec.definition) or spec.uid in self._leases:
            return None
        lease = self._locks.take(layout.lease(spec.identity), {"execution": self._folder, "uid": spec.uid})
        if lease is None:
            return self.holder(spec) or "another execution"
        self._leases[spec.uid] = lease
        pointer = self.reusable(spec, result)
        if pointer is not None:
            self.release(spec)
        return pointer

    def seems_abandoned(self, spec: TrialSpec) -> bool:
        """Return whether the process that computes a trial, on another host, seems to be gone."""
        return self._locks.seems_over(layout.lease(spec.identity))

    def holder(self, spec: TrialSpec) -> str | None:
        """Return which execution computes a trial, as text; None if none does."""
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


def inputs_of(spec: TrialSpec, outcome: Outcome) -> dict[str, Input]:
    """Return the inputs that a trial has read, by requirement."""
    identities = {name: facts["identity"] for name, facts in outcome.indirect.items()}
    identities |= {name: needed.identity for name, needed in spec.requires.items()}
    return {name: Input(identities[name], read) for name, read in outcome.inputs.items()}


def holder_text(facts: Mapping[str, Any]) -> str:
    """Return the holder of a lease as text: `OY1p1o on node7 (process 4711)`."""
    text = str(facts.get("execution") or "another execution")
    if facts.get("host"):
        text += f" on {facts['host']}"
    return f"{text} (process {facts['pid']})" if facts.get("pid") else text
