"""What is no longer what it was: data, weights, shards, an output directory that is a part of the input."""

from __future__ import annotations

import json
import os
from pathlib import Path

from support.bad_input.case import FILES, GOOD, OWN, RUN, TRAIN, Case, built, on, trained
from support.damage import flip

OUT = Path("runs/data/files")


def other_content(part: str, name: str) -> None:
    """Finish a run, of which a file had another content than it has now."""
    trained()
    record = json.loads((RUN / "run.json").read_text())
    record["content"][part][name] = "another"
    (RUN / "run.json").write_text(json.dumps(record))


def unfinished(number: int) -> None:
    """Stop a build when its shard is closed, under this number."""
    from pairkit.pipeline import build as builds
    from pairkit.pipeline.recipe import load

    real = builds.publish
    builds.publish = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[assignment]
    try:
        builds.build(load(None, {"source": {"name": "files", "path": "own.jsonl"}}, {}), OUT)
    except builds.Interrupted:
        os.rename(OUT / ".build/shards/00000", OUT / f".build/shards/{number:05d}")
    finally:
        builds.publish = real


def changed_data() -> None:
    """Build a dataset, then change a bit of it."""
    built(lambda: flip(next((OUT / "data").glob("train-*"))))


CASES = [
    Case(
        "data that was changed after its build",
        f"{on(TRAIN, OUT)}",
        f"{OUT}: not as it was built: data/train-00000-of-00001.parquet was changed; build the dataset "
        "again, or pass --allow-changed-data to train on it as it is",
        prepare=changed_data,
    ),
    Case(
        "complete dataset of which a file was changed",
        f"{FILES} own.jsonl",
        f"{OUT}/data/train-00000-of-00001.parquet is not the file that was built; use --on-existing "
        "delete to build everything again",
        prepare=changed_data,
    ),
    Case(
        "complete dataset with a damaged manifest",
        f"{FILES} own.jsonl",
        f"{OUT}/pairkit.json: is damaged (…); use --on-existing delete to build everything again",
        prepare=lambda: built(lambda: os.truncate(OUT / "pairkit.json", 20)),
    ),
    Case(
        "unfinished build of which a shard is missing",
        f"{FILES} own.jsonl",
        f"{OUT}: the unfinished build cannot be continued: {OUT}/.build/shards/00000 is missing; use "
        "--on-existing delete to build everything again (answers of models are taken from the cache of "
        "calls)",
        OWN,
        lambda: unfinished(1),
    ),
    Case(
        "unfinished build of which a shard was changed",
        f"{FILES} own.jsonl",
        f"{OUT}: the unfinished build cannot be continued: {OUT}/.build/shards/00000/data-train.parquet "
        "was changed since it was written; use --on-existing delete to build everything again (answers "
        "of models are taken from the cache of calls)",
        OWN,
        lambda: [unfinished(0), flip(OUT / ".build/shards/00000/data-train.parquet")],
    ),
    Case(
        "run whose weights were changed",
        TRAIN,
        f"{RUN} contains a training run with other settings: the model was changed since "
        "(model.safetensors). Choose another --out, or use --on-existing delete to start over",
        prepare=lambda: other_content("model", "model.safetensors"),
    ),
    Case(
        "run whose tokenizer was changed",
        TRAIN,
        f"{RUN} contains a training run with other settings: the tokenizer was changed since "
        "(tokenizer.json). Choose another --out, or use --on-existing delete to start over",
        prepare=lambda: other_content("tokenizer", "tokenizer.json"),
    ),
    Case(
        "`--out` in the folder of the input",
        f"{FILES} rows --out rows/out",
        "rows/out: the output directory is in the input folder rows, and would be read by the next "
        "run; choose an --out outside it, or give --path the files themselves, as a glob",
        {"rows/own.jsonl": GOOD},
    ),
    Case(
        "`--path` in the output directory",
        f"{FILES} mine/own.jsonl --out mine",
        "mine/own.jsonl: the input is in the output directory mine; choose another --out",
        {"mine/own.jsonl": GOOD},
    ),
    Case(
        "`--path` is a glob of what is written",
        f"{FILES} **/*.jsonl --out mine",
        "**/*.jsonl: matches what is written to the output directory mine, and would read it in the "
        "next run; choose another --out, or a narrower pattern",
        OWN,
    ),
    Case(
        "`--out` is a link to a directory that is gone",
        f"{FILES} own.jsonl --out mine/out",
        "mine/out: cannot be written to: mine is a link to gone, which does not exist; create that "
        "directory or choose another --out",
        OWN,
        lambda: Path("mine").symlink_to("gone"),
    ),
    Case(
        "input folder with a link to a file that is gone",
        f"{FILES} rows",
        "rows/more.jsonl: a link to gone.jsonl, which cannot be read (…); restore the file or remove "
        "the link",
        {"rows/own.jsonl": GOOD},
        lambda: Path("rows/more.jsonl").symlink_to("gone.jsonl"),
    ),
]
