"""Move the files of trials between the storage and workers that cannot access it."""

from __future__ import annotations

from machinable.engines.processes.pool import Scratch
from machinable.engines.transfer import pack_folder, unpack_folder
from machinable.execution.worker_task import folders_needed
from machinable.plan.spec import TrialSpec
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles

__all__ = ["Staging", "StorageTransfer"]


class Staging:
    """A temporary directory of this host that workers write to instead of a storage that they cannot access."""

    def __init__(self, files: Files, folder: str) -> None:
        self._scratch = Scratch()
        self.directory = self._scratch.path
        self._files = files
        self._folder = folder
        self._staged = DirectoryFiles(self.directory)
        self._fetched: set[str] = set()  # directories that trials read

    def fetch(self, spec: TrialSpec) -> None:
        """Copy the folders that a trial reads from the storage."""
        for folder in folders_needed(spec):
            if folder not in self._fetched:
                unpack_folder(self._staged, pack_folder(self._files, folder))
                self._fetched.add(folder)

    def collect(self, spec: TrialSpec) -> None:
        """Move the folder of a trial into the storage."""
        path = layout.join(self._folder, layout.trial(spec.uid))
        if self._staged.is_directory(path):
            unpack_folder(self._files, pack_folder(self._staged, path))
            self._staged.remove(path)

    def close(self) -> None:
        """Remove the directory."""
        self._scratch.close()


class StorageTransfer:
    """The storage of an execution, for an engine whose workers cannot access it."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def fetch(self, path: str) -> bytes:
        """Return an archive of a folder that a trial reads."""
        return pack_folder(self._files, path)

    def store(self, archive: bytes) -> None:
        """Write the folder in an archive to its place."""
        unpack_folder(self._files, archive)
