"""How far the policy has moved: entropy, divergence from the first policy, what draws choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from torch import nn

from pairkit.models.chat.settings import uses_own
from pairkit.models.load import load_model, load_tokenizer
from pairkit.training.distributed.processes import current_processes
from pairkit.training.logprobs.forward import score_all
from pairkit.training.logprobs.score_sets import score_sets
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.recipe import TrainRecipe
from pairkit.training.tokens.token_set import TokenSet
from pairkit.training.tokens.tokenize import tokenize

Values = npt.NDArray[np.float64]


def entropy_and_divergence(
    policy: str, start: str, samples: pa.Table, recipe: TrainRecipe
) -> dict[str, float | None]:
    """Measure the policy on what it sampled at temperature 1.

    `entropy` is the mean over all tokens of the entropy of the next token; `kl` is KL(policy || start) of a
    completion, `kl_per_token` the same per token; all in nats. Both take the whole distribution at each
    token of a sample, which makes them far more exact than the log-probs of the samples alone. None without
    a sample. Where they are one model the divergence is 0; it is None where training has added tokens,
    because distributions over two vocabularies do not compare.
    """
    # That of the policy, because training may have added tokens.
    tokenizer = load_tokenizer(
        policy,
        revision=None,
        trust_remote_code=recipe.trust_remote_code,
        texts=iter(()),
        needs_template=uses_own(recipe.template),
    )
    tokens = tokenize(
        [samples],
        tokenizer,
        max_length=recipe.max_length,
        max_prompt_length=recipe.prompt_limit,
        wanted="all",
        advance=lambda number: None,
        template=recipe.template,
    )
    if not tokens.sets:
        return {"entropy": None, "kl": None, "kl_per_token": None}
    lengths = np.array([column.length for each in tokens.sets for column in each.columns])
    writer = _load(policy, recipe)
    entropy = _per_completion(writer, None, tokens.sets, recipe) * lengths  # a mean over the tokens of each
    total = int(lengths.sum())
    measures: dict[str, float | None] = {"entropy": float(entropy.sum() / total)}
    if policy == start:
        return measures | {"kl": 0.0, "kl_per_token": 0.0}
    first = _load(start, recipe)
    # Padded vocabularies have as many rows before and after.
    if recipe.tokens or _vocabulary(first) != _vocabulary(writer):
        return measures | {"kl": None, "kl_per_token": None}
    divergence = _per_completion(first, writer, tokens.sets, recipe)
    return measures | {"kl": float(divergence.mean()), "kl_per_token": float(divergence.sum() / total)}


def effective_candidates(
    policy: str, reference: str, sets: pa.Table, beta: float, recipe: TrainRecipe
) -> float | None:
    """Return how many negatives a set's draws choose from: exp of the entropy of the kernel's weights.

    The weights are those of MC-PO's kernel, exp(beta * log(policy / reference)) over the completions below
    the chosen one, normalized per set; the mean over sets. 1: the draw always takes the same one. None
    without a set.
    """
    options: dict[str, Any] = {
        "count": sets.num_rows,
        "dtype": recipe.dtype,
        "max_length": recipe.max_length,
        "tokens_per_micro_batch": recipe.tokens_per_micro_batch,
        "trust_remote_code": recipe.trust_remote_code,
        "template": recipe.template,
    }
    # The tokenizer of the policy for both, because that of a first model may lack what training added.
    first = score_sets(policy, [sets], **options)
    revision = recipe.revision_of(reference)
    # With rows for tokens that training has added, as when it was the reference there.
    second = score_sets(
        reference,
        [sets],
        tokenizer=policy,
        revision=revision,
        tokens=recipe.tokens,
        seed=recipe.seed,
        **options,
    )
    frame = pl.DataFrame(
        {
            "set": range(sets.num_rows),
            "policy": pl.Series(first["logps"]),
            "reference": pl.Series(second["logps"]),
        }
    )
    ranks = [[each["rank"] for each in row] for row in sets["completions"].to_pylist()]
    frame = frame.with_columns(rank=pl.Series(ranks, dtype=pl.List(pl.Int64))).drop_nulls("policy")
    weights = frame.explode("policy", "reference", "rank").filter(pl.col("rank").fill_null(2) > 1)
    weights = weights.with_columns(
        logit=beta * (pl.col("policy").cast(pl.Float64) - pl.col("reference").cast(pl.Float64))
    )
    weights = weights.with_columns(weight=(pl.col("logit") - pl.col("logit").max().over("set")).exp())
    share = pl.col("weight") / pl.col("weight").sum().over("set")
    entropies = (
        weights.with_columns(share=share).group_by("set", maintain_order=True).agg(pl.col("share").entropy())
    )
    return entropies.select(pl.col("share").exp().mean()).item()  # type: ignore[no-any-return]


def _per_completion(
    model: nn.Module, live: nn.Module | None, sets: Sequence[TokenSet], recipe: TrainRecipe
) -> Values:
    """Return one number per completion: KL(live || model), or without `live` the entropy of `model`."""
    work = [SetSelection.all(tokens) for tokens in sets]
    values = [np.zeros(len(item.columns)) for item in work]
    want = frozenset({"entropy" if live is None else "token_kl"})
    for rows, scores in score_all(model, work, recipe.tokens_per_micro_batch, want=want, live=live):
        measure = scores.entropy if live is None else scores.policy.token_kl
        assert measure is not None
        for (position, part), numbers in zip(rows, measure.tolist(), strict=True):
            values[position][list(part)] = numbers[: len(part)]  # the rest of a row is padding
    return np.concatenate(values)


def _vocabulary(model: Any) -> int:
    return len(model.get_output_embeddings().weight)


def _load(name: str, recipe: TrainRecipe) -> nn.Module:
    model = load_model(
        name,
        revision=recipe.revision_of(name),
        dtype=recipe.dtype,
        attention=recipe.attention,
        trust_remote_code=recipe.trust_remote_code,
        vocabulary=None,
        seed=recipe.seed,
    )
    return model.to(current_processes().device).eval()
