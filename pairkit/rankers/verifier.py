"""The verifier: scores completions against the answer in a set's metadata. No model is asked.

    exact                    the completion is the answer, except for white space around it
    number                   both end in the same number, as GSM8K counts: 1,080 = $1080.00 = 1080 dollars
    ifeval                   the share of the instructions that it follows: those of IFEval, which lm-eval
                             verifies (extra `eval`), in the metadata's `instruction_id_list` and `kwargs`
    package.module:function  a Python function of (completion text, metadata of the set) that returns a number

The final number of a text is the first one after its last "So the answer is" (in any case, on its line, or
alone on the next one if nothing else is on it), else after its last `####`, else after its last line that
begins with `A:`, else the last one in it. Where such a mark has no number after it, there is none. Thousands
separators, signs, currency, units, percent signs and trailing zeros do not matter, and full-width digits are
digits; fractions and words are not read.

A check sees a completion without the thought that it begins with; a thought that never ends is no answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.errors import PairkitError, RecipeError, listed
from pairkit.imports import CodeRefused, import_named
from pairkit.rankers import ifeval
from pairkit.rankers.named import with_score
from pairkit.rankers.shown import shown_answers, thought_counts
from pairkit.rankers.thoughts import Thoughts
from pairkit.recipes import Strict
from pairkit.schema import StageResult, quarantine_rows
from pairkit.sets import assemble, completions, map_batches

NAME = "verifier"
IFEVAL = "ifeval"
Check = Callable[[str, Mapping[str, Any]], float]


class VerifierRecipe(Strict):
    """The settings of the ranker `verifier`."""

    check: str = "exact"  # exact, number, ifeval, or package.module:function
    answer: str = "answer"  # the metadata field with the answer; ifeval and functions read others
    thoughts: Thoughts = "strip"  # show: the check sees the thought as well

    @property
    def compares(self) -> bool:
        """Whether completions are compared with the answer, and not given to a function."""
        return self.check in _CHECKS

    @property
    def field(self) -> str | None:
        """The field of metadata that the check reads; None for a function, which reads what it likes."""
        return ifeval.KINDS if self.check == IFEVAL else self.answer if self.compares else None


def verify(sets: pa.Table, recipe: VerifierRecipe) -> StageResult:
    """Set `score` and the named score `verifier` of all completions except noise: 1 if right, 0 if wrong.

    A function's return value is the score, and of `ifeval` the share of instructions. Earlier ranks are
    removed, because they belong to another score. Sets without an answer to check against go to quarantine
    (reason `no_answer`). Counts: completions `checked`, those that are `right` (a score above 0; of `ifeval`
    a score of 1), and those of `shown.thought_counts`.

    Raises `RecipeError` for a check that does not exist and a function that fails, `MissingExtraError`
    for `ifeval` without lm-eval.
    """
    check = None if recipe.compares else load_function(recipe.check)
    has_answer = checkable(sets["metadata"], recipe)
    without_answer = sets.filter(pc.invert(has_answer))

    def score(batch: pa.RecordBatch) -> pa.RecordBatch:
        flat = completions(batch)
        owner = pc.list_parent_indices(batch["completions"])
        texts = shown_answers(flat, recipe.thoughts)
        if check is None:
            values = _compare(texts, _answers(batch["metadata"], recipe).take(owner), recipe.check)
        else:
            values = _call(check, recipe.check, batch, texts, owner)
        # Noise keeps no score, because even a right number in it was made to be rejected.
        noise = pc.equal(pc.struct_field(flat, "origin"), "noise")
        values = pc.if_else(noise, pa.scalar(None, pa.float64()), values)
        scored_completions = with_score(flat, NAME, values)
        return assemble(batch, scored_completions, owner.to_numpy(), np.arange(len(flat)))

    scored_sets = map_batches(sets.filter(has_answer), score)
    flat = pc.list_flatten(scored_sets["completions"]).combine_chunks()
    values = pc.struct_field(flat, "score")
    counts = {
        "checked": len(values) - values.null_count,
        "right": pc.sum(_right(values, recipe.check)).as_py() or 0,
        **thought_counts(flat, recipe.thoughts),
    }
    detail = f"metadata has no {recipe.field or recipe.answer!r} that {recipe.check!r} can check"
    count = without_answer.num_rows
    quarantine = quarantine_rows("rank", without_answer, ["no_answer"] * count, [detail] * count)
    return StageResult(scored_sets, quarantine, counts=counts)


def _right(scores: pa.Array, check: str) -> pa.Array:
    """Tell which scores are those of right completions: a part of the instructions is not enough."""
    return pc.equal(scores, 1) if check == IFEVAL else pc.greater(scores, 0)


def check_recipe(recipe: VerifierRecipe) -> None:
    """Raise the `RecipeError` that `verify` would raise for the check of a recipe."""
    if not recipe.compares:
        load_function(recipe.check)


def final_number(texts: pl.Expr) -> pl.Expr:
    """Return the final number of each text, in one spelling ("-1080", "0.5"), null if there is none."""
    # Full-width characters are other spellings of the same number; Unicode's own folding would make 5² 52.
    lines = texts.str.replace_many(_FULL_WIDTH).str.replace_all(r"\r\n?|[\x{85}\x{2028}\x{2029}]", "\n")
    # A minus after a digit subtracts and one inside a word joins; the others are signs.
    text = lines.str.replace_all("[−–]", "-").str.replace_all(r"([\d)])[ \t]*-|(\w)-", "${1}${2} ")
    statement = pl.coalesce(
        _stated(text.str.extract(r"(?is)^.*so the answer is(.*)$")),
        text.str.extract(r"(?s)^.*####(.*)$"),
        text.str.extract(r"(?s)^(?:.*\n)?[ \t]*A:(.*)$"),
    )
    after_mark = statement.str.extract(f"({_NUMBER})")
    last = text.str.extract_all(_NUMBER).list.last()
    number = pl.when(statement.is_null()).then(last).otherwise(after_mark)
    sign = pl.when(number.str.contains("-", literal=True)).then(pl.lit("-")).otherwise(pl.lit(""))
    digits = number.str.replace_all(r"[^\d.]", "")
    whole = digits.str.extract(r"^0*(\d*)").replace("", "0")
    decimals = digits.str.extract(r"\.(\d*?)0*$").fill_null("")
    point = pl.when(decimals == "").then(pl.lit("")).otherwise(pl.lit("."))
    magnitude = pl.concat_str(whole, point, decimals)
    # Minus zero is zero.
    return pl.when(magnitude == "0").then(magnitude).otherwise(pl.concat_str(sign, magnitude))


def _stated(following: pl.Expr) -> pl.Expr:
    """Return where the number is in what is after MinorDPO's mark; null where there is no mark.

    It is on the line, since other lines may hold a check of the answer. Only after an empty rest of the line
    may it be alone on the next one.
    """
    line = following.str.extract(r"^([^\n]*)")
    below = following.str.extract(rf"^[^\n]*\n(?:{_MARKS}|\n)*([^\n]*)").str.extract(_ALONE)
    empty = line.str.contains(rf"^(?:{_MARKS}|:)*$")
    return pl.when(empty).then(below.fill_null("")).otherwise(line)


_FULL_WIDTH = {chr(ord(char) + 0xFEE0): char for char in "0123456789+-.,:#$%"}
# Currency may be on either side of the sign; thousands are grouped by three, or not grouped.
_NUMBER = r"[-+]?[ \t]?[$€£]?[ \t]?-?(?:(?:\d{1,3}(?:,\d{3})+\b|\d+)(?:\.\d+)?|\.\d+)"
# White space, Markdown and LaTeX around a number, as in **18**, $18$, \[ 18 \] and \boxed{18}.
_MARKS = r"[^\S\n]|[*_`$(){}\[\]\\]|boxed\{|text\{"
_UNIT = r"%|[€£°]|(?:(?:square|cubic) )?\pL+(?: ?(?:/|per) ?\pL+)?"
_ALONE = rf"^(?:{_MARKS})*({_NUMBER})(?:{_MARKS})*(?:{_UNIT})?(?:{_MARKS}|[.!])*$"


def _strip(texts: pl.Expr) -> pl.Expr:
    return texts.str.strip_chars()


_CHECKS: dict[str, Callable[[pl.Expr], pl.Expr]] = {"exact": _strip, "number": final_number}


def load_function(path: str) -> Check:
    """Load `ifeval`, or import the function `package.module:function`; anything else is a `RecipeError`."""
    if path == IFEVAL:
        return ifeval.load_check()
    if ":" not in path:
        names = ", ".join([*_CHECKS, IFEVAL])
        raise RecipeError(f"unknown verifier check {path!r}: use one of {names}, or package.module:function")
    try:
        function = import_named(path)
    except CodeRefused as error:
        raise RecipeError(f"verifier check {path!r}: {error}") from error
    except Exception as error:  # the module is the user's and may raise anything
        raise RecipeError(f"verifier check {path!r} cannot be imported: {error}") from error
    if not callable(function):
        raise RecipeError(f"verifier check {path!r} is not a function")
    return function  # type: ignore[no-any-return]


def checkable(metadata: pa.ChunkedArray, recipe: VerifierRecipe) -> pa.Array | pa.ChunkedArray:
    """Tell which sets have what the check needs in their metadata."""
    if recipe.compares:
        return pc.is_valid(_answers(metadata, recipe))
    if recipe.check == IFEVAL:
        return pc.is_valid(_field(metadata, ifeval.KINDS, _strip))
    return pc.is_valid(metadata)


def _answers(metadata: pa.Array | pa.ChunkedArray, recipe: VerifierRecipe) -> pa.Array:
    """Return the answer of each set as the check compares it, null if there is nothing to compare."""
    return _field(metadata, recipe.answer, _CHECKS[recipe.check])


def _field(
    metadata: pa.Array | pa.ChunkedArray, name: str, normalize: Callable[[pl.Expr], pl.Expr]
) -> pa.Array:
    field = pl.col("metadata").str.json_path_match(f"$[{json.dumps(name)}]")
    frame = pl.DataFrame({"metadata": pl.from_arrow(metadata)}, schema={"metadata": pl.String})
    return frame.select(normalize(field))["metadata"].to_arrow().cast(pa.string())


def _compare(texts: pa.StringArray, answers: pa.Array, check: str) -> pa.Array:
    frame = pl.DataFrame({"text": pl.from_arrow(texts)}, schema={"text": pl.String})
    numbers = frame.select(_CHECKS[check](pl.col("text")))["text"].to_arrow().cast(pa.string())
    return pc.fill_null(pc.equal(numbers, answers), False).cast(pa.float64())


def _call(check: Check, path: str, batch: pa.RecordBatch, texts: pa.StringArray, owner: pa.Array) -> pa.Array:
    """Call the user's function, which takes one completion at a time, for each completion."""
    metadata = [json.loads(text) for text in batch["metadata"].to_pylist()]
    set_ids = batch["set_id"].to_pylist()
    values = []
    for text, index in zip(texts.to_pylist(), owner.to_pylist(), strict=True):
        try:
            value = float(check(text, metadata[index]))
        except Exception as error:
            kind = "" if isinstance(error, PairkitError) else f"{type(error).__name__}: "
            problem = f"{kind}{error}{_absent(error, metadata[index])}"
            raise RecipeError(f"verifier check {path!r} failed on set {set_ids[index]}: {problem}") from error
        if not math.isfinite(value):
            problem = f"returned {value} on set {set_ids[index]}; it must return a finite number"
            raise RecipeError(f"verifier check {path!r} {problem}")
        values.append(value)
    return pa.array(values, pa.float64())


def _absent(error: Exception, metadata: Mapping[str, Any]) -> str:
    """Describe what to do about a field that a function looks for and the metadata of a set does not have."""
    name = error.args[0] if isinstance(error, KeyError) and error.args else None
    if not isinstance(name, str) or name in metadata:
        return ""
    return (
        f"; the metadata of that set has {listed(metadata) or 'nothing'}. It holds the columns that are not "
        f"read as prompt or completion: --layout prompts keeps all but the prompt, as {name!r}"
    )
