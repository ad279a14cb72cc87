"""The kinds of models that are trained: all in which a run depends on what its loss trains.

A row says how sets become tokens, what is loaded, what a pass over some sets computes, what is logged of it
and how it is saved. Steps, draws, micro-batches, statistics, checkpoints and evaluation are the same for all:
they see `Logps` whose `sum` has one number per completion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
import torch
from torch import nn

from pairkit.losses import Loss, WeightedSum
from pairkit.losses.spec import Trained
from pairkit.models.chat.format import ChatFormat
from pairkit.models.load import empty_model, load_model, positions
from pairkit.models.reward_head import HEAD, set_padding
from pairkit.models.save import save_files
from pairkit.rankers.pairrm.text import FIRST, SECOND
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.mode import set_training
from pairkit.training.logprobs.probe import packs, static_refusal
from pairkit.training.logprobs.selection import OF_POLICY, Logged, Scored, SetSelection
from pairkit.training.logprobs.self_check import check_packed
from pairkit.training.pairrm.check import check_pairs
from pairkit.training.pairrm.format import Lengths, pair_format
from pairkit.training.pairrm.format import finish as finish_pairrm
from pairkit.training.pairrm.format import notes as pair_notes
from pairkit.training.pairrm.forward import score_pairs
from pairkit.training.pairrm.pairs import RankedPairs
from pairkit.training.pairrm.save import save_pairrm
from pairkit.training.pairrm.start import empty_pairrm, load_trained
from pairkit.training.reward.check import check_rewards
from pairkit.training.reward.forward import score_rewards
from pairkit.training.reward.padding import set_padding_token
from pairkit.training.tokens.choose import Wanted
from pairkit.training.tokens.comparisons import comparison_batches
from pairkit.training.tokens.conversations import conversation_batches
from pairkit.training.tokens.notes import notes
from pairkit.training.tokens.sets import Tokenized
from pairkit.training.tokens.token_set import TokenSet
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
        format: makes what stands in for a chat format, of a model's name, its revision, another tokenizer and
            lengths; None: a chat format.
        tokens: from tables of sets and a format to batches of `tokens.sets.SCHEMA`.
        cuts: whether texts are cut to their lengths, so that `tokens` takes `max_prompt_length` and
            `assistant_turns` too.
        notes: lines for a person on how texts became tokens.
        pairs: of tokenized sets, a tokenizer, a recipe's `pairs_per_set` and its seed, what a step takes some
            of; None: the sets themselves.
        positions: of a name, a revision and whether its code may run, how many tokens a text may have.
        prepare: changes the tokenizer of a format, in place, before anything else sees it.
        load: takes what `models.load.load_model` does.
        empty: takes what `models.load.empty_model` does.
        finish: changes a loaded model, in place, given the tokenizer and lengths.
        task: peft's name of the task of adapters.
        whole: modules that are trained and saved as a whole next to adapters.
        score: a pass over some sets.
        packs: whether a prompt passes once for all completions of its set.
        refusal: why it does not, as far as a model without weights tells; None where it does.
        shards: whether several processes may hold the weights in parts.
        check: compares packed with separate passes on the first sets of a run.
        set_training: sets the mode of training.
        evaluated: statistics of a pass that an evaluation reports besides those of the loss.
        logged: numbers of each completion, whose means are logged of the chosen and of the rejected.
        save: takes what `models.save.save_files` does.
    """

    wanted: Callable[[Loss | WeightedSum], Wanted]
    format: Callable[[str, str | None, str | None, Lengths], Any] | None
    tokens: Callable[..., Iterator[pa.RecordBatch]]
    cuts: bool
    notes: Callable[[Any, Mapping[str, int]], tuple[str, ...]]
    pairs: Callable[[Tokenized, Any, int | None, int], RankedPairs] | None
    positions: Callable[[str, str | None, bool], int | None]
    prepare: Callable[[ChatFormat], None]
    load: Callable[..., nn.Module]
    empty: Callable[..., nn.Module]
    finish: Callable[[nn.Module, Any, Lengths], None]
    task: str
    whole: tuple[str, ...]
    score: ScoreSets
    packs: Callable[..., bool]
    refusal: Callable[[nn.Module], str | None]
    shards: bool
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
    return "labeled" if loss.completions == "labeled" else "ranked"


def _wanted_by_reward(loss: Loss | WeightedSum) -> Wanted:
    if "ranks" not in loss.needs:
        return "rated"
    scores = "scores" in loss.needs or any(part.parameters.get("margin") for _, part in loss.parts)
    return "ordered_scored" if scores else "ordered"


def _nothing(*_: object) -> None:
    """Change nothing."""


def _with_padding(model: nn.Module, tokenizer: Any, _: Lengths) -> None:
    if tokenizer.pad_token_id is not None:
        set_padding(model, tokenizer.pad_token_id)


def _pairs(tokenized: Tokenized, tokenizer: Any, most: int | None, seed: int) -> RankedPairs:
    first, second = tokenizer.convert_tokens_to_ids([FIRST, SECOND])
    return RankedPairs(tokenized, (first, second), most, seed)


def _no_limit(*_: object) -> None:
    """Return None: `pairrm.format` compares positions with the limits of a pair."""


def _evaluation_mode(model: nn.Module) -> None:
    # Nothing but dropout differs, and that is off.
    model.eval()


KINDS: dict[Trained, Kind] = {
    "policy": Kind(
        wanted=_wanted_by_policy,
        format=None,
        tokens=token_batches,
        cuts=True,
        notes=notes,
        pairs=None,
        positions=positions,
        prepare=_nothing,
        load=load_model,
        empty=empty_model,
        finish=_nothing,
        task="CAUSAL_LM",
        whole=(),
        score=score,
        packs=packs,
        refusal=static_refusal,
        shards=True,
        check=check_packed,
        set_training=set_training,
        evaluated=frozenset({"entropy"}),
        logged=OF_POLICY,
        save=save_files,
    ),
    "reward": Kind(
        wanted=_wanted_by_reward,
        format=None,
        tokens=conversation_batches,
        cuts=False,
        notes=notes,
        pairs=None,
        positions=positions,
        prepare=set_padding_token,
        load=partial(load_model, reward=True),
        empty=partial(empty_model, reward=True),
        finish=_with_padding,
        task="SEQ_CLS",
        whole=(HEAD,),
        score=score_rewards,
        packs=packs,
        refusal=static_refusal,
        shards=True,
        check=check_rewards,
        set_training=set_training,
        evaluated=frozenset(),
        logged={"reward": lambda policy: policy.sum},
        save=save_files,
    ),
    "pairrm": Kind(
        wanted=lambda _: "ordered",
        format=pair_format,
        tokens=comparison_batches,
        cuts=False,
        notes=pair_notes,
        pairs=_pairs,
        positions=_no_limit,
        prepare=_nothing,
        load=load_trained,
        empty=empty_pairrm,
        finish=finish_pairrm,
        task="",
        whole=(),
        score=score_pairs,
        packs=lambda *_: False,
        refusal=lambda _: "each order of a pair is a text of its own",
        shards=False,
        check=check_pairs,
        set_training=_evaluation_mode,
        evaluated=frozenset(),
        logged={"logit": lambda policy: policy.sum},
        save=save_pairrm,
    ),
}
