"""openai/gsm8k: grade-school problems with a checkable answer, and the example model solutions.

The set's metadata holds the checkable answer as `answer` (digits, without commas or units), which verifiers
read, and the worked solution as `solution`.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import interleave, listed, present, struct_fields
from pairkit.readers.json_text import json_objects
from pairkit.sources.base import Draft, SourceRecipe
from pairkit.sources.reading.columns import Columns, completions
from pairkit.sources.reading.messages import user_prompt

# "#### 1,080" closes an answer in the dataset, "A: 1,080" in the file of example solutions.
FINAL_ANSWER = r"(?m)^(?:####|A:)\s*\$?(-?[0-9][0-9,]*(?:\.[0-9]+)?)\s*$"


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Convert problems to sets without completions, example solutions to sets of four, score 1 if correct."""
    columns = Columns.of(table)
    solution_field = "ground_truth" if "ground_truth" in columns else "answer"
    solution = columns.text(solution_field)
    answer = final_answers(solution)
    columns.report(~present(answer), "no_answer", "has no line '#### number' or 'A: number'", solution_field)
    # By type, because each column of solutions has the name of its model.
    models = [name for name in columns.arrays if _is_solution(columns.arrays[name])]
    rest = columns.rest(["question", "answer", "ground_truth", *models])
    metadata = json_objects(rest | {"answer": answer, "solution": solution}, columns.size)
    prompt = user_prompt(columns.text("question"))
    return Draft(prompt, _solutions(columns, models), metadata, columns.problems)


def final_answers(solutions: pa.Array) -> pa.Array:
    """Return the last number that a solution gives as its answer, without commas; null if there is none."""
    series = pl.from_arrow(solutions)
    assert isinstance(series, pl.Series)
    # The last one, because a solution may have such a line within its steps.
    last = series.str.extract_all(FINAL_ANSWER).list.last()
    return last.str.extract(FINAL_ANSWER).str.replace_all(",", "", literal=True).to_arrow().cast(pa.string())


def _is_solution(values: pa.Array) -> bool:
    return pa.types.is_struct(values.type) and {"is_correct", "solution"} <= set(struct_fields(values))


def _solutions(columns: Columns, models: list[str]) -> pa.Array:
    if not models:
        # Empty lists, one per row.
        return listed([0] * (columns.size + 1), completions(pa.array([], pa.string())))
    parts = []
    for model in models:
        fields = columns.struct(model)
        correct = pc.cast(fields.truth("is_correct"), pa.float64())
        parts.append(completions(fields.text("solution"), model=model, score=correct))
    return interleave(parts)
