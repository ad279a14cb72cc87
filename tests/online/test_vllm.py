"""vLLM in a process of its own per segment, which opens the weights of the segment before it, no older ones.

Run with `pytest -m vllm` in an environment that has vLLM (`.ci/vllm` makes one).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from support import online as runs
from support.online_commands import all_gone, below, finished, started, until
from transformers import LlamaConfig, LlamaForCausalLM

from pairkit.dataset import reader
from pairkit.engines.generate import SampleSettings, generate_tables
from pairkit.engines.transformers import load_transformers
from pairkit.errors import EngineError
from pairkit.online import segment
from pairkit.online.recipe import OnlineRecipe
from pairkit.online.run import online
from pairkit.quickstart.model import tiny_tokenizer
from pairkit.schema import SETS

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]
# vLLM wants 92 % of the memory unless it is told less.
SETTINGS = {"max_model_len": 64, "enforce_eager": True, "dtype": "float32", "gpu_memory_utilization": 0.1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama that vLLM's kernels take, with weights large enough for definite answers."""
    folder = tmp_path_factory.mktemp("start") / "model"
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(4)
    tokenizer.save_pretrained(folder)
    network.save_pretrained(folder)
    return folder


def recipe(model: Path, **engine: Any) -> OnlineRecipe:
    generate = {"engine": "vllm", "vllm": SETTINGS | engine}
    content = runs.content(model, segments=2, train={"max_steps": 4}, build={"generate": generate})
    content["build"]["rank"] = {"ranker": "verifier", "check": "exact"}
    content["build"]["mine"]["require_choice"] = False
    content["train"] |= {"loss": "sft", "optimizer": {"learning_rate": 5e-2, "warmup": 0}}
    del content["build"]["generate"]["batch_tokens"]
    return runs.load(None, content)


def sets_of(folder: Path) -> list[dict[str, Any]]:
    data = reader.load(folder)
    return [row for split in data.splits for table in data.tables(split) for row in table.to_pylist()]


def greedy(model: Path, sets: list[dict[str, Any]], settings: Any) -> set[tuple[str, str]]:
    """The most probable completion of each prompt by a model that transformers loads here."""
    import pyarrow as pa

    table = pa.Table.from_pylist(sets, schema=SETS)
    (result,) = generate_tables(
        [table],
        load_transformers(str(model)),
        SampleSettings(settings.samples[:1], max_tokens=settings.max_tokens, seed=0),
    )
    return {(row["prompt_id"], row["completions"][0]["text"]) for row in result.sets.to_pylist()}


def test_the_second_segment_is_written_by_the_weights_of_the_first(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And vLLM's process has ended when training starts."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    left: list[set[int]] = []
    train = segment.train

    def alone(*arguments: Any, **keywords: Any) -> Path:
        left.append({child.pid for child in psutil.Process().children(recursive=True)} - before)
        return train(*arguments, **keywords)

    monkeypatch.setattr(segment, "train", alone)
    made = recipe(model)
    out = tmp_path / "out"
    online(made, out)
    assert left == [set(), set()]
    policies = [model, out / "segment-1" / "run" / "model"]
    for number, policy in enumerate(policies, 1):
        sets = sets_of(out / f"segment-{number}" / "data")
        written = {
            (row["prompt_id"], one["text"])
            for row in sets
            for one in row["completions"]
            if one["sampling"]["temperature"] == 0
        }
        assert len(written) > len(sets) / 2  # empty ones, and equals of a sampled one, are left out
        assert written <= greedy(policy, sets, made.generate)
        if number == 2:
            assert len(written - greedy(model, sets, made.generate)) > len(written) / 2


def test_an_engine_that_dies_is_told_with_its_last_words(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"segment 1: generation ended with exit code 1: .*no_such_argument"
    ):
        online(recipe(model, no_such_argument=1), tmp_path / "out")


WEIGHTS = "model/model.safetensors"


def command(model: Path, folder: Path) -> list[str]:
    made = recipe(model).model_dump(mode="json", exclude_unset=True)
    made["build"]["generate"].pop("model")
    made["train"].pop("model")
    made["train"].pop("data")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(made))
    words = [sys.executable, "-m", "pairkit", "online", "--recipe", str(folder / "recipe.yaml")]
    return [*words, "--out", str(folder / "out")]


def engine_cores(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that hold the device."""
    return [one for one in processes if "EngineCore" in _words(one)]


def _words(process: psutil.Process) -> str:
    try:
        return " ".join([process.name(), *process.cmdline()])
    except psutil.NoSuchProcess:  # it has ended, and perhaps nobody has asked how
        return ""


@pytest.mark.timeout(1500)
@pytest.mark.full
def test_kills_in_generation_leave_no_engine_and_the_same_command_continues(
    model: Path, tmp_path: Path
) -> None:
    """The engine, the stage that holds it and pairkit itself, one after another in the second segment."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    assert finished(command(model, whole), whole / "log", 600) == 0, (whole / "log").read_text()[-4000:]
    for victim in ("engine", "stage", "pairkit"):
        kill_one(victim, model, stopped)
    log = stopped / "log"
    assert finished(command(model, stopped), log, 600) == 0, log.read_text()[-4000:]
    assert (stopped / "out" / WEIGHTS).read_bytes() == (whole / "out" / WEIGHTS).read_bytes()


def kill_one(victim: str, model: Path, folder: Path) -> None:
    """Start the command, and kill a process of it in the second segment's generation: the others end too."""
    log, data = folder / f"log-{victim}", folder / "out/segment-2/data/.build"
    with started(command(model, folder), log) as process:

        def generates() -> bool:
            assert process.poll() is None, log.read_text()[-4000:]
            return data.exists() and any(engine_cores(below(process.pid)))

        until(generates, 400, log)
        left = below(process.pid)
        stages = [one for one in left if "-m pairkit.online.stage build" in _words(one)]
        victims = {"pairkit": [psutil.Process(process.pid)], "stage": stages, "engine": engine_cores(left)}
        victims[victim][-1].kill()
        code = process.wait(120)
        assert code == (-9 if victim == "pairkit" else 1), log.read_text()[-4000:]
        if victim != "pairkit":
            last = log.read_text().splitlines()[-1]
            assert last.startswith("error: segment 2: generation ended with exit code "), last
        until(lambda: all_gone(left), 120, log)  # here, because `started` ends what is left
