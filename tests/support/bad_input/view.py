"""`pairkit view`."""

from __future__ import annotations

from pathlib import Path

from support.bad_input.case import OWN, Case, built
from support.bad_input.report import run


def unbuilt() -> None:
    (Path("mine") / ".build").mkdir(parents=True)


def segments() -> None:
    (Path("mine") / "segment-1" / "data" / ".build").mkdir(parents=True)
    (Path("mine") / "online.json").write_text("{}")


CASES = [
    Case(
        "a view of nothing",
        "view absent",
        "absent: no such file or folder; give a dataset that `pairkit build` wrote, an online training, or a "
        "file or folder of pairs (JSON, CSV, Parquet, Arrow)",
    ),
    Case(
        "a view of a training run",
        "view run",
        "run: is a training run: give the dataset that it was trained on, and --run run",
        prepare=run,
    ),
    Case(
        "a view of a build that was interrupted",
        "view mine",
        "mine: not a built dataset (no pairkit.json); its build was interrupted: run the same `pairkit "
        "build` command to complete it",
        prepare=unbuilt,
    ),
    Case(
        "a view of an online training before its first dataset",
        "view mine",
        "mine: no segment has a dataset yet: mine/segment-1/data: not built yet; open the data again when it "
        "is",
        prepare=segments,
    ),
    Case(
        "a view of a damaged manifest",
        "view runs/data/files",
        "runs/data/files/pairkit.json: not JSON (…); build the dataset again",
        prepare=lambda: built(lambda: Path("runs/data/files/pairkit.json").write_text("{")),
    ),
    Case(
        "a view of files without pairs",
        "view own.jsonl",
        "own.jsonl: no known layout: expected a prompt, messages, or chosen and rejected; found columns one; "
        "name the columns with --map, as in --map prompt=COLUMN,chosen=COLUMN,rejected=COLUMN",
        files={"own.jsonl": b'{"one": 1}\n'},
    ),
    Case(
        "a view of a dataset with columns of files",
        "view data --layout pairs",
        "data: layout: is read for files only; a dataset has its sets",
    ),
    Case(
        "a view with what is no run",
        "view own.jsonl --run own.jsonl",
        "own.jsonl: no such directory: give --run a directory that `pairkit train` wrote (run.json)",
        files=OWN,
    ),
    Case(
        "a view with a run on other data",
        "view data --run run",
        "run: was trained on other data (other): open those, or leave --run out",
        prepare=lambda: run(data="other"),
    ),
]
