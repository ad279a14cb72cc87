"""`pairkit eval compare`: from the directories of evaluations to compare.json, compare.png and a page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pairkit.errors import ExistingOutputError
from pairkit.evaluation.compare.results import compare
from pairkit.evaluation.compare.settings import Setting, read_settings
from pairkit.evaluation.results import RESULTS
from pairkit.files import replacing, stoppable, write_json, write_text
from pairkit.ownership import owned

COMPARISON = "compare.json"


def run_compare(
    paths: Sequence[Path], out: Path, *, allowed: Collection[str] = (), seed: int = 0
) -> dict[str, Any]:
    """Compare the evaluations in `paths` and write `out`; return the content of compare.json.

    Raises `InputError` for what is not an evaluation or was not measured alike (see `compare`), and
    `ExistingOutputError` if `out` is an evaluation, whose page would be lost.
    """
    settings = read_settings(paths)
    comparison = compare(settings, allowed, seed=seed)
    if (out / RESULTS).exists():
        raise ExistingOutputError(f"{out}: is an evaluation: give another directory with --out")
    with stoppable(out, lambda: f"{out}: stopped; run the same command again"), owned(out):
        _write(settings, comparison, out)
    return comparison


def _write(settings: Sequence[Setting], comparison: dict[str, Any], out: Path) -> None:
    # Here, because matplotlib is slow to import and only a finished comparison is shown.
    from pairkit.evaluation.compare.page import render
    from pairkit.evaluation.compare.plot import plot_differences

    with replacing(out / "compare.png") as temporary:
        plot_differences(comparison, temporary)
    write_text(out / "report.html", render(settings, comparison))
    # Last, because it states that the other files are there.
    write_json(out / COMPARISON, comparison)
