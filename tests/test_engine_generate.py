"""The generate stage: completions appended to candidate sets, and what goes to quarantine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from transformers import LlamaForCausalLM

from pairkit import schema
from pairkit.engines import open_engine
from pairkit.engines.base import Answer, Completion, Problem, Request, sample_seed
from pairkit.engines.generate import Generated, GenerateRecipe, Samples, generate
from pairkit.engines.transformers import TransformersEngine
from pairkit.errors import RecipeError
from pairkit.quickstart.model import save_start, tiny_config, tiny_tokenizer
from pairkit.recipes import validate
from pairkit.sources import arithmetic

MIX = (Samples(n=2, temperature=0.6), Samples(n=1, temperature=1.0, top_p=0.9))


class Parrot:
    """An engine of known answers: says the prompt back with the sample's index, backwards through the
    requests; prompts in `refused` are not served."""

    name = "parrot"

    def __init__(self, refused: Sequence[str] = ()) -> None:
        self.refused = refused

    def complete(self, requests: Sequence[Request]) -> Iterator[Answer]:
        for index in reversed(range(len(requests))):
            text = requests[index].prompt[-1]["content"]
            if text in self.refused:
                yield Answer(index, problem=Problem("too_long", f"{text} is too long"))
            else:
                wanted = enumerate(requests[index].samplings)
                said = [Completion(f"{text}{i}", 3, "length" if i else "stop", s) for i, s in wanted]
                yield Answer(index, tuple(said))


@pytest.fixture
def sets() -> pa.Table:
    return schema.identify(arithmetic.sets("tuning").slice(0, 40), {})


def run(sets: pa.Table, engine: object, **options: object) -> Generated:
    return generate(sets, engine, MIX, max_tokens=8, seed=5, **options)


def test_completions_are_those_of_their_set(sets: pa.Table) -> None:
    done = run(sets, Parrot())
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
            }
    assert done.counts == {"completions": 120, "stop": 40, "length": 80, "empty": 0}
    assert done.quarantine.num_rows == 0


def test_source_completions_stay_first_if_kept(sets: pa.Table) -> None:
    done = run(sets, Parrot(), keep_source=True).sets.to_pylist()
    for before, after in zip(sets.to_pylist(), done, strict=True):
        assert after["completions"][:1] == before["completions"]
        assert [c["origin"] for c in after["completions"]] == ["source"] + ["generated"] * 3


def test_chunks_and_slices_make_no_difference(sets: pa.Table) -> None:
    whole = run(sets, Parrot(), keep_source=True).sets
    chunked = pa.concat_tables([sets.slice(0, 7), sets.slice(7)])
    assert run(chunked, Parrot(), keep_source=True).sets == whole
    parts = [run(sets.slice(i, 13), Parrot(), keep_source=True).sets for i in range(0, 40, 13)]
    assert pa.concat_tables(parts).combine_chunks() == whole.combine_chunks()
    assert run(sets.slice(0, 0), Parrot()).sets == whole.slice(0, 0)


def test_what_the_engine_cannot_serve_goes_to_quarantine(sets: pa.Table) -> None:
    prompts = [row[0]["content"] for row in sets["prompt"].to_pylist()]
    done = run(sets, Parrot(refused=prompts[3:5]))
    assert done.sets.num_rows + done.quarantine.num_rows == sets.num_rows
    rows = done.quarantine.to_pylist()
    assert [row["set_id"] for row in rows] == sets["set_id"].to_pylist()[3:5]
    assert {(row["stage"], row["reason"]) for row in rows} == {("generate", "too_long")}
    assert rows[0]["detail"] == f"{prompts[3]} is too long"
    assert json.loads(rows[0]["row"]) == sets.slice(3, 1).to_pylist()[0]
    everything = run(sets, Parrot(refused=prompts))
    assert everything.sets.num_rows == 0
    assert everything.sets.schema == schema.SETS


def test_progress_counts_every_completion(sets: pa.Table) -> None:
    told: list[int] = []
    run(sets, Parrot(), advance=lambda count=1, /, note="": told.append(count))
    assert sum(told) == 120


def test_a_lost_answer_is_a_fault(sets: pa.Table) -> None:
    class Forgetful(Parrot):
        def complete(self, requests: Sequence[Request]) -> Iterator[Answer]:
            return (answer for answer in super().complete(requests) if answer.request)

    with pytest.raises(RuntimeError, match="39 of 40"):
        run(sets, Forgetful())


def test_a_real_model_does_not_depend_on_the_cut(sets: pa.Table) -> None:
    torch.manual_seed(0)
    engine = TransformersEngine(LlamaForCausalLM(tiny_config()), tiny_tokenizer(), "tiny")
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
