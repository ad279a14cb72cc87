"""The ranker `pairrm`: scores from comparisons by PairRM, which reads two completions side by side.

It reads the checkpoints llm-blender/PairRM and llm-blender/PairRM-hf without llm-blender itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pairkit.errors import ModelError
from pairkit.models.inference import Dtype, Ids, batches_by_length, pad_right, resolve_precision
from pairkit.progress import Advance
from pairkit.rankers.named import with_score
from pairkit.rankers.pairrm.contests import Contest, Share, contest_of, score_contests
from pairkit.rankers.pairrm.schedules import Pair, Pairs
from pairkit.rankers.pairrm.text import FIRST, PREFIX_AT, SECOND, Encoder
from pairkit.rankers.shown import shown_texts, thought_counts
from pairkit.rankers.thoughts import Thoughts
from pairkit.recipes import Strict
from pairkit.schema import SETS, StageResult
from pairkit.sets import assemble, batches, completions

if TYPE_CHECKING:
    from pairkit.rankers.pairrm.model import PairRM

NAME = "pairrm"


class PairRMRecipe(Strict):
    """The settings of the ranker `pairrm`."""

    model: str = "llm-blender/PairRM-hf"  # a hub id or a directory, in one of the two layouts
    revision: str | None = None
    pairs: Pairs = "all"
    # Tokens per prompt and per completion; None: the limits of the checkpoint, in PairRM 1224 and 412.
    source_max_tokens: int | None = Field(default=None, ge=4)
    candidate_max_tokens: int | None = Field(default=None, ge=4)
    batch_tokens: int = Field(default=8192, ge=1)  # per batch, padding included
    dtype: Dtype = "auto"
    thoughts: Thoughts = "strip"  # show: the model reads the thought as well


@dataclass(frozen=True)
class PairRMRanker:
    """A loaded PairRM; `checkpoint` is its name in errors, `batch_tokens` limits one batch."""

    model: PairRM
    encoder: Encoder
    checkpoint: str
    pairs: Pairs = "all"
    batch_tokens: int = 8192
    thoughts: Thoughts = "strip"
    name: str = NAME

    def score(self, sets: pa.Table, advance: Advance, /) -> StageResult:
        """See `Ranker`. Scores are relative: with `all`, those of a set add up to 0.

        A completion that is alone in its set is compared with none; its score follows from that. Counts:
        `completions` scored; `comparisons`, which are passes of the model, two per pair; `identical`
        completions, which share the comparisons of an equal one; `truncated` completions; sets in which a
        completion is `alone`; and those of `shown.thought_counts`. Raises `ModelError` if the model returns
        NaN or infinity.
        """
        counts = Counter({"completions": 0, "comparisons": 0, "identical": 0, "truncated": 0, "alone": 0})
        scored_batches = [self._batch(batch, counts, advance) for batch in batches(sets)]
        return StageResult(pa.Table.from_batches(scored_batches, SETS), counts=dict(counts))

    def _batch(self, batch: pa.RecordBatch, counts: Counter[str], advance: Advance) -> pa.RecordBatch:
        flat = completions(batch)
        owners = pc.list_parent_indices(batch["completions"]).to_numpy()
        scorable = np.flatnonzero(pc.not_equal(pc.struct_field(flat, "origin"), "noise"))
        # Lists per set, because the tokenizer takes texts and not Arrow arrays.
        texts: list[list[str]] = [[] for _ in range(batch.num_rows)]
        shown = shown_texts(flat.take(pa.array(scorable)), self.thoughts)
        for owner, text in zip(owners[scorable].tolist(), shown, strict=True):
            texts[owner].append(text)
        encodings = self.encoder.sets(batch["prompt"].to_pylist(), texts)
        contests = list(map(contest_of, batch["set_id"].to_pylist(), encodings))
        share = Share(advance, len(flat), contests, self.pairs)

        def compare(pairs: Sequence[tuple[Contest, Pair]]) -> list[float]:
            counts["comparisons"] += 2 * len(pairs)
            return self._margins(pairs, share)

        scores = score_contests(contests, self.pairs, compare)
        share.end()
        # One entry per completion, noise included; `scorable` has the indices of the others.
        values = np.full(len(flat), np.nan)
        values[scorable] = [
            numbers[member]
            for contest, numbers in zip(contests, scores, strict=True)
            for member in contest.members
        ]
        counts["completions"] += len(scorable)
        counts.update(thought_counts(flat, self.thoughts))
        counts["identical"] += sum(len(contest.members) - len(contest.distinct) for contest in contests)
        counts["truncated"] += sum(set_.truncated for set_ in encodings)
        counts["alone"] += sum(len(contest.members) == 1 for contest in contests)
        score = pa.array(values, pa.float64(), from_pandas=True)  # the NaN of noise becomes null
        return assemble(batch, with_score(flat, self.name, score), owners, np.arange(len(flat)))

    def _margins(self, pairs: Sequence[tuple[Contest, Pair]], share: Share) -> list[float]:
        """Compute L[i, j] - L[j, i] of each pair, with both orders in one batch."""
        margins = [0.0] * len(pairs)
        lengths = [
            len(contest.source) + len(contest.distinct[i]) + len(contest.distinct[j])
            for contest, (i, j) in pairs
        ]
        # Half of the tokens, because a batch holds both orders of its pairs.
        for rows in batches_by_length(lengths, self.batch_tokens // 2):
            orders = [
                (pairs[row][0], order) for row in rows for order in (pairs[row][1], pairs[row][1][::-1])
            ]
            logits = self._logits(orders)
            # Two logits per pair, one after the other: both orders of it.
            for row, (forth, back) in zip(rows, zip(logits[::2], logits[1::2], strict=True), strict=True):
                margins[row] = forth - back
            share.compared(len(rows))
        return margins

    def _logits(self, orders: Sequence[tuple[Contest, Pair]]) -> list[float]:
        """Compute the model's logit of each ordered pair: above 0 if it prefers the first completion."""
        import torch

        inputs, prefixes = zip(*(self._input(*order) for order in orders), strict=True)
        device = next(self.model.parameters()).device
        ids, mask = pad_right(inputs, self.encoder.padding)
        with torch.inference_mode():
            logits = self.model(ids.to(device), mask.to(device), torch.tensor(prefixes, device=device))
        values: list[float] = logits.tolist()
        for (contest, _), value in zip(orders, values, strict=True):
            if not math.isfinite(value):
                raise ModelError(
                    f"{self.checkpoint!r} returned {value} for a comparison in set {contest.set_id}: its "
                    "weights are corrupt or too large for this precision; try dtype=float32"
                )
        return values

    def _input(self, contest: Contest, pair: Pair) -> tuple[Ids, list[int]]:
        """Return the token ids of an ordered pair, and the positions of its three prefixes."""
        parts = [contest.source, *(contest.distinct[i] for i in pair)]
        starts = np.cumsum([0, *map(len, parts[:-1])]) + PREFIX_AT
        # A completion is encoded with a placeholder, because its prefix depends on its side.
        ids = np.concatenate(parts)
        ids[starts[1:]] = [self.encoder.token(FIRST), self.encoder.token(SECOND)]
        return ids, starts.tolist()


def load_pairrm(recipe: PairRMRecipe) -> PairRMRanker:
    """Load the ranker of a recipe on the default device.

    Raises `ModelError` for a checkpoint that cannot be read or has another layout.
    """
    from pairkit.rankers.pairrm.checkpoint import load_pairrm_checkpoint

    checkpoint = load_pairrm_checkpoint(recipe.model, recipe.revision)
    limits = checkpoint.limits.replaced(recipe.source_max_tokens, recipe.candidate_max_tokens)
    return PairRMRanker(
        checkpoint.model.use(*resolve_precision(recipe.dtype)),
        Encoder(checkpoint.tokenizer, limits),
        recipe.model,
        recipe.pairs,
        recipe.batch_tokens,
        recipe.thoughts,
    )
