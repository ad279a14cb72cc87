"""The data card: front matter that the hub reads, numbers that are right, texts that break nothing."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from support.candidates import candidate_set, completion, table
from support.raw import ultrafeedback

from pairkit.dataset import card, views
from pairkit.dataset import histograms as statistics
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
from pairkit.rankers import annotations
from pairkit.schema import SETS
from pairkit.sources import SOURCES

HOSTILE = "```\n</details><script>alert(1)</script>\n---\n# not a heading\n| a | b |\n````\n\u2028\x1b[31m![x](http://x)"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    path = ultrafeedback(folder / "raw.jsonl", 200)
    build(load(None, {"source": {"name": "ultrafeedback", "path": str(path)}}, {}), folder / "out")
    return folder / "out"


def parts(built: Path) -> tuple[dict, str]:
    _, front, text = (built / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


def test_front_matter_says_what_datasets_would(built: Path) -> None:
    front, _ = parts(built)
    assert front["license"] == "mit"
    assert front["size_categories"] == ["n<1K"]
    infos = {info["config_name"]: info for info in front["dataset_info"]}
    for name, schema in (("candidates", SETS), ("pairs", views.PAIRS)):
        features = datasets.Features.from_arrow_schema(schema)
        assert datasets.Features._from_yaml_list(infos[name]["features"]) == features
        assert infos[name]["features"] == features._to_yaml_list()
        kind = "data" if name == "candidates" else "pairs"
        for split in infos[name]["splits"]:
            files = list((built / kind).glob(f"{split['name']}-*"))
            assert split["num_examples"] == sum(pq.read_metadata(file).num_rows for file in files)
    assert [config["config_name"] for config in front["configs"] if config.get("default")] == ["candidates"]


def test_card_states_what_the_manifest_does(built: Path) -> None:
    _, text = parts(built)
    manifest = json.loads((built / "pairkit.json").read_text())
    counts = manifest["counts"]["train"]
    assert f"| train | {counts['sets']} | {counts['completions']} | {counts['pairs']} |" in text
    assert manifest["recipe_hash"] in text
    block = re.search(r"```yaml\n(.*?)```", text, re.S)
    assert block is not None
    assert yaml.safe_load(block.group(1)) == manifest["recipe"]
    assert manifest["input"]["fingerprint"] in text


def test_card_names_who_wrote_and_who_judged(built: Path) -> None:
    manifest = json.loads((built / "pairkit.json").read_text())
    histograms = statistics.of_sets(pq.read_table(sorted((built / "data").iterdir())[0]))
    source = SOURCES["ultrafeedback"]
    text = card.render(built, manifest, source, histograms)
    order = sorted(histograms["model"], key=lambda name: (-histograms["model"][name], name))
    assert f"Completions were written by {', '.join(order)}." in text
    assert "prompt of the judge" not in text

    manifest["recipe"]["generate"] = {"model": "org/m", "revision": "v1"}
    manifest["recipe"]["rank"] = [{"ranker": "annotations"}, {"ranker": "judge", "model": "judge|<b>"}]
    manifest["judge_prompts"] = {"pairwise.txt": "0123abcd"}
    histograms["model"]["noise:word_swap"] = 9
    text = card.render(built, manifest, source, histograms)
    assert "the licence of [org/m](https://huggingface.co/org/m) at v1, which completed them" in text
    assert "They were scored by judge&#124;&#60;b&#62; (judge)." in text
    assert "| pairwise.txt | `0123abcd` |" in text
    assert "noise" not in text.split("Completions were written by ")[1].split("\n")[0]
    assert MarkdownIt().enable("table").render(text.split("---\n", 2)[2]).count("0123abcd") == 1

    manifest["recipe"]["generate"] |= {"engine": "openai", "revision": None}
    text = card.render(built, manifest, source, histograms)
    assert "the licence of org/m, which completed them" in text  # a name of that server, not of the hub

    assert "source_datasets" not in card.front_matter(manifest, source)  # a file, wherever it is from
    manifest["recipe"]["source"]["path"] = None
    assert card.front_matter(manifest, source)["source_datasets"] == ["openbmb/UltraFeedback"]


@settings(deadline=None)
@given(st.text())
def test_a_fence_holds_any_text(text: str) -> None:
    tokens = MarkdownIt().parse(f"before\n\n{card.fence(text)}\n\nafter")
    assert [token.type for token in tokens].count("fence") == 1
    assert [token.type for token in tokens[-3:]] == ["paragraph_open", "inline", "paragraph_close"]
    assert tokens[-2].content == "after"


@settings(deadline=None)
@given(st.text())
def test_a_cell_is_one_line_without_markup(text: str) -> None:
    page = MarkdownIt().enable("table").render(f"| a |\n|---|\n| {card.cell(text)} |\n")
    inside = re.search(r"<tbody>\s*<tr>\s*<td>(.*)</td>\s*</tr>\s*</tbody>", page, re.S)
    assert inside is not None
    shown = "".join(mark if mark.isprintable() else "\ufffd" for mark in " ".join(text.split()))
    assert inside.group(1) == escapeHtml(shown)


def test_hostile_texts_stay_inside(tmp_path: Path) -> None:
    rows = [
        {
            "instruction": f"{HOSTILE} {number}",
            "completions": [
                {"model": HOSTILE, "response": f"{HOSTILE} {number}", "overall_score": 1.0},
                {"model": "m|<b>", "response": "fine", "overall_score": 2.0},
            ],
        }
        for number in range(4)
    ]
    path = tmp_path / "raw.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {"source": {"name": "ultrafeedback", "path": str(path), "score": "overall_score"}}
    build(load(None, fields | {"test_fraction": 0}, {}), tmp_path / "out")
    _, text = parts(tmp_path / "out")
    outside = re.sub(r"^(`{3,})\w+\n.*?^\1$", "", text, flags=re.S | re.M)
    assert "alert" in text
    assert "<script>" not in outside
    assert "# not a heading" not in outside.splitlines()
    assert "\x1b" not in text
    assert (
        datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"].num_rows == 4
    )


def test_statistics_do_not_depend_on_the_cut() -> None:
    def one(number: int) -> dict:
        texts = [completion("é" * (number % 7 + k), k / 3) for k in range(number % 4 + 1)]
        return candidate_set(*texts, prompt=f"q{number}")

    sets = table(*map(one, range(50)))
    whole = statistics.of_sets(sets)
    cut: statistics.Histograms = {}
    for start in range(0, 50, 8):
        statistics.add(cut, statistics.of_sets(sets.slice(start, 8)))
    chunked = pa.concat_tables([sets.slice(0, 13), sets.slice(13)])
    assert whole == cut == statistics.of_sets(chunked)
    assert statistics.from_json(json.loads(json.dumps(statistics.to_json(whole)))) == whole
    lengths = [len(one["text"]) for row in sets["completions"].to_pylist() for one in row]
    assert whole["completion_characters"] == Counter(lengths)
    assert whole["prompt_characters"] == Counter(len(f"q{n}") for n in range(50))
    assert whole["score"] == Counter({0.0: 50, 0.333: 37, 0.667: 24, 1.0: 12})


@settings(deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=1))
def test_summary_is_that_of_the_numbers(numbers: list[int]) -> None:
    made = statistics.summary(Counter(numbers))
    assert made["count"] == len(numbers)
    assert made["mean"] == pytest.approx(sum(numbers) / len(numbers))
    assert made["50%"] == np.quantile(numbers, 0.5, method="inverted_cdf")
    assert made["95%"] == np.quantile(numbers, 0.95, method="inverted_cdf")
    assert (made["min"], made["max"]) == (min(numbers), max(numbers))


def test_pair_lengths_are_those_of_the_replies() -> None:
    sets = table(candidate_set(completion("long one", 2.0), completion("no", 1.0)))
    ranked = annotations.rank(sets)
    made = statistics.of_pairs(views.pairs(ranked))
    assert made == {"chosen_characters": Counter({8: 1}), "rejected_characters": Counter({2: 1})}
