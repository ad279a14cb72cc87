"""`pairkit train --data org/name`, without the hub: its client libraries against a strict server on loopback.

The libraries read their environment when they are imported: commands of the mark `full` run in processes of
their own, and the others in this one, whose libraries are told by the fixture `hub`.
"""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from support.bad_input.running import run_in_process
from support.hub_server import TOKEN, Hub, environment, serving
from support.tiny import model_folder, random_sets, write_data

from pairkit.dataset.remote.on_hub import hub_id

SMALL = ("--max-steps", "2", "max_length=96", "sets_per_step=4", "trackers=[]")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows() -> bytes:
    pairs = ({"prompt": f"p {n}", "chosen": "old cat", "rejected": "red dog"} for n in range(40))
    return gzip.compress("".join(json.dumps(pair) + "\n" for pair in pairs).encode())


def run(hub: Hub, home: Path, cwd: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    variables = environment(hub, home / "hub", token=TOKEN, HF_HUB_DISABLE_PROGRESS_BARS="1", **more)
    command = [sys.executable, "-m", "pairkit", *words]
    return subprocess.run(
        command, env=variables, cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with a model, and a dataset that was built."""
    model_folder(tmp_path / "model")
    write_data(tmp_path / "local", random_sets(20, seed=1), random_sets(3, seed=2))
    return tmp_path


def record(place: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((place / "runs" / "train" / name / "run.json").read_text())
    return content


WORDS = ("train", "--loss", "dpo", "--model", "model", *SMALL)


def published(hub: Hub, place: Path) -> None:
    built = files_of(write_data(place / "there", random_sets(30), random_sets(4, seed=3)))
    hub.add("dataset", "someone/built", {**built, "README.md": b"# Card", "quarantine.parquet": b"unread"})


def test_a_built_dataset_is_mixed_with_another_and_resumed_without_a_network(
    place: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    both = (*WORDS, "--data", "someone/built:0.5", "--data", "local:0.5")
    published(hub, place)
    mixed = run_in_process(" ".join(both), capsys, monkeypatch)
    assert mixed.code == 0, mixed.errors
    parts = record(place, "built+local-dpo")["recipe"]["data"]
    assert [(part["data"], part["weight"]) for part in parts] == [("someone/built", 0.5), ("local", 0.5)]
    read = [call for call in hub.calls if "resolve" in call]
    assert not any("quarantine" in call or "README" in call for call in read)
    # The server is gone: what was downloaded is enough.
    calls = len(hub.calls)
    with socket.socket() as bound:  # nothing listens there
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{bound.getsockname()[1]}")
        longer = run_in_process(" ".join((*both, "--max-steps", "3")), capsys, monkeypatch)
    assert longer.code == 0, longer.errors
    assert record(place, "built+local-dpo")["plan"]["steps"] == 3
    assert len(hub.calls) == calls


@pytest.mark.full
def test_a_built_dataset_is_trained_on_alone_and_by_revision(place: Path) -> None:
    with serving(Hub(large=())) as hub:
        published(hub, place)
        alone = run(hub, place, place, *WORDS, "--data", "someone/built")
        assert alone.returncode == 0, alone.stderr
        assert record(place, "built-dpo")["recipe"]["data"] == "someone/built"
        named = run(hub, place, place, *WORDS, "--data", "someone/built@main", "--dry-run")
        assert named.returncode == 0, named.stderr
    assert hub.problems == []


def test_any_dataset_that_pairkit_reads_is_built_first(
    place: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", hub.endpoint)
    hub.add("dataset", "someone/pairs", {"data/train.jsonl.gz": rows()})
    done = run_in_process(" ".join((*WORDS, "--data", "someone/pairs")), capsys, monkeypatch)
    assert done.code == 0, done.errors
    assert record(place, "pairs-dpo")["recipe"]["data"] == "runs/data/pairs"


@pytest.mark.full
def test_a_dataset_is_built_once_and_by_one_process_that_may_write(place: Path) -> None:
    with serving(Hub(large=())) as hub:
        hub.add("dataset", "someone/pairs", {"data/train.jsonl.gz": rows()})
        words = (*WORDS, "--data", "someone/pairs")
        dry = run(hub, place, place, *words, "--dry-run")
        assert dry.returncode == 1
        assert dry.stderr.strip().endswith(
            "someone/pairs: was not built by pairkit, and --dry-run writes nothing; build it first: "
            "pairkit build --source someone/pairs"
        )
        assert not (place / "runs").exists()
        several = run(hub, place, place, *words, WORLD_SIZE="2")
        assert "a run of several processes builds nothing; build it first" in several.stderr
        assert run(hub, place, place, *words).returncode == 0
        again = run(hub, place, place, *words)
        assert again.returncode == 0, again.stderr
        assert "runs/data/pairs: already complete" in again.stderr
    assert hub.problems == []


def test_what_the_hub_refuses_is_one_line(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    words = "train --loss dpo --model model --data someone/nothing"
    done = run_in_process(words, capsys, monkeypatch)
    assert done.code == 1
    (line,) = done.errors.strip().splitlines()
    assert f"dataset 'someone/nothing' cannot be read from {hub.endpoint}" in line
    assert "no such dataset, or it is private" in line
    assert TOKEN not in done.errors


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("org/name", ("org/name", None)),
        ("org/name@v1.0", ("org/name", "v1.0")),
        ("name", None),
        ("a/b/c", None),
        ("./a", None),
        ("/a/b", None),
        ("org/name@", None),
    ],
)
def test_ids_are_told_from_paths(
    name: str, found: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_id(name) == found


def test_a_missing_directory_in_one_that_exists_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert hub_id("runs/nothing") is None
