"""The ranker `pairrm`: scores from comparisons by PairRM, which reads two completions side by side.

The checkpoints are llm-blender/PairRM and llm-blender/PairRM-hf; llm-blender itself is not needed.
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
from pairkit.models.inference import Dtype, Ids, batches, choose, padded
from pairkit.progress import Advance
from pairkit.rankers.named import with_score
from pairkit.rankers.pairrm.contests import Contest, Share, contest, scores
from pairkit.rankers.pairrm.schedules import Pair, Pairs
from pairkit.rankers.pairrm.text import FIRST, PREFIX_AT, SECOND, Encoder
from pairkit.recipes import Strict
from pairkit.schema import SETS, StageResult
from pairkit.sets import assemble, completions
from pairkit.sets import batches as batches_of_sets

if TYPE_CHECKING:
    from pairkit.rankers.pairrm.model import PairRM

NAME = "pairrm"


class PairRMRecipe(Strict):
    """The settings of the ranker `pairrm`."""

    model: str = "llm-blender/PairRM-hf"  # a hub id or a directory, in one of the two layouts
    revision: str | None = None
    pairs: Pairs = "all"
    # Tokens of a prompt and of a completion; None: what the checkpoint says, 1224 and 412 of PairRM.
    source_max_tokens: int | None = Field(default=None, ge=4)
    candidate_max_tokens: int | None = Field(default=None, ge=4)
    batch_tokens: int = Field(default=8192, ge=1)  # of one batch, padding included
    dtype: Dtype = "auto"


@dataclass(frozen=True)
class PairRMRanker:
    """A loaded PairRM; `checkpoint` is what errors call it, `batch_tokens` bounds one batch."""

    model: PairRM
    encoder: Encoder
    checkpoint: str
    pairs: Pairs = "all"
    batch_tokens: int = 8192
    name: str = NAME

    def score(self, sets: pa.Table, advance: Advance, /) -> StageResult:
        """See `Ranker`. Scores are relative: with `all`, those of a set add up to 0.

        A completion that is alone in its set is compared with none, and has the score that follows from
        that. Counts: `completions` scored; `comparisons`, passes of the model, two a pair; `identical`
        completions, which share the comparisons of an equal one; `truncated` completions; sets in which a
        completion is `alone`.
        Raises `ModelError` where the model gives something that is no number.
        """
        counts = Counter({"completions": 0, "comparisons": 0, "identical": 0, "truncated": 0, "alone": 0})
        scored = [self._batch(batch, counts, advance) for batch in batches_of_sets(sets)]
        return StageResult(pa.Table.from_batches(scored, SETS), counts=dict(counts))

    def _batch(self, batch: pa.RecordBatch, counts: Counter[str], advance: Advance) -> pa.RecordBatch:
        flat = completions(batch)
        owners = pc.list_parent_indices(batch["completions"]).to_numpy()
        scorable = np.flatnonzero(pc.not_equal(pc.struct_field(flat, "origin"), "noise"))
        texts: list[list[str]] = [[] for _ in range(batch.num_rows)]
        for owner, text in zip(
            owners[scorable].tolist(), pc.struct_field(flat, "text").take(scorable).to_pylist(), strict=True
        ):
            texts[owner].append(text)
        encoded = self.encoder.sets(batch["prompt"].to_pylist(), texts)
        contests = list(map(contest, batch["set_id"].to_pylist(), encoded))
        share = Share(advance, len(flat), contests, self.pairs)

        def compare(asked: Sequence[tuple[Contest, Pair]]) -> list[float]:
            counts["comparisons"] += 2 * len(asked)
            return self._margins(asked, share)

        found = scores(contests, self.pairs, compare)
        share.end()
        values = np.full(len(flat), np.nan)
        values[scorable] = [
            each[member] for one, each in zip(contests, found, strict=True) for member in one.members
        ]
        counts["completions"] += len(scorable)
        counts["identical"] += sum(len(one.members) - len(one.distinct) for one in contests)
        counts["truncated"] += sum(one.truncated for one in encoded)
        counts["alone"] += sum(len(one.members) == 1 for one in contests)
        numbers = pa.array(values, pa.float64(), from_pandas=True)  # nan, on noise, becomes null
        return assemble(batch, with_score(flat, self.name, numbers), owners, np.arange(len(flat)))

    def _margins(self, asked: Sequence[tuple[Contest, Pair]], share: Share) -> list[float]:
        """L[i, j] - L[j, i] of each pair, both orders in one batch."""
        margins = [0.0] * len(asked)
        lengths = [len(one.source) + len(one.distinct[i]) + len(one.distinct[j]) for one, (i, j) in asked]
        for rows in batches(lengths, self.batch_tokens // 2):
            orders = [(asked[row][0], pair) for row in rows for pair in (asked[row][1], asked[row][1][::-1])]
            logits = self._logits(orders)
            for row, (forth, back) in zip(rows, zip(logits[::2], logits[1::2], strict=True), strict=True):
                margins[row] = forth - back
            share.compared(len(rows))
        return margins

    def _logits(self, orders: Sequence[tuple[Contest, Pair]]) -> list[float]:
        """The model's logit of each ordered pair: above 0 where it takes the first for the better one."""
        import torch

        inputs, prefixes = zip(*(self._input(*order) for order in orders), strict=True)
        device = next(self.model.parameters()).device
        ids, mask = padded(inputs, self.encoder.padding)
        with torch.inference_mode():
            logits = self.model(ids.to(device), mask.to(device), torch.tensor(prefixes, device=device))
        values: list[float] = logits.tolist()
        for (one, _), value in zip(orders, values, strict=True):
            if not math.isfinite(value):
                raise ModelError(
                    f"{self.checkpoint!r} gives {value} for a comparison in set {one.set_id}: its weights "
                    "are broken, or too large for this precision; try dtype=float32"
                )
        return values

    def _input(self, one: Contest, pair: Pair) -> tuple[Ids, list[int]]:
        """The token ids of an ordered pair, and the positions of its three prefixes."""
        parts = [one.source, *(one.distinct[i] for i in pair)]
        starts = np.cumsum([0, *map(len, parts[:-1])]) + PREFIX_AT
        ids = np.concatenate(parts)
        ids[starts[1:]] = [self.encoder.token(FIRST), self.encoder.token(SECOND)]
        return ids, starts.tolist()


def load(recipe: PairRMRecipe) -> PairRMRanker:
    """The ranker of a recipe, its checkpoint loaded, on the GPU where there is one.

    Raises `ModelError` for a checkpoint that cannot be read or has another layout.
    """
    from pairkit.rankers.pairrm.checkpoint import load as load_checkpoint

    checkpoint = load_checkpoint(recipe.model, recipe.revision)
    limits = checkpoint.limits.replaced(recipe.source_max_tokens, recipe.candidate_max_tokens)
    return PairRMRanker(
        checkpoint.model.use(*choose(recipe.dtype)),
        Encoder(checkpoint.tokenizer, limits),
        recipe.model,
        recipe.pairs,
        recipe.batch_tokens,
    )
