"""The first code that runs on another host: it starts the actor there, or says why that host cannot run trials.

It is sent as source, so it must not import machinable before it runs: a host may lack it, or have another version.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

__all__ = ["Launcher"]


class Launcher:
    """Start a `TrialActor`, and pass calls on to it.

    Args:
        version: The version of machinable of the executing process.
        setup: The pickled `Setup`.
        code: An archive of the project, or None.
    """

    def __init__(self, version: str, setup: bytes, code: bytes | None) -> None:
        self._actor: Any = None
        self._problem = ""
        try:
            try:
                from machinable.engines.cluster.actor import TrialActor, version_here
            except ImportError as error:
                raise RuntimeError(f"machinable cannot be imported there: {error}") from error
            if version_here() != version:
                raise RuntimeError(f"machinable {version_here()} is installed there, and {version} here")
            self._actor = TrialActor(pickle.loads(setup), code)  # noqa: S301  # made by the executing process
        except Exception as error:  # whatever it is, this host is not used, and the user learns why
            self._problem = str(error) if type(error) is RuntimeError else _described(error)

    def prepare(self, work: bytes) -> tuple[str, str, str]:
        """Take the work of the following trials; return the id and the name of this host, and why it cannot run them.

        Args:
            work: The pickled work.
        """
        import ray

        if not self._problem:
            try:
                self._actor.prepare(work)
            except Exception as error:
                self._problem = _described(error)
        return ray.get_runtime_context().get_node_id(), os.uname().nodename, self._problem

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the actor."""
        return getattr(self._actor, method)(*arguments)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
