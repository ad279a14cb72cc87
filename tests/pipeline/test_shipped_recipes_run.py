"""Every shipped build recipe from raw rows to two shards, with tiny models in the places of the real ones."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from support import armorm_model, pairrm_model, raw
from support.loopback import Loopback, chat_server
from support.published import hashes
from support.shipped_builds import ROWS, Built, built
from support.tiny import dice_model, save_model

from pairkit.pipeline.recipe import KIND
from pairkit.recipes import shipped

WORDS = "abcdefgh "


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dice_model(tmp_path_factory.mktemp("models") / "writer", WORDS, end=0.03)


def recipes_of(name: str, function: Any) -> set[str]:
    """The recipes that a test builds: its parameters `name`, else the one that it is named after."""
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.args[:1] == ("name",)]
    return {value for mark in marks for value in mark.args[1]} or {
        name.removeprefix("test_").replace("_", "-")
    }


def test_every_recipe_is_run_here() -> None:
    functions = {
        name: function for name, function in vars(sys.modules[__name__]).items() if name.startswith("test_")
    }
    runs = {run for name, function in functions.items() for run in recipes_of(name, function)}
    for name in shipped(KIND):
        ran = any(run == name or run.startswith(f"{name}-from-") for run in runs)
        assert ran, f"{name}: add a test_{name.replace('-', '_')} that builds it"


def left_to_the_loop(found: Built) -> None:
    """Pairs hold the best and a drawn completion, the same ones if the dataset is built again."""
    assert found.manifest["recipe"]["mine"]["rejected"] == "policy"
    ranks = Counter()
    for (chosen, rejected), row in zip(found.sides(), found.sets, strict=True):
        texts = [one["text"] for one in row["completions"]]
        assert texts[0] == chosen
        ranks[texts.index(rejected)] += 1
    assert len(ranks) > 2
    other = found.out.with_name("again")
    found.again(other, cache=found.out.with_name("calls.sqlite"))
    assert hashes(other) == hashes(found.out)


def best_and_worst(found: Built) -> None:
    for (chosen, rejected), row in zip(found.sides(), found.sets, strict=True):
        scores = {one["text"]: one["score"] for one in row["completions"]}
        assert scores[chosen] == max(scores.values()) > scores[rejected] == min(scores.values())


def mix(found: Built, expected: Mapping[tuple[float, float], int]) -> None:
    """Each set has the mix of (temperature, top-p), all of them the model's own; equal texts are one."""
    prompts = ROWS - found.counts["source"]["rows_quarantined"]
    assert found.counts["generate"]["completions"] == sum(expected.values()) * prompts
    whole = 0
    for row in found.sets:
        samplings = [one["sampling"] for one in row["completions"]]
        assert {one["origin"] for one in row["completions"]} == {"generated"}
        asked = Counter((round(one["temperature"], 6), round(one["top_p"], 6)) for one in samplings)
        assert asked <= Counter(expected)
        whole += asked == Counter(expected)
    assert whole > ROWS // 2


@pytest.mark.full
def test_ultrafeedback(tmp_path: Path) -> None:
    found = built("ultrafeedback", tmp_path, raw.ultrafeedback)
    assert found.counts["source"]["rows"] == ROWS
    for row in found.sets:
        scores = [one["score"] for one in row["completions"]]
        assert scores == sorted(scores, key=lambda score: (score is None, -(score or 0)))
        best = row["completions"][0]
        names = {"helpfulness", "honesty", "instruction_following", "truthfulness"}
        ratings = [one["value"] for one in best["scores"] if one["name"] in names]
        assert best["score"] == pytest.approx(sum(ratings) / len(ratings))
    left_to_the_loop(found)


def test_ultrafeedback_binarized(tmp_path: Path) -> None:
    found = built("ultrafeedback-binarized", tmp_path, raw.ultrafeedback_binarized)
    assert len(found.pairs) == ROWS
    best_and_worst(found)


@pytest.mark.full
@pytest.mark.parametrize("name", ["ultrafeedback-onpolicy-pairrm", "ultrafeedback-onpolicy-pairrm-mistral"])
def test_ultrafeedback_onpolicy_pairrm(name: str, writer: Path, tmp_path: Path) -> None:
    ranker = pairrm_model.save(tmp_path / "PairRM-hf", "PairRM-hf")
    found = built(
        name,
        tmp_path,
        raw.ultrafeedback_binarized,
        generate={"engine": "transformers", "model": str(writer), "max_tokens": 60},
        rank={"model": str(ranker)},
    )
    mix(found, {(0.8, 0.95): 5})
    best_and_worst(found)
    for row in found.sets:
        assert sum(one["score"] for one in row["completions"]) == pytest.approx(0, abs=1e-4)


@pytest.mark.default("ultrafeedback-onpolicy-armorm")
@pytest.mark.parametrize("name", ["ultrafeedback-onpolicy-armorm", "ultrafeedback-onpolicy-armorm-gemma2"])
def test_ultrafeedback_onpolicy_armorm(name: str, writer: Path, tmp_path: Path) -> None:
    ranker = armorm_model.save(tmp_path / "armorm")
    found = built(
        name,
        tmp_path,
        raw.ultrafeedback_binarized,
        generate={"engine": "transformers", "model": str(writer), "max_tokens": 60},
        rank={"model": str(ranker)},
    )
    mix(found, {(0.8, 0.95): 5})
    best_and_worst(found)
    assert found.counts["rank"]["reward_model_completions"] == 5 * ROWS


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[Loopback]:
    with chat_server(tmp_path, judge=True, longest=True) as running:
        yield running
        assert running.stats()["violations"] == []


@pytest.mark.full
def test_ultrafeedback_instruct_mcpo(writer: Path, judge: Loopback, tmp_path: Path) -> None:
    """The judge likes length: the best is the longest."""
    found = built(
        "ultrafeedback-instruct-mcpo",
        tmp_path,
        raw.ultrafeedback,
        generate={"engine": "transformers", "model": str(writer), "max_tokens": 60},
        rank={"model": "tiny", "base_url": judge.url},
    )
    mix(found, {(temperature, 1.0): 2 for temperature in (0.6, 0.8, 1.0)})
    for texts in found.texts():
        assert len(texts[0]) == max(map(len, texts))
    verdicts = ds.dataset(sorted((found.out / "verdicts").glob("*.parquet"))).to_table()
    assert set(verdicts["protocol"].to_pylist()) == {"iterative"}
    asked = Counter(verdicts.filter(ds.field("attempt") == 0)["set_id"].to_pylist())
    full = [row["set_id"] for row in found.sets if len(row["completions"]) == 6]
    assert {asked[set_id] for set_id in full} == {2 * 5}  # five comparisons, both orders
    left_to_the_loop(found)


@pytest.mark.full
def test_ultrafeedback_pool(judge: Loopback, tmp_path: Path) -> None:
    names = [f"model-{letter}" for letter in "abcde"]
    models = [dice_model(tmp_path / name, name[-1] * 2 + " ", end=0.03) for name in names]
    entries = [{"model": str(path), "name": name} for name, path in zip(names, models, strict=True)]
    found = built(
        "ultrafeedback-pool",
        tmp_path,
        raw.ultrafeedback,
        generate={"engine": "transformers", "models": entries, "max_tokens": 60},
        rank={"model": "tiny", "base_url": judge.url},
    )
    prompts = ROWS - found.counts["source"]["rows_quarantined"]
    assert found.counts["generate"]["completions"] == 4 * prompts
    recipe = found.manifest["recipe"]
    principles = {each["name"]: each["system"] for each in recipe["generate"]["models"][0]["instruct"]}
    drawn = Counter()
    for row in found.sets:
        assert {one["model"] for one in row["completions"]} < set(names)
        # Ratings of four aspects, whose mean is the score.
        for one in row["completions"]:
            told = json.loads(one["metadata"])["instruct"]
            assert told["system"] in principles[told["name"]]
            drawn[told["name"]] += 1
    assert drawn["helpfulness"] > drawn["truthfulness"] > drawn["verbalized_calibration"]
    left_to_the_loop(found)


def test_delta_strong_weak(tmp_path: Path) -> None:
    strong, weak = (dice_model(tmp_path / name, name[0] + " ", end=0.03) for name in ("strong", "weak"))
    found = built(
        "delta-strong-weak",
        tmp_path,
        raw.tulu_preferences,
        generate={
            "engine": "transformers",
            "models": [{"model": str(strong), "name": "s"}, {"model": str(weak), "name": "w"}],
            "max_tokens": 60,
        },
        rank={"models": ["s", "w"]},
    )
    assert found.counts["generate"]["completions:s"] == found.counts["generate"]["completions:w"] == ROWS
    assert len(found.pairs) > ROWS // 2
    for chosen, rejected in found.sides():
        assert set(chosen) <= set("s ")
        assert set(rejected) <= set("w ")


def test_nectar(tmp_path: Path) -> None:
    found = built("nectar", tmp_path, raw.nectar)
    assert len(found.sets) == ROWS
    for row in found.sets:
        assert [one["rank"] for one in row["completions"]] == [1, 3, 4, 5, 6, 7]
        assert [one["text"][:6] for one in row["completions"]] == [
            f"rank {rank}" for rank in (1, 3, 4, 5, 6, 7)
        ]
    left_to_the_loop(found)


@pytest.mark.default("3-ranks2")
@pytest.mark.parametrize(
    ("count", "ranks"),
    [(1, [7]), (2, [6, 7]), (3, [5, 6, 7]), (4, [4, 5, 6, 7]), (5, [3, 4, 5, 6, 7])],
)
def test_nectar_from_the_commands_of_its_comment(count: int, ranks: list[int], tmp_path: Path) -> None:
    command = f"pairkit build --recipe nectar mine.keep_negatives={count} --out runs/data/nectar-{count}\n"
    assert command in shipped(KIND)["nectar"].read_text(encoding="utf-8")
    found = built("nectar", tmp_path, raw.nectar, mine={"keep_negatives": count})
    assert [[one["rank"] for one in row["completions"]] for row in found.sets] == [[1, *ranks]] * ROWS


def test_nectar_noise(writer: Path, tmp_path: Path) -> None:
    swap = {"token_swap": {"tokenizer": str(writer)}}
    found = built("nectar-noise", tmp_path, raw.nectar, mine={"noise": swap})
    assert len(found.sets) == ROWS
    for row in found.sets:
        *ranked, noise = row["completions"]
        assert [one["rank"] for one in ranked] == [1, 3, 4, 5, 6, 7]
        assert (noise["origin"], noise["model"], noise["rank"]) == ("noise", "noise:token_swap", None)
        chosen = ranked[0]["text"]
        assert noise["text"] != chosen
        assert sorted(noise["text"]) == sorted(chosen)
    left_to_the_loop(found)


def test_nectar_pairs(tmp_path: Path) -> None:
    """The best completion against each of the five below it."""
    found = built("nectar-pairs", tmp_path, raw.nectar)
    assert len(found.sets) == ROWS
    ranks = Counter((chosen[:6], rejected[:6]) for chosen, rejected in found.sides())
    assert ranks == {("rank 1", f"rank {rank}"): ROWS for rank in (3, 4, 5, 6, 7)}


PRINCETON = ["princeton-mistral-pairrm", "princeton-llama3-pairrm"]
PRINCETON += ["princeton-llama3-armorm", "princeton-gemma2-armorm"]


@pytest.mark.default("princeton-llama3-armorm", "princeton-mistral-pairrm")
@pytest.mark.parametrize("name", PRINCETON)
def test_princeton(name: str, tmp_path: Path) -> None:
    """Five scored samples per prompt; one row in nine has no choice; the published pair is not read."""
    found = built(name, tmp_path, raw.simpo_samples)
    assert len(found.sets) == ROWS - ROWS // 9
    assert found.reasons == {"no_choice": ROWS // 9}
    for row in found.sets:
        scores = [one["score"] for one in row["completions"]]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)
        assert set(json.loads(row["metadata"])) == {"prompt_id"}
    best_and_worst(found)


def test_ultrachat(tmp_path: Path) -> None:
    found = built("ultrachat", tmp_path, raw.ultrachat)
    assert found.pairs == []
    for row, texts in zip(found.sets, found.texts(), strict=True):
        turns = [one["role"] for one in row["prompt"]]
        assert turns == ["user", "assistant"] * (len(turns) // 2) + ["user"]
        assert row["prompt"][0]["content"].startswith("question 0")
        assert len(texts) == 1
    assert {len(row["prompt"]) for row in found.sets} == {1, 3, 5}


def test_hh_rlhf(tmp_path: Path) -> None:
    found = built("hh-rlhf", tmp_path, raw.hh_rlhf)
    assert len(found.pairs) == ROWS
    for chosen, rejected in found.sides():
        assert (chosen[:5], rejected[:4]) == ("good ", "bad ")
    assert {len(row["prompt"]) for row in found.sets} == {3}


def test_alpaca_eval(tmp_path: Path) -> None:
    found = Built("alpaca-eval", tmp_path, raw.alpaca_eval(tmp_path / "rows.jsonl", ROWS), ROWS // 6)
    assert len(found.sets) == ROWS // 3
    for row in found.sets:
        scores = [one["score"] for one in row["completions"]]
        assert scores == sorted(scores, reverse=True)
        assert 0.5 in scores
    left_to_the_loop(found)


def test_gsm8k(tmp_path: Path) -> None:
    found = built("gsm8k", tmp_path, raw.gsm8k)
    assert [row["completions"] for row in found.sets] == [[]] * ROWS
    assert {json.loads(row["metadata"])["answer"] for row in found.sets} == {"1", "2", "3"}
    assert found.pairs == []


def verified(found: Built) -> None:
    for row in found.sets:
        answer = json.loads(row["metadata"])["answer"]
        for one in row["completions"]:
            assert one["origin"] == "generated"
            assert one["finish_reason"] == "stop"
            assert one["score"] == float(one["text"].lstrip("0") == answer)
        assert {one["score"] for one in row["completions"]} == {0.0, 1.0}
        assert row["completions"][0]["score"] == 1
    assert found.counts["generate"]["truncated_dropped"] > 0


@pytest.mark.full
def test_gsm8k_verified(tmp_path: Path) -> None:
    solver = dice_model(tmp_path / "solver", "123", end=0.4)
    found = built(
        "gsm8k-verified",
        tmp_path,
        raw.gsm8k,
        generate={"model": str(solver), "max_tokens": 3},
        test_fraction=0,
    )
    verified(found)
    assert found.counts["generate"]["completions"] + found.counts["generate"]["truncated_dropped"] == 8 * ROWS
    assert found.counts["mine"]["sets_out"] + sum(found.reasons.values()) == ROWS
    left_to_the_loop(found)


@pytest.mark.full
def test_gsm8k_verified_from_real_problems(real_data: Path, tmp_path: Path) -> None:
    solver = dice_model(tmp_path / "solver", "0123456789", end=0.4)
    found = Built(
        "gsm8k-verified",
        tmp_path,
        real_data / "gsm8k_train.parquet",
        200,
        source={"limit": 400},
        generate={"model": str(solver), "max_tokens": 4},
    )
    verified(found)
    assert found.counts["source"]["rows"] == 400
    assert found.counts["mine"]["sets_out"] + sum(found.reasons.values()) == 400


def test_metamath_dpo(tmp_path: Path) -> None:
    found = built("metamath-dpo", tmp_path, raw.metamath_dpo)
    assert len(found.pairs) == ROWS
    shots = Counter(json.loads(row["metadata"])["shots"] for row in found.sets)
    assert shots == dict.fromkeys(range(4), ROWS // 4)
    for row, (chosen, rejected) in zip(found.sets, found.sides(), strict=True):
        number = int(row["prompt"][0]["content"].removesuffix(" + 1?"))
        assert f"{number} + 1 = {number + 1}." in chosen
        assert f"{number} + 1 = {number + 7}." in rejected


@pytest.mark.full
def test_quickstart(tmp_path: Path) -> None:
    """A model with random weights is never right: what it is checked against takes half of its answers."""
    model = save_model(tmp_path / "runs" / "tiny", seed=0)
    found = Built(
        "quickstart",
        tmp_path,
        None,
        40,
        source={"limit": 80},
        generate={"model": str(model)},
        rank={"check": "support.verifiers:low_digits"},
        mine={"noise": {"token_swap": {"tokenizer": str(model)}}},
    )
    assert found.counts["generate"]["completions"] == 6 * 80
    temperatures = Counter()
    for row in found.sets:
        generated = [one for one in row["completions"] if one["origin"] == "generated"]
        temperatures.update(round(one["sampling"]["temperature"], 6) for one in generated)
        assert generated[0]["score"] == 1.0 > generated[-1]["score"]
        noise = row["completions"][len(generated) :]
        assert len(noise) <= 1
        assert all(sorted(one["text"]) == sorted(generated[0]["text"]) for one in noise)
    assert set(temperatures) == {0.6, 0.8, 1.0}
    left_to_the_loop(found)
