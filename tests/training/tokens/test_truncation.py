"""What cutting loses is counted, and pairs that it makes equal are not trained on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.tiny import candidate_sets, completion, random_sets, write_data
from support.training import recipe
from transformers import AutoTokenizer

from pairkit.errors import InputError
from pairkit.models.chat.render import DEFAULT_TEMPLATE
from pairkit.schema import SETS, identify
from pairkit.sources import SourceRecipe, open_source
from pairkit.training.cost.report import report
from pairkit.training.plan import plan
from pairkit.training.run import train
from pairkit.training.tokens.sets import Tokenized
from pairkit.training.tokens.tokenize import Wanted, tokenize
from pairkit.training.tokens.truncation import truncation

LONG = "the old red house sees a new blue tree under the cat " * 2


def pairs() -> Any:
    """Sixteen pairs, of which twelve differ only after their first 106 characters."""
    alike = [(f"{i} dog", [completion(f"{LONG}runs", 1), completion(f"{LONG}sleeps", 2)]) for i in range(12)]
    return candidate_sets(
        [*alike, *((f"{i} dog", [completion("runs", 1), completion("sleeps", 2)]) for i in range(12, 16))]
    )


def tokens(model: Path, table: Any, max_length: int, wanted: Wanted = "ranked") -> Tokenized:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = DEFAULT_TEMPLATE
    limits = {"max_length": max_length, "max_prompt_length": max_length * 7 // 8}
    return tokenize([table], tokenizer, **limits, wanted=wanted, advance=lambda count: None)


def test_pairs_that_cutting_makes_equal_are_refused_and_counted(model: Path, tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", pairs(), random_sets(4))
    planned = plan(recipe(folder, model, max_length=32))
    assert planned.train.counts() == {"used": 4, "refused": {"identical_after_truncation": 12}}
    for item in planned.train.sets:
        assert not np.array_equal(item.columns[0].ids, item.columns[1].ids)
    counts = report(planned)["truncation"]["train"]
    assert (counts["prompts"], counts["completions"]) == (16, 32)
    assert (counts["prompts_cut"], counts["completions_cut"], counts["identical_pairs"]) == (0, 24, 12)
    whole = plan(recipe(folder, model, max_length=counts["one_percent_length"]))
    assert whole.train.counts() == {"used": 16, "refused": {}}
    assert report(whole)["truncation"]["train"]["completions_cut"] == 0


def test_only_negatives_with_the_tokens_of_the_chosen_are_left_out(model: Path) -> None:
    texts = [f"{LONG}runs", f"{LONG}sleeps", "a dog", f"{LONG}finds"]
    table = candidate_sets([("dog", [completion(text, rank + 1) for rank, text in enumerate(texts)])])
    (item,) = tokens(model, table, 32).sets
    assert [column.rank for column in item.columns] == [1, 3]
    assert truncation(tokens(model, table, 32), 32, None).identical_pairs == 2
    (every,) = tokens(model, table, 32, "all").sets
    assert len(every.columns) == 4


def test_the_proposed_length_cuts_one_percent(model: Path) -> None:
    """Found again by tokenizing with it, and with one token less."""
    table = random_sets(60, completions=4)
    short = truncation(tokens(model, table, 16), 16, None)
    assert short.completions_cut > 0.5 * short.completions

    def cut(length: int) -> float:
        whole, now = tokens(model, table, 1000), tokens(model, table, length)
        before = [(len(s.prompt), [len(c.ids) for c in s.columns]) for s in whole.sets]
        after = {s.set_id: (len(s.prompt), [len(c.ids) for c in s.columns]) for s in now.sets}
        changed = [
            after[s.set_id][0] != prompt or kept != size
            for s, (prompt, sizes) in zip(whole.sets, before, strict=True)
            for kept, size in zip(after[s.set_id][1], sizes, strict=True)
        ]
        return float(np.mean(changed))

    assert 0 < cut(short.one_percent_length) <= 0.01 < cut(short.one_percent_length - 1)


def test_a_fixed_prompt_length_is_not_made_up_for_by_a_longer_text(model: Path) -> None:
    table = random_sets(20)
    whole = tokens(model, table, 1000)
    longest = max(min(len(s.prompt), 5) + len(c.ids) for s in whole.sets for c in s.columns)
    counts = truncation(whole, longest, 5)
    assert counts.prompts_cut == counts.prompts == 20
    assert counts.completions_cut == 0
    assert counts.one_percent_length == longest


def test_a_run_states_what_it_cut_before_and_after(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_data(tmp_path / "data", pairs())
    train(recipe(folder, model, max_length=32, max_steps=1), tmp_path / "run")
    printed = capsys.readouterr().err.replace("\n", " ")
    counts = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]["truncation"]["train"]
    sentence = "train: max_length=32 cuts 24 of 32 completions and 0 of 16 prompts; 12 pairs have the same"
    assert printed.count(sentence) == 2
    assert f"max_length={counts['one_percent_length']} would cut 1 %" in printed
    lines = (tmp_path / "run" / "refused.jsonl").read_text().splitlines()
    assert {json.loads(line)["reason"] for line in lines} == {"identical_after_truncation"}
    assert len(lines) == 12


def test_data_of_which_nothing_is_left_is_refused(model: Path, tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", pairs()[:12])
    with pytest.raises(InputError, match=r"12 sets identical_after_truncation .* would leave them whole"):
        plan(recipe(folder, model, max_length=32))


@pytest.mark.full
def test_real_pairs_that_cutting_makes_equal_are_counted_as_by_hand(
    real_data: Path, model: Path, tmp_path: Path
) -> None:
    """Of 800 real pairs 89 have the same tokens at max_length=64; they are not among those used."""
    file = real_data / "ultrafeedback_binarized_trl_flat.jsonl.gz"
    raw = [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().split("\n") if line]
    tokenizer = AutoTokenizer.from_pretrained(model)

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    used, equal, cut = 0, 0, 0
    for row in raw:
        prompt = 1 + len(ids(f"User: {row['prompt']}\n\nAssistant:\n"))  # tokens, BOS included
        room = 64 - min(prompt, 64 * 7 // 8)
        chosen, rejected = ([*ids(row[side]), tokenizer.eos_token_id] for side in ("chosen", "rejected"))
        if chosen == rejected:
            continue
        cut += sum(len(text) > room for text in (chosen, rejected))
        equal += chosen[:room] == rejected[:room]
        used += chosen[:room] != rejected[:room]
    opened = open_source(SourceRecipe(name="files", path=str(file)))
    tables = [identify(batch.sets, {}).cast(SETS) for batch in opened.batches()]
    planned = plan(recipe(write_data(tmp_path / "data", pa.concat_tables(tables)), model, max_length=64))
    refused = {"identical_after_truncation": 89, "identical_completions": 2}
    assert planned.train.counts() == {"used": 709, "refused": refused, "identical_completions": 2}
    assert (used, equal) == (709, 89)
    counts = planned.truncation()["train"]
    assert (counts.identical_pairs, counts.completions_cut) == (equal, cut)
