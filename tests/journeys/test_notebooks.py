"""Notebooks that a kernel executes: components, helpers and classes are edited between two cells."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

# The kernel's own libraries leave sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Cell = Callable[[str], "list[str]"]

PROJECT = """
from pathlib import Path
Path("machinable.yaml").write_text("components:\\n  - net: {}\\n")
Path("helper.py").write_text("VALUE = 10\\n")
Path("net.py").write_text('''
import helper
from machinable import Component

class Net(Component):
    def on_execute(self):
        return 1 + helper.VALUE
''')
import machinable as ml

def code(execution):
    return {path: digest[:15] for path, digest in execution.data["code"]["files"].items()}
"""


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    """Execute cells one after the other in a kernel, and return what each of them prints, warnings included."""
    manager = KernelManager(kernel_cmd=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.blocking_client()

    def execute(code: str) -> list[str]:
        messages: list[dict[str, Any]] = []
        client.execute_interactive(dedent(code), timeout=60, output_hook=messages.append)
        contents = [(message["msg_type"], message["content"]) for message in messages]
        assert [content for kind, content in contents if kind == "error"] == []
        return "".join(content["text"] for kind, content in contents if kind == "stream").splitlines()

    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        execute(PROJECT)
        yield execute
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_edited_modules_are_those_that_run_and_that_are_stored(cell: Cell) -> None:
    first = cell("""
        executions = [ml.execute("net", "./results")]
        print(executions[0].trials[0].result)
    """)
    second = cell("""
        Path("helper.py").write_text("VALUE = 20\\n")
        executions.append(ml.execute("net", "./results"))
        print(executions[1].trials[0].result)
    """)
    third = cell("""
        Path("net.py").write_text(Path("net.py").read_text().replace("1 +", "2 +"))
        executions.append(ml.execute("net", "./results", engine="processes:1"))
        print(executions[2].trials[0].result)
    """)
    compared = cell("""
        import zipfile
        for one in executions:
            with zipfile.ZipFile(Path("results", str(one), "code.zip")) as archive:
                print(archive.read("helper.py").decode().strip(), "2 +" in archive.read("net.py").decode())
        codes = [code(one) for one in executions]
        print([[name for name in one if one[name] != other[name]] for one, other in zip(codes, codes[1:])])
    """)

    assert (first, second, third) == (["11"], ["21"], ["22"])
    assert compared == ["VALUE = 10 False", "VALUE = 20 False", "VALUE = 20 True", "[['helper.py'], ['net.py']]"]


def test_an_imported_class_whose_file_was_edited_runs_as_it_is_with_one_warning(cell: Cell) -> None:
    before = cell("""
        from net import Net
        print(ml.execute(ml.Task().component(Net), "./results").trials[0].result)
    """)
    after = cell("""
        Path("net.py").write_text(Path("net.py").read_text().replace("1 +", "2 +"))
        execution = ml.execute(ml.Task().component(Net), "./results")
        print(execution.trials[0].result, execution.data["code"]["changed"])
    """)
    by_name = cell("""
        execution = ml.execute("net", "./results")
        print(execution.trials[0].result, execution.data["code"]["changed"])
    """)
    imported_again = cell("""
        from net import Net
        execution = ml.execute(ml.Task().component(Net), "./results")
        print(execution.trials[0].result, execution.data["code"]["changed"])
    """)

    assert before == ["11"]
    assert after[-1] == "11 ['net.py']"
    assert [line.partition("UserWarning: ")[2] for line in after if "Warning: " in line] == [
        "net.py changed after net was imported: Net runs as imported, and the code backup has the files as they are "
        "now. Import net again, or give the component by its name."
    ]
    assert by_name == imported_again == ["12 []"]


def test_code_of_cells_runs_in_workers_and_its_source_is_stored(cell: Cell) -> None:
    cell("""
        class Base(ml.Component):
            def on_execute(self):
                return [shared(self.config.x), type(self).__name__]
    """)
    cell("""
        def shared(x):
            return x + 1
        class Child(Base):
            def on_create(self):
                pass
    """)
    printed = cell("""
        task = ml.Task().component(Base, {"x": 1}).component(Child, {"x": 2})
        task.component(lambda config: config.x, {"x": 3})
        for engine in ("local", "processes:1"):
            execution = ml.execute(task, "./results", "OY1p1o", engine)
            print([trial.result for trial in execution.trials])
            print([text.split()[1] for text in execution.data["code"]["cells"]])
    """)
    again = cell("""
        class Base(ml.Component):
            def on_execute(self):
                return "edited"
        print(ml.execute(ml.Task(Base), "./results", engine="processes:1").trials[0].result)
        from machinable.replay.reproduce import reproduce
        try:
            reproduce(ml.Storage("./results"), "OY1p1o")
        except Exception as error:
            print(error)
    """)

    assert printed == ["[[2, 'Base'], [3, 'Child'], 3]", "['Base(ml.Component):', 'shared(x):', '=']"] * 2
    assert again == [
        "edited",
        "OY1p1o ran code that is in no module: __main__:Base, __main__:Child, __main__:<lambda>",
        "  its source is in execution.json, under code.cells",
        "  Put it into a module of the project. To repeat what ran, run the script in which it was written with "
        "seed='OY1p1o'.",
    ]
