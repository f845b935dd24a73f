"""Work for the workers of tests, which report through named pipes."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import subprocess
import sys
import warnings
from typing import Any

from machinable.engines.base import PortableWork
from machinable.plan.spec import ComponentSpec, Outcome, Target, TrialSpec

held: list[Any] = []  # stays open until the worker exits


def trial(number: int = 0, cpus: float | None = None, **config: Any) -> TrialSpec:
    return TrialSpec(
        index=number,
        uid=f"{number:012d}",
        seed=number,
        flags={},
        definition=ComponentSpec(
            "work", "work", None, config, Target("work"), resources={} if cpus is None else {"cpus": cpus}
        ),
    )


def _outcome(spec: TrialSpec, result: Any) -> Outcome:
    return Outcome(spec.uid, "finished", 1, 0.0, result=result)


def pid(spec: TrialSpec) -> Outcome:
    return _outcome(spec, os.getpid())


def session(spec: TrialSpec) -> Outcome:
    return _outcome(spec, os.getsid(0) == os.getpid())


def threads(spec: TrialSpec) -> Outcome:
    return _outcome(spec, [os.getpid(), *(os.environ.get(name) for name in spec.config["names"])])


def announce(spec: TrialSpec) -> None:
    """Write the process id into a pipe, which stays open until the worker exits."""
    pipe = open(spec.config["pipe"], "w")  # noqa: SIM115
    print(os.getpid(), file=pipe, flush=True)
    held.append(pipe)


def announced(spec: TrialSpec) -> Outcome:
    announce(spec)
    return _outcome(spec, os.getpid())


def endless(spec: TrialSpec) -> Outcome:
    announce(spec)
    while True:
        signal.pause()


def starts_a_program(spec: TrialSpec) -> Outcome:
    """Start a program that keeps the pipe open forever."""
    program = "import os, sys, signal; print(os.getpid(), flush=True); signal.pause()"
    with open(spec.config["pipe"], "w") as pipe:
        subprocess.Popen([sys.executable, "-c", program], stdout=pipe)
    while True:
        signal.pause()


def meet(spec: TrialSpec) -> Outcome:
    """Send a word to the other trial, which must run at the same time."""
    if spec.config["first"]:
        with open(spec.config["pipe"], "w") as pipe:
            pipe.write("hello")
        return _outcome(spec, "said")
    with open(spec.config["pipe"]) as pipe:
        return _outcome(spec, pipe.read())


def exits(spec: TrialSpec) -> Outcome:
    os._exit(3)


def ends_itself(spec: TrialSpec) -> Outcome:
    """Do what a worker does that has lost the executing process; other threads may be sending a message."""
    from machinable.engines.processes.worker import exit_at_once

    exit_at_once("the executing process cannot be reached")
    raise AssertionError("not reached")


def crashes(spec: TrialSpec) -> Outcome:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def forks_and_exits(spec: TrialSpec) -> Outcome:
    """Leave a child process that has inherited everything."""
    if not os.fork():
        while True:
            signal.pause()
    os._exit(4)


def closes_everything(spec: TrialSpec) -> Outcome:
    os.closerange(3, 100)
    while True:
        signal.pause()


def no_outcome(spec: TrialSpec) -> Any:
    return None


def change_everything(spec: TrialSpec) -> Outcome:
    os.environ["LEAKED"] = "1"
    os.environ.pop("KEPT")
    os.environ["HOME"] = "elsewhere"
    os.chdir(spec.config["directory"])
    sys.path.insert(0, "leaked")
    sys.path = [*sys.path, "rebound"]
    warnings.simplefilter("ignore")
    root, known, new = logging.getLogger(), logging.getLogger("known"), logging.getLogger("new")
    for logger in (root, known, new):
        logger.setLevel(logging.DEBUG)
        logger.addHandler(logging.StreamHandler())
        logger.addFilter(lambda record: False)
    new.propagate = False
    new.addHandler(logging.NullHandler())
    logging.disable(logging.CRITICAL)
    logging.captureWarnings(True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 1000)
    return _outcome(spec, None)


def change_settings(spec: TrialSpec) -> Outcome:
    import decimal
    import locale
    import resource
    import socket
    import tempfile

    import numpy

    signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    locale.setlocale(locale.LC_NUMERIC, "C.UTF-8")
    sys.set_int_max_str_digits(0)
    sys.setswitchinterval(0.5)
    sys.excepthook = print
    tempfile.tempdir = "/nowhere"
    sys.setrecursionlimit(12_345)
    sys.settrace(lambda *event: None)
    sys.argv.append("leaked")
    gc.disable()
    os.umask(0o077)
    socket.setdefaulttimeout(1)
    decimal.getcontext().prec = 3
    numpy.seterr(all="raise")
    numpy.set_printoptions(precision=2)
    return _outcome(spec, None)


def settings(spec: TrialSpec) -> Outcome:
    import decimal
    import locale
    import resource
    import socket
    import tempfile

    import numpy

    umask = os.umask(0o022)
    os.umask(umask)
    facts = [
        str(signal.getsignal(signal.SIGUSR1)),
        signal.getitimer(signal.ITIMER_VIRTUAL)[0],
        sys.getrecursionlimit(),
        str(sys.gettrace()),
        sys.argv,
        gc.isenabled(),
        umask,
        socket.getdefaulttimeout(),
        decimal.getcontext().prec,
        numpy.geterr(),
        repr(numpy.get_printoptions()),
        sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        len(os.sched_getaffinity(0)),
        resource.getrlimit(resource.RLIMIT_CORE),
        resource.getrlimit(resource.RLIMIT_NOFILE),
        locale.setlocale(locale.LC_ALL),
        sys.get_int_max_str_digits(),
        sys.getswitchinterval(),
        sys.excepthook.__name__,
        tempfile.tempdir,
    ]
    return _outcome(spec, facts)


def process_state(spec: TrialSpec) -> Outcome:
    facts = {
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "path": list(sys.path),
        "warnings": [repr(f) for f in warnings.filters],
        "showwarning": warnings.showwarning.__module__,
        "signal": repr(signal.getsignal(signal.SIGINT)).split(" at ")[0],
        "timer": signal.getitimer(signal.ITIMER_REAL)[0],
        "disabled": logging.root.manager.disable,
        "loggers": {
            name: [logger.level, logger.propagate, [type(h).__name__ for h in logger.handlers], len(logger.filters)]
            for name in ("", "known", "new")
            for logger in [logging.getLogger(name or None)]
        },
        "pid": os.getpid(),
    }
    return _outcome(spec, facts)


def never_exits(spec: TrialSpec) -> Outcome:
    """Let the worker hang when it exits."""
    announce(spec)
    atexit.register(signal.pause)
    return _outcome(spec, None)


class Orphaned(PortableWork):
    """Work that kills the parent before the first trial."""

    def __init__(self, pipe: str) -> None:
        self.pipe = pipe

    def begin(self) -> None:
        held.append(open(self.pipe, "w"))  # noqa: SIM115
        parent = os.getppid()
        os.kill(parent, signal.SIGKILL)
        while os.getppid() == parent:
            pass

    def __call__(self, spec: TrialSpec) -> Outcome:
        with open(self.pipe, "w") as pipe:
            pipe.write("begun")
        return _outcome(spec, None)
