"""The example for a paper: the numbers in its README, its figure and tables, and its notebook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import machinable as ml
from examples.paper import study

EXAMPLE = Path(study.__file__).parent
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.once,  # on one version of Python: the numbers are those of numpy
    pytest.mark.xdist_group("paper"),
    # The kernel's own libraries leave sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def execution(tmp_path_factory: pytest.TempPathFactory) -> ml.Execution:
    """The study, stored in `results` of a directory that has the layout of the repository."""
    storage = {"storage": str(tmp_path_factory.mktemp("repository") / "results"), "code_backup": False}
    return ml.execute(study.study(), storage=storage, seed=1, project=study.PROJECT, progress=False)


def numbers(line: str) -> list[float]:
    """The numbers in the line of the README that begins like this."""
    (found,) = re.findall(rf"^\| {re.escape(line)} \|(.*)$", README, re.MULTILINE)
    return [float(number) for number in re.findall(r"(?<![\w%])[0-9]+\.[0-9]+", found)]


def test_the_numbers_in_the_readme_are_those_of_the_study(execution: ml.Execution) -> None:
    summary = execution.trials.summary(study.METRIC, by="component")
    (row,) = execution.trials.contrast(study.METRIC, between="component", baseline="examples.digits.softmax")

    for name, one in zip(("softmax regression", "perceptron"), summary, strict=True):
        # One image more or less is 0.0006 of the mean; the last bits of a sum depend on the processor.
        figures = [one["mean"], one["sd"], one["low"], one["high"]]
        assert numbers(name) == pytest.approx(figures, abs=0.002)
    assert (row["design"], row["n"], row["left_out"]) == ("paired", 5, 0)
    assert numbers("difference") == pytest.approx([row["difference"], row["low"], row["high"]], abs=0.002)
    assert numbers("paired t-test") == pytest.approx([row["p"]], abs=0.01)
    assert row["p"] < 0.05 and numbers("Wilcoxon's signed-rank test") == [row["wilcoxon"]]
    assert numbers("effect size") == pytest.approx([row["d"]], abs=0.3)


def test_both_models_of_a_pair_see_the_same_split_and_pairs_differ(execution: ml.Execution) -> None:
    pairs = execution.trials.group_by("flags.PAIRED_SEED")

    assert [[trial.component.rpartition(".")[2] for trial in trials] for _, trials in pairs] == [["softmax", "mlp"]] * 5


def test_it_writes_a_figure_and_tables(
    execution: ml.Execution, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study.write_results(execution, tmp_path)

    assert sorted(file.name for file in tmp_path.iterdir()) == ["accuracy.tex", "contrast.tex", "curves.pdf"]
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
    assert r"examples.digits.mlp & 5 & 0 & 0.97" in (tmp_path / "accuracy.tex").read_text()
    assert "paired" in (tmp_path / "contrast.tex").read_text()
    assert capsys.readouterr().out.startswith("records.test_accuracy\ncomponent")


def test_the_notebook_shows_tables_and_the_figure(execution: ml.Execution, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    directory = Path(execution.storage).parent / "examples" / "paper"
    directory.mkdir(parents=True)
    engine = str(Path(ml.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", engine)
    notebook = nbformat.read(EXAMPLE / "study.ipynb", as_version=4)

    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(directory)}}).execute()

    data = [output["data"] for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    storage, best, rows, summary, figure, contrast = data
    assert f"<td>{execution}</td>" in storage["text/html"]
    assert best["text/html"].count("<tr>") == 4
    assert rows["text/html"].count("<tr>") == 21 and "test_accuracy" in rows["text/html"]
    assert "<th>sd</th>" in summary["text/html"] and "<td>paired</td>" in contrast["text/html"]
    assert figure["image/png"].startswith("iVBORw0KGgo")
    assert (directory / "accuracy.pdf").read_bytes().startswith(b"%PDF")
