"""Datasets on the hub, without the hub: its client libraries against a strict server on loopback.

The libraries read their environment when they are imported, so the code under test runs in a process of its
own. All requests share one process, because importing the libraries takes most of its time.
"""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.hub_server import TOKEN, Hub, environment, process, serving
from support.row_files import arrow_bytes, parquet_bytes

CARD = b"""---
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
---
"""


def lines(*rows: dict[str, Any]) -> bytes:
    return gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


REPOSITORIES: dict[str, dict[str, bytes]] = {
    "openai/gsm8k": {
        "README.md": CARD,
        "main/train-00000-of-00002.parquet": parquet_bytes(
            question=["q1", "q2"], answer=["#### 1,080", "none"]
        ),
        "main/train-00001-of-00002.parquet": parquet_bytes(question=["q3"], answer=["#### 3"]),
        "main/test-00000-of-00001.parquet": parquet_bytes(question=["q4"], answer=["#### 4"]),
    },
    "someone/pairs": {
        "data/train.jsonl.gz": lines({"prompt": "p", "chosen": "c", "rejected": "r"}, {"prompt": 1}),
    },
    # A folder of save_to_disk, uploaded as it is.
    "someone/saved": {
        "train/state.json": b'{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": null}',
        "train/dataset_info.json": b'{"features": {}}',
        "train/data-00000-of-00001.arrow": arrow_bytes(prompt=["p"], chosen=["c"], rejected=["r"]),
        "dataset_dict.json": b'{"splits": ["train"]}',
    },
    "someone/other": {"data/train.jsonl.gz": lines({"alpha": 1})},
    "someone/texts": {"train.txt": b"text"},
}

# case -> the recipe ("commit" stands for the id of the newest commit), and the type and a part of the error
READABLE: dict[str, dict[str, str]] = {
    "train": {"name": "gsm8k"},
    "test": {"name": "gsm8k", "split": "test"},
    "by id and commit": {"name": "openai/gsm8k", "revision": "commit"},
    "pairs": {"name": "someone/pairs"},
    "saved": {"name": "someone/saved"},
}
REFUSED: dict[str, tuple[dict[str, str], str, str]] = {
    "unknown id": ({"name": "someone/nothing"}, "HubError", "no such dataset, or it is private"),
    "unknown revision": ({"name": "gsm8k", "revision": "v9"}, "HubError", "it has no such revision"),
    "wrong token": ({"name": "gsm8k", "token": "wrong"}, "HubError", "no such dataset, or it is private"),
    "unknown split": (
        {"name": "gsm8k", "split": "dev"},
        "RecipeError",
        "has no split 'dev'; it has: train, test",
    ),
    "unknown config": ({"name": "gsm8k", "config": "x"}, "HubError", "BuilderConfig 'x' not found"),
    "other columns": ({"name": "someone/other"}, "InputError", "found columns alpha"),
    "other format": ({"name": "someone/texts"}, "InputError", "cannot tell its format"),
    "no id": ({"name": "hub"}, "RecipeError", "needs the id of a dataset: write org/name"),
    "unread option": ({"name": "gsm8k", "score": "mean_rating"}, "RecipeError", "does not read `score`"),
}

# Reads every recipe of its argument, and prints a line of JSON for each: its rows, or its error.
READ = """
import json, os, sys
from pairkit.errors import PairkitError
from pairkit.sources import SourceRecipe, open_source
token = os.environ["HF_TOKEN"]
for recipe in json.loads(sys.argv[1]):
    os.environ["HF_TOKEN"] = recipe.pop("token", token)
    try:
        opened = open_source(SourceRecipe(**recipe))
        batches = list(opened.batches())
    except PairkitError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
    else:
        print(json.dumps({
            "files": [file.name for file in opened.files], "fingerprint": opened.fingerprint,
            "total": opened.total_rows,
            "sets": [row for batch in batches for row in batch.sets.to_pylist()],
            "details": [row for batch in batches for row in batch.quarantine["detail"].to_pylist()],
        }))
"""


def read(hub: Hub, home: Path, *recipes: Mapping[str, str]) -> list[dict[str, Any]]:
    variables = environment(hub, home, token=TOKEN, HF_HUB_DISABLE_PROGRESS_BARS="1")
    done = process(variables, "-c", READ, json.dumps(recipes))
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(answers) == len(recipes)
    return answers


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The answer to every case, by its name."""
    with serving(Hub(large=())) as hub:
        for name, files in REPOSITORIES.items():
            hub.add("dataset", name, files)
        commit = hub.repos["dataset", "openai/gsm8k"].branches["main"]
        cases = READABLE | {case: recipe for case, (recipe, _, _) in REFUSED.items()}
        recipes = [
            {name: commit if value == "commit" else value for name, value in recipe.items()}
            for recipe in cases.values()
        ]
        values = read(hub, tmp_path_factory.mktemp("home"), *recipes)
    assert hub.problems == []
    return dict(zip(cases, values, strict=True))


def test_a_named_source_is_downloaded_from_the_hub(answers: dict[str, Any]) -> None:
    train = answers["train"]
    assert train["files"] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert train["total"] == 3
    assert [json.loads(row["metadata"])["answer"] for row in train["sets"]] == ["1080", "3"]
    assert train["details"] == [
        "main/train-00000-of-00002.parquet, row 2, field 'answer': has no line '#### number' or 'A: number'"
    ]
    assert {row["source"] for row in train["sets"]} == {"gsm8k"}


def test_the_fingerprint_depends_on_commit_and_split(answers: dict[str, Any]) -> None:
    train, test, same = (answers[case]["fingerprint"] for case in ("train", "test", "by id and commit"))
    assert train == same != test
    assert [row["prompt"][0]["content"] for row in answers["test"]["sets"]] == ["q4"]


def test_any_dataset_can_be_read_by_its_id(answers: dict[str, Any]) -> None:
    (row,) = answers["pairs"]["sets"]
    assert row["source"] == "someone/pairs"
    assert [completion["text"] for completion in row["completions"]] == ["c", "r"]
    assert answers["pairs"]["details"] == [
        "data/train.jsonl.gz, row 2, field 'prompt': is a number, not a text"
    ]


def test_a_saved_dataset_that_was_uploaded_is_read(answers: dict[str, Any]) -> None:
    saved = answers["saved"]
    assert saved["files"] == ["data-00000-of-00001.arrow"]
    assert [item["text"] for row in saved["sets"] for item in row["completions"]] == ["c", "r"]
    assert saved["details"] == []


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_hub_refuses_is_an_error_in_one_line(answers: dict[str, Any], case: str) -> None:
    _, error, part = REFUSED[case]
    assert answers[case]["error"] == error
    assert part in answers[case]["message"]
    assert "\n" not in answers[case]["message"]


@pytest.mark.full
def test_without_a_network_the_error_names_the_fix(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"  # bound, but nobody listens
        nowhere = Hub()
        nowhere.endpoint = closed
        (answer,) = read(nowhere, tmp_path, {"name": "ultrafeedback"})
    assert answer["error"] == "HubError"
    assert f"dataset 'openbmb/UltraFeedback' cannot be read from {closed}" in answer["message"]
    for advice in ("check the spelling", "HF_ENDPOINT", "HF_TOKEN", "--path"):
        assert advice in answer["message"]
