"""The training loop, top to bottom: evaluate, save, draw, micro-steps, optimizer, log."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairkit.errors import Interrupted
from pairkit.progress import console, progress
from pairkit.training.cost.speed import note, speed_of
from pairkit.training.distributed.sharding import gather_tensors
from pairkit.training.evaluate import evaluate
from pairkit.training.output import checkpoint
from pairkit.training.output.metrics import MetricsLog
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.batch import StepModel, prepare
from pairkit.training.step.examples import Split
from pairkit.training.step.negatives import origins
from pairkit.training.step.objective import Averages
from pairkit.training.step.order import draw_seeds, sets_before, step_count, step_seed, step_sets
from pairkit.training.step.skipped import Skipped, not_finite


def train_steps(
    recipe: TrainRecipe,
    through: StepModel,
    negatives: dict[str, Any],
    train: Split,
    held_out: Split | None,
    out: Path,
) -> nn.Module:
    """Trains the model of `through` to the end of the recipe, from the last checkpoint under `out` if any.

    A SIGINT ends the step under way, writes a checkpoint and raises `Interrupted`. A step whose loss or
    gradient is no finite number changes neither weights nor running statistics; the schedule and the sets go
    on, so that the steps behind it are those that they would have been.
    """
    model, loss, processes = through.model, through.loss, through.processes
    steps = step_count(len(train.sets), recipe.sets_per_step, recipe.epochs, recipe.max_steps)
    optimizer = _optimizer(recipe, model)
    schedule = _schedule(recipe, optimizer, steps)
    speed = speed_of(through)
    largest_norm = recipe.optimizer.max_grad_norm or math.inf
    skipped = Skipped()
    state = checkpoint.State(model, optimizer, schedule, loss, skipped)
    checkpoints = out / checkpoint.CHECKPOINTS
    done = checkpoint.restore(checkpoints, state, processes)
    if recipe.gradient_checkpointing:
        _checkpoint_activations(model)
    model.train()

    def take(step: int) -> list[int]:
        return step_sets(
            len(train.sets), step, recipe.sets_per_step, recipe.epochs, recipe.max_steps, recipe.seed
        )

    def taken(step: int) -> int:
        return sets_before(len(train.sets), step, recipe.sets_per_step, recipe.epochs, recipe.max_steps)

    with (
        MetricsLog(out, done, recipe, active=processes.main) as log,
        _interruptible() as interrupted,
        progress("training", taken(steps), unit="sets", done=taken(done)) as advance,
    ):
        for step in range(done, steps + 1):
            last = step == steps
            stop = processes.any(interrupted())

            resumed_here = 0 < step == done  # the checkpoint is there, and so is the line of its evaluation
            due = last or step == 0 or _every(recipe.eval_every, step)
            if held_out and due and not resumed_here:
                log.write(step, "eval", evaluate(through, held_out))

            # Not while steps are skipped: the weights may be why, and push better ones out.
            due = not last and (stop or (_every(recipe.save_every, step) and not skipped.in_a_row))
            if due and not resumed_here:
                files = checkpoint.content(state, processes)
                if processes.main:
                    log.flush()
                    checkpoint.save(checkpoints, step, files, keep=recipe.keep)
            if stop and not last:
                kept = checkpoint.named(checkpoints, step)
                raise Interrupted(f"stopped after step {step}; the same command goes on from {kept}")
            if last:
                break

            torch.manual_seed(step_seed(recipe.seed, step))  # for what draws without a generator of its own
            started = time.perf_counter()
            statistics = loss.state_dict()
            rows = take(step)
            seeds = draw_seeds([train.sets[i] for i in rows], recipe.seed, step)
            batch = prepare(through, negatives, train, rows, seeds)
            averages = Averages()
            value, tokens, work = through.gradients(batch, averages)
            if not processes.sharded:  # a sharded model's backward adds them up
                processes.add_gradients(model)
            norm = float(
                gather_tensors(nn.utils.clip_grad_norm_(model.parameters(), largest_norm), keep=True)
            )
            told = processes.collect((value, tokens, norm, origins(work), speed.operations(batch, work)))
            values, counts, norms, drawn, operations = zip(*told, strict=True)
            value, tokens = sum(values), sum(counts)

            wrong = not_finite(value, norms)  # the same on every process
            skipped.note(step + 1, wrong, recipe.max_skipped, out)
            if wrong:
                optimizer.zero_grad()  # without gradients the optimizer changes nothing
                loss.load_state_dict(statistics)
            rate = schedule.get_last_lr()[0]
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

            seconds = time.perf_counter() - started
            rates = speed.rates(len(rows), tokens, sum(operations), seconds)
            if (step + 1) % recipe.log_every == 0 or step + 1 == steps:
                metrics = {"loss": value, **averages.means(processes), "grad_norm": norm}
                metrics |= {"learning_rate": rate, "skipped": skipped.total}
                metrics |= {
                    f"drawn_{origin}": count for origin, count in sorted(sum(drawn, Counter[str]()).items())
                }
                log.write(step + 1, "train", {**metrics, **rates})
            advance(len(rows), note=f"loss {value:.4f}  {note(rates)}")
    if skipped.in_a_row:
        console.print(
            f"the last steps ({skipped.in_a_row}) were skipped: evaluate the model before you use it"
        )
    return model


def _every(interval: int | None, step: int) -> bool:
    return interval is not None and step > 0 and step % interval == 0


def _checkpoint_activations(model: Any) -> None:
    """Under its present name in transformers, or under the one it had before."""
    name = "activation_checkpointing_enable"
    enable = getattr(model, name, None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _optimizer(recipe: TrainRecipe, model: nn.Module) -> torch.optim.AdamW:
    """AdamW; weight decay falls on matrices only, as usual."""
    settings = recipe.optimizer
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, eps=settings.epsilon)


def _schedule(recipe: TrainRecipe, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    from transformers import get_scheduler

    name = recipe.optimizer.schedule
    return get_scheduler(
        "constant_with_warmup" if name == "constant" else name,
        optimizer,
        num_warmup_steps=round(recipe.optimizer.warmup * steps),
        num_training_steps=steps,
    )


@contextmanager
def _interruptible() -> Iterator[Any]:
    """Yields a function that says whether SIGINT came; a second SIGINT stops at once."""
    came = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: came  # only the main thread gets signals
        return

    def note(number: int, frame: Any) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before)
