"""Prompts with verifiable instructions, and answers to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROMPTS: list[dict[str, Any]] = [
    {
        "key": 7,
        "prompt": "Write about cats without commas. Use the word whisker.",
        "instruction_id_list": ["punctuation:no_comma", "keywords:existence"],
        "kwargs": [{}, {"keywords": ["whisker"]}],
    },
    {
        "key": 8,
        "prompt": "Use the letter e at least 5 times.",
        "instruction_id_list": ["keywords:letter_frequency"],
        "kwargs": [{"letter": "e", "let_frequency": 5, "let_relation": "at least"}],
    },
    {
        "key": 9,
        "prompt": "Use # at least 4 times and write at least 2 sentences.",
        "instruction_id_list": ["keywords:letter_frequency", "length_constraints:number_sentences"],
        "kwargs": [
            {"letter": "#", "let_frequency": 4, "let_relation": "at least"},
            {"relation": "at least", "num_sentences": 2},
        ],
    },
]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write_prompts(path: Path, rows: list[dict[str, Any]] = PROMPTS) -> Path:
    path.write_bytes(lines(rows))
    return path


def responses(*texts: str) -> list[dict[str, str]]:
    """Make rows of IFEval's `input_response_data.jsonl` to the first prompts."""
    pairs = zip(PROMPTS[: len(texts)], texts, strict=True)
    return [{"prompt": row["prompt"], "response": text} for row, text in pairs]
