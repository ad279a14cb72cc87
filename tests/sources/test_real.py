"""Every real file that fits a source: its sets, completions and quarantined rows.

Row counts are those that the files' README states; the other numbers are counted here with json, gzip and
plain Python, by rules written independently.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from support.candidates import said

from pairkit.schema import check_sets, identify
from pairkit.sources import SourceRecipe, open_source


class Count(NamedTuple):
    sets: int
    completions: int
    quarantined: int


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    text = gzip.decompress(path.read_bytes()).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def each(completions: int) -> Any:
    """Count every row as a set of that many completions."""
    return lambda rows: Count(len(rows), completions * len(rows), 0)


def dialogues(rows: list[dict[str, str]]) -> Count:
    def head(text: str) -> str:
        return text.rpartition("\n\nAssistant:")[0]

    good = sum(head(row["chosen"]) == head(row["rejected"]) for row in rows)
    return Count(good, 2 * good, len(rows) - good)


def judged(rows: list[dict[str, Any]]) -> Count:
    outputs: dict[str, int] = defaultdict(int)
    for row in rows:
        itself = (row["generator_1"], row["output_1"]) == (row["generator_2"], row["output_2"])
        outputs[row["instruction"]] += not itself
    return Count(len(outputs), len(outputs) + sum(outputs.values()), 0)


def outputs_only(rows: list[dict[str, Any]]) -> Count:
    return Count(len({row["instruction"] for row in rows}), len(rows), 0)


def panda(rows: list[dict[str, Any]]) -> Count:
    good = [row for row in rows if isinstance(row["response1"], str) and isinstance(row["response2"], str)]
    return Count(len(good), 2 * len(good), len(rows) - len(good))


def answered(field: str) -> Any:
    def count(rows: list[dict[str, Any]]) -> Count:
        good = sum(row.get(field) is not None for row in rows)
        return Count(good, good, len(rows) - good)

    return count


def listed(field: str) -> Any:
    return lambda rows: Count(len(rows), sum(len(row[field]) for row in rows), 0)


def joined(completions: str) -> dict[str, str]:
    """Return the map of a file whose prompt is an instruction and its input."""
    return {"prompt": "instruction+input", "completions": completions}


# file, rows by the README, source, map, and the independent count
FILES = [
    ("alpaca_eval1_gpt4_annotations.parquet", 5635, "alpaca_eval", {}, judged),
    ("alpaca_eval2_annotations.parquet", 23342, "alpaca_eval", {}, judged),
    ("alpaca_eval2_raw_annotation_sample.jsonl.gz", 100, "alpaca_eval", {}, judged),
    ("alpaca_eval_outputs_only.parquet", 8050, "alpaca_eval", {}, outputs_only),
    ("alpaca_farm_multisamples_sft.jsonl.gz", 8, "files", joined("output"), listed("output")),
    ("alpaca_farm_outputs_pairs.jsonl.gz", 6, "files", joined("output_1+output_2"), each(2)),
    ("arena_hard_v0.1_question.jsonl.gz", 500, "files", {}, each(0)),
    ("arena_hard_v2.0_question.jsonl.gz", 750, "files", {}, each(0)),
    ("dsp_domain_specific_test.jsonl.gz", 429, "files", {}, listed("responses")),
    ("gsm8k_example_model_solutions.jsonl.gz", 799, "gsm8k", {}, each(4)),
    ("gsm8k_test.parquet", 1319, "gsm8k", {}, each(0)),
    ("gsm8k_train.parquet", 7473, "gsm8k", {}, each(0)),
    ("hh_rlhf_harmless_base_test.jsonl.gz", 1498, "hh_rlhf", {}, dialogues),
    ("hh_rlhf_helpful_base_test.jsonl.gz", 1561, "hh_rlhf", {}, dialogues),
    ("hh_rlhf_helpful_base_test.jsonl.gz", 1561, "files", {}, dialogues),
    ("humaneval.jsonl.gz", 164, "files", {}, each(0)),
    ("ifeval_gpt4_eval_results_strict.jsonl.gz", 269, "files",
     {"prompt": "prompt", "completion": "response", "label": "follow_all_instructions"}, each(1)),
    ("ifeval_input_data.jsonl.gz", 540, "files", {}, each(0)),
    ("llamafactory_alpaca_en_demo.jsonl.gz", 999, "files", {}, each(1)),
    ("llamafactory_dpo_en_demo.jsonl.gz", 300, "files", {}, each(2)),
    ("llamafactory_dpo_zh_demo.jsonl.gz", 300, "files", {}, each(2)),
    ("llamafactory_kto_en_demo.jsonl.gz", 300, "files", {}, each(1)),
    ("llmbar.jsonl.gz", 281, "files", {"prompt": "input", "completions": "output_1+output_2"}, each(2)),
    (
        "metamath_gsm8k_backward_test.jsonl.gz",
        1270,
        "files",
        {"prompt": "question", "completion": "output"},
        answered("output"),
    ),
    ("nectar_row0_abridged.jsonl.gz", 1, "nectar", {}, listed("answers")),
    ("nectar_row0_abridged.jsonl.gz", 1, "files", {}, listed("answers")),
    ("pandalm_testset_v1.jsonl.gz", 549, "files", joined("response1+response2"), panda),
    ("self_instruct_human_eval_predictions.jsonl.gz", 2016, "files", joined("response+target"), each(2)),
    ("stanford_alpaca_sample.jsonl.gz", 1727, "files", {}, each(1)),
    ("ultrafeedback_binarized_row0.jsonl.gz", 1, "ultrafeedback_binarized", {}, each(2)),
    ("ultrafeedback_binarized_trl_flat.jsonl.gz", 800, "ultrafeedback_binarized", {}, each(2)),
    ("ultrafeedback_rows_partial.jsonl.gz", 3, "ultrafeedback", {}, listed("completions")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "rows", "source", "mapped", "count"),
    [  # large ones are full, but for the only one without judgments
        pytest.param(
            *f, id=f"{f[2]}-{f[0]}", marks=[pytest.mark.full] * (f[1] > 1500 and f[4] != outputs_only)
        )
        for f in FILES
    ],
)
def test_counts_of_the_real_files_are_exact(
    real_data: Path, file: str, rows: int, source: str, mapped: dict[str, str], count: Any
) -> None:
    raw = rows_of(real_data / file)
    assert len(raw) == rows
    expected = count(raw)
    opened = open_source(SourceRecipe(name=source, path=str(real_data / file), map=mapped))
    result, read, seen = Count(0, 0, 0), 0, {}
    for batch in opened.batches(rows=300):
        sets = check_sets(identify(batch.sets, seen))
        total = sum(len(completions) for completions in sets["completions"].to_pylist())
        result = Count(
            result.sets + sets.num_rows,
            result.completions + total,
            result.quarantined + batch.quarantine.num_rows,
        )
        read += batch.counts["rows"]
    assert result == expected
    assert read == rows


def sets_of(path: Path, source: str, **options: Any) -> list[dict[str, Any]]:
    opened = open_source(SourceRecipe(name=source, path=str(path), **options))
    return [row for batch in opened.batches() for row in batch.sets.to_pylist()]


@pytest.mark.full
def test_alpaca_eval_has_the_size_of_its_leaderboard(real_data: Path) -> None:
    sets = sets_of(real_data / "alpaca_eval2_annotations.parquet", "alpaca_eval")
    assert len(sets) == 805
    assert sum(len(row["completions"]) for row in sets) / len(sets) == pytest.approx(29, abs=0.1)


@pytest.mark.full
def test_alpaca_eval_scores_give_the_published_win_rates(real_data: Path) -> None:
    sets = sets_of(real_data / "alpaca_eval2_annotations.parquet", "alpaca_eval")
    scores = defaultdict(list)
    for row in sets:
        for completion in row["completions"]:
            scores[completion["model"]].append(completion["score"])
    published = {row["name"]: row for row in rows_of(real_data / "alpaca_eval2_leaderboard.jsonl.gz")}
    compared = {name for name in published if name in scores and name != "gpt4_1106_preview"}
    # Of a few folders the name on the leaderboard is not the generator's own.
    assert len(compared) > 20
    for name in compared:
        assert 100 * sum(scores[name]) / len(scores[name]) == pytest.approx(
            published[name]["win_rate"], abs=1e-3
        )
    assert set(scores["gpt4_1106_preview"]) == {0.5}
    assert len(scores["gpt4_1106_preview"]) == 805


def test_alpaca_eval_1_has_ties_and_missing_preferences(real_data: Path) -> None:
    raw = rows_of(real_data / "alpaca_eval1_gpt4_annotations.parquet")
    meaning = {0.0: 0.5, 1.0: 0.0, 1.5: 0.5, 2.0: 1.0, None: None}
    expected = sorted(
        (row["instruction"], row["generator_2"], str(meaning[row["preference"]])) for row in raw
    )
    sets = sets_of(real_data / "alpaca_eval1_gpt4_annotations.parquet", "alpaca_eval")
    result = sorted(
        (row["prompt"][0]["content"], completion["model"], str(completion["score"]))
        for row in sets
        for completion in row["completions"][1:]
    )
    assert result == expected
    assert {row["completions"][0]["score"] for row in sets} == {0.5}
    assert sum(score == "None" for _, _, score in result) == 5


@pytest.mark.full
def test_gsm8k_answers_are_digits(real_data: Path) -> None:
    raw = rows_of(real_data / "gsm8k_train.parquet") + rows_of(real_data / "gsm8k_test.parquet")
    sets = [
        row for name in ("train", "test") for row in sets_of(real_data / f"gsm8k_{name}.parquet", "gsm8k")
    ]
    answers = [json.loads(row["metadata"])["answer"] for row in sets]
    assert answers == [row["answer"].split("#### ")[-1].replace(",", "") for row in raw]
    assert all(re.fullmatch(r"-?\d+", answer) for answer in answers)
    assert sum("," in row["answer"].split("#### ")[-1] for row in raw) == 93
    assert sum(answer.startswith("-") for answer in answers) == 5


def test_gsm8k_solutions_are_scored_by_is_correct(real_data: Path) -> None:
    raw = rows_of(real_data / "gsm8k_example_model_solutions.jsonl.gz")
    sets = sets_of(real_data / "gsm8k_example_model_solutions.jsonl.gz", "gsm8k")
    models = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"]
    for row, result in zip(raw, sets, strict=True):
        assert [completion["model"] for completion in result["completions"]] == models
        assert [completion["text"] for completion in result["completions"]] == [
            row[model]["solution"] for model in models
        ]
        assert [completion["score"] for completion in result["completions"]] == [
            float(row[model]["is_correct"]) for model in models
        ]


def test_gsm8k_answers_agree_with_is_correct(real_data: Path) -> None:
    for row in sets_of(real_data / "gsm8k_example_model_solutions.jsonl.gz", "gsm8k"):
        answer = json.loads(row["metadata"])["answer"]
        for completion in row["completions"]:
            final = re.search(r"\nA: (.*)$", completion["text"])
            right = final is not None and final[1].replace(",", "") == answer
            assert right == (completion["score"] == 1.0) or final is None


@pytest.mark.parametrize("labels", [("Question: ", "Answer:"), ("### Instruction:\n", "### Response:\n")])
def test_metamath_removes_the_examples_before_real_problems(
    labels: tuple[str, str], real_data: Path, tmp_path: Path
) -> None:
    """GSM8K's problems, the origin of MetaMath, as questions and as the examples before them."""
    raw = rows_of(real_data / "gsm8k_train.parquet")[:2000]
    asks, answers = labels
    shots = [f"{asks}{row['question']}\n{answers} {row['answer']}\n\n" for row in raw]
    lines = [
        {
            "prompt": "".join(shots[number - number % 6 : number]) + f"{asks}{row['question']}\n{answers}",
            "chosen": row["answer"],
            "rejected": f"{row['answer']} or not",
        }
        for number, row in enumerate(raw)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for number, (row, result) in enumerate(zip(raw, sets_of(path, "metamath_dpo"), strict=True)):
        assert said(result["prompt"]) == [{"role": "user", "content": row["question"].strip()}]
        assert json.loads(result["metadata"]) == {"shots": number % 6}


def test_metamath_questions_without_examples_stay_whole(real_data: Path, tmp_path: Path) -> None:
    questions = [row["question"] for row in rows_of(real_data / "metamath_gsm8k_backward_test.jsonl.gz")]
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": question, "chosen": "a", "rejected": "b"} for question in questions]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = [row["prompt"][0]["content"] for row in sets_of(path, "metamath_dpo")]
    assert result == [question.strip() for question in questions]


@pytest.mark.full
def test_hh_rlhf_prompts_and_replies_make_up_the_dialogues(real_data: Path) -> None:
    for name in ("harmless", "helpful"):
        file = real_data / f"hh_rlhf_{name}_base_test.jsonl.gz"
        raw = [row for row in rows_of(file) if dialogues([row]).sets]
        for row, result in zip(raw, sets_of(file, "hh_rlhf"), strict=True):
            for side, rank in (("chosen", 1), ("rejected", 2)):
                reply = result["completions"][rank - 1]
                assert reply["rank"] == rank
                speakers = {"user": "\n\nHuman:", "assistant": "\n\nAssistant:"}
                turns = [*said(result["prompt"]), {"role": "assistant", "content": reply["text"]}]
                again = "".join(speakers[turn["role"]] + turn["content"] for turn in turns)
                assert re.sub(r"\s", "", again) == re.sub(r"\s", "", row[side])


def test_hh_rlhf_keeps_empty_replies(real_data: Path) -> None:
    harmless = sets_of(real_data / "hh_rlhf_harmless_base_test.jsonl.gz", "hh_rlhf")
    helpful = sets_of(real_data / "hh_rlhf_helpful_base_test.jsonl.gz", "hh_rlhf")
    empty = [
        (name, completion["rank"])
        for name, sets in (("harmless", harmless), ("helpful", helpful))
        for row in sets
        for completion in row["completions"]
        if not completion["text"]
    ]
    raw = [
        (name, rank)
        for name in ("harmless", "helpful")
        for row in rows_of(real_data / f"hh_rlhf_{name}_base_test.jsonl.gz")
        for rank, side in ((1, "chosen"), (2, "rejected"))
        if not row[side].rpartition("\n\nAssistant:")[2].strip()
    ]
    assert sorted(empty) == sorted(raw)
    assert raw


def test_ultrafeedback_pairs_keep_their_scores(real_data: Path) -> None:
    file = real_data / "ultrafeedback_binarized_trl_flat.jsonl.gz"
    for row, result in zip(rows_of(file), sets_of(file, "ultrafeedback_binarized"), strict=True):
        assert said(result["prompt"]) == [{"role": "user", "content": row["prompt"]}]
        assert [(c["text"], c["score"], c["rank"]) for c in result["completions"]] == [
            (row["chosen"], row["metadata"]["score_chosen"], None),
            (row["rejected"], row["metadata"]["score_rejected"], None),
        ]
        assert json.loads(result["metadata"]) == {"source_index": row["source_index"]}


def test_ultrafeedback_binarized_row_0_is_a_tie(real_data: Path) -> None:
    (row,) = sets_of(real_data / "ultrafeedback_binarized_row0.jsonl.gz", "ultrafeedback_binarized")
    assert [completion["score"] for completion in row["completions"]] == [8.5, 8.5]
    assert said(row["prompt"]) == [{"role": "user", "content": "how can i develop a habit of drawing daily"}]


def test_nectar_row_0_has_seven_ranks(real_data: Path) -> None:
    (raw,) = rows_of(real_data / "nectar_row0_abridged.jsonl.gz")
    (row,) = sets_of(real_data / "nectar_row0_abridged.jsonl.gz", "nectar")
    assert said(row["prompt"]) == [{"role": "user", "content": "0.002 = 1000 \n1 = x?"}]
    assert [completion["rank"] for completion in row["completions"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [completion["text"] for completion in row["completions"]] == [a["answer"] for a in raw["answers"]]
    assert json.loads(row["metadata"]) == {
        "good_natured": True,
        "num_responses": 7,
        "source": ["sharegpt"],
        "turns": 1,
    }


def test_ultrafeedback_rows_of_three_forms_are_read_alike(real_data: Path) -> None:
    sets = sets_of(real_data / "ultrafeedback_rows_partial.jsonl.gz", "ultrafeedback")
    assert [[c["score"] for c in row["completions"]] for row in sets] == [
        [2.75, None, None, None],
        [2.5],
        [4.5],
    ]
    last = sets[2]["completions"][0]
    assert {pair["name"]: pair["value"] for pair in last["scores"]} == {
        "fine-grained_score": 4.5,
        "helpfulness": 4.0,
        "honesty": 5.0,
        "instruction_following": 4.0,
        "overall_score": 7.5,
        "truthfulness": 5.0,
    }
    assert json.loads(sets[1]["metadata"])["reference_answers"].startswith("all work and no play")


def test_llamafactory_sharegpt_pairs_are_read(real_data: Path) -> None:
    file = real_data / "llamafactory_dpo_en_demo.jsonl.gz"
    names = {"human": "user", "gpt": "assistant", "system": "system"}
    for row, result in zip(rows_of(file), sets_of(file, "files"), strict=True):
        assert said(result["prompt"]) == [
            {"role": names[turn["from"]], "content": turn["value"]} for turn in row["conversations"]
        ]
        replies = [row["chosen"]["value"], row["rejected"]["value"]]
        assert [c["text"] for c in result["completions"]] == replies
        assert [c["rank"] for c in result["completions"]] == [1, 2]


def test_kto_labels_become_scores(real_data: Path) -> None:
    file = real_data / "llamafactory_kto_en_demo.jsonl.gz"
    raw, sets = rows_of(file), sets_of(file, "files")
    assert [row["completions"][0]["score"] for row in sets] == [float(row["label"]) for row in raw]
    assert sum(row["completions"][0]["score"] for row in sets) == 150


def test_the_no_input_phrase_of_alpaca_is_left_out(real_data: Path) -> None:
    file = real_data / "stanford_alpaca_sample.jsonl.gz"
    raw, sets = rows_of(file), sets_of(file, "files")
    odd = [place for place, row in enumerate(raw) if re.fullmatch(r"\W*no ?input\W*", row["input"].lower())]
    assert len({raw[place]["input"] for place in odd}) > 1  # it is spelled in several ways
    for place in odd:
        assert sets[place]["prompt"][0]["content"] == raw[place]["instruction"]
    joined = [place for place, row in enumerate(raw) if row["input"] and place not in odd]
    for place in joined:
        row = raw[place]
        assert sets[place]["prompt"][0]["content"] == f"{row['instruction']}\n\n{row['input']}"


def test_a_line_separator_in_a_text_does_not_end_the_line(real_data: Path) -> None:
    file = real_data / "arena_hard_v2.0_question.jsonl.gz"
    text = gzip.decompress(file.read_bytes()).decode()
    assert len(text.splitlines()) == 751
    assert [row["prompt"][0]["content"] for row in sets_of(file, "files")] == [
        row["prompt"] for row in rows_of(file)
    ]
