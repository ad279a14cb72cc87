"""openbmb/UltraFeedback: 64,000 prompts with four completions each, rated by GPT-4 on four aspects.

The files differ: ratings are texts, some of them "N/A"; an early variant wraps the annotations of each
aspect in a list; some completions have no annotations; some files lack whole fields. A missing rating is
a null score.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, is_list, is_text, listed, mask, parse_numbers, struct_fields
from pairkit.readers.json_text import json_objects
from pairkit.sources.base import Draft, SourceRecipe
from pairkit.sources.reading.columns import Columns, completions, named_scores
from pairkit.sources.reading.messages import user_prompt

ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
OVERALL = "overall_score"
NUMBERS = (OVERALL, "fine-grained_score")
# The authors' parser turned a critique's 1 into 10. A 10 with a mean rating of at most this is such a 1:
# the threshold by which they repaired their own data (https://github.com/OpenBMB/UltraFeedback/issues/8).
MISREAD_AT_MOST = 2.0


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Convert rows to sets. `score` is the mean of the four ratings, or the overall score if the recipe asks.

    `scores` keeps every number as it is in the file. Critique, rationales, principle and system prompt go to
    the completion's metadata, the other fields to the set's.
    """
    columns = Columns.of(table)
    prompt = user_prompt(columns.text("instruction"))
    offsets, items = columns.items("completions")
    ratings = {aspect: _ratings(items, aspect) for aspect in ASPECTS}
    numbers = {name: items.number(name) for name in NUMBERS}
    mean = _mean(list(ratings.values()))
    score = _repaired(numbers[OVERALL], mean) if recipe.score == OVERALL else mean
    flat = completions(
        items.text("response"),
        model=items.text("model"),
        score=score,
        scores=named_scores(ratings | numbers, items.size),
        metadata=json_objects(items.rest(["response", "model", *NUMBERS]), items.size),
    )
    metadata = json_objects(columns.rest(["instruction", "completions"]), columns.size)
    return Draft(prompt, listed(offsets, flat), metadata, columns.problems)


def _ratings(items: Columns, aspect: str) -> pa.Array:
    """Return the rating of one aspect, null if it is "N/A" or missing."""
    annotation = items.struct("annotations").arrays.get(aspect)
    if annotation is not None and is_list(annotation.type):
        annotation = _first(annotation)
    if annotation is None or not pa.types.is_struct(annotation.type):
        return pa.nulls(items.size, pa.float64())
    rating = struct_fields(annotation).get("Rating")
    if rating is None or pa.types.is_null(rating.type):
        return pa.nulls(items.size, pa.float64())
    return parse_numbers(rating) if is_text(rating.type) else rating.cast(pa.float64())


def _first(lists: pa.Array) -> pa.Array:
    offsets, flat = flatten(lists)
    # An empty list has no first element: null, not that of the next row.
    some = offsets[1:] > offsets[:-1]
    return flat.take(pa.array(offsets[:-1], mask=~some))


def _mean(ratings: list[pa.Array]) -> pa.Array:
    """Average the ratings that exist; null if there are none."""
    weights = [pc.cast(pc.is_valid(rating), pa.float64()) for rating in ratings]
    total, count = pc.fill_null(ratings[0], 0.0), weights[0]
    for rating, one_if_rated in zip(ratings[1:], weights[1:], strict=True):
        total, count = pc.add(total, pc.fill_null(rating, 0.0)), pc.add(count, one_if_rated)
    return pc.if_else(pc.greater(count, 0.0), pc.divide(total, count), None)


def _repaired(overall: pa.Array, mean: pa.Array) -> pa.Array:
    # As a mask, because a null mean must not make the score null.
    misread = mask(pc.and_(pc.equal(overall, 10.0), pc.less_equal(mean, MISREAD_AT_MOST)))
    return pc.if_else(pa.array(misread), 1.0, overall)
