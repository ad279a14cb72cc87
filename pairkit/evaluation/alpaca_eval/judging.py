"""The judge of AlpacaEval 2: which question it is asked, and what its answer is worth.

The judge names the better of the answers `m` (shown first) and `M` in one token. Its verdict is weighted by
the log-probs of the two (`logprobs`, the public protocol, with the order drawn by instruction), or it is
asked in both orders and read from the text (`both_orders`). Answers are shown unchanged, as in the public
protocol: a verdict is the whole of what the judge writes, so that no text which it quotes is one.
"""

from __future__ import annotations

import math
import random
import re
from pathlib import Path
from typing import Literal

from pairkit.engines.base import TopLogprobs
from pairkit.evaluation.prompts import Prompt, read_prompt_file

Protocol = Literal["logprobs", "both_orders"]
TOP_LOGPROBS = 5
SHIPPED_PROMPT = Path(__file__).with_name("prompt.txt")
_PLACES = ("instruction", "output_1", "output_2")
# A first line of nothing but the letter, apart from spaces, quotes and points around it.
_LETTER = re.compile(r"[\W_]*([mM])(?:[\W_]*|[^\w\n]*\n.*)", re.DOTALL)


def read_prompt(path: Path | None) -> Prompt:
    """Read a prompt in AlpacaEval's format of `<|im_start|>ROLE` blocks; None: the shipped one.

    Raises `InputError` for a file without a user block, or a user block without one of the places.
    """
    return read_prompt_file(path or SHIPPED_PROMPT, _PLACES)


def model_first(instruction: str) -> bool:
    """Return whether the model's answer is shown first: drawn by instruction, as the public tool does.

    >>> [model_first(text) for text in ("a", "b", "c")]
    [True, True, False]
    """
    # A number of the instruction alone, so that all models are judged in the same order.
    return random.Random(f"is_switched_outputs{instruction}0").choices([False, True])[0]


def second_wins(top: TopLogprobs) -> float | None:
    """Return the probability that the answer shown second wins, from the log-probs of the first token.

    Of a letter that is not among the tokens it is 0; None if neither is.
    """
    # Several tokens may have one text, in tokenizers that mark the beginning of a word.
    weight = {letter: sum(math.exp(value) for token, value in top if token == letter) for letter in "mM"}
    total = weight["m"] + weight["M"]
    return weight["M"] / total if total else None


def read_letter(text: str) -> str | None:
    """Read a verdict from the text of a judge: m or M, alone on the first line; None if it is not.

    >>> read_letter(' "M".'), read_letter("m\\n\\nBecause"), read_letter("m or M"), read_letter("Maybe")
    ('M', 'm', None, None)
    """
    match = _LETTER.fullmatch(text)
    return match[1] if match else None
