"""A training run from recipe to saved model: data, tokens, reference, loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from pairkit.errors import ModelError, RecipeError
from pairkit.files import OnExisting, stoppable
from pairkit.models.chat.format import ChatFormat
from pairkit.ownership import outside_others
from pairkit.progress import console, log, warn
from pairkit.training.at_reference import precision, starts_at_reference
from pairkit.training.cost.report import report
from pairkit.training.cost.warnings import warnings
from pairkit.training.distributed.processes import Processes, current_processes
from pairkit.training.distributed.sharding import launched_sharded
from pairkit.training.export.epochs import save_epoch_model
from pairkit.training.generated.curve import Benchmark, MakeBenchmark, check_curve, curve_of
from pairkit.training.kinds import KINDS
from pairkit.training.logprobs.reference_cache import reference_sums
from pairkit.training.logprobs.selection import Sums
from pairkit.training.loop import train_steps
from pairkit.training.models import policy, reference, reference_key, running_reference, to_save
from pairkit.training.output.checkpoint import CHECKPOINTS, checkpoints, load_weights
from pairkit.training.output.directory import all_steps_taken, claimed, discarding
from pairkit.training.output.layout import MODEL
from pairkit.training.output.longer import Finished
from pairkit.training.output.save import save_model
from pairkit.training.output.start import check_start
from pairkit.training.output.trackers import check_installed, continue_trackers
from pairkit.training.plan import Plan, plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.record.recording import recording_of
from pairkit.training.record.samples import check_samples, prompts_of, samples_of
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import split_for
from pairkit.training.step.optimizer import check_optimizer
from pairkit.training.step.pairs import PairSets, as_pairs
from pairkit.training.step.router import routers_of
from pairkit.training.step.segment import Segment
from pairkit.training.tokens.store import TokenStore
from pairkit.training.tokens.token_set import TokenSet


def train(
    recipe: TrainRecipe,
    out: Path,
    *,
    on_existing: OnExisting = "resume",
    allow_changed_data: bool = False,
    benchmarks: MakeBenchmark | None = None,
    segment: Segment | None = None,
) -> Path:
    """Run a recipe and return the directory of the trained model, `out`/model.

    `out` holds the resolved recipe, what the run was made of (`run.json`), metrics and checkpoints; the
    tokens and the reference's log-probs are next to it, where later runs find them.

    With `allow_changed_data`, files of the dataset need not be those that its manifest lists. `benchmarks`
    reads the benchmark that the recipe's `eval.generate` names.

    With `segment` the run is a part of a longer training: it takes the segment's steps, whatever length the
    recipe has, and begins with the state in `segment.start`. `recipe.model` is that of the first segment in
    all of them. One that others follow leaves the checkpoint of its last step, from which the next starts:
    `checkpoint_path(out / CHECKPOINTS, segment.end)`.

    Raises:
        InputError: the dataset was changed, or none of its sets can be used; the start of the segment is
            missing or damaged.
        ExistingOutputError: `out` contains another run, or anything at all with on_existing="raise".
        Interrupted: SIGINT; the run resumes from its checkpoint when started again.
        OutputError: `out` cannot be written to.
        RecipeError: a tracker is not installed or does not start.
        ModelError: a model cannot be loaded or does not fit the device.
        TrainingError: the loss or a gradient is NaN or infinite in too many consecutive steps.
    """
    model_folder = out / MODEL
    # First, because a missing tracker would otherwise show only after tokenizing.
    check_installed(recipe.trackers)
    processes = _processes(recipe)
    benchmark = check_curve(recipe.eval.generate, benchmarks, processes)
    check_samples(recipe.record.samples, processes)
    if segment is not None:
        recipe = recipe.model_copy(update={"max_steps": segment.steps})
        if processes.main:
            check_start(segment)
    # One process prints, or every line would come once per process; none where the caller wants no lines.
    console.quiet = console.quiet or not processes.main
    # Before the plan, which writes the tokens next to `out`.
    outside_others(out)
    with stoppable(out, lambda: _stopped(out)):
        store = TokenStore(out.parent / "tokens", processes=processes)
        run_plan = plan(recipe, store, allow_changed_data=allow_changed_data, segment=segment)
        _check_single_process(run_plan, processes)
        with _claimed(run_plan, out, on_existing, processes) as complete:
            processes.wait()  # until `out` is this run's, because the others look into it next
            # After the wait: every process looks at the same directory and leaves here, or none does.
            if model_folder.exists():
                log(f"{out}: this run is complete")
                return model_folder
            _announce(run_plan)
            if segment and processes.main:
                continue_trackers(out, segment)
            # One process removes the directory, because the others would find it half removed.
            with discarding(out, complete) if processes.main else nullcontext():
                try:
                    model = _run(run_plan, out, processes, benchmark)
                except RuntimeError as error:
                    if not out_of_memory(error):
                        raise
                    raise ModelError(_too_large(run_plan, error)) from error
            if processes.main:
                # Before the model, because with that the run is complete.
                all_steps_taken(out)
                save_model(
                    model,
                    run_plan.tokenizer,
                    model_folder,
                    recipe,
                    # What was not trained is copied from the model's files.
                    check=lambda: run_plan.unwritten.check_content(run_plan.content),
                )
                _say_truncation(run_plan)  # again, because the first line is far above by now
            processes.wait()
    return model_folder


@contextmanager
def _claimed(
    run_plan: Plan, out: Path, on_existing: OnExisting, processes: Processes
) -> Iterator[Finished | None]:
    """Claim `out` for all processes of the run: one of them does."""
    if not processes.main:
        yield None
        return
    with claimed(
        out,
        run_plan.recipe,
        on_existing,
        data_digest=run_plan.data.digest,
        content=run_plan.content,
        steps=run_plan.order.end,
        plan=lambda: report(run_plan),
        refused=run_plan.refused(),
        processes=processes,
        segment=run_plan.segment,
    ) as complete:
        yield complete


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch ran out of memory; on a CPU only the message shows it, because it has no class."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _check_single_process(run_plan: Plan, processes: Processes) -> None:
    """Refuse several processes for a loss that updates its statistics at every call: they would differ."""
    for _, part in run_plan.loss.parts:
        if part.every_call and processes.size > 1:
            raise RecipeError(
                f'{part.name} with stats="official" depends on micro-batches and cannot run in '
                f"{processes.size} processes; start it in one"
            )


def _too_large(run_plan: Plan, error: RuntimeError) -> str:
    """Describe what to lower; a micro-batch holds at least one set, whatever the budget."""
    budget, longest = run_plan.recipe.tokens_per_micro_batch, run_plan.longest
    remedy = f"try --tokens-per-micro-batch {budget // 2}"
    if budget <= longest:
        remedy = f"the longest text has {longest} tokens: try max_length={longest // 2}"
    return (
        f"out of memory with {budget} tokens per micro-batch ({error}); {remedy}, --gradient-checkpointing "
        "or --bf16"
    )


def _stopped(out: Path) -> str:
    paths = checkpoints(out / CHECKPOINTS)
    if not paths:
        return "stopped before the first checkpoint; the same command starts over"
    return f"stopped; the same command resumes from {paths[-1]}"


def _run(run_plan: Plan, out: Path, processes: Processes, benchmark: Benchmark | None) -> nn.Module:
    recipe, needs = run_plan.recipe, run_plan.loss.needs
    prompts = None
    if recipe.record.samples.every is not None:  # before anything that takes long
        held_out_sets = run_plan.held_out_examples
        prompts = prompts_of(recipe.record.samples, run_plan.data, recipe.eval_split, held_out_sets)

    def compute(sets: Sequence[TokenSet]) -> Sums:
        # From the main process, the only one that hashes the weights.
        key = processes.broadcast_from_main(lambda: reference_key(run_plan))
        return reference_sums(
            sets,
            out.parent / "reference" / f"{key}.parquet",
            partial(reference, run_plan, processes),
            tokens_per_micro_batch=recipe.tokens_per_micro_batch,
            processes=processes,
        )

    # Sets, whose reference is that of their pairs; where pairs are what is tokenized, there is none.
    examples = run_plan.train.sets if run_plan.kind.pairs is None else run_plan.examples
    train_split = split_for(needs, examples, compute, seed=recipe.seed, max_length=recipe.max_length)
    if isinstance(run_plan.examples, PairSets):
        train_split = as_pairs(train_split, run_plan.examples)
    held_out = None
    if run_plan.held_out_examples:  # kto's reference point is that of training
        held_out = split_for(needs - {"kl_baseline"}, run_plan.held_out_examples, compute)
    # After the reference's log-probs, because its model is freed by then: one model at a time is in memory.
    model = policy(run_plan, processes)
    start = run_plan.segment.start if run_plan.segment else None
    if start:  # before anything is compared with it; the loop loads the whole state
        load_weights(start, model)
    in_steps = "token_kl" in needs  # otherwise the reference runs at evaluations alone, or never
    live = running_reference(run_plan, model, processes) if in_steps or recipe.record.kl else None
    _check_packed(model, run_plan)
    at_reference = starts_at_reference(model, run_plan, train_split, processes)
    routers = routers_of(model, recipe.router_aux_loss)
    budget = recipe.tokens_per_micro_batch
    second = live if in_steps else None
    step_model = StepModel(run_plan.loss, model, second, budget, processes, at_reference, routers)
    # With the tokenizer's template as it is saved, so that the last point is that of the saved model.
    chat = partial(ChatFormat, run_plan.tokenizer, "none" if recipe.template == "none" else None)
    curve = None
    if recipe.eval.generate and benchmark:
        curve = curve_of(recipe.eval.generate, benchmark, recipe.eval_every, model, chat(), processes)
    samples = samples_of(recipe.record.samples, prompts, model, chat(), recipe.seed) if prompts else None
    names, splits = (recipe.train_split, recipe.eval_split), (train_split, held_out)
    recording = recording_of(
        recipe.record, out, names, run_plan.negatives, splits, live, samples, recipe.seed
    )  # fmt: skip
    epochs = recipe.save_every == "epoch"
    save_epoch = partial(save_epoch_model, run_plan, out, processes) if epochs else None
    model = train_steps(
        recipe, step_model, run_plan.order, run_plan.negatives, train_split, recording, out, curve, start,
        save_epoch,
    )  # fmt: skip
    return to_save(model, run_plan, processes)


def _check_packed(model: nn.Module, run_plan: Plan) -> None:
    """Compare packed with separate passes on the first global batch."""
    sets = run_plan.examples
    # The first step's sets: the same for every run of the recipe, and about to be scored anyway.
    first = [sets[i] for i in run_plan.order.step_sets(run_plan.order.first)]
    run_plan.kind.check(model, first, precision(run_plan.recipe))


def _processes(recipe: TrainRecipe) -> Processes:
    """Return the processes of the run, and whether they hold the model in parts.

    The launcher is asked whatever the recipe sets, because its other settings have to be refused or undone.
    """
    launched, processes = launched_sharded(), current_processes()
    requested = launched if recipe.shard is None else recipe.shard  # the recipe decides, if it does
    sharded = requested and processes.size > 1  # one process holds all parts anyway
    check_optimizer(recipe.optimizer, sharded=sharded)
    if sharded and not KINDS[recipe.trains].shards:
        raise RecipeError(f"a model of {recipe.loss_name} cannot be sharded; set shard=false")
    if sharded and recipe.lora and recipe.lora.base:
        raise RecipeError(f"a model with lora.base={recipe.lora.base} cannot be sharded; set shard=false")
    return replace(processes, sharded=sharded)


def _announce(run_plan: Plan) -> None:
    examples = f"{len(run_plan.train.sets):,} sets"
    if run_plan.recipe.expand or run_plan.kind.pairs:
        examples += f" ({len(run_plan.examples):,} pairs)"
    steps = run_plan.segment.name if run_plan.segment else f"{run_plan.order.step_count:,} steps"
    log(f"{run_plan.loss.name} on {examples}, {steps}, model {run_plan.recipe.model}")
    for tokenized in (run_plan.train, run_plan.held_out):
        if tokenized and tokenized.refused:
            log(f"not used: {tokenized.refusals()}")
    _say_truncation(run_plan)
    for note in run_plan.notes:
        log(note)
    for warning in warnings(run_plan):
        warn(warning)
    if run_plan.held_out is None:
        log(f"no split {run_plan.recipe.eval_split!r}: evaluation is off")


def _say_truncation(run_plan: Plan) -> None:
    for split, cut in run_plan.truncation().items():
        if sentence := cut.sentence(run_plan.recipe.max_length):
            warn(f"{split}: {sentence}")
