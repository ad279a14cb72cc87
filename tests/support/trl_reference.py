"""TRL's trainers on a tiny model, with pairkit's inputs for the same loss on each of their batches.

Every trainer is built through its public interface and computes the loss of its own collated batches, so the
token ids are TRL's. The log-probs for pairkit are computed here in plain torch from an unpatched copy of the
model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from support.tiny import WORDS, model_folder
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from pairkit.losses import Logps
from pairkit.models.chat.render import DEFAULT_TEMPLATE

PAIRS = 16
BATCH = 8  # pairs


class Tokens(NamedTuple):
    """Token ids, attention mask and mask of scored tokens, [rows, tokens] each, padded on the right."""

    ids: Tensor
    attention: Tensor
    scored: Tensor


@dataclass(frozen=True)
class Setting:
    """A policy, a different reference, and a folder for TRL."""

    tokenizer: PreTrainedTokenizerBase
    policy: PreTrainedModel
    reference: PreTrainedModel
    folder: Path


@dataclass(frozen=True)
class Batch:
    """TRL's result for a batch, and pairkit's inputs for it.

    Attributes:
        loss, gradients: TRL's, of every parameter by name.
        model, reference_model: the same weights, not patched.
        tokens: rows in TRL's order: the first column's completions, then the second's.
        policy: with gradient to `model`.
        more: tokens and labels that only one trainer has: `labels`, `mismatched`, `gold`.
    """

    loss: Tensor
    gradients: Mapping[str, Tensor]
    model: PreTrainedModel
    reference_model: PreTrainedModel
    tokens: Tokens
    policy: Logps
    reference: Logps
    more: Mapping[str, Any] = field(default_factory=dict)


def make_setting(folder: Path) -> Setting:
    """Make a tokenizer and a tiny Llama on disk, trained from two random initializations for a few steps.

    The policy has a few steps more than the reference, and both know the chosen completions better than the
    rejected ones: log-ratios of both signs, a few nats large; completions that are likelier than the
    policy's own samples and some that are not (wpo's weights); a KL estimate above 0 (kto's).
    """
    saved = model_folder(folder / "llama", template=DEFAULT_TEMPLATE)
    tokenizer = AutoTokenizer.from_pretrained(saved)
    return Setting(
        tokenizer,
        _fitted(saved, tokenizer, seed=1, steps=20),
        _fitted(saved, tokenizer, seed=2, steps=16),
        folder,
    )


def _fitted(saved: Path, tokenizer: PreTrainedTokenizerBase, seed: int, steps: int) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_pretrained(saved)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    chats = [row["prompt"] + row["chosen"] for row in pairs()]
    inputs = tokenizer.apply_chat_template(
        chats, tokenize=True, return_dict=True, return_tensors="pt", padding=True
    )
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(**inputs, labels=labels).loss.backward()
        optimizer.step()
    return model


def pairs() -> list[dict[str, Any]]:
    """Make conversational preference pairs, 3 to 7 words per text; `reference` is TPO's gold completion."""
    random = np.random.default_rng(0)

    def text(role: str) -> list[dict[str, str]]:
        return [{"role": role, "content": " ".join(random.choice(WORDS, random.integers(3, 8)))}]

    return [
        {"prompt": text("user")} | {name: text("assistant") for name in ("chosen", "rejected", "reference")}
        for _ in range(PAIRS)
    ]


def preference(setting: Setting, config: Mapping[str, Any]) -> Iterator[Batch]:
    """Run `DPOTrainer`."""
    from trl import DPOConfig, DPOTrainer

    trainer = DPOTrainer(
        model=copy.deepcopy(setting.policy),
        ref_model=copy.deepcopy(setting.reference),
        args=DPOConfig(**_arguments(setting), **config),
        train_dataset=Dataset.from_list(_columns("prompt", "chosen", "rejected")),
        processing_class=setting.tokenizer,
    )
    for inputs in trainer.get_train_dataloader():
        tokens = Tokens(inputs["input_ids"], inputs["attention_mask"], inputs["completion_mask"].bool())
        yield _compared(setting, trainer, inputs, tokens)


def contrastive(setting: Setting, config: Mapping[str, Any]) -> Iterator[Batch]:
    """Run `CPOTrainer`."""
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    yield from _without_reference(setting, CPOTrainer, CPOConfig, config)


def odds_ratio(setting: Setting, config: Mapping[str, Any]) -> Iterator[Batch]:
    """Run `ORPOTrainer`."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    yield from _without_reference(setting, ORPOTrainer, ORPOConfig, config)


def _without_reference(
    setting: Setting, trainer_class: Any, config_class: Any, config: Mapping[str, Any]
) -> Iterator[Batch]:
    trainer = trainer_class(
        model=copy.deepcopy(setting.policy),
        args=config_class(**_arguments(setting), remove_unused_columns=False, **config),
        train_dataset=Dataset.from_list(_columns("prompt", "chosen", "rejected")),
        processing_class=setting.tokenizer,
    )
    for inputs in trainer.get_train_dataloader():
        rows = trainer.concatenated_inputs(inputs, padding_value=setting.tokenizer.pad_token_id)
        scored = rows["concatenated_labels"] != -100
        tokens = Tokens(rows["concatenated_input_ids"], rows["concatenated_attention_mask"], scored)
        yield _compared(setting, trainer, inputs, tokens)


def triple(setting: Setting, config: Mapping[str, Any]) -> Iterator[Batch]:
    """Run `TPOTrainer`; `more["gold"]` has the log-probs of the third completion, if the loss reads it."""
    from trl.experimental.tpo import TPOConfig, TPOTrainer

    trainer = TPOTrainer(
        model=copy.deepcopy(setting.policy),
        args=TPOConfig(**_arguments(setting), **config),
        train_dataset=Dataset.from_list(_columns("prompt", "chosen", "rejected", "reference")),
        processing_class=setting.tokenizer,
    )
    for inputs in trainer.get_train_dataloader():
        tokens = Tokens(inputs["input_ids"], inputs["attention_mask"], inputs["completion_mask"].bool())
        pair, gold = (
            Tokens(*(part[rows] for part in tokens)) for rows in (slice(2 * BATCH), slice(2 * BATCH, None))
        )
        yield _compared(setting, trainer, inputs, pair, gold=gold if len(gold.ids) else None)


def unpaired(setting: Setting, config: Mapping[str, Any], desirable: int = BATCH) -> Iterator[Batch]:
    """Run `KTOTrainer`, chosen completions of a batch before rejected ones; the first `desirable` are so.

    `more["labels"]` marks the desirable rows, `more["mismatched"]` has the rows of TRL's KL estimate.
    """
    from trl import KTOConfig, KTOTrainer

    rows = _columns("prompt", "chosen", "rejected")
    labeled = [
        {"prompt": row["prompt"], "completion": row[name], "label": offset + i < desirable}
        for start in range(0, PAIRS, BATCH)
        for offset, name in ((0, "chosen"), (BATCH, "rejected"))
        for i, row in enumerate(rows[start : start + BATCH])
    ]
    trainer = KTOTrainer(
        model=copy.deepcopy(setting.policy),
        ref_model=copy.deepcopy(setting.reference),
        args=KTOConfig(**_arguments(setting) | {"per_device_train_batch_size": 2 * BATCH}, **config),
        train_dataset=Dataset.from_list(labeled),
        processing_class=setting.tokenizer,
    )
    for inputs in trainer.get_train_dataloader():
        tokens, mismatched = (
            Tokens(
                inputs[f"{part}input_ids"],
                inputs[f"{part}attention_mask"],
                inputs[f"{part}completion_mask"] > 0,
            )
            if f"{part}input_ids" in inputs
            else None
            for part in ("", "KL_")
        )
        yield _compared(setting, trainer, inputs, tokens, labels=inputs["label"], mismatched=mismatched)


def supervised(setting: Setting, config: Mapping[str, Any]) -> Iterator[Batch]:
    """Run `SFTTrainer` on prompt and chosen completion."""
    from trl import SFTConfig, SFTTrainer

    rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs()]
    trainer = SFTTrainer(
        model=copy.deepcopy(setting.policy),
        args=SFTConfig(**_arguments(setting), **config),
        train_dataset=Dataset.from_list(rows),
        processing_class=setting.tokenizer,
    )
    for inputs in trainer.get_train_dataloader():
        tokens = Tokens(inputs["input_ids"], inputs["attention_mask"], inputs["labels"] != -100)
        yield _compared(setting, trainer, inputs, tokens, columns=1)


def online(setting: Setting, config: Mapping[str, Any]) -> Iterator[Batch]:
    """Run `OnlineDPOTrainer`: it samples two completions and prefers the one with more distinct tokens."""
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    seen: dict[str, Any] = {}

    def reward(prompts: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
        seen.update(prompts=prompts, completions=completion_ids)
        seen["rewards"] = [float(len(set(ids))) for ids in completion_ids]
        return list(seen["rewards"])

    trainer = OnlineDPOTrainer(
        model=copy.deepcopy(setting.policy),
        ref_model=copy.deepcopy(setting.reference),
        reward_funcs=reward,
        args=OnlineDPOConfig(**_arguments(setting), max_new_tokens=12, **config),
        train_dataset=Dataset.from_list(_columns("prompt")),
        processing_class=setting.tokenizer,
    )
    for inputs in trainer.get_train_dataloader():
        trainer.model.zero_grad()
        loss = trainer.training_step(trainer.model, inputs)
        tokens = _online_tokens(setting.tokenizer, seen)
        yield _batch(setting, loss, trainer.model, tokens)


def _online_tokens(tokenizer: PreTrainedTokenizerBase, seen: Mapping[str, Any]) -> Tokens:
    """Return prompt and completion of every row, the preferred half first."""
    first, second = torch.tensor(seen["rewards"]).view(2, -1)
    better = torch.where(first >= second, 0, 1)
    index = torch.arange(len(better))
    order = torch.cat([index + better * len(index), index + (1 - better) * len(index)])
    rows, scored = [], []
    for row in order.tolist():
        prompt = tokenizer.apply_chat_template(
            seen["prompts"][row], add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"]
        ended = _until_end(seen["completions"][row], tokenizer.eos_token_id)
        rows.append(torch.tensor(prompt + ended))
        scored.append(torch.tensor([False] * len(prompt) + [True] * len(ended)))
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    attention = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return Tokens(ids, attention, torch.nn.utils.rnn.pad_sequence(scored, batch_first=True))


def _until_end(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end) + 1] if end in ids else ids


DRIVERS: dict[str, Callable[[Setting, Mapping[str, Any]], Iterator[Batch]]] = {
    "DPOTrainer": preference,
    "KTOTrainer": unpaired,
    "CPOTrainer": contrastive,
    "ORPOTrainer": odds_ratio,
    "TPOTrainer": triple,
    "OnlineDPOTrainer": online,
    "SFTTrainer": supervised,
}


def _columns(*names: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in names} for row in pairs()]


def _arguments(setting: Setting) -> dict[str, Any]:
    return {
        "output_dir": str(setting.folder / "trainer"), "report_to": "none", "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "per_device_train_batch_size": BATCH, "disable_tqdm": True,
    }  # fmt: skip


def _compared(
    setting: Setting, trainer: Any, inputs: Mapping[str, Any], tokens: Tokens, columns: int = 2, **more: Any
) -> Batch:
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return _batch(setting, loss, trainer.model, tokens, columns, more)


def _batch(
    setting: Setting,
    loss: Tensor,
    trained: PreTrainedModel,
    tokens: Tokens,
    columns: int = 2,
    more: Mapping[str, Any] | None = None,
) -> Batch:
    gradients = {name: parameter.grad.clone() for name, parameter in trained.named_parameters()}
    model = copy.deepcopy(setting.policy)
    return Batch(
        loss.detach(),
        gradients,
        model,
        setting.reference,
        tokens,
        logps(model, tokens, columns),
        logps(setting.reference, tokens, columns).detach(),
        more or {},
    )


def logps(model: PreTrainedModel, tokens: Tokens, columns: int = 2) -> Logps:
    """Compute `Logps` [rows / columns, columns] of rows ordered column by column, without `token_kl`."""
    logits = model(input_ids=tokens.ids, attention_mask=tokens.attention).logits[:, :-1].float()
    logs, scored = logits.log_softmax(dim=-1), tokens.scored[:, 1:]
    each = logs.gather(2, tokens.ids[:, 1:, None])[..., 0] * scored
    length = scored.sum(dim=1)
    expected = logs.exp().square().sum(dim=-1).log() * scored
    shared = length.view(columns, -1).amin(dim=0).repeat(columns)
    head = each * (scored.cumsum(dim=1) <= shared[:, None])

    def sets(rows: Tensor) -> Tensor:
        return rows.view(columns, -1).T

    return Logps(
        sum=sets(each.sum(dim=1)),
        length=sets(length),
        mask=torch.ones_like(sets(length), dtype=torch.bool),
        alignment=sets((each - expected).sum(dim=1) / length),
        head_sum=sets(head.sum(dim=1)),
    )
