"""Shared fixtures: a small project, isolated from the user's settings; and which tests are slow or share a server."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.open import open_files
from tests.kits.s3_server import s3_folders

World = Callable[..., Path]

# Shells start background jobs with SIGINT ignored, nohup with SIGHUP; processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


SLOW = (
    "config/test_fuzz.py",
    "examples/",
    "journeys/",
    "kits/",
    "storage/test_gcs.py",
    "storage/test_s3.py",
    "ui/test_pages.py",
)


# What they test are other hosts, killed processes and broken disks, which are the same for each version of Python.
ONCE = (
    "journeys/test_crashes.py",
    "journeys/test_faults.py",
    "journeys/test_mutations.py",
    "journeys/test_ray_hosts.py",
    "journeys/test_ray_storage.py",
    "journeys/test_takeover.py",
    "ui/test_pages.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their place, and keep those of one Ray cluster in one pytest-xdist worker."""
    tests = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(tests).as_posix()
        if place.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
        if place.startswith(ONCE):
            item.add_marker(pytest.mark.once)
        if "ray_cluster" in getattr(item, "fixturenames", ()) or item.path.stem == "test_ray":
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(autouse=True)
def _no_user_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MACHINABLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp()))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


@pytest.fixture(autouse=True)
def _no_modules_of_other_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Unload modules that a test imported from its project: other projects have modules of the same names."""
    yield
    temporary = str(tmp_path_factory.getbasetemp())
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(temporary):
            del sys.modules[name]


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start one Ray cluster of two cores for all tests and connect this process to it.

    It starts with the first test that needs it, because that takes seconds. Its token is written below the temporary
    directory instead of the user's home directory.
    """
    import ray

    from machinable.engines.ray.engine import shut_down

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.getbasetemp()))
        patch.setenv("RAY_AUTH_MODE", "")  # Ray sets it; this way the patch removes it again
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
    """Return a function that makes a new folder in a bucket; the server starts with the first test that needs it."""
    pytest.importorskip("boto3")
    pytest.importorskip("moto")
    with s3_folders() as new_folder:
        yield new_folder


@pytest.fixture
def new_files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Files]]:
    """Return a function that opens an empty storage of a kind; it is closed after the test."""
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
    """Return an empty storage of each kind. Test files that need fewer override this fixture."""
    return new_files(request.param)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty project directory and change to it."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.syspath_prepend(str(directory))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return directory


@pytest.fixture
def project(world: Path) -> World:
    """Return a function that writes the project's files and returns its directory.

    `project(machinable_yaml, module="…")` writes `machinable.yaml` and `module.py`.
    """

    def write(declarations: str, **modules: str) -> Path:
        (world / "machinable.yaml").write_text(declarations)
        for name, text in modules.items():
            (world / f"{name}.py").write_text(text)
        return world

    return write
