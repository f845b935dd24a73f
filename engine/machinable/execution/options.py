"""Read the options of an execution from the call, the environment, the project and the user's settings, in this order.

The user's settings are in `~/.machinable/settings.yaml`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, TypeAlias, get_args

from msgspec import Struct

from machinable import ids
from machinable.config.includes import ProjectReader
from machinable.config.interpolation import Resolver
from machinable.config.loader import FILE, load
from machinable.config.nodes import (
    UNREADABLE,
    MappingNode,
    ProjectScope,
    SequenceNode,
    Source,
    unwrapped,
    without_keys,
)
from machinable.engines.registry import KNOWN, is_known, make
from machinable.errors import (
    ImportFailed,
    InvalidType,
    InvalidValue,
    MachinableError,
    MalformedText,
    MissingFile,
    Place,
    SeveralErrors,
    StorageUnavailable,
    UnknownName,
    suggestion,
    warn,
)
from machinable.events import Listener
from machinable.listeners import registry
from machinable.plan.reserved_keys import checked_count, checked_seconds, parse_declared_resources
from machinable.plan.task import Task
from machinable.project import Project, ProjectDirectory
from machinable.settings import StorageChoice, choose, storage_choice
from machinable.storage.locks import LEASE
from machinable.storage.open import storage_url

__all__ = [
    "OPTIONS",
    "NamedListener",
    "OnBusy",
    "OnFailure",
    "Options",
    "Policy",
    "declared_storage",
    "engine_errors",
    "load_listeners",
    "named_listeners",
    "preferences",
    "read_options",
    "section_errors",
]

OnFailure: TypeAlias = Literal["raise", "continue", "stop"]
OnBusy: TypeAlias = Literal["wait", "skip", "fail"]

OPTIONS = ("resume", "rerun", "cascade", "reuse", "on_busy", "on_failure", "retries", "retry_delay", "timeout")
RAY_WORKING_DIRECTORY = "/runtime_resources/working_dir_files/"  # in the paths of the copies that Ray makes for jobs
ARGUMENTS = ("task", "storage", "seed", "engine", "project", *OPTIONS, "listeners", "progress")
PREFERENCES = ("imports", "storage", "engine", "listeners")
SETTINGS = "~/.machinable/settings.yaml"


class Policy(Struct, frozen=True):
    """What to do if a trial fails or another execution is computing its result."""

    on_failure: OnFailure  # "stop" starts no trial after the first failure
    retries: int  # further attempts of a failed trial
    retry_delay: float  # seconds to wait before each retry
    timeout: float | None  # seconds that an attempt may take; None for no limit
    on_busy: OnBusy  # what to do about results that another execution is computing


class Options(Struct, frozen=True):
    """How one task is executed."""

    project: Project
    storage: StorageChoice  # as it was chosen
    url: str  # of the storage as it is opened; that of memory if none was chosen
    seed: Any  # as it was given; None for a new one
    engine: Any  # as it was given; None for the default
    policy: Policy
    reuse: Any  # as given, like the next two, which `reuse_policy` checks
    rerun: Any
    cascade: Any
    locks: tuple[str | None, float]  # the URL of the lock server (None for the storage) and the seconds of a lease
    resources: Mapping[str, object] | None  # declared by the project for this host
    resume: str | None  # the execution to resume
    function: Callable[..., Any] | None  # runs instead of every component
    listeners: tuple[Listener, ...]
    named: tuple[NamedListener, ...]  # those that settings name, which `prepare` adds to `listeners`


class NamedListener(Struct, frozen=True):
    """A listener as it is named in settings, and where."""

    given: Any
    at: Place | None
    path: str


def check_settings(task: Task) -> None:
    """Check the settings of a declared task.

    Raises:
        ConfigurationError, UsageError: Some are wrong; the errors say where they are written.
    """
    errors = list(section_errors(task.settings))
    for error in errors:
        error.path = f"tasks.{task.execution_name}.execution"
    SeveralErrors.raise_any(errors)


def read_options(
    task: Task | None,
    storage: Any,
    seed: Any,
    engine: Any,
    project: Project,
    call: Mapping[str, Any],
    function: Callable[..., Any] | None = None,
    listeners: tuple[Listener, ...] = (),
) -> Options:
    """Return the options that apply to a task; `call` has the further arguments of `execute`, see `OPTIONS`.

    Raises:
        ConfigurationError, UsageError: An option has a wrong type or value.
    """
    for name in call:
        if name not in OPTIONS:
            raise InvalidType(
                f"execute takes no argument {name!r}",
                given=name,
                known=ARGUMENTS,
                todo="Only the command line runs in the background: machinable execute … --detach"
                if name == "detach"
                else suggestion(name, ARGUMENTS, f"It takes {', '.join(ARGUMENTS)}."),
            )
    settings = {} if task is None else task.settings
    if task is not None and settings:
        check_settings(task)
    section: Mapping[str, Any] = {}
    try:
        section = Resolver(project.workspace().main.execution, "execution").copy()
    except MissingFile:  # classes and functions need no project
        if task is not None and any(isinstance(one.name, str) for one in task.components):
            raise
    section = {**section, **settings}
    user = preferences(os.environ)
    chosen = storage_choice(storage, os.environ, section, user)
    base = project.path if chosen.source == "project" else None
    url = storage_url(chosen.url, base) if chosen.url is not None else "mem://"
    if RAY_WORKING_DIRECTORY in url:
        warn(
            f"the storage {url} is in the copy of the working directory that Ray has made for this job and removes "
            "later; give an absolute path or a URL"
        )
    resume = call.get("resume")
    if resume is None:  # a resumed execution has its seed already
        choice = choose("seed", seed, os.environ, section, user)
        seed = ids.seed_of_text(choice.value) if choice.source == "environment" else choice.value
        if (doubt := ids.doubt_about(seed)) is not None:
            warn(doubt)
    cascade = call.get("cascade")
    return Options(
        project=project,
        storage=chosen,
        url=url,
        seed=seed,
        engine=choose("engine", engine, os.environ, section, user).value,
        policy=_policy(call, section),
        reuse=_choice("reuse", call, section, True),
        rerun=call.get("rerun"),
        cascade=True if cascade is None else cascade,
        locks=_locks(section),
        resources=section.get("resources"),
        resume=resume,
        function=function,
        listeners=listeners,
        named=named_listeners(project, user, os.environ, settings),
    )


def named_listeners(
    project: Project, user: Mapping[str, Any], environment: Mapping[str, str], settings: Mapping[str, Any] = {}
) -> tuple[NamedListener, ...]:
    """Return the listeners of the environment, else those of the project and of the user, each once.

    Those in the `settings` of a task replace those of the project.

    Raises:
        InvalidType: `listeners` is not a list.
    """
    variable = environment.get("MACHINABLE_LISTENERS", "")
    if variable:
        names = [] if variable.lower() == "off" else [name.strip() for name in variable.split(",")]
        return tuple(NamedListener(name, None, "MACHINABLE_LISTENERS") for name in names if name)
    found: list[NamedListener] = []
    section: Any = {}
    with suppress(MissingFile):
        section = project.workspace().main.execution
    section = settings if settings.get("listeners") is not None else section
    node = unwrapped(section.get("listeners"))
    for source, given in (
        ("execution.listeners", Resolver(section, "execution").copy().get("listeners") if node is not None else None),
        (f"listeners in {SETTINGS}", user.get("listeners")),
    ):
        is_project = source.startswith("execution")
        if given is None:
            continue
        if not isinstance(given, list):
            raise InvalidType(
                f"{source} is {given!r}, and not a list",
                at=section.place("listeners") if is_project else None,
                given=given,
                todo=f"Put it in brackets: listeners: [{given if isinstance(given, str) else 'webhook'}].",
            )
        for index, one in enumerate(given):
            at = node.place(index) if is_project and isinstance(node, SequenceNode) else None
            if all(one != other.given for other in found):
                found.append(NamedListener(one, at, source))
    return tuple(found)


def declared_storage(project: str) -> Any:
    """Return the storage that a project declares, None without one; errors elsewhere in its file do not matter.

    Raises:
        ConfigurationError: It cannot be read; the error is that of the whole file.
    """
    files, scope = ProjectDirectory(project), ProjectScope()
    try:
        scope.root = root = ProjectReader(files, os.environ).read(FILE, scope, kind="project file")
    except MissingFile as error:
        if error.given != FILE:
            raise
        return None
    section = root.get("execution") if isinstance(root, MappingNode) else root
    if isinstance(section, MappingNode) and section.get("storage") is not UNREADABLE:
        section = without_keys(section, [key for key in section if key != "storage"])
    elif section is not None:
        section = load(files, os.environ).main.execution
    return Resolver(section or {}, "execution").copy().get("storage")


def load_listeners(named: Iterable[NamedListener], project: str) -> tuple[Listener, ...]:
    """Return the listeners that settings name.

    Raises:
        ConfigurationError, UsageError: Some are unknown, cannot be imported, or do not accept an option.
    """
    found: list[Listener] = []
    errors: list[MachinableError] = []
    for one in named:
        try:
            found.append(registry.make(one.given, project))
        except MachinableError as error:
            error.at, error.path = error.at or one.at, error.path or one.path
            errors.append(error)
    SeveralErrors.raise_any(errors)
    return tuple(found)


def preferences(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the user's settings; none if there is no file, or the home directory is that of another user.

    Raises:
        MalformedText: The file is not YAML, or not a mapping.
        UnknownName: The file has an unknown key.
    """
    path = os.path.expanduser(SETTINGS)
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError:
        if not os.access(os.path.dirname(path), os.X_OK):
            return {}  # as in a container that runs for another user
        raise StorageUnavailable(
            f"{SETTINGS} cannot be read: permission denied", given=path, todo="Change its permissions."
        ) from None
    from machinable.config.reader import read  # 15 ms with yaml, and few users have settings

    tree = read(Source(SETTINGS, text), environment=environment)
    if tree is None:
        return {}
    if not isinstance(tree, MappingNode):
        raise MalformedText(f"{SETTINGS}: expected a mapping", given=tree)
    for key in tree:
        if key not in PREFERENCES:
            raise UnknownName("setting", key, PREFERENCES, at=tree.place(key))
    return Resolver(tree, "settings").copy()


def section_errors(section: Mapping[str, Any]) -> Iterator[MachinableError]:
    """Yield what is wrong with the values of `execution` in machinable.yaml, with their places."""
    for key in section:
        try:
            one = {key: Resolver(section, "execution").copy()[key]}
            storage_choice(None, {}, one, {})
            _policy({}, one)
            _locks(one)
            parse_declared_resources(one.get("resources"), "execution.resources")
            name = _engine_name(one.get("engine"))
            if name and not is_known(name.partition(":")[0]):
                raise UnknownName("engine", name, KNOWN)
        except MachinableError as error:
            error.at = error.at or (section.place(key) if isinstance(section, MappingNode) else None)
            yield error


def _engine_name(engine: Any) -> str:
    name = engine.get("type") if isinstance(engine, Mapping) else engine
    return name if isinstance(name, str) else ""


def engine_errors(section: Mapping[str, Any]) -> Iterator[MachinableError]:
    """Yield what is wrong with the options of the engine in a section `execution`, if its package is installed."""
    try:
        engine = Resolver(section, "execution").copy().get("engine")
        if is_known(_engine_name(engine).partition(":")[0]):
            make(engine)
    except ImportFailed:
        pass  # it may be there where the project is executed
    except MachinableError as error:
        error.at = error.at or (section.place("engine") if isinstance(section, MappingNode) else None)
        yield error


def _choice(name: str, call: Mapping[str, Any], section: Mapping[str, Any], default: Any) -> Any:
    return choose(name, call.get(name), {}, section, {}, default).value


def _policy(call: Mapping[str, Any], section: Mapping[str, Any]) -> Policy:
    on_failure = _choice("on_failure", call, section, "raise")
    on_busy = _choice("on_busy", call, section, "wait")
    for name, value, known in (("on_failure", on_failure, get_args(OnFailure)), ("on_busy", on_busy, get_args(OnBusy))):
        if value not in known:
            raise InvalidValue(f"{name} is {value!r}", given=value, known=known, todo=f"Expected {' or '.join(known)}.")
    timeout = _choice("timeout", call, section, None)
    if timeout is not None and not checked_seconds(timeout, "timeout"):
        raise InvalidValue(
            "timeout is 0 seconds", given=timeout, todo="Give more than 0, or leave it out for no limit."
        )
    retries = checked_count(_choice("retries", call, section, 0), "retries")
    delay = checked_seconds(_choice("retry_delay", call, section, 0.0), "retry_delay")
    return Policy(on_failure, retries, delay, timeout, on_busy)


def _locks(section: Mapping[str, Any]) -> tuple[str | None, float]:
    url = choose("locks", None, os.environ, section, {}).value
    if url == "storage":  # set in the environment, it overrides the server that the project names
        url = None
    if url is not None and not isinstance(url, str):
        raise InvalidType(
            f"locks is {url!r}", given=url, todo="Expected the URL of a lock server, such as redis://host:6379/0."
        )
    lease = checked_seconds(_choice("lease", {}, section, LEASE), "execution.lease")
    if lease < 1:
        raise InvalidValue(f"a lease of {lease:g} s is too short", given=lease, todo="Give at least one second.")
    return url, lease
