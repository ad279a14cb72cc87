"""Samples of the policy: what a file has, on a model whose entropy is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.tiny import candidate_sets, completion, dice_model, random_sets, write_data
from support.training import recipe
from transformers import AutoModelForCausalLM

from pairkit.errors import InputError, RecipeError
from pairkit.training.distributed.processes import Processes
from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.record.samples import check_samples, prompts_of
from pairkit.training.record.schemas import SAMPLE_ROWS
from pairkit.training.record.settings import SampleSettings
from pairkit.training.run import train

STILL = {"learning_rate": 1e-30, "warmup": 0}  # weights do not move
TIMES = {"sets_per_second", "tokens_per_second"}


def samples_of(out: Path, step: int) -> pa.Table:
    return pq.read_table(out / "samples" / f"step-{step:06d}.parquet")


def sampled(**fields: Any) -> dict[str, Any]:
    return {"samples": {"every": 2, "prompts": 5, "per_prompt": 3, "max_tokens": 12, **fields}}


@pytest.fixture(scope="module")
def dice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes a, e or x, each equally likely, and ends with probability 0.2 after each."""
    return dice_model(tmp_path_factory.mktemp("dice") / "model", "aex")


@pytest.fixture(scope="module")
def run(data: Path, dice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sampled") / "run"
    check = {"check": "support.verifiers:vowels", "answer": "answer"}
    with_answers = write_data(out.parent / "sets", random_sets(16), answered(random_sets(8, seed=1)))
    train(recipe(with_answers, dice, optimizer=STILL, record=sampled(**check)), out)
    return out


def answered(sets: pa.Table) -> pa.Table:
    column = pa.array(['{"answer": "7"}'] * sets.num_rows)
    return sets.set_column(sets.schema.get_field_index("metadata"), "metadata", column)


def test_a_file_has_every_sample_of_the_first_prompts(run: Path, dice: Path) -> None:
    planned = plan(recipe(run.parent / "sets", dice))
    assert planned.held_out is not None
    first = [item.set_id for item in planned.held_out.sets[:5]]
    assert [path.name for path in sorted((run / "samples").iterdir())] == [
        f"step-{step:06d}.parquet" for step in (0, 2, 4)
    ]
    table = samples_of(run, 0)
    assert table.schema.equals(SAMPLE_ROWS)
    rows = table.to_pylist()
    assert [(row["set_id"], row["sample"]) for row in rows] == [(key, n) for key in first for n in range(3)]
    stored = pq.read_table(run.parent / "sets" / "data" / "test-00000-of-00001.parquet").to_pylist()
    prompts = {row["set_id"]: row["prompt"][0]["content"] for row in stored}
    for row in rows:
        assert row["prompt"][0]["content"] == prompts[row["set_id"]]
        assert set(row["text"]) <= set("aex")
        ended = row["finish_reason"] == "stop"
        assert row["length"] == len(row["text"]) + ended  # it writes one letter per token
        assert ended or row["length"] == 12
        assert row["score"] == row["text"].count("a") + row["text"].count("e")
        assert row["foreign"] == 0
    assert len({row["text"] for row in rows}) > 5
    # Weights that do not move write the same, because the random numbers are those of the prompt.
    assert samples_of(run, 2).equals(table)


def test_the_own_entropy_is_that_of_the_dice(run: Path) -> None:
    """The same at every token: of three sides with 0.8 / 3 each, and of the end."""
    entropy = -(0.8 * math.log(0.8 / 3) + 0.2 * math.log(0.2))
    rows = samples_of(run, 4).to_pylist()
    assert [row["entropy"] for row in rows] == pytest.approx([entropy] * len(rows), rel=1e-3)
    lines = read_metrics(run, "sample")
    assert [line["step"] for line in lines] == [0, 2, 4]
    last = lines[-1]
    assert last["own_entropy"] == pytest.approx(entropy, rel=1e-3)
    assert "own_kl" not in last  # without record.kl
    assert (last["n"], last["missing"]) == (15, 0)
    for name in ("length", "repeated", "distinct", "foreign", "score"):
        assert last[name] == pytest.approx(sum(row[name] for row in rows) / 15)
    assert last["truncated"] == pytest.approx(sum(row["finish_reason"] == "length" for row in rows) / 15)


def test_the_own_kl_is_that_of_two_dice(data: Path, dice: Path, tmp_path: Path) -> None:
    """Of a die with three sides to one with four: log 4/3 per letter, and nothing for the end."""
    other = dice_model(tmp_path / "other", "aexo")
    fields: dict[str, Any] = {"optimizer": STILL, "reference": str(other), "max_steps": 2}
    record = sampled() | {"figures": True, "kl": True}
    train(recipe(data, dice, record=record, **fields), tmp_path / "run")
    rows = samples_of(tmp_path / "run", 2).to_pylist()
    letters = sum(len(row["text"]) for row in rows) / len(rows)
    last = read_metrics(tmp_path / "run", "sample")[-1]
    assert last["own_kl"] == pytest.approx(letters * math.log(4 / 3), rel=1e-3)


def test_entropies_are_those_of_the_tokens_that_were_sampled(data: Path, model: Path, tmp_path: Path) -> None:
    """Of a model whose entropy differs from token to token, computed from whole logits."""
    out = tmp_path / "run"
    record = sampled(temperature=0, per_prompt=1)
    train(recipe(data, model, optimizer=STILL, record=record, max_steps=1), out)
    network = AutoModelForCausalLM.from_pretrained(model).double()
    planned = plan(recipe(data, model))
    assert planned.held_out is not None
    entropies = []
    for item, row in zip(planned.held_out.sets, samples_of(out, 0).to_pylist(), strict=False):
        ids = item.prompt.tolist()
        with torch.no_grad():
            for _ in range(row["length"]):  # greedy, one token after another
                logp = network(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
                entropies.append(float(-(logp.exp() * logp).sum()))
                ids.append(int(logp.argmax()))
        mean = sum(entropies[-row["length"] :]) / row["length"]
        assert row["entropy"] == pytest.approx(mean, rel=1e-4)
    assert max(entropies) - min(entropies) > 1e-4


@pytest.mark.full
@pytest.mark.parametrize("loss", ["dpo", "tdpo1"])
def test_samples_change_nothing_else(data: Path, model: Path, tmp_path: Path, loss: str) -> None:
    fields: dict[str, Any] = {"eval_every": 2, "gradient_checkpointing": True}
    train(recipe(data, model, loss, **fields), tmp_path / "plain" / "run")
    train(recipe(data, model, loss, **fields, record=sampled()), tmp_path / "sampled" / "run")
    plain, other = tmp_path / "plain" / "run", tmp_path / "sampled" / "run"
    assert (plain / "model" / "model.safetensors").read_bytes() == (
        other / "model" / "model.safetensors"
    ).read_bytes()
    for kind in ("train", "eval"):
        lines = [
            [{name: line[name] for name in line.keys() - TIMES} for line in read_metrics(out, kind)]
            for out in (plain, other)
        ]
        assert lines[0] == lines[1]


def test_samples_may_come_after_each_epoch(data: Path, dice: Path, tmp_path: Path) -> None:
    """24 sets in steps of 10: epochs end within steps 3 and 5."""
    fields: dict[str, Any] = {"max_steps": None, "epochs": 2, "sets_per_step": 10, "optimizer": STILL}
    train(recipe(data, dice, record=sampled(every="epoch", prompts=1), **fields), tmp_path / "run")
    assert [line["step"] for line in read_metrics(tmp_path / "run", "sample")] == [0, 3, 5]


def test_prompts_without_room_are_counted(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model has 128 positions."""
    planned = plan(recipe(data, model))
    assert planned.held_out is not None
    lengths = sorted(len(item.prompt) for item in planned.held_out.sets)
    room = 128 - lengths[3]  # for four of the eight prompts, if no two are of this length
    fitting = sum(length <= lengths[3] for length in lengths)
    record = sampled(prompts=8, per_prompt=1, max_tokens=room)
    train(recipe(data, model, record=record, max_steps=1, optimizer=STILL), tmp_path / "run")
    lines = read_metrics(tmp_path / "run", "sample")
    assert [(line["n"], line["missing"]) for line in lines] == [(fitting, 8 - fitting)] * 2
    assert capsys.readouterr().err.count(f"record.samples: {8 - fitting} of 8 prompts get no sample") == 1
    with pytest.raises(RecipeError, match=r"8 of 8 prompts get no sample; .* lower record.samples.max_t"):
        train(recipe(data, model, record=sampled(prompts=8, max_tokens=128)), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_sampled_is_refused(data: Path, model: Path, tmp_path: Path) -> None:
    alone = write_data(tmp_path / "alone", random_sets(8))
    with pytest.raises(InputError, match=r"writes to held-out prompts, but .* has no sets in split"):
        train(recipe(alone, model, record=sampled()), tmp_path / "run")
    unanswered = write_data(
        tmp_path / "unanswered",
        random_sets(8),
        candidate_sets([("Say a.", [completion("a", 1), completion("b", 2)])]),
    )
    with pytest.raises(InputError, match=r"1 of 1 prompts have no 'answer' in their metadata that 'number'"):
        train(recipe(unanswered, model, record=sampled(check="number")), tmp_path / "run")
    with pytest.raises(RecipeError, match=r"unknown verifier check 'numbers'"):
        train(recipe(data, model, record=sampled(check="numbers")), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match=r"its weights are sharded; set shard=false, or remove rec"):
        check_samples(SampleSettings(every=1), Processes(rank=0, size=2, sharded=True))
    check_samples(SampleSettings(), Processes(rank=0, size=2, sharded=True))


def test_prompts_are_read_in_the_order_of_their_tokens(data: Path, model: Path) -> None:
    planned = plan(recipe(data, model))
    assert planned.held_out is not None
    tokens = list(planned.held_out.sets)[::-1]
    prompts = prompts_of(SampleSettings(every=1, prompts=3), planned.data, "test", tokens)
    assert prompts.sets["set_id"].to_pylist() == [item.set_id for item in tokens[:3]]
    assert prompts.scripts == {"LATIN"}
