"""`pairkit eval alpaca_eval`: files that do not belong together, and what is missing."""

from __future__ import annotations

import json
from typing import Any

from support.alpaca import annotation_rows, gamed_rows, model_rows, reference_rows
from support.bad_input.case import Case


def files(**changed: list[dict[str, Any]]) -> dict[str, bytes]:
    """The files of an evaluation, some of them changed."""
    rows = {
        "reference": reference_rows(),
        "outputs": model_rows(),
        "annotations": annotation_rows(),
        "gamed": gamed_rows(),
    }
    return {f"{name}.json": json.dumps(content).encode() for name, content in (rows | changed).items()}


def second(rows: list[dict[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    """Change fields of the second row."""
    return [row | fields if place == 1 else row for place, row in enumerate(rows)]


EVAL = "eval alpaca_eval --reference reference.json --gamed gamed.json --out out"
ANSWERS = f"{EVAL} --answers outputs.json --judge model"
ANNOTATIONS = f"{EVAL} --annotations annotations.json"
CASES = [
    Case(
        "answers to other prompts",
        ANSWERS,
        "outputs.json: none of its 5 answers is to one of the 5 questions of the benchmark: give the "
        "answers to these questions, or another file of questions",
        files(outputs=[row | {"instruction": f"{row['instruction']}!"} for row in model_rows()]),
    ),
    Case(
        "two answers to one prompt",
        ANSWERS,
        "outputs.json, row 6: prompt '…' is answered twice: keep one answer per question",
        files(outputs=[*model_rows(), model_rows()[0]]),
    ),
    Case(
        "answers of two models in one file",
        ANSWERS,
        "outputs.json, row 2: answers of 'other' after those of 'mine': a file holds the answers of "
        "one model",
        files(outputs=second(model_rows(), generator="other")),
    ),
    Case(
        "verdicts on two models in one file",
        ANNOTATIONS,
        "annotations.json, row 2: generator_2 'other' after 'mine': a file holds verdicts on one model",
        files(annotations=second(annotation_rows(), generator_2="other")),
    ),
    Case(
        "verdicts against another reference",
        ANNOTATIONS,
        "annotations.json, row 2: output_1 is not the answer of the reference 'base': these verdicts are "
        "against another reference ('base')",
        files(annotations=second(annotation_rows(), output_1="Something else.")),
    ),
    Case(
        "verdicts on other answers",
        f"{ANNOTATIONS} --answers outputs.json",
        "annotations.json: 1 of its 5 verdicts are on other answers than those of --answers: give the "
        "annotations of these answers, or ask a judge",
        files(annotations=second(annotation_rows(), output_2="Something else.")),
    ),
    Case(
        "two verdicts on one prompt",
        ANNOTATIONS,
        "annotations.json, row 6: a second verdict on the same instruction: keep one",
        files(annotations=[*annotation_rows(), annotation_rows()[0]]),
    ),
    Case(
        "a preference that is none",
        ANNOTATIONS,
        "annotations.json, row 2: field 'preference' is 3.0; it is 1 + the probability that output_2 wins, "
        "so from 1 to 2, or 0 for a draw, or null",
        files(annotations=second(annotation_rows(), preference=3.0)),
    ),
    Case(
        "no table of gamed runs",
        ANNOTATIONS,
        "gamed.json, row 1: field 'index' is missing",
        files(gamed=model_rows()),
    ),
    Case(
        "a table of gamed runs that was cut",
        ANNOTATIONS,
        "gamed.json: run 'base_verbose' has 95 rows; df_gamed.csv has 2 runs of 805 rows, index 0 to 804",
        files(gamed=gamed_rows()[:900]),
    ),
    Case(
        "an evaluation without answers",
        EVAL,
        "no answers: give --model, or stored answers with --answers FILE",
        files(),
    ),
    Case(
        "an evaluation without verdicts",
        f"{EVAL} --answers outputs.json",
        "no verdicts: give --judge, stored verdicts with --annotations, or --until answers",
        files(),
    ),
    Case(
        "judge prompt of AlpacaEval without its places",
        f"{ANSWERS} --judge-prompt own.txt",
        "own.txt: {output_2} is missing in the user block of the judge prompt",
        files() | {"own.txt": b"<|im_start|>user\n{instruction} {output_1}\n<|im_end|>"},
    ),
]
