"""Figures: what is drawn where, and the same bytes each time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from machinable.errors import InvalidType, InvalidValue, MachinableError, NotAvailable, UnknownName
from machinable.results.chart import COLOURS, MAX_SERIES
from machinable.results.figure import STYLE, Figure
from machinable.results.trials import Trials
from tests.results.test_chart import with_rows
from tests.results.test_contrast import world


def two() -> Trials:
    return with_rows(({"net": "$a"}, [4.0, 2.0]), ({"net": "$a"}, [6.0, 2.5]), ({"net": "_b$"}, [9.0, 8.0]))


def texts(artists: Any) -> list[str]:
    return [artist.get_text() for artist in artists]


def test_curves_have_bands_a_legend_and_names_on_their_axes() -> None:
    figure = two().plot("records.loss")

    (axes,) = figure.axes
    first, second = axes.lines
    assert [list(line.get_ydata()) for line in (first, second)] == [[5.0, 2.25], [9.0, 8.0]]
    assert [line.get_color() for line in (first, second)] == list(COLOURS[:2])
    assert len(axes.collections) == 2  # bands
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("iteration", "loss")
    # A dollar begins no formula, and a name that begins with _ is shown.
    assert texts(axes.get_legend().get_texts()) == [r"\$a", r" _b\$"]
    assert axes.get_legend().get_title().get_text() == "net"
    assert [chart.field for chart in figure.charts] == ["records.loss"]


def test_bars_have_intervals_and_names() -> None:
    trials = world(({"net": "b", "rate": 1}, [1.0, 3.0]), ({"net": "a", "rate": 1}, [5.0, 7.0]))

    (axes,) = trials.plot("records.x").axes

    assert [bar.get_height() for bar in axes.patches] == [2.0, 6.0]
    assert texts(axes.get_xticklabels()) == ["b", "a"]
    assert len(axes.containers) == 3  # the bars, and an interval of each


def test_long_names_of_bars_are_beside_them_and_do_not_overlap() -> None:
    trials = world(*(({"net": f"a_long_name_of_the_network_{i}", "rate": i}, [1.0, 2.0 + i]) for i in range(9)))

    figure = trials.plot("records.x", by=["config.net", "config.rate"], kind="bars")

    (axes,) = figure.axes
    figure.draw_without_rendering()
    labels = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert texts(axes.get_yticklabels())[0] == "net=…network_0, rate=0"
    assert not any(one.overlaps(other) for one, other in combinations(labels, 2))
    assert all(label.x0 >= 0 for label in labels)


def test_a_heat_map_has_numbers_in_its_cells_and_its_scale() -> None:
    configs = [{"rate": rate, "size": size} for rate in (0.1, 0.01) for size in (8, 4)]
    trials = world(*((config, [config["size"] / config["rate"]]) for config in configs[1:]))

    axes, bar = trials.plot("records.x", "config.rate", "config.size", kind="heatmap", log="y").axes

    assert (texts(axes.get_xticklabels()), texts(axes.get_yticklabels())) == (["0.01", "0.1"], ["4", "8"])
    assert sorted(texts(axes.texts)) == ["40", "400", "800"]  # one cell is empty
    assert (bar.get_ylabel(), bar.get_yscale()) == ("x", "log")


def test_values_of_a_setting_are_marked_with_intervals_on_a_logarithmic_axis() -> None:
    trials = world(*(({"rate": rate, "net": net}, [rate, rate * 2]) for rate in (0.01, 0.1, 1.0) for net in "ab"))

    (axes,) = trials.plot("records.x", "config.rate", "config.net", log="xy").axes

    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert texts(axes.get_xticklabels()) == ["0.01", "0.1", "1"]
    assert axes.get_ylim()[1] >= 1.5 + 0.5 * 12.7  # the intervals are within the axes


def test_many_numbers_have_a_colour_bar_and_many_names_a_legend_above() -> None:
    numbers = with_rows(*(({"rate": number / 10}, [1.0, 2.0 + number]) for number in range(1, 12)))
    names = with_rows(*(({"net": f"network {number}"}, [1.0, 2.0 + number]) for number in range(MAX_SERIES + 2)))

    axes, bar = numbers.plot("records.loss").axes
    figure = names.plot("records.loss")

    assert (bar.get_ylabel(), axes.get_legend(), len({line.get_color() for line in axes.lines})) == ("rate", None, 11)
    (legend,) = figure.legends
    assert legend.get_title().get_text() == f"net (the first {MAX_SERIES} of {MAX_SERIES + 2})"
    figure.draw_without_rendering()
    extent, plotted = legend.get_window_extent(), figure.axes[0].get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= figure.bbox.x1 and extent.y0 > plotted.y1
    assert len(figure.axes[0].lines) == MAX_SERIES
    assert plotted.height > 0.4 * 2.3 * STYLE["figure.dpi"]


def test_several_metrics_are_drawn_one_below_the_other_with_one_legend() -> None:
    rows = [{"loss": 1.0 + i, "accuracy": 0.5, "_iteration": i} for i in range(3)]

    figure = with_rows(({"a": 1}, rows), ({"a": 2}, rows)).plot(["records.loss", "records.accuracy"])

    above, below = figure.axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("loss", "accuracy")
    assert (above.get_legend() is None, below.get_legend()) == (False, None)


def test_a_chart_is_drawn_into_given_axes() -> None:
    import matplotlib.figure

    axes = matplotlib.figure.Figure().subplots(1, 2)

    assert two().plot("records.loss", axes=axes[1]) is axes[1].get_figure()
    assert (len(axes[0].lines), len(axes[1].lines)) == (0, 2)
    with pytest.raises(InvalidType, match="axes take one metric, without size and style"):
        two().plot("records.loss", axes=axes[0], size=(3, 3))


def test_size_and_style_are_chosen() -> None:
    figure = two().plot("records.loss", size=(7, 2), style={"axes.labelsize": 11})

    assert (list(figure.get_size_inches()), figure.axes[0].xaxis.label.get_size()) == ([7, 2], 11)
    for size in (0, (1, 2, 3), "wide", (-1, 2)):
        with pytest.raises(InvalidValue, match="is not the size of a figure"):
            two().plot("records.loss", size=size)
    with pytest.raises(UnknownName, match=r"no setting of matplotlib named 'font\.siz'"):
        two().plot("records.loss", style={"axes.labelsize": 9, "font.siz": 3})
    with pytest.raises(InvalidValue, match=r"style has axes\.labelsize: 'big', and "):
        two().plot("records.loss", style={"axes.labelsize": "big"})


def hashes() -> list[str]:
    figure = two().plot("records.loss")
    return [hashlib.sha256(figure.content(extension)).hexdigest() for extension in ("pdf", "svg", "png")]


def test_files_have_the_same_bytes_in_every_process_and_embed_fonts(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from tests.results.test_figure import hashes; print(*hashes())"]
    ran = subprocess.run(program, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)

    assert ran.stdout.split() == hashes()
    figure = two().plot("records.loss")
    content = figure.content("pdf")
    assert b"/FontFile2" in content and b"/Type3" not in content and b"CreationDate" not in content
    figure.savefig(tmp_path / "figure.pdf")
    assert (tmp_path / "figure.pdf").read_bytes() == content
    assert b"<dc:date>" not in figure.content("svg")
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_users_style_and_missing_characters_do_not_disturb() -> None:
    import matplotlib

    with matplotlib.rc_context({"axes.facecolor": "red", "text.usetex": True}):
        content = two().plot("records.loss").content("png")
    assert content == two().plot("records.loss").content("png")
    with pytest.warns(UserWarning, match="the font lacks characters of the labels"):
        with_rows(({"net": "學"}, [1.0]), ({"net": "b"}, [2.0])).plot("records.loss", kind="curves").content("png")


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "machinable.results.figure")

    with pytest.raises(NotAvailable) as caught:
        two().plot("records.loss")
    assert str(caught.value) == "a figure needs matplotlib\n  Install it: pip install 'machinable-engine[plot]'"


def test_errors_come_before_anything_is_drawn() -> None:
    with pytest.raises(MachinableError, match=r"no field named 'records\.los'"):
        two().plot("records.los")


def test_it_is_a_figure_of_matplotlib_that_artifacts_take() -> None:
    from machinable.storage.formats.binary import _figure  # what `store.write("figure.pdf", figure)` calls

    figure = two().plot("records.loss")

    assert isinstance(figure, Figure)
    assert _figure("pdf").dump(figure) == figure.content("pdf")
