"""Components that wait until they are ended, for tests of all engines."""

from __future__ import annotations

# It writes "ready" into the pipe in its configuration.
HELD = """
import os
import signal
from machinable import Component


class Held(Component):
    def on_execute(self):
        with open(self.config.pipe, "w") as pipe:
            pipe.write("ready\\n")
            pipe.flush()
            while True:
                signal.pause()

    def on_finish(self, result, success):
        self.log.info("released")
"""
# The second repetition is interrupted when the first has written into the pipe.
INTERRUPTS = """
import signal
from machinable import Component


class Interrupts(Component):
    def on_execute(self):
        if self.flags.REPEAT_NUMBER == 0:
            with open(self.config.pipe, "w") as pipe:
                pipe.write("x")
            while True:
                signal.pause()
        with open(self.config.pipe) as pipe:
            pipe.read()
        raise KeyboardInterrupt

    def on_failure(self, exception):
        self.log.info("interrupted by %s", type(exception).__name__)
"""
# Only the first repetition waits.
ENDLESS = """
import signal
from machinable import Component


class Endless(Component):
    def on_execute(self):
        while self.flags.REPEAT_NUMBER == 0:
            signal.pause()
"""
