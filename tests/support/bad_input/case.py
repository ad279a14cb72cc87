"""The form of a case of bad input, the files it starts from, and how a folder gets into the bad state."""

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
    "that row goes to quarantine, the others are used",
)
UNSENT = "nothing is sent"


class Case(NamedTuple):
    """A command that fails in a folder with `files`, which `prepare` has changed.

    `says` is the whole message; … is the part that a library, the system or the machine fills in.
    """

    what: str
    words: str
    says: str
    files: Mapping[str, bytes] = {}
    prepare: Callable[[], Any] = lambda: None
    code: int = 1
    rows: str = NOTHING


class BadRow(NamedTuple):
    """A line of JSON that cannot be used: its `reason` and, after the place, its `detail` in quarantine."""

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
LABELED = lines({"prompt": "Question?", "first": "good", "second": "bad", "label": 1})
JUDGE_PROMPT = (
    b"version: 1\nkind: pairwise\n--- user ---\n%s\nWrite <verdict>A</verdict> or <verdict>B</verdict>."
)
SAVING = f"{TRAIN} --max-steps 3 --save-every 1"
RUN = Path("runs/train/data-dpo")


def copied(folder: str, name: str) -> Path:
    return Path(shutil.copytree(folder, name))


def half(file: Path) -> None:
    """Cut a file short."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def on(words: str, name: str) -> str:
    """Return a command that trains on `data` with another dataset in its place."""
    return words.replace("--data data", f"--data {name}")


def data(name: str, *completions: dict[str, Any]) -> None:
    """Write a dataset of one set of these completions."""
    write_data(Path(name), candidate_sets([("x", list(completions))]))


def templated(template: str) -> None:
    """Write the model with another chat template."""
    (copied("model", "refusing") / "chat_template.jinja").write_text(template)


def other_class(name: str, model_type: str) -> None:
    """Write the model with the weights of another class."""
    from support.sweep import build

    model, _ = build(model_type)
    model.save_pretrained(copied("model", name))  # type: ignore[union-attr, operator]


def remembered(name: str, make: Callable[[], Any]) -> None:
    """Put `runs/` here as `make` leaves it: made for the first case, copied for the others.

    The copy is next to the folders that `data` and `model` link to; all paths in a run are relative.
    """
    saved = Path("model").resolve().parent / "saved" / name
    if saved.is_dir():
        shutil.copytree(saved, "runs")
    else:
        make()
        shutil.copytree("runs", saved)


def built(change: Callable[[], Any]) -> None:
    """Build a dataset here, then change it."""
    Path("own.jsonl").write_bytes(GOOD)
    remembered("build", _build)
    change()


def _build() -> None:
    from pairkit.pipeline.build import build
    from pairkit.pipeline.recipe import load

    build(load(None, {"source": {"name": "files", "path": "own.jsonl"}}, {}), Path("runs/data/files"))


def trained() -> None:
    """Finish a run of `TRAIN`."""
    remembered("train", lambda: _train(max_steps=2))


def saving() -> None:
    """Finish a run of `SAVING`."""
    remembered("saving", lambda: _train(max_steps=3, save_every=1))


def _train(**fields: Any) -> None:
    from pairkit.training.recipe import TrainRecipe
    from pairkit.training.run import train

    base = {"data": "data", "model": "model", "max_length": 96}
    train(validate(TrainRecipe, base | fields), RUN)


def forgotten() -> None:
    """Delete a finished run of `TRAIN`; its tokens and its reference's log-probs stay."""
    trained()
    shutil.rmtree(RUN)


def rebuilt() -> None:
    """Finish a run, on a dataset other than the one that is there now."""
    trained()
    record = RUN / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"data": "another"}))


def damaged(*names: str) -> None:
    """Stop a run of `SAVING` after step 2, and damage these checkpoints."""
    saving()
    shutil.rmtree(RUN / "model")
    for name in names:
        half(RUN / "checkpoints" / name / "model.pt")


def other_reference(content: bytes) -> None:
    """Replace the log-probs of the reference that a run finds."""
    forgotten()
    for store in Path("runs/train/reference").iterdir():
        store.write_bytes(content)


def other_tokens(change: Callable[[Path], Any]) -> None:
    """Change the tokens that a run finds."""
    forgotten()
    for store in Path("runs/train/tokens").iterdir():
        change(store)
