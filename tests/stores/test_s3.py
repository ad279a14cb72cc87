"""Builds from and to a real S3 server on loopback, with the commands that people type."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.forks import Fork, Server
from support.gate import Gate
from support.stores import KEY, SECRET, Moto, local, published, recipe, rows

import pairkit
from pairkit.dataset.remote.on_store import MARKER
from pairkit.errors import InputError, OutputError
from pairkit.pipeline.distributed.to_store import build_to_store, staging_of
from pairkit.schema import MANIFEST

pytestmark = pytest.mark.s3
OUT = "s3://bucket/sets"


def start(forks: Server, *words: str) -> Fork:
    return forks.start("-m", "pairkit", *words)


def fields(path: str) -> list[str]:
    """Return the words of a build that has `recipe`'s settings."""
    return ["--source", "files", "--path", path, "unit_rows=10", "shard_mb=0.0002", "test_fraction=0.2"]


@pytest.fixture
def copy(s3: Moto, tmp_path: Path) -> Path:
    """The rows, on the store and in a file of this machine."""
    s3.write("bucket/rows.jsonl", rows())
    (tmp_path / "rows.jsonl").write_bytes(rows())
    return tmp_path / "rows.jsonl"


def test_the_store_has_the_bytes_that_a_folder_would(
    s3: Moto, copy: Path, forks: Server, tmp_path: Path
) -> None:
    made = start(forks, "build", *fields("s3://bucket/rows.jsonl"), "--out", OUT)
    printed, errors = made.communicate()
    assert made.returncode == 0, errors
    assert f"next: pairkit train --loss mcpo --data {OUT}" in printed
    on_store = published(s3)
    assert on_store.pop("run.jsonl")
    assert on_store == local(copy, tmp_path / "local")
    # No address, bucket or key is published.
    everything = b"".join(on_store.values()) + errors.encode() + printed.encode()
    assert SECRET.encode() not in everything
    assert KEY.encode() not in everything
    again = start(forks, "build", *fields("s3://bucket/rows.jsonl"), "--out", OUT)
    assert f"{OUT}: already complete" in again.communicate()[1]


@pytest.mark.parametrize("number", [0, 2, 6])
@pytest.mark.default("2")
def test_a_build_that_is_killed_while_it_uploads_continues(
    s3_gate: Gate, s3: Moto, copy: Path, forks: Server, tmp_path: Path, number: int
) -> None:
    s3_gate.most = number
    killed = start(forks, "build", *fields(str(copy)), "--out", OUT)
    assert s3_gate.reached.wait(60)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    half = published(s3)
    assert MANIFEST not in half
    assert len(set(half) - {MARKER}) == number
    s3_gate.open()
    with pytest.raises(InputError, match="its publication was stopped"):
        pairkit.load(OUT)
    assert start(forks, "build", *fields(str(copy)), "--out", OUT).wait() == 0
    whole = published(s3)
    # One file that was sent may not be in the marker yet.
    assert s3_gate.uploads <= len(whole) - 1 - number + 1
    assert whole.pop("run.jsonl")
    assert whole == local(copy, tmp_path / "local")


def test_a_store_that_goes_away_loses_nothing(s3_gate: Gate, s3: Moto, copy: Path, tmp_path: Path) -> None:
    s3_gate.most, s3_gate.then = 3, "drop"
    with pytest.raises(OutputError, match=r"run the same command again to upload the rest") as error:
        build_to_store(recipe(copy), OUT)
    assert "s3://bucket/sets/" in str(error.value)
    assert MANIFEST not in published(s3)
    s3_gate.open()
    build_to_store(recipe(copy), OUT)
    whole = published(s3)
    assert whole.pop("run.jsonl")
    assert whole == local(copy, tmp_path / "local")


def test_an_interrupted_upload_says_how_to_go_on(s3_gate: Gate, s3: Moto, copy: Path, forks: Server) -> None:
    s3_gate.most = 2
    stopped = start(forks, "build", *fields(str(copy)), "--out", OUT)
    assert s3_gate.reached.wait(60)
    stopped.send_signal(signal.SIGINT)
    s3_gate.open()
    _, errors = stopped.communicate()
    assert stopped.returncode == 130
    assert "run the same command again to upload the rest" in errors
    assert staging_of(OUT).is_dir()


def test_a_server_without_the_rights_is_an_error_before_anything_is_built(
    s3: Moto, copy: Path, forks: Server, tmp_path: Path
) -> None:
    s3.refuse_all()
    for words in (
        ["build", *fields(str(copy)), "--out", OUT],
        ["build", *fields("s3://bucket/rows.jsonl"), "--out", str(tmp_path / "out")],
        ["train", "--loss", "dpo", "--data", OUT, "--model", "none"],
    ):
        made = start(forks, *words)
        _, errors = made.communicate()
        assert made.returncode == 1
        assert "the store refuses access; check the credentials in the environment" in errors
        assert SECRET not in errors
        assert KEY not in errors
        assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()
    assert not staging_of(OUT).exists()


def test_a_bucket_that_is_not_there_is_named(s3: Moto, copy: Path) -> None:
    with pytest.raises(InputError, match=r"s3://nowhere/sets: cannot be listed: there is no such bucket"):
        build_to_store(recipe(copy), "s3://nowhere/sets")
    with pytest.raises(InputError, match=r"s3://nowhere/rows: cannot be listed: there is no such bucket"):
        pairkit.build(recipe("s3://nowhere/rows"), copy.with_name("out"))


def test_without_credentials_the_error_names_them(
    s3: Moto, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.refuse_all()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match=r"s3://bucket/sets: cannot be listed: .*credentials in the env"):
        build_to_store(recipe(copy), OUT)


def test_a_dataset_on_the_store_is_inspected_exported_and_trained_on(
    s3: Moto, copy: Path, forks: Server, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build_to_store(recipe(copy), OUT)
    exported = start(forks, "export", OUT, "--as", "trl", "--out", "trl")
    inspected = start(forks, "inspect", "s3://bucket/rows.jsonl")
    few = ["--max-steps", "2", "--model", str(model), "max_length=96"]
    trained = start(forks, "train", "--loss", "dpo", "--data", OUT, *few)
    for each in (exported, inspected, trained):
        _, errors = each.communicate()
        assert each.returncode == 0, errors
    assert (tmp_path / "trl/train.parquet").is_file()
    assert (tmp_path / "runs/train/sets-dpo/model").is_dir()
