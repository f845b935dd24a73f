"""Share data between trials through their storage: directories, one trial at a time, and values computed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from machinable.component.local_dir import LocalFolder
from machinable.errors import InvalidType, MissingKey, StorageError, suggestion
from machinable.plan.spec import TrialSpec
from machinable.serialization import Plain, canonical
from machinable.storage import layout
from machinable.storage.documents import read_checksum, write_checksum
from machinable.storage.files import Files
from machinable.storage.formats.registry import load
from machinable.storage.hashing import digest
from machinable.storage.locks import LEASE, Lease, Locks, open_locks

if TYPE_CHECKING:
    import logging

__all__ = ["SharedData", "SharedDirectory", "check_keys", "values_of"]


class SharedDirectory(str):
    """The path of a directory that is locked until the trial ends, or until the end of a `with` block."""

    _release: Callable[[], None]

    def __enter__(self) -> SharedDirectory:
        return self

    def __exit__(self, *error: object) -> None:
        self._release()


class SharedData:
    """The data that one trial shares with others; `server` and `lease` are those of `open_locks`."""

    def __init__(
        self,
        spec: TrialSpec,
        files: Files,
        folder: str,
        config: Callable[[], Mapping[str, Plain]],
        log: Callable[[], logging.Logger],
        server: str | None = None,
        lease: float = LEASE,
    ) -> None:
        self._spec = spec
        self._files = files
        self._folder = folder
        self._config = config
        self._log = log
        self._server = server
        self._lease = lease
        self._locks: Locks | None = None
        self._directories: dict[str, tuple[SharedDirectory, LocalFolder, Lease]] = {}

    def directory(self, name: str, keys: Sequence[str]) -> SharedDirectory:
        """Return the directory for these values of the configuration, as soon as no other trial uses it."""
        check_keys(keys)
        component, module = self._spec.definition.counts_as
        key = _key(
            {
                "kind": "shared",
                "name": name,
                "component": component,
                "module": module,
                "config": values_of(self._config(), keys),
            }
        )
        if key not in self._directories:
            lease = self._wait(key, f"the shared directory {name + '/'!r}")
            assert lease is not None
            folder = LocalFolder(self._files, layout.shared(key))
            try:
                directory = SharedDirectory(folder.open())
            except BaseException:
                lease.release()
                raise
            directory._release = lambda: self._release(key)
            self._directories[key] = directory, folder, lease
        return self._directories[key][0]

    def _release(self, key: str) -> None:
        if key not in self._directories:  # another block has released it
            return
        path, folder, lease = self._directories.pop(key)
        try:
            if self._files.local_path("") is None and not lease.is_held:
                raise StorageError(
                    f"the changes in the shared directory {str(path)!r} were not stored: the lease was not renewed in "
                    "time, so another trial may have it",
                    todo="They are still in that directory. Set a longer lease: `execution: {lease: 300}`.",
                )
            folder.close()
        finally:
            lease.release()

    def value(
        self,
        key: Plain,
        name: str,
        what: str,
        compute: Callable[[], bytes],
        loader: Callable[[str], Any] | None = None,
    ) -> Any:
        """Return the value that is stored for a key; compute it if there is none.

        Args:
            key: Everything that determines the value.
            name: The name of the artifact.
            what: A description for the log.
            compute: Returns the content of the file.
            loader: Reads a model.
        """
        cached = _key({"kind": "cached", "key": key})
        path = layout.cached(cached, name)
        content, is_wrong = self._stored(path)
        while content is None:
            unless = (lambda: False) if is_wrong else (lambda: self._files.exists(path))
            lease = self._wait(cached, what, unless)
            if lease is None:
                content, is_wrong = self._stored(path)
                continue
            with lease:
                content, is_wrong = self._stored(path)  # another trial may have been faster
                if content is None:
                    content = compute()
                    if is_wrong:
                        self._clear(path)
                    write_checksum(self._files, path, content)  # first, so that no value is without
                    self._files.write(path, content)
        # Executions trust their storage.
        return load(name, content, trust=True, load=loader)

    def _stored(self, path: str) -> tuple[bytes | None, bool]:
        """Return a value if it is what was stored, else None; and whether there is another one."""
        try:
            content = self._files.read(path)
        except FileNotFoundError:
            return None, False
        except (IsADirectoryError, NotADirectoryError) as error:
            what = "a directory" if isinstance(error, IsADirectoryError) else "below a file"
            self._log().warning("%s is %s, which is removed: it is computed again", path, what)
            return None, True
        if read_checksum(self._files, path) == digest(content):
            return content, False
        self._log().warning("%s does not have the digest that was recorded: it is computed again", path)
        return None, True

    def _clear(self, path: str) -> None:
        """Remove directories in the place of a value or of its digest, and a file in the place of their folder."""
        for one in (path, layout.checksum(path)):
            if self._files.is_directory(one):
                self._files.remove(one)
        folder = path.rpartition("/")[0]
        if self._files.exists(folder) and not self._files.is_directory(folder):
            self._files.remove(folder)

    def _wait(self, key: str, what: str, unless: Callable[[], bool] = lambda: False) -> Lease | None:
        if self._locks is None:
            self._locks = open_locks(self._files, self._server, self._lease)

        def waiting(holder: Mapping[str, Plain]) -> None:
            who = ", ".join(f"{name} {value}" for name, value in holder.items() if name not in ("time", "heartbeat"))
            self._log().info("waiting for %s, held by another trial: %s", what, who or "unknown")

        holder = {"execution": self._folder, "uid": self._spec.uid}
        return self._locks.wait(layout.lease(key), holder, unless, waiting)

    def close(self) -> None:
        """Release all directories."""
        with ExitStack() as stack:  # an error of one does not keep the others from being released
            if self._locks is not None:
                stack.callback(self._locks.close)
                self._locks = None
            for key in self._directories:
                stack.callback(self._release, key)


def _key(parts: Plain) -> str:
    return blake2b(canonical(parts).encode("ascii"), digest_size=16).hexdigest()


def check_keys(keys: Sequence[str]) -> None:
    """Raise an InvalidType unless this is a list of keys."""
    if isinstance(keys, str):
        raise InvalidType(f"keys is the text {keys!r}", given=keys, todo=f"Give a list: keys=[{keys!r}].")


def values_of(config: Mapping[str, Plain], keys: Sequence[str]) -> dict[str, Plain]:
    """Return the values that a configuration has at dotted keys.

    Raises:
        MissingKey: There is no such key.
    """
    return {path: _value(config, path) for path in keys}


def _value(config: Mapping[str, Plain], path: str) -> Plain:
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            known = [str(key) for key in value] if isinstance(value, Mapping) else []
            raise MissingKey(
                f"no key {path!r} in the configuration, but `keys` names it",
                given=path,
                known=known,
                todo=suggestion(name, known, f"There are: {', '.join(known)}"),
            )
        value = value[name]
    return _comparable(value)


def _comparable(value: Plain) -> Plain:
    """Return the value with whole floats as integers: 1 and 1.0 are one value."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _comparable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_comparable(item) for item in value]
    return value
