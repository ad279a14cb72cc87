"""The ranker `reward_model`: the score that a sequence-classification model gives a conversation.

A model with one logit (Skywork-Reward and most others) gives that, ArmoRM the sum of its weighed rewards, and
a model whose own code puts a `score` into its output gives this. Prompt and completion are rendered by the
model's chat template, as the model's card has it, with exactly one BOS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pairkit import schema
from pairkit.errors import ModelError
from pairkit.models.chat import Messages, begins_with_bos, one_bos, render
from pairkit.models.inference import Dtype, Ids, batches, padded
from pairkit.progress import Advance
from pairkit.rankers.named import with_score
from pairkit.recipes import Strict
from pairkit.schema import StageResult, quarantine_rows
from pairkit.sets import assemble, completions
from pairkit.sets import batches as batches_of_sets

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NAME = "reward_model"


class RewardModelRecipe(Strict):
    """The settings of the ranker `reward_model`."""

    model: str  # a hub id or a directory
    revision: str | None = None
    trust_remote_code: bool = False  # run the code that the checkpoint brings along: read it first
    max_length: int | None = Field(
        default=None, ge=1
    )  # tokens of a conversation; None: the model's own limit
    batch_tokens: int = Field(default=16_384, ge=1)  # of one batch, padding included
    dtype: Dtype = "auto"


class _Unusable(NamedTuple):
    """Why a set cannot be scored: a quarantine reason and what a person should know."""

    reason: str
    detail: str


@dataclass(frozen=True)
class RewardModelRanker:
    """A loaded reward model. `max_length` bounds a conversation, `batch_tokens` a batch of them."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    checkpoint: str
    max_length: int | None = None
    batch_tokens: int = 16_384
    name: str = NAME

    def score(self, sets: pa.Table, advance: Advance, /) -> StageResult:
        """See `Ranker`. Counts: `completions` scored.

        A set goes to quarantine as `template_refused` where the chat template does not take its prompt, as
        `too_long` where a conversation is longer than `max_length`: a reward read off a text that was cut is
        that of another text.
        Raises `ModelError` where the model gives something that is no number.
        """
        scored, quarantine = [], [schema.QUARANTINE.empty_table()]
        for batch in batches_of_sets(sets):
            kept, refused = self._batch(batch, advance)
            scored.append(kept)
            quarantine.append(refused)
        table = pa.Table.from_batches(scored, schema.SETS)
        values = pc.struct_field(pc.list_flatten(table["completions"]), "score")
        counts = {"completions": len(values) - values.null_count}
        return StageResult(table, pa.concat_tables(quarantine), counts=counts)

    def _batch(self, batch: pa.RecordBatch, advance: Advance) -> tuple[pa.RecordBatch, pa.Table]:
        flat = completions(batch)
        owners = pc.list_parent_indices(batch["completions"]).to_numpy()
        prompts, texts = batch["prompt"].to_pylist(), pc.struct_field(flat, "text").to_pylist()
        noise = pc.equal(pc.struct_field(flat, "origin"), "noise").to_pylist()
        problems: dict[int, _Unusable] = {}
        conversations: dict[int, Ids] = {}  # by the completion's position in `flat`
        begins = begins_with_bos(self.tokenizer)
        for row, owner in enumerate(owners.tolist()):
            if not noise[row] and owner not in problems:
                found = self._tokens(prompts[owner], texts[row], begins)
                if isinstance(found, _Unusable):
                    problems[owner] = found
                else:
                    conversations[row] = found
        wanted = {row: ids for row, ids in conversations.items() if owners[row] not in problems}
        advance(len(flat) - len(wanted))
        values = np.full(len(flat), np.nan)
        if wanted:
            values[list(wanted)] = self._rewards(list(wanted.values()), advance)
        numbers = pa.array(values, pa.float64(), from_pandas=True)  # nan, on noise, becomes null
        scored = assemble(batch, with_score(flat, self.name, numbers), owners, np.arange(len(flat)))
        return _divide(batch, scored, problems)

    def _tokens(self, prompt: Messages, completion: str, begins: bool) -> Ids | _Unusable:
        """The token ids of a conversation, or why it has none."""
        try:
            text = render(
                self.tokenizer,
                [*prompt, {"role": "assistant", "content": completion}],
                add_generation_prompt=False,
            )
        except ModelError as error:
            return _Unusable("template_refused", str(error))
        encoded = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        ids = one_bos(self.tokenizer, encoded, begins=begins)
        if self.max_length is not None and len(ids) > self.max_length:
            return _Unusable(
                "too_long", f"a conversation of {len(ids)} tokens; the limit is {self.max_length}"
            )
        return np.array(ids, dtype=np.int64)

    def _rewards(self, conversations: Sequence[Ids], advance: Advance) -> list[float]:
        rewards = [0.0] * len(conversations)
        for rows in batches(list(map(len, conversations)), self.batch_tokens):
            values = self._forward([conversations[row] for row in rows])
            for row, value in zip(rows, values, strict=True):
                if not math.isfinite(value):
                    raise ModelError(
                        f"{self.checkpoint!r} gives {value} for a conversation of {len(conversations[row])} "
                        "tokens: its weights are broken, or too large for this precision; try dtype=float32"
                    )
                rewards[row] = value
            advance(len(rows))
        return rewards

    def _forward(self, conversations: Sequence[Ids]) -> list[float]:
        import torch

        text_config = self.model.config.get_text_config()
        given = text_config.pad_token_id
        try:
            if given is None:
                # transformers reads the reward off the last token that is no padding, so padding may be any
                # token with which none of these ends.
                ends = {int(ids[-1]) for ids in conversations}
                text_config.pad_token_id = next(token for token in range(len(ends) + 1) if token not in ends)
            ids, mask = padded(conversations, text_config.pad_token_id)
            with torch.inference_mode():
                output = self.model(
                    input_ids=ids.to(self.model.device), attention_mask=mask.to(self.model.device)
                )
        finally:
            text_config.pad_token_id = given
        return _one_number(self.checkpoint, output, len(conversations)).float().tolist()


def _one_number(checkpoint: str, output: Any, rows: int) -> torch.Tensor:
    """The reward of each row: the output's own `score`, else its one logit."""
    found = getattr(output, "score", None)
    if found is None:
        found = output.logits
    if found.numel() != rows:
        raise ModelError(
            f"{checkpoint!r} gives {found.numel() // rows} numbers for a conversation and no `score`: "
            "which of them is the reward is not known; use a reward model with one logit"
        )
    return found.reshape(rows)  # type: ignore[no-any-return]


def _divide(
    batch: pa.RecordBatch, scored: pa.RecordBatch, problems: dict[int, _Unusable]
) -> tuple[pa.RecordBatch, pa.Table]:
    """The sets that were scored, and the others, as they came, as quarantine."""
    bad = sorted(problems)
    rest = batch.take(pa.array(bad, pa.int64()))
    stays = np.ones(batch.num_rows, dtype=bool)
    stays[bad] = False
    reasons = [problems[row].reason for row in bad]
    quarantine = quarantine_rows("rank", rest, reasons, [problems[row].detail for row in bad])
    return scored.filter(pa.array(stays)), quarantine


def load(recipe: RewardModelRecipe) -> RewardModelRanker:
    """The ranker of a recipe, its model loaded, on the GPU where there is one.

    Raises `ModelError` for a model that cannot be loaded, needs its own code and is not trusted, has no
    reward head, more than one logit, or no chat template.
    """
    from pairkit.rankers.reward_model.checkpoint import load as load_checkpoint

    model, tokenizer = load_checkpoint(
        recipe.model, recipe.revision, trust_remote_code=recipe.trust_remote_code, dtype=recipe.dtype
    )
    limits = (recipe.max_length, getattr(model.config.get_text_config(), "max_position_embeddings", None))
    return RewardModelRanker(
        model,
        tokenizer,
        recipe.model,
        min((limit for limit in limits if limit is not None), default=None),
        recipe.batch_tokens,
    )
