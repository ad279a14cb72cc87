"""abacusai/MetaMath_DPO_FewShot: MetaMath solutions, and the same with one intermediate result corrupted.

The prompts show worked examples before the question. MinorDPO trains on the zero-shot form: here only the
last question stays, and `shots` in the set's metadata counts the examples before it.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import interleave, mask
from pairkit.readers.json_text import json_objects
from pairkit.sources.base import Draft, SourceRecipe
from pairkit.sources.reading.columns import Columns, completions
from pairkit.sources.reading.messages import CUT, user_prompt

# Label of a question at the start of a line -> label of its answer.
LABELS = {"Question": "Answer", "Q": "A", "Problem": "Solution", "Instruction": "Response"}
# How solutions of MetaMath and GSM8K end: a question that contains one contains a worked example. MetaMath's
# own questions may contain "The answer is 2. What is the value of unknown variable x?"
WORKED = r"(?m)^####[ \t]*[-$\d]|The answer is(?::|[ \t]+[-$\d])[^\n?]*$"
# The text that may follow the last answer's label without being a part of the answer.
STEPS = r"^(?:Let['’]s think step by step[.:]?)?$"
# Stanford Alpaca's sentence before an instruction.
PREAMBLE = r"^(?:Below is an instruction that describes a task[^\n]*)?$"


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Convert rows to sets of two, ranked 1 and 2, without the white space that joined texts to the prompt.

    A prompt without labels and worked answers is a question already. A prompt whose last question cannot be
    told apart from the examples is `unclear_question`.
    """
    columns = Columns.of(table)
    texts = columns.text("prompt")
    marked = mask(pc.match_substring(texts, CUT))
    columns.report(marked, "unsupported_content", "holds the control character U+001E", "prompt")
    frame = pl.DataFrame({"prompt": pl.from_arrow(texts)}, schema={"prompt": pl.String})
    cut = frame.with_columns(pieces=_pieces(pl.col("prompt"))).select(**_last_question(pl.col("pieces")))
    unclear = mask(cut["unclear"].to_arrow()) & ~marked
    detail = "the last question cannot be told from the examples before it"
    columns.report(unclear, "unclear_question", detail, "prompt")
    chosen, rejected = (pc.utf8_trim_whitespace(columns.text(name)) for name in ("chosen", "rejected"))
    sets = interleave([completions(chosen, rank=1), completions(rejected, rank=2)])
    rest = columns.rest(["prompt", "chosen", "rejected"])
    metadata = json_objects(rest | {"shots": cut["shots"].to_arrow()}, columns.size)
    return Draft(user_prompt(cut["question"].to_arrow().cast(pa.string())), sets, metadata, columns.problems)


def _pieces(text: pl.Expr) -> pl.Expr:
    """Split into the text before the first label and the text after each label, marked `q` or `a`.

    Only the labels of the first question count, because an answer may contain a line with any other.
    """
    first = text.str.extract(_label("|".join(LABELS)))
    cut = text
    for question, answer in LABELS.items():
        with_labels = text.str.replace_all(_label(question), f"{CUT}q").str.replace_all(
            _label(answer), f"{CUT}a"
        )
        cut = pl.when(first == question).then(with_labels).otherwise(cut)
    return cut.str.split(CUT)


def _label(names: str) -> str:
    return rf"(?m)^[ \t]*(?:#+[ \t]*)?({names})(?:[ \t]+\d+)?[ \t]*:"


def _last_question(pieces: pl.Expr) -> dict[str, pl.Expr]:
    """Return `question`, `shots`, and whether it is `unclear` which question is the last."""
    kinds = pieces.list.slice(1).list.eval(pl.element().str.slice(0, 1)).list.join("")
    before = pieces.list.first().str.strip_chars()
    last = pieces.list.last().str.slice(1).str.strip_chars()
    answered = kinds.str.ends_with("a")
    questions = kinds.str.count_matches("q").cast(pl.Int64)
    inside = pieces.list.get(-2, null_on_oob=True).str.slice(1).str.strip_chars()
    question = pl.when(questions == 0).then(before).when(answered).then(inside).otherwise(last)
    clear = (
        pl.when(questions == 0)
        .then(pl.lit(True))
        .otherwise(
            kinds.str.contains("^(?:.*a)?qa?$")
            & (~answered | last.str.contains(STEPS))
            & ((questions > 1) | before.str.contains(PREAMBLE))
        )
    )
    return {
        "question": question,
        "shots": (questions - 1).clip(lower_bound=0),
        "unclear": ~clear | question.str.contains(WORKED),
    }
