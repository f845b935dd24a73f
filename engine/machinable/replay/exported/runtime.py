"""Repeats trials: reads what they are from `config.json`, and writes what comes out to `results/<uid>/`."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

from .components import Component, Mixin, Part, create, live  # noqa: TID252 - the package has another name in a folder
from .records import Record, Store  # noqa: TID252
from .seeding import Seeding  # noqa: TID252
from .values import Config, MissingKey, Scope, decode, encode, plain  # noqa: TID252

__all__ = ["main"]

_THREADS = (
    "BLIS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def main(home: str, arguments: Sequence[str]) -> int:
    """Repeat trials, all or those of these uids. Gives 1 if one failed.

    Args:
        home: the exported folder.
    """
    with open(os.path.join(home, "config.json"), encoding="utf-8") as file:
        facts = decode(json.load(file))
    trials = {trial["uid"]: trial for trial in facts["trials"]}
    unknown = [uid for uid in arguments if uid not in trials]
    if unknown:
        print(f"no trial {unknown[0]}; there are: {', '.join(trials)}", file=sys.stderr)
        return 2
    sys.path.insert(0, os.path.join(home, "code"))
    failed = 0
    for uid, trial in trials.items():
        if not arguments or uid in arguments:
            print(f"{trial['component']} {uid}", file=sys.stderr, flush=True)
            failed += not Trial(home, trial, trials).run()
    return 1 if failed else 0


class Trial:
    """One trial: what happens around its events, and what its components find in `self`."""

    def __init__(
        self, home: str, facts: Mapping[str, Any], others: Mapping[str, Any], *, is_over: bool = False
    ) -> None:
        self._home = home
        self._facts = facts
        self._others = others
        self._path = os.path.join(home, "results", facts["uid"])
        self._seeding = Seeding(facts["seeding"], facts["seed"])
        self.beginning = time.perf_counter()
        self.node: Component | None = None
        self._log: logging.Logger | None = None
        self._record: Record | None = None
        self._store: Store | None = None
        if not is_over:
            shutil.rmtree(self._path, ignore_errors=True)
            os.makedirs(self._path)

    def run(self) -> bool:
        """Repeat it; whatever the component raises is printed and kept. True if it has finished."""
        outcome: dict[str, Any] = {"state": "finished", "result": None, "error": None}
        try:
            with _surroundings(self._facts, self):
                result = self._live()
            try:
                outcome["result"] = encode(plain(result))
            except TypeError as error:
                self.log.warning("the result is dropped: %s", error)
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            text = "".join(traceback.format_exception(error))
            outcome["state"] = "failed"
            outcome["error"] = {"type": type(error).__name__, "message": str(error), "traceback": text}
        finally:
            self._seeding.close()
            for handler in self._log.handlers if self._log else ():
                handler.close()
        with open(os.path.join(self._path, "outcome.json"), "w", encoding="utf-8") as file:
            file.write(json.dumps(outcome) + "\n")
        return bool(outcome["state"] == "finished")

    def _live(self) -> Any:
        code = self._code(self._facts)
        flags = {**self._facts["flags"], "ATTEMPT": 1}
        if not isinstance(code, type):
            return self._call(code, flags)
        try:
            node = self._construct(code, self._facts, flags, None)
            self.node = node
            node.__dict__["__machinable__"].is_started = True
            self.begin()
            result = live(node, self)
            node.on_success(result)
        except BaseException as error:
            self._quietly("on_failure", error)
            self._quietly("on_finish", None, False)
            raise
        try:
            node.on_finish(result, True)
        except BaseException as error:
            self._quietly("on_failure", error)
            raise
        return result

    def _quietly(self, event: str, *arguments: Any) -> None:
        if self.node is None:
            return
        try:
            getattr(self.node, event)(*arguments)
        except BaseException:
            self.log.error("%s raised an exception\n%s", event, traceback.format_exc())

    def _call(self, function: Callable[..., Any], flags: Mapping[str, Any]) -> Any:
        """A function in place of a component: it is called once, and there are no events."""
        import inspect

        component = self._construct(Component, self._facts, flags, None)
        component.children = self.child_specs()
        component.__dict__["__machinable__"].is_started = True
        self.seed(None)
        self.begin()
        lent = ("config", "flags", "children", "requires", "tags", "log", "record", "store", "component")
        names = [name for name in inspect.signature(function).parameters if name in lent]
        return function(**{name: component if name == "component" else getattr(component, name) for name in names})

    # its components

    @staticmethod
    def _code(facts: Mapping[str, Any]) -> Any:
        module = importlib.import_module(facts["target"])
        return _class_of(module, facts["class"], Component, is_exact=facts["kind"] != "component")

    def _construct(
        self, cls: type[Component], facts: Mapping[str, Any], flags: Mapping[str, Any], node: Component | None
    ) -> Component:
        part = Part(self, is_child=node is not None)
        component = cls.__new__(cls)
        component.__dict__["__machinable__"] = part
        component.__init__()  # type: ignore[misc]
        flags = {**flags, "TUNING": False, "CHILD_ALIAS": {}}
        config = _with_calls(facts["config"], facts["calls"])
        component.on_before_init(deepcopy(config), deepcopy(flags), node)
        component.on_init(deepcopy(config), deepcopy(flags), node)
        component.flags = Config(flags)
        component.config = Config(config)
        if self._facts["kind"] != "function":  # in whose place no component has methods
            scope = Scope(facts["evaluate"], lambda name: getattr(component, name), component.flags)
            component.config = scope.root = Config(config, scope)
        component.node = node
        if node is not None:
            component.children = []
        component.tags = dict(self._facts.get("tags") or {})
        for attribute, module, name in facts["mixins"]:
            part.mixins[attribute] = _mixin(module, name)
        component.on_after_init()
        return component

    def child_specs(self) -> list[Any]:
        """Specifications of the children, to hand out."""
        return [SimpleNamespace(**deepcopy(dict(child))) for child in self._facts["children"]]

    def construct_child(self, spec: Any, node: Component) -> Component:
        """A child after its construct events."""
        return self._construct(self._code(vars(spec)), vars(spec), spec.flags, node)

    def seed(self, seed: int | None) -> None:
        """Seed the random number generators."""
        self._seeding.apply(seed)

    def begin(self) -> None:
        """First rows are timed from now."""
        self.beginning = time.perf_counter()

    # what they find in `self`

    @property
    def log(self) -> logging.Logger:
        """A logger whose lines go to `log.txt`."""
        if self._log is None:
            handler = logging.FileHandler(os.path.join(self._path, "log.txt"), encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
            self._log = logging.Logger(self._facts["uid"], logging.INFO)
            self._log.addHandler(handler)
        return self._log

    @property
    def record(self) -> Record:
        """The row that is being filled."""
        if self._record is None:
            self._record = Record(self._append, lambda: self.beginning)
        return self._record

    def _append(self, scope: str, line: str) -> None:
        os.makedirs(os.path.join(self._path, "records"), exist_ok=True)
        with open(os.path.join(self._path, "records", f"{scope}.jsonl"), "a", encoding="utf-8") as file:
            file.write(line)

    @property
    def store(self) -> Store:
        """Its artifacts."""
        if self._store is None:
            self._store = Store(os.path.join(self._path, "artifacts"))
        return self._store

    @property
    def directory(self) -> str:
        """Its artifacts as a directory."""
        os.makedirs(os.path.join(self._path, "artifacts"), exist_ok=True)
        return os.path.join(self._path, "artifacts")

    @property
    def requires(self) -> _Required:
        """The results that it needs."""
        needs = self._facts["requires"].items()
        return _Required({name: Result(self._home, self._others, **_need(need)) for name, need in needs})

    # checkpoints

    def save_checkpoint(self, component: Component, path: str | None, timestep: int | None) -> Any:
        """Let a component save its state."""
        part: Part = component.__dict__["__machinable__"]
        place = path if path is not None else os.path.join(self._path, "checkpoints")
        if path is None:
            os.makedirs(place, exist_ok=True)
        saved = component.on_save(place, part.saves if timestep is None else timestep)
        if saved is False:
            return False
        saved = place if saved is None else saved
        part.saves += 1
        with open(os.path.join(self._path, "last_checkpoint.txt"), "w", encoding="utf-8") as file:
            file.write(os.path.join(place, os.fspath(saved)))
        self.log.info("saved the checkpoint %s", saved)
        return saved

    def last_checkpoint(self) -> str | None:
        """Where the last checkpoint lies."""
        try:
            with open(os.path.join(self._path, "last_checkpoint.txt"), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def instance(self) -> Component:
        """The component of a trial that is over, created as its trial did it."""
        node = self._construct(self._code(self._facts), self._facts, {**self._facts["flags"], "ATTEMPT": 1}, None)
        node.children = []
        node.__dict__["__machinable__"].is_started = True
        create(node)
        return node


class Result:
    """What a trial that is required has written."""

    def __init__(self, home: str, others: Mapping[str, Any], uid: str, artifact: str | None) -> None:
        self._facts: Mapping[str, Any] = others[uid]
        self._trial = Trial(home, self._facts, others, is_over=True)
        self._artifact = artifact
        self._instance: Component | None = None
        self._records = os.path.join(home, "results", uid, "records", "default.jsonl")

    def read(self, name: str | None = None, *default: Any, **options: Any) -> Any:
        """An artifact; without a name the only one."""
        return self._trial.store.read(self._only() if name is None else name, *default, **options)

    def _only(self) -> str:
        names = [self._artifact] if self._artifact else self._trial.store.names()
        if len(names) != 1:
            raise FileNotFoundError(f"there is not just one artifact, but: {', '.join(names) or 'none'}")
        return names[0]

    def frame(self, name: str | None = None, columns: Sequence[str] | None = None) -> Any:
        """A DataFrame with exactly these columns."""
        import pandas

        found = self.read(name)
        frame = found if isinstance(found, pandas.DataFrame) else pandas.DataFrame(found)
        return frame if columns is None else frame[list(columns)]

    def path(self, name: str | None = None) -> str:
        """A local path."""
        return self._trial.store.path(self._only() if name is None else name)

    @property
    def config(self) -> Config:
        """Its configuration."""
        return Config(self._facts["config"])

    @property
    def records(self) -> list[Any]:
        """Its rows."""
        if not os.path.exists(self._records):
            return []
        with open(self._records, encoding="utf-8") as file:
            return [decode(json.loads(line)) for line in file]

    @property
    def trial(self) -> Result:
        """Itself: there is no stored trial here."""
        return self

    @property
    def component(self) -> Component:
        """The component itself, as it was when its trial had ended."""
        if self._instance is None:
            self._instance = self._trial.instance()
            self._instance.on_load()
        return self._instance

    def load_into(self, into: Any) -> Any:
        """Let the component bring its state into an object that is not its own."""
        return self._trial.instance().on_load(into=into)


class _Required(Mapping[str, Result]):
    """The results that a trial needs, by name and as attributes."""

    def __init__(self, results: Mapping[str, Result]) -> None:
        self._results = results

    def __getitem__(self, name: str) -> Result:
        if name not in self._results:
            raise MissingKey(f"nothing is required as {name!r}; there are: {', '.join(self._results) or 'none'}")
        return self._results[name]

    def __getattr__(self, name: str) -> Result:
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)


def _need(need: Mapping[str, Any]) -> dict[str, Any]:
    return {"uid": need["uid"], "artifact": need.get("artifact")}


def _mixin(module: str, name: str | None) -> Callable[[], type[Mixin]]:
    return lambda: _class_of(importlib.import_module(module), name, Mixin, is_exact=False)


def _class_of(module: Any, name: str | None, base: type, *, is_exact: bool) -> Any:
    """The class of that name, or the one class of a module that derives from the base and has no subclass there."""
    if is_exact and name is not None:
        found = module
        for part in name.split("."):
            found = getattr(found, part)
        return found
    if name is not None:
        return getattr(module, name)
    own = [
        member
        for member in vars(module).values()
        if isinstance(member, type) and issubclass(member, base) and member.__module__ == module.__name__
    ]
    return next(cls for cls in own if not any(other is not cls and issubclass(other, cls) for other in own))


def _with_calls(config: Mapping[str, Any], calls: Mapping[str, str]) -> dict[str, Any]:
    """The configuration with calls of config methods as text, by their key paths such as `a.b[0]`."""
    whole: dict[str, Any] = deepcopy(dict(config))
    for path, text in calls.items():
        keys: list[Any] = []
        for part in path.split("."):
            name, *places = part.split("[")
            keys += [name, *(int(place.rstrip("]")) for place in places)]
        here: Any = whole
        for key in keys[:-1]:
            here = here[key]
        here[keys[-1]] = text
    return whole


@contextmanager
def _surroundings(facts: Mapping[str, Any], trial: Trial) -> Iterator[None]:
    """The number of threads, the environment and the working directory of a trial."""
    missing = [name for name in facts["environment"] if name not in os.environ]
    if missing:
        raise RuntimeError(f"set these variables of the environment, as the trial had them: {', '.join(missing)}")
    if facts["threads"] is not None:
        os.environ.update(dict.fromkeys(_THREADS, str(facts["threads"])))
        if "threadpoolctl" in sys.modules:
            sys.modules["threadpoolctl"].threadpool_limits(facts["threads"])
    before = os.getcwd()
    if facts["change_directory"]:
        os.chdir(trial.directory)
    try:
        yield
    finally:
        os.chdir(before)
