"""Write a directory that runs stored trials again without an installed machinable."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from machinable.component.source_files import SourceFiles, Sources, find_source_files
from machinable.errors import ArtifactExists, Refused, StorageUnavailable, listed
from machinable.plan.table import flatten
from machinable.replay.rerun import PACKAGE, submit, with_required
from machinable.replay.restore_code import CodeVersion, code_versions, refuse_other_code, refuse_unreachable, restore
from machinable.results.execution import Execution
from machinable.results.reader import code_facts, import_paths
from machinable.results.storage import Storage
from machinable.results.trial import Trial
from machinable.serialization import Plain, decode, encode
from machinable.storage.code_snapshot import is_secret_file, leads_out, project_files, scan
from machinable.storage.temporary import Scratch, temporary_beside

__all__ = ["Exported", "export"]

OWN = ("index", "uid", "seed", "flags", "tags", "requires")  # of a reused trial, not of the one it was taken from
_SCHEMA = re.compile(rb"^\s+(?:class\s+)?Config\b\s*[(:=]", re.MULTILINE)
# What a storage says becomes text of run.py and requirements.txt only if it is of these forms.
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]*", re.ASCII)
LEFT_OUT = ("__main__.py", "__pycache__", "cli", "testing")  # of the package: no trial needs it

RUN = '''\
"""Repeat the trials of {execution}, in their order: python run.py [UID…]

config.json describes the trials, and code/ contains their code. Results are written to the storage results/: in
{execution}/trials/<uid>/, rows to records/, files to artifacts/, state and result to status.json. {python}

First install the packages that the trials import: python -m pip install -r requirements.txt
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

try:
    import msgspec  # noqa: F401 - the one package that machinable/ itself needs here
except ModuleNotFoundError:
    sys.exit(
        "the package msgspec is not installed, which run.py needs\\n"
        f"  Install it and what the trials import: {{sys.executable}} -m pip install -r requirements.txt"
    )

from machinable.replay.exported import main  # noqa: E402

sys.exit(main(HERE, sys.argv[1:]))
'''


class Exported(NamedTuple):
    """An export: its directory, the uids of its trials, its project files, the packages it needs, and what it lacks."""

    directory: str
    trials: list[str]
    modules: list[str]
    requirements: list[str]
    notes: list[str]

    def as_data(self) -> dict[str, Plain]:
        """Return all of it for programs."""
        return self._asdict()


def export(
    storage: Storage, identifier: str, to: str, *, uids: Sequence[str] | None = None, project: str | None = None
) -> Exported:
    """Write a directory with the code and configuration of trials, this package, and a `run.py`.

    Args:
        storage: Where the execution is stored.
        identifier: The execution.
        to: The directory, which must not exist.
        uids: The trials, exported with their requirements; None means all.
        project: A directory with the code, instead of the code backup.

    Raises:
        NotStored: There is no such execution or trial.
        ArtifactExists: The directory exists.
        Refused: There is no code backup, or it lacks the code of a component.
    """
    execution = storage[identifier]
    target = os.path.abspath(os.path.expanduser(to))
    if os.path.lexists(target):
        raise ArtifactExists(f"{to} already exists", given=to, todo="Name a directory that does not exist: --to DIR.")
    wanted = [trial.uid for trial in execution] if uids is None else uids
    chosen = with_required(wanted, lambda uid: [one["uid"] for one in execution[uid].planned("requires").values()])
    trials = [trial for trial in execution if trial.uid in chosen]
    if not trials:
        raise Refused(f"{execution} has no trials", given=str(execution), todo="There is nothing to export.")
    refuse_unreachable(execution)
    version, *others = (
        code_versions(execution, trials) if project is None else [CodeVersion(None, {}, (), list(trials))]
    )
    if others:
        raise Refused(
            f"{execution} was resumed with different code, so its trials cannot share one directory",
            given=str(execution),
            todo="Export those that began with it: " + " ".join(f"--trial {trial.uid}" for trial in others[0].trials),
        )
    with Scratch() as directory:
        source, notes = restore(execution, version.file, project, os.path.join(directory, "code"))
        refuse_other_code(execution, version.files, source, version.changed)
        names = [trial.uid for trial in trials]
        described: Mapping[str, Any] = submit(execution, "describe", names, source, directory)
        facts = [_facts(trial, described[trial.uid]["definition"]) for trial in trials]
        parts = [part for one in facts for part in (one["definition"], *one["definition"]["children"])]
        modules = [code["module"] for part in parts for code in (part["target"], *part["mixins"])]
        sources = Sources(source, paths=import_paths(execution.data))
        modules += [name for name in map(sources.module_of, version.files) if name is not None]
        found = find_source_files(sources, modules)
        compiled = [path for path in version.files if sources.exists(path)]  # such as extension modules
        found = replace(found, files=sorted({*found.files, *compiled}))
        if found.missing:
            raise Refused(
                f"the code of {execution} is not in its project: there is no module {', '.join(found.missing)}",
                given=found.missing,
                todo="What belongs to an installed package can only be repeated with it.",
            )
        notes += _notes(facts, described, found)
        found, left_out = _chosen(source, found)
        notes += left_out
        requirements = _requirements(trials, source, found, execution.data.get("packages") or {})
        _write(target, source, execution, facts, found, requirements)
    return Exported(target, names, found.files, requirements, notes)


def _chosen(source: str, found: SourceFiles) -> tuple[SourceFiles, list[str]]:
    """Return the files that a code backup would contain as well, and notes about the others."""
    packed = project_files(source)
    outside = [file for file in found.files if leads_out(source, file)]
    # A link to a folder of the project, such as an imported project in vendor/, is packed as a link beside its files.
    root = os.path.realpath(source)
    real = {file: Path(os.path.realpath(os.path.join(root, file))) for file in found.files if file not in outside}
    ignored = [file for file, path in real.items() if not {file, path.relative_to(root).as_posix()} & packed]
    files = [file for file in found.files if file not in ignored and file not in outside]
    secret = [file for file in files if is_secret_file(file)]
    files = [file for file in files if file not in secret]
    possible = [one for file in files for one in scan(file, Path(source, file).read_bytes())]
    notes = {
        "left out, because ignore rules exclude them": ignored,
        "left out, because they are links out of the project": outside,
        "left out, because files of these names contain secrets": secret,
        "the export contains possible secrets": possible,
    }
    return replace(found, files=files), [f"{text}: {listed(names)}" for text, names in notes.items() if names]


def _facts(trial: Trial, definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts about a trial for config.json: those of trial.json, the planned configuration, and its code."""
    own = {part: decode(trial.planned(part)) for part in (*(OWN if trial.status == "reused" else ()), "children")}
    return {**trial.description, **own, "planned": decode(trial.planned("config")), "definition": definition}


def _requirements(trials: Iterable[Trial], source: str, found: SourceFiles, packages: Mapping[str, str]) -> list[str]:
    """Return the packages that this one needs to run the trials, and those that their code imports, with versions.

    PyYAML is needed where they write YAML, pydantic for `class Config`. The versions of others are those they ran with,
    without local labels such as `+cpu`, which package indexes do not have.
    """
    from importlib.metadata import packages_distributions, version

    own = ["msgspec", "threadpoolctl"]
    if any(name.lower().removesuffix(".gz").endswith((".yaml", ".yml")) for trial in trials for name in trial.files):
        own.append("pyyaml")
    if any(_SCHEMA.search(Path(source, file).read_bytes()) for file in found.files if file.endswith(".py")):
        own.append("pydantic")
    lines = [f"{name}=={version(name)}" for name in own]
    known = packages_distributions()
    for name in found.others:
        if name not in sys.stdlib_module_names and name != "machinable":
            distributions = [one.lower().replace("_", "-") for one in known.get(name, [name])]
            versions = [
                f"{one}=={packages[one].partition('+')[0]}"
                for one in distributions
                if one in packages and _NAME.fullmatch(one) and _VERSION.fullmatch(packages[one])
            ]
            lines += versions or [f"# {name}: it was not installed as a package of that name"]
    return list(dict.fromkeys(lines))


def _notes(facts: Sequence[Mapping[str, Any]], code: Mapping[str, Any], found: SourceFiles) -> list[str]:
    """Return notes about what the export lacks."""
    configs = [flatten(one["config"]) for trial in facts for one in (trial, *trial["children"])]
    hidden = {key for one in code.values() for key in one["hidden"]}
    secret = {path for one in configs for path, value in one.items() if isinstance(value, str) and "${" in value}
    variables = {name for one in facts for name in one["definition"]["environment"]}
    checkpoints = {str(one["flags"]["CHECKPOINT"]) for one in facts if "CHECKPOINT" in one["flags"]}
    lacking = {
        "hidden values are not stored, so the export lacks them": hidden,
        "values of environment variables are not stored and stay text": secret,
        "set these environment variables before you run it": variables,
        "the export lacks the checkpoints from which trials start": checkpoints,
        "these files cannot be parsed, so their imports are unknown": found.unread,
    }
    return [f"{text}: {', '.join(sorted(names))}" for text, names in lacking.items() if names]


def _write(
    target: str,
    source: str,
    execution: Execution,
    facts: Sequence[Mapping[str, Any]],
    found: SourceFiles,
    requirements: Sequence[str],
) -> None:
    """Write the directory under a temporary name, and rename it when it is complete."""
    temporary = temporary_beside(target)
    data = {**execution.data, "code": {**code_facts(execution.data), "backup": None}}
    for local in ("host", "packages"):  # of the original host, not for recipients of the export
        data.pop(local, None)
    config = {"folder": str(execution), "execution": data, "trials": facts}
    is_version = isinstance(data.get("python"), str) and _VERSION.fullmatch(data["python"])
    python = f"They ran with Python {data['python']}." if is_version else ""
    texts = {
        "config.json": json.dumps(encode(config), indent=1) + "\n",
        "run.py": RUN.format(execution=execution, python=python),
        "requirements.txt": "".join(f"{line}\n" for line in requirements),
    }
    try:
        for file in found.files:
            copy = os.path.join(temporary, "code", file)
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copyfile(os.path.join(source, file), copy)
        shutil.copytree(PACKAGE, os.path.join(temporary, "machinable"), ignore=shutil.ignore_patterns(*LEFT_OUT))
        for name, text in texts.items():
            Path(temporary, name).write_text(text, encoding="utf-8")
        os.rename(temporary, target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            reason = f"{target} cannot be written: {error.strerror or error}"
            raise StorageUnavailable(reason, given=target, todo="Name another directory: --to DIR.") from error
        raise
