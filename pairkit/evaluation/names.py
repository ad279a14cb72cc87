"""Names: of metrics of a model of a matrix, and of runs by their directories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

# The name of a model follows. Other metrics are METRIC or METRIC/CATEGORY.
MEAN_WIN_RATE = "mean_win_rate/"
WIN_RATE_OVER = "win_rate_over/"


def told_apart(names: Mapping[Path, str]) -> dict[Path, str]:
    """Give directories of one name a longer one: their own, with that of their parent, the whole path.

    >>> told_apart({Path("a/run"): "m", Path("b/run"): "m", Path("b/other"): "n"}).values()
    dict_values(['a/run', 'b/run', 'n'])
    """
    longer = dict(names)
    for choose in (lambda home: home.name, lambda home: f"{home.parent.name}/{home.name}", str):
        counts = Counter(longer.values())
        longer = {home: choose(home) if counts[name] > 1 else name for home, name in longer.items()}
    return longer
