"""The generate stage: completions appended to candidate sets, and what goes to quarantine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from support.candidates import quarantined
from support.scripted import Scripted
from transformers import LlamaForCausalLM

from pairkit import schema
from pairkit.engines import generate as generate_module
from pairkit.engines import open_engine
from pairkit.engines.base import Completion, Problem, Request, Result, sample_seed
from pairkit.engines.generate import GenerateRecipe, SampleSettings, generate, generate_tables
from pairkit.engines.mixes import Samples
from pairkit.engines.transformers import TransformersEngine
from pairkit.errors import RecipeError
from pairkit.models.chat.format import ChatFormat
from pairkit.quickstart.model import save_start, tiny_config, tiny_tokenizer
from pairkit.recipes import validate
from pairkit.schema import StageResult
from pairkit.sources import arithmetic

MIX = (Samples(n=2, temperature=0.6), Samples(n=1, temperature=1.0, top_p=0.9))


def parrot(refused: Sequence[str] = ()) -> Scripted:
    """Says the prompt back with the sample's index; prompts in `refused` are not served."""

    def answer(request: Request) -> Result:
        text = request.prompt[-1]["content"]
        if text in refused:
            return Problem("too_long", f"{text} is too long")
        wanted = enumerate(request.samplings)
        return tuple(Completion(f"{text}{i}", 3, "length" if i else "stop", s) for i, s in wanted)

    return Scripted(answer, "parrot")


@pytest.fixture
def sets() -> pa.Table:
    return schema.identify(arithmetic.sets("tuning").slice(0, 40), {})


def run(sets: pa.Table, engine: object, **options: object) -> StageResult:
    return generate(sets, engine, MIX, max_tokens=8, seed=5, **options)


def test_completions_are_those_of_their_set(sets: pa.Table) -> None:
    done = run(sets, parrot())
    schema.check_sets(done.sets)
    assert done.sets.schema == schema.SETS
    assert done.sets.drop_columns(["completions"]) == sets.drop_columns(["completions"])
    for row in done.sets.to_pylist():
        for index, completion in enumerate(row["completions"]):
            part = MIX[0] if index < 2 else MIX[1]
            assert completion == {
                "text": f"{row['prompt'][0]['content']}{index}",
                "model": "parrot",
                "rank": None,
                "score": None,
                "scores": [],
                "sampling": {
                    "temperature": part.temperature,
                    "top_p": part.top_p,
                    "seed": sample_seed(5, row["set_id"], index),
                    "max_tokens": 8,
                },
                "finish_reason": "length" if index else "stop",
                "origin": "generated",
                "metadata": '{"tokens":3}',
                **dict.fromkeys(schema.COMPLETION_SINCE_2),
            }
    names = ("refused", "empty", "refusals", "recorded_ids", "truncated_dropped", "regenerated")
    zeros = dict.fromkeys(names, 0)
    assert done.counts == {"completions": 120, "stop": 40, "length": 80} | zeros
    assert done.quarantine.num_rows == 0


def test_source_completions_stay_first_if_kept(sets: pa.Table) -> None:
    done = run(sets, parrot(), keep_source=True).sets.to_pylist()
    for before, after in zip(sets.to_pylist(), done, strict=True):
        assert after["completions"][:1] == before["completions"]
        assert [c["origin"] for c in after["completions"]] == ["source"] + ["generated"] * 3


def test_chunks_and_slices_make_no_difference(sets: pa.Table) -> None:
    whole = run(sets, parrot(), keep_source=True).sets
    chunked = pa.concat_tables([sets.slice(0, 7), sets.slice(7)])
    assert run(chunked, parrot(), keep_source=True).sets == whole
    parts = [run(sets.slice(i, 13), parrot(), keep_source=True).sets for i in range(0, 40, 13)]
    assert pa.concat_tables(parts).combine_chunks() == whole.combine_chunks()
    assert run(sets.slice(0, 0), parrot()).sets == whole.slice(0, 0)


def test_what_the_engine_cannot_serve_goes_to_quarantine(sets: pa.Table) -> None:
    prompts = [row[0]["content"] for row in sets["prompt"].to_pylist()]
    done = run(sets, parrot(refused=prompts[3:5]))
    assert done.sets.num_rows + done.quarantine.num_rows == sets.num_rows
    rows = done.quarantine.to_pylist()
    assert [row["set_id"] for row in rows] == sets["set_id"].to_pylist()[3:5]
    assert {(row["stage"], row["reason"]) for row in rows} == {("generate", "too_long")}
    assert rows[0]["detail"] == f"{prompts[3]} is too long"
    assert json.loads(rows[0]["row"]) == quarantined(sets, 3)
    everything = run(sets, parrot(refused=prompts))
    assert everything.sets.num_rows == 0
    assert everything.sets.schema == schema.SETS


def test_progress_counts_every_completion(sets: pa.Table) -> None:
    told: list[int] = []
    run(sets, parrot(), advance=lambda count=1, /, note="": told.append(count))
    assert sum(told) == 120


def test_tables_stream_and_come_back_in_order(sets: pa.Table) -> None:
    whole = run(sets, parrot()).sets
    cut = [sets.slice(i, 3) for i in range(0, 40, 3)]
    parts = [done.sets for done in generate_tables(cut, parrot(), SampleSettings(MIX, 8, 5))]
    assert [part.num_rows for part in parts] == [3] * 13 + [1]
    assert pa.concat_tables(parts).combine_chunks() == whole.combine_chunks()


def test_the_next_table_is_asked_before_the_last_answer_of_this_one(
    sets: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that answers the newest first is given all that may be open."""
    monkeypatch.setattr(generate_module, "SETS_OPEN", 12)
    taken = []

    def tables() -> Iterator[pa.Table]:
        for number in range(20):
            taken.append(number)
            yield sets.slice(2 * number, 1)

    first = next(generate_tables(tables(), parrot(), SampleSettings(MIX, 8, 5)))
    assert first.sets["set_id"].to_pylist() == sets["set_id"].to_pylist()[:1]
    assert len(taken) == 12


def cut_at_first(request: Request) -> Result:
    """Completions that are cut, but for every third seed."""
    return tuple(
        Completion(f"{s.seed}", 8, "stop" if s.seed % 3 == 0 else "length", s) for s in request.samplings
    )


@pytest.mark.parametrize("truncated", ["keep", "drop", "regenerate"])
def test_what_is_cut_is_kept_dropped_or_asked_for_again(sets: pa.Table, truncated: str) -> None:
    engine = Scripted(cut_at_first)
    (done,) = generate_tables([sets], engine, SampleSettings(MIX, 8, 5, truncated=truncated))
    tries = 3 if truncated == "regenerate" else 1
    expected, cut, again = [], 0, 0
    for set_id in sets["set_id"].to_pylist():
        texts = []
        for index in range(3):
            seeds = [sample_seed(5, set_id, index + 3 * attempt) for attempt in range(tries)]
            whole = [number for number, seed in enumerate(seeds) if seed % 3 == 0]
            again += whole[0] if whole else tries - 1
            cut += not whole
            if whole or truncated == "keep":
                texts.append(str(seeds[whole[0]] if whole else seeds[0]))
        expected.append(texts)
    assert [[one["text"] for one in row] for row in done.sets["completions"].to_pylist()] == expected
    assert cut > 0
    assert done.counts["length"] == (cut if truncated == "keep" else 0)
    assert done.counts["truncated_dropped"] == (0 if truncated == "keep" else cut)
    assert done.counts["regenerated"] == again
    assert engine.asked >= 40 + (again > 0)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry, I cannot assist.", True),
        ("Sorry, but I can not do this", True),
        (" I cannot provide that", True),
        ("I am unable to open files", True),
        ("As an AI language model, I have no opinions", True),
        ("I can do that", False),
        ("Sorry for the delay: 42", False),
        ("The cat said: I'm sorry, I can't.", False),
        ("", False),
    ],
)
def test_refusals_are_counted(sets: pa.Table, text: str, refusal: bool) -> None:
    engine = Scripted(lambda request: tuple(Completion(text, 1, "stop", s) for s in request.samplings))
    counts = run(sets.slice(0, 1), engine).counts
    assert (counts["refusals"], counts["empty"]) == (3 * refusal, 3 * (text == ""))


def test_a_real_model_does_not_depend_on_the_cut(sets: pa.Table) -> None:
    torch.manual_seed(0)
    engine = TransformersEngine(LlamaForCausalLM(tiny_config()), ChatFormat(tiny_tokenizer()), "tiny")
    whole = run(sets, engine).sets
    parts = [run(sets.slice(i, 11), engine).sets for i in range(0, 40, 11)]
    assert pa.concat_tables(parts).combine_chunks() == whole.combine_chunks()
    flat = pc.list_flatten(whole["completions"])
    assert len(set(pc.struct_field(flat, "text").to_pylist())) > 30


def test_open_engine(tmp_path) -> None:
    save_start(tmp_path)
    LlamaForCausalLM(tiny_config()).save_pretrained(tmp_path)
    engine = open_engine(GenerateRecipe(model=str(tmp_path), batch_tokens=100))
    assert (engine.name, engine.batch_tokens) == (str(tmp_path), 100)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"samples": [{"n": 0}]}, "samples.0.n"),
        ({"samples": []}, "samples"),
        ({"samples": [{"temperature": -1}]}, "samples.0.temperature"),
        ({"samples": [{"top_p": 0}]}, "samples.0.top_p"),
        ({"max_token": 3}, "did you mean 'max_tokens'"),
        ({"engine": "vlm"}, "engine"),
    ],
)
def test_a_wrong_recipe_is_refused(content: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        validate(GenerateRecipe, {"model": "m", **content})
