"""What a case of bad input is, the files it starts from, and how a folder is brought into a bad state."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from support.tiny import candidate_sets, write_data

from pairkit.recipes import validate

NOTHING, KEPT, ASIDE = (
    "nothing is written",
    "kept, to continue",
    "that row to quarantine, the others are used",
)
UNSENT = "nothing is sent"


class Case(NamedTuple):
    """A command that goes wrong in a folder with `files`, and after `prepare` has changed what is there.

    `says` is the whole message; … stands for what a library, the system or the machine puts there.
    """

    what: str
    words: str
    says: str
    files: Mapping[str, bytes] = {}
    prepare: Callable[[], Any] = lambda: None
    code: int = 1
    rows: str = NOTHING


class BadRow(NamedTuple):
    """A line of JSON that cannot be used: `reason` and, behind the place, `detail` in quarantine."""

    what: str
    line: bytes
    reason: str
    detail: str


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def parquet(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def pair(number: int) -> dict[str, Any]:
    return {"prompt": f"Question {number}?", "chosen": f"good {number}", "rejected": f"bad {number}"}


GOOD = lines(*map(pair, range(20)))
ZIPPED = gzip.compress(lines(*map(pair, range(5000))))
ROWS = parquet(**{name: [pair(n)[name] for n in range(500)] for name in ("prompt", "chosen", "rejected")})
OWN = {"own.jsonl": GOOD}
FILES = "build --source files --path"
TRAIN = "train --loss dpo --data data --model model --max-steps 2 max_length=96"
ASK = "build --source arithmetic --limit 3"
SERVER = "generate.engine=openai generate.base_url=http://127.0.0.1:9/v1"
JUDGE = "eval judge --data own.jsonl --model model"
LABELLED = lines({"prompt": "Question?", "first": "good", "second": "bad", "label": 1})
JUDGE_PROMPT = (
    b"version: 1\nkind: pairwise\n--- user ---\n%s\nWrite <verdict>A</verdict> or <verdict>B</verdict>."
)
SAVING = f"{TRAIN} --max-steps 3 --save-every 1"
RUN = Path("runs/train/data-dpo")


def copied(folder: str, name: str) -> Path:
    return Path(shutil.copytree(folder, name))


def half(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def data(name: str, *completions: dict[str, Any]) -> None:
    write_data(Path(name), candidate_sets([("x", list(completions))]))


def templated(template: str) -> None:
    (copied("model", "refusing") / "chat_template.jinja").write_text(template)


def built(change: Callable[[], Any]) -> None:
    """A data set that was built here, and changed then."""
    from pairkit.pipeline.build import build
    from pairkit.pipeline.recipe import load

    Path("own.jsonl").write_bytes(GOOD)
    build(load(None, {"source": {"name": "files", "path": "own.jsonl"}}, {}), Path("runs/data/files"))
    change()


def trained(**fields: Any) -> None:
    """A run of `TRAIN` that is there already."""
    from pairkit.training.recipe import TrainRecipe
    from pairkit.training.run import train

    base = {"data": "data", "model": "model", "max_steps": 2, "max_length": 96}
    train(validate(TrainRecipe, base | fields), RUN)


def rebuilt() -> None:
    """The run's data set was another."""
    trained()
    record = RUN / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"data": "another"}))


def damaged(*names: str) -> None:
    """A run of `SAVING` that stopped behind step 2, with these checkpoints damaged."""
    trained(max_steps=3, save_every=1)
    shutil.rmtree(RUN / "model")
    for name in names:
        half(RUN / "checkpoints" / name / "model.pt")


def other_reference(content: bytes) -> None:
    """Where a run finds the log-probs of its reference."""
    trained()
    shutil.rmtree(RUN)
    for store in Path("runs/train/reference").iterdir():
        store.write_bytes(content)


def other_tokens(change: Callable[[Path], Any]) -> None:
    """Where a run finds its tokens."""
    trained()
    shutil.rmtree(RUN)
    for store in Path("runs/train/tokens").iterdir():
        change(store)
