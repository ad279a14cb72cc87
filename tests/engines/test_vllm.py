"""vLLM itself: its offline engine, and the openai engine against its server. Run with `pytest -m vllm` in an
environment that has it (`.ci/vllm` makes one)."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import torch
from support.rendering import prompt_tokens
from support.vllm_server import vllm_server
from transformers import LlamaConfig, LlamaForCausalLM

from pairkit.engines import open_engine
from pairkit.engines.asking import complete
from pairkit.engines.base import Completion, Engine, Problem, Request, Result, Sampling
from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import EngineError, RecipeError
from pairkit.models.load import train_bpe
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
from pairkit.quickstart.model import tiny_tokenizer
from pairkit.rankers.judge.header import Header
from pairkit.rankers.judge.structured import read_structured, structure_of

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]
# vLLM wants 92 % of the memory unless it is told less.
SETTINGS = {"max_model_len": 128, "enforce_eager": True, "dtype": "float32", "gpu_memory_utilization": 0.1}
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


def llama(vocabulary: int) -> LlamaForCausalLM:
    """A Llama that vLLM's kernels take, with weights large enough for definite answers."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_tokenizer().save_pretrained(folder)
    llama(16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes letters, marks of thoughts and ends; the end of a turn is not its EOS."""
    folder = tmp_path_factory.mktemp("model") / "thinker"
    marks = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    tokenizer = train_bpe(iter(["the cat sees the dog"] * 3), 300)
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    model = llama(len(tokenizer))
    written = torch.zeros(len(tokenizer), dtype=torch.bool)
    written[tokenizer.convert_tokens_to_ids([*marks, *"thecadogs"])] = True
    with torch.no_grad():
        model.lm_head.weight[~written] = 0
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def offline(folder: Path) -> Iterator[Engine]:
    engine = open_engine(EngineRecipe(engine="vllm", model=str(folder), vllm=SETTINGS))
    yield engine
    engine.close()


def requests(count: int, *temperatures: float) -> list[Request]:
    return [
        Request(
            [{"role": "user", "content": f"{number}+{number}="}],
            tuple(Sampling(t, 1.0, 10 * number + i, 16) for i, t in enumerate(temperatures)),
        )
        for number in range(count)
    ]


def texts_of(results: list[Result]) -> list[list[tuple[str, int | None, str]]]:
    completions: list[list[Completion]] = []
    for result in results:
        assert not isinstance(result, Problem)
        completions.append(list(result))
    return [[(one.text, one.tokens, one.finish_reason) for one in row] for row in completions]


def test_greedy_completions_are_those_of_transformers(folder: Path, offline: Engine) -> None:
    """Which they are only if the prompt's tokens are the same, with exactly one BOS."""
    ours = open_engine(EngineRecipe(model=str(folder)))
    asked = requests(40, 0.0)
    expected = texts_of(complete(ours, asked))
    assert texts_of(complete(offline, asked)) == expected
    assert {reason for row in expected for _, _, reason in row} == {"stop", "length"}


def test_marks_ends_and_recorded_ids_are_those_of_transformers(thinker: Path) -> None:
    asked = requests(40, 0.0)
    expected = complete(open_engine(EngineRecipe(model=str(thinker))), asked)
    engine = open_engine(EngineRecipe(engine="vllm", model=str(thinker), vllm=SETTINGS))
    found = complete(engine, asked)
    engine.close()
    assert found == expected
    written = [one for row in found if not isinstance(row, Problem) for one in row]
    assert any("think>" in one.text for one in written)
    assert {one.token_ids is None for one in written} == {True, False}
    assert {one.finish_reason for one in written} == {"stop", "length"}


def assert_same_tops(theirs: list[Result], folder: Path) -> None:
    """Compare log-probs of the first tokens with those of the transformers engine."""
    ours = complete(open_engine(EngineRecipe(model=str(folder))), asked_with_tops())
    for one_row, other_row in zip(theirs, ours, strict=True):
        assert not isinstance(one_row, Problem)
        assert not isinstance(other_row, Problem)
        for one, other in zip(one_row, other_row, strict=True):
            assert one.logprobs is not None
            assert other.logprobs is not None
            values = [[value for _, value in top] for top in (one.logprobs, other.logprobs)]
            assert len(values[0]) == 5
            assert values[0] == pytest.approx(values[1], abs=1e-3)
            # Tokens that are about equally probable may change places.
            if values[1][0] - values[1][1] > 1e-2:
                assert one.logprobs[0][0] == other.logprobs[0][0]


def asked_with_tops() -> list[Request]:
    return [replace(request, top_logprobs=5) for request in requests(8, 0.0, 1.0)]


def test_the_most_probable_first_tokens_are_those_of_transformers(folder: Path, offline: Engine) -> None:
    assert_same_tops(complete(offline, asked_with_tops()), folder)
    assert {one.logprobs for row in complete(offline, requests(2, 0.0)) for one in row} == {None}


def test_token_ids_are_taken_as_they_are(offline: Engine) -> None:
    tokenizer = tiny_tokenizer()
    asked = requests(10, 0.0)
    ids = [Request(prompt_tokens(tokenizer, r.prompt), r.samplings) for r in asked]  # type: ignore[arg-type]
    assert texts_of(complete(offline, ids)) == texts_of(complete(offline, asked))


def test_temperatures_are_mixed_and_seeds_decide(offline: Engine) -> None:
    asked = requests(20, 0.6, 0.6, 0.8, 0.8, 1.0, 1.0)
    first = complete(offline, asked)
    assert complete(offline, asked) == first
    assert complete(offline, list(reversed(asked))) == list(reversed(first))
    for request, result in zip(asked, first, strict=True):
        assert not isinstance(result, Problem)
        assert tuple(one.sampling for one in result) == request.samplings
    assert len({text for row in texts_of(first) for text, _, _ in row}) > 60


def test_what_has_no_room_is_a_problem(offline: Engine) -> None:
    long = Request([{"role": "user", "content": "1" * 120}], (Sampling(0.0, 1.0, 0, 16),))
    short = requests(2, 0.0)
    results = complete(offline, [short[0], long, short[1]])
    assert isinstance(results[1], Problem)
    assert results[1].reason == "too_long"
    assert texts_of([results[0], results[2]]) == texts_of(complete(offline, short))


def test_a_tokenizer_without_a_template_gets_the_plain_one(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "chat_template.jinja").unlink()
    asked = requests(5, 0.0)
    expected = texts_of(complete(open_engine(EngineRecipe(model=str(bare))), asked))
    engine = open_engine(EngineRecipe(engine="vllm", model=str(bare), vllm=SETTINGS))
    assert texts_of(complete(engine, asked)) == expected
    engine.close()


def test_a_build(folder: Path, tmp_path: Path) -> None:
    content = {
        "source": {"name": "arithmetic", "limit": 60},
        "generate": {
            "engine": "vllm",
            "model": str(folder),
            "vllm": SETTINGS,
            "samples": [{"n": 2, "temperature": t} for t in (0.6, 0.8, 1.0)],
            "max_tokens": 8,
        },
        "mine": {"require_choice": False},
        "unit_rows": 20,
        "test_fraction": 0,
    }
    manifest = build(load(None, content, {}), tmp_path / "out")
    assert manifest["counts"]["generate"]["completions"] == 360
    assert set(manifest["versions"]) == {"pyarrow", "polars", "vllm"}
    rows = ds.dataset(sorted((tmp_path / "out" / "data").glob("*.parquet"))).to_table().to_pylist()
    assert len(rows) == 60
    assert {one["sampling"]["temperature"] for row in rows for one in row["completions"]} == {0.6, 0.8, 1.0}


def test_what_the_recipe_states_is_not_logged_twice(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"'vllm\.model' conflicts with 'model'"):
        open_engine(EngineRecipe(engine="vllm", model=str(folder), vllm={"model": "x"}))
    with pytest.raises(RecipeError, match="no_such_argument"):
        open_engine(EngineRecipe(engine="vllm", model=str(folder), vllm={"no_such_argument": 1}))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with vllm_server(folder) as url:
        yield url


def test_the_openai_engine_with_vllms_server(folder: Path, server: str) -> None:
    recipe = EngineRecipe(engine="openai", model="tiny", base_url=server)
    engine = open_engine(recipe, CallSettings(concurrency=8))
    asked = requests(20, 0.0, 0.6, 0.6, 1.0, 1.0, 1.0)
    results = complete(engine, asked)
    usage = engine.usage()
    engine.close()
    greedy = complete(open_engine(EngineRecipe(model=str(folder))), requests(20, 0.0))
    assert [row[0][0] for row in texts_of(results)] == [row[0][0] for row in texts_of(greedy)]
    assert all(len(row) == 6 for row in texts_of(results))
    assert usage["requests"] == 60  # three temperatures, three calls
    assert usage["completion_tokens"] > 20 * 6


def test_log_probs_of_vllms_server_are_those_of_transformers(folder: Path, server: str) -> None:
    engine = open_engine(EngineRecipe(engine="openai", model="tiny", base_url=server))
    results = complete(engine, asked_with_tops())
    engine.close()
    assert_same_tops(results, folder)


def test_a_model_that_vllms_server_does_not_know(server: str) -> None:
    engine = open_engine(EngineRecipe(engine="openai", model="other", base_url=server))
    with pytest.raises(EngineError, match=r"does not serve the model 'other'.*it serves tiny"):
        complete(engine, requests(1, 0.0))
    engine.close()


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights that can write any byte, and so JSON."""
    folder = tmp_path_factory.mktemp("model") / "writer"
    tokenizer = train_bpe(iter(["the cat sees the dog"] * 3), 300)
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    model = llama(len(tokenizer))
    model.config.bos_token_id = model.generation_config.bos_token_id = None
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    return folder


def asked_in_form() -> tuple[Header, list[Request]]:
    header = Header(version=1, kind="pairwise")
    structure = structure_of(header, 2)
    schema = json.loads(structure.schema)
    schema["properties"]["explanation"]["enum"] = ["x"]  # of random weights, a text has no end
    form = structure._replace(schema=json.dumps(schema), instruction="")
    prompt = [{"role": "user", "content": "Which?"}]
    return header, [Request(prompt, (Sampling(1.0, 1.0, seed, 96),), structure=form) for seed in range(4)]


@pytest.mark.default("vllm")
@pytest.mark.parametrize("name", ["vllm", "openai"])
def test_the_form_of_an_answer_is_enforced(writer: Path, name: str) -> None:
    """Token by token, so that a model with random weights writes a verdict too."""
    header, requests = asked_in_form()
    with ExitStack() as stack:
        if name == "vllm":
            recipe = EngineRecipe(engine="vllm", model=str(writer), vllm=SETTINGS)
        else:
            url = stack.enter_context(vllm_server(writer))
            recipe = EngineRecipe(engine="openai", model="tiny", base_url=url)
        engine = open_engine(recipe)
        stack.callback(engine.close)
        results = complete(engine, requests)
    assert {read_structured(text(result), header, 2) for result in results} <= {(1, 0), (0, 1), (0.5, 0.5)}


def text(result: Result) -> str:
    assert isinstance(result, tuple), result
    return result[0].text
