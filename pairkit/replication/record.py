"""Whose directory it is, and which design the runs of each replication belong to.

OUT/replications.json          that it is one of these
    designs/ID/design.json     the design, written before the first run
    designs/ID/ARM.json        the settings that were chosen for an arm
    TASK/seed-N/               see `bench`
    replication.md, replication/ID.json, replication/ID.svg
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pairkit.files import OnExisting, admit, names_in, partial, read_record, write_json
from pairkit.ownership import spare_annotations
from pairkit.recipes.differences import changed_values
from pairkit.replication.design import Replication
from pairkit.replication.tasks.base import Size
from pairkit.version import __version__

RECORD, DESIGN = "replications.json", "design.json"
RESULTS = "replication"  # the folder of results and figures, next to the page
_AGAIN = "use --on-existing delete to start over"


def claim(out: Path) -> None:
    """Make `out`, which the caller owns, a directory of replications, or find that it is one."""
    check_ours(out)
    if RECORD not in names_in(out):
        write_json(out / RECORD, {"pairkit": __version__})


def check_ours(out: Path) -> None:
    """Raise `ExistingOutputError` for a directory of others; nothing is written."""
    names = names_in(out)
    # A killed command may have begun to write the record, and nothing else.
    if RECORD not in names and names - {partial(out / RECORD).name}:
        admit(out, "resume", holds=None, differences=list)


def claim_design(out: Path, row: Replication, size: Size, on_existing: OnExisting) -> None:
    """Write a design down, or find that it is the one whose runs are there.

    What is deleted are its chosen settings and its result; runs are named by their content, and those that
    the new design has too stay.

    Raises `ExistingOutputError` for another design, with what differs, or for any with on_existing="raise".
    """
    folder = out / "designs" / row.id
    # As JSON has it, because a record has been written and read.
    now: dict[str, Any] = json.loads(json.dumps(row.described(size)))

    def differences() -> list[str]:
        return changed_values(read_record(folder / DESIGN, _AGAIN), now)

    holds = f"runs of {row.id}" if (folder / DESIGN).exists() else None
    if holds is not None:
        if admit(folder, on_existing, holds=holds, differences=differences) == "resume":
            return
        spare_annotations([folder])
        for path in (out / RESULTS / f"{row.id}.json", out / RESULTS / f"{row.id}.svg"):
            path.unlink(missing_ok=True)
        shutil.rmtree(folder)
    write_json(folder / DESIGN, now)
