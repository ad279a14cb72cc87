"""A build whose judge leaves no set says how the judge behaved, and keeps what it answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.judges import Answer, Asked, ScriptedJudge, fair, says, worth

from pairkit.errors import InputError
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.rankers.judge.statistics import summarize_judge
from pairkit.schema import VERDICTS


def recipe(folder: Path, **fields: object) -> BuildRecipe:
    path = folder / "own.jsonl"
    rows = [{"prompt": f"{row}?", "completions": [f"good 1 {row}", f"good 2 {row}"]} for row in range(5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = {
        "source": {"name": "files", "path": str(path)},
        "rank": {"ranker": "judge", "engine": "openai", "model": "judge", "attempts": 2, **fields},
        "unit_rows": 2,
        "shard_mb": 0.00001,
        "test_fraction": 0,
    }
    return load(None, content, {})


def answering(patch: pytest.MonkeyPatch, say: Callable[[Asked], Answer]) -> ScriptedJudge:
    judge = ScriptedJudge(say)
    patch.setattr("pairkit.engines.pool.open_engine", lambda block, calls, name, account: judge)
    return judge


def kept(out: Path) -> pa.Table:
    tables = [pq.read_table(path) for path in sorted((out / "verdicts").glob("*.parquet"))]
    assert all(table.schema.equals(VERDICTS) for table in tables)
    return pa.concat_tables(tables)


@pytest.mark.default("<lambda>-shares0")
@pytest.mark.parametrize(
    ("say", "shares"),
    [
        (
            lambda asked: says(asked, "A"),
            "judge: parse_failure_rate 0.00 (0 of 10), unanswered_rate 0.00 (0 of 10), order_bias 1.00 "
            "(10 of 10), tie_rate 0.00 (0 of 10), consistency 0.00 (0 of 5), flip_rate 1.00 (5 of 5): it "
            "follows the place of an answer more than its text, so use another judge or prompt",
        ),
        (
            lambda asked: says(asked, "tie"),
            "judge: parse_failure_rate 0.00 (0 of 10), unanswered_rate 0.00 (0 of 10), tie_rate 1.00 "
            "(10 of 10), consistency 1.00 (5 of 5), flip_rate 0.00 (0 of 5)",
        ),
        (
            lambda asked: ("", "length"),
            "judge: parse_failure_rate 1.00 (20 of 20), unanswered_rate 1.00 (10 of 10)",
        ),
    ],
)
def test_a_judge_that_leaves_no_set_is_described(
    say: Callable[[Asked], Answer], shares: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = answering(monkeypatch, say)
    out = tmp_path / "out"
    for _ in range(2):  # the second time from what is kept
        with pytest.raises(InputError) as error:
            build(recipe(tmp_path), out)
        message = str(error.value)
        assert message.startswith(f"{tmp_path / 'own.jsonl'}: no usable candidate set in 5 rows (5 ")
        assert f"; {shares}; its answers are in {out / 'verdicts'}; " in message
        assert "; the answers of models are kept: change what follows them and run again" in message
        assert kept(out).num_rows == len(judge.asked) in (10, 20)
    assert len({row["set_id"] for row in kept(out).to_pylist()}) == 5


def test_kept_verdicts_go_when_the_build_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda asked: says(asked, "A"))
    with pytest.raises(InputError, match=r"order_bias 1\.00"):
        build(recipe(tmp_path), tmp_path / "out")
    assert kept(tmp_path / "out").num_rows == 10
    answering(monkeypatch, fair(worth))
    made = build(recipe(tmp_path, prompt="mt_bench"), tmp_path / "out", on_existing="delete")
    published = {name for name in made["files"] if name.startswith("verdicts/")}
    there = {f"verdicts/{path.name}" for path in (tmp_path / "out" / "verdicts").iterdir()}
    assert there == published
    assert kept(tmp_path / "out").num_rows == 10
    assert all("[[" in row["answer"] for row in kept(tmp_path / "out").to_pylist())


def test_a_judge_is_reported_to_follow_places_only_if_it_does() -> None:
    counts = {"answers": 40, "questions": 40, "swapped": 20}
    fine = counts | {"first_wins": 22, "second_wins": 18, "same": 18, "flips": 2}
    assert "follows the place" not in summarize_judge("j", fine)
    assert "follows the place" in summarize_judge("j", fine | {"flips": 11})
    assert "follows the place" in summarize_judge("j", counts | {"first_wins": 40})
    assert "follows the place" in summarize_judge("j", counts | {"second_wins": 40})
    assert "follows the place" not in summarize_judge("j", {"answers": 2, "questions": 2, "first_wins": 2})
    assert summarize_judge("j", {}) == ""
