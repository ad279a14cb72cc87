"""`pairkit report`: from the directories of runs to a page, and its numbers as JSON and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pairkit.errors import ExistingOutputError, InputError, OutputError, UsageError
from pairkit.files import read_json, read_record, stoppable, undamaged, write_json, write_text
from pairkit.ownership import outside_others, owned_name
from pairkit.progress import warn
from pairkit.run_report.find import Found, Setting, find
from pairkit.run_report.page import NOUNS, TITLE, colors_of, draw, render
from pairkit.run_report.series import Figure, Row
from pairkit.version import __version__

NUMBERS = (1, 2, 3, 7, 8, 10, 11, 14, 16, 19)  # of the figures of runs
CSV = "figure-*.csv"
MADE = ".figures.json"  # in the folder of tables: which of them are of a report
NAME = "report"  # key of the JSON file, by which it is known


def report(
    paths: Sequence[Path], out: Path, *, json: Path | None = None, csv_folder: Path | None = None
) -> list[Figure]:
    """Draw the figures of some runs on the page `out`, and return them.

    Args:
        paths: directories of runs, of seeds, of sweeps and of replications (`find`).
        json: a file for every number that is drawn.
        csv_folder: a directory for the same, a file per table.

    Raises:
        InputError: what `find` refuses; no run that trains a policy; a damaged file.
        ExistingOutputError: an output that exists and was not made by this command, or is inside the output
            of another one.
        OutputError: an output that cannot be written.
    """
    inputs = find(paths)
    settings, others = _policies(inputs)
    _check_outputs(out, json, csv_folder)
    colors = colors_of(settings)
    figures = draw(inputs, settings, colors)
    every = [figure for answers in figures.values() for figure in answers]
    with stoppable(out, lambda: f"{out}: stopped; run the same command again"), owned_name(out):
        if csv_folder is not None:
            _write_csv(csv_folder, every)
        if json is not None:
            write_json(json, _plain(settings, every))
        # Last, because it states that the other files are there.
        write_text(out, render(settings, others, figures, colors))
    return every


def _policies(inputs: Found) -> tuple[list[Setting], list[Setting]]:
    """Divide the settings into those that train a policy and others."""
    settings = [setting for setting in inputs.settings if setting.first.trains == "policy"]
    others = [setting for setting in inputs.settings if setting.first.trains != "policy"]
    for setting in others:
        message = (
            f"{setting.name} trains {NOUNS[setting.first.trains]}, which has no log-probs of completions: "
            f"figures {', '.join(map(str, NUMBERS))} do not exist for it"
        )
        if not settings and not inputs.replications:
            raise InputError(f"{message}; give a run that trains a policy")
        warn(message)
    return settings, others


def _plain(settings: Sequence[Setting], figures: Sequence[Figure]) -> dict[str, Any]:
    return {
        NAME: {
            "pairkit": __version__,
            "settings": {
                setting.name: {"runs": [str(run.folder) for run in setting.runs], "loss": setting.loss}
                for setting in settings
            },
        },
        "figures": [
            {
                "figure": figure.number,
                "title": figure.title,
                "reproduces": figure.reproduces,
                "tables": {name: [_finite(row) for row in rows] for name, rows in figure.tables.items()},
                "missing": figure.missing,
            }
            for figure in sorted(figures, key=lambda figure: figure.number)
        ],
    }


def _finite(row: Row) -> dict[str, Any]:
    """Return a row with null for what is not finite, because JSON has no such numbers."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _write_csv(folder: Path, figures: Sequence[Figure]) -> None:
    tables = dict(_files(figures))
    before = _made(folder)
    for name in tables:
        if name not in before and (folder / name).exists():
            raise ExistingOutputError(
                f"{folder / name}: exists and was not written by `pairkit report`; give another --csv"
            )
    # First, so that what a kill leaves is known, too.
    write_json(folder / MADE, {NAME: sorted({*before, *tables})})
    for name in before - tables.keys():  # of an earlier report, which had more
        (folder / name).unlink(missing_ok=True)
    for name, rows in tables.items():
        buffer = io.StringIO()
        headers = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(buffer, headers, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_finite(row) for row in rows)
        write_text(folder / name, buffer.getvalue())


def _made(folder: Path) -> set[str]:
    """Return the files of an earlier report in a folder. Raises `InputError` for a damaged list."""
    if not (folder / MADE).exists():
        return set()
    names = read_record(folder / MADE, "remove it and the tables that it lists")
    with undamaged(folder / MADE, "remove it and the tables that it lists"):
        # Not what somebody else has written there, nor a path out of the folder.
        return {name for name in names[NAME] if fnmatch(name, CSV) and "/" not in name}


def _files(figures: Sequence[Figure]) -> Iterator[tuple[str, Sequence[Row]]]:
    for figure in figures:
        for name, rows in figure.tables.items():
            if rows:
                yield f"figure-{figure.number:02d}-{name.replace(' ', '-')}.csv", rows


def _check_outputs(out: Path, json: Path | None, csv_folder: Path | None) -> None:
    """Refuse what exists and is no report, because it would be lost."""
    own: Mapping[Path | None, Callable[[Path], bool]] = {out: _is_page, json: _is_numbers}
    for path, is_own in own.items():
        if path is None:
            continue
        outside_others(path)
        if path.is_dir():
            raise OutputError(f"{path}: is a directory; give the name of a file")
        if path.exists() and not (path.is_file() and is_own(path)):
            raise ExistingOutputError(
                f"{path}: exists and was not written by `pairkit report`; give another file"
            )
    if json is not None and out.resolve() == json.resolve():
        raise UsageError(f"--out and --json are both {out}: give them different names")
    if csv_folder is not None:
        # As if a file of it were asked for: the directory must not be the output of another command either.
        outside_others(csv_folder / MADE)
        if csv_folder.is_file():
            raise OutputError(f"{csv_folder}: is a file; give the name of a directory")


def _is_page(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return f"<title>{TITLE}</title>" in file.read(1000)


def _is_numbers(path: Path) -> bool:
    try:
        content = read_json(path)
    except ValueError:
        return False
    return isinstance(content, dict) and isinstance(content.get(NAME), dict)
