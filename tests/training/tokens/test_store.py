"""Tokenized sets in files: what is read is what was made, whatever happens to the file."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.forks import Server
from support.tiny import random_sets
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.errors import OutputError
from pairkit.recipes import validate
from pairkit.training.cost.report import report
from pairkit.training.plan import plan
from pairkit.training.recipe import TrainRecipe
from pairkit.training.run import train
from pairkit.training.tokens import store as token_store
from pairkit.training.tokens.sets import Tokenized, record_batch
from pairkit.training.tokens.store import TokenStore, tokens_key
from pairkit.training.tokens.token_set import Column, Refused, TokenSet


def recipe(data: Path, model: Path, **fields: Any) -> TrainRecipe:
    base = {
        "data": str(data), "model": str(model), "loss": "dpo", "sets_per_step": 8, "max_steps": 3,
        "max_length": 96, "optimizer": {"learning_rate": 1e-2},
    }  # fmt: skip
    return validate(TrainRecipe, base | fields)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


# What is read is what was made

ids = st.lists(st.integers(0, 2**31 - 1), max_size=6).map(lambda row: np.array(row, np.int32))


def masks(count: int) -> st.SearchStrategy[Any]:
    rows = st.lists(st.booleans(), min_size=count, max_size=count)
    return st.none() | rows.map(lambda row: np.array(row, np.bool_))


columns = st.builds(
    Column,
    ids,
    st.none() | st.integers(1, 9),
    st.none() | st.floats(allow_nan=False),
    st.sampled_from(["source", "generated", "noise"]),
    st.none(),
).flatmap(lambda column: masks(len(column.ids)).map(lambda mask: column._replace(scored=mask)))
sets = st.builds(
    TokenSet,
    st.text("0123456789abcdef", min_size=16, max_size=16),
    ids,
    st.lists(columns, max_size=4).map(tuple),
    st.none() | st.booleans(),
    st.none(),
).flatmap(lambda item: masks(len(item.prompt)).map(lambda mask: item._replace(turns=mask)))
refused = st.builds(Refused, st.text(max_size=3), st.sampled_from(["unranked", "no_choice"]), st.text())
tables = st.lists(st.lists(sets | refused, max_size=5), max_size=4)


def plain(item: TokenSet) -> Any:
    """Return a set in Python's own values, which can be compared."""
    assert item.prompt.dtype == np.int32
    assert all(c.scored is None or c.scored.dtype == np.bool_ for c in item.columns)
    masks = [None if column.scored is None else column.scored.tolist() for column in item.columns]
    turns = None if item.turns is None else item.turns.tolist()
    rows = [(column.ids.tolist(), column.rank, column.score, column.origin) for column in item.columns]
    rows = [(*row, mask) for row, mask in zip(rows, masks, strict=True)]
    return item.set_id, item.prompt.tolist(), rows, item.label, turns


def assert_same(found: Tokenized, expected: Tokenized) -> None:
    assert list(map(plain, found.sets)) == list(map(plain, expected.sets))
    assert found.refused == expected.refused
    assert found.refusals() == expected.refusals()


@pytest.mark.full
@settings(max_examples=25)
@given(tables)
def test_sets_from_a_file_are_those_that_were_made(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[TokenSet | Refused]]
) -> None:
    folder = tmp_path_factory.mktemp("tokens")
    expected = [item for table in rows for item in table if isinstance(item, TokenSet)]
    unusable = [item for table in rows for item in table if isinstance(item, Refused)]
    batches = [record_batch(table) for table in rows]
    store = TokenStore(folder)
    made = store.sets(lambda: "key", lambda: iter(batches))
    mapped = store.sets(lambda: "key", lambda: pytest.fail("the file exists"))
    for found in (Tokenized(batches), made, mapped):
        assert list(map(plain, found.sets)) == list(map(plain, expected))
        assert found.refused == unusable
        assert found.counts()["used"] + sum(found.counts()["refused"].values()) == sum(map(len, rows))
        assert len(found.sets) == len(expected)
        assert [plain(found.sets[i]) for i in range(-len(expected), 0)] == list(map(plain, expected))
        assert list(map(plain, found.sets[1::2])) == list(map(plain, expected[1::2]))
        texts = [text for item in expected for text in (item.prompt, *(c.ids for c in item.columns))]
        assert found.largest_id() == max((int(text.max()) for text in texts if len(text)), default=-1)
        both = [len(item.prompt) + len(column.ids) for item in expected for column in item.columns]
        assert found.longest() == max(both, default=0)
        assert found.lengths.prompt.tolist() == [len(item.prompt) for item in expected]
        assert found.lengths.columns.tolist() == [len(item.columns) for item in expected]
        assert found.lengths.completion.tolist() == [len(c.ids) for item in expected for c in item.columns]
        for outside in (len(expected), -len(expected) - 1):
            with pytest.raises(IndexError):
                found.sets[outside]


def test_ids_are_views_of_the_mapped_file(tmp_path: Path, data: Path, model: Path) -> None:
    """They take no memory of the process, and cannot be written to."""
    run_of, store = recipe(data, model), TokenStore(tmp_path / "tokens")
    plan(run_of, store)
    before = pa.total_allocated_bytes()
    item = plan(run_of, store).train.sets[3]
    assert pa.total_allocated_bytes() - before < len(files(tmp_path / "tokens").popitem()[1])
    assert not any(text.flags.writeable or text.flags.owndata for text in (item.prompt, item.columns[1].ids))


@pytest.fixture
def new_files(tmp_path: Path, data: Path, model: Path) -> Callable[..., set[str]]:
    """Return the names that a plan adds to a store, whose sets have to equal those made in memory."""
    folder = tmp_path / "tokens"

    def names(**fields: Any) -> set[str]:
        before = set(files(folder))
        run_of = recipe(fields.pop("data", data), fields.pop("start", model), **fields)
        # Data that differ from what their manifest says are tokenized anew all the same.
        found = plan(run_of, TokenStore(folder), allow_changed_data=True)
        expected = plan(run_of, allow_changed_data=True)
        assert_same(found.train, expected.train)
        assert found.held_out
        assert expected.held_out
        assert_same(found.held_out, expected.held_out)
        assert report(found) == report(expected)
        return set(files(folder)) - before

    assert len(names()) == 2
    return names


KEYS: list[tuple[dict[str, Any], int]] = [  # fields of the recipe, and how many new files they make
    ({}, 0), ({"max_length": 97, "max_prompt_length": 84}, 2), ({"max_prompt_length": 83}, 2),
    ({"limit": 23}, 1), ({"limit": 24}, 0), ({"eval_limit": 7}, 1), ({"loss": "sft"}, 2),
    ({"loss": "infonca"}, 2), ({"loss": "kto"}, 2),
    ({"loss": "mcpo", "seed": 3, "sets_per_step": 2, "bf16": True, "epochs": 2.0}, 0),
    ({"template": {"prefill": "The"}}, 2), ({"template": {"kwargs": {"a": 1}}}, 2),
    ({"template": "none"}, 2), ({"thoughts": "mask"}, 2), ({"loss": "sft", "assistant_turns": "all"}, 2),
]  # fmt: skip


@pytest.mark.parametrize(
    "keys", [KEYS[1::4], pytest.param(KEYS, marks=pytest.mark.full)], ids=["some", "all"]
)
def test_the_recipe_s_part_of_the_key(keys: Any, model: Path, new_files: Callable[..., set[str]]) -> None:
    trained = {"start": model / "config.json", "tokenizer": "bpe:310"}
    for fields, new in [*keys, (trained, 2)]:
        assert len(new_files(**fields)) == new, fields
    # What is hashed of a recipe is the same whenever it is read again.
    again = [fields for fields, _ in keys if "template" in fields]
    assert not any(len(new_files(**fields)) for fields in (*again, trained))


def test_the_data_s_part_of_the_key(tmp_path: Path, data: Path, new_files: Callable[..., set[str]]) -> None:
    copied = shutil.copytree(data, tmp_path / "copied")
    assert not new_files(data=copied)  # the content, not the path
    pq.write_table(random_sets(24, seed=7), copied / "data" / "train-00000-of-00001.parquet")
    assert len(new_files(data=copied)) == 1  # though the manifest is what it was


@pytest.mark.parametrize(
    "change",
    [
        lambda tokenizer: tokenizer.add_tokens(["cat"]),
        lambda tokenizer: tokenizer.add_special_tokens({"additional_special_tokens": ["dog"]}),
        lambda tokenizer: setattr(tokenizer, "eos_token", "<pad>"),
        lambda tokenizer: setattr(tokenizer, "chat_template", "{{ messages[0].content }}x{{ eos_token }}"),
        lambda tokenizer: setattr(
            tokenizer.backend_tokenizer, "pre_tokenizer", ByteLevel(add_prefix_space=True)
        ),
    ],
    ids=["token", "special token", "end of turn", "template", "pre-tokenizer"],
)
def test_the_tokenizer_s_part_of_the_key(model: Path, tmp_path: Path, change: Callable[[Any], Any]) -> None:
    copied = shutil.copytree(model, tmp_path / "copied")
    tokenizer, same, other = (AutoTokenizer.from_pretrained(folder) for folder in (model, copied, model))
    same("used before", padding="max_length", truncation=True, max_length=3)
    change(other)
    one = tokens_key(tokenizer, data=[])
    assert one is not None
    assert tokens_key(same, data=[]) == one != tokens_key(other, data=[])


@pytest.mark.parametrize(
    "name",
    [
        "pairkit.models.chat.format",
        "pairkit.models.chat.control",
        "pairkit.training.tokens.tokenize",
        "pairkit.training.tokens.sets",
    ],
)
def test_the_code_s_part_of_the_key(model: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    tokenizer, source = AutoTokenizer.from_pretrained(model), token_store.inspect.getsource
    before = tokens_key(tokenizer)
    assert tokens_key(tokenizer) == before

    def changed(module: Any) -> str:
        return source(module) + "# changed" * (module.__name__ == name)

    monkeypatch.setattr(token_store.inspect, "getsource", changed)
    assert tokens_key(tokenizer) != before


@pytest.mark.parametrize("library", ["transformers", "tokenizers"])
def test_the_libraries_part_of_the_key(model: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    before = tokens_key(tokenizer)
    monkeypatch.setattr(f"{library}.__version__", "0.1")
    assert tokens_key(tokenizer) != before


class OfItsOwn(PreTrainedTokenizerFast):
    """A tokenizer whose code its content does not determine, as with trust_remote_code."""


def test_a_tokenizer_with_code_of_its_own_has_no_key(tmp_path: Path, model: Path) -> None:
    assert tokens_key(OfItsOwn.from_pretrained(model)) is None
    batch = record_batch([Refused("a", "unranked", "")])
    found = TokenStore(tmp_path / "tokens").sets(lambda: None, lambda: iter([batch]))
    assert found.counts() == {"used": 0, "refused": {"unranked": 1}}
    assert not files(tmp_path)


# Whatever happens to the file


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def parquet(file: Path) -> None:
    pq.write_table(random_sets(1), file)


def of_other_tokens(file: Path) -> None:
    name = "0123456789abcdef"
    batch = record_batch([Refused("a", "unranked", "")])
    TokenStore(file.parent).sets(lambda: name, lambda: iter([batch]))
    shutil.move(file.parent / f"{name}.arrow", file)


@pytest.mark.default("flip", "parquet", "of other tokens")
@pytest.mark.parametrize(
    "damage", [cut, flip, parquet, of_other_tokens, lambda file: file.write_bytes(b"")],
    ids=["cut", "flip", "parquet", "of other tokens", "empty"],
)  # fmt: skip
def test_a_damaged_file_is_reported_and_written_again(
    tmp_path: Path, data: Path, model: Path, capsys: pytest.CaptureFixture[str], damage: Any
) -> None:
    run_of, folder = recipe(data, model), tmp_path / "tokens"
    plan(run_of, TokenStore(folder))
    whole = files(folder)
    for path in folder.iterdir():
        damage(path)
    capsys.readouterr()
    assert_same(plan(run_of, TokenStore(folder, write=False)).train, plan(run_of).train)
    assert not files(folder).items() & whole.items()  # only read
    output = capsys.readouterr().err
    assert output.count("damaged (") == 2
    assert output.count("tokenizing train") == 2
    assert_same(plan(run_of, TokenStore(folder)).train, plan(run_of).train)
    assert {name: len(content) for name, content in files(folder).items() if name in whole} == {
        name: len(content) for name, content in whole.items()
    }
    capsys.readouterr()
    plan(run_of, TokenStore(folder))
    assert not capsys.readouterr().err.replace(str(model), "").count("tokenizing")


WRITER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from pairkit.training.tokens.sets import TokenSet, record_batch
from pairkit.training.tokens.store import TokenStore

def batches():
    yield record_batch([TokenSet("a", np.arange(5, dtype=np.int32), ())])
    os.kill(os.getpid(), signal.SIGKILL)

TokenStore(Path(sys.argv[1])).sets(lambda: "key", batches)
"""


def test_a_killed_process_leaves_no_file_of_half_the_sets(forks: Server, tmp_path: Path) -> None:
    (tmp_path / "writer.py").write_text(WRITER)
    store = tmp_path / "store"
    store.mkdir()
    assert forks.start(str(tmp_path / "writer.py"), str(store)).wait(60) == -signal.SIGKILL
    (left,) = store.iterdir()
    assert left.name.endswith(".part")
    os.utime(left, (0, 0))  # long ago
    (store / ".another.arrow.part").write_bytes(b"of a run that is still writing")
    whole = [record_batch([TokenSet(name, np.arange(5, dtype=np.int32), ())]) for name in "ab"]
    found = TokenStore(store).sets(lambda: "key", lambda: iter(whole))
    assert [item.set_id for item in found.sets] == ["a", "b"]
    assert sorted(path.name for path in store.iterdir()) == [".another.arrow.part", "key.arrow"]


def test_two_runs_may_write_the_same_file_at_once(tmp_path: Path) -> None:
    """The second begins when the first has written half, and ends before it."""
    first, second = (record_batch([TokenSet(name, np.arange(5, dtype=np.int32), ())]) for name in "ab")
    store = TokenStore(tmp_path)

    def other() -> Any:
        yield first
        store.sets(lambda: "key", lambda: iter([first, second]))
        yield second

    found = store.sets(lambda: "key", other)
    assert [item.set_id for item in found.sets] == ["a", "b"]
    assert list(files(tmp_path)) == ["key.arrow"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(b"a file")
    with pytest.raises(OutputError, match=r"tokens/key\.arrow: cannot be written"):
        TokenStore(tmp_path / "tokens").sets(lambda: "key", lambda: iter(()))


# Once, by one


def test_a_second_run_does_not_tokenize_again_and_ends_in_the_same_weights(
    tmp_path: Path, data: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipe(data, model), tmp_path / "alone" / "run")
    train(recipe(data, model, loss="ipo", max_steps=1), tmp_path / "shared" / "ipo")
    assert capsys.readouterr().err.count("tokenizing train") == 2
    stored = files(tmp_path / "shared" / "tokens")
    assert len(stored) == 2
    train(recipe(data, model, save_every=1), tmp_path / "shared" / "run")
    shutil.rmtree(tmp_path / "shared" / "run" / "model")  # resumes after step 2
    train(recipe(data, model, save_every=1), tmp_path / "shared" / "run")
    assert "tokenizing" not in capsys.readouterr().err
    assert files(tmp_path / "shared" / "tokens") == stored
    one, two = (
        AutoModelForCausalLM.from_pretrained(tmp_path / side / "run" / "model").state_dict()
        for side in ("alone", "shared")
    )
    assert all(one[name].equal(two[name]) for name in one)


@pytest.mark.full
def test_a_dry_run_reads_the_file_and_writes_none(
    tmp_path: Path, data: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "--loss", "dpo", "--data", str(data), "--model", str(model), "max_length=96"]

    def dry() -> Any:
        done = CliRunner().invoke(app, [*words, "--dry-run"])
        assert done.exit_code == 0, done.output
        return done

    before = dry()
    assert "tokenizing train" in before.stderr
    assert not files(tmp_path)
    assert CliRunner().invoke(app, [*words, "--max-steps", "1"]).exit_code == 0
    stored = files(Path("runs/train/tokens"))
    after = dry()
    assert "tokenizing" not in after.stderr
    assert after.stdout == before.stdout
    assert files(Path("runs/train/tokens")) == stored
