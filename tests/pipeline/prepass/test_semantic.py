"""Duplicates by meaning, with a model of twelve words whose vectors are chosen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from pairkit.errors import ModelError, RecipeError
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load

pytest.importorskip("semhash")
WORDS = ["[UNK]", "bake", "cook", "bread", "loaf", "drive", "steer", "car", "van", "how", "to", "a"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from model2vec import StaticModel

    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    vectors = np.zeros((len(WORDS), 8), np.float32)
    for place in range(1, 9):  # two words of one meaning each
        vectors[place, (place - 1) // 2] = 1
    vectors[9:, 5] = 0.01
    folder = tmp_path_factory.mktemp("model") / "static"
    StaticModel(vectors, tokenizer).save_pretrained(folder)
    return folder


def recipe(folder: Path, model: object, *prompts: str, **fields: object) -> BuildRecipe:
    rows = [{"prompt": text, "chosen": f"good {n}", "rejected": "bad"} for n, text in enumerate(prompts)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"name": "files", "path": str(folder / "rows.jsonl")}
    dedup = {"threshold": None, "semantic": 0.9, "model": str(model), **fields}
    return load(None, {"source": source, "unit_rows": 2, "dedup": dedup}, {})


def test_prompts_of_one_meaning_leave_but_the_first(model: Path, tmp_path: Path) -> None:
    prompts = (
        "how to bake bread",
        "how to drive a car",
        "cook a loaf",
        "steer a van",
        "bake bread and drive car",
    )
    manifest = build(recipe(tmp_path, model, *prompts), tmp_path / "out")
    assert manifest["counts"]["prepass"] == {
        "quarantined_exact_duplicate": 0,
        "quarantined_semantic_duplicate": 2,
    }
    rows = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert [json.loads(row["row"])["prompt"][0]["content"] for row in rows] == ["cook a loaf", "steer a van"]
    assert rows[0]["detail"].startswith("the prompt is 100% like that of set ")
    assert manifest["recipe"]["dedup"]["model"].endswith("/static")
    assert str(tmp_path) not in (tmp_path / "out" / "pairkit.json").read_text()
    assert len(manifest["input"]["dedup_model"]) == 16


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"dedup\.model: .*empty cannot be loaded as a model2vec model: "):
        build(recipe(tmp_path, tmp_path / "empty", "a"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_similarity_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"dedup\.semantic and dedup\.model belong together: set both or neither"
    ):
        load(None, {"source": {"name": "files", "path": "x"}, "dedup": {"semantic": 0.9}}, {})
