"""A training run from recipe to saved model: data, tokens, reference, loop."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from safetensors import SafetensorError
from torch import nn

from pairkit.errors import (
    ExistingOutputError,
    InputError,
    Interrupted,
    OutputError,
    PairkitError,
    TrainingError,
)
from pairkit.files import write_json, write_text
from pairkit.losses import Loss, build
from pairkit.progress import console, progress
from pairkit.schema import short_hash
from pairkit.training.checkpoint import CHECKPOINTS, checkpoints
from pairkit.training.data import BuiltData, open_data
from pairkit.training.loop import Split, train_steps
from pairkit.training.models import load_model, load_tokenizer
from pairkit.training.negatives import sampler_settings
from pairkit.training.order import step_count
from pairkit.training.recipe import TrainRecipe
from pairkit.training.reference import reference_sums
from pairkit.training.tokens import Tokenized, tokenize

OnExisting = Literal["resume", "delete", "raise"]
LIBRARIES = ("pairkit", "torch", "transformers", "tokenizers", "accelerate", "pyarrow")


@dataclass(frozen=True)
class Plan:
    """What a run would do, known before a model is loaded."""

    recipe: TrainRecipe
    loss: Loss
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
            "loss": {"name": self.loss.name, **self.loss.parameters},
            "negatives": {} if self.loss.spec.completions == "first" else self.negatives,
            "steps": self.steps,
            "train_sets": _counts(self.train),
            "eval_sets": _counts(held_out) if held_out else None,
            "tokens": {
                "prompt": sum(len(item.prompt) for item in self.train.sets),
                "completion": sum(len(c.ids) for item in self.train.sets for c in item.columns),
            },
        }


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
        raise InputError(f"{data.folder}: no set can be trained on: {_refusals(train)}")
    held_out = None
    if data.rows(recipe.eval_split):
        held_out = _tokenize(recipe, loss, data, tokenizer, recipe.eval_split, recipe.eval_limit)
    steps = step_count(len(train.sets), recipe.sets_per_step, recipe.epochs, recipe.max_steps)
    negatives = sampler_settings(loss, recipe.negatives, data.rejected)
    return Plan(recipe, loss, negatives, data, tokenizer, train, held_out, steps)


def train(recipe: TrainRecipe, out: Path, *, on_existing: OnExisting = "resume") -> Path:
    """Runs a recipe and returns the directory of the trained model, `out`/model.

    `out` holds the resolved recipe, what the run was made of (`run.json`), metrics and checkpoints; the
    reference log-probs stand beside it, where later runs find them.

    Raises:
        ExistingOutputError: `out` holds another run, or anything at all with on_existing="raise".
        Interrupted: SIGINT; the run goes on from its checkpoint when started again.
        OutputError: `out` cannot be written to.
        TrainingError: a loss that is no number.
    """
    model_folder = out / "model"
    with _stopping(out):
        planned = plan(recipe)
        _claim(planned, out, on_existing)
        if model_folder.exists():
            console.print(f"{out}: this run is complete")
            return model_folder
        _say(planned)
        with _discarding(out):
            model = _run(planned, out)
        _save(model, planned.tokenizer, model_folder)
    return model_folder


@contextmanager
def _stopping(out: Path) -> Iterator[None]:
    """What stops a run from outside, as errors that say what is kept."""
    try:
        yield
    except PairkitError:
        raise
    except KeyboardInterrupt as error:
        kept = checkpoints(out / CHECKPOINTS)
        again = f"goes on from {kept[-1]}" if kept else "starts again: there was no checkpoint yet"
        raise Interrupted(f"stopped; the same command {again}") from error
    except OSError as error:
        raise OutputError(f"{out}: cannot be written to: {error.strerror or error}") from error


@contextmanager
def _discarding(out: Path) -> Iterator[None]:
    """Removes a run that failed before its first checkpoint, so that the corrected command is not refused.

    The metrics of a loss that went astray are kept, they show how; a stopped run is kept as it is.
    """
    try:
        yield
    except (PairkitError, OSError) as error:
        if not isinstance(error, TrainingError | Interrupted) and not checkpoints(out / CHECKPOINTS):
            shutil.rmtree(out, ignore_errors=True)
        raise


def _run(planned: Plan, out: Path) -> nn.Module:
    recipe = planned.recipe
    load = _loader(recipe, recipe.model, len(planned.tokenizer))
    splits: list[Split | None] = []
    for tokenized in (planned.train, planned.held_out):
        if tokenized is None or not tokenized.sets:
            splits.append(None)
            continue
        sums = None
        if planned.loss.needs_reference:
            name = recipe.reference or recipe.model
            sums = reference_sums(
                tokenized.sets,
                out.parent / "reference" / f"{_reference_key(recipe, name, len(planned.tokenizer))}.parquet",
                _loader(recipe, name, len(planned.tokenizer)),
                tokens_per_micro_batch=recipe.tokens_per_micro_batch,
            )
        splits.append(Split(tokenized.sets, sums))
    train_split, held_out = splits
    assert train_split is not None  # `plan` refuses data without a usable set
    return train_steps(recipe, planned.loss, planned.negatives, load(), train_split, held_out, out)


def _tokenize(
    recipe: TrainRecipe, loss: Loss, data: BuiltData, tokenizer: Any, split: str, limit: int | None
) -> Tokenized:
    rows = data.rows(split)
    with progress(f"tokenizing {split}", min(rows, limit or rows), unit="sets") as advance:
        return tokenize(
            data.tables(split, limit),
            tokenizer,
            max_length=recipe.max_length,
            max_prompt_length=recipe.prompt_limit,
            compare=loss.spec.completions != "first",
            advance=advance,
        )


def _loader(recipe: TrainRecipe, name: str, vocabulary: int) -> Callable[[], nn.Module]:
    def load() -> nn.Module:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = load_model(
            name,
            revision=recipe.revision if name == recipe.model else None,
            dtype=recipe.dtype,
            attention=recipe.attention,
            trust_remote_code=recipe.trust_remote_code,
            vocabulary=vocabulary,
            seed=recipe.seed,
        ).to(device)
        if recipe.bf16:  # here, and not by Accelerator, whose precision is that of the whole process
            model.forward = torch.autocast(device, torch.bfloat16)(model.forward)
        return model

    return load


def _reference_key(recipe: TrainRecipe, name: str, vocabulary: int) -> str:
    """What the reference's log-probs depend on besides the tokens."""
    local = Path(name)
    weights = sorted(local.glob("*.safetensors")) if local.is_dir() else [local] if local.exists() else []
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in weights]
    scratch = [recipe.seed, vocabulary] if name.endswith(".json") else None
    precision = [recipe.dtype, recipe.bf16]
    return short_hash([name, recipe.revision, precision, stamps, scratch])


def _claim(planned: Plan, out: Path, on_existing: OnExisting) -> None:
    """Makes `out` this run's, or finds that it is already."""
    record = out / "run.json"
    identity = {
        "recipe": planned.recipe.model_dump(mode="json"),
        "data": planned.data.digest,
    }
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; give another --out, a directory to write to")
    if out.exists() and any(out.iterdir()):
        if not record.is_file():
            raise ExistingOutputError(f"{out} is not empty and holds no training run; give another --out")
        if on_existing == "raise":
            raise ExistingOutputError(f"{out} holds a run; --on-existing resume goes on, delete starts again")
        if on_existing == "resume":
            _compare(record, identity, out)
            return
        shutil.rmtree(out)
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    versions["python"] = platform.python_version()
    with _discarding(out):
        write_text(out / "recipe.yaml", yaml.safe_dump(identity["recipe"], sort_keys=False))
        write_json(record, {**identity, "versions": versions, "plan": planned.describe()})


def _compare(record: Path, identity: dict[str, Any], out: Path) -> None:
    before = json.loads(record.read_text(encoding="utf-8"))
    differing = [
        f"{key} {before['recipe'].get(key)!r} -> {value!r}"
        for key, value in identity["recipe"].items()
        if before["recipe"].get(key) != value
    ]
    if before["data"] != identity["data"]:
        differing.append("the data set was built again")
    if differing:
        raise ExistingOutputError(
            f"{out} holds another run ({'; '.join(differing)}); "
            "give another --out, or --on-existing delete to start again"
        )


def _say(planned: Plan) -> None:
    console.print(
        f"{planned.loss.name} on {len(planned.train.sets):,} sets, {planned.steps:,} steps, "
        f"model {planned.recipe.model}"
    )
    for tokenized in (planned.train, planned.held_out):
        if tokenized and tokenized.refused:
            console.print(f"not used: {_refusals(tokenized)}", markup=False)
    if planned.held_out is None:
        console.print(f"no split {planned.recipe.eval_split!r}: nothing is evaluated")


def _counts(tokenized: Tokenized) -> dict[str, Any]:
    return {"used": len(tokenized.sets), "refused": dict(sorted(tokenized.refused.items()))}


def _refusals(tokenized: Tokenized) -> str:
    return "; ".join(
        f"{count} sets {reason} ({tokenized.examples[reason]})"
        for reason, count in sorted(tokenized.refused.items())
    )


def _save(model: nn.Module, tokenizer: Any, target: Path) -> None:
    """Saves model and tokenizer so that the directory appears whole."""
    temporary = target.with_name(f".{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        model.save_pretrained(temporary)  # type: ignore[operator]
        tokenizer.save_pretrained(temporary)
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise OutputError(f"{target}: the model cannot be written: {reason}") from error
