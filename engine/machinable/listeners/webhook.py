"""Send a message to a webhook, such as that of a Slack channel, when trials fail and executions end."""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import Any

from machinable.errors import InvalidType, InvalidValue, NotAvailable, UnknownName
from machinable.events import Event, ExecutionFinished, ExecutionStarted, Listener, TrialFailed
from machinable.units import format_duration, shortened

__all__ = ["Webhook"]

TIMEOUT = 10.0  # seconds for a message
MAX_TEXT = 500  # characters of an error
EVENTS = ("started", "failed", "finished")


class Webhook(Listener):
    """Post `{"text": …}`, which Slack, Mattermost and others accept. A message that cannot be sent costs one line.

    Args:
        variable: The environment variable with the URL, which is a secret.
        events: When to send a message: "started", "failed" (the first trial that fails) and "finished".

    Raises:
        InvalidValue: The variable is not set, or is not a URL.
        UnknownName: There is no such event.
        InvalidType: An argument has another type.
    """

    def __init__(self, variable: str = "MACHINABLE_WEBHOOK", events: Any = ("failed", "finished")) -> None:
        if not isinstance(variable, str):
            raise InvalidType(f"`variable` of the listener 'webhook' is {variable!r}", given=variable)
        events = [events] if isinstance(events, str) else events
        if not isinstance(events, (list, tuple)):
            raise InvalidType(
                f"`events` of the listener 'webhook' is {events!r}", given=events, todo="Write a list: [finished]."
            )
        for event in events:
            if event not in EVENTS:
                raise UnknownName("event of the listener 'webhook'", event, EVENTS)
        self._url = os.environ.get(variable, "")
        if not self._url.startswith(("http://", "https://")):
            what = "is not an http:// or https:// URL" if self._url else "is not set"
            raise InvalidValue(
                f"the listener 'webhook' needs a URL, and the environment variable {variable} {what}",
                given=variable,
                todo=f"export {variable}=https://hooks.slack.com/services/…, or MACHINABLE_LISTENERS=off.",
            )
        self._events = tuple(events)
        self._has_failed = False
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._problem = ""

    def __repr__(self) -> str:  # without the URL
        return f"Webhook(events={self._events!r})"

    def on_event(self, event: Event) -> None:
        """Send a message about an event, without waiting for it before the execution has ended."""
        if isinstance(event, ExecutionStarted):
            self._has_failed = False
            trials = f"{event.total} trial{'' if event.total == 1 else 's'}"
            self._send("started", f"{event.execution}: started, {trials}, {event.storage}")
        elif isinstance(event, TrialFailed) and not event.will_retry and not self._has_failed:
            self._has_failed = True
            message = f"{event.error['type']}: {event.error['message']}"
            text = f"{event.execution}: {event.component} {event.uid} failed: {shortened(message, MAX_TEXT)}"
            self._send("failed", text)
        elif isinstance(event, ExecutionFinished):
            counts = f"{event.finished} finished, {event.failed} failed"
            took = format_duration(event.seconds)
            self._send("finished", f"{event.execution}: {event.status} after {took}; {counts}")
            self._wait()

    def _wait(self) -> None:
        """Wait until all messages are sent.

        Raises:
            NotAvailable: One was not taken; the error has no part of the URL.
        """
        if self._thread is None:
            return
        self._queue.put(None)
        self._thread.join(2 * TIMEOUT)
        problem = "it does not answer" if self._thread.is_alive() else self._problem
        self._thread, self._problem = None, ""
        if problem:
            raise NotAvailable(f"the webhook did not take a message: {problem}")

    def _send(self, event: str, text: str) -> None:
        if event not in self._events:
            return
        if self._thread is None:
            self._queue = SimpleQueue()
            arguments = [self._queue]
            self._thread = threading.Thread(target=self._run, args=arguments, name="machinable-webhook", daemon=True)
            self._thread.start()
        self._queue.put(text)

    def _run(self, queue: SimpleQueue[str | None]) -> None:
        while (text := queue.get()) is not None:
            self._post(text)

    def _post(self, text: str) -> None:
        import json
        from http.client import HTTPException
        from urllib.request import Request, urlopen  # 30 ms, and most executions send nothing

        try:
            request = Request(self._url, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"})
            with urlopen(request, timeout=TIMEOUT):
                pass
        except (OSError, ValueError, HTTPException) as error:
            # Errors of the network name the host at most; others may quote the URL.
            self._problem = str(error) if isinstance(error, OSError) else type(error).__name__
