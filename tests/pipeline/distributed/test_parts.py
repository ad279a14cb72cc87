"""Builds in parts: together they are the build of one run, whatever happens to one of them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.forks import Fork, Server
from support.loopback import Loopback, chat_server, recipe
from support.published import published

from pairkit.errors import ExistingOutputError, InputError, OutputError, RecipeError, UsageError
from pairkit.ownership import owned_name
from pairkit.pipeline.build import build
from pairkit.pipeline.distributed import parts
from pairkit.pipeline.distributed.parts import Part, build_part, finished_parts, folder_of
from pairkit.pipeline.recipe import BuildRecipe

PROMPTS = 48
UNITS = {"unit_rows": 5, "shard_mb": 0.02}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with chat_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def sums(server: Loopback) -> BuildRecipe:
    return recipe(server.url, PROMPTS, **UNITS)


@pytest.fixture(scope="module")
def whole(server: Loopback, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    build(recipe(server.url, PROMPTS, **UNITS), out)
    return published(out, quarantine=True)


def answers(server: Loopback) -> int:
    stats = server.stats()
    return int(stats["answered"] + stats["answered_again"])


def of_rows(server: Loopback, path: Path) -> BuildRecipe:
    """Return the recipe that completes the prompts of a file."""
    generate = {"engine": "openai", "model": "tiny", "base_url": server.url, "samples": [{"n": 2}]}
    source = {"name": "files", "path": str(path)}
    return BuildRecipe(source=source, generate=generate, mine={"require_choice": False}, **UNITS)


def merged(sums: BuildRecipe, out: Path) -> dict[str, bytes]:
    build(sums, out, results=finished_parts(sums, out))
    return published(out, quarantine=True)


@pytest.mark.parametrize("of", [1, 3, 16])
@pytest.mark.default("3")
def test_parts_in_any_order_have_the_bytes_of_one_run(
    sums: BuildRecipe, whole: dict[str, bytes], tmp_path: Path, of: int
) -> None:
    # More parts than units are possible: some have none.
    made = [build_part(sums, tmp_path / "out", Part(number, of)) for number in reversed(range(1, of + 1))]
    assert sum(each["units"] for each in made) == 10
    assert sum(each["rows"] for each in made) == PROMPTS
    assert not (tmp_path / "out").exists()
    assert merged(sums, tmp_path / "out") == whole


def test_merging_asks_no_model(
    server: Loopback, sums: BuildRecipe, whole: dict[str, bytes], tmp_path: Path
) -> None:
    for number in (1, 2):
        build_part(sums, tmp_path / "out", Part(number, 2))
    asked = answers(server)
    # A cache of its own, which has no answer.
    assert merged(sums, tmp_path / "out") == whole
    assert answers(server) == asked


def test_repeated_prompts_have_the_ids_of_one_run(server: Loopback, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "{n % 7} + 1 = ?"}}\n' for n in range(60)))
    again = of_rows(server, rows)
    build(again, tmp_path / "whole")
    for number in (1, 2, 3):
        build_part(again, tmp_path / "out", Part(number, 3))
    assert merged(again, tmp_path / "out") == published(tmp_path / "whole", quarantine=True)


def test_a_missing_part_is_named(sums: BuildRecipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no part is complete; run the parts first, as --part 1/N"):
        finished_parts(sums, tmp_path / "out")
    for number in (1, 3):
        build_part(sums, tmp_path / "out", Part(number, 4))
    with pytest.raises(InputError, match=r"not complete: 2/4, 4/4; run each again, as --part 2/4"):
        finished_parts(sums, tmp_path / "out")


def test_parts_of_another_build_are_named(sums: BuildRecipe, tmp_path: Path) -> None:
    for number in (1, 2):
        build_part(sums, tmp_path / "out", Part(number, 2))
    other = sums.model_copy(update={"seed": 1})
    with pytest.raises(InputError, match=r"another recipe, input, model or version: 1/2, 2/2"):
        finished_parts(other, tmp_path / "out")
    # What follows the models may be another one.
    mined = sums.model_copy(update={"test_fraction": 0.5})
    assert finished_parts(mined, tmp_path / "out") == folder_of(tmp_path / "out")
    build_part(sums, tmp_path / "out", Part(1, 3))
    with pytest.raises(
        InputError, match=r"parts of different numbers \(part 1 of 2, part 1 of 3, part 2 of 2"
    ):
        finished_parts(sums, tmp_path / "out")


@pytest.mark.parametrize(
    "fields", [{"dedup": {"threshold": None}}, {"filter": {"prompt_chars": {"max": 10}}}]
)
@pytest.mark.default("fields0")
def test_parts_of_several_sources_that_begin_again_with_another_seed(
    server: Loopback, tmp_path: Path, fields: dict[str, object]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "{n} + 1 = ?"}}\n' for n in range(150)))
    of_file = of_rows(server, rows).model_dump(exclude_unset=True)
    # The seed draws the sets of both, and so which of them are duplicates and which the filter keeps.
    sources = [
        {"name": name, "source": of_file["source"], "fraction": share}
        for name, share in (("a", 0.2), ("b", 0.8))
    ]
    block = of_file | fields | {"sources": sources, "unit_rows": 40}
    block["generate"] |= {"samples": [{"n": 1}]}
    first, second = (BuildRecipe.model_validate({**block, "source": None, "seed": seed}) for seed in (0, 1))
    for each in (first, second):
        for number in (1, 2):
            build_part(each, tmp_path / "out", Part(number, 2))
    build(second, tmp_path / "whole")
    assert merged(second, tmp_path / "out") == published(tmp_path / "whole", quarantine=True)


def test_a_part_is_asked_once(server: Loopback, sums: BuildRecipe, tmp_path: Path) -> None:
    first = build_part(sums, tmp_path / "out", Part(2, 2))
    asked = answers(server)
    assert build_part(sums, tmp_path / "out", Part(2, 2)) == first
    assert answers(server) == asked
    with pytest.raises(ExistingOutputError, match="already contains results of part 2 of 2"):
        build_part(sums, tmp_path / "out", Part(2, 2), on_existing="raise")
    fresh = tmp_path / "other.sqlite"
    assert build_part(sums, tmp_path / "out", Part(2, 2), on_existing="delete", cache=fresh) == first
    assert answers(server) > asked


def test_two_jobs_of_one_part_are_refused(sums: BuildRecipe, tmp_path: Path) -> None:
    with (
        owned_name(folder_of(tmp_path / "out") / Part(1, 2).name),
        pytest.raises(OutputError, match=r"another command .* is writing to it"),
    ):
        build_part(sums, tmp_path / "out", Part(1, 2))


def start(forks: Server, sums: BuildRecipe, out: Path, *words: str) -> Fork:
    file = out.with_name("recipe.yaml")
    file.write_text(sums.model_dump_json(exclude_unset=True))
    return forks.start("-m", "pairkit", "build", "--recipe", str(file), "--out", str(out), *words)


def test_a_killed_part_continues_and_the_commands_say_what_is_next(
    forks: Server, whole: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "slow").mkdir()
    with chat_server(tmp_path / "slow", latency=0.05) as slow:
        sums, out = recipe(slow.url, PROMPTS, **UNITS, calls={"concurrency": 8}), tmp_path / "out"
        killed = start(forks, sums, out, "--part", "1/2")
        while len(list(folder_of(out).glob("*.json"))) < 2:
            assert killed.poll() is None
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        asked = answers(slow)
        refused = start(forks, sums, out, "--merge")
        assert "no part is complete" in refused.communicate()[1]
        both = [start(forks, sums, out, "--part", f"{number}/2") for number in (1, 2)]
        for each in both:
            printed, errors = each.communicate()
            assert each.returncode == 0, errors
            assert "next: the same command with --merge, once all 2 parts are complete" in printed
        # Six calls per prompt at most: what was answered before the kill is not asked again.
        assert answers(slow) - asked < PROMPTS * 3
        plain = start(forks, sums, out)
        assert "add --merge to use them, or remove it" in plain.communicate()[1]
        last = start(forks, sums, out, "--merge")
        assert last.wait() == 0
        assert published(out, quarantine=True) == whole
        assert not folder_of(out).exists()
        assert start(forks, sums, out, "--merge").wait() == 0


def test_input_that_changes_leaves_no_results(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "{n} + 1 = ?"}}\n' for n in range(30)))
    of_file = of_rows(server, rows)
    real = parts.model_stages.ask_models

    def changing(*arguments: object, **keywords: object) -> Iterator[object]:
        yield from real(*arguments, **keywords)  # type: ignore[arg-type]
        rows.write_text('{"prompt": "another"}\n')

    monkeypatch.setattr(parts.model_stages, "ask_models", changing)
    with pytest.raises(InputError, match="was changed while the dataset was being built from it"):
        build_part(of_file, tmp_path / "out", Part(1, 2))
    assert not list(folder_of(tmp_path / "out").glob("0*"))


def test_what_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    plain = BuildRecipe(source={"name": "chain", "limit": 20})
    with pytest.raises(RecipeError, match="asks no model, so there is nothing to divide"):
        build_part(plain, tmp_path / "out", Part(1, 2))
    for text in ("0/4", "5/4", "3", "a/b", "1/0"):
        with pytest.raises(UsageError, match="write I/N, such as 3/64"):
            parts.parse(text)
