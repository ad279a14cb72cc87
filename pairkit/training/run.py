"""A training run from recipe to saved model: data, tokens, reference, loop."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from pairkit.errors import ModelError, RecipeError
from pairkit.files import OnExisting, stoppable
from pairkit.progress import console
from pairkit.training.distributed.processes import Processes, current_processes
from pairkit.training.distributed.sharding import launched_sharded
from pairkit.training.logprobs.reference_cache import reference_sums
from pairkit.training.logprobs.selection import Sums
from pairkit.training.logprobs.self_check import check_packed
from pairkit.training.loop import train_steps
from pairkit.training.lora import AdaptersOff
from pairkit.training.models import policy, reference, reference_key, to_save
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoints
from pairkit.training.output.directory import claim, discarding, save_model
from pairkit.training.output.layout import MODEL
from pairkit.training.output.trackers import check_installed
from pairkit.training.plan import Plan, plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import split_for
from pairkit.training.step.order import step_sets
from pairkit.training.tokens.sets import TokenSet
from pairkit.training.tokens.store import TokenStore


def train(recipe: TrainRecipe, out: Path, *, on_existing: OnExisting = "resume") -> Path:
    """Runs a recipe and returns the directory of the trained model, `out`/model.

    `out` holds the resolved recipe, what the run was made of (`run.json`), metrics and checkpoints; the
    tokens and the reference's log-probs stand beside it, where later runs find them.

    Raises:
        ExistingOutputError: `out` holds another run, or anything at all with on_existing="raise".
        Interrupted: SIGINT; the run goes on from its checkpoint when started again.
        OutputError: `out` cannot be written to.
        RecipeError: a tracker that is not installed or does not start.
        ModelError: a model that cannot be loaded or does not fit the device.
        TrainingError: a loss or a gradient that is no number.
    """
    model_folder = out / MODEL
    check_installed(recipe.trackers)
    processes = _processes(recipe)
    console.quiet = not processes.main
    with stoppable(out, lambda: _stopped(out)):
        planned = plan(recipe, TokenStore(out.parent / "tokens", processes=processes))
        _one_process(planned, processes)
        if processes.main:
            claim(planned, out, on_existing, processes)
        processes.wait()
        if model_folder.exists():
            console.print(f"{out}: this run is complete")
            return model_folder
        _say(planned)
        with discarding(out) if processes.main else nullcontext():
            try:
                model = _run(planned, out, processes)
            except RuntimeError as error:
                if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(
                    error
                ):
                    raise  # the processor's memory has no error of its own
                raise ModelError(_too_large(planned, error)) from error
        if processes.main:
            save_model(model, planned.tokenizer, model_folder)
        processes.wait()
    return model_folder


def _one_process(planned: Plan, processes: Processes) -> None:
    """A loss that updates its statistics at every call would have others in every process."""
    for _, part in planned.loss.parts:
        if part.every_call and processes.size > 1:
            raise RecipeError(f'{part.name} with stats="official" runs in one process: micro-batches count')


def _too_large(planned: Plan, error: RuntimeError) -> str:
    """What to lower; a micro-batch holds at least one set, whatever the budget."""
    budget, longest = planned.recipe.tokens_per_micro_batch, planned.longest
    lower = f"try --tokens-per-micro-batch {budget // 2}"
    if budget <= longest:
        lower = f"a set's longest text has {longest} tokens: try max_length={longest // 2}"
    return (
        f"out of memory with {budget} tokens a micro-batch ({error}); {lower}, --gradient-checkpointing "
        "or --bf16"
    )


def _stopped(out: Path) -> str:
    kept = checkpoints(out / CHECKPOINTS)
    again = f"goes on from {kept[-1]}" if kept else "starts again: there was no checkpoint yet"
    return f"stopped; the same command {again}"


def _run(planned: Plan, out: Path, processes: Processes) -> nn.Module:
    recipe, needs = planned.recipe, planned.loss.needs
    store = out.parent / "reference"

    def compute(sets: Sequence[TokenSet]) -> Sums:
        return reference_sums(
            sets,
            store / f"{reference_key(planned)}.parquet",
            partial(reference, planned, processes),
            tokens_per_micro_batch=recipe.tokens_per_micro_batch,
            processes=processes,
        )

    mismatching = {"seed": recipe.seed, "max_length": recipe.max_length}
    train_split = split_for(needs, planned.train.sets, compute, **mismatching)
    held_out = None
    if planned.held_out and planned.held_out.sets:  # its reference point is that of training
        held_out = split_for(needs - {"kl_baseline"}, planned.held_out.sets, compute)
    model = policy(planned, processes)
    live = None
    if "token_kl" in needs:
        shares = recipe.lora is not None and recipe.reference is None
        live = AdaptersOff(model) if shares else reference(planned, processes).eval().requires_grad_(False)
    _check_packed(model, recipe, train_split.sets)
    through = StepModel(planned.loss, model, live, recipe.tokens_per_micro_batch, processes)
    model = train_steps(recipe, through, planned.negatives, train_split, held_out, out)
    return to_save(model, planned, processes)


def _check_packed(model: nn.Module, recipe: TrainRecipe, sets: Sequence[TokenSet]) -> None:
    """On the first global batch."""
    first = step_sets(len(sets), 0, recipe.sets_per_step, recipe.epochs, recipe.max_steps, recipe.seed)
    coarse = recipe.bf16 or recipe.dtype == "bfloat16"
    check_packed(model, [sets[i] for i in first], torch.bfloat16 if coarse else torch.float32)


def _processes(recipe: TrainRecipe) -> Processes:
    """Those of the run; the launcher is asked in any case, see there."""
    said, processes = launched_sharded(), current_processes()
    wanted = said if recipe.shard is None else recipe.shard
    sharded = wanted and processes.size > 1
    if sharded and recipe.lora and recipe.lora.base:
        raise RecipeError(f"lora.base={recipe.lora.base} cannot be sharded: give shard=false")
    return replace(processes, sharded=sharded)


def _say(planned: Plan) -> None:
    console.print(
        f"{planned.loss.name} on {len(planned.train.sets):,} sets, {planned.steps:,} steps, "
        f"model {planned.recipe.model}"
    )
    for tokenized in (planned.train, planned.held_out):
        if tokenized and tokenized.refused:
            console.print(f"not used: {tokenized.refusals()}", markup=False)
    if planned.held_out is None:
        console.print(f"no split {planned.recipe.eval_split!r}: nothing is evaluated")
