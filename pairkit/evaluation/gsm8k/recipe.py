"""The settings of `pairkit eval gsm8k`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pairkit.evaluation.recipe import BenchmarkRecipe

# MinorDPO, appendix: wording and grammar are the paper's.
INSTRUCTION = (
    "You are a helpful assistant. Please answer follow question step by step and give final answer in a "
    "separate line using the brief format So the answer is: . Below is the question:"
)


class Gsm8kRecipe(BenchmarkRecipe):
    """A model and how it answers math problems: greedy, up to 512 tokens, unless it is set otherwise.

    instruction     what is before each question; null: the question alone.
    instruction_in  user: in the user's turn, in front of the question; system: as the system's turn.
    """

    usual_tokens: ClassVar[int] = 512

    instruction: str | None = INSTRUCTION
    instruction_in: Literal["user", "system"] = "user"

    def prompt(self, question: str) -> str:
        """Return the user's turn."""
        if self.instruction_in == "system" or not self.instruction:
            return question
        return f"{self.instruction}\n{question}"

    @property
    def system(self) -> str | None:
        """The system's turn, if there is one."""
        return self.instruction if self.instruction_in == "system" else None
