"""What a segment was: the line that it leaves in `segments.jsonl`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.dataset import reader
from pairkit.losses.building import build, sampler_settings
from pairkit.models.load import load_tokenizer
from pairkit.online import drift, samples
from pairkit.online.recipe import OnlineRecipe, policy_before
from pairkit.rankers.table import AnnotationsRank, name_of
from pairkit.sets import completions

# Prompts on which log-probs are measured: enough for two digits, and little next to what a segment trains on.
MEASURED = 256
# Rankers whose scores mean the same for every prompt. The others compare completions of one prompt.
ABSOLUTE = ("verifier", "reward_model")


def of_segment(folder: Path, before: Path | None, recipe: OnlineRecipe, number: int) -> dict[str, Any]:
    """Describe the segment in `folder`, after its training; `before` is the segment before it.

    `prompts`, `usable_share` (with a choice), `train_sets`, `test_sets`, `completions`, `quarantined` (by
    stage and reason); of all that the policy sampled, also what no set holds:

    tied           prompts whose samples all have one score: `right` (above 0) and `wrong` of a verifier,
                   `equal` of other rankers; null without scores.
    score          mean over prompts of the best, the mean and the worst score; null without scores.
    win_share      that a sample has a higher score than one of the segment before, ties half. Null in the
                   first segment, and where scores of two prompts do not compare.
    tokens         mean per sample, those of its text and thought where the engine does not
                   tell; `cut_share` ended at the limit.
    entropy, kl, kl_per_token   see `drift.entropy_and_divergence`; null without samples at temperature 1.
    effective_candidates        see `drift.effective_candidates`, of the policy that the segment trained and
                                its reference; null where draws do not depend on the policy.
    """
    data = folder / "data"
    counts = reader.load(data).manifest["counts"]
    train, test = counts["train"]["sets"], counts.get("test", {}).get("sets", 0)
    batch = samples.read(data)
    frame = samples.frame_of(batch)
    earlier = samples.frame_of(samples.read(before / "data")) if before else None
    policy = policy_before(folder.parent, recipe, number)
    return {
        "prompts": counts["source"]["rows"],
        "usable_share": (train + test) / counts["source"]["rows"],
        "train_sets": train,
        "test_sets": test,
        "completions": counts["generate"]["completions"],
        "quarantined": _quarantined(counts),
        "tied": _tied(frame, _order(recipe)),
        "score": _scores(frame),
        "win_share": _win_share(frame, earlier) if _comparable(_order(recipe)) else None,
        "tokens": _tokens(batch, frame, recipe, policy),
        "cut_share": frame["cut"].mean(),
        **_drift(batch, frame, recipe, policy),
        "effective_candidates": _effective(folder, recipe, number),
    }


def _quarantined(counts: dict[str, dict[str, int]]) -> dict[str, int]:
    return {
        f"{stage}.{name.removeprefix('quarantined_')}": number
        for stage, stage_counts in counts.items()
        for name, number in stage_counts.items()
        if name.startswith("quarantined_") and number
    }


def _scores(frame: pl.DataFrame) -> dict[str, float] | None:
    score = pl.col("score")
    of_prompts = (
        frame.drop_nulls("score")
        .group_by("set", maintain_order=True)
        .agg(best=score.max(), mean=score.mean(), worst=score.min())
        .drop("set")
    )
    return of_prompts.mean().row(0, named=True) if len(of_prompts) else None


def _tied(frame: pl.DataFrame, block: Any) -> dict[str, int] | None:
    """Count the prompts that show nothing because their samples are equally good, as right or as wrong."""
    score = pl.col("score")
    of_prompts = frame.drop_nulls("score").group_by("set").agg(least=score.min(), most=score.max())
    if not len(of_prompts):
        return None
    tied_scores = of_prompts.filter(pl.col("least") == pl.col("most"))["most"]
    if block.ranker != "verifier":
        return {"equal": len(tied_scores)}
    right = int((tied_scores > 0).sum())
    return {"right": right, "wrong": len(tied_scores) - right}


_PLACES = AnnotationsRank()


def _order(recipe: OnlineRecipe) -> Any:
    """Return the block of the ranker that orders the completions."""
    build = recipe.build
    blocks: dict[str, Any] = {name_of(each): each for each in build.rankings}
    # A panel orders by places, which compare the completions of a prompt only.
    return blocks.get(build.orders_by, _PLACES)


def _comparable(block: Any) -> bool:
    return block.ranker in ABSOLUTE or getattr(block, "protocol", None) == "pointwise"


def _win_share(frame: pl.DataFrame, earlier: pl.DataFrame | None) -> float | None:
    """The share of pairs (sample, earlier sample) that the former wins: Mann and Whitney's U."""
    if earlier is None:
        return None
    new, old = (each["score"].drop_nulls().sort().to_numpy() for each in (frame, earlier))
    if not len(new) or not len(old):
        return None
    below, not_above = (np.searchsorted(old, new, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(old)))


def _tokens(batch: pa.RecordBatch, frame: pl.DataFrame, recipe: OnlineRecipe, policy: str) -> float | None:
    """Return the mean number of sampled tokens, those that end a turn included; None without a sample."""
    tokens = frame["tokens"]
    if tokens.null_count():
        tokenizer = load_tokenizer(
            policy,
            revision=None,
            trust_remote_code=recipe.train.trust_remote_code,
            texts=iter(()),
            needs_template=False,
        )
        flat = completions(batch)
        thoughts, texts = (pc.struct_field(flat, name) for name in ("reasoning_content", "text"))
        written = pc.binary_join_element_wise(pc.fill_null(thoughts, ""), texts, "")
        ids = tokenizer(written.to_pylist(), add_special_tokens=False)["input_ids"]
        ended = ~frame["cut"].fill_null(False)
        tokens = tokens.fill_null(pl.Series(map(len, ids), dtype=pl.Int64) + ended.cast(pl.Int64))
    return tokens.mean()  # type: ignore[return-value]


def _drift(
    batch: pa.RecordBatch, frame: pl.DataFrame, recipe: OnlineRecipe, policy: str
) -> dict[str, float | None]:
    plain = frame.filter(pl.col("plain"))
    sets = plain["set"].unique().sort()
    plain = plain.filter(pl.col("set").is_in(_some(sets).implode()))
    subset = samples.only(batch, plain)
    return drift.entropy_and_divergence(policy, recipe.model, subset, recipe.train)


def _effective(folder: Path, recipe: OnlineRecipe, number: int) -> float | None:
    loss = build(recipe.train.loss_name, **recipe.train.loss_parameters)
    rejected = recipe.build.mine.rejected
    if sampler_settings(loss, recipe.train.negatives, rejected)["sampling"] != "mc":
        return None
    table = pa.concat_tables(reader.load(folder / "data").tables("train"))
    sets = table.take(_some(pl.Series(range(table.num_rows))).to_arrow())
    out = folder.parent
    reference = recipe.train.reference or recipe.model
    if recipe.reference == "previous":
        reference = policy_before(out, recipe, number)
    return drift.effective_candidates(
        policy_before(out, recipe, number + 1), reference, sets, loss.beta, recipe.train
    )


def _some(of: pl.Series) -> pl.Series:
    """At most `MEASURED` of them, evenly spread."""
    return of.gather(np.unique(np.linspace(0, len(of) - 1, min(len(of), MEASURED)).astype(int)))
