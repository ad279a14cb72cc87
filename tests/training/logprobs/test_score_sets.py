"""`pairkit.score`: the log-prob of every completion, aligned with the sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from support.tiny import candidate_sets, completion, random_sets
from transformers import AutoModelForCausalLM, AutoTokenizer

import pairkit
from pairkit.errors import InputError, ModelError
from pairkit.models.chat.render import DEFAULT_TEMPLATE


def expected(model: Path, sets: pa.Table) -> list[list[float]]:
    """Log-probs of completion and end of turn by transformers alone, one text per pass."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = DEFAULT_TEMPLATE
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    sums = []
    for row in sets.to_pylist():
        start = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
        sums.append([])
        for item in row["completions"]:
            answer = {"role": "assistant", "content": item["text"]}
            ids = tokenizer.apply_chat_template([*row["prompt"], answer], return_dict=False)
            ids = ids[: len(ids) - ids[::-1].index(tokenizer.eos_token_id)]
            assert ids[: len(start)] == start
            with torch.no_grad():
                logits = network(torch.tensor([ids])).logits[0].log_softmax(-1)
            sums[-1].append(sum(logits[i - 1, ids[i]].item() for i in range(len(start), len(ids))))
    return sums


@pytest.mark.parametrize("budget", [40, 8192])
def test_log_probs_are_those_of_transformers(model: Path, budget: int):
    sets = random_sets(6)  # ranked ones, and noise
    scores = pairkit.score(model, sets, tokens_per_micro_batch=budget)
    assert scores["set_id"] == sets["set_id"]
    assert scores["reason"].null_count == 6
    for row, sums, lengths in zip(
        scores["logps"].to_pylist(), expected(model, sets), scores["tokens"].to_pylist(), strict=True
    ):
        assert row == pytest.approx(sums, abs=1e-4)
        assert len(lengths) == len(sums)
        assert min(lengths) > 1  # a token at least, and the end of the turn


def test_ties_unranked_and_single_completions_have_log_probs_too(model: Path):
    sets = candidate_sets(
        [
            ("a tie", [completion("cat", 1), completion("dog", 1)]),
            ("unranked", [completion("cat"), completion("dog"), completion("house")]),
            ("one", [completion("cat", finish_reason="length")]),
            ("noise", [completion("tree", origin="noise")]),
        ]
    )
    scores = pairkit.score(model, sets)
    assert [len(row) for row in scores["logps"].to_pylist()] == [2, 3, 1, 1]
    tie, _, cut, _ = scores["tokens"].to_pylist()
    assert cut[0] == tie[0] - 1  # what was cut off does not end its turn


def test_a_set_without_score_has_a_reason_and_keeps_its_row(model: Path):
    sets = candidate_sets(
        [
            ("first", [completion("cat", 1)]),
            ("none", []),
            ([{"role": "user", "content": "last"}], [completion("cat dog", 1)]),
        ]
    )
    scores = pairkit.score(model, sets)
    assert scores["reason"].to_pylist() == [None, "no_completion", None]
    assert [row and len(row) for row in scores["logps"].to_pylist()] == [1, None, 1]
    assert scores.slice(2).to_pylist() == pairkit.score(model, sets.slice(2)).to_pylist()


def test_a_dataset_by_folder_split_and_limit(data: Path, model: Path):
    whole = pairkit.score(str(model), data, split="test")
    assert whole.num_rows == 8
    assert pairkit.score(model, pairkit.load(data), split="test", limit=3).equals(whole.slice(0, 3))
    for row in pairkit.score(model, data, split="test", limit=3, max_length=16)["tokens"].to_pylist():
        assert max(row) <= 16 - 1
    with pytest.raises(InputError, match="no split 'dev'; it has: test, train"):
        pairkit.score(model, data, split="dev")
    with pytest.raises(ModelError, match="cannot be loaded: no such file or directory"):
        pairkit.score("./nowhere", data)
    assert not np.isnan(np.concatenate(whole["logps"].to_pylist())).any()
