"""The ranker pairrm, against PairRM written plainly: pair by pair, one sequence at a time, no padding."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import pairrm_model
from support.tiny import WORDS, candidate_sets, completion
from transformers import DebertaV2Config, DebertaV2Model

from pairkit.errors import ModelError
from pairkit.models.inference import batches, padded
from pairkit.rankers import annotations
from pairkit.rankers.pairrm.checkpoint import load as load_checkpoint
from pairkit.rankers.pairrm.deberta import encode
from pairkit.rankers.pairrm.ranker import PairRMRecipe, load
from pairkit.rankers.pairrm.schedules import SCHEDULES, all_pairs, bubble, comparisons, tournament
from pairkit.rankers.pairrm.text import FILL_IN, Encoder, Limits, source_text
from pairkit.recipes import validate
from pairkit.schema import SETS, check_sets

LAYOUTS = ("PairRM", "PairRM-hf")
REAL_LIMITS = (1224, 412)
CONFIG, TOKENIZER, SAFETENSORS = "config.json", "tokenizer.json", "model.safetensors"
EMBEDDINGS = "pretrained_model.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pairrm_model.save(tmp_path_factory.mktemp("pairrm") / "hf", "PairRM-hf")


def sets(count: int = 12, seed: int = 0, longest: int = 40) -> pa.Table:
    """Sets of 2 to 5 completions; every third has an equal one, an empty one and noise."""
    random = np.random.default_rng(seed)

    def text() -> str:
        return " ".join(random.choice(WORDS, random.integers(1, longest)))

    rows: list[Any] = []
    for index in range(count):
        texts = [text() for _ in range(random.integers(2, 6))]
        extra = [completion(texts[0]), completion("")] if index % 3 == 0 else []
        noise = [completion(text(), origin="noise", model="noise:token_swap")] if index % 3 == 0 else []
        rows.append((text(), [completion(one) for one in texts] + extra + noise))
    return candidate_sets(rows)


class Progress:
    """An `Advance` that adds up what it is told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def __call__(self, count: int = 1, /, note: str = "") -> None:
        self.told.append(count)


def run(model: Path, table: pa.Table, **recipe: Any) -> tuple[list[list[float | None]], dict[str, int]]:
    """The scores of each set's completions, and the counts."""
    progress = Progress()
    scored = load(PairRMRecipe(model=str(model), **recipe)).score(table, progress)
    assert scored.sets.schema == SETS
    assert scored.sets["set_id"].equals(table["set_id"])
    assert (scored.quarantine.num_rows, scored.verdicts.num_rows) == (0, 0)
    rows = scored.sets["completions"].to_pylist()
    assert sum(progress.told) == sum(map(len, rows))
    for one in (one for row in rows for one in row):
        named = {score["name"]: score["value"] for score in one["scores"]}
        assert named == ({} if one["score"] is None else {"pairrm": one["score"]})
    return [[one["score"] for one in row] for row in rows], scored.counts


def plain_scores(
    model: Path, table: pa.Table, limits: tuple[int, int] = REAL_LIMITS
) -> list[list[float | None]]:
    """llm-blender's `rank`: the mean over j, i itself included, of L[i, j] - L[j, i]."""
    found = []
    for row in table.to_pylist():
        texts = [one["text"] for one in row["completions"] if one["origin"] != "noise"]
        logits = np.zeros((len(texts), len(texts)))
        for i, j in permutations(range(len(texts)), 2):
            source = row["prompt"][0]["content"]
            logits[i, j] = pairrm_model.plain_logit(model, source, texts[i], texts[j], limits)
        scores: list[float | None] = (logits - logits.T).mean(axis=1).tolist()
        found.append(scores + [None] * (len(row["completions"]) - len(texts)))
    return found


def flat(scores: list[list[float | None]]) -> list[float | None]:
    return [score for row in scores for score in row]


def close(ours: list[list[float | None]], theirs: list[list[float | None]], tolerance: float = 1e-5) -> None:
    assert [score is None for score in flat(ours)] == [score is None for score in flat(theirs)]
    numbers = [np.array([score for score in flat(both) if score is not None]) for both in (ours, theirs)]
    assert np.abs(numbers[0] - numbers[1]).max() < tolerance
    assert numbers[1].std() > 0.05  # weights with which the completions differ


def test_scores_are_those_of_pair_by_pair(checkpoint: Path) -> None:
    table = sets()
    ours, counts = run(checkpoint, table)
    close(ours, plain_scores(checkpoint, table))
    per_set = [[s for s in row if s is not None] for row in ours]
    # Equal ones are compared once, and with each other not at all.
    distinct = [len(row) - (index % 3 == 0) for index, row in enumerate(per_set)]
    assert counts == {
        "completions": sum(map(len, per_set)), "comparisons": sum(n * (n - 1) for n in distinct),
        "identical": 4, "truncated": 0, "alone": 0,
    }  # fmt: skip
    assert all(abs(sum(row)) < 1e-5 for row in per_set)
    ranks = [one["rank"] for row in ranked(checkpoint, table) for one in row["completions"]]
    assert {1, 2, 3, None} <= set(ranks)


def ranked(model: Path, table: pa.Table) -> list[dict[str, Any]]:
    scored = load(PairRMRecipe(model=str(model))).score(table, Progress())
    checked = check_sets(annotations.rank(scored.sets))
    return list(checked.to_pylist())


def test_layouts_and_files_are_one(tmp_path: Path, checkpoint: Path) -> None:
    table = sets(4)
    expected, _ = run(checkpoint, table)
    for layout in LAYOUTS:
        for binary in (False, True):
            folder = pairrm_model.save(tmp_path / f"{layout}-{binary}", layout, binary=binary)
            close(run(folder, table)[0], expected, tolerance=1e-6)  # memory is aligned otherwise


def test_a_set_is_scored_by_itself(checkpoint: Path) -> None:
    """Truncated ones too: neither the batch nor the other sets have a say."""
    table = sets(10)
    limits = {"source_max_tokens": 20, "candidate_max_tokens": 12}
    together, counts = run(checkpoint, table, **limits)
    assert 0 < counts["truncated"] < counts["completions"]
    close(together, run(checkpoint, table, **limits, batch_tokens=1)[0])
    close(together, [run(checkpoint, table.slice(i, 1), **limits)[0][0] for i in range(10)])


def test_what_is_too_long_is_cut_as_the_card_has_it(checkpoint: Path) -> None:
    table = sets(5, seed=3)
    close(
        run(checkpoint, table, source_max_tokens=20, candidate_max_tokens=12)[0],
        plain_scores(checkpoint, table, (20, 12)),
    )


def test_limits_are_the_checkpoints(tmp_path: Path, checkpoint: Path) -> None:
    assert load_checkpoint(str(checkpoint)).limits == REAL_LIMITS
    folder = pairrm_model.save(tmp_path / "short", "PairRM", source_maxlength=20, candidate_maxlength=12)
    table = sets(5, seed=3)
    limits = {"source_max_tokens": 20, "candidate_max_tokens": 12}
    close(run(folder, table)[0], run(checkpoint, table, **limits)[0], tolerance=1e-6)


def test_a_long_prompt_is_cut_where_its_question_is_not(checkpoint: Path) -> None:
    encoder = Encoder(load_checkpoint(str(checkpoint)).tokenizer, Limits(8, 6))
    words = "the red dog sleeps under old house"
    once = [{"role": "user", "content": words}]
    talk = [*once, {"role": "assistant", "content": "a"}, *once]
    single, conversation = encoder.sets([once, talk], [["cat", words], []])
    names = encoder.tokenizer.id_to_token
    assert [names(i) for i in single.source] == [
        "[CLS]", "<|source|>", "▁the", "▁red", "▁dog", "▁sleeps", "▁under", "[SEP]",
    ]  # fmt: skip
    assert names(conversation.source[-2]) == ">"  # of <Response 1>
    assert len(conversation.source) == 8
    assert [[names(i) for i in ids] for ids in single.completions] == [
        ["[CLS]", "<|candidate|>", "▁cat", "[SEP]"],
        ["[CLS]", "<|candidate|>", "▁the", "▁red", "▁dog", "[SEP]"],
    ]
    assert (single.truncated, conversation.truncated) == (1, 0)


def test_source_text() -> None:
    def said(*turns: tuple[str, str]) -> list[dict[str, str]]:
        return [{"role": role, "content": content} for role, content in turns]

    assert source_text(said(("user", "Why?"))) == "Why?"
    assert source_text(said(("system", "Be short."), ("user", "Why?"))) == "Be short.\n\nWhy?"
    assert source_text(said(("system", "S"), ("user", "A"), ("assistant", "B"), ("user", "C"))) == (
        f"S\n\n{FILL_IN}USER: A\nAssistant: B\nUSER: C\nAssistant: <Response 1>"
    )


def test_borders_in_a_text_are_none(checkpoint: Path) -> None:
    table, same = (
        candidate_sets([(f"why{mark}", [completion("a cat"), completion(f"red{mark} dog")])])
        for mark in ("[SEP]<|source|><|candidate1|>", "    ")
    )
    assert run(checkpoint, table)[0] == run(checkpoint, same)[0]


def test_a_text_that_joins_its_prefix(checkpoint: Path) -> None:
    """U+0338 behind the > of a prefix makes another character of both."""
    table = candidate_sets([("\u0338 why", [completion("\u0338"), completion("a dog")])])
    (scores,), _ = run(checkpoint, table)
    assert scores[0] is not None
    assert scores[0] == -scores[1] != 0


def test_sets_with_nothing_to_compare(checkpoint: Path) -> None:
    noise = completion("red", origin="noise", model="noise:word_swap")
    table = candidate_sets(
        [
            ("a", []),
            ("b", [completion("dog")]),
            ("c", [noise]),
            ("d", [completion("dog"), completion("dog"), noise]),
        ]
    )
    for pairs, best in (("all", 0.0), ("bubble", 1.0), ("tournament", 0.0)):
        scores, counts = run(checkpoint, table, pairs=pairs)
        assert scores == [[], [best], [None], [best, best, None]]
        expected = {"completions": 3, "comparisons": 0, "identical": 1, "truncated": 0, "alone": 1}
        assert counts == expected
    nothing = load(PairRMRecipe(model=str(checkpoint))).score(table.slice(0, 0), Progress())
    assert nothing.sets.num_rows == 0


def test_progress_moves_while_pairs_are_compared(checkpoint: Path) -> None:
    progress = Progress()
    load(PairRMRecipe(model=str(checkpoint), batch_tokens=200)).score(sets(8), progress)
    assert len(progress.told) > 8


@pytest.mark.parametrize("pairs", ["bubble", "tournament"])
def test_a_budget_finds_the_best_of_transitive_margins(checkpoint: Path, pairs: str) -> None:
    """The margins are the model's; where they are those of an order, its first is what comes out."""
    table = sets(12)
    everything, few = load(PairRMRecipe(model=str(checkpoint))), {"pairs": pairs}
    scores, counts = run(checkpoint, table, **few)
    margins = {}
    for row in table.to_pylist():
        texts = list(dict.fromkeys(one["text"] for one in row["completions"] if one["origin"] != "noise"))
        for a, b in permutations(texts, 2):
            pair = candidate_sets([(row["prompt"], [completion(a), completion(b)])])
            scored = everything.score(pair, Progress()).sets["completions"][0].as_py()
            margins[row["set_id"], a, b] = scored[0]["score"]
    transitive = 0
    for row, found in zip(table.to_pylist(), scores, strict=True):
        texts = [one["text"] for one in row["completions"] if one["origin"] != "noise"]
        unbeaten = {a for a in texts if all(margins[row["set_id"], a, b] > 0 for b in texts if b != a)}
        if unbeaten:
            transitive += 1
            numbers = [score for score in found if score is not None]
            assert {t for t, s in zip(texts, numbers, strict=True) if s == max(numbers)} == unbeaten
    assert transitive > 6
    sizes = [
        len({o["text"] for o in row["completions"] if o["origin"] != "noise"}) for row in table.to_pylist()
    ]
    assert counts["comparisons"] == 2 * sum(n - 1 for n in sizes)


def play(schedule: Any, strength: list[float]) -> tuple[list[float], list[list[tuple[int, int]]]]:
    """A schedule's scores where the stronger wins, and the pairs of each of its rounds."""
    rounds = []
    try:
        asked = next(schedule)
        while True:
            rounds.append(asked)
            asked = schedule.send([strength[i] - strength[j] for i, j in asked])
    except StopIteration as end:
        return end.value, rounds


def test_schedules() -> None:
    strength = [3.0, 1.0, 4.0, 1.5, 5.0]
    assert play(all_pairs([1, 2, 1]), [0.0, 3.0, 1.0]) == (
        [-7 / 4, 5 / 4, -3 / 4 + 0.0],
        [[(0, 1), (0, 2), (1, 2)]],
    )
    assert play(bubble([1] * 5), strength) == (
        [0.0, 0.0, 0.0, 0.0, 1.0], [[(0, 1)], [(0, 2)], [(2, 3)], [(2, 4)]],
    )  # fmt: skip
    # 4 goes through the first round by itself, and then has to beat 0; 2 through the second.
    assert play(tournament([1] * 5), strength) == (
        [1.0, 0.0, 2.0, 0.0, 3.0], [[(0, 1), (2, 3)], [(4, 0)], [(2, 4)]],
    )  # fmt: skip
    assert play(tournament([1, 1]), [1.0, 1.0])[0] == [1.0, 0.0]  # a tie: the first one stays
    for name, schedule in SCHEDULES.items():
        for distinct in range(1, 9):
            random = np.random.default_rng(distinct).permutation(distinct).astype(float).tolist()
            scores, rounds = play(schedule([1] * distinct), random)
            assert sum(map(len, rounds)) == comparisons(name, distinct)
            assert scores.index(max(scores)) == random.index(max(random))
            assert scores.count(max(scores)) == 1


VARIANTS: list[dict[str, Any]] = [
    {}, {"share_att_key": False}, {"pos_att_type": "c2p"}, {"pos_att_type": "p2c"}, {"pos_att_type": None},
    {"position_buckets": -1}, {"conv_kernel_size": 3, "conv_act": "gelu"}, {"norm_rel_ebd": "none"},
    {"num_hidden_layers": 1}, {"num_hidden_layers": 1, "conv_kernel_size": 3}, {"type_vocab_size": 2},
    {"position_biased_input": True, "max_position_embeddings": 64},
    {"hidden_size": 48, "num_attention_heads": 3},
]  # fmt: skip


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: ",".join(map(str, changes.values())))
def test_deberta_is_that_of_transformers(changes: dict[str, Any]) -> None:
    config = DebertaV2Config(**{**pairrm_model.BASE, **changes, "vocab_size": 64})
    model = DebertaV2Model(config).eval()
    weights = pairrm_model.random_weights(config)
    model.load_state_dict(
        {name.removeprefix("pretrained_model."): w for name, w in weights.items() if "head" not in name}
    )
    random = np.random.default_rng(0)
    rows = [random.integers(1, 64, length) for length in (61, 40, 9, 3)]
    wanted = torch.tensor([[1, 30, 60], [0, 39, 2], [8, 8, 1], [0, 1, 2]])
    ids, mask = padded(rows, 0)
    with torch.no_grad():
        ours = encode(model, ids, mask, wanted)
        for index, row in enumerate(rows):
            theirs = model(torch.tensor(row)[None]).last_hidden_state[0][wanted[index]]
            assert (ours[index] - theirs).abs().max() < 1e-5


def test_several_tasks_are_averaged(tmp_path: Path) -> None:
    folder = pairrm_model.save(tmp_path / "tasks", "PairRM", n_tasks=3)
    (scores,), _ = run(folder, sets(1))
    weights = load_file(folder / SAFETENSORS)
    mean = {
        **weights,
        **{
            f"head_layer.4.{n}": weights[f"head_layer.4.{n}"].mean(0, keepdim=True)
            for n in ("weight", "bias")
        },
    }
    one = pairrm_model.save(tmp_path / "one", "PairRM")
    save_file(mean, one / SAFETENSORS)
    close([scores], run(one, sets(1))[0])


def test_bfloat16_is_near(checkpoint: Path) -> None:
    table = sets(6)
    exact, _ = run(checkpoint, table)
    rough, _ = run(checkpoint, table, dtype="bfloat16")
    assert rough != exact
    close(rough, exact, tolerance=0.3)


def test_numbers_that_are_none(tmp_path: Path) -> None:
    folder = pairrm_model.save(tmp_path / "broken", "PairRM-hf")
    weights = load_file(folder / SAFETENSORS)
    weights["head_layer.1.bias"][0] = float("nan")
    save_file(weights, folder / SAFETENSORS)
    table = sets(1)
    with pytest.raises(ModelError, match=f"gives nan for a comparison in set {table['set_id'][0]}.*float32"):
        load(PairRMRecipe(model=str(folder))).score(table, Progress())


def change(folder: Path, file: str = "config.json", **fields: Any) -> None:
    said = json.loads((folder / file).read_text()) | fields
    (folder / file).write_text(json.dumps({key: value for key, value in said.items() if value is not None}))


def without(folder: Path, name: str) -> None:
    weights = load_file(folder / SAFETENSORS)
    (folder / SAFETENSORS).unlink()
    save_file({key: value for key, value in weights.items() if key != name}, folder / SAFETENSORS)


class Trap:
    """What a pickle that is not weights alone can do."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("the checkpoint's code ran",))


def trap(folder: Path) -> None:
    (folder / SAFETENSORS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"head_layer.1.weight": Trap()}))


def one_row_more(folder: Path) -> None:
    weights = load_file(folder / SAFETENSORS)
    weights[EMBEDDINGS] = torch.cat([weights[EMBEDDINGS], weights[EMBEDDINGS][:1]])
    save_file(weights, folder / SAFETENSORS)


def another_size(folder: Path) -> None:
    weights = load_file(folder / SAFETENSORS)
    weights["head_layer.1.bias"] = torch.zeros(5)
    save_file(weights, folder / SAFETENSORS)


# What was done to a folder in which layout, and what is said of it.
BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "another model": (
        "PairRM-hf", lambda f: change(f, source_prefix_id=None), "is not a PairRM checkpoint (it is of",
    ),
    "another ranker": (
        "PairRM", lambda f: change(f, ranker_type="summareranker"), "it is of summareranker",
    ),
    "another base": (
        "PairRM-hf", lambda f: change(f, model_type="roberta"), "a model of type 'roberta'",
    ),
    "no base": (
        "PairRM", lambda f: change(f, model_name=str(f / "none")), "no such file or directory",
    ),
    "a weight too few": (
        "PairRM-hf", lambda f: without(f, "head_layer.4.bias"), "lacks the weight 'head_layer.4.bias'",
    ),
    "a layer too many": (
        "PairRM-hf", lambda f: change(f, num_hidden_layers=1), "has, beside those of a PairRM, the weight",
    ),
    "no embeddings": ("PairRM", lambda f: without(f, EMBEDDINGS), "the weights no embeddings"),
    "more embeddings than tokens": ("PairRM", one_row_more, "embeddings: they are not of one"),
    "a shape": (
        "PairRM-hf", another_size, "'head_layer.1.bias' has the shape [5], by config.json it is [32]",
    ),
    "no relative attention": (
        "PairRM-hf", lambda f: change(f, relative_attention=False), "without relative attention",
    ),
    "no weights": (
        "PairRM-hf", lambda f: (f / SAFETENSORS).unlink(), "holds no weights: model.safetensors or",
    ),
    "a torn file": ("PairRM-hf", lambda f: (f / SAFETENSORS).write_bytes(b"x" * 9), "cannot be loaded"),
    "no config": ("PairRM-hf", lambda f: (f / CONFIG).unlink(), "the directory contains no config.json"),
    "a torn config": ("PairRM-hf", lambda f: (f / CONFIG).write_text("{"), "cannot be loaded"),
    "a list as config": ("PairRM-hf", lambda f: (f / CONFIG).write_text("[]"), "no JSON object"),
    "no tokenizer": (
        "PairRM-hf", lambda f: (f / TOKENIZER).unlink(), "holds a tokenizer: tokenizer.json or spm.model",
    ),
    "a torn tokenizer": (
        "PairRM-hf", lambda f: (f / TOKENIZER).write_text("{}"), "cannot be loaded",
    ),
    "another tokenizer": (
        "PairRM-hf", lambda f: change(f, cand1_prefix_id=3), "cand1_prefix_id 3, but <|candidate1|> is",
    ),
    "code in the weights": ("PairRM", trap, "cannot be loaded"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_another_checkpoint_is_refused(tmp_path: Path, kind: str) -> None:
    layout, spoil, message = BROKEN[kind]
    folder = pairrm_model.save(tmp_path / "model", layout)
    spoil(folder)
    with pytest.raises(ModelError, match=re.escape(message)):
        load(PairRMRecipe(model=str(folder)))


def test_a_name_that_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"'llm-blender/none' cannot be loaded.*check the name"):
        load(PairRMRecipe(model="llm-blender/none"))


def test_a_sentencepiece_tokenizer(tmp_path: Path, checkpoint: Path) -> None:
    """microsoft/deberta-v3-large has spm.model alone."""
    folder = pairrm_model.save(tmp_path / "model", "PairRM")
    base = tmp_path / "model-base"
    (base / "tokenizer.json").unlink()
    pairrm_model.save_sentencepiece(base)
    found = load_checkpoint(str(folder)).tokenizer
    expected = load_checkpoint(str(checkpoint)).tokenizer
    for text in ("<|candidate|>the red dog, 3 cats", "<|source|>", "[MASK] Ω unknown  old"):
        assert found.encode(text).ids == expected.encode(text).ids
    close(run(folder, sets(2))[0], run(checkpoint, sets(2))[0], tolerance=1e-6)


def test_the_normalizer_of_the_file_is_kept(checkpoint: Path) -> None:
    tokenizer = load_checkpoint(str(checkpoint)).tokenizer
    assert tokenizer.encode("ﬁnd…").ids == tokenizer.encode("find...").ids


def test_batches_hold_what_they_may() -> None:
    lengths = [3, 9, 1, 9, 4, 20]
    found = list(batches(lengths, 18))
    assert found == [[5], [1, 3], [4, 0, 2]]
    assert list(batches([], 18)) == []


def test_recipe_is_strict() -> None:
    assert validate(PairRMRecipe, {}).model == "llm-blender/PairRM-hf"
    for wrong in (
        {"pairs": "some"},
        {"batch_tokens": 0},
        {"source_max_tokens": 3},
        {"dtype": "int8"},
        {"x": 1},
    ):
        with pytest.raises(ValueError, match="recipe key"):
            validate(PairRMRecipe, wrong)
