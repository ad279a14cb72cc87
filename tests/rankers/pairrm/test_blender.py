"""The ranker pairrm against llm-blender itself, which runs in an environment of its own (see .ci/blender)."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support import pairrm_model
from support.blender import ask_blender
from support.tiny import WORDS, candidate_sets, completion

from pairkit.rankers import annotations
from pairkit.rankers.pairrm.ranker import PairRMRecipe, load_pairrm

pytestmark = pytest.mark.blender

# Texts that the normalizer of a tokenizer, its special tokens or its word boundaries could change.
ODD = [
    "", " ", "  two  spaces ", "a line\n\nand\ta tab\r\n", "ﬁne…", "ＦＵＬＬ width", "cafe\u0301 café",
    "red\u00a0dog",     "a[SEP]b", "[CLS] [MASK] [PAD] [UNK]", "日本語の文",
    "🙂 dog", "\u200bzero\ufeff width", "①②½ ™", "<|source", "\x00\x07",
    "▁ old", "don't!?", "a" * 80,
]  # fmt: skip


def texts(count: int, random: np.random.Generator) -> list[str]:
    drawn = [" ".join(random.choice(WORDS, random.integers(1, 30))) for _ in range(count)]
    return [text + " " + ODD[random.integers(len(ODD))] for text in drawn]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Sets of 2 to 5 completions, some of them equal or odd."""
    random = np.random.default_rng(0)
    rows: list[Any] = [(odd, [completion(text) for text in (*texts(2, random), odd)]) for odd in ODD]
    for _ in range(15):
        drawn = texts(random.integers(2, 6), random)
        rows.append((texts(1, random)[0], [completion(text) for text in (*drawn, drawn[0])]))
    return candidate_sets(rows)


class Found:
    """Scores by llm-blender, and the sets and checkpoints that they belong to."""

    def __init__(self, folder: Path, table: pa.Table) -> None:
        random = np.random.default_rng(1)
        words = [*texts(300, random), "abcdefghijklmnopqrstuvwxyz", "0123456789 .,:;!?'"]
        ask_blender("tokenizer", str(folder), given={"texts": words, "size": 300})
        limits = {"source_maxlength": 24, "candidate_maxlength": 14}
        tokenizers = {"tokenizers": folder}
        self.folders = {
            "PairRM": pairrm_model.save(folder / "PairRM", "PairRM", **tokenizers),
            "PairRM, cut": pairrm_model.save(folder / "cut", "PairRM", **tokenizers, **limits),
            "PairRM-hf": pairrm_model.save(folder / "PairRM-hf", "PairRM-hf", **tokenizers),
        }
        sources = [row["prompt"][0]["content"] for row in table.to_pylist()]
        candidates = [[one["text"] for one in row["completions"]] for row in table.to_pylist()]
        # llm-blender makes tokens of these in a text, and the card's `tokenize_pair` of [SEP] too.
        control = ("[CLS]", "[MASK]", "[PAD]")
        self.compared = {
            name: [
                row for row, both in enumerate(zip(sources, candidates, strict=True))
                if not any(
                    token in both[0] + "".join(both[1])
                    for token in (*control, *(["[SEP]"] if name == "PairRM-hf" else []))
                )
            ]
            for name in self.folders
        }  # fmt: skip
        jobs = [
            {
                "checkpoint": str(checkpoint), "layout": name.split(",")[0],
                "batch_size": 1 if "cut" in name else 8,
                "sources": [sources[row] for row in self.compared[name]],
                "candidates": [candidates[row] for row in self.compared[name]],
            }
            for name, checkpoint in self.folders.items()
        ]  # fmt: skip
        out = folder / "scores.json"
        ask_blender("scores", str(out), given=jobs)
        self.theirs = dict(zip(self.folders, json.loads(out.read_text()), strict=True))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, table: pa.Table) -> Found:
    return Found(tmp_path_factory.mktemp("blender"), table)


@pytest.mark.parametrize("name", ["PairRM", "PairRM-hf", "PairRM, cut"])
def test_scores_and_order_match_llm_blender(found: Found, table: pa.Table, name: str) -> None:
    """`PairRM, cut` truncates: at batch size 1 llm-blender truncates as pairkit always does."""
    some = table.take(found.compared[name])
    scored = load_pairrm(PairRMRecipe(model=str(found.folders[name]))).score(
        some, lambda count=1, /, note="": None
    )
    assert (scored.counts["truncated"] > 20) == (name == "PairRM, cut")
    ours = [[one["score"] for one in row] for row in scored.sets["completions"].to_pylist()]
    theirs = found.theirs[name]
    flat = [np.concatenate([np.array(row) for row in both]) for both in (ours, theirs["scores"])]
    assert np.abs(flat[0] - flat[1]).max() < 1e-5
    assert flat[1].std() > 0.1
    ordered = annotations.rank(scored.sets)["completions"].to_pylist()
    for row, mine, scores, ranks in zip(ordered, ours, theirs["scores"], theirs["ranks"], strict=True):
        # pairkit stores completions best first; scores that are equal in llm-blender differ by rounding.
        by_rank = sorted(range(len(mine)), key=lambda i: -mine[i])
        assert [one["score"] for one in row] == [mine[i] for i in by_rank]
        for better, worse in pairwise(by_rank):
            assert ranks[better] < ranks[worse] or abs(scores[better] - scores[worse]) < 1e-5
