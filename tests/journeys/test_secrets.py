"""Secrets that are used in the usual ways are never written or printed."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from tests.kits.redis_server import PASSWORD, is_installed, redis_server
from tests.kits.s3_server import s3_server

pytest.importorskip("boto3")
pytest.importorskip("moto")

# Secrets: parts of URLs, of the environment, behind hidden keys, in files that are ignored.
URL_KEY, URL_SECRET = "AKIDCANARYINURL", "canary/in+the+url=="
VARIABLE, HIDDEN, TYPED = "canary-of-a-variable", "canary-behind-a-hidden-key", "canary-that-was-typed"
USER, GIVEN = "canary-of-the-user", "canary-in-a-mapping"
IN_ENV, IN_KEY = "canary-in-dot-env", "canary-in-a-private-key"
CANARIES = [URL_KEY, URL_SECRET, VARIABLE, HIDDEN, TYPED, USER, GIVEN, IN_ENV, IN_KEY, PASSWORD]

YAML = """\
components:
  - data:
      _token: ${CANARY}
  - train:
      password: $self._token
      auth: login()
      user: $self._user
      _user: canary-of-the-user
      typed: $self._typed
      _typed: nothing
      given: $self.options._given
      options: {_given: nothing}
      nested: {deep: [1, {url: $self._url}], _key: canary-behind-a-hidden-key}
      _token: ${CANARY}
      _url: "https://ada:${CANARY}@example.org"
      fails: false
      _requires_: {data: data}
      _environment_: {CHILD_TOKEN: "${CANARY}"}
"""
DATA = """
from machinable import Component


class Data(Component):
    def on_execute(self):
        assert self.config._token == "canary-of-a-variable"
        self.store.write("x.json", [1])
"""
TRAIN = """
import os
from machinable import Component


class Train(Component):
    def config_login(self):
        return f"{self.config.typed}:{self.config.user}"

    def on_execute(self):
        assert self.config.auth == self.config._typed + ":canary-of-the" + "-user"
        assert self.config.password == self.config._token == os.environ["CHILD_TOKEN"] == "canary-of-" + "a-variable"
        assert self.config.nested._key.startswith("canary")
        self.log.info("config %r", self.config)
        self.log.info("connecting as %s with %s", self.config.auth, self.config.options)
        self.store.write("settings.json", self.config.to_dict(hidden=False))
        print(self.config)
        self.record["rate"] = len(self.requires.data.read("x.json"))
        self.record.save()
        self.save_checkpoint()
        if self.config.fails:
            raise ValueError(f"no luck with {self.config.auth!r} and {self.config._token}")
        return dict(self.flags)
"""


def spellings(secret: str) -> set[bytes]:
    """A secret as it may be written."""
    return {one.encode() for one in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret))}


def search(place: str, data: bytes) -> None:
    """Check that some bytes contain no secret."""
    for canary in CANARIES:
        for spelling in spellings(canary):
            at = data.find(spelling)
            assert at < 0, f"{place}: …{data[max(0, at - 100) : at + 60]!r}"


def search_file(place: str, data: bytes) -> None:
    search(place, data)
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if name not in ("data.py", "machinable.yaml"):  # where the user has written it
                    search(f"{place}:{name}", archive.read(name))


@pytest.fixture
def endpoint() -> Iterator[str]:
    import boto3

    with s3_server() as url:
        client = boto3.client("s3", endpoint_url=url, aws_access_key_id="x", aws_secret_access_key="y")
        client.create_bucket(Bucket="bucket")
        yield url
        client.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    for name, text in {
        "machinable.yaml": YAML,
        "data.py": DATA,
        "train.py": TRAIN,
        ".env": f"TOKEN={IN_ENV}\n",
        "key.pem": "-----BEGIN PRIV" + f"ATE KEY-----\n{IN_KEY}\n",
        ".gitignore": ".env\n*.pem\n",
    }.items():
        (directory / name).write_text(text)
    monkeypatch.chdir(directory)
    return directory


def machinable(here: Path, *words: str, code: int = 0, **environment: str) -> None:
    """Run a command, and search what it prints and leaves in its directory for temporary files."""
    spool = here.parent / "tmp"
    spool.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "machinable", *words],
        capture_output=True,
        cwd=here,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "CANARY": VARIABLE,
            "TMPDIR": str(spool),
            "AWS_DEFAULT_REGION": "us-east-1",
            **environment,
        },
    )
    assert done.returncode == code, done.stderr.decode()
    search(f"stdout of {words[0]}", done.stdout)
    search(f"stderr of {words[0]}", done.stderr)
    for path in spool.rglob("*"):
        if path.is_file():
            search_file(str(path), path.read_bytes())


def test_no_secret_is_in_a_bucket_or_in_what_commands_print(here: Path, endpoint: str, tmp_path: Path) -> None:
    url = f"s3://{URL_KEY}:{quote(URL_SECRET, safe='')}@bucket/results?endpoint_url={quote(endpoint, safe='')}"
    execute = ("execute", "train", f"_typed={TYPED}", f"options={{_given: {GIVEN}}}", "--storage", url)
    machinable(here, *execute, "--seed", "OY1p1o")
    machinable(here, *execute, "fails=true", "--seed", "OY1p1p", "--engine", "processes:1", "--json", code=1)
    for words in (
        ["list", "--json"],
        ["show", "OY1p1o"],
        ["show", "OY1p1p", "--json"],
        ["verify", "--json"],
        ["restore", "OY1p1o", str(tmp_path / "restored")],
    ):
        machinable(here, *words, "--storage", url)
    machinable(here, "show", "OY1p1z", "--storage", url, code=3)

    import boto3

    client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id="x", aws_secret_access_key="y")
    stored = [
        item["Key"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket")
        for item in page["Contents"]
    ]
    assert sum(key.endswith("status.json") for key in stored) >= 3
    for key in stored:
        search(key, key.encode())
        search_file(key, client.get_object(Bucket="bucket", Key=key)["Body"].read())
    client.close()
    assert not (tmp_path / "restored/.env").exists()


def test_no_secret_is_in_a_directory_or_in_errors(here: Path, tmp_path: Path) -> None:
    execute = ("execute", "train", f"_typed={TYPED}", f"options={{_given: {GIVEN}}}", "--storage", "stored")
    machinable(here, *execute, "--seed", "OY1p1o")
    machinable(here, *execute, "fails=true", "--seed", "OY1p1p", "--engine", "processes:1", code=1)
    machinable(here, *execute, "--dry")
    for words in (
        ["show", "OY1p1p", "--log"],
        ["show", "OY1p1p", "--output"],
        ["clean", "OY1p1o"],
        ["list"],
        ["verify"],
    ):
        machinable(here, *words, "--storage", "stored")
    machinable(here, "config", "train")
    machinable(here, "config", "train", f"options={{_given: {GIVEN}}}", f"_typed={TYPED}")
    machinable(here, "config", "train", f"options={{_given: {GIVEN}}}", "--diff", f"options={{_given: x{GIVEN}}}")
    machinable(here, "versions", "train")
    machinable(here, "reproduce", "OY1p1o", "--storage", "stored")
    machinable(here, "export", "OY1p1o", "--storage", "stored", "--to", "stored/exported")
    machinable(here, "check")
    for path in (here / "stored").rglob("*"):
        if path.is_file() and "code" not in path.parts:  # the user has written one in the code
            search_file(str(path.relative_to(here)), path.read_bytes())
    machinable(
        here,
        "execute",
        "train",
        "--storage",
        f"s3://{URL_KEY}:{quote(URL_SECRET, safe='')}@no",
        code=3,
        AWS_ENDPOINT_URL="http://127.0.0.1:9",
    )
    machinable(here, "list", "--storage", f"s3:{URL_KEY}:{URL_SECRET}@no", code=3)


@pytest.mark.skipif(not is_installed(), reason="there is no redis-server")
def test_the_password_of_a_lock_server_is_nowhere(here: Path, tmp_path: Path) -> None:
    pytest.importorskip("redis")
    with redis_server(tmp_path) as server:
        machinable(here, "execute", "train", "--storage", "stored", MACHINABLE_LOCKS=server.url)
        machinable(
            here, "execute", "train", "--storage", "stored", "--engine", "processes:1", MACHINABLE_LOCKS=server.url
        )
        url = server.url
    for path in (here / "stored").rglob("*"):
        if path.is_file():
            search_file(str(path.relative_to(here)), path.read_bytes())
    machinable(here, "execute", "train", "--storage", "stored", code=3, MACHINABLE_LOCKS=url)


def test_no_secret_is_displayed_in_python(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import machinable as ml
    from machinable.storage.open import open_files

    monkeypatch.setenv("CANARY", VARIABLE)
    monkeypatch.syspath_prepend(str(here))
    task = ml.Task().component("train", ({"_typed": TYPED, "fails": True}, f"options: {{_given: {GIVEN}}}"))
    shown: list[Any] = [task, task.plan(), *task.plan()]
    for engine in ("local", "processes:1"):
        with pytest.raises(ml.errors.TrialsFailed) as caught:
            ml.execute(task, {"storage": "stored", "code_backup": False}, engine=engine)
        execution = caught.value.execution
        shown += [
            caught.value,
            pickle.dumps(caught.value),
            execution,
            execution._repr_html_(),
            *execution.trials,
            *(trial._repr_html_() for trial in execution.trials),
            *execution.plan,
            *(trial.config for trial in execution.trials),
            "".join(traceback.format_exception(caught.value)),
        ]
    with pytest.raises(ml.errors.StorageUnavailable) as unavailable:
        open_files(
            f"s3://{URL_KEY}:{quote(URL_SECRET, safe='')}@bucket/x?endpoint_url=http%3A%2F%2F127.0.0.1%3A9", create=True
        )
    shown += [unavailable.value, vars(unavailable.value), pickle.dumps(unavailable.value)]
    for one in shown:
        search(f"repr of {type(one).__name__}", one if isinstance(one, bytes) else repr(one).encode())
        search(f"str of {type(one).__name__}", str(one).encode())
    out, err = capfd.readouterr()
    search("stdout", out.encode())
    search("stderr", err.encode())


def test_possible_secrets_are_reported_before_they_are_packed(here: Path) -> None:
    (here / ".gitignore").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "machinable", "execute", "train", "--storage", "stored", "--quiet"],
        capture_output=True,
        text=True,
        cwd=here,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CANARY": VARIABLE},
    )
    assert done.returncode == 0
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning: the code backup contains")]
    assert ".env (settings of an environment), key.pem:1 a private key" in warning
    search("warning", warning.encode())
