"""Exports, read by the libraries that they are for: datasets and TRL, and what NeMo-RL and LLaMA-Factory ask.

Neither NeMo-RL nor LLaMA-Factory is installed; both read the file with `datasets`, and what they check of a
row afterwards is checked here: `preference_preprocessor` in NeMo-RL's nemo_rl/data/processors.py,
`SharegptDatasetConverter` in LLaMA-Factory's src/llamafactory/data/converter.py.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import datasets
import pytest
from support.candidates import candidate_set, completion, table
from support.tiny import model_folder, random_sets, write_data

from pairkit.dataset.export import SCHEMAS, export, rows
from pairkit.dataset.formats import FORMATS
from pairkit.models.chat.render import DEFAULT_TEMPLATE
from pairkit.rankers.annotations import rank

PLAIN = (completion("good", 2.0), completion("bad", 1.0))
SETTINGS = {
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "use_cpu": True,
    "bf16": False,
    "report_to": [],
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_steps": 1,
}
transformers_renamed_what_trl_sets = pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("built") / "sets", random_sets(6))


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(model_folder(tmp_path_factory.mktemp("model") / "llama", template=DEFAULT_TEMPLATE))


def loaded(built: Path, name: str, folder: Path, **settings: Any) -> datasets.Dataset:
    file = export(built, name, folder / "out", **settings).file
    kind = {".parquet": "parquet", ".jsonl": "json"}[file.suffix]
    cache = str(folder / "cache")
    return datasets.load_dataset(kind, data_files=str(file), split="train", cache_dir=cache)


@pytest.mark.default("trl", "unpaired", "openai")
@pytest.mark.parametrize("name", FORMATS)
def test_datasets_loads_the_rows(built: Path, tmp_path: Path, name: str):
    data = loaded(built, name, tmp_path)
    assert data.to_list() == rows(random_sets(6), name).to_pylist()
    if FORMATS[name].suffix == ".parquet":
        assert data.features == datasets.Features.from_arrow_schema(SCHEMAS[name])
    folder = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert folder.to_list() == data.to_list()  # the manifest is not taken for data


@pytest.mark.full
@transformers_renamed_what_trl_sets
def test_trl_trains_a_step_of_dpo(built: Path, chat_model: str, tmp_path: Path):
    from trl import DPOConfig, DPOTrainer

    data = loaded(built, "trl", tmp_path)
    trainer = DPOTrainer(chat_model, args=DPOConfig(output_dir=str(tmp_path), **SETTINGS), train_dataset=data)
    loss = trainer.train().training_loss
    assert loss == pytest.approx(0.6931, abs=1e-3)  # log 2: the policy is still the reference


@transformers_renamed_what_trl_sets
def test_trl_renders_tools_calls_and_thoughts(tmp_path: Path):
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    template = (files("trl") / "chat_templates" / "qwen3.jinja").read_text()
    model = str(model_folder(tmp_path / "llama", template=template))
    user = {"role": "user", "content": "Weather?"}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    calls = [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}]
    holder = candidate_set(
        completion("", 2.0, tool_calls=json.dumps(calls), reasoning_content="Look it up."),
        completion("I do not know.", 1.0),
        prompt=[user],
        tools=json.dumps(tools),
    )
    built = write_data(tmp_path / "sets", rank(table(holder, candidate_set(*PLAIN))))
    data = loaded(built, "trl", tmp_path)
    settings = SETTINGS | {"per_device_train_batch_size": 1}
    args = DPOConfig(output_dir=str(tmp_path), max_length=None, **settings)
    trainer = DPOTrainer(model, args=args, train_dataset=data)
    trainer.train()
    tokenizer = AutoTokenizer.from_pretrained(model)
    first = trainer.train_dataset[0]
    reply = {"role": "assistant", "content": "", "reasoning_content": "Look it up.", "tool_calls": calls}
    expected = tokenizer.apply_chat_template([user, reply], tools=tools, tokenize=False)
    assert tokenizer.decode(first["prompt_ids"] + first["chosen_ids"]) == expected
    assert all(text in expected for text in ("<tools>", '"city": "Oslo"', "Look it up."))
    assert "tools" not in tokenizer.decode(trainer.train_dataset[1]["prompt_ids"])


@transformers_renamed_what_trl_sets
def test_trl_trains_a_step_of_kto(built: Path, chat_model: str, tmp_path: Path):
    from trl import KTOConfig, KTOTrainer

    data = loaded(built, "unpaired", tmp_path)
    assert set(data["label"]) == {True, False}
    trainer = KTOTrainer(chat_model, args=KTOConfig(output_dir=str(tmp_path), **SETTINGS), train_dataset=data)
    loss = trainer.train().training_loss
    assert loss == pytest.approx(0.5, abs=1e-2)  # 1 - sigmoid(0): the policy is still the reference


def test_nemo_rl_gets_two_completions_of_different_rank(built: Path, chat_model: str, tmp_path: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    texts = {
        item["text"]: item["rank"] or 9 for row in random_sets(6)["completions"].to_pylist() for item in row
    }
    for row in loaded(built, "nemo_rl", tmp_path, rejected="all"):
        assert len(row["completions"]) == 2
        chosen, rejected = sorted(row["completions"], key=lambda item: item["rank"])
        assert chosen["rank"] < rejected["rank"]
        better, worse = (side["completion"][-1]["content"] for side in (chosen, rejected))
        assert texts[better] < texts[worse]
        for side in (chosen, rejected):
            messages = row["context"] + side["completion"]
            assert messages[-1]["content"] in tokenizer.apply_chat_template(messages, tokenize=False)


def test_llama_factory_gets_turns_that_it_takes(built: Path, tmp_path: Path):
    for row in loaded(built, "sharegpt", tmp_path):
        turns = row["conversations"]
        turns = turns[1:] if turns[0]["from"] == "system" else turns
        assert len(turns) % 2 == 1
        assert all(turn["from"] == ("human", "gpt")[number % 2] for number, turn in enumerate(turns))
        assert row["chosen"]["from"] == row["rejected"]["from"] == "gpt"
