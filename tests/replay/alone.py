"""Run exported folders where nothing is installed but the packages that are named."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = (
    "import runpy, sys; sys.path.append(sys.argv[1]); sys.argv[:] = ['run.py', *sys.argv[2:]]; "
    "runpy.run_path('run.py', run_name='__main__')"
)


def run_alone(folder: Path, *uids: str, packages: tuple[str, ...] = ("msgspec",)) -> subprocess.CompletedProcess[str]:
    """Run `run.py` in a new interpreter without site-packages: it can import these packages and no others."""
    with tempfile.TemporaryDirectory() as directory:
        for name in packages:
            spec = importlib.util.find_spec(name)
            assert spec is not None and spec.origin is not None
            Path(directory, name).symlink_to(Path(spec.origin).parent)
        words = [sys.executable, "-I", "-S", "-c", PROGRAM, directory, *uids]
        return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
