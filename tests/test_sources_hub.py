"""The hub, without the hub: its own client libraries against a strict server on the loopback.

The server speaks the part of the hub's interface that reading needs. It answers nothing that it was not
set up for, asks for the bearer token, and serves files at their commit only. The code under test runs in a
process of its own, since the libraries read their environment when they are imported.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

COMMIT = "c0ffee" + "0" * 34
TOKEN = "hf_secret"
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


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    unknown: list[str] = []  # noqa: RUF012  requests that no test expects

    def log_message(self, *arguments: Any) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.reply(401, X_Error_Code="RepoNotFound")
        url = urlsplit(self.path)
        parts = unquote(url.path).strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            return self.describe("/".join(parts[2:4]), parts[4:], parse_qs(url.query))
        if parts[0] == "datasets" and parts[3] == "resolve":
            return self.resolve("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
        return self.refuse()

    do_GET = do_HEAD = answer

    def refuse(self) -> None:
        self.unknown.append(f"{self.command} {self.path}")
        self.reply(400)

    def describe(self, name: str, rest: list[str], query: dict[str, list[str]]) -> None:
        if name not in REPOSITORIES:
            return self.reply(404, X_Error_Code="RepoNotFound")
        if not rest or rest in (["revision", "main"], ["revision", COMMIT]):
            files = [{"rfilename": file} for file in REPOSITORIES[name]]
            return self.json({"id": name, "sha": COMMIT, "private": False, "tags": [], "siblings": files})
        if rest[0] == "revision":
            return self.reply(404, X_Error_Code="RevisionNotFound")
        if rest[:2] == ["tree", COMMIT]:
            return self.tree(REPOSITORIES[name], "/".join(rest[2:]), query["recursive"] == ["true"])
        return self.refuse()

    def tree(self, files: dict[str, bytes], folder: str, recursive: bool) -> None:
        prefix = folder + "/" if folder else ""
        found: dict[str, Any] = {}
        for file, content in files.items():
            if file.startswith(prefix):
                *folders, _ = file.removeprefix(prefix).split("/")
                if folders:
                    path = prefix + folders[0]
                    found[path] = {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
                if not folders or recursive:
                    oid = hashlib.sha1(content).hexdigest()
                    found[file] = {"type": "file", "path": file, "oid": oid, "size": len(content)}
        return self.json([*found.values()]) if found else self.reply(404, X_Error_Code="EntryNotFound")

    def resolve(self, name: str, revision: str, file: str) -> None:
        if revision != COMMIT:
            return self.refuse()
        content = REPOSITORIES[name].get(file)
        if content is None:
            return self.reply(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return self.reply(200, content, ETag=etag, X_Repo_Commit=COMMIT)

    def json(self, value: Any) -> None:
        self.reply(200, json.dumps(value).encode(), Content_Type="application/json")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    Hub.unknown.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


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


def read(endpoint: str, home: Path, *, token: str = TOKEN, **recipe: Any) -> Any:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, "-c", READ, json.dumps(recipe)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_named_source_is_fetched_from_the_hub(endpoint: str, tmp_path: Path) -> None:
    found = read(endpoint, tmp_path, name="gsm8k")
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
    assert Hub.unknown == []


def test_splits_have_fingerprints_of_their_own(endpoint: str, tmp_path: Path) -> None:
    train, test = (read(endpoint, tmp_path, name="gsm8k", split=split) for split in ("train", "test"))
    again = read(endpoint, tmp_path, name="openai/gsm8k", revision=COMMIT)
    assert train["fingerprint"] == again["fingerprint"] != test["fingerprint"]
    assert [row["prompt"][0]["content"] for row in test["sets"]] == ["q4"]


def test_any_data_set_by_its_id(endpoint: str, tmp_path: Path) -> None:
    found = read(endpoint, tmp_path, name="someone/pairs")
    (row,) = found["sets"]
    assert row["source"] == "someone/pairs"
    assert [completion["text"] for completion in row["completions"]] == ["c", "r"]
    assert found["details"] == ["data/train.jsonl.gz, row 2, field 'prompt': is a number, not a text"]


@pytest.mark.parametrize(
    ("recipe", "error", "message"),
    [
        ({"name": "someone/nothing"}, "HubError", "there is no such data set, or it is private"),
        ({"name": "gsm8k", "revision": "v9"}, "HubError", "it has no such revision"),
        ({"name": "gsm8k", "token": "wrong"}, "HubError", "there is no such data set, or it is private"),
        ({"name": "gsm8k", "split": "dev"}, "RecipeError", "has no split 'dev'; it has: train, test"),
        ({"name": "gsm8k", "config": "socratic"}, "HubError", "BuilderConfig 'socratic' not found"),
        ({"name": "someone/other"}, "InputError", "found alpha"),
        ({"name": "someone/texts"}, "InputError", "cannot tell its format"),
        ({"name": "hub"}, "RecipeError", "is named by the data set's id: write org/name"),
        ({"name": "gsm8k", "score": "mean_rating"}, "RecipeError", "does not read `score`"),
    ],
)
def test_what_the_hub_refuses(
    endpoint: str, tmp_path: Path, recipe: dict[str, str], error: str, message: str
) -> None:
    found = read(endpoint, tmp_path, **recipe)
    assert found[0] == error
    assert message in found[1]
    assert "\n" not in found[1]


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"  # bound, but nobody listens
        kind, message = read(closed, tmp_path, name="ultrafeedback")
    assert kind == "HubError"
    assert f"data set 'openbmb/UltraFeedback' cannot be read from {closed}" in message
    for advice in ("check the spelling", "HF_ENDPOINT", "HF_TOKEN", "--path"):
        assert advice in message
