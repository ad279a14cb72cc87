"""The line that a segment leaves, against plain computations on what was sampled."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support import online as runs
from support.tiny import candidate_sets, completion
from transformers import AutoModelForCausalLM, AutoTokenizer

from pairkit.dataset import reader
from pairkit.online import drift, samples, statistics
from pairkit.online.run import online
from pairkit.training.recipe import TrainRecipe


@pytest.fixture(scope="module")
def out(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments, of which mining leaves one negative per set."""
    out = tmp_path_factory.mktemp("online") / "out"
    fields = {"build": {"mine": {"keep_negatives": 1}}, "train": {"optimizer": {"learning_rate": 2e-2}}}
    online(runs.recipe(model, segments=2, **fields), out)
    return out


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "segments.jsonl").read_text().splitlines()]


def sampled(out: Path, number: int) -> list[dict[str, Any]]:
    return samples.read(out / f"segment-{number}" / "data").to_pylist()


def scores(out: Path, number: int) -> list[list[float]]:
    """Of each prompt's samples, computed again."""
    return [
        [runs.luck(each["text"], json.loads(row["metadata"])) for each in row["completions"]]
        for row in sampled(out, number)
    ]


def test_all_that_was_sampled_is_read(out: Path) -> None:
    for number, line in enumerate(lines(out), start=1):
        rows = sampled(out, number)
        assert len(rows) == line["prompts"] == len({row["prompt_id"] for row in rows})
        assert [len(row["completions"]) for row in rows] == [3] * len(rows)
        for row in rows:
            assert sorted(each["sampling"]["temperature"] for each in row["completions"]) == [0, 1, 1]
        held = [
            row for table in reader.load(out / f"segment-{number}" / "data").tables("train")
            for row in table.to_pylist()
        ]  # fmt: skip
        # Otherwise there would be nothing to find again.
        assert sum(len(row["completions"]) for row in held) < 3 * len(held)


def test_tokens_are_counted_by_the_text_where_a_server_does_not_tell(model: Path) -> None:
    made = [
        completion("12", finish_reason="stop"),  # and the token that ends it
        completion("1234", finish_reason="length"),
        completion("3", finish_reason="length", reasoning_content="1+2="),
        completion("1+1", metadata='{"tokens": 7}'),
    ]
    batch = candidate_sets([("1", made)]).to_batches()[0]
    counted = statistics._tokens(batch, samples.frame_of(batch), runs.recipe(model), str(model))
    assert counted == (3 + 4 + 5 + 7) / 4
    none = batch.slice(0, 0)
    assert statistics._tokens(none, samples.frame_of(none), runs.recipe(model), str(model)) is None


def test_scores_and_shares(out: Path) -> None:
    first, second = lines(out)
    for number, line in ((1, first), (2, second)):
        found = scores(out, number)
        expected = {
            "best": sum(map(max, found)) / len(found),
            "mean": sum(sum(each) / 3 for each in found) / len(found),
            "worst": sum(map(min, found)) / len(found),
        }
        assert line["score"] == pytest.approx(expected)
        assert line["usable_share"] == (line["train_sets"] + line["test_sets"]) / line["prompts"]
    new, old = ([score for each in scores(out, number) for score in each] for number in (2, 1))
    wins = [(a > b) + 0.5 * (a == b) for a, b in product(new, old)]
    assert (first["win_share"], second["win_share"]) == (None, pytest.approx(sum(wins) / len(wins)))


@cache
def loaded(model: Path) -> tuple[Any, Any]:
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    return AutoTokenizer.from_pretrained(model), network


def ids_of(model: Path, completion: dict[str, Any]) -> list[int]:
    """The tokens that were sampled; one that was cut has no end of its turn."""
    tokenizer, _ = loaded(model)
    end = [] if completion["finish_reason"] == "length" else [tokenizer.eos_token_id]
    return (
        completion["token_ids"] or tokenizer(completion["text"], add_special_tokens=False)["input_ids"] + end
    )


def logps(model: Path, row: dict[str, Any], completion: dict[str, Any]) -> torch.Tensor:
    """Of each token of a completion, by a pass over this text alone: `[T, V]`."""
    tokenizer, network = loaded(model)
    turns = [{"role": "user", "content": row["prompt"][0]["content"]}]
    start = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    whole = start + ids_of(model, completion)
    with torch.no_grad():
        every = network(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return every[len(start) - 1 : -1]


def test_entropy_and_divergence_are_those_of_separate_passes(out: Path, model: Path) -> None:
    policy = out / "segment-1" / "run" / "model"
    entropy, divergence, tokens, count = 0.0, 0.0, 0, 0
    for row in sampled(out, 2):
        for each in row["completions"]:
            if each["sampling"]["temperature"] != 1:
                continue
            mine, first = (logps(m, row, each) for m in (policy, model))
            entropy -= float((mine.exp() * mine).sum())
            divergence += float((mine.exp() * (mine - first)).sum())
            tokens, count = tokens + len(mine), count + 1
    line = lines(out)[1]
    assert line["entropy"] == pytest.approx(entropy / tokens, rel=1e-4)
    assert line["kl"] == pytest.approx(divergence / count, rel=1e-3)
    assert line["kl_per_token"] == pytest.approx(divergence / tokens, rel=1e-3)
    assert line["kl"] > 0.01  # the policy has moved
    assert lines(out)[0]["kl"] == 0


def test_effective_candidates_are_those_of_the_kernel(out: Path, model: Path) -> None:
    policy = out / "segment-1" / "run" / "model"
    recipe = runs.recipe(model)
    written = pa.Table.from_batches([samples.read(out / "segment-1" / "data")])
    expected = []
    for row in written.to_pylist():
        below = [each for each in row["completions"] if each["rank"] > 1]
        weights = []
        for each in below:
            ids = ids_of(model, each)
            sums = [float(logps(m, row, each)[range(len(ids)), ids].sum()) for m in (policy, model)]
            weights.append(math.exp(3 * (sums[0] - sums[1])))
        if weights:
            shares = [weight / sum(weights) for weight in weights]
            expected.append(math.exp(-sum(share * math.log(share) for share in shares)))
    found = drift.effective_candidates(str(policy), str(model), written, 3.0, recipe.train)
    assert found == pytest.approx(sum(expected) / len(expected), rel=1e-3)
    assert 1 < found < 2


def test_the_policy_is_measured_with_the_template_that_it_is_trained_with(
    out: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model without a template of its own, next to the same weights with one."""
    policy = out / "segment-1" / "run" / "model"
    written = pa.Table.from_batches([samples.read(out / "segment-1" / "data")])
    bare = [Path(shutil.copytree(folder, tmp_path / folder.parent.name)) for folder in (policy, model)]
    for folder in bare:
        shutil.move(folder / "chat_template.jinja", tmp_path / "template")
    own = runs.recipe(model).train
    given = runs.recipe(model, train={"template": {"file": str(tmp_path / "template")}}).train
    raw = runs.recipe(model, train={"template": "none"}).train

    def measured(models: Sequence[Path], train: TrainRecipe) -> list[Any]:
        names = [str(each) for each in models]
        drifted = drift.entropy_and_divergence(names[0], names[1], written, train)
        return [*drifted.values(), drift.effective_candidates(names[0], names[1], written, 3.0, train)]

    expected = measured((policy, model), own)
    assert measured(bare, given) == expected
    # Raw text needs no template, and uses none where there is one.
    assert measured(bare, raw) == measured((policy, model), raw)
    assert "no chat template" not in capsys.readouterr().err


def test_prompts_that_are_all_right_are_told_from_those_that_are_all_wrong(
    model: Path, tmp_path: Path
) -> None:
    fields = {
        "build": {"rank": {"check": "support.online:leveled"}},
        "segments": 1,
        "train": {"max_steps": 2},
    }
    recipe = runs.recipe(model, **fields)
    online(recipe, tmp_path / "out")
    (line,) = lines(tmp_path / "out")
    found = [
        [runs.leveled(each["text"], json.loads(row["metadata"])) for each in row["completions"]]
        for row in sampled(tmp_path / "out", 1)
    ]
    right, wrong = (sum(set(each) == {score} for each in found) for score in (1, 0))
    assert line["tied"] == {"right": right, "wrong": wrong}
    assert right
    assert wrong
    quarantine = pq.read_table(tmp_path / "out/segment-1/data/quarantine.parquet")
    told = [detail for detail in quarantine["detail"].to_pylist() if "completions left, of score " in detail]
    assert sum("of score 1" in detail for detail in told) <= right
    assert {detail.split("of score ")[1][0] for detail in told} == {"0", "1"}
    frame = samples.frame_of(samples.read(tmp_path / "out/segment-1/data"))
    assert statistics._tied(frame, SimpleNamespace(ranker="judge")) == {"equal": right + wrong}
    assert statistics._tied(frame.with_columns(score=None), SimpleNamespace(ranker="judge")) is None


def test_effective_candidates_are_against_the_reference_of_the_segment(whole: Path, model: Path) -> None:
    recipe = runs.recipe(model, reference="previous", train={"loss": {"name": "mcpo", "beta": 3.0}})
    first, second = (whole / f"segment-{number}" / "run" / "model" for number in (1, 2))
    sets = pa.concat_tables(reader.load(whole / "segment-2" / "data").tables("train"))
    line = statistics.of_segment(whole / "segment-2", whole / "segment-1", recipe, 2)
    before, start = (
        drift.effective_candidates(str(second), str(reference), sets, 3.0, recipe.train)
        for reference in (first, model)
    )
    assert line["effective_candidates"] == pytest.approx(before, rel=1e-6)
    assert before != pytest.approx(start, rel=1e-4)


def test_what_cannot_be_said_is_null(out: Path, model: Path) -> None:
    fields = {
        "build": {"rank": {"ranker": "judge", "model": str(model), "engine": "transformers"}},
        "train": {"loss": {"name": "dpo"}, "negatives": {"sampling": "random"}},
    }
    judged = runs.recipe(model, **fields)
    folder = out / "segment-2"
    line = statistics.of_segment(folder, out / "segment-1", judged, 2)
    # A judge that compares says nothing about other prompts, and random draws have no weights.
    assert (line["win_share"], line["effective_candidates"]) == (None, None)


def test_the_divergence_from_a_model_of_fewer_tokens_is_null(out: Path, model: Path, tmp_path: Path) -> None:
    _, network = loaded(model)
    larger = copy.deepcopy(network)
    larger.resize_token_embeddings(network.config.vocab_size + 8)
    larger.save_pretrained(tmp_path)
    written = pa.Table.from_batches([samples.read(out / "segment-1" / "data")])
    found = drift.entropy_and_divergence(str(model), str(tmp_path), written, runs.recipe(model).train)
    assert (found["kl"], found["kl_per_token"]) == (None, None)
    assert found["entropy"] > 0
