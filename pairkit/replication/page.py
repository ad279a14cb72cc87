"""The page of all replications: claim, the paper's numbers, ours, verdict; written from their results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from pairkit.errors import ExistingOutputError, UsageError
from pairkit.files import names_in, read_record, stoppable, undamaged, write_text
from pairkit.ownership import none_empty, outside_others, owned_name
from pairkit.replication.claims.table import REPLICATIONS
from pairkit.replication.design import SCALES, Replication
from pairkit.replication.figures import figure
from pairkit.replication.quantities import QUANTITIES
from pairkit.replication.record import RESULTS
from pairkit.replication.tasks.base import FULL, Size
from pairkit.replication.tasks.table import TASKS

PAGE = "replication.md"
_OURS = "<!-- written by `pairkit replicate"
_ADVICE = "remove it, and `pairkit replicate` writes it again"

INTRODUCTION = """\
# The papers' claims, in miniature

<!-- written by `pairkit replicate --page docs` and `python docs/replication.py` -->

Each row is a claim of one of the five papers that pairkit implements, tried on tasks small enough for two
cores of a CPU. The design of each (arms, steps, the statistics that decide) was written down before its runs,
and results of another design are refused. A miniature tells whether a claim holds there, and no more: the
last lines of each section say what could make it differ at full size.

* **Seeds**: 5 on tasks A, B and C, 3 on D, of everything: first weights, fine-tuning, samples, order.
  Settings that are chosen are chosen by accuracy on other problems with seeds 101 and 102, as many for each
  method of a claim.
* **Interval**: 95 %, bootstrapped over seeds and, within a seed, over problems and training sets, the same
  ones for all arms.
* **Verdict**: *held* if the interval of every statistic that decides is above 0, where the claim puts it.
  *Did not hold* if one is below 0, or within plus or minus the smallest difference worth having. *Undecided*
  otherwise.
"""


def check_page(folder: Path, out: Path) -> None:
    """Find that the page of replications can be written to `folder`, hours before it is.

    Raises `ExistingOutputError` for a page of others or the output of another command, `OutputError` for a
    place where nothing can be written, `InputError` for damaged results, `UsageError` for `out` itself.
    """
    page = folder / PAGE
    # Unlike `Path.resolve`, it takes links that lead back to themselves.
    if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(out)):
        raise UsageError(f"--page {folder}: is in --out, which has the page anyway; leave out --page")
    outside_others(page)
    names_in(folder)
    with undamaged(page, "choose another --page"):
        if page.exists() and _OURS not in page.read_text(encoding="utf-8"):
            raise ExistingOutputError(f"{page}: was not written by this command; choose another --page")
    read_results(folder)


@contextmanager
def publishing(folder: Path) -> Iterator[None]:
    """Be the only process that writes the page in `folder` for the block."""
    again = f"{folder}: stopped; the same command writes the page"
    with none_empty(folder), owned_name(folder / PAGE), stoppable(folder, lambda: again):
        yield


def write_page(folder: Path, size: Size) -> None:
    """Draw the figures of the results in `folder`, and write its page."""
    results = read_results(folder, size)
    for name, result in results.items():
        write_text(folder / RESULTS / f"{name}.svg", figure(result, REPLICATIONS[name].shows[0]))
    write_text(folder / PAGE, page(results))


def read_results(folder: Path, size: Size = FULL) -> dict[str, dict[str, Any]]:
    """Read the results under `folder` by id; those of another design than today's are left out.

    Raises `InputError` for a damaged file.
    """
    results = {}
    for name, row in REPLICATIONS.items():
        path = folder / RESULTS / f"{name}.json"
        if path.exists():
            result = read_record(path, _ADVICE)
            if result.get("design") != row.digest(size):
                continue
            # Written once, so that whatever is missing in a result is an error of its file.
            with undamaged(path, _ADVICE):
                _line(row, result)
                list(_section(row, result))
            results[name] = result
    return results


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the page as Markdown."""
    lines = [INTRODUCTION, "| task | what |", "|---|---|"]
    lines += [f"| {task.name} | {task.summary} |" for task in TASKS.values()]
    lines += [
        "",
        "| id | claim | task | decided by | verdict | seeds | minutes |",
        "|---|---|---|---|---|--:|--:|",
    ]
    lines += [_line(row, results.get(name)) for name, row in REPLICATIONS.items()]
    for name, row in REPLICATIONS.items():
        lines += ["", *_section(row, results.get(name))]
    return "\n".join(lines) + "\n"


def _line(row: Replication, result: Mapping[str, Any] | None) -> str:
    cells = [f"[{row.id}](#{row.id.lower()})", f"{row.claim} ({row.paper})", row.task.name]
    if result is None:
        return "| " + " | ".join([*cells, "", "not run", "", ""]) + " |"
    deciding = "; ".join(
        f"{each['name']}: {_interval(each)}" for each in result["statistics"] if each["decides"]
    )
    quick = "" if result["size"] == FULL.name else f" ({result['size']}: shows nothing)"
    ends = [f"**{result['verdict']}**{quick}", str(len(result["seeds"])), f"{result['minutes']:.0f}"]
    return "| " + " | ".join([*cells, deciding, *ends]) + " |"


def _section(row: Replication, result: Mapping[str, Any] | None) -> Iterator[str]:
    yield f"## {row.id}"
    yield ""
    yield f"{row.claim} ({row.paper})"
    yield ""
    yield f"* The paper's numbers: {row.published}."
    yield f"* It would be falsified by: {row.falsified}."
    yield f"* Command: `pairkit replicate {row.id}`"
    if result is None:
        yield "* Not run yet."
        return
    yield f"* Verdict: **{result['verdict']}**, seeds {', '.join(map(str, result['seeds']))}."
    yield f"* {result['minutes']:.0f} minutes of runs on {result['machine']}."
    yield ""
    yield f"![{row.id}]({RESULTS}/{row.id}.svg)"
    yield ""
    yield from _statistics(result)
    yield ""
    yield from _arms(row, result)
    yield ""
    yield f"At full size: {row.differs}"


def _statistics(result: Mapping[str, Any]) -> Iterator[str]:
    yield "| statistic, above 0 where the claim holds | mean | smallest difference | seeds above 0 | |"
    yield "|---|---|--:|--:|---|"
    for each in result["statistics"]:
        above = sum(value > 0 for value in each["seeds"])
        verdict = each["verdict"] if each["decides"] else "reported"
        count = f"{above} of {len(each['seeds'])}"
        yield f"| {each['name']} | {_interval(each)} | {each['least']:g} | {count} | {verdict} |"


def _arms(row: Replication, result: Mapping[str, Any]) -> Iterator[str]:
    titles = [QUANTITIES[name].title for name in row.shows]
    units = [QUANTITIES[name].unit for name in row.shows]
    heads = [f"{title}, {unit}" if unit else title for title, unit in zip(titles, units, strict=True)]
    yield f"| arm | {' | '.join(heads)} | chosen settings |"
    yield f"|---|{'--:|' * len(heads)}---|"
    for arm in result["arms"]:
        means = {quantity: fmean(values[-1]) for quantity, values in arm["values"].items()}
        cells = [f"{QUANTITIES[quantity].scale * means[quantity]:.3g}" for quantity in row.shows]
        yield f"| {arm['name']} | {' | '.join(cells)} | {arm['settings']} |"


def _interval(each: Mapping[str, Any]) -> str:
    digits = 1 if each["unit"] in SCALES else 3
    mean, low, high = (f"{each[name]:+.{digits}f}".replace("-", "−") for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}] {each['unit']}"
