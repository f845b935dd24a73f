"""The names of files and folders in a storage of format 1. No other module knows them.

Paths are relative to the folder of an execution unless stated otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from machinable.errors import BadName

FORMAT = 1

# an execution
EXECUTION = "execution.json"
PLAN = "plan.jsonl"
LEDGER = "ledger.jsonl"
ANNOTATIONS = "annotations.jsonl"  # tags and notes that were added later
CODE = "code.zip"
DIFF = "code.diff"
LEASE_ENDING = ".lease"
EXECUTION_LEASE = "execution.lease"  # exists while it runs
STOP = "stop.json"  # asks the executing process to stop, which removes it
TRIALS = "trials"

# a trial, and a former attempt of it
TRIAL = "trial.json"
STATUS = "status.json"
LOG = "log.txt"
OUTPUT = "output.log"
RECORDS = "records"
ARTIFACTS = "artifacts"
CHECKPOINTS = "checkpoints"
ATTEMPTS = "attempts"

# the storage
BY_CONTENT = "by-content"
STORAGE_ID = f"{BY_CONTENT}/storage-id"  # exists if a lock server has been used
DAMAGED_ENDING = ".damaged"  # of files that a repair has replaced

_ROWS = ".jsonl"
_SHARED = re.compile(rf"{BY_CONTENT}/[^/]+/[^/]+\.(shared|cached)(/|\Z)")
_CACHED = re.compile(rf"{BY_CONTENT}/[^/]+/[^/]+\.cached/")
_CHECKSUM = ".sha256"
_PART = re.compile(r"\.([0-9]{6,})(?=\.[^.]*\Z)")


def join(*parts: str) -> str:
    """Join paths, ignoring empty ones."""
    return "/".join(filter(None, parts))


def is_file_name(name: str) -> bool:
    """Return whether a text has at most the 255 bytes that names of files may have."""
    try:
        return len(name.encode()) <= 255
    except UnicodeEncodeError:  # half a character
        return False


def trial(uid: str) -> str:
    """Return the folder of a trial: `trials/9c2EapVGXnPH`."""
    return f"{TRIALS}/{uid}"


def folder_of(place: str) -> str:
    """Return the folder of the trial at a place: `OY1p1o/9c2EapVGXnPH` → `OY1p1o/trials/9c2EapVGXnPH`."""
    execution, _, uid = place.rpartition("/")
    return join(execution, trial(uid))


def trial_json(uid: str) -> str:
    """Return the path of the description of a trial, written once before it starts."""
    return f"{TRIALS}/{uid}/{TRIAL}"


def status(uid: str) -> str:
    """Return the path of the status of a trial."""
    return f"{TRIALS}/{uid}/{STATUS}"


def output(uid: str) -> str:
    """Return the path of the output of a trial on stdout and stderr."""
    return f"{TRIALS}/{uid}/{OUTPUT}"


def records(uid: str, scope: str = "default") -> str:
    """Return the path of the rows of one scope of the record of a trial."""
    return f"{TRIALS}/{uid}/{scope_file(scope)}"


def artifact(uid: str, name: str) -> str:
    """Return the path of an artifact with the name that the component used."""
    return f"{TRIALS}/{uid}/{ARTIFACTS}/{name}"


def attempt(uid: str, number: int) -> str:
    """Return the folder with the files of a previous attempt of a trial, counted from 1."""
    return f"{TRIALS}/{uid}/{ATTEMPTS}/{number}"


def scope_file(scope: str) -> str:
    """Return the path of the rows of one scope, relative to the trial: `records/default.jsonl`.

    Raises:
        BadName: The scope cannot be the name of a file.
    """
    is_odd = not scope or scope[0] == "." or not {"/", "\\", "\0"}.isdisjoint(scope) or _PART.search(scope + _ROWS)
    if is_odd or not is_file_name(part(scope + _ROWS, 1)):
        raise BadName(
            f"a record cannot have the scope {scope if len(scope) <= 60 else scope[:57] + '...'!r}",
            given=scope,
            todo="Its rows are a file of that name: take a name of at most 242 bytes without / and \\ that neither"
            " begins with a dot nor ends with one and six digits.",
        )
    return f"{RECORDS}/{scope}{_ROWS}"


def scope_of(name: str) -> str | None:
    """Return the scope whose rows are in a file of `records`, or None for another file."""
    return whole(name)[: -len(_ROWS)] if name.endswith(_ROWS) else None


def part(path: str, number: int) -> str:
    """Return the numbered part of a file that cannot grow: `ledger.jsonl`, 1 → `ledger.000001.jsonl`."""
    stem, dot, extension = path.rpartition(".")
    return f"{stem}.{number:06d}{dot}{extension}"


def part_number(path: str) -> int:
    """Return the number of a part, 0 for other files."""
    found = _PART.search(path)
    return int(found[1]) if found else 0


ATTEMPTS_AT_MOST = 100_000  # of a trial, between two times that its execution is resumed
PARTS = 10**6  # numbers of parts for each attempt


def fencing_token(resumed: int, attempt: int) -> int:
    """Return the fencing token of an attempt: a later attempt has a greater one.

    Args:
        resumed: How often the execution has been resumed. One that is resumed may not know of the last attempt.
        attempt: The number of the attempt.
    """
    return resumed * ATTEMPTS_AT_MOST + attempt


def first_part(token: int) -> int:
    """Return the number of the first part that an attempt with this fencing token writes of a file."""
    return max(0, token - 1) * PARTS + 1


def last_writer(path: str, numbers: Sequence[int]) -> list[int]:
    """Return those of the sorted numbers of parts that count: in a trial, those of the attempt that was last."""
    if f"/{TRIALS}/" not in path or not numbers:
        return list(numbers)
    begin = (numbers[-1] - 1) // PARTS * PARTS
    return [number for number in numbers if number > begin or begin <= 0]


def whole(path: str) -> str:
    """Return the file that a part belongs to: `ledger.000001.jsonl` → `ledger.jsonl`. Other paths stay."""
    return _PART.sub("", path)


def former(path: str, number: int) -> str:
    """Return the path of a file before an execution was resumed: `plan.jsonl`, 1 → `plan.1.jsonl`."""
    stem, dot, extension = path.rpartition(".")
    return f"{stem}.{number}{dot}{extension}"


def pointer(identity: str) -> str:
    """Return the path of the pointer from an identity to the trial with its result, relative to the storage."""
    return f"{BY_CONTENT}/{identity[:2]}/{identity}.json"


def lease(identity: str) -> str:
    """Return the path of the lease of an identity, relative to the storage."""
    return f"{BY_CONTENT}/{identity[:2]}/{identity}.lease"


def limit_lease(name: str, part: str) -> str:
    """Return the path of a lease of a limit that executions share: of a unit, or of a place in the line for units."""
    return lease(f"limit.{name}.{part}")


def shared(key: str) -> str:
    """Return the directory that trials with the same key share, relative to the storage."""
    return f"{BY_CONTENT}/{key[:2]}/{key}.shared"


def cached(key: str, name: str) -> str:
    """Return the path of the result of a cached method, relative to the storage."""
    return f"{BY_CONTENT}/{key[:2]}/{key}.cached/{name}"


def checksum(path: str) -> str:
    """Return the path of the file with the digest of a cached value."""
    return f"{path}{_CHECKSUM}"


def is_cached(path: str) -> bool:
    """Return whether a file of the storage is a cached value, and not its digest."""
    return _CACHED.match(path) is not None and not path.endswith(_CHECKSUM)


def is_shared(path: str) -> bool:
    """Return whether trials of several executions write a path of the storage: shared data and cached values."""
    return _SHARED.match(path) is not None or path == STORAGE_ID


def pointer_identity(path: str) -> str | None:
    """Return the identity whose result a file of the storage points to; None for another file."""
    identity = path.rpartition("/")[2].removesuffix(".json")
    return identity if identity and path == pointer(identity) else None


def is_lease(path: str) -> bool:
    """Return whether a file of the storage is the lease of a result or of an execution."""
    folder, _, name = path.rpartition("/")
    is_executions = bool(folder) and "/" not in folder and name == EXECUTION_LEASE
    return is_executions or path == lease(name.removesuffix(".lease"))
