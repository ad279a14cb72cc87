"""Views: exactly the schema of the data sets they stand in for, and what reads those reads them."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.candidates import candidate_set, completion, noise, table

from pairkit.dataset import views
from pairkit.errors import RecipeError
from pairkit.mining import MineRecipe, mine
from pairkit.rankers.annotations import rank
from pairkit.schema import identify
from pairkit.sources import SourceRecipe, open_source

DIALOGUE = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why?")]


def sets(*rows: dict[str, Any]) -> pa.Table:
    return rank(table(*rows))


def scored(*scores: float | None, **fields: Any) -> dict[str, Any]:
    return candidate_set(*(completion(chr(97 + i), score) for i, score in enumerate(scores)), **fields)


def reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def rejected_texts(pairs: pa.Table) -> list[str]:
    return [row[0]["content"] for row in pairs["rejected"].to_pylist()]


def real_row(file: Path) -> pa.Table:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return pa.Table.from_pylist([json.loads(next(lines))])


# Pairs


def test_pairs_are_trl_conversations_with_scores():
    (row,) = views.pairs(sets(scored(1.0, 3.0, prompt=DIALOGUE))).to_pylist()
    assert row == {
        "prompt": [{"role": role, "content": content} for role, content in DIALOGUE],
        "chosen": reply("b"),
        "rejected": reply("a"),
        "score_chosen": 3.0,
        "score_rejected": 1.0,
    }


def test_all_gives_a_row_for_each_completion_below_the_best():
    pairs = views.pairs(sets(scored(5.0, 1.0, 5.0, 2.0, None), scored(2.0, 1.0)), rejected="all")
    assert rejected_texts(pairs) == ["d", "b", "b"]
    assert [row[0]["content"] for row in pairs["chosen"].to_pylist()] == ["a", "a", "a"]


def test_worst_is_the_lowest_or_noise_where_there_is_some():
    rows = sets(scored(1.0, 3.0, 2.0), candidate_set(completion("x", 2.0), completion("y", 1.0), noise("n")))
    pairs = views.pairs(rows, rejected="worst")
    assert rejected_texts(pairs) == ["a", "n"]
    assert pairs["score_rejected"].to_pylist() == [1.0, None]


@pytest.mark.parametrize("rejected", ["random", "policy"])
def test_random_draws_every_negative_alike_by_seed_and_set(rejected: Any):
    rows = sets(*(scored(9.0, 1.0, 2.0, 3.0, prompt=str(i)) for i in range(600)))
    pairs = views.pairs(rows, rejected=rejected)
    drawn = Counter(rejected_texts(pairs))
    assert set(drawn) == {"b", "c", "d"}
    assert min(drawn.values()) > 150  # 200 each are expected, with a standard deviation of 12
    assert views.pairs(rows, rejected=rejected).equals(pairs)
    assert not views.pairs(rows, rejected=rejected, seed=1).equals(pairs)
    halves = [views.pairs(half, rejected=rejected) for half in (rows.slice(0, 251), rows.slice(251))]
    assert pa.concat_tables(halves).equals(pairs)


def test_sets_without_a_choice_make_no_row_in_any_view_of_pairs():
    rows = sets(scored(), scored(None, None), scored(2.0, 2.0), scored(2.0, None), candidate_set(noise("n")))
    for view in (
        views.pairs(rows),
        views.pairs(rows, rejected="all"),
        views.unpaired(rows),
        views.binarized(rows),
    ):
        assert view.num_rows == 0


def test_an_unknown_way_to_choose_is_refused():
    with pytest.raises(
        RecipeError, match="unknown way to choose the rejected completion 'wurst'; did you mean 'worst'"
    ):
        views.pairs(sets(scored(1.0, 2.0)), rejected="wurst")  # type: ignore[arg-type]


# The others


def test_unpaired_labels_the_best_true_and_what_is_below_false():
    rows = sets(
        candidate_set(
            *(completion(t, s) for t, s in zip("abcd", (5.0, 5.0, 1.0, None), strict=True)), noise("n")
        )
    )
    view = views.unpaired(rows)
    assert view["completion"].to_pylist() == [reply(text) for text in "abcn"]
    assert view["label"].to_pylist() == [True, True, False, False]
    assert view["prompt"].to_pylist() == rows["prompt"].to_pylist() * 4


def test_binarized_holds_whole_conversations():
    (row,) = views.binarized(sets(scored(1.0, 3.0, prompt=DIALOGUE), scored(2.0, 2.0))).to_pylist()
    history = [{"content": content, "role": role} for role, content in DIALOGUE]
    assert row == {
        "prompt": "Why?",
        "prompt_id": sha256(b"Why?").hexdigest(),
        "chosen": [*history, *reply("b")],
        "rejected": [*history, *reply("a")],
        "messages": [*history, *reply("b")],
        "score_chosen": 3.0,
        "score_rejected": 1.0,
    }


def test_nectar_writes_dialogues_as_nectar_does():
    metadata = json.dumps({"source": ["sharegpt", "ultrachat"], "good_natured": False})
    rows = sets(
        candidate_set(
            completion("a", rank=2), completion("b", rank=1), noise("n"), prompt=DIALOGUE, metadata=metadata
        ),
        candidate_set(prompt="No replies"),
        candidate_set(completion("u"), metadata='{"source":"evol_instruct","good_natured":"?"}'),
    )
    first, second, third = views.nectar(rows).to_pylist()
    assert first == {
        "prompt": "Be brief.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: ",
        "answers": [
            {"answer": "b", "model": "m", "rank": 1.0},
            {"answer": "a", "model": "m", "rank": 2.0},
            {"answer": "n", "model": "noise:word_swap", "rank": None},
        ],
        "turns": 2,
        "num_responses": 3,
        "source": ["sharegpt", "ultrachat"],
        "good_natured": False,
    }
    assert (second["answers"], second["num_responses"], second["source"]) == ([], 0, ["test"])
    assert second["good_natured"] is None
    assert (third["source"], third["good_natured"]) == (["evol_instruct"], None)


def test_a_slice_is_viewed_as_its_rows():
    rows = sets(*(scored(1.0, 2.0, 3.0, prompt=str(i)) for i in range(5)))
    for view in (views.pairs, views.unpaired, views.binarized, views.nectar):
        whole = view(rows)
        parts = [view(rows.slice(start, 2)) for start in (0, 2, 4)]
        assert pa.concat_tables(parts).equals(whole)
        assert view(rows.slice(0, 0)).schema == whole.schema
        whole.validate(full=True)


# Against the real thing


def test_nectar_is_the_published_schema_and_row(real_data: Path):
    published = real_row(real_data / "nectar_row0_abridged.jsonl.gz")
    assert published.schema == views.NECTAR
    (row,) = published.to_pylist()
    question = row["prompt"].removeprefix("\n\nHuman: ").removesuffix("\n\nAssistant: ")
    answers = [completion(one["answer"], rank=int(one["rank"]), model=one["model"]) for one in row["answers"]]
    metadata = json.dumps({"source": row["source"], "good_natured": row["good_natured"]})
    rows = sets(candidate_set(*reversed(answers), prompt=question, metadata=metadata))
    assert views.nectar(rows).equals(published)


def test_binarized_is_the_published_schema_and_row(real_data: Path):
    published = real_row(real_data / "ultrafeedback_binarized_row0.jsonl.gz")
    assert published.schema == views.BINARIZED
    (row,) = published.to_pylist()
    # The published row is a tie, which never makes a pair here: its rejected reply is put below.
    good, bad = row["chosen"][1]["content"], row["rejected"][1]["content"]
    rows = sets(candidate_set(completion(bad, 8.4), completion(good, 8.5), prompt=row["prompt"]))
    assert views.binarized(rows).to_pylist() == [{**row, "score_rejected": 8.4}]


def test_a_nectar_row_goes_through_source_rank_and_mine_and_comes_back(real_data: Path):
    file = real_data / "nectar_row0_abridged.jsonl.gz"
    opened = open_source(SourceRecipe(name="nectar", path=str(file)))
    (converted,) = opened.batches()
    mined = mine(rank(identify(converted.sets, {})), MineRecipe(drop_ranks=(2,)), seed=0)
    (row,), (published,) = views.nectar(mined.sets).to_pylist(), real_row(file).to_pylist()
    kept = [answer for answer in published["answers"] if answer["rank"] != 2]
    assert row == {**published, "answers": kept, "num_responses": 6}


@pytest.mark.parametrize("name", ["pairs", "unpaired", "binarized", "nectar"])
def test_datasets_loads_a_view_from_parquet(name: str, tmp_path: Path):
    import datasets
    import pyarrow.parquet as pq

    rows = sets(scored(1.0, 2.0), candidate_set(completion("x", 2.0), completion("y", 1.0), noise("n")))
    view = getattr(views, name)(rows)
    pq.write_table(view, tmp_path / "view.parquet")
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "view.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.to_list() == view.to_pylist()
    assert loaded.features == datasets.Features.from_arrow_schema(getattr(views, name.upper()))


# TRL


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Llama of a few thousand parameters with a character tokenizer and a chat template, saved."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_model")
    characters = ["<pad>", "<bos>", "<eos>", *map(chr, range(32, 127)), "\n"]
    tokenizer = Tokenizer(models.WordLevel({one: i for i, one in enumerate(characters)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )
    fast.chat_template = (
        "{{ bos_token }}"
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(characters),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


SETTINGS = {
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "use_cpu": True,
    "bf16": False,
    "report_to": [],
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_steps": 1,
}


transformers_renamed_what_trl_sets = pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"
)


def training_rows() -> pa.Table:
    return sets(*(scored(1.0, 2.0, 3.0, prompt=f"What is {i}?") for i in range(4)))


@transformers_renamed_what_trl_sets
def test_trl_trains_a_step_of_dpo_on_pairs(tiny_model: str, tmp_path: Path):
    import datasets
    from trl import DPOConfig, DPOTrainer

    data = datasets.Dataset(views.pairs(training_rows(), rejected="all"))
    trainer = DPOTrainer(tiny_model, args=DPOConfig(output_dir=str(tmp_path), **SETTINGS), train_dataset=data)
    loss = trainer.train().training_loss
    assert loss == pytest.approx(0.6931, abs=1e-3)  # log 2: the policy is still the reference


@transformers_renamed_what_trl_sets
def test_trl_trains_a_step_of_kto_on_unpaired(tiny_model: str, tmp_path: Path):
    import datasets
    from trl import KTOConfig, KTOTrainer

    data = datasets.Dataset(views.unpaired(training_rows()))
    trainer = KTOTrainer(tiny_model, args=KTOConfig(output_dir=str(tmp_path), **SETTINGS), train_dataset=data)
    loss = trainer.train().training_loss
    assert loss == pytest.approx(0.5, abs=1e-2)  # 1 - sigmoid(0): the policy is still the reference
