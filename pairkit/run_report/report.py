"""`pairkit report`: from the directories of runs to a page, and its numbers as JSON and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.errors import ExistingOutputError, OutputError, UsageError
from pairkit.files import read_json, read_record, replacing, stoppable, undamaged, write_json, write_text
from pairkit.ownership import no_record, outside_others, owned_name
from pairkit.progress import warn
from pairkit.run_report.evaluations import find_evaluations
from pairkit.run_report.find import Setting, find
from pairkit.run_report.page import TITLE, colors_of, draw, render
from pairkit.run_report.series import Colors, Figure, Row, Table
from pairkit.run_report.summary import NOUNS
from pairkit.version import __version__

# Of log-probs, or of what a policy writes.
OF_POLICIES = (1, 2, 3, 7, 8, 10, 11, 14, 16, 19, 25, 26, 27)
CSV = "figure-*.csv"
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what begins one, in Excel and others
MADE = ".figures.json"  # in the folder of tables: which of them are of a report
NAME = "report"  # key of the JSON file, by which it is known


class Content(NamedTuple):
    """What a report shows: settings with their colors, and figures by the question that they answer."""

    settings: Sequence[Setting]
    colors: Colors
    figures: Mapping[str, Sequence[Figure]]

    def every(self) -> list[Figure]:
        """Return all figures."""
        return [figure for answers in self.figures.values() for figure in answers]


def report(
    paths: Sequence[Path],
    out: Path,
    *,
    evaluated: Sequence[Path] = (),
    json: Path | None = None,
    csv_folder: Path | None = None,
) -> list[Figure]:
    """Draw the figures of some runs on the page `out`, and return them.

    Args:
        paths: directories of runs, of seeds, of sweeps and of replications (`find`).
        evaluated: directories of evaluations, besides those that lie next to the runs (`find_evaluations`).
        json: a file for every number that is drawn.
        csv_folder: a directory for the same, a file per table.

    Raises:
        InputError: what `find` and `find_evaluations` refuse; a damaged file.
        ExistingOutputError: an output that exists and was not made by this command, or is inside the output
            of another one.
        OutputError: an output that cannot be written, or has the name of a record of another command.
    """
    _check_outputs(out, json, csv_folder)
    content = read(paths, evaluated)
    every = content.every()
    with stoppable(out, lambda: f"{out}: stopped; run the same command again"), owned_name(out):
        if csv_folder is not None:
            _write_csv(csv_folder, every)
        if json is not None:
            _write_json(json, content.settings, every)
        # Last, because it states that the other files are there.
        write_text(out, render(content.settings, content.figures, content.colors))
    return every


def read(paths: Sequence[Path], evaluated: Sequence[Path] = ()) -> Content:
    """Read what a report shows. Arguments and errors are those of `report`."""
    inputs = find(paths)
    benchmarks = find_evaluations(inputs.settings, evaluated)
    colors = colors_of(inputs.settings)
    figures = draw(inputs, _policies(inputs.settings), benchmarks, colors)
    return Content(inputs.settings, colors, figures)


def _policies(settings: Sequence[Setting]) -> list[Setting]:
    """Return the settings that train a policy."""
    policies = [setting for setting in settings if setting.first.trains == "policy"]
    for setting in settings:
        if setting not in policies:
            warn(
                f"{setting.name} trains {NOUNS[setting.first.trains]}, which has no log-probs of "
                f"completions: figures {', '.join(map(str, OF_POLICIES))} do not exist for it"
            )
    return policies


def _write_json(path: Path, settings: Sequence[Setting], figures: Sequence[Figure]) -> None:
    """Write all numbers, a line per row: of a long run there are millions."""
    about = {
        "pairkit": __version__,
        "settings": {
            setting.name: {"runs": [str(run.folder) for run in setting.runs], "loss": setting.loss}
            for setting in settings
        },
    }
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'{{"{NAME}": {_line(about)},\n"figures": [')
        for place, figure in enumerate(sorted(figures, key=lambda figure: figure.number)):
            fields = {
                "figure": figure.number, "title": figure.title, "reproduces": figure.reproduces,
                "missing": figure.missing,
            }  # fmt: skip
            file.write(f'{"," * bool(place)}\n{_line(fields)[:-1]}, "tables": {{')
            for number, (name, rows) in enumerate(figure.tables.items()):
                file.write(f"{',' * bool(number)}\n {_line(name)}: [")
                for row_number, row in enumerate(rows):
                    file.write(f"{',' * bool(row_number)}\n  {_line(_finite(row))}")
                file.write("]")
            file.write("}}")
        file.write("\n]}\n")


def _line(value: object) -> str:
    # Sorted, because equal values must give equal bytes.
    return dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


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
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(map(_cell, headers))
        for row in map(_finite, rows):
            writer.writerow([_cell(row.get(key, "")) for key in headers])
        write_text(folder / name, buffer.getvalue())


def _cell(value: Any) -> Any:
    """Return a value as spreadsheets show it: a text that they would compute has an apostrophe before it."""
    if not isinstance(value, str):
        return value
    # A carriage return alone would end the row, because Python's writer does not quote it.
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if value.startswith(FORMULAS) else text


def _made(folder: Path) -> set[str]:
    """Return the files of an earlier report in a folder. Raises `InputError` for a damaged list."""
    if not (folder / MADE).exists():
        return set()
    names = read_record(folder / MADE, "remove it and the tables that it lists")
    with undamaged(folder / MADE, "remove it and the tables that it lists"):
        # Not what somebody else has written there, nor a path out of the folder.
        return {name for name in names[NAME] if fnmatch(name, CSV) and "/" not in name}


def _files(figures: Sequence[Figure]) -> Iterator[tuple[str, Table]]:
    for figure in figures:
        for name, rows in figure.tables.items():
            if len(rows):
                yield f"figure-{figure.number:02d}-{name.replace(' ', '-')}.csv", rows


def _check_outputs(out: Path, json: Path | None, csv_folder: Path | None) -> None:
    """Refuse what exists and is no report, because it would be lost."""
    own: Mapping[Path | None, Callable[[Path], bool]] = {out: _is_page, json: _is_numbers}
    for path, is_own in own.items():
        if path is None:
            continue
        outside_others(path)
        no_record(path)
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
