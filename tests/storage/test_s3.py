"""S3 storages behave like others. How many requests they send, and which errors they raise."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest

import machinable as ml
from machinable.errors import StorageUnavailable
from machinable.results.remove import executions, remove
from machinable.results.verify import repair, verify
from machinable.serialization import dumps
from machinable.storage import s3
from machinable.storage.files import Entry, Files
from machinable.storage.numbered_parts import PartAppender, read_parts
from machinable.storage.open import open_files
from machinable.storage.s3 import ObjectStoreFiles
from tests.conftest import World
from tests.kits.s3_server import s3_server
from tests.kits.storage import FilesConformance

boto3 = pytest.importorskip("boto3")
pytest.importorskip("moto")

KEY, SECRET = "AKIACANARY", "canary/secret+of+the+tests"
BUCKET = "results"


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """Start an S3 server with one bucket in another process."""
    with s3_server() as url:
        client = plain_client(url)
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield url


def plain_client(endpoint: str) -> Any:
    session = boto3.Session("other", "other", region_name="us-east-1")
    return session.client("s3", endpoint_url=endpoint)


@pytest.fixture(scope="session")
def others(endpoint: str) -> Iterator[Any]:
    """Return a client that stands for another program."""
    client = plain_client(endpoint)
    yield client
    client.close()


class Wire:
    """Records every request; an `answer` can replace the response of the server or change the request."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.answer: Callable[[Any], Any] = lambda request: None

    def send(self, request: Any, **others: Any) -> Any:
        parts = urlsplit(request.url)
        path = unquote(parts.path).removeprefix(f"/{BUCKET}").removeprefix("/")
        what = "LIST" if "list-type=" in parts.query else "DELETE" if parts.query == "delete" else request.method
        self.requests.append(f"{what} {path.partition('/')[2]}".rstrip())
        return self.answer(request)

    def taken(self) -> list[str]:
        """Return the requests since the last call."""
        taken = list(self.requests)
        self.requests.clear()
        return taken


@pytest.fixture(scope="module")
def _session() -> Iterator[Wire]:
    wire = Wire()
    before = boto3.DEFAULT_SESSION
    boto3.setup_default_session()
    boto3.DEFAULT_SESSION.events.register("before-send.s3", wire.send)
    yield wire
    boto3.DEFAULT_SESSION = before


@pytest.fixture
def wire(_session: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Record the requests of all clients, without pauses between attempts."""
    import botocore.endpoint

    clock = types.SimpleNamespace(sleep=lambda seconds: None, time=botocore.endpoint.time.time)
    monkeypatch.setattr(botocore.endpoint, "time", clock)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    _session.requests.clear()
    yield _session
    _session.answer = lambda request: None


_count = iter(range(10**6))


@pytest.fixture
def url(endpoint: str, wire: Wire) -> str:
    """Return the URL of a new folder of the bucket."""
    return url_of(endpoint, f"{BUCKET}/{next(_count)}")


def url_of(endpoint: str, place: str) -> str:
    return f"s3://{KEY}:{quote(SECRET, safe='')}@{place}?endpoint_url={quote(endpoint, safe='')}"


def folder_of(url: str) -> str:
    return url.partition(f"@{BUCKET}/")[2].partition("?")[0]


@pytest.fixture
def files(url: str, wire: Wire) -> Iterator[ObjectStoreFiles]:
    opened = open_files(url, create=True)
    assert isinstance(opened, ObjectStoreFiles)
    wire.taken()
    yield opened
    opened.close()


def reply(status: int, body: str = "") -> Callable[[Any], Any]:
    """Return a function that answers every request in this way."""
    from botocore.awsrequest import AWSResponse

    class Raw(io.BytesIO):
        def stream(self, *arguments: Any, **options: Any) -> Iterator[bytes]:
            yield self.read()

    return lambda request: AWSResponse(request.url, status, {"content-length": str(len(body))}, Raw(body.encode()))


def refusal(status: int, code: str = "", message: str = "no") -> Callable[[Any], Any]:
    return reply(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>")


class TestS3(FilesConformance):
    @pytest.fixture
    def files(self, url: str) -> Iterator[Files]:
        files = open_files(url, create=True)
        yield files
        files.close()


# --- what one thing costs


def test_each_operation_costs_one_request(files: ObjectStoreFiles, wire: Wire) -> None:
    files.write("a/b/x", b"1")
    assert wire.taken() == ["PUT a/b/x"]
    assert files.read("a/b/x") == b"1"
    assert wire.taken() == ["GET a/b/x"]
    assert files.size("a/b/x") == 1
    assert wire.taken() == ["HEAD a/b/x"]
    assert files.entries("a") == [Entry("b", True)]
    assert wire.taken() == ["LIST"]
    assert [files.exists("a"), files.exists("a/b/x"), files.exists("a/b/y")] == [True, True, False]
    assert wire.taken() == ["LIST"] * 3
    assert [files.is_directory("a"), files.is_directory("a/b/x")] == [True, False]
    assert wire.taken() == ["LIST"] * 2
    files.write("a/b/x", b"2")
    assert wire.taken() == ["PUT a/b/x"]


def test_a_directory_is_created_with_a_listing_and_a_conditional_request(files: ObjectStoreFiles, wire: Wire) -> None:
    assert files.create_directory("OY1p1o")
    # What the server does with conditions is found out once.
    assert wire.taken() == [
        "LIST",
        "PUT .machinable-directory",
        "PUT .machinable-directory",
        "PUT OY1p1o/.machinable-directory",
    ]
    assert not files.create_directory("OY1p1o")
    assert files.create_directory("OY1p1o-2")
    assert wire.taken() == ["LIST", "LIST", "PUT OY1p1o-2/.machinable-directory"]
    assert files.entries("") == [Entry("OY1p1o", True), Entry("OY1p1o-2", True)]
    assert files.entries("OY1p1o") == []


def test_a_tree_is_removed_and_moved_in_bulk(files: ObjectStoreFiles, wire: Wire) -> None:
    for number in range(5):
        files.write(f"a/{number}/x", b"1")
    wire.taken()
    files.move("a", "b")
    moved = wire.taken()
    assert sorted(moved[3:-1]) == [f"PUT b/{number}/x" for number in range(5)]
    assert (moved[:3], moved[-1]) == (["LIST", "HEAD a", "LIST"], "DELETE")
    files.remove("b")
    assert wire.taken() == ["HEAD b", "LIST", "DELETE"]
    assert not files.exists("a")
    assert not files.exists("b")


def test_listings_of_several_pages_are_complete(files: ObjectStoreFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    files._client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **others: {**params, "MaxKeys": 2}
    )
    monkeypatch.setattr(s3, "_MAX_DELETED", 2)
    names = ["a", *(f"a-{number}" for number in range(4)), "b"]
    for name in names:
        files.write(f"d/{name}/x", b"1")
    assert [entry.name for entry in files.entries("d")] == names
    assert [files.exists("d/a"), files.exists("d/a-"), files.exists("d/b")] == [True, False, True]
    files.move("d", "e")
    assert [entry.name for entry in files.entries("e")] == names
    files.remove("e")
    assert files.entries("") == []


def test_objects_too_large_for_one_request_are_stored_and_moved(
    files: ObjectStoreFiles, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_MAX_REQUEST", 2**20)
    data = bytes(range(256)) * 2**15 + b"more than eight MiB"
    files.write("x", data)
    assert sorted({request.partition(" ")[0] for request in wire.taken()}) == ["POST", "PUT"]
    files.move("x", "y")
    assert files.read("y") == data
    assert files.entries("") == [Entry("y", False)]


# --- what an execution costs


SMALL = """
from machinable import Component


class Small(Component):
    def on_execute(self):
        return self.config.x
"""
ROWS = """
import numpy
from machinable import Component


class Rows(Component):
    def on_execute(self):
        for i in range(100):
            self.record["loss"] = i
            self.record.save()
        self.store.write("weights.npy", numpy.arange(3))
"""
FLAKY = """
from machinable import Component


class Flaky(Component):
    def on_execute(self):
        self.store.write("attempt.json", self.flags.ATTEMPT)
        if self.flags.ATTEMPT < 2:
            raise OSError("not yet")
"""


@pytest.fixture
def here(project: World) -> Path:
    declarations = "components:\n  - small: {x: 1}\n  - rows:\n  - flaky: {_retries_: {count: 1}}\n"
    return project(declarations, small=SMALL, rows=ROWS, flaky=FLAKY)


def execute(task: Any, url: str, seed: Any = "OY1p1o") -> ml.Execution:
    execution = ml.execute(task, {"storage": url, "code_backup": False}, seed=seed, progress=False)
    assert isinstance(execution, ml.Execution)
    return execution


def test_a_small_trial_is_stored_with_two_requests(here: Path, url: str, wire: Wire) -> None:
    execution = execute(ml.Task("small").repeat(3), url)
    assert wire.taken() == [
        "LIST",  # is it there?
        "LIST",
        "PUT .machinable-directory",  # only where the server is not Amazon's
        "PUT .machinable-directory",
        "PUT OY1p1o/.machinable-directory",
        "PUT OY1p1o/execution.lease",  # no other process resumes or removes it
        "PUT OY1p1o/plan.jsonl",
        "PUT OY1p1o/execution.json",
        *(f"PUT OY1p1o/trials/{t.uid}/{name}" for t in execution for name in ("trial.json", "status.json")),
        "PUT OY1p1o/ledger.000001.jsonl",
        "DELETE",  # of the lease
    ]


def test_rows_and_an_artifact_cost_two_more_requests(here: Path, url: str, wire: Wire) -> None:
    execution = execute("rows", url)
    (trial,) = execution
    assert [request for request in wire.taken() if "/trials/" in request] == [
        f"PUT OY1p1o/trials/{trial.uid}/{name}"
        for name in ("artifacts/weights.npy", "records/default.000001.jsonl", "trial.json", "status.json")
    ]
    assert trial.records.column("loss") == list(range(100))


def test_another_attempt_begins_with_an_empty_folder(here: Path, url: str) -> None:
    (trial,) = execute("flaky", url)
    assert (trial.status, trial.attempt, trial.read("attempt.json")) == ("finished", 2, 2)
    files = open_files(url, create=False)
    assert files.read(f"OY1p1o/trials/{trial.uid}/attempts/1/artifacts/attempt.json").strip() == b"1"
    files.close()


def test_reading_back_costs_two_listings_and_one_request_for_each_file(here: Path, url: str, wire: Wire) -> None:
    for seed in ("OY1p1o", "8gWVkz"):
        execute(ml.Task("small").component("rows"), url, seed)
    wire.taken()
    with ml.Storage(url) as storage:
        assert wire.taken() == ["LIST"]  # is it there?
        executions = {str(execution): execution for execution in storage.executions}
        assert sorted(executions) == ["8gWVkz", "OY1p1o"]
        # The folders, and when their files were stored; several files are read at a time.
        assert sorted(wire.taken()) == ["GET 8gWVkz/execution.json", "GET OY1p1o/execution.json", "LIST", "LIST"]
        small, rows = executions["OY1p1o"].trials
        assert (small.status, rows.status, rows.last_row is not None) == ("finished", "finished", True)
        # Files that may have parts are looked for.
        assert [request for request in wire.taken() if request != "LIST"] == [
            "GET OY1p1o/plan.jsonl",
            "GET OY1p1o/ledger.000001.jsonl",
        ]
        assert small.result == 1
        assert wire.taken() == [f"GET OY1p1o/trials/{small.uid}/status.json"]
        assert rows.read("weights.npy").tolist() == [0, 1, 2]
        assert wire.taken() == [f"GET OY1p1o/trials/{rows.uid}/artifacts/weights.npy"]


def test_lines_are_stored_every_ten_seconds(
    files: ObjectStoreFiles, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = []

    class Timer:
        def __init__(self, seconds: float, act: Callable[[], None]) -> None:
            due.append((seconds, act))

        def start(self) -> None: ...
        def cancel(self) -> None: ...

    fake = types.SimpleNamespace(Timer=Timer, RLock=threading.RLock)
    monkeypatch.setattr("machinable.storage.numbered_parts.threading", fake)
    appender = files.appender("ledger.jsonl")
    for line in (b"1\n", b"2\n"):
        appender.write(line)
    ((seconds, act),) = due
    assert (seconds, wire.taken()) == (10.0, [])
    act()
    assert files.read("ledger.000001.jsonl") == b"1\n2\n"
    appender.write(b"3\n")
    appender.close()
    assert read_parts(files, "ledger.jsonl") == [b"1\n2\n", b"3\n"]


def test_a_storage_copied_by_other_programs_is_read(here: Path, url: str, others: Any, tmp_path: Path) -> None:
    local = execute(ml.Task("rows"), str(tmp_path / "s"))
    for place in (tmp_path / "s").rglob("*"):
        if place.is_file():
            key = f"{folder_of(url)}/{place.relative_to(tmp_path / 's').as_posix()}"
            others.put_object(Bucket=BUCKET, Key=key, Body=place.read_bytes())
    with ml.Storage(url) as storage:
        (execution,) = storage.executions
        assert [str(execution), execution.status] == ["OY1p1o", "finished"]
        assert execution.trials[0].records.rows == local.trials[0].records.rows
        assert execution.trials[0].files == ["weights.npy"]
    assert str(execute("small", url)) == "OY1p1o-2"  # and nothing of it is overwritten


def test_keys_that_are_not_paths_are_ignored(files: ObjectStoreFiles, url: str, others: Any) -> None:
    for name in ("a/", "a//x", "a/./x", "a/../x", "a/y", "b", "b/x"):
        others.put_object(Bucket=BUCKET, Key=f"{folder_of(url)}/{name}", Body=b"1")
    assert files.entries("a") == [Entry("y", False)]
    assert files.entries("") == [Entry("a", True), Entry("b", True)]
    assert [files.read("b"), files.read("b/x")] == [b"1", b"1"]


def test_a_whole_bucket_can_be_a_storage(endpoint: str, others: Any, wire: Wire, here: Path) -> None:
    others.create_bucket(Bucket="whole-bucket")
    url = url_of(endpoint, "whole-bucket")
    assert ml.Storage(url).executions == []
    execute("small", url)
    assert [str(execution) for execution in ml.Storage(url)] == ["OY1p1o"]


def test_opening_an_empty_folder_to_read_is_an_error(url: str, wire: Wire) -> None:
    with pytest.raises(StorageUnavailable, match="there is no storage at 's3://"):
        open_files(url, create=False)
    assert wire.taken() == ["LIST"]


# --- who was first


_RACE = """
import os, sys
from machinable.storage.open import open_files
from machinable.storage.pyfilesystem import import_fs
import_fs(), open_files(sys.argv[1], create=True).close()  # imported once
ready, go, results = os.pipe(), os.pipe(), os.pipe()
children = []
for number in range(16):
    child = os.fork()
    if not child:
        os.close(go[1])
        files = open_files(sys.argv[1], create=True)
        os.write(ready[1], b".")
        os.read(go[0], 1)
        wins = [str(name) for name in range(3) if files.create_directory(f"race/{name}")]
        os.write(results[1], "".join(wins).encode())
        os._exit(0)
    children.append(child)
for child in children:
    assert os.read(ready[0], 1)
os.close(go[0]), os.close(go[1])
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 16
os.close(results[1])
print(os.read(results[0], 1000).decode())
"""


def test_one_of_sixteen_processes_creates_a_directory(url: str) -> None:
    done = subprocess.run([sys.executable, "-c", _RACE, url], capture_output=True, text=True)
    assert done.stderr == ""
    assert sorted(done.stdout.strip()) == ["0", "1", "2"]


_WITHOUT_SETUPTOOLS = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pkg_resources", "setuptools"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
from machinable.storage.open import open_files
files = open_files(sys.argv[1], create=True)
files.write("a/x", b"1")
assert files.read("a/x") == b"1"
assert not {"pkg_resources", "setuptools"} & set(sys.modules)
print(type(files).__name__)
"""


def test_s3_is_opened_without_setuptools(url: str) -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT_SETUPTOOLS, url], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("ObjectStoreFiles\n", "")


def answer_lost_once(others: Any) -> Callable[[Any], Any]:
    """Carry out the first conditional request, and lose its response."""
    lost: list[Any] = []

    def answer(request: Any) -> Any:
        if "If-None-Match" not in request.headers or lost or request.url.endswith("/.machinable-directory"):
            return None
        lost.append(request)
        key = unquote(urlsplit(request.url).path).removeprefix(f"/{BUCKET}/")
        owner = request.headers["x-amz-meta-owner"]
        owner = owner.decode() if isinstance(owner, bytes) else owner
        body = request.body if isinstance(request.body, bytes) else request.body.read()
        others.put_object(Bucket=BUCKET, Key=key, Body=body, Metadata={"owner": owner})
        return refusal(503, "SlowDown")(request)

    return answer


def test_a_creation_whose_response_was_lost_is_recognized(files: ObjectStoreFiles, wire: Wire, others: Any) -> None:
    wire.answer = answer_lost_once(others)
    assert files.create("x", b"1", "me")
    assert not files.create("x", b"2", "you")
    assert files.read("x") == b"1"


def test_a_part_whose_response_was_lost_is_stored_once(files: ObjectStoreFiles, wire: Wire, others: Any) -> None:
    wire.answer = answer_lost_once(others)
    appender = files.appender("x.jsonl")
    appender.write(b"1\n")
    appender.close()
    assert read_parts(files, "x.jsonl") == [b"1\n"]


def test_a_part_that_seemed_to_fail_is_replaced_by_one_with_more(
    files: ObjectStoreFiles, wire: Wire, others: Any
) -> None:
    outer = answer_lost_once(others)
    wire.answer = lambda request: outer(request) or refusal(503)(request)
    files._is_conditional = True
    appender = PartAppender(files, "x.jsonl", interval=3600, create=files.create)
    appender.write(b"1\n")
    with pytest.raises(StorageUnavailable):
        appender.close()
    assert others.get_object(Bucket=BUCKET, Key=f"{files._prefix}x.000001.jsonl")["Body"].read() == b"1\n"
    wire.answer = lambda request: None
    appender._pending += b"2\n"
    appender.close()
    assert read_parts(files, "x.jsonl") == [b"1\n2\n"]


def test_concurrent_writers_do_not_overwrite_each_other(files: ObjectStoreFiles, url: str) -> None:
    writers = [files.appender("x.jsonl"), files.appender("x.jsonl"), open_files(url, create=True).appender("x.jsonl")]
    for number, writer in enumerate(writers):
        writer.write(b"%d\n" % number)
    for writer in reversed(writers):
        writer.close()
    assert read_parts(files, "x.jsonl") == [b"2\n", b"1\n", b"0\n"]


def _forgetting(request: Any) -> None:
    if "If-None-Match" in request.headers:
        del request.headers["If-None-Match"]


def _refusing(request: Any) -> Any:
    return refusal(501, "NotImplemented")(request) if "If-None-Match" in request.headers else None


@pytest.mark.parametrize("answer", [_forgetting, _refusing])
def test_a_server_without_conditional_requests_gives_one_warning(
    files: ObjectStoreFiles, wire: Wire, answer: Callable[[Any], Any]
) -> None:
    wire.answer = answer
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert files.create_directory("a")
        assert not files.create_directory("a")
        assert files.create_directory("b")
        for line in (b"1\n", b"2\n"):
            appender = files.appender("x.jsonl")
            appender.write(line)
            appender.close()
    (warning,) = warned
    assert "does not support conditional requests" in str(warning.message)
    assert SECRET not in str(warning.message)
    assert read_parts(files, "x.jsonl") == [b"1\n", b"2\n"]


def test_amazon_is_not_tested_for_conditional_requests(wire: Wire) -> None:
    asked = []

    def answer(request: Any) -> Any:
        asked.append((request.method, request.headers.get("If-None-Match")))
        return reply(200)(request)

    wire.answer = answer
    client = boto3.client("s3", region_name="eu-west-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET)
    files = ObjectStoreFiles(client, "bucket", "folder", "s3://bucket/folder", {})
    assert files.create("x", b"1", "me")
    assert [method for method, _ in asked] == ["PUT"]
    files.close()


def test_repeated_conflicts_mean_that_another_process_created_the_object(files: ObjectStoreFiles, wire: Wire) -> None:
    files._is_conditional = True
    wire.answer = lambda request: (
        refusal(409, "ConditionalRequestConflict")(request) if request.method == "PUT" else None
    )
    assert not files.create("x", b"1", "me")


# --- when something is wrong


def test_requests_to_busy_servers_are_repeated(files: ObjectStoreFiles, wire: Wire) -> None:
    from botocore.exceptions import ConnectionClosedError

    def close(request: Any) -> Any:
        raise ConnectionClosedError(endpoint_url=request.url)

    troubles = iter([refusal(503, "SlowDown"), refusal(500, "InternalError"), close])
    wire.answer = lambda request: next(troubles, lambda request: None)(request)
    files.write("x", b"1")
    assert wire.taken() == ["PUT x"] * 4
    assert files.read("x") == b"1"


def test_a_response_that_breaks_off_is_requested_again(files: ObjectStoreFiles, wire: Wire) -> None:
    from botocore.awsrequest import AWSResponse

    files.write("x", b"whole")
    wire.taken()

    def broken(request: Any) -> Any:
        return AWSResponse(request.url, 200, {"content-length": "5"}, io.BytesIO(b"wh"))

    troubles = iter([broken, broken])
    wire.answer = lambda request: next(troubles, lambda request: None)(request)
    assert files.read("x") == b"whole"
    assert wire.taken() == ["GET x"] * 3
    wire.answer = broken
    with pytest.raises(StorageUnavailable, match="2 read, but total bytes expected is 5"):
        files.read("x")


def error_text(act: Callable[[], Any]) -> str:
    """Return the text of an error with all causes, after checking that it contains no secret."""
    with pytest.raises(StorageUnavailable) as caught:
        act()
    whole = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for secret in (KEY, SECRET, quote(SECRET, safe="")):
        assert secret not in whole
    return str(caught.value)


def test_a_missing_bucket_is_an_error(endpoint: str, wire: Wire) -> None:
    shown = f"s3://buckets/x?endpoint_url={quote(endpoint, safe='')}"
    for create in (True, False):
        assert error_text(partial(open_files, url_of(endpoint, "buckets/x"), create=create)).splitlines() == [
            f"the storage {shown!r} cannot be used: there is no bucket 'buckets'",
            "  Check its name and the endpoint, or create the bucket.",
        ]


def test_a_missing_endpoint_is_an_error_after_one_retry(wire: Wire) -> None:
    import socket

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        place = url_of(f"http://127.0.0.1:{closed.getsockname()[1]}", "results/x")
        assert "Could not connect to the endpoint URL" in error_text(lambda: open_files(place, create=True))
    assert wire.taken() == ["LIST"] * 2


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("results?endpoint_url=nowhere", "Invalid endpoint: nowhere"),
        ("no:bucket?endpoint_url=http%3A%2F%2F127.0.0.1%3A1", "Invalid bucket name"),
        (f"results?endpoint_url={quote(f'http://u:{SECRET}@127.0.0.1:1', safe='')}", "endpoint `http://…@127.0.0.1:1`"),
        ("results/a!b?endpoint_url=http%3A%2F%2F127.0.0.1%3A1", "contains a !, after which everything is ignored"),
        ("results/../x", "contains back-references"),
    ],
)
def test_a_url_that_cannot_be_used_is_an_error(place: str, message: str, wire: Wire) -> None:
    assert message in error_text(lambda: open_files(f"s3://{KEY}:{quote(SECRET, safe='')}@{place}", create=True))


def test_insufficient_credentials_are_an_error_that_does_not_contain_them(
    url: str, files: ObjectStoreFiles, wire: Wire
) -> None:
    wire.answer = refusal(403, "InvalidAccessKeyId", f"There is no {KEY} with {SECRET}.")
    acts: list[Callable[[], Any]] = [
        lambda: open_files(url, create=True),
        lambda: ml.Storage(url),
        lambda: files.read("x"),
        lambda: files.write("x", b""),
        lambda: files.size("x"),
        lambda: files.entries(""),
        lambda: files.exists("x"),
        lambda: files.create_directory("x"),
        lambda: files.create("x", b"", "me"),
        lambda: files.remove("x"),
        lambda: files.move("x", "y"),
    ]
    for act in acts:
        assert "cannot be used: " in error_text(act)
    assert "(InvalidAccessKeyId)" in error_text(lambda: files.read("x"))
    assert "There is no … with …." in error_text(lambda: files.read("x"))


def test_missing_credentials_are_an_error(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "Unable to locate credentials" in error_text(lambda: open_files("s3://results/x", create=True))


def test_no_credentials_are_stored(here: Path, url: str, others: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        execution = execute("rows", url)
    shown = (
        f"{execution!r} {execution.storage} {ml.Storage(url)!r} {open_files(url, create=False)!r} {capfd.readouterr()}"
    )
    found = others.list_objects_v2(Bucket=BUCKET, Prefix=f"{folder_of(url)}/")["Contents"]
    assert len(found) == 9
    bodies = b"".join(others.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read() for item in found)
    for secret in (KEY, SECRET, quote(SECRET, safe="")):
        assert secret not in shown
        assert secret.encode() not in bodies


def test_objects_that_cannot_be_removed_are_an_error(files: ObjectStoreFiles, wire: Wire) -> None:
    files.write("a/x", b"1")
    failed = "<Error><Key>a/x</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    partly = reply(200, f"<DeleteResult>{failed}</DeleteResult>")
    wire.answer = lambda request: partly(request) if request.url.endswith("?delete") else None
    assert "'a/x' in s3://results/" in error_text(lambda: files.remove("a"))


# --- settings


def test_parameters_of_the_url_are_used(url: str, wire: Wire, others: Any) -> None:
    files = open_files(f"{url}&acl=public-read&cache_control=max-age%3D7", create=True)
    asked = []
    wire.answer = lambda request: asked.append(request.headers.get("x-amz-acl"))
    files.write("x", b"1")
    files.close()
    assert asked in ([b"public-read"], ["public-read"])
    assert others.head_object(Bucket=BUCKET, Key=f"{folder_of(url)}/x")["CacheControl"] == "max-age=7"


def test_the_configuration_of_boto3_is_used(endpoint: str, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ACCESS_KEY_ID", KEY), ("SECRET_ACCESS_KEY", SECRET), ("ENDPOINT_URL", endpoint)):
        monkeypatch.setenv(f"AWS_{name}", value)
    files = open_files("s3://results/by-environment", create=True)
    files.write("x", b"1")
    assert files.read("x") == b"1"
    assert (files.url, files.reach) == ("s3://results/by-environment", "anywhere")
    files.close()


# --- looking after a bucket


def test_verifying_costs_a_listing_for_each_execution_and_a_get_for_each_object(
    here: Path, url: str, wire: Wire
) -> None:
    stored = [execute(ml.Task("rows").repeat(3), url) for _ in range(2)]
    with ml.Storage(url) as storage:
        wire.taken()
        checked, faults = verify(storage.files, clock=lambda: 1e11)
        requests = wire.taken()
    assert (faults, checked.executions, checked.trials, checked.artifacts) == ([], 2, 6, 6)
    listings = [request for request in requests if request.startswith("LIST")]
    gets = [request for request in requests if request.startswith("GET")]
    assert len(listings) + len(gets) == len(requests)
    assert len(listings) == 2 + len(stored)  # what there is, by content, and all objects of each
    each = {f"{e}/trials/{t.uid}" for e in stored for t in e}
    assert {get.split()[1].rpartition("/status.json")[0] for get in gets if get.endswith("status.json")} == each
    assert len(gets) == len(set(gets)) == 3 * len(stored) + 4 * 6


def test_faults_in_a_bucket_are_found_repaired_and_removed(here: Path, url: str, others: Any) -> None:
    (trial,) = execute("rows", url)
    with ml.Storage(url) as storage:
        files = storage.files
        folder = f"OY1p1o/trials/{trial.uid}"
        files.write(f"{folder}/records/default.000002.jsonl", b"x\n")
        files.write(f"{folder}/artifacts/weights.npy", b"other")
        facts = {"format": 1, "time": "2026-01-31T09:15:02+00:00", "artifacts": {}, "inputs": {}, "code": {}}
        pointer = dumps(facts | {"identity": "ab" * 16, "trial": "OY1p1p/x"}).encode()
        files.write(f"by-content/ab/{'ab' * 16}.json", pointer)
        ledger = [entry.name for entry in files.entries("OY1p1o") if entry.name.startswith("ledger")]
        for name in ledger:
            files.remove(f"OY1p1o/{name}")
        faults = verify(files, clock=lambda: 1e11)[1]
        assert [(fault.kind, fault.path) for fault in faults] == [
            ("damaged", f"{folder}/records/default.000002.jsonl"),
            ("unnoted", "OY1p1o/ledger.jsonl"),
            ("changed", f"{folder}/artifacts/weights.npy"),
            ("dangling", f"by-content/ab/{'ab' * 16}.json"),
        ]
        assert [repair(files, fault) for fault in faults] == [True, True, False, True]
        assert [fault.kind for fault in verify(files, clock=lambda: 1e11)[1]] == ["changed"]
        assert storage["OY1p1o"].status == "finished"
        (removal,) = executions(files, ["OY1p1o"])
        assert remove(files, removal)
        assert list(files.walk("")) == []
