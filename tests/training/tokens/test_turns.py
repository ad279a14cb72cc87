"""The assistant's earlier turns where completions are compared: they stay in the prompt, which all share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.chat_templates import all_templates, tokenizer
from support.tiny import candidate_sets, completion, model_folder, write_data
from support.training import recipe, split_of, step_model
from transformers import AutoModelForCausalLM

from pairkit.losses import build
from pairkit.losses.building import sampler_settings
from pairkit.models.chat.settings import TemplateSettings
from pairkit.training.cost.report import report
from pairkit.training.plan import plan
from pairkit.training.run import train
from pairkit.training.step.averages import Averages
from pairkit.training.step.order import draw_seeds
from pairkit.training.step.prepare import prepare
from pairkit.training.tokens.token_set import TokenSet
from pairkit.training.tokens.tokenize import tokenize

FILES = {path.stem: path for path in all_templates()}
ONE, TWO = "The answer is 4.", "Because it has counted."
CHOSEN, REJECTED = "Twice.", "Never, as far as anybody knows."
DIALOGUE = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": ONE},
    {"role": "user", "content": "Why is it 4?"},
    {"role": "assistant", "content": TWO},
    {"role": "user", "content": "How often?"},
]
PAIR = [completion(CHOSEN, 1), completion(REJECTED, 2)]


def run(name: str, prompt: Any = DIALOGUE, wanted: Any = "ranked", turns: Any = "all", **options: Any) -> Any:
    options = {"max_length": 9_000, "max_prompt_length": 8_000} | options
    return tokenize(
        [candidate_sets([(prompt, PAIR)])], tokenizer(), wanted=wanted, assistant_turns=turns,
        advance=lambda count: None, template=TemplateSettings(file=str(FILES[name])), **options,
    )  # fmt: skip


def only(found: Any) -> TokenSet:
    assert not found.refused, found.refusals()
    (item,) = found.sets
    return item  # type: ignore[no-any-return]


def turn_texts(item: TokenSet) -> list[str]:
    """The runs of tokens of the prompt that count, decoded."""
    assert item.turns is not None
    edges = np.flatnonzero(np.diff(item.turns.astype(int))) + 1
    runs = zip(np.split(item.prompt, edges), np.split(item.turns, edges), strict=True)
    return [tokenizer().decode(ids) for ids, counts in runs if counts[0]]


@pytest.mark.parametrize("name", ["qwen2_5", "llama3", "phi3", "gemma4", "qwen3_training", "gptoss_training"])
def test_the_turns_of_a_prompt_are_those_of_sft(name: str) -> None:
    """The same ids count as where the dialogue is trained on alone, and the completions are as without."""
    shared, alone = only(run(name)), only(run(name, wanted="first"))
    column = alone.columns[0]
    whole = [*shared.prompt, *shared.columns[0].ids]
    assert whole == [*alone.prompt, *column.ids]
    assert shared.turns is not None
    assert column.scored is not None
    counted = [*shared.turns, *[True] * len(shared.columns[0].ids)]
    assert counted == [*[False] * len(alone.prompt), *column.scored]
    last = only(run(name, turns="last"))
    assert [c.ids.tolist() for c in shared.columns] == [c.ids.tolist() for c in last.columns]
    assert all(c.scored is None for c in shared.columns)
    assert last.turns is None
    assert tokenizer().decode(shared.prompt) == tokenizer().decode(last.prompt)


def test_each_turn_counts_with_what_ends_it() -> None:
    assert turn_texts(only(run("qwen2_5"))) == [f"{ONE}<|im_end|>", f"{TWO}<|im_end|>"]


def test_thoughts_of_earlier_turns_are_masked_in_the_prompt() -> None:
    prompt = [
        *DIALOGUE[:2],
        {"role": "assistant", "content": f"<think>\nSo.\n</think>\n\n{ONE}"},
        *DIALOGUE[3:],
    ]
    for thoughts in ("mask", "strip"):
        assert turn_texts(only(run("qwen2_5", prompt, thoughts=thoughts)))[0] == f"\n\n{ONE}<|im_end|>"


def test_a_prompt_without_earlier_turns_has_none() -> None:
    item = only(run("qwen2_5", DIALOGUE[:2]))
    assert item.turns is None
    assert item.prompt.tolist() == only(run("qwen2_5", DIALOGUE[:2], turns="last")).prompt.tolist()


def test_a_template_that_shows_no_turns_refuses_the_set() -> None:
    assert [row.reason for row in run("qwen3_5_think").refused] == ["template_not_a_prefix"]


@pytest.mark.full
def test_what_is_cut_off_a_prompt_does_not_count() -> None:
    whole = only(run("qwen2_5"))
    assert whole.turns is not None
    places = np.flatnonzero(whole.turns)
    for limit in range(1, len(whole.prompt)):
        item = only(run("qwen2_5", max_prompt_length=limit))
        assert item.prompt.tolist() == whole.prompt[-limit:].tolist()
        start = len(whole.prompt) - limit
        # Nothing predicts the first token that is left.
        expected = [place - start for place in places if place > start]
        assert np.flatnonzero([] if item.turns is None else item.turns).tolist() == expected
        assert (item.turns is None) == (not expected)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Dialogues of one to three turns, and a model whose template writes them one after another."""
    folder = tmp_path_factory.mktemp("dialogues")
    turns = ["the cat", "a red dog", "near the tree", "the old house sleeps", "under a tree"]
    messages = [
        {"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(turns)
    ]
    rows: list[Any] = [
        (messages[: 1 + 2 * (number % 3)], [completion(f"new cat {number}", 1), completion("a dog runs", 2)])
        for number in range(9)
    ]
    template = (
        "{% for m in messages %}{{ m.role[0] }}: {{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}"
        "{% else %} {% endif %}{% endfor %}{% if add_generation_prompt %}a: {% endif %}"
    )
    data = write_data(folder / "data", candidate_sets(rows), candidate_sets(rows[:4]))
    return data, model_folder(folder / "model", template=template)


def value_of(folders: tuple[Path, Path], loss: str, folder: Path, turns: str) -> float:
    """The objective of all sets as one batch, the reference another model."""
    planned = plan(recipe(*folders, loss, assistant_turns=turns, max_length=128))
    assert planned.truncation()["train"].completions_cut == 0
    network = AutoModelForCausalLM.from_pretrained(folders[1]).eval()
    other = AutoModelForCausalLM.from_pretrained(folders[1]).eval()
    other.lm_head.weight.data += 0.1
    sets, built = list(planned.train.sets), build(loss)
    split = split_of(built, sets, other, folder)
    negatives, seeds = sampler_settings(built, {}, "worst"), draw_seeds(sets, 0, 0)
    passes = step_model(built, network, 150)
    return passes.gradients(prepare(passes, negatives, split, range(9), seeds), Averages()).value


@pytest.mark.full
def test_a_sum_is_what_its_parts_are_alone(folders: tuple[Path, Path], tmp_path: Path) -> None:
    last, dialogues = (
        {loss: value_of(folders, loss, tmp_path, turns) for loss in losses}
        for losses, turns in (
            (("dpo", "sft", "dpo:0.8+sft:0.5"), "last"),
            (("sft", "dpo:0.8+sft:0.5"), "all"),
        )
    )
    parts = 0.8 * last["dpo"] + 0.5 * dialogues["sft"]
    assert dialogues["dpo:0.8+sft:0.5"] == pytest.approx(parts, rel=1e-5)
    assert last["dpo:0.8+sft:0.5"] == pytest.approx(0.8 * last["dpo"] + 0.5 * last["sft"], rel=1e-5)
    assert abs(parts - last["dpo:0.8+sft:0.5"]) > 1e-3


def test_a_run_of_a_sum_on_dialogues(folders: tuple[Path, Path], tmp_path: Path) -> None:
    asked = recipe(*folders, "dpo+sft", assistant_turns="all", max_length=128, sets_per_step=3, eval_every=2)
    planned = plan(asked)
    counted = sum(item.turn_count for item in planned.train.sets)
    assert report(planned)["tokens"]["earlier_turns"] == counted > 0
    assert "earlier_turns" not in report(plan(recipe(*folders, "dpo")))["tokens"]
    train(asked, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["plan"]["tokens"]["earlier_turns"] == counted
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "eval"]
    assert losses[-1] < losses[0]
