"""The prompts of benchmarks: every public layout, names, and files that have none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pairkit.errors import HubError, InputError, RecipeError
from pairkit.pipeline.prepass.benchmarks import NAMES, load


def written(file: Path, *rows: dict[str, Any]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


LAYOUTS = {
    "AlpacaEval": ({"instruction": "Why?", "output": "Because.", "generator": "m"}, [("1", "Why?")]),
    "GSM8K": ({"question": "2+2?", "answer": "4"}, [("1", "2+2?")]),
    "IFEval": ({"key": 1000, "prompt": "Write.", "instruction_id_list": []}, [("1000", "Write.")]),
    "HumanEval": ({"task_id": "HumanEval/0", "prompt": "def f():"}, [("HumanEval/0", "def f():")]),
    "MT-Bench": ({"question_id": 81, "turns": ["One.", "Two."]}, [("81", "One."), ("81", "Two.")]),
    "Arena-Hard 0.1": ({"question_id": "a", "turns": [{"content": "Do."}]}, [("a", "Do.")]),
    "Arena-Hard 2.0": ({"uid": "b", "category": "hard", "prompt": "Do it."}, [("b", "Do it.")]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prompts_of_every_layout(layout: str, tmp_path: Path) -> None:
    row, expected = LAYOUTS[layout]
    loaded = load([f"mine={written(tmp_path / 'question.jsonl', row)}"])
    assert [(item.benchmark, item.id, item.text) for item in loaded.items] == [
        ("mine", *each) for each in expected
    ]


def test_a_text_counts_once_and_the_hash_is_that_of_the_texts(tmp_path: Path) -> None:
    rows = [{"instruction": text, "generator": model} for model in "ab" for text in ("One?", "Two?")]
    loaded = load([written(tmp_path / "outputs.jsonl", *rows)])
    assert [item.text for item in loaded.items] == ["One?", "Two?"]
    again = load([f"outputs={written(tmp_path / 'other.jsonl', *rows[:2])}"])
    assert loaded.hashes == again.hashes
    assert load([f"outputs={written(tmp_path / 'less.jsonl', rows[0])}"]).hashes != loaded.hashes


def test_the_real_files(real_data: Path) -> None:
    files = {
        "alpaca_eval": ("alpaca_eval_outputs_only.parquet", 805),
        "arena_hard_0.1": ("arena_hard_v0.1_question.jsonl.gz", 500),
        "arena_hard_2.0": ("arena_hard_v2.0_question.jsonl.gz", 750),
        "mt_bench": ("mt_bench_question.jsonl.gz", 160),
        "gsm8k": ("gsm8k_test.parquet", 1319),
        "ifeval": ("ifeval_input_data.jsonl.gz", 540),
        "humaneval": ("humaneval.jsonl.gz", 164),
    }
    assert files.keys() == NAMES.keys()
    loaded = load([f"{name}={real_data / file}" for name, (file, _) in files.items()])
    for name, (_, count) in files.items():
        assert sum(item.benchmark == name for item in loaded.items) == pytest.approx(count, abs=2)


def test_a_name_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def download(hub_id: str, path: str) -> Path:
        asked.append((hub_id, path))
        return Path(written(tmp_path / "file.jsonl", {"question": "2+2?"}))

    monkeypatch.setattr("pairkit.pipeline.prepass.benchmarks.dataset_file", download)
    assert load(["gsm8k"]).items == (("gsm8k", "1", "2+2?"),)
    assert asked == [("openai/gsm8k", "main/test-00000-of-00001.parquet")]


def test_a_name_without_a_network_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=r"^dataset 'openai/gsm8k' cannot be read from .*; .*--path$"):
        load(["gsm8k"])


@pytest.mark.parametrize(
    ("against", "content", "message"),
    [
        ("gsm8", b"", "unknown benchmark 'gsm8'; did you mean 'gsm8k'? Known: alpaca_eval, "),
        ("none.jsonl", b"", "none.jsonl: no such file of a benchmark"),
        ("s3://bucket/q.jsonl", b"", "s3://bucket/q.jsonl: is an address: download the benchmark, and name "),
        ("b=s3://key:hunter2@bucket/q.jsonl", b"", "s3://***@bucket/q.jsonl: is an address: download"),
        ("empty.jsonl", b"\n", "empty.jsonl: a benchmark without prompts: no row has a word"),
        ("other.jsonl", b'{"text": "a"}\n', "other.jsonl: a benchmark without prompts: expected a column "
         "turns, instruction, question, prompt, problem; found text"),
        ("blank.jsonl", b'{"prompt": " ?"}\n', "blank.jsonl: a benchmark without prompts: no row has a word"),
        ("x" * 5000, b"", "unknown benchmark 'xxx"),
        ("bad.jsonl", b'{"prompt": "a"}\n{"prompt":\n', "bad.jsonl, row 2: "),
        ("kind.xlsx", b"PK", "kind.xlsx: cannot tell its format; save the sheet as CSV"),
    ],
)  # fmt: skip
def test_what_is_no_benchmark(
    against: str, content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content:
        Path(against).write_bytes(content)
    with pytest.raises((InputError, RecipeError)) as refused:
        load([against])
    assert str(refused.value).startswith(message)


def test_rows_of_several_forms_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    rows = [{"prompt": "One?"}, {"turns": ["Two?", "Three?"]}, {"prompt": None, "question": "Four?"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [item.text for item in load([str(path)]).items] == ["One?", "Two?", "Three?", "Four?"]


def test_two_files_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    files = [written(tmp_path / name, {"prompt": name}) for name in ("question.jsonl", "v2/question.jsonl")]
    with pytest.raises(
        RecipeError, match="names 'question' twice: give each benchmark once, and files of one "
    ):
        load(files)
    assert len(load([files[0], f"v2={files[1]}"]).items) == 2
