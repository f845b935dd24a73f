"""The command line: stdout is data, stderr is progress and messages, and a command starts in a blink."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: what was typed behind `machinable`; default: what this process was started with.

    Returns:
        The exit code: 0; 1 trials failed; 2 usage or configuration; 3 refused before the start; 130 interrupted.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed: no other file is to be taken for it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None) or "utf-8"
        if encoding.lower().replace("-", "") != "utf8" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # an arrow must not be what ends a command
    shell = os.environ.get("_MACHINABLE_COMPLETE")
    if shell:
        from machinable.cli.candidates import complete

        return complete(shell, words)
    from machinable.cli.commands import answer

    text = answer(words)
    if text is not None:
        print(text)
        return 0
    try:
        from machinable.cli.program import run

        code = run(words)
    except KeyboardInterrupt:  # while Python was still importing, or while the books were closed
        print("interrupted", file=sys.stderr)
        code = 130
    if code == 130 and arguments is None:
        import signal

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a further Ctrl-C while Python ends would change the exit code
    return code
