"""`machinable tail`: the latest rows and lines of an execution, and new ones while it runs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from machinable.cli.arguments import parse_target
from machinable.cli.output import message, write_json
from machinable.cli.stored import open_storage
from machinable.display.progress import measurements
from machinable.display.tables import cell, headline, printable
from machinable.results.tail import Follower
from machinable.units import format_duration

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.tail import News

__all__ = ["follow", "tail_command"]

POLL_INTERVAL = 1.0  # seconds between two reads of files on this host
REMOTE_POLL_INTERVAL = 5.0  # elsewhere: new parts arrive every 10 s, and each read is a request


def tail_command(
    identifier: str, storage: str | None, uid: str | None, number: int, follows: bool, as_json: bool
) -> None:
    """Show the latest rows, log lines, output and events of an execution."""
    with open_storage(storage) as opened:
        execution, trial = parse_target(opened, identifier, uid)
        follow(execution, None if trial is None else trial.uid, number, as_json, follows)


def follow(execution: Execution, uid: str | None, number: int, as_json: bool, follows: bool) -> None:
    """Write the last `number` lines, and new ones until the execution ends if it `follows`."""
    follower = Follower(execution, uid)
    writer = _Writer(execution, has_prefix=uid is None, as_json=as_json)
    writer.write(follower.news(), number)
    interval = REMOTE_POLL_INTERVAL if follower.is_remote else POLL_INTERVAL
    while follows and not _has_ended(follower, uid):
        time.sleep(interval)
        writer.write(follower.news())
    writer.end(follower)


def _has_ended(follower: Follower, uid: str | None) -> bool:
    return follower.status is not None or (uid is not None and follower.has_ended(uid))


class _Writer:
    """Write news to stdout, one per line."""

    def __init__(self, execution: Execution, *, has_prefix: bool, as_json: bool) -> None:
        self._execution = execution
        self._components = {trial.uid: trial.component for trial in execution.trials}
        self._has_prefix = has_prefix
        self._as_json = as_json

    def write(self, several: list[News], number: int | None = None) -> None:
        """Write news, or the last `number` of them."""
        if not self._as_json:
            several = [news for news in several if news.uid is not None]  # the last line reports on the execution
        for news in several if number is None else several[max(0, len(several) - number) :]:
            if self._as_json:
                write_json(self._data(news))
            else:
                print(self._line(news))
        sys.stdout.flush()

    def _data(self, news: News) -> dict[str, Any]:
        if news.kind == "event":
            return news.data | ({"component": self._components.get(news.uid)} if news.uid else {})  # type: ignore[no-any-return]
        what = {"row": {"scope": news.scope, "row": news.data}}.get(news.kind, {"line": news.data})
        return {"event": news.kind, "uid": news.uid, "component": self._components.get(news.uid or "")} | what

    def _line(self, news: News) -> str:
        prefix = f"{self._components.get(news.uid or '')} {news.uid} " if self._has_prefix else ""
        if news.kind == "event":
            return prefix + _event_text(news.data)
        if news.kind == "row":
            own = {key: value for key, value in news.data.items() if key == "_iteration" or key[:1] != "_"}
            scope = "" if news.scope == "default" else f" {news.scope}"
            return f"{prefix}row{scope} {' '.join(f'{key}={cell(value)}' for key, value in own.items())}"
        return f"{prefix}{news.kind} {printable(news.data.expandtabs())}".rstrip()

    def end(self, follower: Follower) -> None:
        """Write the progress of the execution, or how it ended."""
        counts: dict[str, int] = {}
        now = "running" if follower.status is None else "interrupted"
        for state in follower.states.values():
            state = now if state == "started" else state
            counts[state] = counts.get(state, 0) + 1
        total = len(self._components)
        if total > sum(counts.values()):
            counts["pending"] = total - sum(counts.values())
        status = follower.status or "running"
        if self._as_json:
            write_json({"event": "tail", "execution": str(self._execution), "status": status, "trials": counts})
            sys.stdout.flush()
        else:
            shown = ", ".join(f"{count} {state}" for state, count in counts.items())
            message(f"{self._execution}: {status}; {shown or 'no trials'}")


def _event_text(event: dict[str, Any]) -> str:
    parts = [event["event"]]
    if event.get("attempt", 1) > 1:
        parts.append(f"(attempt {event['attempt']})")
    if isinstance(event.get("seconds"), float):
        parts.append(format_duration(event["seconds"]))
    parts += [f"{key}={cell(value)}" for key, value in measurements(event.get("record")).items()]
    if error := event.get("error"):
        parts.append(printable(headline(error)))
    parts += [f"{word} {event[key]}" for key, word in (("source", "from"), ("because", "because of")) if event.get(key)]
    return " ".join(parts)
