"""The ranker reward_model, against one pass of the model per conversation, without padding."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.candidates import quarantined
from support.own_code import load_from
from support.rendering import encode
from support.reward_models import save
from support.tiny import WORDS, candidate_sets, completion
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaForSequenceClassification,
)

from pairkit.errors import ModelError
from pairkit.models.chat.render import DEFAULT_TEMPLATE, render
from pairkit.rankers import annotations
from pairkit.rankers.reward_model.ranker import RewardModelRecipe, load_reward_model
from pairkit.recipes import validate
from pairkit.schema import SETS, check_sets

# Refuses system messages, as Gemma's does.
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + DEFAULT_TEMPLATE
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("reward") / "llama")


def sets(count: int = 8, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)

    def text() -> str:
        return " ".join(random.choice(WORDS, random.integers(1, 20)))

    rows: list[Any] = []
    for index in range(count):
        noise = [completion(text(), origin="noise", model="noise:token_swap")] if index % 2 else []
        prompt: Any = text()
        if index % 3 == 0:
            prompt = [{"role": role, "content": text()} for role in ("user", "assistant", "user")]
        rows.append((prompt, [completion(text()) for _ in range(3)] + [completion("")] + noise))
    return candidate_sets(rows)


class Progress:
    def __init__(self) -> None:
        self.told = 0

    def __call__(self, count: int = 1, /, note: str = "") -> None:
        self.told += count


def run(model: Path, table: pa.Table, **recipe: Any) -> Any:
    progress = Progress()
    scored = load_reward_model(RewardModelRecipe(model=str(model), **recipe)).score(table, progress)
    assert progress.told == sum(map(len, table["completions"].to_pylist()))
    assert scored.sets.schema == SETS
    assert scored.sets.num_rows + scored.quarantine.num_rows == table.num_rows
    return scored


def scores(table: pa.Table) -> list[float | None]:
    return [one["score"] for row in table["completions"].to_pylist() for one in row]


def one_by_one(model: Path, table: pa.Table, reward: Any = None) -> list[float | None]:
    """Score each conversation on its own, with transformers, or with the `reward` model given."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    reward = reward or AutoModelForSequenceClassification.from_pretrained(model).eval()
    found: list[float | None] = []
    for row in table.to_pylist():
        for one in row["completions"]:
            messages = [*row["prompt"], {"role": "assistant", "content": one["text"]}]
            text = tokenizer.apply_chat_template(messages, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                found.append(None if one["origin"] == "noise" else float(reward(ids).logits[0, 0]))
    return found


def close(ours: list[float | None], theirs: list[float | None], tolerance: float = 1e-5) -> None:
    assert [score is None for score in ours] == [score is None for score in theirs]
    numbers = [np.array([score for score in both if score is not None]) for both in (ours, theirs)]
    # Relative for rewards above 1, whose rounding grows with them.
    assert (np.abs(numbers[0] - numbers[1]) / np.maximum(1, np.abs(numbers[1]))).max() < tolerance
    assert numbers[1].std() > 0.05


@pytest.mark.default("bert", "padding ends every text")
@pytest.mark.parametrize("kind", ["no padding token", "padding is 0", "padding ends every text", "bert"])
def test_scores_match_one_by_one_scoring(tmp_path: Path, kind: str) -> None:
    settings: dict[str, dict[str, Any]] = {
        "no padding token": {}, "padding is 0": {"pad": 0}, "padding ends every text": {"pad": 2},
        "bert": {"kind": "bert"},
    }  # fmt: skip
    # If the padding token is EOS, transformers scores a text that ends in EOS at the token before it.
    template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
    folder = save(tmp_path / "model", template=template, **settings[kind])
    table = sets()
    scored = run(folder, table)
    close(scores(scored.sets), one_by_one(folder, table))
    assert scored.counts == {"completions": 32}
    close(scores(run(folder, table, batch_tokens=1).sets), scores(scored.sets))
    assert [
        one["rank"]
        for row in check_sets(annotations.rank(scored.sets))["completions"].to_pylist()
        for one in row
    ].count(1) >= 8


def test_the_answer_is_scored_without_its_thought(checkpoint: Path) -> None:
    answers = ["the cat", "a dog ran", ""]
    said = ["<think>a dog</think>\nthe cat", "a cat\n</think>\n\na dog ran", "<think>the cat"]
    plain, thinking = (
        candidate_sets([("a bird", list(map(completion, texts)))]) for texts in (answers, said)
    )
    stripped = run(checkpoint, thinking)
    assert scores(stripped.sets) == scores(run(checkpoint, plain).sets)
    assert stripped.counts == {"completions": 3, "thoughts_stripped": 3, "thoughts_unfinished": 1}
    assert [one["text"] for one in stripped.sets["completions"].to_pylist()[0]] == said
    whole = run(checkpoint, thinking, thoughts="show")
    assert scores(whole.sets) != scores(stripped.sets)
    assert whole.counts == {"completions": 3}


def test_the_named_score_is_kept(checkpoint: Path) -> None:
    for row in run(checkpoint, sets(3)).sets["completions"].to_pylist():
        for one in row:
            expected = [] if one["origin"] == "noise" else [{"name": "reward_model", "value": one["score"]}]
            assert one["scores"] == expected
            assert one["rank"] is None


def test_conversations_have_one_bos_and_no_generation_prompt(checkpoint: Path) -> None:
    ranker = load_reward_model(RewardModelRecipe(model=str(checkpoint)))
    seen: list[list[int]] = []
    forward = ranker.model.forward
    ranker.model.forward = lambda **k: seen.extend(k["input_ids"].tolist()) or forward(**k)
    table = candidate_sets([("the cat", [completion("a dog")])])
    ranker.score(table, Progress())
    expected = render(
        ranker.chat.tokenizer,
        [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "a dog"}],
        add_generation_prompt=False,
    )
    assert seen == [encode(ranker.chat.tokenizer, expected)]
    assert seen[0].count(1) == 1


def test_unusable_sets_go_to_quarantine(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", template=REFUSING)
    system = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    long = " ".join(WORDS * 5)
    noise = completion(long, origin="noise", model="noise:token_swap")
    table = candidate_sets(
        [
            (system, [completion("a"), completion("b")]),
            ("the cat", [completion("a dog"), completion("red"), noise]),
            ("the cat", [completion("a dog", 1, score=2.0), completion(long), completion("old")]),
            ("nothing", []),
        ]
    )
    scored = run(folder, table, max_length=60)
    assert scored.sets["set_id"].to_pylist() == [table["set_id"][i].as_py() for i in (1, 3)]
    assert scored.counts == {"completions": 2}
    first, second = scored.quarantine.to_pylist()
    assert (first["stage"], first["set_id"], first["reason"]) == (
        "rank",
        table["set_id"][0].as_py(),
        "template_refused",
    )
    assert "no system" in first["detail"]
    assert (second["set_id"], second["reason"]) == (table["set_id"][2].as_py(), "too_long")
    assert second["detail"].endswith("tokens; the limit is 60")
    assert json.loads(second["row"]) == quarantined(table, 2)


def test_max_length_is_limited_by_the_model(checkpoint: Path) -> None:
    assert load_reward_model(RewardModelRecipe(model=str(checkpoint))).max_length == 256
    assert load_reward_model(RewardModelRecipe(model=str(checkpoint), max_length=9999)).max_length == 256
    nothing = run(checkpoint, sets(1).slice(0, 0))
    assert (nothing.sets.num_rows, nothing.counts) == (0, {"completions": 0})


def test_non_finite_weights_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    weights["score.weight"][0, 0] = float("inf")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"returned -?(inf|nan) for a conversation of \d+ tokens.*float32"):
        run(folder, sets(1))


def test_models_that_are_not_reward_models_are_refused(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"labels": 3}, "has 3 logits"),
        ({"template": None}, "has no chat template"),
        ({"kind": "causal"}, "is not a reward model: the weight 'score.weight' .* is missing"),
    ]
    for index, (settings, message) in enumerate(cases):
        with pytest.raises(ModelError, match=message):
            load_reward_model(RewardModelRecipe(model=str(save(tmp_path / str(index), **settings))))
    with pytest.raises(ModelError, match="no such file or directory"):
        load_reward_model(RewardModelRecipe(model=str(tmp_path / "none")))


CODE = """
import pathlib
import torch
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel
from transformers.modeling_outputs import ModelOutput
from dataclasses import dataclass

pathlib.Path(__file__).with_name("ran").write_text("")

@dataclass
class Output(ModelOutput):
    logits: torch.Tensor = None
    score: torch.Tensor = None

class Gated(LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.score = torch.nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    def forward(self, input_ids, attention_mask):
        states = self.model(input_ids, attention_mask=attention_mask).last_hidden_state
        last = attention_mask.sum(-1) - 1
        logits = self.score(states[torch.arange(len(last)), last])
        score = logits[:, 0] - 2 * logits[:, 1] if getattr(self.config, "gives_score", True) else None
        return Output(logits=logits, score=score)
"""


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint like ArmoRM's: several logits, and code that combines them into one `score`."""
    load_from(tmp_path / "modules", monkeypatch)
    folder = save(tmp_path / "own", labels=3, pad=0)
    change(folder, auto_map={"AutoModelForSequenceClassification": "modeling_gated.Gated"})
    (folder / "modeling_gated.py").write_text(CODE)
    return folder


def change(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def test_checkpoint_code_runs_only_when_trusted(own_code: Path, tmp_path: Path) -> None:
    table = sets(3)
    with pytest.raises(
        ModelError,
        match=r"code of its own \(for AutoModelForSequenceClassification.*trust_remote_code=true",
    ):
        load_reward_model(RewardModelRecipe(model=str(own_code)))
    assert not list(tmp_path.rglob("ran"))
    found = scores(run(own_code, table, trust_remote_code=True).sets)
    assert list(tmp_path.rglob("ran"))
    plain = tmp_path / "plain"
    shutil.copytree(own_code, plain)
    config = json.loads((plain / "config.json").read_text())
    del config["auto_map"]
    (plain / "config.json").write_text(json.dumps(config))
    reward = LlamaForSequenceClassification.from_pretrained(plain).eval()
    tokenizer = AutoTokenizer.from_pretrained(plain)
    expected: list[float | None] = []
    for row in table.to_pylist():
        for one in row["completions"]:
            messages = [*row["prompt"], {"role": "assistant", "content": one["text"]}]
            ids = torch.tensor([encode(tokenizer, render(tokenizer, messages, add_generation_prompt=False))])
            with torch.no_grad():
                logits = reward(ids).logits[0]
            expected.append(None if one["origin"] == "noise" else float(logits[0] - 2 * logits[1]))
    close(found, expected)


def test_checkpoint_code_without_a_score_is_refused(own_code: Path) -> None:
    change(own_code, gives_score=False)
    with pytest.raises(ModelError, match="returned 3 logits per conversation and no `score`"):
        run(own_code, sets(1), trust_remote_code=True)


def test_bfloat16_scores_are_close(checkpoint: Path) -> None:
    exact, rough = (scores(run(checkpoint, sets(4), dtype=dtype).sets) for dtype in ("float32", "bfloat16"))
    assert exact != rough
    spread = np.std([score for score in exact if score is not None])
    close(rough, exact, tolerance=float(spread))


def test_recipe_refuses_invalid_fields() -> None:
    assert not validate(RewardModelRecipe, {"model": "m"}).trust_remote_code
    for wrong in (
        {},
        {"model": "m", "max_length": 0},
        {"model": "m", "batch_tokens": 0},
        {"model": "m", "x": 1},
    ):
        with pytest.raises(ValueError, match="recipe key"):
            validate(RewardModelRecipe, wrong)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft, where it wraps
def test_adapters_of_a_reward_model_score_as_in_peft(tmp_path: Path) -> None:
    """Their head is saved with them: the base model is one that generates text."""
    import peft

    base = save(tmp_path / "base", "causal", pad=0)
    reward = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["q_proj"], modules_to_save=["score"])
    adapted: Any = peft.get_peft_model(reward, config)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in (p for p in adapted.parameters() if p.requires_grad):
            weight.normal_()
    adapted.save_pretrained(tmp_path / "adapters")
    table = sets()
    scored = run(tmp_path / "adapters", table, dtype="float32")
    close(scores(scored.sets), one_by_one(base, table, adapted.eval()), 1e-4)
