"""The training loop, top to bottom: evaluate, save, draw, micro-steps, optimizer, log."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin
from torch import nn

from pairkit.errors import Interrupted, TrainingError
from pairkit.evaluation.held_out import evaluate
from pairkit.losses import Loss
from pairkit.progress import progress
from pairkit.training import checkpoint
from pairkit.training.forward import lengths, micro_batches, score
from pairkit.training.metrics import MetricsLog
from pairkit.training.negatives import draw, origins
from pairkit.training.objective import Averages, apply, term_weights, total
from pairkit.training.order import draw_seeds, sets_before, step_count, step_sets
from pairkit.training.recipe import TrainRecipe
from pairkit.training.reference import Sums, as_logps
from pairkit.training.tokens import TokenSet


@dataclass(frozen=True)
class Split:
    """Tokenized sets, and the reference log-probs of their columns where the loss needs them."""

    sets: list[TokenSet]
    reference: Sums | None


def train_steps(
    recipe: TrainRecipe,
    loss: Loss,
    negatives: dict[str, Any],
    model: nn.Module,
    train: Split,
    held_out: Split | None,
    out: Path,
) -> nn.Module:
    """Trains `model` to the end of the recipe, from the last checkpoint under `out` if there is one.

    A SIGINT ends the step under way, writes a checkpoint and raises `Interrupted`.
    """
    # The loader's device and precision, which the reference had too. What a launcher's environment says of
    # them would part the two, and what it says of accumulation would divide the objective.
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    if accelerator.num_processes > 1:
        raise TrainingError("training runs in one process: start it with python or pairkit, not torchrun")
    steps = step_count(len(train.sets), recipe.sets_per_step, recipe.epochs, recipe.max_steps)
    optimizer = _optimizer(recipe, model)
    schedule = _schedule(recipe, optimizer, steps)
    checkpoints = out / checkpoint.CHECKPOINTS
    saved = checkpoint.checkpoints(checkpoints)
    done = checkpoint.restore(saved[-1], model, optimizer, schedule) if saved else 0
    if recipe.gradient_checkpointing:
        _checkpoint_activations(model)
    model, optimizer = accelerator.prepare(model, optimizer)
    model.train()
    budget = {"tokens_per_micro_batch": recipe.tokens_per_micro_batch}

    def take(step: int) -> list[int]:
        return step_sets(
            len(train.sets), step, recipe.sets_per_step, recipe.epochs, recipe.max_steps, recipe.seed
        )

    def taken(step: int) -> int:
        return sets_before(len(train.sets), step, recipe.sets_per_step, recipe.epochs, recipe.max_steps)

    with (
        MetricsLog(out, done) as log,
        _interruptible() as interrupted,
        progress("training", taken(steps), unit="sets", done=taken(done)) as advance,
    ):
        for step in range(done, steps + 1):
            last = step == steps

            resumed_here = 0 < step == done  # the checkpoint is there, and so is the line of its evaluation
            due = last or step == 0 or _every(recipe.eval_every, step)
            if held_out and due and not resumed_here:
                found = evaluate(model, loss, held_out.sets, held_out.reference, **budget)
                log.write(step, "eval", found)

            due = not last and (_every(recipe.save_every, step) or interrupted())
            if due and not resumed_here:
                bare = accelerator.unwrap_model(model)
                path = checkpoint.save(checkpoints, step, bare, optimizer, schedule, keep=recipe.keep)
                if interrupted():
                    raise Interrupted(f"stopped after step {step}; the same command goes on from {path}")
            if last:
                break

            started = time.perf_counter()
            batch = take(step)
            sets = [train.sets[i] for i in batch]
            reference = [train.reference[i] for i in batch] if train.reference is not None else None
            seeds = draw_seeds(sets, recipe.seed, step)
            work = draw(loss, negatives, model, sets, reference, seeds, **budget)

            # The weights of the whole batch normalise each micro-batch, so that their number does not matter.
            weights = term_weights(loss, *lengths(work))
            averages, value, tokens = Averages(), 0.0, 0
            for group in micro_batches(work, recipe.tokens_per_micro_batch):
                part = [work[i] for i in group]
                policy = score(model, part).policy
                known = None
                if reference is not None:
                    known = as_logps(part, [reference[i] for i in group], policy.sum.device)
                result, margins = apply(loss, policy, known)
                objective = total(result, weights)
                accelerator.backward(objective)
                value += float(objective.detach())
                averages.add_pass(policy, margins)
                tokens += sum(len(item.tokens.prompt) * len(item.columns) for item in part)
                tokens += int(policy.length.sum())

            norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.optimizer.max_grad_norm or math.inf)
            _finite(step + 1, out, {"loss": value, "gradient norm": float(norm)})
            rate = schedule.get_last_lr()[0]
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

            seconds = time.perf_counter() - started
            if (step + 1) % recipe.log_every == 0 or step + 1 == steps:
                drawn = {f"drawn_{origin}": count for origin, count in sorted(origins(work).items())}
                metrics = {"loss": value, **averages.means(), "grad_norm": float(norm), "learning_rate": rate}
                log.write(step + 1, "train", {**metrics, **drawn, "tokens_per_second": tokens / seconds})
            advance(len(batch), note=f"loss {value:.4f}  {tokens / seconds:,.0f} tokens/s")
    return accelerator.unwrap_model(model)  # type: ignore[no-any-return]


def _finite(step: int, out: Path, numbers: dict[str, float]) -> None:
    """Stops the run before a number that is none reaches the weights, and with them a checkpoint."""
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise TrainingError(
                f"the {name} of step {step} is {number}: give a lower --learning-rate, and another --out or "
                f"--on-existing delete; the metrics until then are in {out / 'metrics.jsonl'}"
            )


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
