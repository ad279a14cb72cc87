"""A build with damaged state ends as the undamaged one, or with one line; nothing is silently wrong."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from support.fuzzing.bounds import bounded
from support.fuzzing.cases import SLOW, fuzz
from support.fuzzing.commands import one_line, untouched
from support.fuzzing.damages import Damage, damaged, damages
from support.fuzzing.raw_server import RawServer, raw_server, response
from support.odd_server import plain
from support.published import hashes
from support.raw import ultrafeedback

from pairkit.errors import Interrupted, PairkitError
from pairkit.files import LOCK
from pairkit.pipeline import build as builds
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe, load

ASKED = {"messages": [], "n": 2}
# The run log decides nothing, a card may be edited, and no row depends on the last process that had a lock.
FREE = ("run.jsonl", "README.md", LOCK)


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with raw_server() as running:
        running.answers = [response(json.dumps(plain(ASKED)[1]).encode())]
        yield running


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class State:
    """A recipe, what its build publishes, and what it left where it was stopped or finished."""

    def __init__(self, folder: Path, recipe: BuildRecipe) -> None:
        self.recipe, self.folder = recipe, folder
        build(recipe, folder / "whole" / "out", workers=1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(builds, "publish", interrupt)
            with pytest.raises(Interrupted):
                build(recipe, folder / "stopped" / "out", workers=1)

    def published(self, kind: str = "whole") -> dict[str, str]:
        return {
            name: digest
            for name, digest in hashes(self.folder / kind / "out").items()
            if not name.startswith(".build") and Path(name).name not in FREE
        }

    def check(self, kind: str, damage: Damage) -> str:
        """Build after the damage, twice; return how that ended."""
        damaged(self.folder / kind, self.folder / "case", damage)
        out, expected = self.folder / "case" / "out", self.published()
        ended = ""
        for _ in range(2):
            try:
                with bounded(), untouched(self.folder, self.folder / "case"):
                    build(self.recipe, out, workers=1)
            except PairkitError as error:
                one_line(error)
                ended = "refused"
                continue
            # `pairkit.json` of a complete dataset is what its other files are compared with.
            root = {"pairkit.json"} if kind == "whole" else set()
            found = self.published("case")
            assert {name: found.get(name) for name in expected.keys() - root} == {
                name: expected[name] for name in expected.keys() - root
            }
            assert ended != "refused", "refused at first, and built by the same command"
            ended = "the same"
        return ended


@pytest.fixture(scope="module")
def plain_build(tmp_path_factory: pytest.TempPathFactory) -> State:
    folder = tmp_path_factory.mktemp("plain")
    path = ultrafeedback(folder / "raw.jsonl", 60)
    fields = {"unit_rows": 10, "shard_mb": 0.01, "test_fraction": 0.2}
    return State(folder, load(None, {"source": {"name": "ultrafeedback", "path": str(path)}}, fields))


@pytest.fixture(scope="module")
def model_build(server: RawServer, tmp_path_factory: pytest.TempPathFactory) -> State:
    folder = tmp_path_factory.mktemp("model")
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Prompt {n}"}) + "\n" for n in range(6)))
    generate = {"engine": "openai", "model": "tiny", "base_url": server.url, "samples": [{"n": 2}]}
    fields = {"unit_rows": 2, "generate": generate, "mine": {"require_choice": False}, "shard_mb": 0.0001}
    return State(folder, load(None, {"source": {"name": "files", "path": str(path)}}, fields))


@pytest.mark.default("stopped-3")
@pytest.mark.parametrize("cases", [3, SLOW])
@pytest.mark.parametrize("kind", ["stopped", "whole"])
def test_any_state_of_a_build(kind: str, cases: int | None, plain_build: State) -> None:
    seen: Counter[str] = Counter()

    @given(damages(plain_build.folder / kind, FREE))
    def check(damage: Damage) -> None:
        seen[plain_build.check(kind, damage)] += 1

    fuzz(check, cases, seen, ends={"refused"})


@pytest.mark.parametrize("cases", [3, SLOW])
def test_any_state_of_a_build_that_asked_a_model(cases: int | None, model_build: State) -> None:
    seen: Counter[str] = Counter()

    @given(damages(model_build.folder / "stopped", (*FREE, "calls.sqlite")))
    def check(damage: Damage) -> None:
        seen[model_build.check("stopped", damage)] += 1

    fuzz(check, cases, seen, ends={"refused"})


@pytest.mark.parametrize("cases", [3, SLOW])
def test_any_cache_of_calls(cases: int | None, model_build: State) -> None:
    seen: Counter[str] = Counter()
    cache = model_build.folder / "cache"
    cache.mkdir(exist_ok=True)
    shutil.copy(model_build.folder / "whole" / "calls.sqlite", cache / "calls.sqlite")

    @given(damages(cache))
    def check(damage: Damage) -> None:
        seen[model_build.check("cache", damage)] += 1

    fuzz(check, cases, seen)
