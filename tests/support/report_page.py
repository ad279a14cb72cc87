"""A report page with one of everything."""

from __future__ import annotations

from functools import cache

from pairkit.intervals import Interval
from pairkit.reports import blocks, html, plots, scores


def candidate_set(text: str = "28") -> dict[str, object]:
    def completion(**changes: object) -> dict[str, object]:
        usual = {"text": text, "model": "m", "origin": "generated", "rank": 1, "score": 1.0}
        return usual | {"sampling": {"temperature": 0.6}} | changes

    noise = completion(origin="noise", model="noise:token_swap", rank=None, score=None, sampling=None)
    return {
        "prompt": [{"role": "user", "content": f"37+45= {text}"}],
        "completions": [completion(), completion(rank=2, score=0.0), noise],
    }


@cache
def everything(name: str = "MC-PO") -> str:
    colors = plots.palette([name, "DPO"])
    bars = {name: Interval(0.61, 0.57, 0.66), "DPO": Interval(1.0, 0.99, 1.0)}
    lines = [
        plots.Curve(name, range(5), [0, 1, float("nan"), 2, 3], colors[name]),
        plots.Curve("DPO", range(5), [0, 1, 1, 2, 2], colors["DPO"], dashed=True),
    ]
    difference = blocks.Difference(name, "DPO", Interval(0.1, 0.02, 0.2))
    sections = [
        html.section(
            name,
            plots.interval_bars(name, bars, colors),
            blocks.differences([difference]),
            note=name,
        ),
        html.section(
            "Curves",
            html.figures(plots.curves(f"a {name}", lines, ylabel=name), plots.curves("b", lines)),
            plots.curves(f"empty {name}", []),
        ),
        html.section("Negatives", plots.stacked_bars("Drawn", {name: {name: 3, "noise": 1}, "DPO": {}})),
        html.section(
            "Scores",
            scores.points(f"points {name}", [scores.Point(name, 1, 0, 2)], xlabel=name, line=0),
            scores.histograms(f"lengths {name}", {name: [1, 2, 2, 500]}, colors, xlabel=name),
            scores.histograms("none", {name: []}, colors, xlabel=name),
        ),
        html.section("Sets", blocks.candidate_sets([candidate_set(name)])),
        html.section("Settings", html.settings({name: name, "beta": 0.1})),
    ]
    return html.page(name, sections, summary=name, top=html.tiles({name: name}))
