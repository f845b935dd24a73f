"""Turn exceptions into plain data, which is stored and sent between processes: type, message and traceback."""

from __future__ import annotations

import os

__all__ = ["error_data", "first_line", "shipped"]

# Directories of copies of the project, and the directory of the project, which messages name instead.
shipped: list[tuple[str, str]] = []

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def error_data(error: BaseException) -> dict[str, str]:
    """Return type, message and traceback of an exception.

    The traceback shows frames of the user's code: those of this package and of Python's import system are left out,
    also in causes.

    Args:
        error: the exception, whose `__str__` may raise.
    """
    from traceback import StackSummary, TracebackException  # 5 ms with what it imports, and only failures need it

    try:
        message = str(error)
    except BaseException as broken:  # a __str__ may raise anything, and the original error counts
        message = f"<no message: its __str__ raised {type(broken).__name__}>"
    try:
        summary = TracebackException.from_exception(error)
        waiting, seen = [summary], set()
        while waiting:
            part = waiting.pop()
            if id(part) in seen:
                continue
            seen.add(id(part))
            if part.stack is not None:
                part.stack = StackSummary.from_list([frame for frame in part.stack if not _is_internal(frame.filename)])
            waiting += [p for p in (part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())) if p]
        text = "".join(summary.format())
    except BaseException as broken:  # e.g. an exception whose attributes raise
        text = f"<no traceback: {type(broken).__name__}>"
    for copy, original in shipped:
        message = message.replace(copy + os.sep, original + os.sep)
        text = text.replace(copy + os.sep, original + os.sep)
    return {"type": type(error).__name__, "message": message, "traceback": text}


def first_line(error: Exception) -> str:
    """Return the first line of the message of an exception."""
    return error_data(error)["message"].partition("\n")[0]


def _is_internal(file: str) -> bool:
    return file.startswith((_OURS, "<frozen importlib"))
