"""docs/bad-input.md: `PYTHONPATH=tests python -m support.bad_input.page` writes it, a test compares it."""

from __future__ import annotations

from pathlib import Path

from support.bad_input import BAD_ROWS, CASES, NOTES, STOPS
from support.bad_input.case import ASIDE
from support.bad_input.rows import quarantine_detail

PAGE = Path(__file__).parents[3] / "docs" / "bad-input.md"


def page() -> str:
    """docs/bad-input.md."""
    shown = [(case.what, f"error: {case.says}", case.code, case.rows) for case in CASES]
    shown += [(case.what, f"error: {case.says}", case.code, case.rows) for case in STOPS.values()]
    shown += [(case.what, case.says, case.code, case.rows) for case in NOTES]
    shown += [
        (row.what, f"{row.reason}: {quarantine_detail(row, 'own.jsonl', 7)}", 0, ASIDE) for row in BAD_ROWS
    ]
    table = [f"| {what} | {_code(says)} | {code} | {rows} |" for what, says, code, rows in shown]
    return "\n".join([INTRODUCTION, *table]) + "\n"


def _code(text: str) -> str:
    fenced = f"`` {text} ``" if "`" in text else f"`{text}`"
    return fenced.replace("|", "\\|")


INTRODUCTION = """\
# Bad input

A command that cannot do what it is told says so in one line on standard error: what is wrong, where, and
what to do. It exits with 1, after SIGINT with 130, and leaves nothing half-written: a data set or a model is
there whole or not at all.

A row that cannot be used does not stop a build. It goes to `quarantine.parquet` with its reason, its place
and itself as JSON, and the build says how many rows went there and why. In `pairkit.json` the numbers add up:
rows read = rows used + rows in quarantine, sets of the source = sets written + sets in quarantine. Only where
no row is left does the build fail.

Tests run every line of the table. `…` stands for what a library, the system or the machine puts there. The
lines with exit code 0 and quarantine show the row's reason and detail in `quarantine.parquet`, here of row 7
of `own.jsonl`; behind "error:" stands what a command prints last.

<!-- written by `PYTHONPATH=tests python -m support.bad_input.page` -->

| what is wrong | what pairkit says | exit code | what happens to the rows |
|---|---|---|---|"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
