"""Builds with batches: the dataset is the one without them, however the batches end."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from support.batched import PER_PROBLEM, batch_server, batched, directly, lines

from pairkit.errors import BudgetError, EngineError

PROBLEMS = 16
CALLS = PER_PROBLEM * PROBLEMS


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return directly(tmp_path_factory.mktemp("direct"), PROBLEMS)


def open_rows(folder: Path) -> list[int]:
    with sqlite3.connect(folder / "calls.sqlite") as connection:
        batches = connection.execute("SELECT COUNT(*) FROM batches").fetchone()[0]
        rows = connection.execute("SELECT COUNT(*) FROM batched WHERE batch IS NOT NULL").fetchone()[0]
    connection.close()
    return [batches, rows]


def test_the_dataset_is_the_one_without_batches(tmp_path: Path, direct: dict[str, object]) -> None:
    with batch_server(tmp_path) as server:
        manifest = batched(server.url, PROBLEMS, tmp_path / "out", batches={"requests": 20})
        # The first call is made directly, and shows what the server takes.
        assert lines(server) == [20, 20, 7]
        seen = server.stats()
    assert manifest == direct
    assert (seen["tries"], seen["answered"], seen["answered_again"], seen["violations"]) == (1, CALLS, 0, [])
    assert open_rows(tmp_path) == [0, 0]


def test_a_batch_has_no_more_bytes_than_the_server_takes(tmp_path: Path, direct: dict[str, object]) -> None:
    with batch_server(tmp_path, most_bytes=4_200) as server:
        manifest = batched(server.url, PROBLEMS, tmp_path / "out", batches={"megabytes": 0.004})
        assert len(lines(server)) > 3
        assert sum(lines(server)) == CALLS - 1
        assert server.stats()["violations"] == []
    assert manifest == direct


def test_a_request_that_is_too_large_for_a_batch_is_asked_directly(tmp_path: Path) -> None:
    with batch_server(tmp_path) as server:
        batched(server.url, 3, tmp_path / "out", batches={"megabytes": 1e-4})
        assert lines(server) == []
        assert server.stats()["tries"] == 9


@pytest.mark.parametrize("lost", [False, True])
def test_what_expired_is_asked_directly(tmp_path: Path, direct: dict[str, object], lost: bool) -> None:
    plan = {"1": {"status": "expired", "answer": 0.4, "lose": lost}}
    with batch_server(tmp_path, plan) as server:
        manifest = batched(server.url, PROBLEMS, tmp_path / "out")
        assert lines(server) == [CALLS - 1]
        left = CALLS - 1 if lost else CALLS - 1 - round(0.4 * (CALLS - 1))
        assert server.stats()["tries"] == 1 + left
    assert manifest == direct


# What is done to the lines of the answers -> how many requests that leaves without one.
LINES = {
    "backwards": 0, "wrong_ids": 1, "repeated": 0, "oversized": 1, "not_json": 1, "deep": 0, "wrong_n": 1,
    "no_id": 1,
}  # fmt: skip


@pytest.mark.default("backwards", "wrong_ids", "repeated", "not_json")
@pytest.mark.parametrize("kind", LINES)
def test_lines_that_cannot_be_used_leave_their_request_to_a_direct_call(
    tmp_path: Path, direct: dict[str, object], kind: str
) -> None:
    with batch_server(tmp_path, {"1": {"lines": kind}}) as server:
        manifest = batched(server.url, PROBLEMS, tmp_path / "out")
        assert server.stats()["tries"] == 1 + LINES[kind]
        assert server.stats()["violations"] == []
    assert manifest == direct


def test_a_completed_batch_may_lack_answers(tmp_path: Path, direct: dict[str, object]) -> None:
    with batch_server(tmp_path, {"1": {"answer": 0.9}}) as server:
        assert batched(server.url, PROBLEMS, tmp_path / "out") == direct


def test_a_cancelled_batch_keeps_its_answers_and_the_same_command_submits_the_rest(
    tmp_path: Path, direct: dict[str, object]
) -> None:
    with batch_server(tmp_path, {"1": {"status": "cancelled", "answer": 0.5}}) as server:
        with pytest.raises(
            EngineError, match=r"batch_1 was cancelled; 24 of 47 requests are answered and kept"
        ):
            batched(server.url, PROBLEMS, tmp_path / "out")
        assert open_rows(tmp_path) == [0, 0]
        assert batched(server.url, PROBLEMS, tmp_path / "out") == direct
        assert lines(server) == [CALLS - 1, CALLS - 1 - 24 - 1]  # the first call of the second run is direct
        assert server.stats()["answered_again"] == 0


def test_a_failed_batch_says_why_and_the_same_command_submits_it_again(
    tmp_path: Path, direct: dict[str, object]
) -> None:
    with batch_server(tmp_path, {"1": {"status": "failed"}}) as server:
        with pytest.raises(
            EngineError, match=r"batch_1 failed: It cannot be run\. \(invalid_request\); nothing"
        ):
            batched(server.url, PROBLEMS, tmp_path / "out")
        assert batched(server.url, PROBLEMS, tmp_path / "out") == direct


def test_a_batch_for_which_the_account_has_no_room_is_submitted_again(
    tmp_path: Path, direct: dict[str, object]
) -> None:
    plan = {"1": {"status": "failed", "code": "token_limit_exceeded"}}
    with batch_server(tmp_path, plan) as server:
        assert batched(server.url, PROBLEMS, tmp_path / "out", batches={"requests": 24}) == direct
        assert lines(server) == [24, 23, 24]


def test_an_unknown_status_and_a_batch_that_is_gone_are_errors(tmp_path: Path) -> None:
    sleeping = pytest.raises(EngineError, match="batch_1 has the status 'sleeping'")
    with batch_server(tmp_path, {"1": {"status": "sleeping"}}) as server, sleeping:
        batched(server.url, 2, tmp_path / "out")
    with batch_server(tmp_path) as other:
        with sqlite3.connect(tmp_path / "calls.sqlite") as connection:
            connection.execute("UPDATE batches SET server = ?", (other.url,))
        connection.close()
        with pytest.raises(EngineError, match=r"No batch found.*it was submitted with another key"):
            batched(other.url, 2, tmp_path / "out")


def test_a_server_without_batches_says_what_to_set(tmp_path: Path) -> None:
    with batch_server(tmp_path, no_batches=True) as server:
        with pytest.raises(
            EngineError, match=r"refused files \(HTTP 404\): the server has no batches .*calls.batch=f"
        ):
            batched(server.url, 2, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert open_rows(tmp_path) == [0, 0]
        # The answer to the first call is kept.
        assert server.stats()["tries"] == 1


def test_refused_requests_of_a_batch_are_asked_as_others_are(tmp_path: Path) -> None:
    """What refuses a line of a batch may take the same request directly; else it goes to quarantine."""
    with batch_server(tmp_path, {"1": {"answer": 0}}) as server:
        manifest = batched(server.url, 4, tmp_path / "out")
        assert server.stats()["tries"] == 12
    assert manifest["counts"]["generate"]["completions"] == 24


def test_the_budget_holds_for_batches_and_direct_calls_together(
    tmp_path: Path, direct: dict[str, object]
) -> None:
    prices = {"tiny": {"input": 1_000_000, "output": 1_000_000}}
    with batch_server(tmp_path) as server:
        with pytest.raises(BudgetError, match=r"the budget of 20 requests is spent"):
            batched(server.url, PROBLEMS, tmp_path / "out", budget={"requests": 20})
        assert server.stats()["answered"] == 20
        with pytest.raises(BudgetError, match="money is spent"):
            batched(server.url, PROBLEMS, tmp_path / "out", budget={"money": 250}, prices=prices)
        seen = server.stats()["answered"]
        assert 20 < seen < CALLS
        assert batched(server.url, PROBLEMS, tmp_path / "out") == direct
        assert server.stats()["answered_again"] == 0


def test_the_log_counts_batches_at_their_price(tmp_path: Path) -> None:
    prices = {"tiny": {"input": 1_000_000, "output": 1_000_000}}
    with batch_server(tmp_path) as server:
        batched(server.url, PROBLEMS, tmp_path / "out", prices=prices)
    spent = json.loads((tmp_path / "out" / "run.jsonl").read_text().splitlines()[-1])
    tokens = spent["prompt_tokens"] + spent["completion_tokens"]
    assert (spent["requests"], spent["batches"]) == (CALLS, 1)
    assert tokens / 2 < spent["cost"] < tokens / 2 + 100  # the first call cost the whole price
