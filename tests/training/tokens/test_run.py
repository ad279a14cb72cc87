"""The template settings of a training recipe: in the plan, in what a run logs, in the saved tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.tiny import candidate_sets, completion, model_folder, random_sets, write_data
from support.training import recipe
from transformers import AutoTokenizer

from pairkit.errors import InputError
from pairkit.models.chat.format import ChatFormat
from pairkit.training.cost.report import report
from pairkit.training.plan import plan
from pairkit.training.run import train

THINKING = (
    "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}<think>\n\n</think>{% endif %}"
    "{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}[assistant]{% if enable_thinking is "
    "defined and not enable_thinking %}<think>\n\n</think>{% endif %}{% endif %}"
)


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose template writes an empty thought before an answer."""
    return model_folder(tmp_path_factory.mktemp("model") / "thinking", template=THINKING)


def test_a_run_states_what_the_template_would_write_before_an_answer(data: Path, thinking: Path) -> None:
    (note,) = plan(recipe(data, thinking)).notes
    assert note == (
        "the template writes '<think>\\n\\n</think>' before an answer, which is not added: a completion is "
        "the text as written; template.prefill adds it to the prompt"
    )
    for template in ({"kwargs": {"enable_thinking": False}}, {"prefill": "<think>\n\n</think>"}, "none"):
        assert plan(recipe(data, thinking, template=template)).notes == ()


def test_the_saved_tokenizer_renders_conversations_as_they_were_trained(
    data: Path, thinking: Path, tmp_path: Path
) -> None:
    run_of = recipe(
        data, thinking, template={"kwargs": {"enable_thinking": False}, "system": "fold"}, max_steps=1
    )
    saved = AutoTokenizer.from_pretrained(train(run_of, tmp_path / "run"))
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the cat"}]
    rendered = saved.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert rendered == "[user]Be brief.\n\nthe cat</s>[assistant]<think>\n\n</think>"
    trained = ChatFormat(AutoTokenizer.from_pretrained(thinking), run_of.template)
    assert rendered == trained.prompt(messages).plain
    written = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert written["recipe"]["template"]["kwargs"] == {"enable_thinking": False}


def test_raw_text_needs_no_template_and_saves_none(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(recipe(data, model, template="none", max_steps=1), tmp_path / "run")
    assert AutoTokenizer.from_pretrained(folder).chat_template is None
    assert "no chat template" not in capsys.readouterr().err
    item = plan(recipe(data, model, template="none")).train.sets[0]
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert tokenizer.decode(item.prompt).startswith("0 ")
    assert item.columns[0].ids[-1] == tokenizer.eos_token_id


def test_recorded_ids_are_counted_in_the_plan(model: Path, tmp_path: Path) -> None:
    from pairkit.models.load import load_tokenizer

    tokenizer = load_tokenizer(str(model), revision=None, trust_remote_code=False, texts=iter(()))
    fields = {"token_ids": [300 - 1, 2], "tokenizer": ChatFormat(tokenizer).fingerprint}
    rows = [
        (
            f"{i} cat",
            [completion("the dog", 1, **fields), completion("the cat", 2, token_ids=[5], tokenizer="other")],
        )
        for i in range(4)
    ]
    folder = write_data(tmp_path / "data", candidate_sets(rows), random_sets(4))
    planned = plan(recipe(folder, model))
    counted = {"used": 4, "refused": {}, "recorded_ids": 4, "ids_of_another_tokenizer": 4}
    assert report(planned)["train_sets"] == planned.train.counts() == counted
    assert planned.train.sets[0].columns[0].ids.tolist() == [299, 2]
    assert len(planned.notes) == 2
    assert planned.notes[0].startswith("4 completions have the ids that were sampled")


def test_a_dataset_that_no_template_takes_is_refused_with_what_to_set(tmp_path: Path) -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + THINKING
    model = model_folder(tmp_path / "model", template=refuses)
    prompt: Any = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    rows = [(prompt, [completion("the dog", 1), completion("the cat", 2)])]
    folder = write_data(tmp_path / "data", candidate_sets(rows))
    with pytest.raises(
        InputError, match=r"no set can be trained on: 1 sets template_refused .*set template\.system=fold"
    ):
        plan(recipe(folder, model))
    assert plan(recipe(folder, model, template={"system": "drop"})).train.counts()["used"] == 1
