"""The embedded engine: a transformers model, batched by length, on whatever device it stands on.

A prompt runs through the model once whatever the number of its samples: its key-value cache is then
repeated. Each step draws one token a row; rows that have ended leave the batch, so a long completion does
not pay for those that stopped before it. Prompts of one batch are padded on the left.

Shapes: B prompts, R rows (completions in flight), P prompt tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pairkit.engines.base import Call, Completion, FinishReason, Problem, Request, Result, Sampling
from pairkit.engines.local import load_tokenizer, model_identity, prompt_ids
from pairkit.engines.sampling import draw, uniforms
from pairkit.models.names import cannot_load

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from pairkit.engines.recipe import CallSettings, EngineRecipe


@dataclass
class TransformersEngine:
    """A loaded model as an engine. A call is a batch, since its composition moves the rounding of logits.

    `batch_tokens` bounds the key-value cache: prompt and completion tokens of all rows of one batch. The
    samples of one prompt stay together, even where they alone are more.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    batch_tokens: int = 32_768
    identity: Mapping[str, Any] = field(default_factory=dict)
    _submitted: tuple[int, Call] | None = None

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        """Batches, the longest prompts first: running out of memory shows at the start."""
        prompts: dict[int, list[int]] = {}
        refused: list[Call] = []
        for index, request in enumerate(requests):
            prompt = self._prompt(request)
            if isinstance(prompt, Problem):
                refused.append(Call((request,), (index,), prompt))
            elif request.samplings:
                prompts[index] = prompt
        batches = _batches(prompts, requests, self.batch_tokens)
        return refused + [
            Call(tuple(Request(prompts[index], requests[index].samplings) for index in batch), tuple(batch))
            for batch in batches
        ]

    def room(self) -> bool:
        return self._submitted is None

    def submit(self, number: int, call: Call) -> None:
        self._submitted = number, call

    def collect(self) -> list[tuple[int, tuple[Result, ...]]]:
        """Computes the batch that was submitted."""
        if self._submitted is None:
            return []
        (number, call), self._submitted = self._submitted, None
        samplings = [request.samplings for request in call.requests]
        rows = iter(self._sample([_ids(request) for request in call.requests], samplings))
        done = [tuple(self._completion(*next(rows), one) for one in wanted) for wanted in samplings]
        return [(number, tuple(done))]

    def drain(self) -> list[tuple[int, tuple[Result, ...]]]:
        return []

    def usage(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        self._submitted = None

    def _prompt(self, request: Request) -> list[int] | Problem:
        """The prompt's token ids, or why the model cannot take them."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return prompt_ids(self.tokenizer, request, limit)

    def _sample(
        self, prompts: list[list[int]], samplings: list[tuple[Sampling, ...]]
    ) -> list[tuple[list[int], FinishReason]]:
        """Token ids (without the one that ended it) and finish reason of each row, prompt by prompt."""
        device = self.model.device
        owner = [prompt for prompt, wanted in enumerate(samplings) for _ in wanted]
        flat = [sampling for wanted in samplings for sampling in wanted]
        temperature, top_p = (
            torch.tensor([getattr(s, name) for s in flat], dtype=torch.float64, device=device)
            for name in ("temperature", "top_p")
        )
        seeds = np.array([sampling.seed for sampling in flat], dtype=np.uint64)
        budget = torch.tensor([sampling.max_tokens for sampling in flat], device=device)
        stops = torch.tensor(stop_tokens(self.model, self.tokenizer), dtype=torch.long, device=device)
        drawn = torch.zeros(len(flat), int(budget.max()), dtype=torch.long, device=device)
        length = torch.zeros(len(flat), dtype=torch.long, device=device)
        stopped = torch.zeros(len(flat), dtype=torch.bool, device=device)

        with _inference(self.model):
            state = _prefill(self.model, prompts, torch.tensor(owner, device=device))
            live = torch.arange(len(flat), device=device)
            for position in range(drawn.shape[1]):
                uniform = torch.from_numpy(uniforms(seeds[live.cpu().numpy()], position)).to(device)
                token = draw(state.logits, temperature[live], top_p[live], uniform)
                drawn[live, position] = token
                length[live] = position + 1
                stopped[live] = torch.isin(token, stops)
                going = ~stopped[live] & (position + 1 < budget[live])
                if not going.any():
                    break
                if not going.all():
                    kept = going.nonzero().squeeze(1)
                    live, token = live[kept], token[kept]
                    state.keep(kept)
                state.step(self.model, token)
        ends = (length - stopped.long()).tolist()
        reasons: list[FinishReason] = ["stop" if stop else "length" for stop in stopped.tolist()]
        return [(row[:end], reason) for row, end, reason in zip(drawn.tolist(), ends, reasons, strict=True)]

    def _completion(self, tokens: list[int], reason: FinishReason, sampling: Sampling) -> Completion:
        text = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Completion(text, len(tokens) + (reason == "stop"), reason, sampling)


def load(
    model: str, *, revision: str | None = None, batch_tokens: int = 32_768, name: str | None = None
) -> TransformersEngine:
    """The engine of a hub id or a directory, on the GPU where there is one, in the precision it was saved in.

    `name` is what the completions say who wrote them; None: `model`.

    Raises `ModelError` for a model that cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    try:
        tokenizer = load_tokenizer(model, revision)
        loaded = AutoModelForCausalLM.from_pretrained(model, revision=revision, dtype="auto")
    except Exception as error:  # of a dozen types: transformers', safetensors', the hub's
        raise cannot_load("model", model, error) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    identity = {"engine": "transformers", **model_identity(model, revision, ("torch", "transformers"))}
    return TransformersEngine(loaded.to(device), tokenizer, name or model, batch_tokens, identity)


def from_recipe(recipe: EngineRecipe, calls: CallSettings, *, name: str | None = None) -> TransformersEngine:
    """Load the engine of a recipe: see `load`. No server is called, so `calls` does not matter."""
    return load(recipe.model, revision=recipe.revision, batch_tokens=recipe.batch_tokens, name=name)


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What ends a completion: the end tokens of the model's generation config and the tokenizer's EOS.

    Both, as vLLM has it: chat models whose config still names the base model's end of text are common.
    """
    configured = getattr(model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return sorted({int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None})


@dataclass
class _State:
    """The batch between two steps: the cache, what may be attended to, and the logits of the next token."""

    cache: Any
    mask: torch.Tensor  # [R, tokens so far], 0 on padding
    next_position: torch.Tensor  # [R]
    logits: torch.Tensor  # [R, V]

    def keep(self, rows: torch.Tensor) -> None:
        """Rows in another order, fewer, or repeated."""
        self.cache.reorder_cache(rows)
        self.mask, self.next_position = self.mask[rows], self.next_position[rows]
        self.logits = self.logits[rows]

    def step(self, model: PreTrainedModel, token: torch.Tensor) -> None:
        """Feeds one token a row."""
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


def _prefill(model: PreTrainedModel, prompts: list[list[int]], owner: torch.Tensor) -> _State:
    """One pass over the B prompts, then one row for each entry of `owner` `[R]`, the prompt it completes."""
    width = max(map(len, prompts))
    # The id under the mask is of no consequence, as long as it is in the vocabulary.
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    position = torch.arange(width, device=model.device) - (width - lengths).unsqueeze(1)
    output = model(
        input_ids=ids,
        attention_mask=(position >= 0).long(),
        position_ids=position.clamp(min=0),
        use_cache=True,
        logits_to_keep=1,
    )
    state = _State(output.past_key_values, (position >= 0).long(), lengths, output.logits[:, -1])
    state.keep(owner)
    return state


def _batches(
    prompts: dict[int, list[int]], requests: Sequence[Request], batch_tokens: int
) -> Iterator[list[int]]:
    """Positions of requests, longest prompt first, cut so that a batch's cache stays within the budget."""
    batch: list[int] = []
    rows = width = 0
    for index in sorted(prompts, key=lambda index: -len(prompts[index])):
        samplings = requests[index].samplings
        needed = len(prompts[index]) + max(sampling.max_tokens for sampling in samplings)
        if batch and (rows + len(samplings)) * max(width, needed) > batch_tokens:
            yield batch
            batch, rows, width = [], 0, 0
        batch.append(index)
        rows += len(samplings)
        width = max(width, needed)
    if batch:
        yield batch


def _ids(request: Request) -> list[int]:
    """The prompt of a request whose prompt was rendered."""
    return [part for part in request.prompt if isinstance(part, int)]


@contextmanager
def _inference(model: PreTrainedModel) -> Iterator[None]:
    """No gradients and no dropout; a model that was training goes on training."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
