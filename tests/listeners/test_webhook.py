"""The listener that posts messages."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import machinable as ml
from machinable import Component
from machinable.listeners import webhook


class Bad(Component):
    def on_execute(self) -> None:
        raise ValueError("no good")


class Good(Component):
    pass


class Server(HTTPServer):
    """Takes messages, and answers with a code."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.code = 200
        self.taken: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hidden"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.code)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("MACHINABLE_WEBHOOK", server.url)
        yield server
        server.shutdown()
        thread.join()


def test_the_start_the_first_failure_and_the_end_are_sent_in_this_order(server: Server, tmp_path: Path) -> None:
    storage = {"storage": str(tmp_path), "code_backup": False}
    options: Any = {"type": "webhook", "events": ["started", "failed", "finished"]}
    execution = ml.execute(ml.Task(Bad).repeat(2), storage, "OY1p1o", listeners=[options], on_failure="continue")

    started, failed, finished = (one["text"] for one in server.taken)
    assert started == f"OY1p1o: started, 2 trials, {tmp_path}"
    name = execution.trials[0].component
    assert failed == f"OY1p1o: {name} {execution.trials[0].uid} failed: ValueError: no good"
    assert finished.startswith("OY1p1o: failed after ")
    assert finished.endswith("; 0 finished, 2 failed")


@pytest.mark.parametrize("answer", ["an error", "nothing", "no port"])
def test_a_message_that_is_not_taken_costs_one_line_without_the_url(
    server: Server, answer: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server.code = 500
    if answer == "nothing":
        monkeypatch.setenv("MACHINABLE_WEBHOOK", "http://127.0.0.1:9/hidden")
    elif answer == "no port":
        monkeypatch.setenv("MACHINABLE_WEBHOOK", "http://127.0.0.1:hidden/hidden")

    execution = ml.execute(Good, listeners=["webhook"], progress=False)

    assert execution.status == "finished"
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("the webhook did not take a message: ")
    assert "hidden" not in line + repr(webhook.Webhook())


def test_a_server_that_does_not_answer_delays_the_end_only_for_a_while(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MACHINABLE_WEBHOOK", f"http://127.0.0.1:{silent.getsockname()[1]}/hidden")
        ml.execute(Good, listeners=["webhook"], progress=False)

    assert capfd.readouterr().err == "the webhook did not take a message: timed out\n"
