"""Figure 28: the segments of online trainings: what the policy wrote in each, and what was left to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from pairkit.files import undamaged
from pairkit.online.layout import SEGMENTS
from pairkit.reports.grids import Curves, Line, grid, in_rows
from pairkit.run_report.find import Setting
from pairkit.run_report.run import ADVICE, Run, number_of
from pairkit.run_report.series import Colors, Figure, Rows, Series, caption, joined, legend

NUMBER, TITLE = 28, "Segments of online training"


class Shown(NamedTuple):
    """A number of a segment: the keys that lead to it, its title and unit."""

    keys: tuple[str, ...]
    title: str
    unit: str = ""

    @property
    def name(self) -> str:
        """Its name in tables."""
        return " ".join(self.keys)


SHOWN = (
    Shown(("score", "mean"), "mean score of a prompt's samples"),
    Shown(("score", "best"), "best score of a prompt's samples"),
    Shown(("usable_share",), "prompts that give a set"),
    Shown(("win_share",), "wins over the segment before"),
    Shown(("entropy",), "entropy of own samples", "nats"),
    Shown(("kl",), "KL of own samples to the first policy", "nats"),
    Shown(("tokens",), "length", "tokens"),
    Shown(("cut_share",), "share cut at the limit"),
    Shown(("effective_candidates",), "candidates in effect"),
)


def segments(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 28, of the settings that are online trainings."""
    rows = Rows()
    panels = []
    for quantity in SHOWN:
        lines: list[Line] = []
        for setting in settings:
            values = _series(setting, quantity)
            if values is not None:
                lines.append(values.line(colors[setting.name]))
                rows += values.rows(setting.name, quantity.name)
        if lines:
            panels.append(Curves(quantity.title, lines, quantity.unit))
    online = [setting for setting in settings if setting.first.segments]
    drawing = partial(
        grid,
        caption(NUMBER, TITLE, ""),
        in_rows(panels),
        xlabel="segment",
        share=("none", "none"),
        height=2.0,
        legend=legend(online, colors),
        note="Of the samples that a segment begins with, by the policy of the segment before.",
    )
    return Figure(NUMBER, TITLE, "", {"segments": rows}, [drawing])


def _series(setting: Setting, shown: Shown) -> Series | None:
    runs = [values for run in setting.runs if (values := _values(run, shown))]
    return joined(runs) if runs else None


def _values(run: Run, shown: Shown) -> dict[int, float]:
    """Return a number by segment; without those that have none."""
    values = {}
    with undamaged(run.folder / SEGMENTS, ADVICE):
        for line in run.segments:
            value: Any = line
            for key in shown.keys:
                value = value.get(key) if isinstance(value, Mapping) else None
            if value is not None:
                values[int(line["segment"])] = number_of(value)
    return values
