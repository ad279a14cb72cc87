"""The ranker `reward_model`: the score of a conversation by a sequence-classification model.

The score is the logit of a model with one logit (Skywork-Reward and most others), the sum of the weighted
rewards of ArmoRM, or the `score` that a model's own code adds to its output. Prompt and completion are
rendered by the model's chat template, as model cards recommend, with exactly one BOS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from pairkit import schema
from pairkit.errors import ModelError
from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.messages import PromptRefused, from_json
from pairkit.models.chat.render import Messages
from pairkit.models.chat.settings import Template, TemplateSettings
from pairkit.models.inference import Dtype, Ids, batches_by_length, pad_right
from pairkit.progress import Advance
from pairkit.rankers.named import with_score
from pairkit.rankers.shown import shown_texts, thought_counts
from pairkit.rankers.thoughts import Thoughts
from pairkit.recipes import Strict
from pairkit.schema import StageResult, quarantine_rows
from pairkit.sets import assemble, batches, completions

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

NAME = "reward_model"


class RewardModelRecipe(Strict):
    """The settings of the ranker `reward_model`."""

    model: str  # a hub id or a directory
    revision: str | None = None
    trust_remote_code: bool = False  # run the code that comes with the checkpoint: read it first
    max_length: int | None = Field(default=None, ge=1)  # tokens per conversation; None: the model's limit
    batch_tokens: int = Field(default=16_384, ge=1)  # per batch, padding included
    dtype: Dtype = "auto"
    thoughts: Thoughts = "strip"  # show: the model reads the thought as well
    template: Template = TemplateSettings()  # how a conversation becomes text: kwargs, file and system

    @model_validator(mode="after")
    def _whole_conversations(self) -> RewardModelRecipe:
        if isinstance(self.template, str):
            raise ValueError(
                "recipe key 'template': none is for engines only, because a reward model reads "
                "conversations: give a template with template.file"
            )
        if self.template.prefill:
            raise ValueError("recipe key 'template.prefill' is for engines only: remove it")
        return self


class _Unusable(NamedTuple):
    """The reason why a set cannot be scored, and the detail for quarantine."""

    reason: str
    detail: str


class _Asked(NamedTuple):
    """What a set asks: the prompt, its tools, and its arguments of the template, the last two as JSON."""

    messages: Messages
    tools: str | None
    template_kwargs: str | None


@dataclass(frozen=True)
class RewardModelRanker:
    """A loaded reward model; `chat` is its tokenizer with the template.

    `max_length` limits a conversation, `batch_tokens` a batch, both in tokens.
    """

    model: PreTrainedModel
    chat: ChatFormat
    checkpoint: str
    max_length: int | None = None
    batch_tokens: int = 16_384
    thoughts: Thoughts = "strip"
    name: str = NAME

    def score(self, sets: pa.Table, advance: Advance, /) -> StageResult:
        """See `Ranker`. Counts: `completions` scored, and those of `shown.thought_counts`.

        A set goes to quarantine as `template_refused` if the chat template rejects its prompt, and as
        `too_long` if a conversation is longer than `max_length`: it is not truncated, because the reward of a
        truncated text is that of another text. Raises `ModelError` if the model returns NaN or infinity.
        """
        scored_batches, quarantine = [], [schema.QUARANTINE.empty_table()]
        for batch in batches(sets):
            usable, unusable = self._batch(batch, advance)
            scored_batches.append(usable)
            quarantine.append(unusable)
        table = pa.Table.from_batches(scored_batches, schema.SETS)
        flat = pc.list_flatten(table["completions"]).combine_chunks()
        values = pc.struct_field(flat, "score")
        counts = {"completions": len(values) - values.null_count, **thought_counts(flat, self.thoughts)}
        return StageResult(table, pa.concat_tables(quarantine), counts=counts)

    def _batch(self, batch: pa.RecordBatch, advance: Advance) -> tuple[pa.RecordBatch, pa.Table]:
        flat = completions(batch)
        owners = pc.list_parent_indices(batch["completions"]).to_numpy()
        columns = (batch[name].to_pylist() for name in ("prompt", "tools", "chat_template_kwargs"))
        prompts = [_Asked(*row) for row in zip(*columns, strict=True)]
        texts = shown_texts(flat, self.thoughts)
        noise = pc.equal(pc.struct_field(flat, "origin"), "noise").to_pylist()
        problems: dict[int, _Unusable] = {}
        conversations: dict[int, Ids] = {}  # by the completion's position in `flat`
        for row, owner in enumerate(owners.tolist()):
            if not noise[row] and owner not in problems:
                tokens = self._tokens(prompts[owner], texts[row])
                if isinstance(tokens, _Unusable):
                    problems[owner] = tokens
                else:
                    conversations[row] = tokens
        # A set with one unusable conversation is not scored at all, because its completions are compared.
        usable = {row: ids for row, ids in conversations.items() if owners[row] not in problems}
        advance(len(flat) - len(usable))
        values = np.full(len(flat), np.nan)
        if usable:
            values[list(usable)] = self._rewards(list(usable.values()), advance)
        numbers = pa.array(values, pa.float64(), from_pandas=True)  # the NaN of noise becomes null
        scored_batch = assemble(batch, with_score(flat, self.name, numbers), owners, np.arange(len(flat)))
        return _divide(batch, scored_batch, problems)

    def _tokens(self, prompt: _Asked, completion: str) -> Ids | _Unusable:
        """Tokenize a conversation, or return the reason why it cannot be scored."""
        messages = [*prompt.messages, {"role": "assistant", "content": completion}]
        try:
            kwargs = from_json(prompt.template_kwargs or "{}", dict, "chat_template_kwargs")
            conversation = self.chat.conversation(messages, tools=prompt.tools, kwargs=kwargs)
        except PromptRefused as error:
            return _Unusable(error.reason, str(error))
        except ModelError as error:
            return _Unusable("template_refused", str(error))
        ids = self.chat.encode_prompts([conversation])[0]
        if self.max_length is not None and len(ids) > self.max_length:
            return _Unusable(
                "too_long", f"a conversation of {len(ids)} tokens; the limit is {self.max_length}"
            )
        return np.array(ids, dtype=np.int64)

    def _rewards(self, conversations: Sequence[Ids], advance: Advance) -> list[float]:
        rewards = [0.0] * len(conversations)
        for rows in batches_by_length(list(map(len, conversations)), self.batch_tokens):
            values = self._forward([conversations[row] for row in rows])
            for row, value in zip(rows, values, strict=True):
                if not math.isfinite(value):
                    raise ModelError(
                        f"{self.checkpoint!r} returned {value} for a conversation of "
                        f"{len(conversations[row])} tokens: its weights are corrupt or too large for "
                        "this precision; try dtype=float32"
                    )
                rewards[row] = value
            advance(len(rows))
        return rewards

    def _forward(self, conversations: Sequence[Ids]) -> list[float]:
        import torch

        text_config = self.model.config.get_text_config()
        pad_id = text_config.pad_token_id
        try:
            if pad_id is None:
                # Any token that ends none of these conversations can serve as padding, because transformers
                # reads the reward at the last token that is not padding.
                ends = {int(ids[-1]) for ids in conversations}
                text_config.pad_token_id = next(token for token in range(len(ends) + 1) if token not in ends)
            ids, mask = pad_right(conversations, text_config.pad_token_id)
            with torch.inference_mode():
                output = self.model(
                    input_ids=ids.to(self.model.device), attention_mask=mask.to(self.model.device)
                )
        finally:
            text_config.pad_token_id = pad_id
        return _reward(self.checkpoint, output, len(conversations)).float().tolist()


def _reward(checkpoint: str, output: Any, rows: int) -> torch.Tensor:
    """Return the reward of each row, `[rows]`: the output's own `score`, otherwise its only logit."""
    reward = getattr(output, "score", None)
    if reward is None:
        reward = output.logits
    if reward.numel() != rows:
        raise ModelError(
            f"{checkpoint!r} returned {reward.numel() // rows} logits per conversation and no `score`, and "
            "pairkit cannot know which of them is the reward; use a reward model with one logit"
        )
    return reward.reshape(rows)  # type: ignore[no-any-return]


def _divide(
    batch: pa.RecordBatch, scored_batch: pa.RecordBatch, problems: dict[int, _Unusable]
) -> tuple[pa.RecordBatch, pa.Table]:
    """Separate the scored sets from those that go to quarantine, unchanged."""
    bad = sorted(problems)
    rest = batch.take(pa.array(bad, pa.int64()))
    stays = np.ones(batch.num_rows, dtype=bool)
    stays[bad] = False
    reasons = [problems[row].reason for row in bad]
    quarantine = quarantine_rows("rank", rest, reasons, [problems[row].detail for row in bad])
    return scored_batch.filter(pa.array(stays)), quarantine


def load_reward_model(recipe: RewardModelRecipe) -> RewardModelRanker:
    """Load the ranker of a recipe on the default device.

    Raises `ModelError` for a model that cannot be loaded, that needs its own code without being trusted, or
    that has no reward head, more than one logit, or no chat template; `RecipeError` for a template file that
    cannot be used.
    """
    from pairkit.rankers.reward_model.checkpoint import load_reward_checkpoint

    model, tokenizer = load_reward_checkpoint(
        recipe.model,
        recipe.revision,
        trust_remote_code=recipe.trust_remote_code,
        dtype=recipe.dtype,
        needs_template=recipe.template.file is None,  # type: ignore[union-attr]  # checked by the recipe
    )
    limits = (recipe.max_length, getattr(model.config.get_text_config(), "max_position_embeddings", None))
    return RewardModelRanker(
        model,
        ChatFormat(tokenizer, recipe.template),
        recipe.model,
        min((limit for limit in limits if limit is not None), default=None),
        recipe.batch_tokens,
        recipe.thoughts,
    )
