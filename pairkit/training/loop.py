"""The training loop, top to bottom: evaluate, save, sample, micro-steps, optimizer, log.

Its invariant: a run that was stopped anywhere ends in the same bytes as one that was not. So whatever a step
does is a function of the recipe, the data and the step's number, and all that it changes is in
`checkpoint.State`.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairkit.errors import Interrupted, ModelError
from pairkit.progress import progress, warn
from pairkit.training.cost.speed import rates_note, speed_of
from pairkit.training.distributed.processes import Processes
from pairkit.training.distributed.sharding import gather_tensors
from pairkit.training.generated.curve import Curve
from pairkit.training.logprobs.hidden import class_name
from pairkit.training.output import checkpoint
from pairkit.training.output.entries import read_metrics
from pairkit.training.output.metrics import MetricsLog
from pairkit.training.recipe import TrainRecipe
from pairkit.training.record.recording import Recording
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split
from pairkit.training.step.learning_rate import first_update, learning_rate, warmup_steps
from pairkit.training.step.narrow import Unmoved, make_optimizer, unmoved_warning
from pairkit.training.step.negatives import origins
from pairkit.training.step.order import StepOrder, draw_seeds, step_seed
from pairkit.training.step.prepare import prepare
from pairkit.training.step.saving import best_step, save_interval
from pairkit.training.step.skipped import Skipped, not_finite
from pairkit.training.step.training_set import observe_training_set

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BURST = 3.0  # seconds in which signals count as one: a terminal and a launcher may both send theirs


def train_steps(
    recipe: TrainRecipe,
    step_model: StepModel,
    order: StepOrder,
    negatives: dict[str, Any],
    train: Split,
    recording: Recording,
    out: Path,
    curve: Curve | None = None,
    start: Path | None = None,
    save_epoch: Callable[[nn.Module, int], None] | None = None,
) -> nn.Module:
    """Train the model of `step_model` to the end of `order`, from the last checkpoint under `out` if any.

    Without one it begins with the state in `start`, the checkpoint of a segment before this one; a segment
    that others follow leaves a checkpoint of its last step. `save_epoch` is called on every process with the
    model and the number of an epoch, from 1, after the step that ends it.

    SIGINT, or another signal that raises an exception, ends the current step, writes a checkpoint and raises
    `Interrupted`. A step whose loss or gradient is not finite changes neither weights nor running statistics;
    the schedule and the sets advance,
    because then the steps after it are those of a run that skipped nothing.
    """
    model, loss, processes = step_model.model, step_model.loss, step_model.processes
    first, end, steps = order.first, order.end, order.whole
    optimizer = make_optimizer(recipe.optimizer, model)
    speed = speed_of(step_model)
    largest_norm = recipe.optimizer.max_grad_norm or math.inf  # inf: logged, never clipped
    interval = save_interval(recipe.save_every, steps)
    skips = Skipped()
    at_start, moves_at = step_model.unmoved(), first_update(recipe.optimizer, steps, first)
    state = checkpoint.State(model, optimizer, loss, skips, recording.drawn)
    checkpoints = out / checkpoint.CHECKPOINTS
    # Everything else of a step is a function of (seed, step): with the state and the number of steps done, a
    # resumed run is the run that was stopped.
    start_step = checkpoint.restore(checkpoints, state, processes, start)
    if recipe.gradient_checkpointing:
        _checkpoint_activations(model)
    step_model.kind.set_training(model)

    with (
        MetricsLog(out, start_step, recipe, first=first, active=processes.main) as log,
        _interruptible() as interruption,
        progress(
            "training", order.sets_before(end), unit="sets", done=order.sets_before(start_step)
        ) as advance,
    ):
        # One more round than there are steps: `step` is the number of steps done, and after the last one
        # there is an evaluation, but a checkpoint only of the best, because the model itself is saved, or for
        # the segment that follows: the saved model may be rounded, and has no moments.
        best = _best(recipe, out, processes, first)
        for step in range(start_step, end + 1):
            last = step == end
            # Two passes of one model differ by rounding, which a margin of 0 would show.
            current = at_start if step <= moves_at else step_model
            # Agreed on by all: one that stopped alone would leave the others waiting in a collective call.
            stop = processes.any(interruption.came is not None)

            # Evaluated and logged before the checkpoint, because a run that resumes from this checkpoint does
            # not evaluate this step again.
            resumed_here = first < step == start_step
            due = last or step == first or _every(recipe.eval_every, step)
            if due and not resumed_here and (evaluation := recording.evaluate(current, step)):
                log.write(step, "eval", evaluation)
                best = _best(recipe, out, processes, first)
            # Not at the start of a later segment: the one before has measured the same weights.
            if curve and curve.due(step, last=last) and not (resumed_here or 0 < step == first):
                log.write(step, "generate", curve.measure(step))
            if recording.samples_due(step, order) and not (resumed_here or 0 < step == first):
                log.write(step, "sample", recording.sample(step_model, step))
            if save_epoch and not resumed_here and (epoch := order.epoch_ended(step)):
                save_epoch(model, epoch)

            # Not while steps are skipped: the weights may be why, and would push out the checkpoints from
            # before, of which only the last few are kept.
            periodic = _every(interval, step) and first < step and not last
            followed = last and end < steps
            due = followed or (stop and not last) or ((periodic or step == best) and not skips.in_a_row)
            if due and not resumed_here:
                files = checkpoint.content(state, processes)  # on all, because gathering is collective
                if processes.main:
                    log.flush()  # first, because a checkpoint must not be ahead of the metrics on disk
                    checkpoint.save(checkpoints, step, files, keep=recipe.keep, best=best)
                    recording.forget_after(start_step)
            if stop and not last:
                path = checkpoint.checkpoint_path(checkpoints, step)
                message = f"stopped after step {step}; the same command resumes from {path}"
                raise Interrupted(message) from interruption.exception()
            if last:
                if processes.main:
                    recording.forget_after(start_step)
                break

            # For a user's loss that samples without a generator of its own: the same numbers after a resume.
            torch.manual_seed(step_seed(recipe.seed, step))
            observe_training_set(current, train, order, step)
            start_time = time.perf_counter()
            statistics = loss.state_dict()  # as they were, in case the step is skipped
            rows = order.step_sets(step)
            seeds = draw_seeds([train.sets[i] for i in rows], recipe.seed, step)
            logged = (step + 1) % recipe.log_every == 0 or step + 1 == end
            figures = recording.figures(loss, logged=logged)
            batch = prepare(current, negatives, train, rows, seeds, figures)
            averages = Averages(step_model.kind.logged)
            value, tokens, work = current.gradients(batch, averages, figures)
            # Summed, not averaged, because each process's share is already divided by the weights of the
            # global batch. A sharded model's backward has summed them.
            if not processes.sharded:
                processes.add_gradients(model)
            # Clipped after the sum, because the norm is that of the global batch, equal on every process.
            norm = float(
                gather_tensors(nn.utils.clip_grad_norm_(model.parameters(), largest_norm), keep=True)
            )
            share = (
                value,
                tokens,
                norm,
                origins(work),
                recording.draws(work),
                speed.operations(batch, work),
            )
            # In the order of ranks on every process, because floating-point sums depend on the order.
            values, counts, norms, origin_counts, draws, operations = zip(
                *processes.collect(share), strict=True
            )
            value, tokens = sum(values), sum(counts)
            recording.count(draws)

            # From the sum and from all norms: every process sees the same numbers and skips the same step, or
            # their weights would drift apart.
            problem = not_finite(value, norms)
            skips.note(step + 1, problem, recipe.max_skipped, out)
            if problem:
                optimizer.zero_grad()  # without gradients the optimizer changes neither weights nor moments
                loss.load_state_dict(statistics)
            rate = learning_rate(recipe.optimizer, step, steps)
            # At the full rate, because a smaller one of the warm-up moves fewer weights.
            peak = step == warmup_steps(recipe.optimizer, steps) and not problem
            before = Unmoved(optimizer.weights) if peak and optimizer.loses_small_updates else None
            optimizer.step(rate, step_seed(recipe.seed, step))
            unmoved_share = before.share() if before else None
            if unmoved_share is not None and (text := unmoved_warning(unmoved_share, rate, step + 1)):
                warn(text)
            optimizer.zero_grad()  # to None: memory is free until the next backward

            # Without evaluation and checkpoint, because rates are those of training alone.
            seconds = time.perf_counter() - start_time
            rates = speed.rates(len(rows), tokens, sum(operations), seconds)
            if logged:
                metrics = {"loss": value, **averages.means(processes), "grad_norm": norm}
                if figures:
                    metrics |= figures.means(processes)
                metrics |= {"learning_rate": rate, "skipped": skips.total}
                if batch.routing is not None:
                    metrics["router_aux_loss"] = batch.routing.value
                if unmoved_share is not None:
                    metrics["unmoved"] = unmoved_share
                totals = sum(origin_counts, Counter[str]())
                metrics |= {f"drawn_{origin}": count for origin, count in sorted(totals.items())}
                log.write(step + 1, "train", {**metrics, **rates})
            advance(len(rows), note=f"loss {value:.4f}  {rates_note(rates)}")
    if skips.in_a_row:
        warn(f"the last {skips.in_a_row} steps were skipped; evaluate the model before you use it")
    return model


def _best(recipe: TrainRecipe, out: Path, processes: Processes, first: int) -> int | None:
    """Return the best step after `first` by the recipe's metric; the main process reads it for all."""
    metric = recipe.keep_best
    if metric is None:
        return None
    return processes.broadcast_from_main(lambda: best_step(read_metrics(out, "eval"), metric, first))


def _every(interval: int | None, step: int) -> bool:
    return interval is not None and step > 0 and step % interval == 0


def _checkpoint_activations(model: Any) -> None:
    """Recompute activations in backward; transformers renamed the method."""
    name = "activation_checkpointing_enable"
    enable = getattr(model, name, None) or model.gradient_checkpointing_enable
    try:
        # Non-reentrant, because adapters below frozen embeddings have no input that requires a gradient.
        enable({"use_reentrant": False})
    except ValueError as error:  # a class that cannot
        name = class_name(model)
        raise ModelError(f"{name} cannot recompute activations: set gradient_checkpointing=false") from error


class _Stops:
    """The signal that came, if any; one that comes later than a burst stops at once."""

    def __init__(self) -> None:
        # Only the main thread gets signals. Those that would raise an exception here: others end the process,
        # or are ignored, as its owner wants.
        main = threading.current_thread() is threading.main_thread()
        handlers = {number: signal.getsignal(number) for number in _STOPS if main}
        self.handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
        self.came: int | None = None
        self._since = 0.0

    def note(self, number: int, frame: Any) -> None:
        if self.came is None:
            self.came, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > _BURST:
            self.handlers[signal.Signals(number)](number, frame)

    def exception(self) -> KeyboardInterrupt:
        """Return what the signal would have raised where it came."""
        # None: another process of the run was told to stop.
        number = signal.SIGINT if self.came is None else signal.Signals(self.came)
        try:
            # So that whoever handles signals knows of the stop, and lets no other one disturb it.
            self.handlers[number](number, None)
        except KeyboardInterrupt as error:
            return error if error.args else KeyboardInterrupt(number)
        except KeyError:  # not this thread's
            pass
        return KeyboardInterrupt(number)


@contextmanager
def _interruptible() -> Iterator[_Stops]:
    """Note signals, because the weights and statistics of a step change together or not at all."""
    stops = _Stops()
    for number in stops.handlers:
        signal.signal(number, stops.note)
    try:
        yield stops
    finally:
        for number, handler in stops.handlers.items():
            signal.signal(number, handler)
