"""Growing files in storages without appending: numbered parts, which readers join.

`ledger.jsonl` is followed by `ledger.000001.jsonl`, `ledger.000002.jsonl` and so on. A storage that was copied from
elsewhere may contain parts although its files can grow.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from machinable.errors import Damaged
from machinable.storage import layout
from machinable.storage.files import Appender, Files, checked

__all__ = ["PartAppender", "growing_file", "part_numbers", "read_parts"]


def read_parts(files: Files, path: str, numbers: Sequence[int] | None = None) -> list[bytes]:
    """Return the pieces of a growing file: the file itself, then its numbered parts; none if there are neither.

    With the `numbers` of the parts, see `part_numbers`, they are not listed.

    Raises:
        Damaged: A directory has the name of the file.
        StorageUnavailable: A piece cannot be read.
    """
    try:
        return _pieces(files, path, numbers)
    except IsADirectoryError as error:
        place = layout.join(files.url, path)
        raise Damaged(f"{place} is a directory", given=place, todo="Restore the file from a copy.") from error


def _pieces(files: Files, path: str, numbers: Sequence[int] | None) -> list[bytes]:
    pieces = []
    if files.appends:
        with suppress(FileNotFoundError, NotADirectoryError):
            pieces.append(files.read(path))
        # Only a storage copied from elsewhere has parts here, and one check is cheaper than a listing.
        if not files.exists(layout.part(path, 1)):
            return pieces
    numbers = part_numbers(files, path) if numbers is None else numbers
    if not files.appends and 0 in numbers:
        pieces.append(files.read(path))
    return pieces + [files.read(layout.part(path, number)) for number in numbers if number]


def part_numbers(files: Files, path: str) -> list[int]:
    """Return the numbers of the parts of a file, sorted; 0 is the file itself.

    Of a file of a trial, only those of the last attempt count. A former one that was not known to run still may have
    written some.
    """
    folder, _, name = path.rpartition("/")
    names = [entry.name for entry in files.entries(folder) if not entry.is_directory]
    return layout.last_writer(path, sorted(layout.part_number(one) for one in names if layout.whole(one) == name))


def growing_file(files: Files, path: str) -> str:
    """Return the file to append to: itself or, in a storage that was copied from elsewhere, its last part."""
    if not files.exists(layout.part(path, 1)):
        return path
    return layout.part(path, part_numbers(files, path)[-1])


class PartAppender(Appender):
    """An appender that writes everything appended within an interval as one numbered part.

    A part that could not be stored is retried with the next write, after the interval and when closing; the next of
    these calls raises the error.
    """

    MAX_PENDING = 8 * 2**20  # bytes that wait for the end of the interval

    def __init__(
        self,
        files: Files,
        path: str,
        interval: float = 10.0,
        create: Callable[[str, bytes, str], bool] | None = None,
        first: int = 1,
    ) -> None:
        """Append to a file, with some seconds between two parts, of which none has a number below `first`.

        With the `create` of the storage no existing part is overwritten, and the numbers of existing parts are looked
        up only once one is in the way.
        """
        self._files = files
        self._path = checked(path, root=False)
        self._guard = files.guard_of(path)  # of the writer who opens it, also when that one has ended
        self._interval = interval
        self._create = create
        self._owner = os.urandom(8).hex()
        self._pending = bytearray()
        self._first = first
        self._number = first if create else 0  # of the next part, 0 if that is not known
        self._timer: threading.Timer | None = None
        self._has_failed = False
        self._is_closed = False
        self._lock = threading.RLock()

    def write(self, data: bytes) -> None:
        with self._lock:
            if self._is_closed:
                raise ValueError(f"{self._path} is closed")
            self._check()
            self._pending += data
            if self._has_failed or len(self._pending) >= self.MAX_PENDING:
                self._flush()
            else:
                self._start_timer()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._interval, self._interval_ended)
            self._timer.daemon = True
            self._timer.start()

    def _interval_ended(self) -> None:
        with self._lock:
            self._timer = None
            if self._is_closed:
                return
            try:
                self._flush()
            except Exception:  # the data is retried, and the next call raises the error
                self._start_timer()

    def _check(self) -> None:
        if self._guard is not None and self._guard.lost is not None:
            raise self._guard.lost

    def _flush(self) -> None:
        if not self._pending:
            return
        self._has_failed = True
        self._check()
        if not self._number:
            self._number = max(self._last() + 1, self._first)
        data = bytes(self._pending)
        if self._create is None:
            self._files.write(layout.part(self._path, self._number), data)
        else:
            while not self._create(layout.part(self._path, self._number), data, self._owner):
                self._files.confirm(self._path)  # another process has written this part
                self._number = max(self._last(), self._number) + 1
        self._number += 1
        self._pending.clear()
        self._has_failed = False

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def _last(self) -> int:
        """Return the number of the last part, which another process may have written."""
        return max(part_numbers(self._files, self._path), default=0)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._flush()
