"""The `filter:` block of a build recipe: a field per filter, each with its bounds or patterns."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pairkit.errors import quoted
from pairkit.mining.filters.language_codes import CODES
from pairkit.recipes import Strict

# Whose value decides about a set: that of its best completion, of its lowest-ranked one, or of any or all.
Of = Literal["best", "worst", "any", "all"]
Share = Annotated[float, Field(ge=0, le=1)]


class Bounds(Strict):
    """The values that stay: from `min` to `max`, both included."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        if self.min is None and self.max is None:
            raise ValueError("a filter with bounds needs min or max, or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"a filter's min must not be above its max, got {self.min:g} and {self.max:g}")
        return self


class CompletionBounds(Bounds):
    """Bounds of a value of completions."""

    of: Of = "best"


class Repetition(CompletionBounds):
    """Bounds of the share of a completion's runs of `ngram` words that repeat an earlier one."""

    # A percentage in place of a share would drop nothing, without a word.
    min: Share | None = None
    max: Share | None = None
    ngram: Annotated[int, Field(ge=1, le=100)] = 3


class Refusals(Strict):
    """Sets leave whose completion begins as a refusal."""

    of: Of = "best"


class Patterns(Strict):
    """Sets leave whose text lacks a match of one of `require`, or has one of any of `forbid`.

    Regular expressions are those of Rust's regex, which takes time linear in the text, whatever the pattern.
    """

    require: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()

    @field_validator("require", "forbid")
    @classmethod
    def _compiles(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        import polars as pl  # recipes of training are read without it

        for pattern in patterns:
            try:
                pl.Series([""]).str.contains(pattern)
            except pl.exceptions.ComputeError as error:
                # Other lines draw an arrow to the place, or repeat the expression.
                lines = [
                    line.rpartition("error: ")[2] for line in str(error).splitlines() if "error: " in line
                ]
                reason = lines[-1] if lines else str(error).splitlines()[0]
                raise ValueError(
                    f"cannot compile the regular expression {quoted(pattern)}: {reason} (the syntax is that "
                    "of Rust's regex, without look-around and backreferences)"
                ) from error
        return patterns

    @model_validator(mode="after")
    def _some(self) -> Patterns:
        if not (self.require or self.forbid):
            raise ValueError("a filter of regular expressions needs require or forbid, or both")
        return self


class CompletionPatterns(Patterns):
    """Patterns that completions are compared with."""

    of: Of = "best"


class Languages(Strict):
    """Sets leave whose text is in another language than those `allowed` (ISO 639 codes, as `en`).

    A text whose language is found with a lower `probability` stays: short texts and code have none.
    """

    allowed: Annotated[tuple[str, ...], Field(min_length=1)]
    probability: Share = 0.5

    @field_validator("allowed")
    @classmethod
    def _known(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        for code in codes:
            if code not in CODES:
                near = get_close_matches(code, CODES, 3) or sorted(CODES & {code[:2].lower()})
                hint = f"; did you mean {', '.join(near)}?" if near else ""
                raise ValueError(
                    f"{quoted(code)} is no language that the filter knows: write codes as en or zh{hint}"
                )
        return codes


class CompletionLanguages(Languages):
    """The languages of completions."""

    of: Of = "best"


class FilterRecipe(Strict):
    """Which sets leave, each with the name of the first filter that it does not pass as the reason.

    prompt_chars        characters of the prompt's messages.
    prompt_regex        patterns in the prompt's messages.
    prompt_language     the language of the prompt's messages without the system's.
    completions         the number of completions.
    completion_chars    characters of a completion.
    completion_regex    patterns in a completion.
    completion_language the language of a completion.
    refusal             whether a completion begins as a refusal.
    repetition          the share of a completion's runs of three words that repeat an earlier one.
    score               the score of a completion: `{min: 3}` is a floor for the best one.
    margin              the best completion's score minus that of the lowest-ranked one.
    pair_chars          by how many characters these two differ in length.
    diversity           the effective number of different completions, 1 to their number: the order-2 Vendi
                        score over the words that two completions share (arXiv 2310.12952).

    Those of the prompt are applied before any model is asked, the others after ranking and before mining.
    """

    prompt_chars: Bounds | None = None
    prompt_regex: Patterns | None = None
    prompt_language: Languages | None = None
    completions: Bounds | None = None
    completion_chars: CompletionBounds | None = None
    completion_regex: CompletionPatterns | None = None
    completion_language: CompletionLanguages | None = None
    refusal: Refusals | None = None
    repetition: Repetition | None = None
    score: CompletionBounds | None = None
    margin: Bounds | None = None
    pair_chars: Bounds | None = None
    diversity: Bounds | None = None
