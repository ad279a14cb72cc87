"""The recipe of an evaluation with AlpacaEval 2."""

from __future__ import annotations

from pathlib import Path

from pairkit.evaluation.alpaca_eval.judging import Protocol
from pairkit.evaluation.recipe import BenchmarkRecipe


class AlpacaEvalRecipe(BenchmarkRecipe):
    """A model, how it answers, and how the judge is asked.

    AlpacaEval leaves the decoding to each model; the default is greedy, at most 2,048 tokens.

    verdict       logprobs: the public protocol, the judge's one token weighted by its log-probs, in an order
                  drawn by instruction; both_orders: for judges without log-probs, and free of order bias.
    judge_prompt  a file in AlpacaEval's format of <|im_start|>ROLE blocks; null: the public judge's prompt.
    """

    verdict: Protocol = "logprobs"
    judge_prompt: Path | None = None
