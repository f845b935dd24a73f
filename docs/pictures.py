"""Make the pictures of the page in the browser: `python -m docs.pictures` runs the study of digits and shows it.

It needs Chromium and the extra `test`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "_static"
SIZE = 1100, 760
PICTURES = {
    "ui-trials.png": "/trials?where=config.data.noise%3C0.3&sort=records.test_accuracy&descending=1"
    "&columns=uid,component,status,config.momentum,seconds,records.loss,records.test_accuracy",
    "ui-charts.png": "/charts?metric=records.test_accuracy&where=component~*.mlp+and+config.data.noise%3D0",
}


def take(folder: Path) -> None:
    """Run the study, and write the pictures."""
    sys.path.insert(0, str(ROOT))
    from tests.kits.chromium import browser

    environment = {name: value for name, value in os.environ.items() if not name.startswith("MACHINABLE_")}
    environment["PYTHONPATH"] = str(ROOT / "engine")
    with tempfile.TemporaryDirectory() as directory:
        machinable = [sys.executable, "-m", "machinable"]
        options = ["--storage", f"{directory}/results", "--quiet"]
        subprocess.run([*machinable, "execute", "digits_study", *options], cwd=ROOT, env=environment, check=True)
        server = subprocess.Popen(
            [*machinable, "ui", "--storage", f"{directory}/results"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            with browser(Path(directory) / "profile") as tab:
                tab.resize(*SIZE)
                tab.open(url)
                tab.wait("document.querySelector('td a')")
                for name, path in PICTURES.items():
                    tab.open(url.partition("/?")[0] + path)
                    tab.wait("document.querySelector('td a, canvas')")
                    tab.wait("document.fonts.status === 'loaded'")
                    tab.run("new Promise(done => setTimeout(done, 1000))")  # until the chart is drawn
                    tab.run("document.querySelector('.where').textContent = '/home/ada/results'")
                    tab.screenshot(folder / name)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


if __name__ == "__main__":
    take(FOLDER)
