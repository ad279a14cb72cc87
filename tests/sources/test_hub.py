"""The hub, without the hub: its own client libraries against a strict server on the loopback.

The code under test runs in a process of its own, since the libraries read their environment when they are
imported.
"""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.hub_server import TOKEN, Hub, environment, process, serving

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


def parquet(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def lines(*rows: dict[str, Any]) -> bytes:
    return gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


REPOSITORIES: dict[str, dict[str, bytes]] = {
    "openai/gsm8k": {
        "README.md": CARD,
        "main/train-00000-of-00002.parquet": parquet(question=["q1", "q2"], answer=["#### 1,080", "none"]),
        "main/train-00001-of-00002.parquet": parquet(question=["q3"], answer=["#### 3"]),
        "main/test-00000-of-00001.parquet": parquet(question=["q4"], answer=["#### 4"]),
    },
    "someone/pairs": {
        "data/train.jsonl.gz": lines({"prompt": "p", "chosen": "c", "rejected": "r"}, {"prompt": 1}),
    },
    "someone/other": {"data/train.jsonl.gz": lines({"alpha": 1})},
    "someone/texts": {"train.txt": b"text"},
}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving(Hub(large=())) as server:
        for name, files in REPOSITORIES.items():
            server.add("dataset", name, files)
        yield server
    assert server.problems == []


READ = """
import json, sys
from pairkit.errors import PairkitError
from pairkit.sources import SourceRecipe, open_source
try:
    opened = open_source(SourceRecipe(**json.loads(sys.argv[1])))
    batches = list(opened.batches())
except PairkitError as error:
    print(json.dumps([type(error).__name__, str(error)]))
else:
    print(json.dumps({
        "files": [str(file) for file in opened.files], "fingerprint": opened.fingerprint,
        "total": opened.total_rows,
        "sets": [row for batch in batches for row in batch.sets.to_pylist()],
        "details": [row for batch in batches for row in batch.quarantine["detail"].to_pylist()],
    }))
"""


def read(hub: Hub, home: Path, *, token: str = TOKEN, **recipe: Any) -> Any:
    variables = environment(hub, home, token=token, HF_HUB_DISABLE_PROGRESS_BARS="1")
    done = process(variables, "-c", READ, json.dumps(recipe))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_named_source_is_fetched_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    found = read(hub, tmp_path, name="gsm8k")
    assert [Path(file).name for file in found["files"]] == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    assert found["total"] == 3
    assert [json.loads(row["metadata"])["answer"] for row in found["sets"]] == ["1080", "3"]
    assert found["details"] == [
        "main/train-00000-of-00002.parquet, row 2, field 'answer': has no line '#### number' or 'A: number'"
    ]
    assert {row["source"] for row in found["sets"]} == {"gsm8k"}


def test_splits_have_fingerprints_of_their_own(hub: Hub, tmp_path: Path) -> None:
    train, test = (read(hub, tmp_path, name="gsm8k", split=split) for split in ("train", "test"))
    commit = hub.repos["dataset", "openai/gsm8k"].branches["main"]
    again = read(hub, tmp_path, name="openai/gsm8k", revision=commit)
    assert train["fingerprint"] == again["fingerprint"] != test["fingerprint"]
    assert [row["prompt"][0]["content"] for row in test["sets"]] == ["q4"]


def test_any_data_set_by_its_id(hub: Hub, tmp_path: Path) -> None:
    found = read(hub, tmp_path, name="someone/pairs")
    (row,) = found["sets"]
    assert row["source"] == "someone/pairs"
    assert [completion["text"] for completion in row["completions"]] == ["c", "r"]
    assert found["details"] == ["data/train.jsonl.gz, row 2, field 'prompt': is a number, not a text"]


@pytest.mark.parametrize(
    ("recipe", "error", "message"),
    [
        ({"name": "someone/nothing"}, "HubError", "no such dataset, or it is private"),
        ({"name": "gsm8k", "revision": "v9"}, "HubError", "it has no such revision"),
        ({"name": "gsm8k", "token": "wrong"}, "HubError", "no such dataset, or it is private"),
        ({"name": "gsm8k", "split": "dev"}, "RecipeError", "has no split 'dev'; it has: train, test"),
        ({"name": "gsm8k", "config": "socratic"}, "HubError", "BuilderConfig 'socratic' not found"),
        ({"name": "someone/other"}, "InputError", "found alpha"),
        ({"name": "someone/texts"}, "InputError", "cannot tell its format"),
        ({"name": "hub"}, "RecipeError", "needs the id of a dataset: write org/name instead"),
        ({"name": "gsm8k", "score": "mean_rating"}, "RecipeError", "does not read `score`"),
    ],
)
def test_what_the_hub_refuses(
    hub: Hub, tmp_path: Path, recipe: dict[str, str], error: str, message: str
) -> None:
    found = read(hub, tmp_path, **recipe)
    assert found[0] == error
    assert message in found[1]
    assert "\n" not in found[1]


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"  # bound, but nobody listens
        nowhere = Hub()
        nowhere.endpoint = closed
        kind, message = read(nowhere, tmp_path, name="ultrafeedback")
    assert kind == "HubError"
    assert f"dataset 'openbmb/UltraFeedback' cannot be read from {closed}" in message
    for advice in ("check the spelling", "HF_ENDPOINT", "HF_TOKEN", "--path"):
        assert advice in message
