"""The canvas of plots; warnings are errors in tests."""

from __future__ import annotations

from pathlib import Path

from pairkit.reports.canvas import draw_axes, save, svg


def test_names_in_scripts_that_the_font_has_not_are_no_warnings(tmp_path: Path) -> None:
    figure, axes = draw_axes(3, 2)
    axes.set_yticks(range(2), ["通义千问", "모델"])
    axes.set_title("模型")
    assert "<svg" in svg(figure, "a title")
    save(figure, tmp_path / "plot.png", format="png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
