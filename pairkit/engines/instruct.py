"""Instructions around prompts: what a model is told besides the prompt, one drawn for each set and model.

The set keeps its own prompt, which training sees. What was put around it is in the metadata of the
completion, as UltraFeedback keeps the principle and the system prompt that a model was given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, PositiveFloat, model_validator

from pairkit.models.chat.render import Messages
from pairkit.recipes import Strict

RECORDED = "instruct"  # the key of a completion's metadata
_BETWEEN = "\n\n"  # a prompt's own system message and that of the instruction


class Instruction(Strict):
    """What is put around a prompt.

    name    recorded with the completion.
    system  a system message, after the prompt's own one; of a list, one is drawn.
    before  text before the last turn of the user.
    after   text after it.
    weight  how often the instruction is drawn, relative to the others.
    """

    name: str = Field(min_length=1)
    system: str | tuple[str, ...] | None = None
    before: str = ""
    after: str = ""
    weight: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _not_empty(self) -> Instruction:
        systems = (self.system,) if isinstance(self.system, str) else self.system
        if systems is not None and (not systems or not all(text.strip() for text in systems)):
            raise ValueError(f"instruct {self.name!r}: system is empty; remove it, or write a text")
        return self


def check_names(instructions: Sequence[Instruction]) -> None:
    """Raise `ValueError` for two instructions of one name."""
    names = [each.name for each in instructions]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(
            f"recipe key 'generate.instruct': {twice!r} occurs twice; give each a name of its own"
        )


def draw(instructions: Sequence[Instruction], seed: int, set_id: str, model: str) -> dict[str, str]:
    """Draw the instruction of a set for a model: a function of these alone. Empty texts are left out."""
    chosen = _one_of(
        instructions, [each.weight for each in instructions], f"{seed}/instruct/{set_id}/{model}"
    )
    system = chosen.system
    if isinstance(system, tuple):
        system = _one_of(system, [1.0] * len(system), f"{seed}/system/{set_id}/{model}")
    texts = {"name": chosen.name, "system": system, "before": chosen.before, "after": chosen.after}
    return {name: text for name, text in texts.items() if text}


def _one_of(values: Sequence[Any], weights: Sequence[float], purpose: str) -> Any:
    """Return one of the values by a hash of the purpose."""
    digest = hashlib.sha256(purpose.encode()).digest()
    remainder = (int.from_bytes(digest[:8], "big") >> 11) * 2.0**-53 * sum(weights)
    for value, weight in zip(values, weights, strict=True):
        remainder -= weight
        if remainder < 0:
            return value
    return values[-1]


def instructed(messages: Messages, instruction: Mapping[str, str]) -> Messages:
    """Return the messages with an instruction of `draw` around them."""
    turns = [dict(message) for message in messages]
    last = max((place for place, message in enumerate(turns) if message["role"] == "user"), default=None)
    # A prompt without a turn of the user ends in a tool's, whose text is not the user's to change.
    if last is not None:
        text = turns[last]["content"]
        turns[last]["content"] = instruction.get("before", "") + text + instruction.get("after", "")
    system = instruction.get("system")
    if system and turns and turns[0]["role"] == "system":
        turns[0]["content"] = turns[0]["content"] + _BETWEEN + system
    elif system:
        turns.insert(0, {"role": "system", "content": system})
    return turns
