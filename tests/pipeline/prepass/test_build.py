"""Builds with a prepass: what leaves is in quarantine, counts add up, and stops change no byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from support.published import hashes

from pairkit.errors import ExistingOutputError, Interrupted, RecipeError
from pairkit.pipeline import shards
from pairkit.pipeline.build import build
from pairkit.pipeline.prepass import run
from pairkit.pipeline.recipe import BuildRecipe, load

pytest.importorskip("rensa")
TOPIC = " ".join(f"word{place}" for place in range(40))
BENCHMARK = "Which of these seven rivers flows into the northern sea and why does it do so"


def row(prompt: str, *scores: float, texts: tuple[str, ...] = ("good", "bad", "worse")) -> dict[str, Any]:
    completions = [
        {"text": f"{text} of {prompt[-9:]}", "score": score}
        for text, score in zip(texts, scores, strict=False)
    ]
    return {"prompt": prompt, "completions": completions}


ROWS = [
    row("Plain question one?", 3, 1),  # 0
    row(f"{TOPIC} one", 3, 2),  # 1
    row("Plain question two?", 3, 1),
    row("Plain question one?", 5, 1),  # 3: the prompt of 0
    row(f"{TOPIC} two", 9, 2),  # 4: near 1
    row(f"Please: {BENCHMARK}?", 3, 1),  # 5: contaminated
    row("Plain question one?", 4, 1, 0, texts=("other", "bad", "awful")),  # 6: the prompt of 0
    row("A question with one margin too small?", 3, 2.9),  # 7
    *(row(f"Further question number {n}, about {n * 7}?", 3, 1) for n in range(20)),
]


def written(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in ROWS))
    (folder / "bench.jsonl").write_text(json.dumps({"prompt": BENCHMARK}) + "\n")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return written(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `everything` gives, in a folder per way of exact duplicates, which no test changes."""
    folder = tmp_path_factory.mktemp("whole")
    source = written(folder)
    for exact in ("drop", "merge"):
        build(everything(source, dedup={"threshold": 0.6, "exact": exact}), folder / exact)
    return folder


def recipe(source: Path, **fields: Any) -> BuildRecipe:
    block = {"name": "files", "path": str(source), "limit": fields.pop("limit", None)}
    content = {"source": block, "unit_rows": 7, "shard_mb": 0.0002, "test_fraction": 0.2}
    return load(None, content, {"dedup": {"threshold": 0.6}} | fields)


def everything(source: Path, **fields: Any) -> BuildRecipe:
    against = [f"bench={source.with_name('bench.jsonl')}"]
    filters = {"margin": {"min": 0.5}, "prompt_chars": {"max": 400}}
    return recipe(source, **({"decontaminate": {"against": against}, "filter": filters} | fields))


def reasons(out: Path) -> list[tuple[str, str, str]]:
    rows = pq.read_table(out / "quarantine.parquet").to_pylist()
    return [
        (each["stage"], each["reason"], json.loads(each["row"])["prompt"][-1]["content"]) for each in rows
    ]


def sets(out: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((out / "data").glob("*.parquet"))])


def test_what_leaves_is_in_quarantine_with_its_reason(whole: Path) -> None:
    out = whole / "drop"
    manifest = json.loads((out / "pairkit.json").read_text())
    assert reasons(out) == [
        ("prepass", "exact_duplicate", "Plain question one?"),
        ("prepass", "near_duplicate", f"{TOPIC} two"),
        ("prepass", "contaminated", f"Please: {BENCHMARK}?"),
        ("prepass", "exact_duplicate", "Plain question one?"),
        ("filter", "filter_margin", "A question with one margin too small?"),
    ]
    counts = manifest["counts"]
    assert counts["prepass"] == {
        "quarantined_filter_prompt_chars": 0, "quarantined_contaminated": 1, "quarantined_exact_duplicate": 2,
        "quarantined_near_duplicate": 1,
    }  # fmt: skip
    assert counts["filter"] == {"quarantined_filter_margin": 1}
    assert counts["source"]["rows"] == len(ROWS) == counts["mine"]["sets_out"] + 5
    report = pq.read_table(out / "decontamination.parquet").to_pylist()
    assert [(hit["benchmark"], hit["benchmark_text"], hit["dropped"]) for hit in report] == [
        ("bench", BENCHMARK, True)
    ]
    assert manifest["files"]["decontamination.parquet"]["rows"] == 1
    assert str(whole) not in (out / "pairkit.json").read_text()


@pytest.mark.parametrize(
    ("keep", "kept"),
    [("first", [(3.0, 2), (3.0, 2)]), ("best_margin", [(5.0, 2), (9.0, 2)]),
     ("most_completions", [(4.0, 3), (3.0, 2)])],
)  # fmt: skip
def test_which_of_the_duplicates_stays(
    keep: str, kept: list[tuple[float, int]], source: Path, tmp_path: Path
) -> None:
    build(recipe(source, dedup={"threshold": 0.6, "keep": keep}), tmp_path / "out")
    found = [
        (row["completions"][0]["score"], len(row["completions"]))
        for start in ("Plain question one", "word0")
        for row in sets(tmp_path / "out").to_dicts()
        if row["prompt"][0]["content"].startswith(start)
    ]
    assert found == kept


def test_exact_duplicates_are_merged_where_scores_can_be_compared(source: Path, tmp_path: Path) -> None:
    manifest = build(recipe(source, dedup={"exact": "merge", "threshold": None}), tmp_path / "out")
    merged = sets(tmp_path / "out").filter(
        pl.col("prompt").list.first().struct.field("content") == "Plain question one?"
    )
    completions = merged["completions"].to_list()[0]
    # "bad of ..." is three times the same text, and mining drops copies.
    assert [(each["text"].split()[0], each["score"], each["rank"]) for each in completions] == [
        ("good", 5.0, 1), ("other", 4.0, 2), ("bad", 1.0, 4), ("awful", 0.0, 7),
    ]  # fmt: skip
    assert manifest["counts"]["prepass"] == {"merged": 2}
    assert manifest["counts"]["mine"]["sets_out"] == len(ROWS) - 2
    assert reasons(tmp_path / "out") == []


def test_sets_with_ranks_alone_are_not_merged(tmp_path: Path) -> None:
    rows = [{"prompt": "Why?", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    made = recipe(tmp_path / "rows.jsonl", dedup={"exact": "merge", "threshold": 0.9})
    manifest = build(made, tmp_path / "out")
    assert manifest["counts"]["mine"]["sets_out"] == 3
    assert manifest["counts"]["prepass"] == {"merged": 0, "quarantined_near_duplicate": 0}


def stop_at(call: int) -> Callable[[Any], Any]:
    """Replace a method by one that is interrupted at its n-th call."""
    calls = 0

    def wrap(real: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                raise KeyboardInterrupt
            return real(*arguments, **named)

        return wrapped

    return wrap


@pytest.mark.default("1-merge", "3-drop")
@pytest.mark.parametrize("exact", ["drop", "merge"])
@pytest.mark.parametrize("shard", [1, 3])
def test_a_build_that_was_stopped_continues_to_the_same_bytes(
    shard: int, exact: str, source: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = everything(source, dedup={"threshold": 0.6, "exact": exact})
    with monkeypatch.context() as patch:
        patch.setattr(shards.ShardWriter, "close", stop_at(shard)(shards.ShardWriter.close))
        with pytest.raises(Interrupted):
            build(made, tmp_path / "out")
    with monkeypatch.context() as patch:
        # The keep-list is there already.
        patch.setattr(run, "compute", None)
        build(made, tmp_path / "out", workers=3)
    assert hashes(tmp_path / "out") == hashes(whole / exact)
    assert not (tmp_path / "out" / ".build").exists()


def test_a_stop_within_the_prepass(
    source: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run, "duplicates", stop_at(1)(run.duplicates))
        with pytest.raises(Interrupted, match="nothing was done yet"):
            build(everything(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    build(everything(source), tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(whole / "drop")


@pytest.mark.default("verdicts.parquet")
@pytest.mark.parametrize(
    "name", ["verdicts.parquet", "decontamination.parquet", "prepass.json", "merged.arrow"]
)
def test_a_keep_list_that_was_changed_is_computed_again(
    name: str, source: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = everything(source, dedup={"threshold": 0.6, "exact": "merge"})
    with monkeypatch.context() as patch:
        patch.setattr(shards.ShardWriter, "close", stop_at(2)(shards.ShardWriter.close))
        with pytest.raises(Interrupted):
            build(made, tmp_path / "out")
    file = tmp_path / "out" / ".build" / "prepass" / name
    file.write_bytes(file.read_bytes()[:-3])
    build(made, tmp_path / "out")
    assert hashes(tmp_path / "out") == hashes(whole / "merge")


def test_rows_do_not_depend_on_units_and_workers(source: Path, tmp_path: Path) -> None:
    build(everything(source, unit_rows=1000, shard_mb=1), tmp_path / "one", workers=1)
    build(everything(source, unit_rows=3), tmp_path / "many", workers=4)
    assert sets(tmp_path / "one").equals(sets(tmp_path / "many"))
    assert reasons(tmp_path / "one") != []
    assert sorted(reasons(tmp_path / "one")) == sorted(reasons(tmp_path / "many"))


def test_a_limit_bounds_what_is_compared(source: Path, tmp_path: Path) -> None:
    manifest = build(recipe(source, limit=3), tmp_path / "out")
    assert manifest["counts"]["prepass"] == {
        "quarantined_exact_duplicate": 0,
        "quarantined_near_duplicate": 0,
    }


def test_other_settings_are_another_dataset(source: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "drop", tmp_path / "out")
    with pytest.raises(ExistingOutputError, match=r"recipe\.dedup\.threshold is 0\.9, was 0\.6"):
        build(everything(source, dedup={"threshold": 0.9}), tmp_path / "out")
    source.with_name("bench.jsonl").write_text(json.dumps({"prompt": "Others, of which none is in any row?"}))
    with pytest.raises(ExistingOutputError, match="the benchmark bench has other prompts"):
        build(everything(source), tmp_path / "out")


def test_a_recipe_without_a_prepass_has_no_trace_of_one(source: Path, tmp_path: Path) -> None:
    manifest = build(recipe(source, dedup=None), tmp_path / "out")
    assert not {"dedup", "decontaminate", "filter"} & manifest["recipe"].keys()
    assert not {"prepass", "filter"} & manifest["counts"].keys()
    assert "rensa" not in manifest["versions"]
    assert not (tmp_path / "out" / "decontamination.parquet").exists()


def test_prompts_that_a_filter_takes_out_are_no_duplicates_of_others(source: Path, tmp_path: Path) -> None:
    """Else both would leave: the first by the filter, the second as a duplicate of the first."""
    forbidden = {"prompt_regex": {"forbid": ["word39 one"]}}
    build(recipe(source, filter=forbidden), tmp_path / "out")
    assert ("prepass", "filter_prompt_regex", f"{TOPIC} one") in reasons(tmp_path / "out")
    assert "near_duplicate" not in {reason for _, reason, _ in reasons(tmp_path / "out")}


def test_a_deleted_dataset_leaves_no_report(source: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "drop", tmp_path / "out")
    assert (tmp_path / "out" / "decontamination.parquet").exists()
    build(recipe(source), tmp_path / "out", on_existing="delete")
    assert not (tmp_path / "out" / "decontamination.parquet").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dedup": {"threshold": 0}}, "recipe key 'dedup.threshold': Input should be greater than 0"),
        (
            {"dedup": {"threshold": 1.1}},
            "recipe key 'dedup.threshold': Input should be less than or equal to 1",
        ),
        ({"dedup": {"keep": "last"}}, "recipe key 'dedup.keep': "),
        ({"decontaminate": {"against": []}}, "recipe key 'decontaminate.against': "),
        ({"decontaminate": {"against": ["gsm8k"], "ngram": 5}}, "recipe key 'decontaminate.ngram': "),
        (
            {"dedup": {"treshold": 0.5}},
            "unknown recipe key 'dedup.treshold'; did you mean 'dedup.threshold'?",
        ),
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, Any], message: str, source: Path) -> None:
    with pytest.raises(RecipeError) as refused:
        recipe(source, **fields)
    assert str(refused.value).startswith(message)


def test_duplicates_cannot_be_chosen_by_completions_that_are_not_there_yet(
    source: Path, tmp_path: Path
) -> None:
    generate = {"engine": "openai", "model": "m", "samples": [{"n": 2}], "max_tokens": 8}
    made = recipe(source, dedup={"keep": "best_margin"}, generate=generate)
    with pytest.raises(
        RecipeError, match="best_margin compares the completions of the source, and generate repl"
    ):
        build(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("quarantine", [False, True])
def test_a_push_does_not_publish_the_texts_of_benchmarks(quarantine: bool, whole: Path) -> None:
    from pairkit.hub.dataset import built_dataset

    names = built_dataset(whole / "drop", quarantine=quarantine).files
    assert ("quarantine.parquet" in names) == quarantine
    assert "decontamination.parquet" not in names
