"""Tiny reward models, and their rewards one conversation at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from support.architectures import ARCHITECTURES
from support.tiny import WORDS, candidate_sets, completion
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from pairkit.rankers.reward_model.ranker import RewardModelRecipe, load_reward_model
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.record import recording
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split


def tiny_reward(architecture: str = "Llama", seed: int = 0) -> nn.Module:
    """Make a reward model of random weights, large enough for rewards of a few units."""
    config = getattr(transformers, f"{architecture.partition('-')[0]}Config")(**ARCHITECTURES[architecture])
    config.num_labels, config.pad_token_id = 1, 0
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
            elif name.endswith("bias"):
                parameter.normal_()
    return model.eval()  # type: ignore[no-any-return]


def naive_rewards(model: nn.Module, work: list[SetSelection]) -> list[Tensor]:
    """Return what the model itself returns for each conversation alone, per set `[K]`."""
    rewards = []
    for item in work:
        texts = [
            torch.from_numpy(np.concatenate([item.tokens.prompt, ids])).long() for ids in item.completions
        ]
        rewards.append(torch.stack([model(input_ids=ids[None]).logits[0, 0] for ids in texts]))
    return rewards


def tied_sets(count: int, seed: int = 0) -> pa.Table:
    """Make sets of four scored completions, two of them tied; the more often "red" is in one, the better."""
    random = np.random.default_rng(seed)
    others = [word for word in WORDS if word != "red"]

    def text(red: int) -> str:
        words = [*random.choice(others, random.integers(1, 8)), *["red"] * red]
        return " ".join(random.permutation(words))

    rows: list[Any] = []
    for index in range(count):
        texts = [(text(red), rank, float(red)) for red, rank in ((3, 1), (2, 2), (2, 2), (0, 4))]
        rows.append((f"{index} {text(1)}", [completion(t, rank, score=score) for t, rank, score in texts]))
    return candidate_sets(rows)


def ranked_by(folder: Path, table: pa.Table, **fields: Any) -> list[list[float]]:
    """Return the scores that the ranker `reward_model` gives, per set."""
    ranker = load_reward_model(RewardModelRecipe(model=str(folder), dtype="float32", **fields))
    scored = ranker.score(table, lambda *_, **__: None)
    assert scored.sets.num_rows == table.num_rows
    return [[one["score"] for one in row] for row in scored.sets["completions"].to_pylist()]


@contextmanager
def evaluated() -> Iterator[list[list[list[float]]]]:
    """Yield what is filled with the rewards per held-out set of each evaluation of a run."""
    found: list[list[list[float]]] = []

    def evaluate(step_model: StepModel, split: Split) -> dict[str, float]:
        work = [SetSelection.all(item) for item in split.sets]
        policy = step_model.scoring(frozenset())(work).policy
        found.append([row[mask].tolist() for row, mask in zip(policy.sum, policy.mask, strict=True)])
        return real(step_model, split)

    real = recording.evaluate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "evaluate", evaluate)
        yield found
