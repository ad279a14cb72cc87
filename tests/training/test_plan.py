"""The plan of a run and its dry run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from support.tiny import random_sets
from support.training import recipe
from transformers import AutoTokenizer
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.models.chat.render import DEFAULT_TEMPLATE
from pairkit.training.cost.report import report
from pairkit.training.plan import plan
from pairkit.training.tokens.tokenize import tokenize


def test_sampler_settings_come_from_the_loss_the_flags_or_the_data() -> None:
    assert sampler_settings(build("rnce"), {}, "worst")["sampling"] == "random"
    assert sampler_settings(build("mcpo"), {}, "worst")["sampling"] == "mc"
    assert sampler_settings(build("dpo"), {}, "worst")["sampling"] == "worst"
    assert sampler_settings(build("dpo"), {}, "policy")["sampling"] == "mc"
    assert sampler_settings(build("dpo"), {"sampling": "all"}, "worst")["sampling"] == "all"
    assert sampler_settings(build("mcpo"), {"sampling": "max"}, "worst")["sampling"] == "max"
    assert sampler_settings(build("rnce"), {"negatives": 2}, "worst")["negatives"] == 2
    assert sampler_settings(build("mcpo", negatives=3), {"sampling": "max"}, "worst")["negatives"] == 3


@pytest.mark.parametrize(
    "loss", ["infonca", "nca", "lipo", "pro", "rrhf", "exo_rw", "rrhf+sft", "sft+dpo+nca"]
)
def test_a_loss_on_sets_takes_all_completions_unless_the_recipe_sets_a_sampler(loss: str) -> None:
    assert sampler_settings(build(loss), {}, "worst")["sampling"] == "all"
    assert sampler_settings(build(loss), {"negatives": 2}, "worst")["sampling"] == "worst"
    assert sampler_settings(build(loss), {"sampling": "max"}, "worst")["sampling"] == "max"


def test_the_longest_text_of_kto_has_another_prompt(tmp_path: Path, data: Path, model: Path) -> None:
    planned = plan(recipe(data, model, "kto", max_length=1000))
    own = [len(item.prompt) + len(column.ids) for item in planned.train.sets for column in item.columns]
    prompt = max(len(item.prompt) for item in planned.train.sets)
    assert planned.longest == prompt + max(len(c.ids) for item in planned.train.sets for c in item.columns)
    assert planned.longest > max(own)
    assert plan(recipe(data, model, "kto", max_length=max(own))).longest == max(own)


def test_the_plan_counts_the_tokens_of_texts_and_steps(data: Path, model: Path) -> None:
    planned = plan(recipe(data, model))
    tokens, sets = report(planned)["tokens"], planned.train.sets
    assert tokens["longest"] == max(
        len(item.prompt) + len(column.ids)
        for item in [*sets, *planned.held_out.sets]
        for column in item.columns
    )
    every = tokens["prompt"] + tokens["completion"]
    assert tokens["a_step"] == round(every / 24 * 8)
    for settings, steps in (({"epochs": 1.0}, 1), ({"epochs": 1.5, "sets_per_step": 10}, 4)):
        other = plan(recipe(data, model, max_steps=None, **({"sets_per_step": 128} | settings)))
        assert other.order.step_count == steps
        assert report(other)["tokens"]["a_step"] == round(every * settings["epochs"] / steps)


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "train",
        "--loss",
        "dpo",
        "--data",
        str(data),
        "--model",
        str(model),
        "--dry-run",
        "max_length=96",
    ]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    planned = plan(recipe(data, model, sets_per_step=128, max_steps=None))
    printed = yaml.safe_load(shown.stdout)
    assert {key: printed[key] for key in report(planned)} == report(planned)
    assert printed["out"] == "runs/train/sets-dpo"
    assert not list(tmp_path.iterdir())


def test_tokenize_reads_tables_in_parts(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = DEFAULT_TEMPLATE
    table, seen = random_sets(10), []
    both = [
        tokenize(parts, tokenizer, max_length=96, max_prompt_length=50, wanted="ranked", advance=seen.append)
        for parts in ([table], [table[:3], table[3:]])
    ]
    assert seen == [10, 3, 7]
    for one, two in zip(both[0].sets, both[1].sets, strict=True):
        assert one.set_id == two.set_id
        assert np.array_equal(one.columns[-1].ids, two.columns[-1].ids)
