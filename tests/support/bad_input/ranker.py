"""Evaluations of rankers that cannot be computed."""

from __future__ import annotations

from support.bad_input.case import OWN, Case, data, templated
from support.tiny import completion

EVAL = "eval ranker"
NO_ORDER = (
    "a ranker is measured on data that states which completion is better: with ranks, scores, or a choice"
)
WHY = "the first: set …: {}; " + NO_ORDER
CASES = [
    Case(
        "evaluation without a ranker",
        f"{EVAL} own.jsonl",
        "no ranker: give --ranker KIND, or KIND=MODEL, of annotations, verifier, model_order, human, "
        "pairrm, reward_model, judge, length, random",
        OWN,
    ),
    Case(
        "unknown kind of ranker",
        f"{EVAL} own.jsonl --ranker lenght",
        "--ranker lenght: unknown ranker 'lenght'; did you mean 'length'? Known: annotations, human, judge, "
        "length, model_order, pairrm, random, reward_model, verifier",
        OWN,
        code=2,
    ),
    Case(
        "two rankers of one name",
        f"{EVAL} own.jsonl --ranker reward_model=org/a --ranker reward_model=org/b",
        "two rankers are named 'reward_model': give each its own, as --ranker NAME=reward_model=org/b",
        OWN,
        code=2,
    ),
    Case(
        "two rankers in one directory",
        f"{EVAL} own.jsonl --ranker a/b=length --ranker a_b=random",
        "the rankers 'a/b' and 'a_b' would be one directory: rename one",
        OWN,
    ),
    Case(
        "baseline with a value",
        f"{EVAL} own.jsonl --ranker length=10",
        "--ranker length=10: length takes no value, got '10'",
        OWN,
        code=2,
    ),
    Case(
        "ranker on a file that does not exist",
        f"{EVAL} absent.jsonl --ranker length",
        "absent.jsonl: no such file or folder",
        OWN,
    ),
    Case(
        "ranker on a split that a dataset does not have",
        f"{EVAL} built --ranker length",
        "built: no split 'test'; name one with --split: train",
        prepare=lambda: data("built", completion("a", 1), completion("b", 2)),
    ),
    Case(
        "ranker on another split that a dataset does not have",
        f"{EVAL} built --split valid --ranker length",
        "built: no split 'valid'; it has: train",
        prepare=lambda: data("built", completion("a", 1), completion("b", 2)),
    ),
    Case(
        "ranker on a dataset without ranks",
        f"{EVAL} built --split train --ranker length",
        "built: no set has two completions of different rank (1 no_ranks); "
        + WHY.format("fewer than two of its completions have a rank or a score"),
        prepare=lambda: data("built", completion("a"), completion("b")),
    ),
    Case(
        "ranker on sets of one completion",
        f"{EVAL} built --split train --ranker length",
        "built: no set has two completions of different rank (1 one_completion); "
        + WHY.format("it has fewer than two completions"),
        prepare=lambda: data("built", completion("a", 1)),
    ),
    Case(
        "ranker on completions of one rank",
        f"{EVAL} built --split train --ranker length",
        "built: no set has two completions of different rank (1 one_rank); "
        + WHY.format("all of its completions have the same rank"),
        prepare=lambda: data("built", completion("a", 1), completion("b", 1)),
    ),
    Case(
        "ranker on a built dataset with a layout",
        f"{EVAL} built --split train --ranker length --layout pairs",
        "built: --layout is for files, and this is a built dataset: leave it out",
        prepare=lambda: data("built", completion("a", 1), completion("b", 2)),
    ),
    Case(
        "named score that the data does not have",
        f"{EVAL} own.jsonl --ranker annotations=honesty",
        "annotations=honesty: the completions of the data have no named scores",
        OWN,
    ),
    Case(
        "subset that the data does not have",
        f"{EVAL} own.jsonl --ranker length --subset task",
        "own.jsonl: no set has 'task' in its metadata (it has: nothing); choose another --subset",
        OWN,
    ),
    Case(
        "margins that do not ascend",
        f"{EVAL} own.jsonl --ranker length margins=[2,1]",
        "recipe key 'margins': must be ascending numbers, got [2.0, 1.0]",
        OWN,
    ),
    Case(
        "reward model that generates text",
        f"{EVAL} own.jsonl --ranker reward_model=refusing",
        "'refusing' has 2 logits, and pairkit cannot know which of them is the reward; use a reward model "
        "with one logit (num_labels: 1)",
        OWN,
        lambda: templated("{% for m in messages %}{{ m['content'] }}{% endfor %}"),
    ),
]
