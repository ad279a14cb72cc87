"""Builds that ask a server: every prompt is in the dataset or in quarantine, whatever the server does."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from support.forks import Fork, Server
from support.loopback import Loopback, chat_server, recipe, start_build
from support.published import hashes

from pairkit.errors import EngineError, Interrupted
from pairkit.hub.dataset import built_dataset
from pairkit.pipeline import describe
from pairkit.pipeline.build import build
from pairkit.rankers.judge.statistics import judge_rates
from pairkit.schema import VERDICTS, check_sets

PROMPTS = 200
# A fault after which the client waits only as long as it is told; its reaction to all other kinds is
# tested with the engine; here they would add nothing but pauses.
FAULTY = {"faults": 0.2, "hopeless": 0.005, "latency": 0.01, "kinds": ["429_after"]}
# A faulty body fails three times at most. The timeout is one that no busy machine exceeds.
QUICK = {"calls": {"attempts": 4, "timeout": 100}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with chat_server(tmp_path_factory.mktemp("server"), **FAULTY) as running:
        yield running
        assert running.stats()["violations"] == []


@pytest.fixture(scope="module")
def whole(server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    build(recipe(server.url, PROMPTS, **QUICK), out, cache=out.with_name("calls.sqlite"))
    return out


@pytest.mark.full
def test_every_prompt_is_somewhere_and_none_twice(server: Loopback, whole: Path) -> None:
    kept = ds.dataset(sorted((whole / "data").glob("*.parquet"))).to_table()
    check_sets(kept)
    quarantine = pq.read_table(whole / "quarantine.parquet").to_pylist()
    ids = kept["set_id"].to_pylist() + [row["set_id"] for row in quarantine]
    assert len(ids) == len(set(ids)) == PROMPTS
    reasons = {row["reason"] for row in quarantine}
    assert reasons == {"endpoint_failed", "no_choice"}
    failed = [row for row in quarantine if row["reason"] == "endpoint_failed"]
    assert all(row["detail"].startswith("4 tries; the last: ") for row in failed)
    counts = json.loads((whole / "pairkit.json").read_text())["counts"]["generate"]
    assert counts["quarantined_endpoint_failed"] == len(failed) > 0
    assert counts["completions"] == 6 * (PROMPTS - len(failed))
    assert counts["stop"] + counts["length"] + counts["refused"] == counts["completions"]
    assert counts["empty"] > 0
    assert server.stats()["answered_again"] == 0
    seeds = {
        (row["set_id"], one["sampling"]["seed"]) for row in kept.to_pylist() for one in row["completions"]
    }
    assert len(seeds) > 2 * kept.num_rows  # the calls of a set have seeds of their own


def test_answers_of_servers_are_stored_unchanged(whole: Path) -> None:
    texts = ds.dataset(sorted((whole / "data").glob("*.parquet"))).to_table()["completions"].to_pylist()
    joined = "".join(one["text"] for row in texts for one in row)
    for odd in ("a\u2028b", "c\u2029d", "e\x85f", "k\r\nl", "🙂"):
        assert odd in joined


def test_the_run_log_records_what_was_spent(whole: Path) -> None:
    events = [json.loads(line) for line in (whole / "run.jsonl").read_text().splitlines()]
    last = [event for event in events if event["event"] == "shard"][-1]
    assert last["requests"] > 3 * PROMPTS
    assert last["retries"] > 0
    assert last["prompt_tokens"] > 0
    manifest = (whole / "pairkit.json").read_text()
    assert "retries" not in manifest
    assert "127.0.0.1" not in manifest + (whole / "README.md").read_text()


@pytest.mark.full
def test_a_rerun_asks_nothing(server: Loopback, whole: Path, tmp_path: Path) -> None:
    before = server.stats()["tries"]
    build(recipe(server.url, PROMPTS, **QUICK), tmp_path / "out", cache=whole.with_name("calls.sqlite"))
    assert server.stats()["tries"] == before
    assert hashes(tmp_path / "out") == hashes(whole)


def test_retry_failed_repeats_failed_calls_only(tmp_path: Path) -> None:
    cache = tmp_path / "calls.sqlite"
    with chat_server(tmp_path, hopeless=0.05, kinds="500") as broken:
        fields = {"calls": {"attempts": 1}}
        before = build(recipe(broken.url, 60, **fields), tmp_path / "out", cache=cache)["counts"]["generate"]
    with chat_server(tmp_path) as mended:
        again = build(recipe(mended.url, 60), tmp_path / "out", cache=cache, retry_failed=True)
        # The calls of its prompts that succeeded before are not asked again.
        assert mended.stats()["tries"] >= before["quarantined_endpoint_failed"] > 0
        assert mended.stats()["tries"] < 3 * 60 / 2
    assert again["counts"]["generate"]["completions"] == 360


def wait_for_tries(server: Loopback, process: Fork, count: int) -> None:
    """Wait until the server has seen `count` more tries, or the build has ended."""
    before = server.stats()["tries"]
    while process.poll() is None and server.stats()["tries"] < before + count:
        time.sleep(0.02)


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_sigkill_changes_no_byte(
    kills: int, forks: Server, server: Loopback, whole: Path, tmp_path: Path
) -> None:
    cache, out = tmp_path / "calls.sqlite", tmp_path / "out"
    dice = random.Random(kills)
    done = 0
    while done < kills:
        process = start_build(forks, server.url, out, cache, PROMPTS, **QUICK)
        wait_for_tries(server, process, dice.randint(50, 2 * PROMPTS))
        if process.poll() is not None:  # it was done before: start over
            shutil.rmtree(out)
            cache.unlink()
            continue
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done += 1
    build(recipe(server.url, PROMPTS, **QUICK), out, cache=cache)
    assert hashes(out) == hashes(whole)


@pytest.mark.full
def test_an_interrupt_keeps_what_was_answered(
    forks: Server, server: Loopback, whole: Path, tmp_path: Path
) -> None:
    cache, out = tmp_path / "calls.sqlite", tmp_path / "out"
    process = start_build(forks, server.url, out, cache, PROMPTS, **QUICK)
    wait_for_tries(server, process, PROMPTS)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == Interrupted.exit_code, errors
    assert "run the same command again to continue" in errors
    tries = server.stats()["tries"]
    build(recipe(server.url, PROMPTS, **QUICK), out, cache=cache)
    assert server.stats()["tries"] - tries < 3 * PROMPTS
    assert hashes(out) == hashes(whole)


@pytest.mark.full
def test_a_server_that_goes_away_stops_the_build_and_loses_nothing(forks: Server, tmp_path: Path) -> None:
    fields = {"calls": {"attempts": 1, "concurrency": 4}}
    with chat_server(tmp_path, latency=0.05) as first:
        process = start_build(forks, first.url, tmp_path / "out", tmp_path / "calls.sqlite", 200, **fields)
        while not (tmp_path / "calls.sqlite").exists() or first.stats()["answered"] < 50:
            assert process.poll() is None
            time.sleep(0.05)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == EngineError.exit_code, errors
    assert "consecutive calls failed" in errors
    assert "Traceback" not in errors


@pytest.mark.full
def test_a_judge_that_misbehaves(tmp_path: Path) -> None:
    """It prefers larger numbers and, of equal ones, the first; now and then a verdict is cut off."""
    faults = FAULTY | {"hopeless": 0.0005}
    with chat_server(tmp_path, **faults) as writer, ExitStack() as stack:
        judge = stack.enter_context(chat_server(tmp_path, **faults, judge=True))
        block = {"ranker": "judge", "engine": "openai", "model": "tiny", "base_url": judge.url}
        fields = {"rank": [{"ranker": "verifier", "check": "number"}, block | {"max_tokens": 64}]}
        fields |= {"order": "judge", "test_fraction": 0}
        manifest = build(recipe(writer.url, 40, **fields), tmp_path / "out", cache=tmp_path / "calls.sqlite")
        assert judge.stats()["violations"] == []
        assert judge.stats()["answered_again"] == 0
    counts = manifest["counts"]
    rates = {rate.name: rate for rate in judge_rates(counts["rank"], prefix="judge_")}
    assert counts["rank"]["judge_sets"] > 35
    assert 0 < rates["parse_failure_rate"].share.mean < 0.05
    assert rates["tie_rate"].share.mean == 0
    assert rates["order_bias"].share.low > 0.5  # equal numbers go to the first
    assert rates["flip_rate"].share.mean > 0
    assert manifest["judge_prompts"].keys() == {"mcpo"}
    verdicts = ds.dataset(sorted((tmp_path / "out" / "verdicts").glob("*.parquet"))).to_table()
    assert verdicts.schema.equals(VERDICTS)
    assert (
        verdicts.num_rows
        == counts["rank"]["judge_answers"]
        == manifest["files"]["verdicts/all-00000-of-00001.parquet"]["rows"]
    )
    rows = ds.dataset(sorted((tmp_path / "out" / "data").glob("*.parquet"))).to_table()
    check_sets(rows)
    for row in rows.to_pylist():
        scores = [{one["name"]: one["value"] for one in c["scores"]} for c in row["completions"]]
        assert all(set(one) == {"judge", "verifier"} for one in scores)
        assert [c["score"] for c in row["completions"]] == [one["judge"] for one in scores]
        numbers = [int(c["text"].rpartition("#### ")[2] or 0) for c in row["completions"]]
        assert numbers[0] == max(numbers)
    assert {"verdicts/all-00000-of-00001.parquet"} < built_dataset(
        tmp_path / "out"
    ).files.keys()  # as push checks it
    said = load_dataset(str(tmp_path / "out"), "verdicts", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(said) == verdicts.num_rows
    card = (tmp_path / "out" / "README.md").read_text()
    assert manifest["judge_prompts"]["mcpo"] in card
    rate = "judge: the other winner in the other order: "
    assert f"* {rate}" in card
    assert rate in describe.summary(manifest, tmp_path)
