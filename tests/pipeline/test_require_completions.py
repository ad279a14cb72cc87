"""Prompts without completions are built only where that is asked for; a ranker is not opened for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import raw

from pairkit.errors import InputError, RecipeError
from pairkit.pipeline.build import build
from pairkit.pipeline.describe import plan, summary
from pairkit.pipeline.recipe import BuildRecipe, load

ALONE = {"require_choice": False}
USER = {"role": "user", "content": "p"}
REPLY = {"role": "assistant", "content": "c"}


def recipe(folder: Path, rows: list[dict[str, Any]], **fields: Any) -> BuildRecipe:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = {"name": "files", "path": str(path)} | fields.pop("source", {})
    return load(None, {"source": source, "test_fraction": 0, **fields}, {})


def prompts(count: int = 5, **columns: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"p{number}", **columns} for number in range(count)]


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ranker that is opened fails the test."""
    monkeypatch.setattr("pairkit.rankers.table.load", lambda *_: pytest.fail("the ranker was opened"))


@pytest.mark.parametrize(
    ("rows", "proposal"),
    [
        (prompts(good="c", bad="r"), "prompt=prompt,chosen=good,rejected=bad"),
        (prompts(solution_x="c", solution_y="r"), "prompt=prompt,completions=solution_x+solution_y"),
        (prompts(data={"best": "c", "worst": "r"}), "prompt=prompt,chosen=data.best,rejected=data.worst"),
    ],
)
def test_columns_that_look_like_completions_are_named(
    rows: list[dict[str, Any]], proposal: str, tmp_path: Path
) -> None:
    made = recipe(tmp_path, rows)
    for run in (plan, build):
        with pytest.raises(InputError, match="prompts without completions; not read: ") as caught:
            run(made, tmp_path / "out")
        assert f"; --map {proposal} would read completions; " in str(caught.value)
    assert not (tmp_path / "out").exists()
    mapped = dict(part.split("=") for part in proposal.split(","))
    manifest = build(recipe(tmp_path, rows, source={"map": mapped}), tmp_path / "out")
    assert manifest["counts"]["train"]["completions"] == 2 * len(rows)


def test_a_map_of_the_prompt_alone_is_no_purpose(tmp_path: Path) -> None:
    rows = [{"question": "p", "good": "c", "bad": "r"}]
    with pytest.raises(InputError, match="prompt=question,chosen=good,rejected=bad would read completions"):
        build(recipe(tmp_path, rows, source={"map": {"prompt": "question"}}), tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "source"),
    [
        (prompts(), {"layout": "prompts"}),
        ([{"frage": "p"}], {"layout": "prompts", "map": {"prompt": "frage"}}),
        ([{"messages": [USER]}], {"layout": "prompts", "map": {"prompt": "messages"}}),
    ],
)
def test_the_layout_prompts_keeps_prompts(rows: list[dict[str, Any]], source: Any, tmp_path: Path) -> None:
    manifest = build(recipe(tmp_path, rows, source=source), tmp_path / "out")
    counts = manifest["counts"]["train"]
    assert (counts["sets"], counts["completions"]) == (len(rows), 0)
    assert f"  {len(rows)} sets without completions\n" in summary(manifest, tmp_path / "out")


def test_problems_of_a_source_are_kept_as_prompts(tmp_path: Path) -> None:
    source = {"name": "gsm8k", "path": str(raw.gsm8k(tmp_path / "rows.jsonl", 20))}
    counts = build(load(None, {"source": source, "test_fraction": 0}, {}), tmp_path / "out")["counts"]
    assert counts["train"]["sets_without_completions"] == counts["train"]["sets"] == 20


def test_completions_that_turn_out_to_be_missing_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    for rows in ([{"messages": [USER]}] * 3, prompts(completions=[])):
        with pytest.raises(InputError, match="prompts without completions"):
            build(recipe(tmp_path, rows), tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_the_error_tells_of_completions_in_quarantine(tmp_path: Path) -> None:
    rows = [{"messages": [USER]}, {"messages": [USER, REPLY]}, {"messages": [USER, REPLY]}]
    with pytest.raises(InputError, match="in quarantine: 2 one_completion; "):
        build(recipe(tmp_path, rows), tmp_path / "out")


def test_some_sets_without_completions_are_counted(tmp_path: Path) -> None:
    rows = [*prompts(3, completions=["c", "r"], scores=[1, 0]), *prompts(2, completions=[])]
    manifest = build(recipe(tmp_path, rows), tmp_path / "out")
    assert manifest["counts"]["train"]["sets_without_completions"] == 2
    assert "  2 sets without completions\n" in summary(manifest, tmp_path / "out")


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    "ranker", [{"ranker": "pairrm"}, {"ranker": "judge", "engine": "openai", "model": "m"}]
)
@pytest.mark.parametrize(
    ("rows", "source"),
    [
        (prompts(), {"layout": "prompts"}),
        ([{"messages": [USER]}] * 2500, {}),
        (prompts(completions=[]), {}),
    ],
)
def test_a_ranker_without_completions_is_not_opened(
    ranker: dict[str, Any], rows: list[dict[str, Any]], source: dict[str, Any], tmp_path: Path
) -> None:
    made = recipe(tmp_path, rows, source=source, rank=ranker)
    for run in (plan, build):
        with pytest.raises(
            RecipeError, match=f"rank: {ranker['ranker']} needs completions, and .*rows.jsonl has"
        ):
            run(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_verifier_over_problems_alone_is_refused(tmp_path: Path) -> None:
    source = {"name": "gsm8k", "path": str(raw.gsm8k(tmp_path / "rows.jsonl", 20))}
    made = load(None, {"source": source, "rank": {"ranker": "verifier", "check": "number"}}, {})
    with pytest.raises(RecipeError, match=r"rank: verifier needs completions.*generate\.model=MODEL"):
        build(made, tmp_path / "out")


def test_prompts_to_generate_from_are_read(tmp_path: Path) -> None:
    made = recipe(tmp_path, prompts(good="c"), generate={"engine": "openai", "model": "m"})
    assert "\nnot read (kept as metadata): good (100 %)\n" in plan(made, tmp_path / "out")


def test_labels_that_are_read_are_no_completions(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "c", "label": True, "is_good": "yes"}]
    with pytest.raises(InputError, match="at least two completions are needed") as caught:
        build(recipe(tmp_path, rows), tmp_path / "out")
    assert "--map" not in str(caught.value)


@pytest.mark.parametrize(
    "generate", [None, {"model": "m", "engine": "openai", "base_url": "http://127.0.0.1:9/v1"}]
)
def test_an_answer_that_is_read_as_a_completion_is_refused(
    generate: dict[str, Any] | None, tmp_path: Path
) -> None:
    """The verifier would not find it in the metadata, after all is generated and paid for."""
    rank = {"ranker": "verifier", "check": "number"}
    made = recipe(tmp_path, prompts(answer="4"), rank=rank, generate=generate)
    problem = (
        r"the verifier compares completions with 'answer', but that column of .*rows\.jsonl is read as a "
    )
    for run in (plan, build):
        with pytest.raises(
            RecipeError, match=problem + "completion: --map prompt=prompt,answer=answer keeps it"
        ):
            run(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    mapped = recipe(
        tmp_path,
        prompts(answer="4"),
        rank=rank,
        generate=generate or {"model": "m", "engine": "openai"},
        source={"map": {"prompt": "prompt", "answer": "answer"}},
    )
    assert "dry run: nothing was written" in plan(mapped, tmp_path / "out")


def test_an_answer_next_to_completions_is_checked(tmp_path: Path) -> None:
    rows = prompts(completion="4", answer="4")
    manifest = build(recipe(tmp_path, rows, rank={"ranker": "verifier"}, mine=ALONE), tmp_path / "out")
    assert manifest["counts"]["rank"]["right"] == len(rows)
    own = {"ranker": "verifier", "check": "support.verifiers:is_four"}
    # A function may take what it checks against from elsewhere.
    manifest = build(recipe(tmp_path, prompts(answer="4"), rank=own, mine=ALONE), tmp_path / "other")
    assert manifest["counts"]["rank"]["right"] == len(rows)
