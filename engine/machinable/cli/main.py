"""The program `machinable`: run a command and report errors.

Help and the version are answered without click, whose import takes longer than everything else they need.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from machinable.cli.commands import help_text

if TYPE_CHECKING:
    from machinable.errors import MachinableError

__all__ = ["main", "run"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, given by default with this process, and return its exit code.

    0: success; 1: trials failed; 2: usage or configuration error; 3: refused before the start; 130: interrupted.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    _prepare_streams()
    if os.environ.get("_MACHINABLE_COMPLETE"):
        from machinable.cli.completion import complete  # imports click

        return complete(os.environ["_MACHINABLE_COMPLETE"])
    if not words or words[0] in ("-h", "--help"):
        print(help_text())
        return 0
    if words[0] == "--version":
        # The package is imported with any of its modules, and nothing in it may import it.
        print(f"machinable {sys.modules['machinable'].__version__}")
        return 0
    try:
        code = run(words)
    except KeyboardInterrupt:  # during an import, or while an execution is finalized
        print("interrupted", file=sys.stderr)
        code = 130
    if arguments is None:
        gc.freeze()  # Python would search all that was imported for cycles once more before it exits
    if code == 130 and arguments is None:
        import signal  # imports enum, which help does not need

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # another Ctrl-C while Python exits would change the exit code
    return code


def run(words: Sequence[str]) -> int:
    """Run a command and return the exit code; report our own errors without a traceback."""
    import click  # after the quick answers

    from machinable.cli.options import program  # imports click
    from machinable.errors import MachinableError, StorageUnavailable, UsageError

    try:
        code = program.main(list(words), prog_name="machinable", standalone_mode=False, obj=list(words))
        sys.stdout.flush()
    except click.Abort:
        return 130
    except click.ClickException as error:
        if "--json" in words:
            return _report(UsageError(error.format_message()), words)
        error.show()
        return error.exit_code
    except MachinableError as error:
        return _report(error, words)
    except OSError as error:
        if error.errno != errno.EPIPE:
            if error.filename is None:
                raise
            return _report(StorageUnavailable(f"{error.filename}: {error.strerror}", given=str(error.filename)), words)
        # The reader has closed our output; Python would complain when it flushes the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _report(error: MachinableError, words: Sequence[str]) -> int:
    """Write an error, and return its exit code."""
    if "--json" in words:
        from machinable.cli.output import write_json

        write_json({"error": error.as_data()})
    else:
        from machinable.display.terminal import echo

        echo(error, file=sys.stderr)
    return error.exit_code


def _prepare_streams() -> None:
    """Replace closed streams, and make every character printable."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # the next file that is opened would otherwise take its descriptor
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        encoding = getattr(stream, "encoding", None) or "utf-8"
        if encoding.lower().replace("-", "") != "utf8" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # an arrow must not end a command
