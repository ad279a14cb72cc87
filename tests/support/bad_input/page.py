"""docs/bad-input.md: written by `PYTHONPATH=tests python -m support.bad_input.page`, compared by a test."""

from __future__ import annotations

from pathlib import Path

from support.bad_input import APART, BAD_ROWS, CASES, FLAGGED, NOTES, STOPS
from support.bad_input.case import ASIDE
from support.bad_input.rows import quarantine_detail

PAGE = Path(__file__).parents[3] / "docs" / "bad-input.md"


def page() -> str:
    """Write docs/bad-input.md as text."""
    shown = [(case.what, f"error: {case.says}", case.code, case.rows) for case in CASES]
    elsewhere = [*STOPS.values(), *APART.values()]
    shown += [(case.what, f"error: {case.says}", case.code, case.rows) for case in elsewhere]
    shown += [(case.what, case.says, case.code, case.rows) for case in [*NOTES, *FLAGGED]]
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

A command that fails prints one line on standard error: what is wrong, where, and what to do. It exits
with 1, after wrong usage with 2, after SIGINT with 130 ([all exit codes](commands.md#exit-codes)).
Nothing half-written is left: a dataset or a model is there whole or not at all.

A row that cannot be used does not stop a build. It goes to `quarantine.parquet` with the reason, its
place and the row itself as JSON, and the build prints how many rows went there and why. The numbers in
`pairkit.json` add up: rows read = rows used + rows in quarantine, sets of the source = sets written +
sets in quarantine. Where one model of a pool fails, its request is in quarantine too, and the set stays with
the completions of others. A build fails only if no row is left.

Tests run every line of the table. `…` is the part of a message that a library, the system or the machine
fills in. What follows "error:" is the last line that the command prints. Lines with exit code 0 are notes
of a command that continues, or the reason and detail of a row in `quarantine.parquet`, here row 7 of
`own.jsonl`.

<!-- written by `PYTHONPATH=tests python -m support.bad_input.page` -->

| what is wrong | message | exit code | what happens to the rows |
|---|---|---|---|"""

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
