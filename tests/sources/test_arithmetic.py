"""The arithmetic source and the tiny model's tokenizer."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from support.rendering import prompt_tokens
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pairkit import schema
from pairkit.errors import RecipeError
from pairkit.quickstart.model import save_start, tiny_config, tiny_tokenizer
from pairkit.sources import SourceRecipe, arithmetic, open_source

SPLITS = ("train", "tuning", "test")


def sums(split: str, seed: int = 0) -> set[tuple[int, int]]:
    rows = arithmetic.problems(split, seed=seed).tolist()
    assert len({tuple(row) for row in rows}) == len(rows)
    return {(a, b) for a, b in rows}


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_the_splits_are_disjoint_and_complete(seed: int) -> None:
    train, tuning, test = (sums(split, seed) for split in SPLITS)
    assert (len(train), len(tuning), len(test)) == (2700, 450, 450)
    assert train | tuning | test == {(a, b) for a in range(60) for b in range(60)}
    for split in (train, tuning, test):
        assert {(b, a) for a, b in split} == split  # nobody's mirror image is elsewhere


def test_the_seed_selects_the_split() -> None:
    assert sums("test", 0) == sums("test", 0)
    assert len(sums("test", 0) & sums("test", 1)) < 150  # by chance 450 / 8 are in both


def test_sets_have_the_answer_and_a_group() -> None:
    table = arithmetic.sets("train")
    assert table.schema == schema.UNIDENTIFIED
    for row in table.to_pylist():
        (message,) = row["prompt"]
        a, b = map(int, message["content"].removesuffix("=").split("+"))
        metadata = json.loads(row["metadata"])
        assert metadata == {"answer": str(a + b)[::-1], "group": f"{min(a, b)}+{max(a, b)}"}
        (completion,) = row["completions"]
        assert (completion["text"], completion["origin"]) == (metadata["answer"], "source")
    schema.check_sets(schema.identify(table, {}))
    groups = arithmetic.groups(table)
    assert groups == [json.loads(metadata)["group"] for metadata in table["metadata"].to_pylist()]
    assert len(set(groups)) < 0.52 * len(groups)  # nearly all have their mirror image


def test_the_source_gives_batches_of_the_split() -> None:
    recipe = SourceRecipe(name="arithmetic", split="tuning", limit=30)
    opened = open_source(recipe)
    assert opened.total_rows == 30
    batches = list(opened.batches(rows=12))
    assert [batch.counts["rows"] for batch in batches] == [12, 12, 6]
    assert pa.concat_tables(b.sets for b in batches) == arithmetic.sets("tuning").slice(0, 30)
    assert [b.sets for b in opened.batches(start=1, rows=12)] == [b.sets for b in batches[1:]]
    assert list(opened.batches(start=3, rows=12)) == []
    other = recipe.model_copy(update={"split": None})
    assert open_source(other).fingerprint != opened.fingerprint


def test_options_for_files_are_refused() -> None:
    for option in ("path", "config", "revision"):
        recipe = SourceRecipe(name="arithmetic", **{option: "x"})
        with pytest.raises(RecipeError, match=f"no `{option}`"):
            open_source(recipe)
    with pytest.raises(RecipeError, match="did you mean 'train'"):
        arithmetic.sets("trian")


def test_the_tokenizer_knows_all_characters_of_the_problems() -> None:
    tokenizer = tiny_tokenizer()
    user = {"role": "user", "content": "37+45="}
    assert tokenizer.convert_ids_to_tokens(prompt_tokens(tokenizer, [user])) == ["<s>", *"37+45="]
    dialogue = [user, {"role": "assistant", "content": "28"}]
    whole = tokenizer.apply_chat_template(dialogue, tokenize=True, return_dict=False)
    assert tokenizer.convert_ids_to_tokens(whole) == ["<s>", *"37+45=28", "</s>"]
    assert tokenizer.decode(whole, skip_special_tokens=True) == "37+45=28"
    assert tokenizer("1 x\n2")["input_ids"] == tokenizer.convert_tokens_to_ids(
        ["1", "<unk>", "<unk>", "<unk>", "2"]
    )


def test_the_initial_model_loads_like_any_other(tmp_path) -> None:
    save_start(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = "59+8=76"
    assert tokenizer(text)["input_ids"] == tiny_tokenizer()(text)["input_ids"]
    assert tokenizer.chat_template == tiny_tokenizer().chat_template
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    assert model.config.to_dict() | {"dtype": None, "_name_or_path": ""} == tiny_config().to_dict() | {
        "dtype": None,
        "_name_or_path": "",
        "architectures": model.config.architectures,
    }
    assert 0.45e6 < model.num_parameters() < 0.55e6
    assert len(tokenizer) == model.config.vocab_size
