"""No library that we call draws from the random generators of a trial."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest

import machinable as ml
from machinable.storage.locks import open_locks
from machinable.storage.memory import MemoryFiles
from machinable.storage.open import open_files
from machinable.storage.private_random import use_private_random
from tests.conftest import World
from tests.kits.faulty_proxy import at_random, faulty_proxy
from tests.kits.redis_server import is_installed, redis_server
from tests.kits.s3_server import s3_server

DRAWS = """
import random

import numpy
from machinable import Component

try:
    import torch
except ImportError:
    torch = None


class Draws(Component):
    def on_execute(self):
        drawn = []
        for i in range(10):
            drawn.append([random.random(), numpy.random.random(), torch and torch.rand(1).item()])
            self.store.write(f"{i}.json", i)
            self.record["i"] = i
            self.record.save()
            self.log.info("%d", i)
        return drawn
"""


def drawn(storage: str, **options: Any) -> Any:
    return ml.execute("draws", {"storage": storage, "code_backup": False, **options}, "OY1p1o").trials[0].result


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # of botocore
def test_requests_that_are_repeated_do_not_change_the_numbers_of_a_trial(project: World, tmp_path: Path) -> None:
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("moto")
    project("components: [draws: ]\n", draws=DRAWS)
    expected = drawn(str(tmp_path / "directory"))
    with s3_server() as server, faulty_proxy(server) as proxy:
        client = boto3.Session("key", "secret", region_name="us-east-1").client("s3", endpoint_url=server)
        client.create_bucket(Bucket="faulty")
        client.close()
        proxy.choose = at_random(0.2, 5, "PUT")
        assert drawn(f"s3://key:secret@faulty/a?endpoint_url={quote(proxy.url, safe='')}") == expected
        assert len(proxy.seen) > 1


@pytest.mark.filterwarnings("ignore:locks in:RuntimeWarning")
def test_uploads_to_google_cloud_storage_do_not_change_the_numbers_of_a_trial(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("fs_gcsfs") is None or find_spec("gcp_storage_emulator") is None:
        pytest.skip("the client or the test server is not installed")
    from tests.kits.gcs_server import gcs_server

    project("components: [draws: ]\n", draws=DRAWS)
    expected = drawn(str(tmp_path / "directory"))
    with gcs_server("bucket") as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        monkeypatch.delenv("GCS_CREDENTIAL", raising=False)
        assert drawn("gs://bucket/draws") == expected


@pytest.mark.parametrize("url", ["mem://", "temp://"])
def test_other_storages_leave_the_generators_alone(url: str) -> None:
    with_state = random.getstate()
    files = open_files(url, create=True)
    files.write("a/b.txt", b"text")
    assert files.read("a/b.txt") == b"text"
    files.close()
    assert random.getstate() == with_state


def test_locks_of_a_redis_server_leave_the_generators_alone(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    if not is_installed():
        pytest.skip("redis-server is not installed")
    with_state = random.getstate()
    with redis_server(tmp_path) as server:
        locks = open_locks(MemoryFiles(), server.url)
        lease = locks.take("a.lease")
        assert lease is not None
        lease.release()
        server.process.kill()
        server.process.wait()
        with pytest.raises(ml.errors.StorageUnavailable):
            locks.take("a.lease")
        locks.close()
    assert random.getstate() == with_state


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
    def make(name: str, code: str) -> ModuleType:
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(code, vars(module))
        return module

    return make


CLIENT = """
import random
import random as names
from random import Random, uniform

class Backoff:
    draw = random.random
    def __init__(self, draw=random.random, factor=2):
        self.draw, self.factor = draw, factor

def delays(again=uniform):
    return [random.random(), names.gauss(0, 1), uniform(0, 1), again(0, 1), Backoff().draw(), Backoff.draw()]
"""


def test_however_a_library_refers_to_the_global_generator(library: Callable[[str, str], ModuleType]) -> None:
    client = library("client_of_a_test.inner", CLIENT)
    other = library("other_library_of_a_test", CLIENT)
    use_private_random("client_of_a_test")
    before = random.getstate()
    assert len(set(client.delays())) == 6
    assert random.getstate() == before
    assert client.Backoff().factor == 2
    assert client.Random is random.Random
    assert len(set(other.delays())) == 6
    assert random.getstate() != before, "a library of the user draws from the trial's generator"
