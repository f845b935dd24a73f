"""`machinable ui`: a page in the browser."""

from __future__ import annotations

import sys
import tempfile
import threading
import webbrowser
from contextlib import ExitStack
from html import escape
from pathlib import Path

from machinable.cli.output import message, rerun_command
from machinable.cli.targets import chosen_storage
from machinable.display.terminal import echo
from machinable.results.execution import Execution
from machinable.results.storage import Storage
from machinable.results.trial import Trial
from machinable.ui.server import serve

__all__ = ["ui_command"]


def ui_command(storages: tuple[str, ...], port: int, edit: bool, opens: bool) -> None:
    """Show storages in the browser until Ctrl-C."""
    with ExitStack() as ending:
        storage = ending.enter_context(Storage(storages or chosen_storage(None)))

        def announce(url: str) -> None:
            echo(url, file=sys.stdout)
            if opens:
                directory = ending.enter_context(tempfile.TemporaryDirectory(prefix="machinable-"))
                threading.Thread(target=_open, args=(url, Path(directory)), daemon=True).start()
            else:
                message("open this URL in a browser; Ctrl-C ends the page")

        def rerun(execution: Execution, trial: Trial) -> str | None:
            return rerun_command(execution, trial, execution.storage)

        serve(storage, port=port, may_edit=edit, rerun=rerun, announce=announce)


def _open(url: str, directory: Path) -> None:
    """Open the browser at a file that leads to the URL, because other users can read the words of a command."""
    file = directory / "page.html"
    file.touch(mode=0o600)
    file.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(url)}">', encoding="utf-8")
    if not webbrowser.open(file.as_uri()):
        message("no browser was found; open the URL in one; Ctrl-C ends the page")
