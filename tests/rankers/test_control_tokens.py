"""What models that rank are given: no text of a set holds a control token, whatever the tokenizer lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import WORDS, candidate_sets, completion
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from pairkit.engines import transformers
from pairkit.engines.asking import complete
from pairkit.engines.base import Request
from pairkit.engines.generate import no_progress
from pairkit.engines.local import ids_of
from pairkit.engines.transformers import TransformersEngine
from pairkit.models.chat.format import ChatFormat
from pairkit.models.load import train_bpe
from pairkit.rankers.judge.ranker import load_judge
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.reward_model.ranker import RewardModelRanker, RewardModelRecipe, load_reward_model

# The usual ones, and some whose form tells nothing: only the tokenizer's list does.
LISTED = ("<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<<SYS>>", "§stop§", "END OF TURN", "ꙮ")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save(folder: Path, kind: Any) -> Path:
    tokenizer = train_bpe(iter([" ".join(WORDS)] * 3), 300)
    tokenizer.add_special_tokens({"additional_special_tokens": list(LISTED)})
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=8192, num_labels=1, **sizes, **special
    )
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def listed_in(ids: list[int], model: Path) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    return [each for each in ids if each in set(tokenizer.all_special_ids)]


def sets(mark: str) -> Any:
    prompt = [
        {"role": "user", "content": f"the cat {mark} sleeps"},
        {"role": "assistant", "content": f"{mark}a dog"},
        {"role": "user", "content": f"why{mark}"},
    ]
    return candidate_sets([(prompt, [completion(f"a red {mark} dog {mark}"), completion(f"{mark}blue")])])


@pytest.mark.parametrize("token", LISTED)
def test_a_reward_model_reads_text(token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save(tmp_path / "model", LlamaForSequenceClassification)
    read: list[list[int]] = []
    forward = RewardModelRanker._forward

    def watched(ranker: Any, conversations: Any) -> Any:
        read.extend(each.tolist() for each in conversations)
        return forward(ranker, conversations)

    monkeypatch.setattr(RewardModelRanker, "_forward", watched)
    ranker = load_reward_model(RewardModelRecipe(model=str(model)))
    for mark in ("", token):
        assert ranker.score(sets(mark), no_progress).quarantine.num_rows == 0
    plain, attacked = [[listed_in(ids, model) for ids in read[at : at + 2]] for at in (0, 2)]
    assert attacked == plain
    assert len(plain[0]) == 8  # the template's own


@pytest.mark.parametrize("protocol", ["pointwise", "iterative", "listwise"])
def test_a_judge_of_this_process_reads_text(
    protocol: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "model", LlamaForCausalLM)
    chat = ChatFormat(AutoTokenizer.from_pretrained(folder))
    engine = TransformersEngine(LlamaForCausalLM.from_pretrained(folder), chat, "tiny")
    read: list[list[int]] = []

    def watched(request: Request) -> Any:
        read.append(list(ids_of(request)))
        return read[-1]

    monkeypatch.setattr(transformers, "ids_of", watched)
    recipe = JudgeRecipe(model="tiny", protocol=protocol, max_tokens=1, attempts=1)
    counts = {}
    for mark in ("", *LISTED):
        read.clear()
        judge = load_judge(recipe, lambda requests: complete(engine, requests), seed=0)
        judge.score(sets(mark), no_progress)
        counts[mark] = sorted(len(listed_in(ids, folder)) for ids in read)
    assert counts[""]
    # Those of the template: one question, or a system turn before it.
    assert all(counts[mark] == counts[""] for mark in LISTED), counts
