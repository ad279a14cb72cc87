"""The first lines of a judge's prompt file: what the judge writes, and in which form."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from pairkit.rankers.judge.recipe import Kind
from pairkit.recipes import Strict

Form = Literal["tag", "brackets", "boxed", "json"]
# The name of a verdict's tag, and of its key in JSON.
NAMES: dict[Kind, str] = {"pairwise": "verdict", "pointwise": "rating", "listwise": "ranking"}
_LARGEST = 999
STEPS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
_LABELS: dict[Form, tuple[str, ...]] = {"brackets": ("[[A]]", "[[B]]", "[[C]]"), "boxed": (r"\boxed{A}",)}


class Header(Strict):
    """The lines of a prompt file before its first part.

    Attributes:
        verdict: the form of a verdict: a tag (<verdict>A</verdict>), double brackets ([[A]]), \\boxed{A}, or
            a JSON object with the key "verdict"; of ratings and rankings alike.
        steps: pairwise: 3 for A, B and a tie; 5 for A>>B, A>B, A=B, B>A and B>>A.
        scale: pointwise: the lowest and the highest rating.
        fractions: pointwise: whether ratings between whole numbers count.
    """

    version: int
    kind: Kind
    verdict: Form = "tag"
    steps: Literal[3, 5] = 3
    scale: tuple[int, int] = (1, 5)
    fractions: bool = False
    source: str = ""

    @field_validator("scale", mode="before")
    @classmethod
    def _two_numbers(cls, scale: Any) -> Any:
        whole = (
            isinstance(scale, (list, tuple)) and len(scale) == 2 and all(type(end) is int for end in scale)
        )
        if not whole:
            raise ValueError(f"scale must be two whole numbers, as in [1, 10], got {scale!r}")
        return scale

    @model_validator(mode="after")
    def _only_what_the_kind_reads(self) -> Header:
        if self.kind == "listwise" and self.verdict in ("brackets", "boxed"):
            raise ValueError(f"verdict: {self.verdict} is not for listwise prompts; use tag or json")
        read = {"pairwise": {"steps"}, "pointwise": {"scale", "fractions"}, "listwise": set()}[self.kind]
        for name in ("steps", "scale", "fractions"):
            if name in self.model_fields_set and name not in read:
                raise ValueError(f"{name} does not apply to {self.kind} prompts: remove it")
        low, high = self.scale
        if low >= high:
            raise ValueError(f"scale must be [lowest, highest], got [{low}, {high}]")
        # Longer numbers are not looked for in an answer, where they are rarely a rating.
        if low < -_LARGEST or high > _LARGEST:
            raise ValueError(f"scale must be within -{_LARGEST} to {_LARGEST}, got [{low}, {high}]")
        return self

    @property
    def written(self) -> tuple[str, ...]:
        """What a prompt must contain, so that the judge knows how to write a verdict that can be read."""
        name = NAMES[self.kind]
        if self.steps == 5:
            forms = {"tag": "<verdict>{}</verdict>", "brackets": "[[{}]]", "boxed": r"\boxed{{{}}}"}
            # In JSON the key may be described apart from its values.
            form = forms.get(self.verdict, "{}")
            key = ('"verdict"',) if self.verdict == "json" else ()
            return (*key, *(form.format(step) for step in STEPS))
        if self.verdict == "tag":
            return (f"<{name}>",)
        if self.verdict == "json":
            return (f'"{name}"',)
        if self.kind == "pointwise":
            return ("[[",) if self.verdict == "brackets" else (r"\boxed{",)
        return _LABELS[self.verdict]
