"""AlpacaEval's files, read once, and small ones of the same layouts."""

from __future__ import annotations

import gzip
import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pairkit.engines.base import Completion, Request, Result
from pairkit.evaluation.alpaca_eval.gamed import Gamed, read_gamed
from pairkit.evaluation.alpaca_eval.length_control import Rows, length_term
from pairkit.evaluation.alpaca_eval.questions import prompt_id

_SHOWN = re.compile(r'"output": """(.*?)"""', re.DOTALL)


@cache
def annotations(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "alpaca_eval2_annotations.parquet")


@cache
def gamed(folder: Path) -> Gamed:
    return read_gamed(folder / "alpaca_eval2_df_gamed_rebuilt.csv.gz")


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file.read().split("\n") if line]


def points_of(frame: pl.DataFrame) -> np.ndarray:
    preference = frame["preference"].to_numpy()
    return np.where(preference == 0, 0.5, preference - 1)


def rows_of(folder: Path, model: str, *, positional: bool = False) -> Rows:
    """The rows of a model; `positional` takes difficulties by row, as the public code does."""
    frame = annotations(folder).filter(pl.col("result_dir") == model)
    lengths, base = (
        np.array([len(text) for text in frame[name]], dtype=float) for name in ("output_2", "output_1")
    )
    places = range(len(frame)) if positional else frame["example_idx"].to_list()
    difficulty = np.array([gamed(folder).difficulty[place] for place in places])
    return Rows(points_of(frame), length_term(lengths, base), difficulty)


# Five instructions with a reference's answers, and a model's that are longer, shorter, equal and empty.
QUESTIONS = [f"Question {number}?" for number in range(5)]
BASE = ["An answer.", "Another answer.", "The same.", "Something long enough.", "x"]
MODEL = ["A much longer answer.", "Short.", "The same.", "", "xy"]
DATASETS = ["koala", "koala", "vicuna", "vicuna", "oasst"]


def positions() -> dict[str, int]:
    """An evaluation set of these instructions, as tests put it in place of AlpacaEval's."""
    return {prompt_id(question): place for place, question in enumerate(QUESTIONS)}


def reference_rows() -> list[dict[str, Any]]:
    return [
        {"dataset": dataset, "instruction": question, "output": output, "generator": "base"}
        for dataset, question, output in zip(DATASETS, QUESTIONS, BASE, strict=True)
    ]


def model_rows(model: str = "mine") -> list[dict[str, Any]]:
    return [
        {"instruction": question, "output": output, "generator": model}
        for question, output in zip(QUESTIONS, MODEL, strict=True)
    ]


def annotation_rows(*preferences: float | None) -> list[dict[str, Any]]:
    return [
        {
            "instruction": question,
            "output_1": base,
            "generator_1": "base",
            "output_2": output,
            "generator_2": "mine",
            "annotator": "some_judge",
            "preference": preference,
        }
        for question, base, output, preference in zip(
            QUESTIONS, BASE, MODEL, preferences or (1.5,) * 5, strict=True
        )
    ]


def gamed_rows(count: int = 805) -> list[dict[str, Any]]:
    """A table of gamed runs: a concise one that loses and a verbose one that wins, as length tells."""
    rows = []
    for run, length in (("concise", 1.0), ("verbose", -1.0)):
        for index in range(count):
            row = {
                "preference": 0.5 - 0.3 * length,
                "index": index,
                "std_delta_len": length + 0.1 * (index % 5),
            }
            rows.append(
                {
                    **row,
                    "instruction_difficulty": 0.5 * (index % 5) - 1,
                    "not_gamed_baseline": False,
                    "model": f"base_{run}",
                }
            )
    return rows


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def longer_wins(request: Request, *, logprobs: bool = True) -> Result:
    """A judge that prefers the longer answer, the more certainly the longer it is."""
    first, second = _SHOWN.findall(request.prompt[-1]["content"])
    odds = 0.2 * (len(second) - len(first))
    letter = "M" if odds > 0 else "m"
    top = (
        ("M", -math.log1p(math.exp(-odds))),
        ("m", -math.log1p(math.exp(odds))),
    )
    shown = tuple(sorted(top, key=lambda entry: -entry[1])) if logprobs else None
    return tuple(Completion(letter, 1, "length", s, logprobs=shown) for s in request.samplings)
