"""Errors as data: an exception stays in its process, its type, message and traceback travel and are stored."""

from __future__ import annotations

import os

__all__ = ["error_data", "shipped"]

# Where a copy of the project's code runs: its directory, and that of the project. Errors tell of the latter.
shipped: list[tuple[str, str]] = []

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def error_data(error: BaseException) -> dict[str, str]:
    """Type, message and traceback of an exception, whatever its `__str__` does.

    The traceback shows the user's frames: ours and those of Python's import are left out, also in causes.
    """
    from traceback import StackSummary, TracebackException  # 5 ms with what it imports, and only failures need it

    try:
        message = str(error)
    except BaseException as broken:  # a __str__ may do anything, and there is an error to tell already
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


def _is_internal(file: str) -> bool:
    return file.startswith((_OURS, "<frozen importlib"))
