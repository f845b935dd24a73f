"""The base class of listeners that send trials to a tool for tracking experiments.

The tool runs in another process: its threads, prints, random numbers and the time it takes to import do not affect
trials in this one. Messages to it are lines of JSON.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from queue import SimpleQueue
from tempfile import TemporaryFile
from typing import IO, Any

from machinable.config.secrets import is_secret_name, mask_of
from machinable.errors import ImportFailed, InvalidType, InvalidValue, NotAvailable
from machinable.events import Event, ExecutionFinished, ExecutionStarted, Listener
from machinable.plan.table import flatten
from machinable.results.records import DEFAULT
from machinable.results.trial import Trial
from machinable.serialization import dumps

__all__ = ["Tracker", "checked_text"]

INTERVAL = 2.0  # seconds between two looks at the rows of a running trial
PATIENCE = 60.0  # seconds that the tool has after the execution has ended


class Tracker(Listener):
    """Send each trial that runs to a tool, as one run of it, while it runs.

    Args:
        options: Those of the class `tool`.
        artifacts: Whether to send artifacts, too.

    Attributes:
        name: The name of the listener in settings.
        package: The package that it needs.
        tool: The class `module:name` that receives the messages in the other process, a subclass of `Tool`.

    Raises:
        ImportFailed: The package is not installed.
        InvalidType: `artifacts` is not a boolean.
    """

    name = ""
    package = ""
    tool = ""

    def __init__(self, options: Mapping[str, Any], artifacts: bool) -> None:
        if find_spec(self.package) is None:
            raise ImportFailed(
                f"the listener {self.name!r} needs {self.package}, which is not installed",
                given=self.name,
                todo=f"Install it: pip install 'machinable-engine[{self.name}]', or set MACHINABLE_LISTENERS=off.",
            )
        if not isinstance(artifacts, bool):
            raise InvalidType(
                f"`artifacts` of the listener {self.name!r} takes true or false, not {artifacts!r}", given=artifacts
            )
        self._options = dict(options)
        self._artifacts = artifacts
        self._sender: _Sender | None = None
        self._due: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def on_event(self, event: Event) -> None:
        """Start the other process, and wait for it at the end."""
        if isinstance(event, ExecutionStarted):
            self._sender = _Sender(self.tool, self._options, self._artifacts, event)
        elif isinstance(event, ExecutionFinished) and self._sender is not None:
            sender, self._sender = self._sender, None
            self._due.clear()
            problem = sender.close()
            if problem:
                raise NotAvailable(f"{self.name} did not take everything: {_without_secrets(problem)}")

    def on_trial(self, trial: Trial) -> None:
        """Send a trial that starts or has ended."""
        if self._sender is not None:
            self._sender.queue.put(trial)

    def on_record(self, uid: str, row: dict[str, Any]) -> None:
        """Send the new rows of a trial, now and then."""
        now = time.monotonic()
        if self._sender is not None and now >= self._due.get(uid, 0.0):
            self._due[uid] = now + INTERVAL
            self._sender.queue.put(uid)


class _Sender:
    """The other process, and the thread that reads trials and writes messages to it."""

    def __init__(self, tool: str, options: Mapping[str, Any], artifacts: bool, event: ExecutionStarted) -> None:
        self.queue: SimpleQueue[Trial | str | None] = SimpleQueue()
        self._artifacts = artifacts
        self._running: dict[str, tuple[Trial, dict[str, int]]] = {}  # with the numbers of rows that were sent
        self._problem = ""
        self._stderr: IO[bytes] = TemporaryFile()  # noqa: SIM115  # closed with the process
        # Without the working directory, whose modules may have the names of those of the tool.
        path = [os.path.abspath(entry) for entry in sys.path if entry and os.path.abspath(entry) != os.getcwd()]
        program = f"import sys; sys.path[:] = {path!a}; from machinable.listeners.tool import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C in the terminal reaches only this process
        )
        self._thread = threading.Thread(target=self._run, name="machinable-tracker", daemon=True)
        self._first = {"tool": tool, "options": options, "execution": event.execution, "storage": event.storage}
        self._thread.start()

    def close(self) -> str:
        """Send everything, wait for the other process, and return what was wrong."""
        self.queue.put(None)
        until = time.monotonic() + PATIENCE
        self._thread.join(PATIENCE)
        try:
            code = self._process.wait(max(0.0, until - time.monotonic()))
            self._stderr.seek(0)
            lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
            if code and not self._problem:
                self._problem = lines[-1] if lines else f"its process exited with code {code}"
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            self._problem = f"it has not finished after {PATIENCE:g} s"
        self._stderr.close()
        return self._problem

    def _run(self) -> None:
        assert self._process.stdin is not None
        try:
            self._send(**self._first)
            while (item := self.queue.get()) is not None:
                if isinstance(item, Trial):
                    self._take(item)
                elif item in self._running:
                    self._send_rows(item)
        except BrokenPipeError:
            pass  # the process has ended, and its last line says why
        except Exception as error:
            self._problem = f"{type(error).__name__}: {error}".splitlines()[0]
        finally:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def _send(self, **message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(dumps(message).encode("ascii") + b"\n")
        self._process.stdin.flush()

    def _take(self, trial: Trial) -> None:
        """Send the beginning of a trial, or its end."""
        uid = trial.uid
        is_new = uid not in self._running
        if is_new:
            self._send(
                act="begin",
                uid=uid,
                name=f"{trial.component} {uid}",
                facts={
                    "component": trial.component,
                    "versions": _text(trial.version),
                    "seed": trial.seed,
                    "uid": uid,
                    **{f"tags.{name}": _text(value) for name, value in trial.tags.items()},
                },
            )
        counts = {} if is_new else self._running[uid][1]
        self._running[uid] = trial, counts
        if trial.event == "started":
            return
        self._send_rows(uid)
        self._send_config(trial, counts)
        files = {name: trial.path(name) for name in trial.files} if self._artifacts else {}
        self._send(act="end", uid=uid, state=trial.event, files=files, last=_numbers(trial.last_row or {}))
        del self._running[uid]

    def _send_rows(self, uid: str) -> None:
        trial, counts = self._running[uid]
        records = trial.records
        for scope in records.scopes:
            rows, first = records(scope).rows, counts.get(scope, 0)
            if rows[first:]:
                self._send_config(trial, counts)
                sent = [[row.get("_timestamp"), _numbers(row)] for row in rows[first:]]
                self._send(act="rows", uid=uid, scope="" if scope == DEFAULT else scope, first=first, rows=sent)
                counts[scope] = len(rows)

    def _send_config(self, trial: Trial, counts: dict[str, int]) -> None:
        """Send the configuration once; it has its values when the component has begun."""
        if "" not in counts:  # no scope has this name
            counts[""] = 0
            config = {key: _value(value) for key, value in flatten(trial.config).items()}
            self._send(act="config", uid=trial.uid, config=config)


def _without_secrets(text: str) -> str:
    """Return an error of a tool without what it may quote: credentials in URLs, and variables such as WANDB_API_KEY."""
    secrets = {value for name, value in os.environ.items() if is_secret_name(name)}
    return mask_of(secrets)(re.sub(r"//[^/@\s]*@", "//", text))


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns with numbers; tools plot nothing else."""
    return {key: value for key, value in row.items() if isinstance(value, (int, float)) and key[:1] != "_"}


def _value(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) or value is None else _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


def checked_text(listener: str, option: str, given: Any, *, is_optional: bool = True) -> Any:
    """Return an option that is text, or None where that is possible.

    Raises:
        InvalidType: It is something else.
        InvalidValue: It is empty.
    """
    what = f"`{option}` of the listener {listener!r}"
    if not isinstance(given, str) and not (given is None and is_optional):
        raise InvalidType(f"{what} is {given!r}, and not text", given=given, todo="Write a text in quotes.")
    if given == "":
        raise InvalidValue(f"{what} is empty", given=given, todo="Leave it out for its default.")
    return given
