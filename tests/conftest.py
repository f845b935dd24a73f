"""What many tests need: a small project of their own, and no settings of whoever runs them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from machinable.storage.files import DirectoryFiles, Files, MemoryFiles
from machinable.storage.open import open_files
from tests.kits.s3_server import s3_folders

World = Callable[..., Path]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Shells start background jobs so, and all processes that tests start would be deaf to Ctrl-C, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _nobodys_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MACHINABLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp()))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


@pytest.fixture(autouse=True)
def _nobodys_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forgets modules that were imported from the small projects of a test: others have modules of the same names."""
    yield
    temporary = str(tmp_path_factory.getbasetemp())
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(temporary):
            del sys.modules[name]


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray cluster of two cores for all tests, which this process is connected to.

    It starts after whoever wants it has said so, because that takes seconds. Its token goes where no user's is.
    """
    import ray

    from machinable.engines.ray.engine import shut_down

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.getbasetemp()))
        patch.setenv("RAY_AUTH_MODE", "")  # Ray sets it, and nobody would take it away
        patch.delenv("RAY_AUTH_MODE")
        ray.init(
            address="local",
            num_cpus=2,
            object_store_memory=80 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )
        yield
        shut_down(ray)


@pytest.fixture(scope="session")
def s3_folder() -> Iterator[Callable[[], str]]:
    """Gives the URL of a new folder in a bucket each time, on a server that starts when the first test wants it."""
    pytest.importorskip("boto3")
    pytest.importorskip("moto")
    with s3_folders() as new_folder:
        yield new_folder


@pytest.fixture
def new_files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Files]]:
    """Makes an empty storage of a kind, which is closed after the test."""
    makers: dict[str, Callable[[], Files]] = {
        "memory": MemoryFiles,
        "directory": lambda: DirectoryFiles(tmp_path / "storage"),
        "s3": lambda: open_files(request.getfixturevalue("s3_folder")(), create=True),
    }
    with ExitStack() as made:

        def make(kind: str) -> Files:
            files = makers[kind]()
            made.callback(files.close)
            return files

        yield make


@pytest.fixture(params=["memory", "directory", "s3"])
def files(request: pytest.FixtureRequest, new_files: Callable[[str], Files]) -> Files:
    """An empty storage of each kind. Where fewer are enough, tests have a fixture of their own."""
    return new_files(request.param)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project directory, which is the working directory."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.syspath_prepend(str(directory))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return directory


@pytest.fixture
def project(world: Path) -> World:
    """Writes files into the project: `project(machinable_yaml, module="…")`; gives its directory."""

    def write(declarations: str, **modules: str) -> Path:
        (world / "machinable.yaml").write_text(declarations)
        for name, text in modules.items():
            (world / f"{name}.py").write_text(text)
        return world

    return write
