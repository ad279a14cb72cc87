"""An unfinished build whose recipe changes after a stage that asks a model keeps that stage's results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.judges import ScriptedJudge, fair
from support.published import hashes
from support.scripted import Scripted

from pairkit.engines.base import Completion, Request
from pairkit.errors import ExistingOutputError, InputError, Interrupted
from pairkit.pipeline import model_stages
from pairkit.pipeline.build import build
from pairkit.pipeline.changes import differences
from pairkit.pipeline.recipe import BuildRecipe, load
from pairkit.rankers.judge.prompt import shipped_prompts

JUDGE = {"ranker": "judge", "engine": "openai", "model": "judge"}


def recipe(**fields: Any) -> BuildRecipe:
    content = {
        "source": {"name": "arithmetic", "limit": 60},
        "generate": {"engine": "openai", "model": "writer", "samples": [{"n": 3}], "max_tokens": 8},
        "rank": {"ranker": "verifier", "check": "support.verifiers:low_digits"},
        "unit_rows": 10,
        "test_fraction": 0.2,
    }
    return load(None, content, fields)


def answer(request: Request) -> tuple[Completion, ...]:
    return tuple(
        Completion(str(sampling.seed % 10), None, "stop", sampling) for sampling in request.samplings
    )


class World:
    """The engines of builds; `stop` interrupts a build at that number of requests to the engine `at`."""

    def __init__(self) -> None:
        self.writer, self.judge = Scripted(answer, "writer"), ScriptedJudge(fair(float))
        self.opened: list[str] = []

    def open(self, block: Any, calls: Any, name: str, account: Any) -> Any:
        self.opened.append(block.model)
        return {"writer": self.writer, "judge": self.judge}[block.model]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr("pairkit.engines.pool.open_engine", made.open)
    return made


def stop_after(units: int, made: BuildRecipe, out: Path) -> None:
    """Build until `units` units have been stored, then interrupt."""
    real, written = model_stages.unit_store.write, []

    def write(folder: Path, number: int, key: str, result: Any) -> None:
        real(folder, number, key, result)
        written.append(number)
        if len(written) == units:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_stages.unit_store, "write", write)
        with pytest.raises(Interrupted, match="kept"):
            build(made, out, workers=1)


def fresh(made: BuildRecipe, out: Path) -> dict[str, str]:
    """Build with the new recipe from the same cache; return the hashes of what is published."""
    build(made, out / "fresh", cache=out / "calls.sqlite")
    return hashes(out / "fresh")


CHANGES = {
    "mine": {"mine": {"keep_negatives": 1, "noise": {"word_swap": {}}}},
    "rank": {"rank": {"check": "number"}, "mine": {"require_choice": False}},
    "judge": {"rank": [{"ranker": "verifier"}, JUDGE], "order": "judge", "mine": {"require_choice": False}},
    "split": {"test_fraction": 0.4},
}
FIELDS = {
    "mine": "mine.keep_negatives, mine.noise.word_swap",
    "rank": "mine.require_choice, rank.check",
    "judge": "mine.require_choice, order, rank",
    "split": "test_fraction",
}


@pytest.mark.default("mine-256")
@pytest.mark.parametrize(
    ("change", "shard_mb"),
    [
        ("mine", 256),
        ("judge", 0.001),
        pytest.param("rank", 0.001, marks=pytest.mark.full),
        pytest.param("split", 0.001, marks=pytest.mark.full),
        pytest.param("mine", 0.001, marks=pytest.mark.full),
        pytest.param("judge", 256, marks=pytest.mark.full),
    ],
)
def test_what_was_generated_is_kept(
    change: str, shard_mb: float, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_after(4, recipe(shard_mb=shard_mb), tmp_path / "out")
    assert any((tmp_path / "out" / ".build" / "shards").glob("0*")) == (shard_mb < 1)
    asked, world.opened = world.writer.asked, []
    stored = {path.name for path in (tmp_path / "out" / ".build" / "asked").glob("*.parquet")}
    (tmp_path / "calls.sqlite").rename(tmp_path / "old.sqlite")  # so that only the stored results help
    changed = recipe(**{"shard_mb": shard_mb, **CHANGES[change]})
    build(changed, tmp_path / "out")
    assert len(stored) == 4
    assert world.writer.asked - asked == 20  # the two units that no result was stored of
    console = " ".join(capsys.readouterr().err.split())
    assert f"the recipe changed ({FIELDS[change]}); keeping the results of generate and repeating" in console
    assert not (tmp_path / "out" / ".build").exists()
    (tmp_path / "calls.sqlite").unlink()
    (tmp_path / "old.sqlite").rename(tmp_path / "calls.sqlite")
    assert hashes(tmp_path / "out") == fresh(changed, tmp_path)


@pytest.mark.full
def test_two_changes_of_a_stopped_build_keep_what_both_share(world: World, tmp_path: Path) -> None:
    """Stopped in generation, then among the judge's units; the third recipe orders by another score."""
    judged = {"rank": [{"ranker": "verifier", "check": "number"}, JUDGE], "mine": {"require_choice": False}}
    stop_after(3, recipe(), tmp_path / "out")
    stop_after(5, recipe(**judged, order="judge"), tmp_path / "out")
    asked, questions = world.writer.asked, len(world.judge.asked)
    assert questions
    final = recipe(**judged, order="verifier")
    build(final, tmp_path / "out")
    whole = world.writer.asked
    assert whole - asked <= 30
    before = len(world.judge.asked)
    assert before > questions
    assert hashes(tmp_path / "out") == fresh(final, tmp_path)
    assert (world.writer.asked, len(world.judge.asked)) == (whole, before)  # the cache answered all of it


def test_complete_results_need_no_engine(world: World, tmp_path: Path) -> None:
    stop_after(6, recipe(), tmp_path / "out")
    world.opened = []
    build(recipe(mine={"keep_negatives": 1}), tmp_path / "out")
    assert world.opened == []
    stop_after(6, recipe(), tmp_path / "judged")
    world.opened = []
    build(recipe(rank=[JUDGE], mine={"require_choice": False}), tmp_path / "judged")
    assert world.opened == ["judge"]


@pytest.mark.full
def test_a_stop_while_changing_the_recipe_loses_no_result(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards go by one rename, and the state is written last: either recipe can continue after it."""
    stop_after(4, recipe(shard_mb=0.001), tmp_path / "out")
    asked = world.writer.asked
    with monkeypatch.context() as patch:
        patch.setattr("pairkit.pipeline.directory.write_json", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build_without_handler(recipe(shard_mb=0.001, mine={"keep_negatives": 1}), tmp_path / "out")
    assert not list((tmp_path / "out" / ".build" / "shards").glob("*"))
    build(recipe(shard_mb=0.001), tmp_path / "out")
    assert world.writer.asked - asked <= 20
    assert hashes(tmp_path / "out") == fresh(recipe(shard_mb=0.001), tmp_path)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def build_without_handler(made: BuildRecipe, out: Path) -> None:
    try:
        build(made, out)
    except Interrupted as error:
        raise KeyboardInterrupt from error


@pytest.mark.parametrize(
    ("fields", "difference"),
    [
        ({"seed": 1}, "recipe.seed is 1, was 0"),
        ({"generate": {"max_tokens": 9}}, "recipe.generate.max_tokens is 9, was 8"),
        ({"source": {"limit": 50}}, "recipe.source.limit is 50, was 60"),
        ({"unit_rows": 20}, "recipe.unit_rows is 20, was 10"),
    ],
)
def test_a_change_before_or_in_the_first_model_is_refused(
    fields: dict[str, Any], difference: str, world: World, tmp_path: Path
) -> None:
    stop_after(2, recipe(), tmp_path / "out")
    with pytest.raises(ExistingOutputError, match=re.escape(difference)):
        build(recipe(**fields), tmp_path / "out")
    assert (tmp_path / "out" / ".build" / "asked").is_dir()


@pytest.mark.full
def test_another_prompt_of_the_judge_keeps_what_was_generated(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe is the same, but the file that it names is not."""
    prompt = tmp_path / "own.txt"
    prompt.write_text(shipped_prompts()["mcpo"].read_text())
    judged = recipe(rank=[JUDGE | {"prompt": str(prompt)}], mine={"require_choice": False})
    stop_after(4, judged, tmp_path / "out")
    asked = len(world.judge.asked)
    prompt.write_text(prompt.read_text().replace("version: 1", "version: 2"))
    build(judged, tmp_path / "out")
    console = " ".join(capsys.readouterr().err.split())
    assert "the judge's prompt own has other words; keeping the results of generate and" in console
    assert len(world.judge.asked) > asked
    assert hashes(tmp_path / "out") == fresh(judged, tmp_path)


def test_without_a_model_stage_nothing_is_worth_keeping(tmp_path: Path) -> None:
    fields = {"generate": None, "rank": {"ranker": "annotations"}, "mine": {"require_choice": False}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pairkit.pipeline.build.publish", interrupt)
        with pytest.raises(Interrupted, match="60 rows are done and kept"):
            build(plain(**fields), tmp_path / "out")
    with pytest.raises(ExistingOutputError, match=r"recipe\.test_fraction is 0\.5, was 0\.2"):
        build(plain(**fields, test_fraction=0.5), tmp_path / "out")
    build(plain(**fields), tmp_path / "out")


def plain(**fields: Any) -> BuildRecipe:
    """The recipe without a block that asks a model."""
    content = recipe().model_dump(mode="json", exclude={"generate", "rank", "mine"})
    return load(None, content, fields)


@pytest.mark.full
def test_results_outlive_a_recipe_that_leaves_no_set(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no usable candidate set.*; the answers of models are kept"):
        build(recipe(mine={"drop_ranks": [1, 2, 3]}), tmp_path / "out")
    asked = world.writer.asked
    (tmp_path / "calls.sqlite").rename(tmp_path / "old.sqlite")
    build(recipe(), tmp_path / "out")
    assert world.writer.asked == asked


def test_a_complete_dataset_with_another_recipe_is_refused(world: World, tmp_path: Path) -> None:
    build(recipe(), tmp_path / "out")
    before = hashes(tmp_path / "out")
    with pytest.raises(ExistingOutputError, match=r"mine\.keep_negatives is 1, was None"):
        build(recipe(mine={"keep_negatives": 1}), tmp_path / "out")
    with pytest.raises(ExistingOutputError, match="rank"):
        build(recipe(rank={"check": "exact"}), tmp_path / "out")
    assert hashes(tmp_path / "out") == before


def test_of_a_list_of_blocks_the_field_that_differs_is_named() -> None:
    blocks = [{"model": "a", "samples": [{"n": 1}, {"n": 2}]}, {"model": "b", "pick": [1]}]
    changed = [{"model": "a", "samples": [{"n": 1}, {"n": 3}]}, {"model": "b", "pick": [1, 2], "name": "c"}]

    def found(now: Any) -> list[str]:
        return differences({"recipe": {"models": blocks}}, {"recipe": {"models": now}})

    assert found(blocks) == []
    assert found(changed) == [
        "recipe.models.0.samples.1.n is 3, was 2",
        "recipe.models.1.name is 'c', was None",
        "recipe.models.1.pick is [1, 2], was [1]",
    ]
    # Of lists of other lengths it is not known which entry became which.
    assert found(changed[:1]) == [f"recipe.models is {changed[:1]!r}, was {blocks!r}"]
