"""The kinds of models that are trained: all in which a run depends on what its loss trains.

A row says how sets become tokens, what is loaded, what a pass over some sets computes, what is logged of it
and how it is saved. Steps, draws, micro-batches, statistics, checkpoints and evaluation are the same for all:
they see `Logps` whose `sum` has one number per completion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pyarrow as pa
import torch
from torch import nn

from pairkit.losses import Loss, WeightedSum
from pairkit.losses.spec import Trained
from pairkit.models.chat.format import ChatFormat
from pairkit.models.load import empty_model, load_model
from pairkit.models.reward_head import HEAD, set_padding
from pairkit.models.save import save_files
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.mode import set_training
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import OF_POLICY, Logged, Scored, SetSelection
from pairkit.training.logprobs.self_check import check_packed
from pairkit.training.reward.check import check_rewards
from pairkit.training.reward.forward import score_rewards
from pairkit.training.reward.padding import set_padding_token
from pairkit.training.tokens.choose import Wanted
from pairkit.training.tokens.conversations import conversation_batches
from pairkit.training.tokens.sets import TokenSet
from pairkit.training.tokens.tokenize import token_batches


class ScoreSets(Protocol):
    """A pass over some sets with gradient; see `logprobs.forward.score`."""

    def __call__(
        self,
        model: nn.Module,
        work: Sequence[SetSelection],
        *,
        want: frozenset[str] = ...,
        live: nn.Module | None = ...,
    ) -> Scored: ...


@dataclass(frozen=True)
class Kind:
    """What depends on the kind of model that a loss trains.

    Attributes:
        wanted: which completions of a set the loss can use.
        tokens: from tables of sets and a format to batches of `tokens.sets.SCHEMA`.
        cuts: whether texts are cut to their lengths, so that `tokens` takes `max_prompt_length` and
            `assistant_turns` too.
        prepare: changes the tokenizer of a format, in place, before anything else sees it.
        load: takes what `models.load.load_model` does.
        empty: takes what `models.load.empty_model` does.
        finish: changes a loaded model, in place, given the id of the tokenizer's padding token.
        task: peft's name of the task of adapters.
        whole: modules that are trained and saved as a whole next to adapters.
        score: a pass over some sets.
        packs: whether a prompt passes once for all completions of its set.
        check: compares packed with separate passes on the first sets of a run.
        set_training: sets the mode of training.
        evaluated: statistics of a pass that an evaluation reports besides those of the loss.
        logged: numbers of each completion, whose means are logged of the chosen and of the rejected.
        save: takes what `models.save.save_files` does.
    """

    wanted: Callable[[Loss | WeightedSum], Wanted]
    tokens: Callable[..., Iterator[pa.RecordBatch]]
    cuts: bool
    prepare: Callable[[ChatFormat], None]
    load: Callable[..., nn.Module]
    empty: Callable[..., nn.Module]
    finish: Callable[[nn.Module, int | None], None]
    task: str
    whole: tuple[str, ...]
    score: ScoreSets
    packs: Callable[..., bool]
    check: Callable[[nn.Module, Sequence[TokenSet], torch.dtype], None]
    set_training: Callable[[nn.Module], None]
    evaluated: frozenset[str]
    logged: Logged
    save: Callable[..., None]


def _wanted_by_policy(loss: Loss | WeightedSum) -> Wanted:
    if "scores" in loss.needs:
        return "scored"
    if loss.completions == "first":
        return "first"
    return "labelled" if loss.completions == "labelled" else "ranked"


def _wanted_by_reward(loss: Loss | WeightedSum) -> Wanted:
    if "ranks" not in loss.needs:
        return "rated"
    scores = "scores" in loss.needs or any(part.parameters.get("margin") for _, part in loss.parts)
    return "ordered_scored" if scores else "ordered"


def _nothing(*_: object) -> None:
    """Change nothing."""


def _with_padding(model: nn.Module, padding: int | None) -> None:
    if padding is not None:
        set_padding(model, padding)


KINDS: dict[Trained, Kind] = {
    "policy": Kind(
        wanted=_wanted_by_policy,
        tokens=token_batches,
        cuts=True,
        prepare=_nothing,
        load=load_model,
        empty=empty_model,
        finish=_nothing,
        task="CAUSAL_LM",
        whole=(),
        score=score,
        packs=packs,
        check=check_packed,
        set_training=set_training,
        evaluated=frozenset({"entropy"}),
        logged=OF_POLICY,
        save=save_files,
    ),
    "reward": Kind(
        wanted=_wanted_by_reward,
        tokens=conversation_batches,
        cuts=False,
        prepare=set_padding_token,
        load=partial(load_model, reward=True),
        empty=partial(empty_model, reward=True),
        finish=_with_padding,
        task="SEQ_CLS",
        whole=(HEAD,),
        score=score_rewards,
        packs=packs,
        check=check_rewards,
        set_training=set_training,
        evaluated=frozenset(),
        logged={"reward": lambda policy: policy.sum},
        save=save_files,
    ),
}
