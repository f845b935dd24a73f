"""Text that grows: a trial's log and its output."""

from __future__ import annotations

from machinable.storage.files import Files, read_parts

__all__ = ["TextWriter", "read_text"]


class TextWriter:
    """Appends text to a file, which appears with the first write. Each write is visible when it returns, or on an
    object store some seconds later."""

    def __init__(self, files: Files, path: str) -> None:
        self._appender = files.appender(path)

    def write(self, text: str) -> None:
        """Append the text, best a whole line or several."""
        # A log takes what no encoding has, e.g. the name of a file with broken bytes.
        self._appender.write(text.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Make sure that all is stored. Closing twice is fine, writing afterwards a `ValueError`."""
        self._appender.close()


def read_text(files: Files, path: str) -> str:
    """All that was written; "" if nothing was. A character that a killed writer left half is shown as `�`."""
    return b"".join(read_parts(files, path)).decode("utf-8", "replace")
