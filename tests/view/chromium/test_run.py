"""What a run made of a set, in a real Chromium: a run that was trained here, on real rows."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.chromium import Open, accessible
from support.recorded import completions_of
from support.tiny import model_folder
from support.training import recipe

import pairkit
from pairkit.training.run import train
from pairkit.view.server import Running
from pairkit.view.viewing import viewing

pytestmark = pytest.mark.chromium
STEPS = (0, 2, 4)


class Trained(NamedTuple):
    """A run of MC-PO, and a server that shows its dataset with it."""

    folder: Path
    running: Running


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Iterator[Trained]:
    """24 short conversations with two answers each, noise as further negatives, and MC-PO on them."""
    folder = tmp_path_factory.mktemp("run")
    with gzip.open(real_data / "llamafactory_dpo_en_demo.jsonl.gz", "rt", encoding="utf-8") as lines:
        short = sorted(lines, key=len)[:24]
    (folder / "rows.jsonl").write_text("".join(short), encoding="utf-8")
    source = {"name": "files", "path": str(folder / "rows.jsonl")}
    mine = {"noise": {"word_swap": {"count": 2}}}
    pairkit.build({"source": source, "test_fraction": 0.2, "mine": mine}, folder / "data")
    model = model_folder(folder / "model")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1024}))
    record = {"pairs": True, "figures": True, "report_sets": 24}
    loss = {"name": "mcpo", "beta": 0.5}
    train(
        recipe(
            folder / "data", model, loss, max_length=768, sets_per_step=8, eval_every=2, trackers=[],
            record=record,
        ),
        folder / "mcpo",
    )  # fmt: skip
    with viewing(folder / "data", run=folder / "mcpo") as running:
        yield Trained(folder / "mcpo", running)


def most_drawn(run: Path) -> str:
    """The training set of which most negatives were drawn."""
    sets = completions_of(run, STEPS[-1])
    return max(sets, key=lambda name: sum(row["drawn"] or 0 for row in sets[name]))


def table_of(page: Any) -> list[dict[str, str]]:
    """The rows of the section's table, by the titles of its columns."""
    place = page.get_by_role("region", name="Log-probs and draws by step")
    titles = place.locator("thead th").all_text_contents()
    rows = place.locator("tbody tr")
    cells = [rows.nth(number).locator("th, td").all_text_contents() for number in range(rows.count())]
    return [dict(zip(titles, row, strict=True)) for row in cells]


def test_it_shows_which_negatives_were_drawn_when_and_with_which_weight(
    trained: Trained, open_page: Open
) -> None:
    name = most_drawn(trained.folder)
    page = open_page(f"{trained.running.address}&set={name}")
    page.get_by_role("heading", name="Under the run mcpo (mcpo)").wait_for()
    rows = table_of(page)
    recorded = [row for step in STEPS for row in completions_of(trained.folder, step)[name]]
    assert sum(row["drawn"] for row in recorded[-len(recorded) // 3 :]) > 0  # a test of zeros shows nothing
    assert [row["Step"] for row in rows if row["Step"]] == [str(step) for step in STEPS]
    before: dict[int, int] = {}
    for shown, row in zip(rows, recorded, strict=True):
        new = row["drawn"] - before.get(row["column"], 0)
        before[row["column"]] = row["drawn"]
        assert shown["Drawn"] == (f"{row['drawn']} (+{new})" if new else str(row["drawn"]))
        assert shown["Tokens"].replace(",", "") == str(row["length"])
        logp = float(shown["Log-prob"].replace("−", "-").replace(",", ""))
        assert logp == pytest.approx(row["logp"], rel=2e-3)
        kind = "noise" if row["origin"] == "noise" else f"rank {row['rank']}"
        assert kind in shown["Completion"]
    each = len(rows) // len(STEPS)
    for begin in range(0, len(rows), each):
        weights = [row["Weight"] for row in rows[begin : begin + each]]
        assert weights[0] in ("–", "0 %")  # the chosen one is no negative
        total = sum(float(re.sub(r"[^\d.]", "", weight) or 0) for weight in weights)
        assert total == pytest.approx(100, abs=each)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 400])
def test_it_is_accessible_and_leads_to_the_completion(
    width: int, scheme: str, trained: Trained, axe: str, open_page: Open
) -> None:
    name = most_drawn(trained.folder)
    size = {"width": width, "height": 900}
    page = open_page(f"{trained.running.address}&set={name}", viewport=size, color_scheme=scheme)
    section = page.locator("section.part", has=page.get_by_role("heading", name="Under the run"))
    section.wait_for()
    accessible(page, axe, "run")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    section.get_by_role("button", name="#2", exact=True).first.click()
    assert page.evaluate("document.activeElement.closest('.completion').textContent.includes('#2')")
