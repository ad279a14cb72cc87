"""The evaluation of scripted judges on real labels."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from support.judges import Asked, ScriptedJudge, fair, says
from support.labeled import jsonl, row

from pairkit.engines.generate import no_progress
from pairkit.evaluation.judge.labels import Pairs, majority, read_pairs
from pairkit.evaluation.judge.run import EvalJudgeRecipe, count_questions, evaluate_judge


def knows(pairs: Pairs, *, longest: float = 0.0) -> ScriptedJudge:
    """Make a judge with the first annotator's opinion that prefers the longer text at rate `longest`."""
    points = {
        (first.strip(), second.strip()): label[0]
        for first, second, label in zip(pairs.first, pairs.second, pairs.labels, strict=True)
    }

    def say(asked: Asked) -> str:
        one, other = asked.texts
        draw = np.random.default_rng(crc32("".join(sorted(asked.texts)).encode())).random()
        if draw < longest and len(one) != len(other):
            return says(asked, "A" if len(one) > len(other) else "B")
        first = points.get((one.strip(), other.strip()))
        label = first if first is not None else 1 - points.get((other.strip(), one.strip()), 0.5)
        return says(asked, {1.0: "A", 0.0: "B"}.get(label, "tie"))

    return ScriptedJudge(say)


def test_a_judge_with_one_annotators_opinion_agrees_as_often(real_data: Path) -> None:
    """It agrees with the majority as often as that annotator does, and never flips."""
    pairs = read_pairs(real_data / "pandalm_testset_v1.jsonl.gz")
    engine = knows(pairs)
    done = evaluate_judge(EvalJudgeRecipe(model="m"), pairs, engine.ask, seed=0, advance=no_progress)
    assert len(engine.asked) == count_questions(EvalJudgeRecipe(model="m"), pairs)
    found = {one.name: one for one in done.overall}
    people = majority(pairs.labels)
    known = ~np.isnan(people) & ~np.isnan(done.verdicts)
    same = (done.verdicts == people)[known].mean()
    assert found["agreement"].value.mean == pytest.approx(same)
    assert found["agreement"].value.low < same < found["agreement"].value.high
    rates = {rate.name: rate for rate in done.judge}
    assert rates["flip_rate"].number == 0
    assert rates["order_bias"].share.mean == 0.5
    assert rates["parse_failure_rate"].number == 0
    copies = [first == second for first, second in zip(pairs.first, pairs.second, strict=True)]
    assert (done.verdicts[copies] == 0.5).all()


@pytest.mark.full
def test_length_bias_is_detected(real_data: Path) -> None:
    pairs = read_pairs(real_data / "llmbar.jsonl.gz")
    fair_one = evaluate_judge(
        EvalJudgeRecipe(model="m"), pairs, knows(pairs).ask, seed=0, advance=no_progress
    )
    assert all(one.value.mean == 1 for one in fair_one.overall)
    biased = evaluate_judge(
        EvalJudgeRecipe(model="m"), pairs, knows(pairs, longest=0.6).ask, seed=0, advance=no_progress
    )
    found = {one.name: one.value for one in biased.by_length}
    assert found["preferred_shorter"].high < found["preferred_longer"].low
    assert found["preferred_longer"].mean == 1
    assert found["judge_prefers_longer"].mean > found["people_prefer_longer"].mean + 0.1
    assert {one.name for one in biased.by_subset} == set(filter(None, pairs.subsets))


def test_lengths_are_those_of_the_texts_shown(tmp_path: Path) -> None:
    """A thought that the judge is not shown makes no answer longer."""
    thought = f"<think>{'hm ' * 50}</think>"
    rows = [row(number, first=f"{thought}short", second="the longer one") for number in range(3)]
    pairs = read_pairs(jsonl(tmp_path / "own.jsonl", *rows))
    for thoughts, longer in (("strip", 0), ("show", 1)):
        recipe = EvalJudgeRecipe(model="m", thoughts=thoughts)  # type: ignore[arg-type]
        engine = ScriptedJudge(lambda asked: says(asked, "A" if "short" in asked.texts[0] else "B"))
        done = evaluate_judge(recipe, pairs, engine.ask, seed=0, advance=no_progress)
        assert {one.name: one.value.mean for one in done.by_length}["judge_prefers_longer"] == longer


@pytest.mark.parametrize(("protocol", "asked"), [("pointwise", 16), ("listwise", 4), ("round_robin", 4)])
def test_other_protocols_give_verdicts(tmp_path: Path, protocol: str, asked: int) -> None:
    path = jsonl(tmp_path / "own.jsonl", row(1, first="longer"), row(2, second="long"))
    pairs = read_pairs(path)
    recipe = EvalJudgeRecipe(model="m", protocol=protocol)  # type: ignore[arg-type]
    engine = ScriptedJudge(fair(len))
    done = evaluate_judge(recipe, pairs, engine.ask, seed=0, advance=no_progress)
    assert done.verdicts.tolist() == [1, 0]
    assert len(engine.asked) == count_questions(recipe, pairs) == asked
