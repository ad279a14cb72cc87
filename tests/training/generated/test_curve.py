"""The curve of accuracy during training: what its points are, and that it changes nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from support.grids import some
from support.segments import segments_of
from support.tiny import WORDS, completion, random_sets, write_data
from support.training import recipe, weights
from transformers import AutoModelForCausalLM

from pairkit.engines.base import Completion
from pairkit.engines.transformers import load_transformers
from pairkit.errors import Interrupted, PairkitError, RecipeError
from pairkit.evaluation.accuracy import accuracy
from pairkit.evaluation.during_training import benchmark_of
from pairkit.intervals import bootstrap_mean, wilson
from pairkit.rankers.verifier import VerifierRecipe
from pairkit.schema import UNIDENTIFIED, identify, with_all_columns
from pairkit.training.distributed.processes import Processes
from pairkit.training.generated.curve import Benchmark, _interval, check_curve, curve_of
from pairkit.training.generated.settings import Generated
from pairkit.training.output.entries import read_entries, read_metrics
from pairkit.training.run import train

CHECK = "support.verifiers:vowels"
TIMES = {"sets_per_second", "tokens_per_second"}


def problems(count: int) -> pa.Table:
    """Prompts with an answer in their metadata."""
    columns = {
        "source": ["test"] * count,
        "prompt": [[{"role": "user", "content": f"{WORDS[n]} {n}"}] for n in range(count)],
        "completions": [[completion("a", 1), completion("b", 2)] for _ in range(count)],
        "metadata": ['{"answer": "7"}'] * count,
    }
    return identify(with_all_columns(pa.table(columns)).cast(UNIDENTIFIED), {})


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("problems")
    return write_data(folder / "sets", problems(7), problems(7))


def settings(asked: Path, **fields: Any) -> dict[str, Any]:
    generate = {"benchmark": "verifier", "data": str(asked), "check": CHECK, "max_tokens": 9, "limit": 5}
    return {"eval_every": 2, "eval": {"generate": generate | fields}}


@pytest.fixture(scope="module")
def curved(data: Path, model: Path, asked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("curved") / "run"
    train(recipe(data, model, **settings(asked)), out, benchmarks=benchmark_of)
    return out


def test_a_point_is_the_accuracy_of_the_model(curved: Path, model: Path, asked: Path) -> None:
    """The first and the last, measured again on the saved models."""
    points = read_metrics(curved, "generate")
    assert [point["step"] for point in points] == [0, 2, 4]
    for folder, point in ((model, points[0]), (curved / "model", points[-1])):
        measured = accuracy(
            problems(5), load_transformers(str(folder)), VerifierRecipe(check=CHECK),
            temperature=0, max_tokens=9, seed=3,
        )  # fmt: skip
        interval = bootstrap_mean(measured.values)
        assert (point["n"], point["missing"]) == (5, 0)
        assert [point[name] for name in ("accuracy", "low", "high")] == pytest.approx(list(interval))
    assert points[0]["accuracy"] != points[-1]["accuracy"]


@pytest.mark.default("fields0")
@pytest.mark.parametrize(
    "fields",
    some(
        lambda fields: "bf16" not in fields,
        [{}, {"bf16": True, "gradient_checkpointing": True}, {"loss": "tdpo1", "share_prompts": False}],
    ),
)
def test_the_curve_changes_nothing_else(
    fields: dict[str, Any], data: Path, model: Path, asked: Path, tmp_path: Path
) -> None:
    train(recipe(data, model, eval_every=2, **fields), tmp_path / "plain" / "run")
    curved = tmp_path / "curved" / "run"
    train(recipe(data, model, **settings(asked), **fields), curved, benchmarks=benchmark_of)

    def lines(out: Path) -> list[dict[str, Any]]:
        entries = [entry for entry in read_entries(out / "metrics.jsonl") if entry["kind"] != "generate"]
        return [{name: value for name, value in entry.items() if name not in TIMES} for entry in entries]

    assert len(read_metrics(curved, "generate")) == 3
    assert lines(curved) == lines(tmp_path / "plain" / "run")
    plain = weights(tmp_path / "plain" / "run" / "model")
    assert all(torch.equal(value, plain[name]) for name, value in weights(curved / "model").items())


@pytest.mark.full
def test_segments_have_one_curve(data: Path, model: Path, asked: Path, tmp_path: Path) -> None:
    """Where one ends and another begins the weights are the same: there is one point."""
    outs = []
    for out, segment in segments_of((2, 3), tmp_path):
        train(recipe(data, model, **settings(asked)), out, benchmarks=benchmark_of, segment=segment)
        outs.append(out)
    steps = [[point["step"] for point in read_metrics(out, "generate")] for out in outs]
    assert steps == [[0, 2], [4, 5]]


def test_measuring_keeps_modes_and_random_numbers(model: Path, asked: Path) -> None:
    network = AutoModelForCausalLM.from_pretrained(model)
    network.train()
    network.model.layers[0].eval()
    modes = [module.training for module in network.modules()]
    state = torch.get_rng_state()
    chosen = Generated(**settings(asked)["eval"]["generate"])
    curve = curve_of(
        chosen, benchmark_of(chosen), 2, network, load_transformers(str(model)).chat, Processes()
    )
    curve.measure(0)
    assert [module.training for module in network.modules()] == modes
    assert len(set(modes)) == 2
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_that_stopped_has_the_same_curve(
    curved: Path, data: Path, model: Path, asked: Path, tmp_path: Path
) -> None:
    """SIGINT comes during the second measurement."""
    calls = 0

    def stopping(chosen: Generated) -> Benchmark:
        benchmark = benchmark_of(chosen)

        def score(completions: Mapping[int, Completion]) -> Mapping[int, float]:
            nonlocal calls
            calls += 1
            if calls == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return benchmark.score(completions)

        return benchmark._replace(score=score)

    asked_for = recipe(data, model, **settings(asked))
    with pytest.raises(Interrupted):
        train(asked_for, tmp_path / "run", benchmarks=stopping)
    assert calls == 2
    train(asked_for, tmp_path / "run", benchmarks=benchmark_of)
    assert read_metrics(tmp_path / "run", "generate") == read_metrics(curved, "generate")


@pytest.mark.full
def test_adapters_are_measured_with_what_they_add(
    curved: Path, data: Path, model: Path, asked: Path, tmp_path: Path
) -> None:
    fields = settings(asked, every=4) | {"lora": {"r": 4, "alpha": 64, "merge": True}}
    train(recipe(data, model, **fields), tmp_path / "run", benchmarks=benchmark_of)
    first, last = read_metrics(tmp_path / "run", "generate")
    # Fresh adapters add nothing.
    assert first == read_metrics(curved, "generate")[0]
    engine = load_transformers(str(tmp_path / "run" / "model"))
    merged = accuracy(problems(5), engine, VerifierRecipe(check=CHECK), temperature=0, max_tokens=9, seed=0)
    assert last["accuracy"] == pytest.approx(merged.values.mean())
    assert last["accuracy"] != first["accuracy"]


def test_processes_divide_the_prompts(model: Path, asked: Path) -> None:
    """Two processes, each with its share, find what one finds."""
    shares: list[Any] = []

    class One(Processes):
        def collect(self, value: Any) -> list[Any]:
            shares.append(value)
            return list(shares)

    chosen = Generated(**settings(asked)["eval"]["generate"])
    engine = load_transformers(str(model))
    alone = curve_of(chosen, benchmark_of(chosen), 2, engine.model, engine.chat, Processes())
    expected = alone.measure(0)
    replace(alone, processes=One(rank=0, size=2)).measure(0)
    assert replace(alone, processes=One(rank=1, size=2)).measure(0) == expected
    assert [sorted(scores) for scores, *_ in shares] == [[0, 2, 4], [1, 3]]


def test_prompts_that_cannot_be_asked_are_named(
    model: Path, asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = Generated(**settings(asked)["eval"]["generate"])
    engine = load_transformers(str(model))
    benchmark = benchmark_of(chosen)
    long = replace(benchmark.requests[1], prompt=[{"role": "user", "content": WORDS[0] * 5000}])

    def measure(long_ones: set[int], step: int) -> dict[str, float]:
        requests = [long if place in long_ones else one for place, one in enumerate(benchmark.requests)]
        changed = benchmark._replace(requests=requests)
        return curve_of(chosen, changed, 2, engine.model, engine.chat, Processes()).measure(step)

    point = measure({1, 3}, 0)
    assert (point["n"], point["missing"], point["missing/too_long"]) == (3, 2, 2)
    warned = " ".join(capsys.readouterr().err.split())
    assert "eval.generate: 2 of 5 prompts cannot be answered; the first: too_long" in warned
    measure({1, 3}, 2)
    assert "eval.generate" not in capsys.readouterr().err
    with pytest.raises(RecipeError, match=r"5 of 5 prompts cannot be answered; the first: too_long"):
        measure(set(range(5)), 0)
    assert measure(set(range(5)), 2)["missing"] == 5


def test_the_interval_of_right_and_wrong_is_wilsons() -> None:
    import numpy as np

    assert _interval(np.array([1.0, 0.0, 1.0, 1.0])) == wilson(3, 4)
    assert np.isnan(_interval(np.array([]))).all()


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"benchmark": "gsm8k"}, "eval.generate.data must be set for gsm8k: the benchmark's file"),
        ({"benchmark": "verifier"}, "eval.generate.data must be set for verifier: a built dataset"),
        ({"benchmark": "arithmetic", "data": "x"}, "cannot be set with arithmetic"),
        ({"benchmark": "ifeval", "data": "x", "check": "exact"}, "generate.check is for benchmark=verifier"),
        ({"benchmark": "mmlu"}, "eval.generate.benchmark"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(
    block: dict[str, Any], message: str, data: Path, model: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(data, model, eval={"generate": block})


def test_a_benchmark_is_read_before_anything_is_done(data: Path, model: Path, tmp_path: Path) -> None:
    without = write_data(tmp_path / "sets", random_sets(3), random_sets(3))
    for changed, message in (
        ({"data": str(tmp_path / "none")}, "none"),
        ({"data": str(without)}, "3 of 3 prompts have no 'answer' in their metadata"),
        ({"data": str(without), "split": "dev"}, "dev"),
        ({"data": str(without), "check": "support.verifiers:absent"}, "absent"),
    ):
        block = settings(tmp_path, **{"check": "number"} | changed)
        with pytest.raises(PairkitError, match=message):
            train(recipe(data, model, **block), tmp_path / "run", benchmarks=benchmark_of)
        assert not (tmp_path / "run").exists()


def test_sharded_models_are_refused(asked: Path) -> None:
    chosen = Generated(**settings(asked)["eval"]["generate"])
    with pytest.raises(
        RecipeError, match=r"its weights are sharded; set shard=false, or remove eval.generate"
    ):
        check_curve(chosen, benchmark_of, Processes(rank=0, size=2, sharded=True))
