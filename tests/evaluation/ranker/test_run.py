"""`pairkit eval ranker` from end to end."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.grids import some
from support.judges import Asked, ScriptedJudge, fair
from support.labeled import jsonl
from support.pairrm_model import save as save_pairrm
from support.parsed_page import Page
from support.tiny import candidate_sets, completion, write_data
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.dataset import reader
from pairkit.engines.base import Unloaded
from pairkit.engines.generate import no_progress
from pairkit.evaluation.results import read_run
from pairkit.rankers.pairrm.ranker import PairRMRecipe, load_pairrm
from pairkit.rankers.reward_model.ranker import RewardModelRecipe, load_reward_model

Command = Callable[..., str]
Tables = Callable[[str], dict[str, dict[str, Any]]]


def metric(entry: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in entry["metrics"] if each["name"] == name)  # type: ignore[no-any-return]


def test_a_reward_model_annotations_and_length_are_in_one_table(
    command: Command, table: Tables, reward_model: Path
) -> None:
    output = command(
        "sets", "--ranker", "reward_model=rm", "--ranker", "annotations", "--ranker", "length", "--out", "o"
    )
    assert "180 pairs of 30 sets, 30 prompts" in output
    found = table("o")
    assert list(found) == ["reward_model", "annotations", "length"]
    assert metric(found["annotations"], "pairwise_accuracy")["value"] == 100
    assert metric(found["annotations"], "kendall_tau")["value"] == 1
    assert metric(found["length"], "prefers_longer")["value"] == 100
    # Set by set with the ranker itself.
    sets = next(reader.load(Path("sets")).tables("test")).to_pylist()
    scored = load_reward_model(RewardModelRecipe(model=str(reward_model)))
    result = scored.score(next(reader.load(Path("sets")).tables("test")), no_progress).sets.to_pylist()
    accuracies, tops = [], []
    for before, after in zip(sets, result, strict=True):
        values = [
            (one["rank"], other["score"])
            for one, other in zip(before["completions"], after["completions"], strict=True)
            if one["origin"] != "noise"
        ]
        pairs = [a > b for i, (_, a) in enumerate(values) for (_, b) in values[i + 1 :]]
        accuracies.append(np.mean(pairs))
        tops.append(max(values, key=lambda value: value[1])[0] == 1)
    run = read_run(Path("o/reward_model"))
    assert run.measured["pairwise_accuracy"].scores == pytest.approx(accuracies)
    assert run.measured["top_1"].scores == pytest.approx(np.array(tops, dtype=float))
    assert metric(found["reward_model"], "top_1")["value"] == pytest.approx(100 * np.mean(tops))


def test_the_best_of_four_is_counted_by_hand(command: Command, table: Tables) -> None:
    command("four.jsonl", "--ranker", "length", "--ranker", "annotations", "--out", "o")
    run = read_run(Path("o/length"))
    # Of one right and one wrong completion of the greatest length, a half is right.
    assert run.measured["top_1"].scores.tolist() == [1, 0, 0, 0.5, 1]
    # 3 of 3; 2 of 3; 0 of 3; 2.5 of 3; of the four of Ties x4>x3, x4>x1, x2>x1.
    assert run.measured["pairwise_accuracy"].scores == pytest.approx([1, 2 / 3, 0, 2.5 / 3, 3 / 4])
    assert run.measured["top_1"].categories == ["Math", "Math", "Focus", "Focus", "Ties"]
    subsets = table("o")["length"]["subsets"]
    assert {name: each["value"] for name, each in subsets.items()} == {
        "Math": pytest.approx(100 * 5 / 6), "Focus": pytest.approx(100 * 2.5 / 6), "Ties": 75,
    }  # fmt: skip
    assert any("annotations are the reference itself" in note for note in table("o")["annotations"]["notes"])


def test_rankers_are_compared_by_paired_differences(command: Command) -> None:
    command("sets", "--ranker", "random", "--ranker", "length", "--out", "o")
    result = CliRunner().invoke(app, ["eval", "compare", "o/random", "o/length", "--out", "c"])
    assert result.exit_code == 0, result.output
    found = json.loads(Path("c/compare.json").read_text())
    (pair,) = found["metrics"][0]["pairs"]
    scores = [read_run(Path("o", name)).measured["pairwise_accuracy"].scores for name in ("random", "length")]
    assert pair["value"] == pytest.approx(100 * (scores[0] - scores[1]).mean())
    assert pair["n"] == 30


@pytest.mark.full
def test_pages_show_the_table_and_what_the_ranker_chose(command: Command) -> None:
    command("four.jsonl", "--ranker", "length", "--ranker", "reward_model=rm", "--out", "o")
    whole = Page(Path("o/report.html").read_text()).text
    assert {"length", "reward_model", "By subset", "Calibration", "Math"} <= set(whole)
    assert any("None for length, whose scores are not log-odds" in text for text in whole)
    own = Page(Path("o/length/report.html").read_text()).text
    assert {"Largest losses", "the data (reference)", "Question 2?", "xxxx"} <= set(own)
    assert "Calibration" not in own
    assert "Calibration" in Page(Path("o/reward_model/report.html").read_text()).text


def test_scores_of_models_are_stored(
    command: Command, monkeypatch: pytest.MonkeyPatch, reward_model: Path
) -> None:
    monkeypatch.setattr("pairkit.evaluation.ranker.scoring.UNIT", 7)
    words = ("sets", "--ranker", "reward_model=rm", "--out", "o")
    command(*words)
    first = json.loads(Path("o/reward_model/results.json").read_text())
    stored = sorted(Path("o/reward_model/scored").glob("*.parquet"))
    assert len(stored) == 5
    # As after a kill in the fourth unit.
    for path in stored[3:]:
        path.unlink()
    scored = []
    load = load_reward_model

    def counting(recipe: Any) -> Any:
        ranker = load(recipe)
        scored.append(ranker)
        return ranker

    monkeypatch.setattr("pairkit.rankers.reward_model.ranker.load_reward_model", counting)
    command(*words)
    assert len(scored) == 1
    assert json.loads(Path("o/reward_model/results.json").read_text()) == first
    command(*words)
    assert len(scored) == 1
    command(*words, "rankers.reward_model.max_length=200")
    assert len(scored) == 2


def test_pairrm_has_the_probabilities_of_its_logits(command: Command, table: Tables) -> None:
    save_pairrm(Path("pairrm-hf"), "PairRM-hf")
    rows = [{"prompt": f"the {n}", "chosen": "a red dog", "rejected": f"a blue cat {n}"} for n in range(4)]
    jsonl(Path("pairs.jsonl"), *rows)
    command("pairs.jsonl", "--ranker", "pairrm=pairrm-hf", "--out", "o")
    ranker = load_pairrm(PairRMRecipe(model="pairrm-hf"))
    # The mean logit of both orders, as llm-blender's `compare` does.
    logits = []
    original = ranker.__class__._logits

    def recorded(self: Any, orders: Any) -> list[float]:
        values = original(self, orders)
        logits.extend((values[place] - values[place + 1]) / 2 for place in range(0, len(values), 2))
        return values

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ranker.__class__, "_logits", recorded)
        from pairkit.evaluation.ranker.data import Place, read_data

        ranker.score(read_data(Place("pairs.jsonl"), Path("o")).sets, no_progress)
    loss = np.mean(np.logaddexp(0, -np.array(logits)))
    assert metric(table("o")["pairrm"], "log_loss")["value"] == pytest.approx(loss, abs=1e-5)


def test_a_judge_is_measured_and_unread_verdicts_are_counted(
    command: Command, table: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(asked: Asked) -> str:
        return "I cannot say." if "Question 0?" in asked.question else fair(len)(asked)

    engine = ScriptedJudge(say)
    monkeypatch.setattr("pairkit.engines.pool.open_engine", lambda recipe, calls, name, account: engine)
    words = ("four.jsonl", "--ranker", "judge=J", "rankers.judge.protocol=round_robin", "--out", "o")
    output = command(*words)
    assert "1 unparsable_verdict" in output
    entry = table("o")["judge"]
    assert entry["sets_without_score"] == {"unparsable_verdict": 1}
    run = read_run(Path("o/judge"))
    # It knows the lengths, so that it is the length baseline but for the first set.
    assert run.measured["top_1"].scores[1:].tolist() == [0, 0, 0.5, 1]
    assert np.isnan(run.measured["top_1"].scores[0])
    assert run.missing["top_1"] == {run.measured["top_1"].prompt_ids[0]: "unparsable_verdict"}
    assert run.results["judge_statistics"]["order_bias"]["mean"] == pytest.approx(0.5)
    assert run.results["calibration"] == "none: its scores are not log-odds"
    asked = len(engine.asked)
    command(*words)
    assert len(engine.asked) == asked


def test_a_judge_that_no_verdict_is_read_of_is_an_error(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedJudge(lambda asked: "I cannot say.")
    monkeypatch.setattr("pairkit.engines.pool.open_engine", lambda recipe, calls, name, account: engine)
    message = command("four.jsonl", "--ranker", "judge=J", "--ranker", "length", "--out", "o", code=1)
    assert message.startswith("judge scored none of 5 sets; the first: unparsable_verdict: ")
    assert "the sets are in o/judge/quarantine.parquet" in message
    assert Path("o/length/results.json").is_file()


def test_a_verifier_checks_answers_in_the_metadata(command: Command, table: Tables) -> None:
    rows = [
        {"prompt": "1 + 1?", "chosen": "It is 2", "rejected": "It is 3", "result": "2"},
        {"prompt": "1 + 2?", "chosen": "It is 4", "rejected": "It is 3", "result": "3"},
        {"prompt": "1 + 3?", "chosen": "It is 4", "rejected": "It is 5"},
    ]
    jsonl(Path("sums.jsonl"), *rows)
    command("sums.jsonl", "--ranker", "verifier=number", "rankers.verifier.answer=result", "--out", "o")
    entry = table("o")["verifier"]
    assert metric(entry, "pairwise_accuracy")["value"] == 50
    assert entry["sets_without_score"] == {"no_answer": 1}


def test_named_scores_of_the_data_are_rankers(command: Command, table: Tables) -> None:
    def rated(text: str, rank: int, honesty: float) -> dict[str, Any]:
        return completion(text, rank, score=-float(rank), scores=[{"name": "honesty", "value": honesty}])

    rows = [
        ("a?", [rated("x", 1, 3), rated("y", 2, 2), rated("z", 3, 2)]),  # 2.5 of 3
        ("b?", [rated("x", 1, 1), rated("y", 2, 2)]),  # 0 of 1
    ]
    write_data(Path("rated"), candidate_sets(rows))
    words = ("--split", "train", "--ranker", "annotations", "--ranker", "honesty=annotations=honesty")
    command("rated", *words, "--out", "o")
    found = table("o")
    assert metric(found["annotations"], "pairwise_accuracy")["value"] == 100
    assert metric(found["honesty"], "pairwise_accuracy_over_pairs")["value"] == pytest.approx(100 * 2.5 / 4)
    message = command("rated", *words[:2], "--ranker", "annotations=honest", "--out", "p", code=1)
    assert message == "unknown score of the completions 'honest'; did you mean 'honesty'? Known: honesty"


def test_margins_of_real_ratings_are_counted(command: Command, table: Tables, real_data: Path) -> None:
    path = real_data / "ultrafeedback_binarized_trl_flat.jsonl.gz"
    words = ("--source", "ultrafeedback_binarized", "--limit", "200", "--ranker", "length", "margins=[2]")
    command(str(path), *words, "--out", "o")
    with gzip.open(path, "rt") as file:
        rows = [json.loads(next(file)) for _ in range(200)]
    points: dict[bool, list[float]] = {True: [], False: []}
    for row in rows:
        margin = row["metadata"]["score_chosen"] - row["metadata"]["score_rejected"]
        if margin > 0:
            longer = np.sign(len(row["chosen"].strip()) - len(row["rejected"].strip()))
            points[margin < 2].append((longer + 1) / 2)
    found = table("o")["length"]
    for name, small in (("below 2", True), ("2 and more", False)):
        entry = metric(found, f"pairwise_accuracy_by_margin/{name}")
        assert entry["n"] == len(points[small]) > 20
        assert entry["value"] == pytest.approx(100 * np.mean(points[small]))


def test_the_length_baseline_on_real_pairs_is_counted(command: Command, real_data: Path) -> None:
    path = real_data / "hh_rlhf_helpful_base_test.jsonl.gz"
    command(str(path), "--ranker", "length", "--limit", "100", "--out", "o")
    with gzip.open(path, "rt") as file:
        rows = [json.loads(next(file)) for _ in range(100)]
    points = []
    for row in rows:
        # What both dialogues begin with, up to the last turn of the assistant.
        chosen, rejected = (re.split(r"\n\nAssistant:", row[name]) for name in ("chosen", "rejected"))
        if chosen[:-1] == rejected[:-1] and chosen[-1] != rejected[-1]:
            long, short = len(chosen[-1].strip()), len(rejected[-1].strip())
            points.append((np.sign(long - short) + 1) / 2)
    run = read_run(Path("o/length"))
    assert run.measured["pairwise_accuracy"].weights.sum() == len(points)
    assert run.measured["pairwise_accuracy_over_pairs"].weights is not None
    scores, weights = (
        run.measured["pairwise_accuracy_over_pairs"].scores,
        run.measured["pairwise_accuracy_over_pairs"].weights,
    )
    assert (scores * weights).sum() == pytest.approx(sum(points))


def test_a_dry_run_prints_the_calls_and_writes_nothing(command: Command) -> None:
    rankers = ("--ranker", "judge=J", "rankers.judge.engine=openai", "--ranker", "reward_model=rm")
    plan = yaml.safe_load(command("four.jsonl", *rankers, "--out", "o", "--dry-run"))
    assert (plan["questions"], plan["sets"], plan["pairs"]) == (5, 5, 16)
    # K - 1 comparisons in two orders.
    assert plan["steps"]["judge"]["calls_to_make"] == 5 * 3 * 2
    assert plan["passes_of_models"] == {"reward_model": 20}
    assert not Path("o").exists()


@pytest.mark.full
@pytest.mark.parametrize(
    "protocol", some(lambda protocol: protocol == "iterative", ["iterative", "round_robin"])
)
def test_a_dry_run_counts_what_a_judge_was_asked_apart(
    protocol: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same sets in the same order, so that stored verdicts decide which texts meet next."""
    engine = ScriptedJudge(fair(len))
    monkeypatch.setattr("pairkit.engines.pool.open_engine", lambda recipe, calls, name, account: engine)
    known = Unloaded(engine.identity, engine.calls)
    monkeypatch.setattr("pairkit.engines.rehearsal.unloaded", lambda recipe: known)
    words = ("four.jsonl", "--ranker", "judge=J", f"rankers.judge.protocol={protocol}", "--out", "o")
    command(*words, "--limit", "3")
    asked = len(engine.asked)
    step = yaml.safe_load(command(*words, "--dry-run"))["steps"]["judge"]
    assert step["calls_stored"] == asked
    assert len(engine.asked) == asked
    command(*words)
    assert len(engine.asked) - asked == step["calls_to_make"] > 0
    step = yaml.safe_load(command(*words, "--dry-run"))["steps"]["judge"]
    assert (step["calls_to_make"], step["calls_stored"]) == (0, len(engine.asked))
