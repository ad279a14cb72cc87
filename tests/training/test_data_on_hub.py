"""`pairkit train --data org/name`, without the hub: its client libraries against a strict server on loopback.

The libraries read their environment when they are imported, so the commands run in processes of their own.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
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


def test_a_built_dataset_is_mixed_with_another_and_resumed_without_a_network(place: Path) -> None:
    both = ("--data", "someone/built:0.5", "--data", "local:0.5")
    with serving(Hub(large=())) as hub:
        published(hub, place)
        mixed = run(hub, place, place, *WORDS, *both)
        assert mixed.returncode == 0, mixed.stderr
        parts = record(place, "built+local-dpo")["recipe"]["data"]
        assert [(part["data"], part["weight"]) for part in parts] == [("someone/built", 0.5), ("local", 0.5)]
        read = [call for call in hub.calls if "resolve" in call]
        assert not any("quarantine" in call or "README" in call for call in read)
    assert hub.problems == []
    # The server is gone: what was downloaded is enough.
    longer = run(hub, place, place, *WORDS, *both, "--max-steps", "3")
    assert longer.returncode == 0, longer.stderr
    assert record(place, "built+local-dpo")["plan"]["steps"] == 3


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


def test_any_dataset_that_pairkit_reads_is_built_first(place: Path) -> None:
    with serving(Hub(large=())) as hub:
        hub.add("dataset", "someone/pairs", {"data/train.jsonl.gz": rows()})
        done = run(hub, place, place, *WORDS, "--data", "someone/pairs")
        assert done.returncode == 0, done.stderr
        assert record(place, "pairs-dpo")["recipe"]["data"] == "runs/data/pairs"
    assert hub.problems == []


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


def test_what_the_hub_refuses_is_one_line(place: Path) -> None:
    with serving(Hub(large=())) as hub:
        done = run(
            hub, place, place, "train", "--loss", "dpo", "--model", "model", "--data", "someone/nothing"
        )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "dataset 'someone/nothing' cannot be read from http://127.0.0.1" in line
    assert "no such dataset, or it is private" in line
    assert TOKEN not in done.stderr


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
