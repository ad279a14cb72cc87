"""What a reward model reads in training is what the ranker reads: whole conversations with one BOS."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.grids import grid
from support.rewards import ranked_by, tied_sets
from support.tiny import candidate_sets, completion, write_data
from support.training import recipe
from transformers import AutoTokenizer, LlamaForSequenceClassification

from pairkit.models.chat.render import DEFAULT_TEMPLATE
from pairkit.training.output.entries import read_metrics
from pairkit.training.plan import plan
from pairkit.training.run import train
from pairkit.training.tokens.token_set import TokenSet

TEMPLATES = {
    "plain": DEFAULT_TEMPLATE,
    "writes bos": "{{ bos_token }}" + DEFAULT_TEMPLATE,
    "ends in text": "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</end>{% endfor %}",
}


def conversations(sets: Any) -> list[list[int]]:
    """The token ids of every completion of every set, with its prompt."""
    return [np.concatenate([item.prompt, column.ids]).tolist() for item in sets for column in item.columns]


def read_by_ranker(folder: Path, table: Any, patch: pytest.MonkeyPatch, **fields: Any) -> list[list[int]]:
    """The token ids with which the ranker calls its model, one conversation per call."""
    seen: list[list[int]] = []
    real = LlamaForSequenceClassification.forward

    def forward(self: Any, input_ids: torch.Tensor, *given: Any, **named: Any) -> Any:
        seen.append(input_ids[0].tolist())
        return real(self, input_ids, *given, **named)

    with patch.context() as patched:
        patched.setattr(LlamaForSequenceClassification, "forward", forward)
        ranked_by(folder, table, batch_tokens=1, **fields)
    return seen


@pytest.mark.default("default-writes bos")
@pytest.mark.parametrize(
    ("thoughts", "template"),
    grid(
        lambda thoughts, template: (thoughts == "shown") == (list(TEMPLATES).index(template) % 2 == 0),
        ["default", "shown"],
        TEMPLATES,
    ),
)
def test_training_and_ranker_read_the_same_tokens(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, template: str, thoughts: str
) -> None:
    start = Path(shutil.copytree(model, tmp_path / "start"))
    tokenizer = AutoTokenizer.from_pretrained(start)
    tokenizer.chat_template = TEMPLATES[template]
    tokenizer.save_pretrained(start)
    dialogue: Any = [
        {"role": role, "content": f"the {role}"} for role in ("system", "user", "assistant", "user")
    ]
    rows: list[Any] = [
        ("the cat", [completion("runs", 1), completion("<think>the dog</think>sleeps", 2)]),
        (dialogue, [completion("sees", 1), completion("finds it", 2), completion("", 3)]),
    ]
    table = candidate_sets(rows)
    data = write_data(tmp_path / "sets", table)
    trained, ranked = ({}, {}) if thoughts == "default" else ({"thoughts": "train"}, {"thoughts": "show"})
    settings = recipe(data, start, "reward_bt", max_steps=1, max_length=128, trackers=[], **trained)
    ours = conversations(plan(settings).train.sets)
    saved = train(settings, tmp_path / "run")
    assert sorted(ours) == sorted(read_by_ranker(saved, table, monkeypatch, **ranked))
    # A text without BOS gets none, because this tokenizer adds none to any text.
    assert [ids.count(1) for ids in ours] == [0 if template == "ends in text" else 1] * 5
    thought = tokenizer.encode("dog", add_special_tokens=False)[-1]
    assert any(thought in ids for ids in ours) is (thoughts == "shown")


def test_sets_that_cannot_be_used_are_counted_by_reason(tmp_path: Path, model: Path) -> None:
    one, two = completion("a", 1, score=1.0), completion("b", 2, score=0.0)
    rows: list[Any] = [
        ("good", [one, two]),
        ("tied", [one, completion("b", 1, score=1.0)]),
        ("alone", [one]),
        ("none", []),
        ("unranked", [completion("a", score=1.0), completion("b")]),
        ("unscored", [completion("a", 1), completion("b", 2)]),
        ("same", [one, completion("a", 2, score=0.0)]),
        ("long", [completion("cat " * 99, 1, score=1.0), two]),
        ("noise", [one, completion("b", origin="noise", model="noise:token_swap")]),
    ]
    data = write_data(tmp_path / "sets", candidate_sets(rows))
    common = {"no_choice": 2, "no_completion": 1, "unranked": 1, "identical_completions": 1, "too_long": 1}
    expected: dict[Any, dict[str, int]] = {
        "reward_bt": common,
        "reward_pl": common,
        ("reward_bt", "margin"): common | {"unscored": 2},
        "reward_mse": {"no_completion": 0, "unscored": 2, "too_long": 1},
    }
    for loss, refused in expected.items():
        named = {"name": loss[0], "margin": 0.1} if isinstance(loss, tuple) else loss
        out = tmp_path / "-".join(["run", *([loss] if isinstance(loss, str) else loss)])
        train(recipe(data, model, named, max_steps=1, trackers=[]), out)
        record = json.loads((out / "run.json").read_text())["plan"]["train_sets"]
        assert record["refused"] == {name: count for name, count in refused.items() if count}, loss
        assert record["used"] + sum(record["refused"].values()) == len(rows)
        reasons = [json.loads(line)["reason"] for line in (out / "refused.jsonl").read_text().splitlines()]
        assert len(reasons) == sum(refused.values())
        assert len(read_metrics(out, "train")) == 1


def test_a_prompt_that_nearly_fills_max_length_is_not_said_to_be_cut(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[Any] = [("cat " * 20, [completion("a", 1), completion("b", 2)])]
    data = write_data(tmp_path / "sets", candidate_sets(rows))
    longest = plan(recipe(data, model, "reward_bt", max_length=128)).longest
    settings = recipe(data, model, "reward_bt", max_length=longest, max_steps=1, trackers=[])
    (item,) = plan(settings).train.sets
    assert isinstance(item, TokenSet)
    assert len(item.prompt) > longest * 7 // 8
    train(settings, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["plan"]["truncation"] == {}
    assert "cuts" not in capsys.readouterr().err


def test_scores_are_needed_where_the_margin_reads_them(tmp_path: Path, model: Path) -> None:
    """Ranked completions without a score stay where it does not, and noise is below all others."""
    mixed = [completion("a", 1, score=2.0), completion("b", 2), completion("a b", 3, score=1.0)]
    noise = completion("b a", origin="noise", model="noise:token_swap")
    data = write_data(tmp_path / "sets", candidate_sets([("x", [*mixed, noise])]))

    def columns(loss: Any) -> int:
        (item,) = plan(recipe(data, model, loss)).train.sets
        assert isinstance(item, TokenSet)
        return len(item.columns)

    assert columns("reward_bt") == columns("reward_pl") == 4
    assert columns({"name": "reward_bt", "margin": 1.0}) == 2
    assert columns("reward_mse") == 2


def test_the_rest_of_a_set_is_one_token_at_least(red: Path, model: Path) -> None:
    sets = plan(recipe(red, model, "reward_bt")).train.sets
    assert len(sets) == tied_sets(48).num_rows
    for item in sets:
        assert len(item.prompt) > 1
        assert min(len(column.ids) for column in item.columns) >= 1
        firsts = {column.ids[0] for column in item.columns}
        # All that they share is in the prompt, but for the last token of the shortest.
        assert len(firsts) > 1 or min(len(column.ids) for column in item.columns) == 1
