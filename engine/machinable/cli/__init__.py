"""The command line: data goes to stdout, progress and messages go to stderr."""

from machinable.cli.main import main

__all__ = ["main"]
