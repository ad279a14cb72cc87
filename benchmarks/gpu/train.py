"""Time training steps: pairkit's DPO and MC-PO, TRL's DPO with its fused head, and padding-free DPO.

All have the same tokens, AdamW, and log-probs of the reference from before. A step is all between two
updates, and the update; the first ones warm up, and the median of the others counts.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from gpu import device as devices
from gpu.jobs import OK, Job, Result, need, result
from gpu.padding_free import dpo_gradients, use_attention_by_text
from gpu.shapes import SHAPES, Shape, count, make_model, make_sets, pairs
from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.training.distributed.processes import ALONE
from pairkit.training.step.averages import Averages
from pairkit.training.step.batch import StepModel
from pairkit.training.step.examples import Split
from pairkit.training.step.narrow import make_optimizer
from pairkit.training.step.optimizer import Optimizer
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.tokens.token_set import TokenSet

RATE, BETA, WARM_UP = 1e-6, 0.1, 2
REFERENCE = -9.0  # nats per token: what the reference has of every completion; its value takes no time
CONTENDERS = ("pairkit", "trl", "padding-free")


def items(shapes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the items of this part."""
    return tuple(f"{shape}: {contender}" for shape in shapes for contender in CONTENDERS)


def check(job: Job, item: str) -> Iterator[Result]:
    """Time one contender at one shape; `arguments`: device, dtype, steps, peak (TFLOP/s)."""
    name, contender = item.split(": ")
    shape, device = SHAPES[name], torch.device(job.arguments["device"])
    dtype, steps = getattr(torch, job.arguments["dtype"]), job.arguments["steps"] + WARM_UP
    sets = make_sets(shape, steps)
    if contender == "trl":
        need("trl", "'trl>=1.16'")
    model = make_model(shape, device, dtype)
    if shape.checkpoints and contender != "trl":  # TRL does so itself
        _checkpoint(model)
    two = pairs(sets)

    def row(label: str, timed: Timed, used: list[TokenSet], *, draws: bool) -> Result:
        seconds, memory, loss = timed
        tokens, operations = count(model, used[WARM_UP * shape.sets :], draws=draws)
        median, count_of_steps = statistics.median(seconds), len(seconds)
        rate = operations / count_of_steps / median / 1e12
        return result(
            job, item, OK, shape=name, contender=label, trained=shape.trained, seconds=median, memory=memory,
            sets_per_second=shape.sets / median, tokens_per_second=tokens / count_of_steps / median,
            tflops=rate, mfu=rate / job.arguments["peak"], loss=loss,
        )  # fmt: skip

    if contender == "trl":
        yield row("TRL, DPO, fused head", _trl(model, shape, device, two, steps), two, draws=False)
        return
    optimizer = make_optimizer(Optimizer(learning_rate=RATE), model)
    if contender == "padding-free":
        gradients = _padding_free(model, shape, two)
        yield row("padding-free, DPO", _timed(model, optimizer, gradients, device, steps), two, draws=False)
        return
    for loss, used in (("dpo", two), ("mcpo", sets)):
        gradients = _pairkit(model, shape, used, loss)
        label = f"pairkit, {'DPO' if loss == 'dpo' else 'MC-PO'}"
        yield row(label, _timed(model, optimizer, gradients, device, steps), used, draws=loss == "mcpo")


Gradients = Callable[[int], float]  # adds the gradient of a step, by its number; returns its loss


class Timed(NamedTuple):
    """The seconds of each step but the first ones, the peak of memory in them, bytes, and the first loss."""

    seconds: list[float]
    memory: int | None
    loss: float | None


def _timed(model: nn.Module, optimizer: Any, gradients: Gradients, device: torch.device, steps: int) -> Timed:
    """Take steps."""
    seconds, losses = [], []
    for step in range(steps):
        if step == WARM_UP:
            devices.forget_peak(device)
        started = devices.now(device)
        losses.append(gradients(step))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(RATE, step)
        optimizer.zero_grad()
        seconds.append(devices.now(device) - started)
    return Timed(seconds[WARM_UP:], devices.peak_memory(device), losses[0])


def _pairkit(model: nn.Module, shape: Shape, sets: list[TokenSet], name: str) -> Gradients:
    loss = build(name)
    settings = sampler_settings(loss, {}, "random")
    through = StepModel(loss, model, None, shape.budget, ALONE)
    split = Split(sets, [np.array([REFERENCE * len(c.ids) for c in s.columns], np.float32) for s in sets])

    def gradients(step: int) -> float:
        rows = range(step * shape.sets, (step + 1) * shape.sets)
        batch = prepare(through, settings, split, rows, draw_seeds([sets[i] for i in rows], 0, step))
        return through.gradients(batch, Averages()).value

    return gradients


def _padding_free(model: nn.Module, shape: Shape, sets: list[TokenSet]) -> Gradients:
    use_attention_by_text(model)

    def gradients(step: int) -> float:
        starts = range(step * shape.sets, (step + 1) * shape.sets, shape.rows)
        parts = (sets[at : at + shape.rows] for at in starts)
        return sum(dpo_gradients(model, part, BETA, REFERENCE, shape.sets) for part in parts)

    return gradients


def _checkpoint(model: Any) -> None:
    """Recompute activations in backward; transformers renamed the method."""
    name = "activation_checkpointing_enable"
    (getattr(model, name, None) or model.gradient_checkpointing_enable)({"use_reentrant": False})


def _trl(model: nn.Module, shape: Shape, device: torch.device, sets: list[TokenSet], steps: int) -> Timed:
    """Take the same steps with TRL's trainer, as a callback sees them; it logs no loss, which takes time."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    started: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == WARM_UP:
                devices.forget_peak(device)
            started.append(devices.now(device))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            started[-1] = devices.now(device) - started[-1]

    words = {f"t{i}": i for i in range(shape.vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

    def text(ids: Any) -> str:
        return "".join(f"t{i} " for i in ids)

    rows: list[dict[str, Any]] = []
    for item in sets:
        texts = dict(zip(("chosen", "rejected"), (column.ids for column in item.columns), strict=True))
        rows.append({"prompt": text(item.prompt)} | {key: text(ids) for key, ids in texts.items()})
        if shape.lora:
            rows[-1] |= {f"ref_{key}_logps": REFERENCE * len(ids) for key, ids in texts.items()}
    dtype = next(model.parameters()).dtype  # of the embeddings, which have no adapters
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=str(Path(folder) / "trl"), per_device_train_batch_size=shape.rows, beta=BETA,
            gradient_accumulation_steps=shape.sets // shape.rows, max_steps=steps, learning_rate=RATE,
            max_length=None, use_cpu=device.type == "cpu", bf16=dtype == torch.bfloat16,
            gradient_checkpointing=shape.checkpoints, gradient_checkpointing_kwargs={"use_reentrant": False},
            report_to=[], save_strategy="no", logging_steps=10**6, disable_tqdm=True,
            precompute_ref_log_probs=not shape.lora,
        )  # fmt: skip
        trainer = DPOTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=PreTrainedTokenizerFast(
                tokenizer_object=tokenizer, pad_token="t0", eos_token="t2"
            ),
            callbacks=[Clock()],
        )
        # With adapters the rows bring them: the trainer would hash all weights in float32 to name its cache.
        trainer.precompute_ref_logps = True
        trainer.train()
    return Timed(started[WARM_UP:], devices.peak_memory(device), None)
