"""`machinable tail`: the last rows and lines of an execution, and those that arrive while it runs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from machinable.cli.output import storage_option, tell, write_json

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.tail import Follower, News

__all__ = ["command", "follow"]

PAUSE = 1.0  # seconds between two looks at files of this host
REMOTE_PAUSE = 5.0  # elsewhere: new parts come every 10 s, and each look is a request


@click.command("tail")
@click.argument("identifier", metavar="ID")
@storage_option
@click.option("--trial", "uid", metavar="UID", help="One trial; the beginning of its uid is enough.")
@click.option("-n", "number", type=click.IntRange(min=0), default=10, metavar="N", help="The last N lines (10).")
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on until the execution has ended.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document in each line; errors too.")
def command(identifier: str, storage: str | None, uid: str | None, number: int, follows: bool, as_json: bool) -> None:
    """Show the last rows, log lines, output and events of the trials of ID that run, or of the one that ran last."""
    from machinable.cli.reading import open_storage
    from machinable.cli.targets import trial_of

    with open_storage(storage) as opened:
        execution = opened[identifier]
        chosen = None if uid is None else trial_of(execution, uid).uid
        follow(execution, chosen, number, as_json, follows)


def follow(execution: Execution, uid: str | None, number: int, as_json: bool, follows: bool) -> None:
    """Writes the last lines, and all that come until the end if it `follows`."""
    from machinable.results.tail import Follower

    follower = Follower(execution, uid)
    writer = _Writer(execution, has_prefix=uid is None, as_json=as_json)
    writer.write(follower.news(), number)
    pause = REMOTE_PAUSE if follower.is_remote else PAUSE
    while follows and not _is_over(follower, uid):
        time.sleep(pause)
        writer.write(follower.news())
    writer.end(follower)


def _is_over(follower: Follower, uid: str | None) -> bool:
    return follower.status is not None or (uid is not None and follower.has_ended(uid))


class _Writer:
    """Writes news to stdout, a line each."""

    def __init__(self, execution: Execution, *, has_prefix: bool, as_json: bool) -> None:
        self._execution = execution
        self._components = {trial.uid: trial.component for trial in execution.trials}
        self._has_prefix = has_prefix
        self._as_json = as_json

    def write(self, several: list[News], number: int | None = None) -> None:
        """Writes what is new, or the last of it."""
        if not self._as_json:
            several = [news for news in several if news.uid is not None]  # of the execution the last line tells
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
        from machinable.display.tables import cell, printable

        prefix = f"{self._components.get(news.uid or '')} {news.uid} " if self._has_prefix else ""
        if news.kind == "event":
            return prefix + _event_text(news.data)
        if news.kind == "row":
            own = {key: value for key, value in news.data.items() if key == "_iteration" or key[:1] != "_"}
            scope = "" if news.scope == "default" else f" {news.scope}"
            return f"{prefix}row{scope} {' '.join(f'{key}={cell(value)}' for key, value in own.items())}"
        return f"{prefix}{news.kind} {printable(news.data.expandtabs())}".rstrip()

    def end(self, follower: Follower) -> None:
        """Says how far it is, or how it ended."""
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
            tell(f"{self._execution}: {status}; {shown or 'no trials'}")


def _event_text(event: dict[str, Any]) -> str:
    from machinable.display.progress import measurements
    from machinable.display.tables import cell, headline, printable
    from machinable.units import format_duration

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
