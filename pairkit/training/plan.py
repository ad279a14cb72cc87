"""What a run would do: its data, tokenized, its loss, its negatives, its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pairkit.dataset.reader import BuiltData, open_data
from pairkit.errors import InputError, ModelError
from pairkit.losses import Loss, WeightedSum, build
from pairkit.losses.building import sampler_settings
from pairkit.models.load import load_tokenizer, positions
from pairkit.progress import progress
from pairkit.training.cost import passes
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.order import sets_before, step_count
from pairkit.training.tokens.sets import Tokenized
from pairkit.training.tokens.store import NOT_KEPT, TokenStore, tokens_key
from pairkit.training.tokens.tokenize import Wanted, token_batches


@dataclass(frozen=True)
class Plan:
    """What a run would do, known before a model is loaded."""

    recipe: TrainRecipe
    loss: Loss | WeightedSum
    negatives: dict[str, Any]
    data: BuiltData
    tokenizer: Any
    train: Tokenized
    held_out: Tokenized | None
    steps: int

    @property
    def reference(self) -> str:
        """The name of the reference model."""
        return self.recipe.reference or self.recipe.model

    @property
    def longest(self) -> int:
        """The most tokens that a prompt has with a completion behind it."""
        longest = max(split.longest() for split in (self.train, self.held_out) if split)
        if "kl_baseline" not in self.loss.needs:
            return longest
        lengths = self.train.lengths  # another prompt's completion may follow
        other = int(lengths.prompt.max() + lengths.completion.max())
        return max(longest, min(self.recipe.max_length, other))

    def first_steps(self, *, shared: bool) -> list[passes.Step]:
        """What the first steps pass, prompts `shared` or not."""
        return list(
            passes.steps_of(
                self.recipe, self.loss, self.negatives, self.train.sets, self.steps, shared=shared
            )
        )

    def describe(self, *, shared: bool | None = None) -> dict[str, Any]:
        """The plan as plain data: what `run.json` holds and `--dry-run` prints.

        `longest` is a prompt with its completion, `a_step` the mean of prompts and completions, each once.
        `step` holds means over the first steps: tokens that pass with gradient, a prompt once for all its
        completions or with each, and without one; and the micro-batches of one process.

        Args:
            shared: whether the model's prompts are; by default as the recipe wants them.
        """
        steps = self.first_steps(shared=self.recipe.share_prompts if shared is None else shared)
        held_out, sets = self.held_out, self.train.sets
        prompt, completion = int(self.train.lengths.prompt.sum()), int(self.train.lengths.completion.sum())
        recipe = self.recipe
        taken = sets_before(len(sets), self.steps, recipe.sets_per_step, recipe.epochs, recipe.max_steps)
        a_step = round((prompt + completion) / len(sets) * taken / self.steps)
        return {
            "data": {"folder": str(self.data.folder), "manifest_sha256": self.data.digest},
            "model": self.recipe.model,
            "loss": self.loss.describe(),
            "negatives": {} if self.loss.completions == "first" else self.negatives,
            "steps": self.steps,
            "train_sets": self.train.counts(),
            "eval_sets": held_out.counts() if held_out else None,
            "tokens": {
                "prompt": prompt,
                "completion": completion,
                "longest": self.longest,
                "a_step": a_step,
            },
            "step": passes.describe(steps),
        }

    def refused(self) -> Iterator[dict[str, str]]:
        """Every set that cannot be used: its split, its id, the reason and what there is to know."""
        for split, tokenized in (
            (self.recipe.train_split, self.train),
            (self.recipe.eval_split, self.held_out),
        ):
            for set_id, reason, detail in tokenized.refused if tokenized else ():
                yield {"split": split, "set_id": set_id, "reason": reason, "detail": detail}


def plan(recipe: TrainRecipe, store: TokenStore = NOT_KEPT) -> Plan:
    """Reads the data, and tokenizes what `store` does not have.

    Raises:
        InputError: no set can be used.
        OutputError: `store` cannot be written to.
        ModelError: a tokenizer or configuration that cannot be loaded, or too few positions.
    """
    loss = build(recipe.loss_name, **recipe.loss_parameters)
    data = open_data(recipe.data, recipe.train_split)
    tokenizer = load_tokenizer(
        recipe.tokenizer or recipe.model,
        revision=recipe.revision,
        trust_remote_code=recipe.trust_remote_code,
        texts=data.texts(recipe.train_split, recipe.limit),
    )
    train = _tokenize(recipe, loss, data, tokenizer, recipe.train_split, recipe.limit, store)
    if not train.sets:
        raise InputError(f"{data.folder}: no set can be trained on: {train.refusals()}")
    held_out = None
    if data.rows(recipe.eval_split):
        held_out = _tokenize(recipe, loss, data, tokenizer, recipe.eval_split, recipe.eval_limit, store)
    steps = step_count(len(train.sets), recipe.sets_per_step, recipe.epochs, recipe.max_steps)
    negatives = sampler_settings(loss, recipe.negatives, data.rejected)
    planned = Plan(recipe, loss, negatives, data, tokenizer, train, held_out, steps)
    for name in dict.fromkeys([recipe.model, recipe.reference or recipe.model]):
        _check_positions(planned, name)
    return planned


def _check_positions(planned: Plan, name: str) -> None:
    """A model with learned positions has none beyond; another says nothing, and is not what it was."""
    recipe = planned.recipe
    most = positions(name, recipe.revision_of(name), recipe.trust_remote_code)
    if most and planned.longest > most:
        raise ModelError(
            f"the longest prompt has {planned.longest} tokens with its completion, the model {name!r} has "
            f"positions for {most}: give max_length={most}"
        )


def _tokenize(
    recipe: TrainRecipe,
    loss: Loss | WeightedSum,
    data: BuiltData,
    tokenizer: Any,
    split: str,
    limit: int | None,
    store: TokenStore,
) -> Tokenized:
    rows = data.rows(split)
    rows = min(rows, limit or rows)
    settings: dict[str, Any] = {
        "max_length": recipe.max_length,
        "max_prompt_length": recipe.prompt_limit,
        "wanted": _wanted(loss),
    }

    def make() -> Iterator[pa.RecordBatch]:
        with progress(f"tokenizing {split}", rows, unit="sets") as advance:
            yield from token_batches(data.tables(split, limit), tokenizer, **settings, advance=advance)

    return store.sets(lambda: tokens_key(tokenizer, data=data.hashes(split), rows=rows, **settings), make)


def _wanted(loss: Loss | WeightedSum) -> Wanted:
    """Which completions of a set the loss can use."""
    if "scores" in loss.needs:
        return "scored"
    if loss.completions == "first":
        return "first"
    return "labelled" if loss.completions == "labelled" else "ranked"
