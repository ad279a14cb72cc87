"""A run that starts at its reference measures nothing: margin 0, accuracy 1/2, the loss of log-ratio 0."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.grids import grid, some
from support.loss_cases import TABLE
from support.training import recipe
from transformers import AutoModelForCausalLM

from pairkit.errors import Interrupted
from pairkit.losses import build
from pairkit.training import loop
from pairkit.training.output.entries import read_metrics
from pairkit.training.run import train

# Without alpha_dpo, whose rewards are those of SimPO: beta times mean log-probs, of the policy alone.
WITH_REFERENCE = [name for name in TABLE if "reference" in build(name).needs and name != "alpha_dpo"]
BUDGETS = (10**5, 200, 1)
# A draw, a reference point, token by token.
BY_DEFAULT = {"mcpo", "kto", "tdpo2"}
# At log-ratio 0, with the defaults of the table; the others depend on the policy or on the set.
LOSS_AT_0 = {
    "dpo": math.log(2),
    "ld_dpo": math.log(2),
    "tdpo1": math.log(2),
    "ipo": 25.0,
    "hinge": 1.0,
    "kto": 0.5,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "bf16": {"bf16": True},
    "bfloat16 weights": {"dtype": "bfloat16"},
    "lora": {"lora": {"r": 2}},
    "lora bf16": {"lora": {"r": 2}, "bf16": True},
    "orthogonal bf16": {"lora": {"r": 2, "init_lora_weights": "orthogonal"}, "bf16": True},
    "padded bf16": {"share_prompts": False, "bf16": True},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all runs, because they then share tokens and the reference's log-probs."""
    return tmp_path_factory.mktemp("runs")


def lines_of(out: Path, data: Path, model: Path, loss: Any, **fields: Any) -> list[dict[str, Any]]:
    """Train, by default one step, and return the metrics of each evaluation and step in order."""
    settings = {"max_steps": 1, "trackers": [], "optimizer": {"learning_rate": 1e-3, "warmup": 0}}
    train(recipe(data, model, loss, **settings | fields), out)
    lines = [line for kind in ("train", "eval") for line in read_metrics(out, kind)]
    return sorted(lines, key=lambda line: int(line["step"]))  # of one step, training is first


def assert_nothing_is_measured(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        assert line["reward_margin"] == 0, line
        assert line["reward_accuracy"] == 0.5, line


@pytest.mark.default("tdpo2-200", "mcpo-200")
@pytest.mark.parametrize(
    ("loss", "budget"),
    grid(lambda loss, budget: budget == 200 and loss in BY_DEFAULT, WITH_REFERENCE, BUDGETS),
)
def test_step_0_of_every_loss_with_a_reference(
    runs: Path, data: Path, model: Path, loss: str, budget: int
) -> None:
    """Whatever the micro-batches, in which the reference's log-probs were computed with others."""
    evaluation, step = lines_of(runs / f"{loss}-{budget}", data, model, loss, tokens_per_micro_batch=budget)[
        :2
    ]
    assert_nothing_is_measured([evaluation, step])
    if loss in LOSS_AT_0:
        assert [evaluation["loss"], step["loss"]] == pytest.approx([LOSS_AT_0[loss]] * 2, rel=1e-7)


@pytest.mark.default("mcpo-lora bf16", "mcpo-bfloat16 weights")
@pytest.mark.parametrize(
    ("loss", "setting"),
    grid(
        lambda loss, setting: (
            (loss == "mcpo" and setting not in ("bf16", "lora")) or (loss, setting) == ("dpo", "lora bf16")
        ),
        ("dpo", "mcpo", "ld_dpo", "wpo", "tdpo2", "kto", "bco"),
        SETTINGS,
    ),
)
def test_step_0_in_every_precision(runs: Path, data: Path, model: Path, loss: str, setting: str) -> None:
    """In bfloat16 two passes of one model differ by tenths of a nat; mcpo draws within the gradient pass."""
    out = runs / f"{loss}-{setting.replace(' ', '-')}"
    lines = lines_of(out, data, model, loss, tokens_per_micro_batch=200, **SETTINGS[setting])
    assert_nothing_is_measured(lines[:2])


@pytest.mark.full
def test_a_copy_of_the_model_is_the_same_reference(runs: Path, data: Path, model: Path) -> None:
    copy = shutil.copytree(model, runs / "copy")
    for loss in ("dpo", "tdpo1"):
        lines = lines_of(runs / f"copied-{loss}", data, model, loss, reference=str(copy), bf16=True)
        assert_nothing_is_measured(lines[:2])


@pytest.mark.full
@pytest.mark.parametrize("loss", some(lambda loss: loss == "dpo", ["dpo", "tdpo1"]))
def test_a_run_is_the_same_reference_as_its_model(runs: Path, data: Path, model: Path, loss: str) -> None:
    run = runs / f"run-{loss}"
    shutil.copytree(model, run / "model")
    (run / "run.json").write_text("{}")
    for start, reference in ((model, run), (run / "model", run), (run, run / "model")):
        out = runs / f"of-{start.name}-{reference.name}-{loss}"
        lines = lines_of(out, data, start, loss, reference=str(reference), bf16=True)
        assert_nothing_is_measured(lines[:2])


@pytest.mark.full
@pytest.mark.parametrize("loss", some(lambda loss: loss == "tdpo1", ["dpo", "tdpo1"]))
def test_adapters_that_are_continued_start_at_themselves(
    runs: Path, data: Path, model: Path, loss: str
) -> None:
    """Alone, and as a copy; with another alpha they are another reference, also where it runs along."""
    adapters = runs / f"adapters-{loss}" / "model"
    fields: dict[str, Any] = {"bf16": True, "optimizer": {"learning_rate": 0.1, "warmup": 0}}
    lines_of(adapters.parent, data, model, loss, lora={"r": 2}, **fields)
    fields["lora"] = {"continue_adapters": True}
    assert_nothing_is_measured(lines_of(runs / f"continued-{loss}", data, adapters, loss, **fields)[:2])
    copy = shutil.copytree(adapters, runs / f"same-{loss}")
    fields["reference"] = str(copy)
    assert_nothing_is_measured(lines_of(runs / f"copied-too-{loss}", data, adapters, loss, **fields)[:2])
    content = json.loads((copy / "adapter_config.json").read_text())
    content["lora_alpha"] *= 50
    (copy / "adapter_config.json").write_text(json.dumps(content))
    for line in lines_of(runs / f"alpha-{loss}", data, adapters, loss, **fields)[:2]:
        assert abs(line["reward_margin"]) > 1e-4, line


def test_until_the_first_rate_above_0_no_weight_has_moved(runs: Path, data: Path, model: Path) -> None:
    optimizer = {"learning_rate": 1e-2, "warmup": 0.5}
    fields = {"max_steps": 4, "eval_every": 1, "optimizer": optimizer, "bf16": True}
    lines = lines_of(runs / "warmup", data, model, "dpo", **fields)
    names = [(line["kind"], line["step"]) for line in lines]
    # A step is named by the number of steps after it: the first has a rate of 0, the second starts there.
    assert names[:4] == [("eval", 0), ("train", 1), ("eval", 1), ("train", 2)]
    assert lines[1]["learning_rate"] == 0 < lines[3]["learning_rate"]
    assert_nothing_is_measured(lines[:4])
    for line in lines[4:]:
        assert line["reward_margin"] != 0, line


@pytest.mark.full
def test_a_resumed_run_is_at_its_reference_as_long(
    runs: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {
        "max_steps": 3,
        "save_every": 1,
        "optimizer": {"learning_rate": 1e-2, "warmup": 0.5},
        "bf16": True,
    }
    whole = lines_of(runs / "whole", data, model, "dpo", **fields)
    steps = iter([loop.prepare])

    def one_step(*arguments: Any) -> Any:
        if (prepare := next(steps, None)) is None:
            raise KeyboardInterrupt
        return prepare(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "prepare", one_step)
        with pytest.raises(Interrupted, match="step-000001"):
            lines_of(runs / "stopped", data, model, "dpo", **fields)
    resumed = lines_of(runs / "stopped", data, model, "dpo", **fields)
    rates = {"sets_per_second", "tokens_per_second"}
    assert [{k: v for k, v in line.items() if k not in rates} for line in resumed] == [
        {k: v for k, v in line.items() if k not in rates} for line in whole
    ]


def test_another_reference_is_measured(runs: Path, data: Path, model: Path, tmp_path: Path) -> None:
    other = AutoModelForCausalLM.from_pretrained(model)
    with torch.no_grad():
        other.lm_head.weight.mul_(3)
    other.save_pretrained(tmp_path / "other")
    for line in lines_of(tmp_path / "run", data, model, "dpo", reference=str(tmp_path / "other"))[:2]:
        assert abs(line["reward_margin"]) > 1e-3


def test_a_cache_that_is_not_of_the_reference_is_not_hidden(data: Path, model: Path, tmp_path: Path) -> None:
    """The recipe names one model for both, but the numbers are not the model's: metrics show them."""
    lines_of(tmp_path / "first", data, model, "dpo")
    (store,) = (tmp_path / "reference").iterdir()
    table = pq.read_table(store)
    wrong = pa.array([value * (1 + i % 3) for i, value in enumerate(table["logp"].to_pylist())], pa.float32())
    table = table.set_column(1, table.schema.field("logp"), wrong)
    pq.write_table(table, store)
    for line in lines_of(tmp_path / "second", data, model, "dpo")[:2]:
        assert line["reward_margin"] != 0
