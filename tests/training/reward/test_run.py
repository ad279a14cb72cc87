"""A run that trains a reward model: what it learns, what it saves, and that it goes on where it stopped."""

from __future__ import annotations

import shutil
from math import exp, log
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from support.grids import grid, some
from support.rewards import evaluated, ranked_by, tied_sets
from support.training import recipe, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairkit.errors import RecipeError
from pairkit.models.chat.render import DEFAULT_TEMPLATE
from pairkit.training.export.model import export_model
from pairkit.training.output.checkpoint import checkpoints
from pairkit.training.output.entries import read_metrics
from pairkit.training.reward import forward
from pairkit.training.run import train

# Of peft, where it loads.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
LORA = {"r": 4, "alpha": 8}
# Ends in the token that pads: transformers would read the reward one token early.
ENDS_IN_EOS = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
)


def close(one: list[list[float]], other: list[list[float]]) -> None:
    assert [len(row) for row in one] == [len(row) for row in other]
    for ours, theirs in zip(one, other, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)


def with_template(folder: Path, model: Path, template: str) -> Path:
    """Copy a model, with another template and the end of texts as padding."""
    shutil.copytree(model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template, tokenizer.pad_token = template, tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.default("reward_pl-template2")
@pytest.mark.parametrize(
    ("loss", "template"),
    grid(
        lambda loss, template: template == (ENDS_IN_EOS if loss == "reward_bt" else DEFAULT_TEMPLATE),
        ["reward_bt", "reward_pl", "reward_mse"],
        [DEFAULT_TEMPLATE, ENDS_IN_EOS],
    ),
)
def test_the_ranker_gives_the_rewards_that_the_last_evaluation_had(
    tmp_path: Path, red: Path, model: Path, loss: str, template: str
) -> None:
    start = with_template(tmp_path / "start", model, template)
    with evaluated() as rewards:
        saved = train(recipe(red, start, loss), tmp_path / "run")
    held_out = pq.read_table(next((red / "data").glob("test*")))
    # The same in one batch of many and one conversation at a time.
    for batch in (1, 16_384):
        close(ranked_by(saved, held_out, batch_tokens=batch), rewards[-1])
    last = read_metrics(tmp_path / "run", "eval")[-1]
    assert last["chosen_reward"] == pytest.approx(sum(row[0] for row in rewards[-1]) / 12, rel=1e-5, abs=1e-5)
    better = [(i, j) for i in range(4) for j in range(4) if (1, 2, 2, 4)[i] < (1, 2, 2, 4)[j]]
    pairs = [row[i] - row[j] for row in rewards[-1] for i, j in better]
    assert last["reward_margin"] == pytest.approx(sum(pairs) / 60, rel=1e-4, abs=1e-6)
    assert last["reward_accuracy"] == pytest.approx(sum(margin > 0 for margin in pairs) / 60)
    if loss == "reward_bt":
        assert last["loss"] == pytest.approx(sum(log(1 + exp(-margin)) for margin in pairs) / 60, rel=1e-5)


def test_transformers_alone_gives_the_same_rewards(tmp_path: Path, red: Path, model: Path) -> None:
    """Also in a padded batch, which transformers reads at the last token that is no padding."""
    start = with_template(tmp_path / "start", model, ENDS_IN_EOS)
    with evaluated() as rewards:
        saved = train(recipe(red, start, "reward_bt"), tmp_path / "run")
    network = AutoModelForSequenceClassification.from_pretrained(saved).eval()
    tokenizer = AutoTokenizer.from_pretrained(saved)
    assert network.config.architectures == ["LlamaForSequenceClassification"]
    assert network.config.num_labels == 1
    assert network.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    rows = pq.read_table(next((red / "data").glob("test*"))).to_pylist()
    found = []
    for row in rows:
        texts = [
            tokenizer.apply_chat_template(
                [*row["prompt"], {"role": "assistant", "content": one["text"]}], tokenize=False
            )
            for one in row["completions"]
        ]
        batch = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        begins = (batch["input_ids"] == tokenizer.bos_token_id) & (batch["attention_mask"] == 1)
        assert begins.sum(dim=1).tolist() == [1] * 4
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            found.append(network(**batch).logits[:, 0].tolist())
    close(found, rewards[-1])


@pytest.mark.full
def test_it_learns_what_is_better(tmp_path: Path, red: Path, model: Path) -> None:
    settings = recipe(red, model, "reward_bt", max_steps=40, optimizer={"learning_rate": 3e-2})
    saved = train(settings, tmp_path / "run")
    scores = ranked_by(saved, tied_sets(20, seed=2))
    right = [row[0] > row[3] for row in scores]
    assert sum(right) >= 18
    first, last = (read_metrics(tmp_path / "run", "eval")[i] for i in (0, -1))
    assert last["loss"] < 0.6 * first["loss"]
    assert last["reward_accuracy"] > 0.8


@pytest.mark.default("adapters")
@pytest.mark.parametrize("merge", [False, True], ids=["adapters", "merged"])
def test_adapters_are_read_by_the_ranker(tmp_path: Path, red: Path, model: Path, merge: bool) -> None:
    with evaluated() as rewards:
        saved = train(recipe(red, model, "reward_bt", lora=LORA | {"merge": merge}), tmp_path / "run")
    assert (saved / "adapter_model.safetensors").is_file() is not merge
    held_out = pq.read_table(next((red / "data").glob("test*")))
    close(ranked_by(saved, held_out), rewards[-1])
    assert rewards[-1] != rewards[0]
    if merge:
        return
    from peft import AutoPeftModelForSequenceClassification, PeftConfig

    config = PeftConfig.from_pretrained(saved)
    assert config.task_type == "SEQ_CLS"
    assert "score" in config.modules_to_save
    network = AutoPeftModelForSequenceClassification.from_pretrained(saved, num_labels=1)
    merged = network.merge_and_unload()
    exported = export_model(saved, tmp_path / "merged", merge=True).folder
    close(ranked_by(exported, held_out), rewards[-1])
    for name, value in weights(exported).items():
        torch.testing.assert_close(merged.state_dict()[name], value)


@pytest.mark.full
@pytest.mark.parametrize("lora", some(bool, [None, LORA]), ids=["whole", "adapters"])
def test_a_stopped_run_ends_as_one_that_was_not(
    tmp_path: Path, red: Path, model: Path, lora: dict[str, Any] | None
) -> None:
    settings = recipe(red, model, "reward_bt", lora=lora, save_every=1, eval_every=2)
    whole = train(settings, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(checkpoints(tmp_path / "run" / "checkpoints")[-1])
    again = train(settings, tmp_path / "run")
    file = "adapter_model.safetensors" if lora else "model.safetensors"
    assert (again / file).read_bytes() == (whole / file).read_bytes()
    for kind in ("train", "eval"):
        one, other = (read_metrics(tmp_path / name, kind) for name in ("whole", "run"))
        rates = ("sets_per_second", "tokens_per_second")
        assert [{k: v for k, v in line.items() if k not in rates} for line in one] == [
            {k: v for k, v in line.items() if k not in rates} for line in other
        ]
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    sent = {event.step: event.value for event in board.Scalars("eval/reward_accuracy")}
    lines = read_metrics(tmp_path / "run", "eval")
    assert sent == pytest.approx({line["step"]: line["reward_accuracy"] for line in lines})


@pytest.mark.full
def test_a_checkpoint_is_exported_as_a_reward_model(tmp_path: Path, red: Path, model: Path) -> None:
    saved = train(recipe(red, model, "reward_bt", save_every=1), tmp_path / "run")
    last = checkpoints(tmp_path / "run" / "checkpoints")[-1]
    assert last.name == "step-000003"
    exported = export_model(last, tmp_path / "exported").folder
    held_out = tied_sets(3, seed=3)
    found, ended = ranked_by(exported, held_out), ranked_by(saved, held_out)
    assert found != ended
    for one, other in zip(found, ended, strict=True):  # the last step is a small one
        assert one == pytest.approx(other, abs=0.2)


def test_a_head_is_made_from_the_seed_and_continued(tmp_path: Path, red: Path, model: Path) -> None:
    with evaluated() as first:
        saved = train(recipe(red, model, "reward_bt"), tmp_path / "first")
    with evaluated() as second:
        train(recipe(red, saved, "reward_pl", seed=1), tmp_path / "second")
    close(second[0], first[-1])
    with evaluated() as other:
        train(recipe(red, model, "reward_bt", seed=1, max_steps=1), tmp_path / "other")
    with evaluated() as same:
        train(recipe(red, model, "reward_mse", max_steps=1), tmp_path / "same")
    assert same[0] == first[0]
    assert other[0] != first[0]


@pytest.mark.full
@pytest.mark.parametrize(("sampling", "others"), [("random", {1, 2, 3}), ("worst", {3})])
def test_a_step_compares_the_best_with_those_that_are_sampled(
    sampling: str, others: set[int], tmp_path: Path, red: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, ...]] = []
    packed = forward._packed

    def watched(model: Any, work: Any, device: Any) -> Any:
        if torch.is_grad_enabled():  # neither the check of the first step nor an evaluation
            compared.extend(item.columns for item in work)
        return packed(model, work, device)

    monkeypatch.setattr(forward, "_packed", watched)
    train(recipe(red, model, "reward_bt", negatives={"sampling": sampling, "negatives": 1}), tmp_path / "run")
    assert {len(columns) for columns in compared} == {2}
    assert {columns[0] for columns in compared} == {0}
    assert {columns[1] for columns in compared} == others


def test_recomputed_activations_change_nothing(tmp_path: Path, red: Path, model: Path) -> None:
    plain = train(recipe(red, model, "reward_bt"), tmp_path / "plain")
    recomputed = train(recipe(red, model, "reward_bt", gradient_checkpointing=True), tmp_path / "recomputed")
    alone = train(recipe(red, model, "reward_bt", share_prompts=False), tmp_path / "alone")
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(recomputed)[name], value)
        torch.testing.assert_close(weights(alone)[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reference": "model"}, "reference cannot be set with reward_bt: a reward model has no reference"),
        ({"expand": "pairs"}, "expand cannot be set with reward_bt: the loss takes the pairs"),
        ({"template": "none"}, "reward_bt trains on conversations in the chat template"),
        ({"template": {"prefill": "x"}}, "template.prefill cannot be set with reward_bt"),
        ({"max_prompt_length": 9}, "max_prompt_length cannot be set with reward_bt: conversations are not"),
        ({"router_aux_loss": 0.1}, "router_aux_loss cannot be set with reward_bt"),
        ({"lora": {"base": "nf4"}}, "lora.base cannot be set with reward_bt"),
        ({"thoughts": "mask"}, "thoughts=mask cannot be set with reward_bt: use thoughts=train"),
        ({"assistant_turns": "all"}, "assistant_turns=all cannot be set with reward_bt"),
        ({"negatives": {"sampling": "max"}}, "negatives.sampling=max cannot be set with reward_bt"),
        ({"keep_best": "chosen_logp", "eval_every": 1}, "keep_best=chosen_logp cannot be set with reward_bt"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_without_a_use_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(Path("data"), Path("model"), "reward_bt", **fields)
