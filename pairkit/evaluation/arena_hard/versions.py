"""What the two versions of the benchmark are: prompts, references, judges."""

from __future__ import annotations

from typing import NamedTuple

from pairkit.evaluation.arena_hard.labels import Version


class Benchmark(NamedTuple):
    """A version of Arena-Hard.

    Attributes:
        categories: category -> the public reference of its prompts; v0.1 has one, without a name.
        judges: the public judges.
        sizes: category -> how many questions it has.
        questions_sha256: of all of them, see `answers.questions_sha256`.
        judge_tokens: the longest answer of the judge.
        drops_prompts: whether a game without a verdict drops its prompt.
    """

    categories: dict[str | None, str]
    judges: tuple[str, ...]
    sizes: dict[str | None, int]
    questions_sha256: str
    judge_tokens: int
    drops_prompts: bool

    @property
    def questions(self) -> int:
        """How many questions it has."""
        return sum(self.sizes.values())


BENCHMARKS: dict[Version, Benchmark] = {
    "0.1": Benchmark(
        {None: "gpt-4-0314"},
        ("gpt-4-1106-preview",),
        {None: 500},
        "ac3c7e439e1c4dbe0836e66de59a091f9bd21302276024d04577329747b534d4",
        4096,
        drops_prompts=False,
    ),
    "2.0": Benchmark(
        {"hard_prompt": "o3-mini-2025-01-31", "creative_writing": "gemini-2.0-flash-001"},
        ("gpt-4.1", "gemini-2.5"),
        {"hard_prompt": 500, "creative_writing": 250},
        "29058c3c4ecab1309ae3e9962575e5c327cc8eb136d0a1d6881027ae09bad4df",
        16000,
        drops_prompts=True,
    ),
}
CREATIVE = "creative_writing"
