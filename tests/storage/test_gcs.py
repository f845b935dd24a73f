"""Storages in Google Cloud: they behave like others, and credentials are found in the usual places."""

from __future__ import annotations

import itertools
import json
import traceback
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import machinable as ml
from machinable.errors import StorageUnavailable
from machinable.storage.files import Files
from machinable.storage.open import open_files
from tests.kits.storage import AWKWARD, FilesConformance

for name in ("fs_gcsfs", "gcp_storage_emulator"):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)

from tests.kits.gcs_server import gcs_server  # noqa: E402 - it needs what was looked for above

World = Callable[..., Path]


@pytest.fixture(scope="session")
def _server() -> Iterator[str]:
    with gcs_server("bucket") as url:
        yield url


@pytest.fixture(autouse=True)
def endpoint(_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", _server)
    monkeypatch.delenv("GCS_CREDENTIAL", raising=False)
    return _server


_numbers = itertools.count()


class TestGoogleFiles(FilesConformance):
    is_exclusive = False

    @pytest.fixture
    def files(self) -> Iterator[Files]:
        files = open_files(f"gs://bucket/kit/{next(_numbers)}", create=True)
        yield files
        files.close()

    @pytest.mark.parametrize("name", [name for name in AWKWARD if not set("?%#") & set(name)])
    def test_names_are_taken_literally(self, files: Files, name: str) -> None:
        """Use fewer names: the test server does not quote links."""
        super().test_names_are_taken_literally(files, name)


WORK = """
from machinable import Component


class Work(Component):
    def on_execute(self):
        self.record["x"] = 1
        self.record.save()
        self.store.write("deep/x.json", {"a": 1})
        self.log.info("done")
        return 5
"""


@pytest.mark.filterwarnings("ignore:locks in gs")
@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_an_execution_is_stored_and_read_back(project: World, engine: str) -> None:
    project("components:\n  - work:\n", work=WORK)
    url = f"gs://bucket/a folder/{next(_numbers)}"
    ml.execute(ml.Task("work").repeat(2), url, seed="OY1p1o", engine=engine)
    with ml.Storage(url) as storage:
        (execution,) = storage.executions
        assert [(t.status, t.result, t.records.column("x"), t.read("deep/x.json")) for t in execution] == (
            [("finished", 5, [1], {"a": 1})] * 2
        )
        assert storage.url == url


def test_a_missing_storage_is_an_error() -> None:
    with pytest.raises(StorageUnavailable, match="there is no storage at 'gs://bucket/nowhere'"):
        open_files("gs://bucket/nowhere", create=False)
    with pytest.raises(StorageUnavailable, match="the storage 'gs://no-bucket/x' cannot be used"):
        open_files("gs://no-bucket/x", create=True)
    with pytest.raises(StorageUnavailable, match="the bucket is missing: gs://bucket/folder"):
        open_files("gs://", create=True)


@pytest.mark.parametrize("text", ["{canary", "[1]", "/no/such/canary", '{"type": "canary"}'])
def test_an_invalid_credential_is_an_error_that_does_not_contain_it(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GCS_CREDENTIAL", text)
    with pytest.raises(StorageUnavailable) as caught:
        open_files("gs://bucket/x", create=True)
    assert "canary" not in "".join(traceback.format_exception(caught.value)).replace(__file__, "")


@pytest.mark.parametrize("as_file", [False, True])
def test_a_credential_is_the_key_of_a_service_account_or_a_file_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_file: bool
) -> None:
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = json.dumps(
        {
            "type": "service_account",
            "project_id": "p",
            "client_email": "ada@example.org",
            "token_uri": "http://127.0.0.1:9/token",
            "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        }
    )
    (tmp_path / "key.json").write_text(text)
    monkeypatch.setenv("GCS_CREDENTIAL", str(tmp_path / "key.json") if as_file else text)
    from machinable.storage.pyfilesystem import _open_google, _stand_in_for_setuptools

    with _stand_in_for_setuptools():
        import fs_gcsfs  # noqa: F401
    filesystem = _open_google("bucket/a%20folder", "project=other", create=False)
    client = filesystem.client
    assert (client._credentials.service_account_email, client.project) == ("ada@example.org", "other")
    assert (filesystem._bucket_name, filesystem.root_path) == ("bucket", "a folder")
