"""Real files and small examples, read without any option; each right value is computed independently."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.layouts import read_path, read_rows

PAIR = [("Eight.", 1, None), ("Six, like an ant.", 2, None)]
REVERSED = PAIR[::-1]
# File -> its layout, the sets, and the completions of the first one.
FIELD: dict[str, tuple[str, int, list[tuple[str, int | None, float | None]]]] = {
    "openai-preference.jsonl": ("openai_preference", 5, PAIR),
    "one-response-a-row.jsonl": ("helpsteer2", 5, [("Eight.", None, 4.0), ("Six, like an ant.", None, 1.0)]),
    "ranked-output-list.json": ("llama_factory_ranking", 5, [*PAIR, ("I do not know.", 3, None)]),
    "rejected-response-messages.jsonl": ("ms_swift", 5, PAIR),
    "better-response-id.jsonl": ("pku_saferlhf", 5, REVERSED),
    "nested-question.jsonl": ("webgpt", 5, [("Eight.", None, 1.0), ("Six, like an ant.", None, -1.0)]),
    "generations-ratings.jsonl": (
        "distilabel",
        5,
        [("Six, like an ant.", None, 2.0), ("Eight.", None, 5.0), ("I do not know.", None, 1.0)],
    ),
    "text-parts.jsonl": ("dialogue_pairs", 5, PAIR),
}


@pytest.mark.parametrize("file", FIELD)
def test_the_fields_examples_are_read_right(real_data: Path, file: str) -> None:
    layout, sets, first = FIELD[file]
    found = read_path(real_data / "field" / file)
    assert (found.layout, len(found.sets), found.refused) == (layout, sets, [])
    assert found.brief()[0] == first
    assert found.prompts()[0][-1] == ("user", "How many legs has a spider?")


def test_the_right_answers_are_the_best_of_their_sets(real_data: Path) -> None:
    right = ["Eight.", "Mercury.", "Lisbon.", "No, 51 is 3 times 17.", "Carbon dioxide."]
    for file in FIELD:
        for number, completions in enumerate(read_path(real_data / "field" / file).brief()):
            worth = {
                text: -rank if rank else score
                for text, rank, score in completions
                if rank or score is not None
            }
            best = [text for text in worth if worth[text] == max(worth.values())]
            tie = file == "nested-question.jsonl" and number == 4
            assert set(best) == (set(worth) if tie else {right[number]})


def test_models_of_generations(real_data: Path) -> None:
    found = read_path(real_data / "field" / "generations-ratings.jsonl")
    assert found.brief("model") == [[("m-small",), ("m-big",), ("m-tiny",)]] * 5


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    text = gzip.decompress(path.read_bytes()).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def asked(row: dict[str, Any]) -> str:
    return "\n\n".join(text for text in (row["instruction"], row["input"]) if text.strip())


@pytest.mark.full
def test_pandalm(real_data: Path) -> None:
    path = real_data / "pandalm_testset_v1.jsonl.gz"
    good = [
        row
        for row in rows_of(path)
        if isinstance(row["response1"], str) and isinstance(row["response2"], str)
    ]

    def ranks(row: dict[str, Any]) -> tuple[int, int]:
        votes = Counter(row[f"annotator{number}"] for number in (1, 2, 3)).most_common()
        most = votes[0][0] if len(votes) == 1 or votes[0][1] > votes[1][1] else 0
        return {0: (1, 1), 1: (1, 2), 2: (2, 1)}[most]

    found = read_path(path)
    assert found.layout == "pandalm"
    assert found.brief("text", "rank") == [
        [(row["response1"], ranks(row)[0]), (row["response2"], ranks(row)[1])] for row in good
    ]
    assert [prompt[0][1] for prompt in found.prompts()] == [asked(row) for row in good]
    assert {reason for reason, _ in found.refused} == {"not_text"}


@pytest.mark.full
def test_llmbar(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "llmbar.jsonl.gz"
    found, rows = read_path(path), rows_of(path)
    assert found.layout == "llmbar"
    assert found.brief("text", "rank") == [
        [(row["output_1"], row["label"]), (row["output_2"], 3 - row["label"])] for row in rows
    ]
    # Whether a file is read as this layout does not depend on the rows that are read at once.
    alone = read_rows(tmp_path, rows[:20], block=1)
    assert (alone.layout, alone.sets) == ("llmbar", found.sets[:20])


def test_webgpt_of_dsp(real_data: Path) -> None:
    path = real_data / "webgpt_comparisons_test_dsp.jsonl.gz"
    found = read_path(path)
    assert (found.layout, found.refused) == ("text_and_score", [])
    for row, completions, prompt in zip(rows_of(path), found.brief(), found.prompts(), strict=True):
        cuts = [
            re.fullmatch(r"## Human:\n(.*)\n\n## Assistant:(.*)", text, re.DOTALL) for text in row["text"]
        ]
        assert [cut is not None for cut in cuts] == [True, True]
        assert prompt == [("user", cuts[0][1].strip())]  # type: ignore[index]
        replies = [cut[2].strip() for cut in cuts if cut]
        assert completions == [(text, None, score) for text, score in zip(replies, row["score"], strict=True)]


def test_alpaca_farm(real_data: Path) -> None:
    path = real_data / "alpaca_farm_multisamples_sft.jsonl.gz"
    found = read_path(path)
    assert found.layout == "output_list"
    # Samples, whose order is no rank.
    assert found.brief() == [[(text, None, None) for text in row["output"]] for row in rows_of(path)]
    path = real_data / "alpaca_farm_outputs_pairs.jsonl.gz"
    found = read_path(path)
    assert found.layout == "compared"
    assert found.brief() == [
        [(row["output_1"], None, None), (row["output_2"], None, None)] for row in rows_of(path)
    ]
    assert [prompt[0][1] for prompt in found.prompts()] == [asked(row) for row in rows_of(path)]


def test_nectar_and_ultrafeedback(real_data: Path) -> None:
    path = real_data / "nectar_row0_abridged.jsonl.gz"
    found = read_path(path)
    assert found.layout == "nectar"
    assert found.prompts() == [[("user", "0.002 = 1000 \n1 = x?")]]
    (row,) = rows_of(path)
    assert found.brief("text", "rank", "model") == [
        [(each["answer"], int(each["rank"]), each["model"]) for each in row["answers"]]
    ]
    path = real_data / "ultrafeedback_rows_partial.jsonl.gz"
    found = read_path(path)
    assert found.layout == "ultrafeedback"
    assert found.brief("text", "score", "model") == [
        [(each["response"], each.get("fine-grained_score"), each["model"]) for each in row["completions"]]
        for row in rows_of(path)
    ]
    found = read_path(path, scores="completions[].overall_score")
    assert found.brief("score") == [
        [(each.get("overall_score"),) for each in row["completions"]] for row in rows_of(path)
    ]


@pytest.mark.default("alpaca_eval2_raw_annotation_sample.jsonl.gz")
@pytest.mark.parametrize(
    "file", ["alpaca_eval1_gpt4_annotations.parquet", "alpaca_eval2_raw_annotation_sample.jsonl.gz"]
)
def test_annotations_of_alpaca_eval(real_data: Path, file: str) -> None:
    found = read_path(real_data / file)
    assert (found.layout, found.refused) == ("alpaca_eval", [])

    def scores(preference: float | None) -> tuple[float | None, float | None]:
        if preference is None:
            return None, None
        return (0.5, 0.5) if preference == 0 else (1 - (preference - 1), preference - 1)

    for row, completions in zip(rows_of(real_data / file), found.brief("model", "score"), strict=True):
        first, second = scores(row["preference"])
        assert completions == [(row["generator_1"], first), (row["generator_2"], second)]


@pytest.mark.parametrize("file", ["llamafactory_dpo_en_demo.jsonl.gz", "llamafactory_dpo_zh_demo.jsonl.gz"])
def test_pairs_of_llama_factory(real_data: Path, file: str) -> None:
    found = read_path(real_data / file)
    assert (found.layout, found.refused) == ("sharegpt_preference", [])
    rows = rows_of(real_data / file)
    assert found.brief("text", "rank") == [
        [(row["chosen"]["value"], 1), (row["rejected"]["value"], 2)] for row in rows
    ]
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    assert found.prompts() == [
        [(roles[turn["from"]], turn["value"]) for turn in row["conversations"]] for row in rows
    ]
