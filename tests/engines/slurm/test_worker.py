"""The program of a job, at the other end of its connection."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from machinable.engines.base import PortableWork, reports
from machinable.engines.cluster.actor import Setup, TrialRequest, version_here
from machinable.engines.slurm.worker import Welcome, _Worker, receive
from machinable.plan.spec import Outcome, TrialSpec
from machinable.serialization import loads
from machinable.storage.served.messages import Channel
from tests.engines.works import trial


class Saves(PortableWork):
    """Work that ends when it is interrupted, reports that, and then saves for as long as the test wants."""

    def moved(self, project: str) -> Saves:
        return self

    def __call__(self, spec: TrialSpec) -> Outcome:
        pipe = spec.config["pipe"]
        try:
            os.close(os.open(pipe, os.O_WRONLY))  # it is running
            signal.pause()
        except KeyboardInterrupt:
            reports.progress(spec.uid, {"saving": True}, None)
            with open(pipe, "rb") as file:
                Path(f"{pipe}.saved").write_bytes(file.read())
            raise
        raise AssertionError


def test_a_job_that_is_about_to_end_replies_after_its_trial_has_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pipe, saved = tmp_path / "pipe", tmp_path / "pipe.saved"
    os.mkfifo(pipe)
    here, there = socket.socketpair()
    channel, other = Channel(here), Channel(there)
    worker = _Worker(other)
    listening = threading.Thread(target=worker.listen, daemon=True)
    listening.start()

    def send(message: Any) -> None:
        channel.send_piece(pickle.dumps(message))
        channel.send_end()

    send(Welcome(version_here(), pickle.dumps(Setup.here(str(tmp_path), is_heard=True)), None))
    send((1, "prepare", [pickle.dumps(Saves())]))
    assert loads(receive(channel))["value"][1] == ""
    send((2, "exchange", [[TrialRequest(0, pickle.dumps(trial(pipe=str(pipe))), 1)], 1]))
    pipe.read_bytes()

    worker.on_signal(signal.SIGTERM, None)

    with open(pipe, "wb") as file:  # it is saving, and has reported that
        assert select.select([here], [], [], 0.3)[0] == []
        file.write(b"a checkpoint")
    assert loads(receive(channel)) == {"call": 2, "lost": "the job was ended by SIGTERM"}
    assert saved.read_bytes() == b"a checkpoint"
    send((3, "exchange", [[TrialRequest(1, pickle.dumps(trial(1)), 1)], 1]))  # which does not begin
    assert loads(receive(channel)) == {"call": 3, "lost": "the job was ended by SIGTERM"}
    here.shutdown(socket.SHUT_RDWR)
    listening.join()
    worker.close()
    channel.release()
    other.release()
    os.chdir(tmp_path)
