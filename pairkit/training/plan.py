"""What a run would do: its data, tokenized, its loss, its negatives, its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pairkit.errors import InputError
from pairkit.losses import Loss, WeightedSum, build
from pairkit.progress import progress
from pairkit.training.data import BuiltData, open_data
from pairkit.training.models import load_tokenizer
from pairkit.training.negatives import sampler_settings
from pairkit.training.order import step_count
from pairkit.training.recipe import TrainRecipe
from pairkit.training.tokens import Tokenized, Wanted, tokenize


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

    def describe(self) -> dict[str, Any]:
        """The plan as plain data: what `run.json` holds and `--dry-run` prints."""
        held_out = self.held_out
        return {
            "data": {"folder": str(self.data.folder), "manifest_sha256": self.data.digest},
            "model": self.recipe.model,
            "loss": self.loss.describe(),
            "negatives": {} if self.loss.completions == "first" else self.negatives,
            "steps": self.steps,
            "train_sets": self.train.counts(),
            "eval_sets": held_out.counts() if held_out else None,
            "tokens": {
                "prompt": sum(len(item.prompt) for item in self.train.sets),
                "completion": sum(len(c.ids) for item in self.train.sets for c in item.columns),
            },
        }

    def refused(self) -> Iterator[dict[str, str]]:
        """Every set that cannot be used: its split, its id, the reason and what there is to know."""
        for split, tokenized in (
            (self.recipe.train_split, self.train),
            (self.recipe.eval_split, self.held_out),
        ):
            for set_id, reason, detail in tokenized.refused if tokenized else ():
                yield {"split": split, "set_id": set_id, "reason": reason, "detail": detail}


def plan(recipe: TrainRecipe) -> Plan:
    """Reads and tokenizes the data; raises `InputError` where no set can be used."""
    loss = build(recipe.loss_name, **recipe.loss_parameters)
    data = open_data(recipe.data, recipe.train_split)
    tokenizer = load_tokenizer(
        recipe.tokenizer or recipe.model,
        revision=recipe.revision,
        trust_remote_code=recipe.trust_remote_code,
        texts=data.texts(recipe.train_split, recipe.limit),
    )
    train = _tokenize(recipe, loss, data, tokenizer, recipe.train_split, recipe.limit)
    if not train.sets:
        raise InputError(f"{data.folder}: no set can be trained on: {train.refusals()}")
    held_out = None
    if data.rows(recipe.eval_split):
        held_out = _tokenize(recipe, loss, data, tokenizer, recipe.eval_split, recipe.eval_limit)
    steps = step_count(len(train.sets), recipe.sets_per_step, recipe.epochs, recipe.max_steps)
    negatives = sampler_settings(loss, recipe.negatives, data.rejected)
    return Plan(recipe, loss, negatives, data, tokenizer, train, held_out, steps)


def _tokenize(
    recipe: TrainRecipe,
    loss: Loss | WeightedSum,
    data: BuiltData,
    tokenizer: Any,
    split: str,
    limit: int | None,
) -> Tokenized:
    rows = data.rows(split)
    with progress(f"tokenizing {split}", min(rows, limit or rows), unit="sets") as advance:
        return tokenize(
            data.tables(split, limit),
            tokenizer,
            max_length=recipe.max_length,
            max_prompt_length=recipe.prompt_limit,
            wanted=_wanted(loss),
            advance=advance,
        )


def _wanted(loss: Loss | WeightedSum) -> Wanted:
    """Which completions of a set the loss can use."""
    if "scores" in loss.needs:
        return "scored"
    if loss.completions == "first":
        return "first"
    return "labelled" if loss.completions == "labelled" else "ranked"
