"""The embedded engine: a transformers model in this process, batched by length.

A prompt runs through the model once, however many samples it has; its key-value cache is then repeated. Each
step samples one token per row. Rows that have ended leave the batch, some at a time, so that a long
completion does not pay for those that stopped before it. Prompts of one batch are padded on the left.

Shapes: B prompts, R rows (completions in flight), P prompt tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pairkit.engines.base import Call, FinishReason, Request, Result, Sampling, TopLogprobs, Unloaded
from pairkit.engines.batches import batched
from pairkit.engines.local import ids_of, load_chat, model_identity
from pairkit.engines.sampled import Sampled, SampledReader
from pairkit.engines.sampling import draw, uniforms
from pairkit.errors import PairkitError
from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.settings import Template, TemplateSettings
from pairkit.models.inference import default_device
from pairkit.models.names import cannot_load
from pairkit.models.resolve import resolve

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from pairkit.engines.recipe import CallSettings, EngineRecipe


# Rows that have ended leave when at most this share of the batch is unfinished.
_CROWDED = 15 / 16


@dataclass
class TransformersEngine:
    """A loaded model as an engine. A call is a batch, because its composition changes the rounding of logits.

    `batch_tokens` bounds the key-value cache: prompt and completion tokens of all rows of one batch. The
    samples of one prompt stay together, even if they alone exceed it. `chat` is the tokenizer with the
    template.
    """

    model: PreTrainedModel
    chat: ChatFormat
    name: str
    batch_tokens: int = 32_768
    identity: Mapping[str, Any] = field(default_factory=dict)
    _submitted: tuple[int, Call] | None = None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the model."""
        return self.chat.tokenizer

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        """Divide requests into batches, longest prompts first, so that out-of-memory errors come early."""
        return batched(self.chat, self.model.config, self.batch_tokens, requests)

    def room(self) -> bool:
        return self._submitted is None

    def submit(self, number: int, call: Call) -> None:
        self._submitted = number, call

    def collect(self) -> list[tuple[int, tuple[Result, ...]]]:
        """Compute the submitted batch."""
        if self._submitted is None:
            return []
        (number, call), self._submitted = self._submitted, None
        samplings = [request.samplings for request in call.requests]
        reader = SampledReader(self.chat)
        tops: list[TopLogprobs | None] = [None] * sum(map(len, samplings))

        def on_first(logits: torch.Tensor) -> None:
            tops[:] = _tops(reader, call.requests, logits)

        rows = iter(self._sample([ids_of(request) for request in call.requests], samplings, on_first))
        of_rows = iter(tops)
        results = []
        for request in call.requests:
            completions = reader.completions(request, [next(rows) for _ in request.samplings])
            results.append(tuple(completion._replace(logprobs=next(of_rows)) for completion in completions))
        return [(number, tuple(results))]

    def drain(self) -> list[tuple[int, tuple[Result, ...]]]:
        return []

    def usage(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        self._submitted = None

    def _sample(
        self,
        prompts: list[list[int]],
        samplings: list[tuple[Sampling, ...]],
        on_first: Callable[[torch.Tensor], None],
    ) -> list[Sampled]:
        """Return token ids (the stop token included) and finish reason of each row, prompt by prompt.

        `on_first` is given the logits of the first tokens, `[R, V]`.
        """
        device = self.model.device
        owner = [prompt for prompt, group in enumerate(samplings) for _ in group]
        flat = [sampling for group in samplings for sampling in group]
        temperature, top_p = (
            torch.tensor([getattr(s, name) for s in flat], dtype=torch.float64, device=device)
            for name in ("temperature", "top_p")
        )
        seeds = np.array([sampling.seed for sampling in flat], dtype=np.uint64)
        budget = torch.tensor([sampling.max_tokens for sampling in flat], device=device)
        stops = torch.tensor(stop_tokens(self.model, self.chat), dtype=torch.long, device=device)
        sampled = torch.zeros(len(flat), int(budget.max()), dtype=torch.long, device=device)  # [R, longest]
        length = torch.zeros(len(flat), dtype=torch.long, device=device)
        stopped, ended = torch.zeros(2, len(flat), dtype=torch.bool, device=device)

        with _inference(self.model):
            state = _prefill(self.model, prompts, torch.tensor(owner, device=device), sampled.shape[1])
            on_first(state.logits)
            live = torch.arange(len(flat), device=device)  # [R], the rows of the batch
            for position in range(sampled.shape[1]):
                # Numbers of seed and position alone: rows that leave the batch change nothing for the others.
                uniform = torch.from_numpy(uniforms(seeds[live.cpu().numpy()], position)).to(device)
                token = draw(state.logits, temperature[live], top_p[live], uniform)
                sampled[live, position] = token
                length[live] += ~ended[live]
                stopped[live] |= ~ended[live] & torch.isin(token, stops)
                ended[live] |= stopped[live] | (position + 1 >= budget[live])
                rows = (~ended[live]).nonzero().squeeze(1)
                if not len(rows):
                    break
                # Not one by one, because the cache of all others is copied. What a row that has ended writes
                # until then lies behind its length.
                if len(rows) <= _CROWDED * len(live):
                    live, token = live[rows], token[rows]
                    state.select(rows)
                state.step(self.model, token)
        reasons: list[FinishReason] = ["stop" if stop else "length" for stop in stopped.tolist()]
        ends = length.tolist()
        return [(row[:end], reason) for row, end, reason in zip(sampled.tolist(), ends, reasons, strict=True)]


def open_transformers(
    recipe: EngineRecipe, calls: CallSettings, *, name: str | None = None
) -> TransformersEngine:
    """Load the recipe's model with transformers. Raises `ModelError`."""
    return load_transformers(
        recipe.model,
        revision=recipe.revision,
        batch_tokens=recipe.batch_tokens,
        name=name,
        template=recipe.template,
    )


def load_transformers(
    model: str,
    *,
    revision: str | None = None,
    batch_tokens: int = 32_768,
    name: str | None = None,
    template: Template = TemplateSettings(),  # noqa: B008  # frozen
) -> TransformersEngine:
    """Load what `models.resolve` finds, on the GPU if there is one, in the precision it was saved in.

    `name` is recorded as the completions' model; None: `model`.

    Raises `ModelError` for a model that cannot be loaded, `RecipeError` for a template that cannot be used.
    """
    from pairkit.models.load import load_for_generation

    try:
        chat = load_chat(model, revision, template)
    except PairkitError:
        raise
    except Exception as error:  # one of a dozen types of transformers, tokenizers and the hub
        raise cannot_load("model", model, error) from error
    network = load_for_generation(model, revision)
    identity = _identity(model, revision, chat)
    return TransformersEngine(network.to(default_device()), chat, name or model, batch_tokens, identity)


def unloaded_transformers(recipe: EngineRecipe) -> Unloaded:
    """Return what is known of the engine without the weights of its model.

    Raises `ModelError` for a model without a tokenizer or a configuration, `RecipeError` for a template that
    cannot be used.
    """
    from pairkit.models.load import read_config
    from pairkit.models.reward_head import refuse_reward_model

    chat = load_chat(recipe.model, recipe.revision, recipe.template)
    config = read_config(resolve(recipe.model, recipe.revision), trust_remote_code=False)
    refuse_reward_model(config, recipe.model)
    identity = _identity(recipe.model, recipe.revision, chat)
    return Unloaded(identity, partial(batched, chat, config, recipe.batch_tokens))


def _identity(model: str, revision: str | None, chat: ChatFormat) -> dict[str, Any]:
    return {"engine": "transformers", **model_identity(model, revision, ("torch", "transformers"), chat)}


def stop_tokens(model: PreTrainedModel, chat: ChatFormat) -> list[int]:
    """Return the tokens that end a completion: of the generation config, of the template, and EOS.

    All of them, because chat models whose config still names the base model's end of text are common.
    """
    configured = getattr(model.generation_config, "eos_token_id", None)
    tokens = configured if isinstance(configured, list) else [configured]
    ends = (*tokens, chat.tokenizer.eos_token_id, *SampledReader(chat).stops())
    return sorted({int(token) for token in ends if token is not None})


def _tops(
    reader: SampledReader, requests: Sequence[Request], logits: torch.Tensor
) -> list[TopLogprobs | None]:
    """Return the most probable first tokens of each row, from logits `[R, V]`; None where none are wanted."""
    counts = [request.top_logprobs for request in requests for _ in request.samplings]
    most = min(max((count or 0 for count in counts), default=0), logits.shape[-1])
    if not most:
        return [None] * len(counts)
    values, ids = torch.log_softmax(logits.double(), dim=-1).topk(most, dim=-1)
    rows = zip(counts, ids.tolist(), values.tolist(), strict=True)
    return [reader.top(top[:count], logprobs[:count]) if count else None for count, top, logprobs in rows]


@dataclass
class _State:
    """The batch between two steps: key-value cache, attention mask, and the logits of the next token."""

    cache: Any
    mask: torch.Tensor  # [R, tokens so far], 0 on padding
    next_position: torch.Tensor  # [R]
    logits: torch.Tensor  # [R, V]

    def select(self, rows: torch.Tensor) -> None:
        """Reorder, drop or repeat rows, `[rows]`."""
        self.cache.reorder_cache(rows)
        self.mask, self.next_position = self.mask[rows], self.next_position[rows]
        self.logits = self.logits[rows]

    def step(self, model: PreTrainedModel, token: torch.Tensor) -> None:
        """Feed one token per row, `[R]`."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(token), 1)], dim=1)
        output = model(
            input_ids=token.unsqueeze(1),
            attention_mask=self.mask,
            position_ids=self.next_position.unsqueeze(1),
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache, self.logits = output.past_key_values, output.logits[:, -1]
        self.next_position = self.next_position + 1


def _prefill(model: PreTrainedModel, prompts: list[list[int]], owner: torch.Tensor, tokens: int) -> _State:
    """Run the B prompts once, then repeat them: row i continues `owner[i]` (`[R]`) by at most `tokens`."""
    from pairkit.engines.kv_cache import with_room

    width = max(map(len, prompts))
    # Padding is masked, so any id of the vocabulary will do.
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    position = torch.arange(width, device=model.device) - (width - lengths).unsqueeze(1)
    output = model(
        input_ids=ids,
        attention_mask=(position >= 0).long(),
        position_ids=position.clamp(min=0),
        use_cache=True,
        # The logits of all prompt tokens, [B, P, V], may be larger than the cache.
        logits_to_keep=1,
    )
    state = _State(output.past_key_values, (position >= 0).long(), lengths, output.logits[:, -1])
    state.select(owner)
    # After the prompts were repeated, so that no free space is copied.
    state.cache = with_room(state.cache, tokens)
    return state


@contextmanager
def _inference(model: PreTrainedModel) -> Iterator[None]:
    """Disable gradients and dropout; restore training mode afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
