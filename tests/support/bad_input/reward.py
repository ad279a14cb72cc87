"""`pairkit train` with a loss of reward models."""

from __future__ import annotations

from support.bad_input.case import TRAIN, Case, copied, data, on, other_class
from support.tiny import completion

BT = TRAIN.replace("--loss dpo", "--loss reward_bt")
MSE = TRAIN.replace("--loss dpo", "--loss reward_mse")


def classifier() -> None:
    """Write the model as a classifier with two logits."""
    from transformers import LlamaForSequenceClassification

    LlamaForSequenceClassification.from_pretrained("model", num_labels=2).save_pretrained(
        copied("model", "classifier")
    )


CASES = [
    Case(
        "no ranks for a reward model",
        f"{on(BT, 'unranked')}",
        "unranked: no set can be trained on: 1 sets unranked (set …: its completions have no ranks; build "
        "the dataset with a ranker that tells them apart)",
        prepare=lambda: data("unranked", completion("a"), completion("b")),
    ),
    Case(
        "no scores for a reward model by regression",
        f"{on(MSE, 'unscored')}",
        "unscored: no set can be trained on: 1 sets unscored (set …: no completion has a score, which the "
        "loss needs)",
        prepare=lambda: data("unscored", completion("a", 1), completion("b", 2)),
    ),
    Case(
        "no scores for a margin",
        f"{on(BT, 'unscored')} loss.margin=1",
        "unscored: no set can be trained on: 1 sets unscored (set …: fewer than two completions of different "
        "rank have a score)",
        prepare=lambda: data("unscored", completion("a", 1), completion("b", 2)),
    ),
    Case(
        "ties with scores for a reward model",
        f"{on(BT, 'tied')}",
        "tied: no set can be trained on: 1 sets no_choice (set …: all completions rank equally; --loss "
        "reward_mse learns scores)",
        prepare=lambda: data("tied", completion("a", 1, score=1.0), completion("b", 1, score=1.0)),
    ),
    Case(
        "sets of one completion for a reward model",
        f"{on(BT, 'single')}",
        "single: no set can be trained on: 1 sets no_choice (set …: it has one completion; build sets of "
        "several completions, which the loss compares)",
        prepare=lambda: data("single", completion("a", 1)),
    ),
    Case(
        "conversations that are too long for a reward model",
        f"{on(BT, 'long')}",
        "long: no set can be trained on: 1 sets too_long (set …: a conversation of … tokens; max_length is "
        "96)",
        prepare=lambda: data("long", completion("a " * 99, 1), completion("b", 2)),
    ),
    Case(
        "a policy and a reward model in one loss",
        f"{TRAIN} --loss dpo+reward_bt",
        "dpo+reward_bt: dpo trains a policy and reward_bt a reward model, and one run trains one model; use "
        "them in two runs",
    ),
    Case(
        "reference of a reward model",
        f"{BT} --reference model",
        "reference cannot be set with reward_bt: a reward model has no reference",
    ),
    Case(
        "reward model of texts without a template",
        f"{BT} template=none",
        "reward_bt trains on conversations in the chat template: template=none has none; remove it, or set "
        "template.file",
    ),
    Case(
        "completions of a reward model drawn by log-probs",
        f"{BT} negatives.sampling=mc",
        "negatives.sampling=mc cannot be set with reward_bt: a reward model has no log-probs to draw by; use "
        "all, random, worst or quantile",
    ),
    Case(
        "reward model from a classifier of two classes",
        f"{BT} --model classifier",
        "the model 'classifier' is a classifier with 2 logits, and a reward model has one; use a reward "
        "model or a model that generates text",
        prepare=classifier,
    ),
    Case(
        "reward model from an encoder",
        f"{BT} --model encoder",
        "the model 'encoder': BertForSequenceClassification has no head that gives one reward per token, so "
        "it cannot be trained as a reward model; use a decoder-only model such as Llama or Qwen",
        prepare=lambda: other_class("encoder", "bert"),
    ),
]
