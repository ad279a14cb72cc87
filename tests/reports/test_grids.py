"""Small multiples and paths: what is written in them, and where panels are."""

from __future__ import annotations

import re

import numpy as np
from support.parsed_page import Page

from pairkit.intervals import Interval
from pairkit.reports.canvas import SERIES
from pairkit.reports.grids import Curves, Density, Line, Plane, Shares, grid, in_rows
from pairkit.reports.html import Html, page
from pairkit.reports.paths import Path, paths

BLUE, ORANGE = list(SERIES.values())[:2]
LINE = Line([0, 1, 2], [0.0, float("nan"), 2.0], BLUE, "dotted", [0.0, 0.5, 1.0], [1.0, 2.0, 3.0])
EDGES = np.linspace(-1, 1, 5)


def written(drawing: Html) -> list[str]:
    return [text.strip() for text in Page(page("t", [drawing])).text if text.strip()]


def test_panels_of_each_kind_have_their_titles() -> None:
    curves = Curves("a curve", [LINE, Line([1], [1.0], ORANGE)], "nats", True, [(0.5, 1.0, BLUE)])
    density = Density("a density", EDGES, np.array([0.0, 1.0, 2.0, 0.0]), BLUE, [0.25, 0.5], "61 % within")
    plane = Plane("a plane", EDGES, EDGES, np.eye(4) / 4, BLUE, (0.5, -0.5), [0.2])
    shares = Shares("shares", [0, 5, 10], {"x": [0.2, 0.6], "y": [0.8, 0.4]}, {"x": BLUE, "y": ORANGE})
    drawings = [
        grid("Curves", [[curves, None], [curves]], legend=[("run", BLUE, False)], note="A note."),
        grid("Densities", [[density]], xlabel="Z", ylabel="density"),
        grid("Planes", [[plane, plane]]),
        grid("Parts", [[shares]], share=("none", "all")),
    ]
    shown = written(Html("".join(drawings)))
    for text in ("a curve", "nats", "run", "A note.", "a density", "61 % within", "Z", "a plane", "shares"):
        assert text in shown
    # All of it once more for a telephone.
    assert (shown.count("a curve"), shown.count("a plane"), shown.count("a density")) == (4, 4, 2)
    source = page("t", [Html("".join(drawings))])
    ids = Page(source).ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([\w.-]+)\)", source)) <= set(ids)
    assert not set(re.findall(r"#[0-9a-f]{6}\b", source.split("</style>")[1])) & set(SERIES.values())


def test_a_grid_without_panels_has_its_title_and_note() -> None:
    drawing = grid("Nothing", [], note="Nothing was recorded.")
    assert {"Nothing", "Nothing was recorded."} <= set(written(drawing))
    assert "<svg" not in drawing


def test_a_curve_that_goes_beyond_the_limit_is_cut() -> None:
    far = Line([0, 1], [0.0, 1000.0], BLUE)
    assert "1000" in written(grid("t", [[Curves("", [far])]]))
    shown = written(grid("t", [[Curves("", [far], limit=2.0)]]))
    ticks = [float(text) for text in shown if re.fullmatch(r"[\d.]+", text)]
    assert 1.5 <= max(ticks) <= 2.0


def test_numbers_of_an_axis_are_whole_where_they_hardly_differ() -> None:
    near = Line([0, 1, 2], [5.98521, 5.98524, 5.98529], BLUE)
    shown = written(grid("t", [[Curves("entropy", [near])]]))
    assert "5.98524" in {text[:7] for text in shown}
    assert not [text for text in shown if text.startswith("1e")]  # a factor, over the title


def test_the_lowest_panel_of_a_column_has_the_labels_of_its_axis() -> None:
    curves = Curves("c", [Line([0, 7], [0.0, 1.0], BLUE)])
    (one, _), (ragged, narrow) = (
        [written(Html(svg)).count("7") for svg in re.findall(r"<svg.*?</svg>", grid("t", rows), re.DOTALL)]
        for rows in ([[curves]], [[curves, curves], [curves]])
    )
    assert ragged == 2 * one
    assert narrow == one  # of three that stand one below the other


def test_panels_are_placed_in_rows() -> None:
    panels = [Curves(name, []) for name in "abcde"]
    assert [[panel.title for panel in row] for row in in_rows(panels, 2)] == [["a", "b"], ["c", "d"], ["e"]]


def test_paths_have_a_ring_at_their_begin() -> None:
    points = [(Interval(x, x - 0.1, x + 0.1), Interval(2 * x, x, 3 * x)) for x in (0.5, 1.0, 2.0)]
    drawn = paths("p", [Path("run", BLUE, points)], xlabel="entropy", ylabel="score", by_x=True)
    assert {"run", "entropy", "score"} <= set(written(drawn))
    # Filled with the color of the surface.
    without = paths("p", [Path("run", BLUE, points, begins=False)], xlabel="entropy", ylabel="score")
    # In both widths.
    assert drawn.count("fill: var(--surface)") == without.count("fill: var(--surface)") + 2
