"""Writes a folder that repeats stored trials without machinable."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from machinable.config.method_calls import calls_in
from machinable.errors import ArtifactExists, Refused, StorageUnavailable
from machinable.plan.table import flatten
from machinable.replay.rerun import asked, request_of
from machinable.replay.restore_code import Code, codes_of, project_of, refuse_unreachable
from machinable.replay.source_files import Needed, needed
from machinable.results.execution import Execution
from machinable.results.storage import Storage
from machinable.results.trial import Trial
from machinable.serialization import Plain, decode, encode
from machinable.storage.files import temporary_beside

__all__ = ["RUNTIME", "Exported", "export", "facts_of"]

RUNTIME = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exported")
SEEDING = ("random.seed", "numpy.random.seed", "torch.manual_seed", "tensorflow.random.set_seed")

RUN = '''\
"""Repeats trials of {execution}, in their order: python run.py [UID…]

What they are stands in config.json, their code in code/. What comes out goes to results/<uid>/: rows to records/,
files to artifacts/, the result to outcome.json. {python}
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

from machinable.runtime import main  # noqa: E402

sys.exit(main(HERE, sys.argv[1:]))
'''


class Exported(NamedTuple):
    """What was written.

    Attributes:
        directory: where it is. trials: the uids in the order in which they run. modules: the files of the project.
        requirements: other packages that are imported, with their versions. notes: what the folder does not have.
    """

    directory: str
    trials: list[str]
    modules: list[str]
    requirements: list[str]
    notes: list[str]

    def as_data(self) -> dict[str, Plain]:
        """All of it for programs."""
        return self._asdict()


def export(
    storage: Storage, identifier: str, to: str, *, uids: Sequence[str] | None = None, project: str | None = None
) -> Exported:
    """Write the folder: modules, configurations, a small runtime, and `run.py`.

    Args:
        to: the folder; it must not be there. uids: of the trials that are wanted, with what they require; None: all.
        project: a directory with the code, in place of the code backup.

    Raises:
        NotStored: no such execution or trial. ArtifactExists: the folder is there already.
        Refused: there is no code backup, or a component's code is not in it.
    """
    execution = storage[identifier]
    target = os.path.abspath(os.path.expanduser(to))
    if os.path.lexists(target):
        raise ArtifactExists(f"{to} exists already", given=to, todo="Name a folder that is not there yet: --to DIR.")
    wanted = execution.trials if uids is None else [execution[uid] for uid in uids]
    trials = _with_required(execution, wanted)
    refuse_unreachable(execution)
    code, *others = [Code(None, trials)] if project is not None else codes_of(execution, trials)
    if others:
        raise Refused(
            f"{execution} was resumed with other code, so that its trials cannot share one folder",
            given=str(execution),
            todo=f"Export those that began with it: --trial {' --trial '.join(_uids(others[0]))}",
        )
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="machinable-export-") as directory:
        place, notes = project_of(execution, code, project, os.path.join(directory, "code"))
        names = [trial.uid for trial in trials]
        described: Mapping[str, Any] = asked(request_of("describe", execution, names, place), directory)
        facts = [_facts(trial, described[trial.uid]) for trial in trials]
        found = needed(place, _modules(facts))
        if found.missing:
            raise Refused(
                f"the code of {execution} is not in its project: there is no module {', '.join(found.missing)}",
                given=found.missing,
                todo="What belongs to an installed package can only be repeated with it.",
            )
        requirements = _requirements(found, execution.data.get("packages") or {})
        _write(target, place, execution, facts, found, requirements)
    return Exported(target, names, found.files, requirements, [*notes, *_notes(facts, described, found)])


def _uids(code: Code) -> list[str]:
    return [trial.uid for trial in code.trials]


def _with_required(execution: Execution, wanted: Sequence[Trial]) -> list[Trial]:
    """The trials, and those that they require, in the order of the plan."""
    waiting = [trial.uid for trial in wanted]
    kept: set[str] = set()
    while waiting:
        trial = execution[waiting.pop()]
        if trial.uid not in kept:
            kept.add(trial.uid)
            waiting += [need["uid"] for need in trial.planned("requires").values()]
    return [trial for trial in execution.trials if trial.uid in kept]


def _facts(trial: Trial, code: Mapping[str, Any]) -> dict[str, Any]:
    planned = {part: decode(trial.planned(part)) for part in ("config", "children")}
    return facts_of(trial.description, planned, code)


def facts_of(described: Mapping[str, Any], planned: Mapping[str, Any], code: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says about a trial.

    Args:
        described: what trial.json says. planned: its line in plan.jsonl. code: how its code is found.
    """
    children = [
        {**child, **own, "calls": dict(calls_in(child["config"]))}
        for child, own in zip(planned["children"], code["children"], strict=True)
    ]
    seeding = described.get("seeding")
    about = {key: value for key, value in code.items() if key != "hidden"}
    return {
        **described,
        **about,
        "seeding": list(SEEDING if seeding is None else seeding),
        "calls": dict(calls_in(planned["config"])),
        "children": children,
    }


def _modules(facts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The modules that trials need: those of components, children and mixins, and functions for seeding."""
    for trial in facts:
        for one in (trial, *trial["children"]):
            yield one["target"]
            yield from (module for _, module, _ in one["mixins"])


def _requirements(found: Needed, packages: Mapping[str, str]) -> list[str]:
    """Other packages that are imported, with the versions that were installed then."""
    from importlib.metadata import packages_distributions

    known = packages_distributions()
    names = {name for name in found.others if name not in sys.stdlib_module_names and name != "machinable"}
    lines = []
    for name in sorted(names):
        distributions = [one.lower().replace("_", "-") for one in known.get(name, [name])]
        versions = [f"{one}=={packages[one]}" for one in dict.fromkeys(distributions) if one in packages]
        lines += versions or [f"# {name}: it was not installed as a package of that name"]
    return lines


def _notes(facts: Sequence[Mapping[str, Any]], code: Mapping[str, Any], found: Needed) -> Iterator[str]:
    """What the folder does not have."""
    hidden = sorted({key for one in code.values() for part in (one, *one["children"]) for key in part["hidden"]})
    if hidden:
        yield f"hidden values are not stored, so they are not there: {', '.join(hidden)}"
    secret = sorted(
        {
            path
            for trial in facts
            for one in (trial, *trial["children"])
            for path, value in flatten(one["config"]).items()
            if isinstance(value, str) and "${" in value
        }
    )
    if secret:
        yield f"values of the environment are not stored and stay text: {', '.join(secret)}"
    variables = sorted({name for trial in facts for name in trial["environment"]})
    if variables:
        yield f"set these variables before you run it: {', '.join(variables)}"
    checkpoints = sorted({str(trial["flags"]["CHECKPOINT"]) for trial in facts if "CHECKPOINT" in trial["flags"]})
    if checkpoints:
        yield f"checkpoints that trials begin from are not there: {', '.join(checkpoints)}"
    if found.unread:
        yield f"these files do not parse, so what they import is not known: {', '.join(found.unread)}"


def _write(
    target: str,
    place: str,
    execution: Execution,
    facts: Sequence[Mapping[str, Any]],
    found: Needed,
    requirements: Sequence[str],
) -> None:
    """Write the folder beside, and give it its name when all is there."""
    temporary = temporary_beside(target)
    data = execution.data
    python = f"It ran with Python {data['python']}." if data.get("python") else ""
    config = {"execution": str(execution), "seed": execution.seed, "python": data.get("python"), "trials": facts}
    try:
        os.makedirs(temporary)
        for file in found.files:
            goal = os.path.join(temporary, "code", *file.split("/"))
            os.makedirs(os.path.dirname(goal), exist_ok=True)
            shutil.copyfile(os.path.join(place, *file.split("/")), goal)
        os.mkdir(os.path.join(temporary, "machinable"))
        for name in sorted(os.listdir(RUNTIME)):
            if name.endswith(".py"):
                shutil.copyfile(os.path.join(RUNTIME, name), os.path.join(temporary, "machinable", name))
        texts = {
            "config.json": json.dumps(encode(config), indent=1) + "\n",
            "run.py": RUN.format(execution=execution, python=python),
            "requirements.txt": "".join(f"{line}\n" for line in requirements),
        }
        for name, text in texts.items():
            with open(os.path.join(temporary, name), "w", encoding="utf-8") as stream:
                stream.write(text)
        os.rename(temporary, target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageUnavailable(
            f"{target} cannot be written: {error.strerror or error}",
            given=target,
            todo="Name another folder: --to DIR.",
        ) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
