"""Run the trials of an exported folder. Its `run.py` calls this, with the copy of machinable that lies beside it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from inspect import unwrap
from typing import Any

from msgspec.structs import replace

from machinable.component.imports import importing, load_component
from machinable.execution.worker_task import InProcessTask
from machinable.plan.spec import MixinSpec, Target, TrialSpec, spec_from_data
from machinable.serialization import decode
from machinable.storage import layout
from machinable.storage.local import DirectoryFiles

__all__ = ["load_function", "main", "specs_of"]


def main(directory: str, arguments: Sequence[str]) -> int:
    """Run all trials of an exported folder, or those that are named.

    Args:
        directory: The exported folder.
        arguments: The uids of trials; none means all.

    Returns:
        The exit code: 0, 1 if a trial failed, 2 if nothing could be run.
    """
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        facts = decode(json.load(file))
    folder = facts["execution"]
    specs = specs_of(facts["trials"], folder)
    if unknown := [uid for uid in arguments if uid not in specs]:
        print(f"no trial {unknown[0]}; there are: {', '.join(specs)}", file=sys.stderr)
        return 2
    chosen = [spec for uid, spec in specs.items() if not arguments or uid in arguments]
    missing = sorted({name for spec in chosen for name in spec.definition.environment if name not in os.environ})
    if missing:
        print(f"set these environment variables, as the trials had them: {', '.join(missing)}", file=sys.stderr)
        return 2
    project, results = os.path.join(directory, "code"), os.path.join(directory, "results")
    # A value that trials share is computed by the first of them, with its random numbers.
    shutil.rmtree(os.path.join(results, layout.BY_CONTENT), ignore_errors=True)
    function = None if facts["function"] is None else load_function(facts["function"], project)
    work = InProcessTask(DirectoryFiles(results), folder, project, function=function)
    has_failed = False
    for spec in chosen:
        print(f"{spec.component} {spec.uid}", file=sys.stderr, flush=True)
        shutil.rmtree(os.path.join(results, folder, layout.trial(spec.uid)), ignore_errors=True)
        outcome = work(spec)
        if outcome.error is not None:
            has_failed = True
            print(outcome.error["traceback"].rstrip("\n"), file=sys.stderr, flush=True)
    work.close()
    return 1 if has_failed else 0


def load_function(name: str, project: str) -> Any:
    """Return the function `module:qualname`, without the decorator `execute`."""
    module, _, qualname = name.partition(":")
    with importing(project):
        return unwrap(load_component(Target(module, qualname, "function"), project))


def specs_of(trials: Sequence[Mapping[str, Any]], folder: str) -> dict[str, TrialSpec]:
    """Return the specifications of exported trials by uid.

    Args:
        trials: What config.json says about each of them; what a trial requires comes before it.
        folder: Where results lie in the storage.
    """
    specs: dict[str, TrialSpec] = {}
    for facts in trials:
        specs[facts["uid"]] = _spec(facts, specs, folder)
    return specs


def _spec(facts: Mapping[str, Any], others: Mapping[str, TrialSpec], folder: str) -> TrialSpec:
    planned = facts["planned"]
    spec = spec_from_data({**facts, "config": planned["config"]})
    definition = replace(
        spec.definition,
        **_code(facts),
        children=tuple(
            replace(child, **_code(code)) for child, code in zip(spec.children, facts["children"], strict=True)
        ),
        seeding=None if planned["seeding"] is None else tuple(planned["seeding"]),
        change_directory=facts["change_directory"],
        environment={name: os.environ.get(name, "") for name in facts["environment"]},
        default_threads=facts["threads"],
        content=facts["content"],
    )
    requires = {
        name: replace(needed, place=layout.join(folder, needed.uid), spec=others[needed.uid])
        for name, needed in spec.requires.items()
    }
    return replace(spec, definition=definition, requires=requires)


def _code(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the code of a component is, and how its configuration is read."""
    return {
        "target": Target(facts["target"], facts["class"], facts["kind"]),
        "mixins": tuple(MixinSpec(*mixin) for mixin in facts["mixins"]),
        "evaluate": facts["evaluate"],
    }
