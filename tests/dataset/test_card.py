"""The data card: front matter that the hub reads, numbers that are right, texts that break nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from markdown_it import MarkdownIt
from support.raw import ultrafeedback

from pairkit.dataset import card, histograms, views
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
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


def test_front_matter_agrees_with_datasets(built: Path) -> None:
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


def test_card_agrees_with_the_manifest(built: Path) -> None:
    _, text = parts(built)
    manifest = json.loads((built / "pairkit.json").read_text())
    counts = manifest["counts"]["train"]
    assert f"| train | {counts['sets']} | {counts['completions']} | {counts['pairs']} |" in text
    assert manifest["recipe_hash"] in text
    block = re.search(r"```yaml\n(.*?)```", text, re.S)
    assert block is not None
    assert yaml.safe_load(block.group(1)) == manifest["recipe"]
    assert manifest["input"]["fingerprint"] in text


def test_card_names_writers_and_judges(built: Path) -> None:
    manifest = json.loads((built / "pairkit.json").read_text())
    counts = histograms.of_sets(pq.read_table(sorted((built / "data").iterdir())[0]))
    source = SOURCES["ultrafeedback"]
    text = card.render(built, manifest, source, counts)
    order = sorted(counts["model"], key=lambda name: (-counts["model"][name], name))
    assert f"Completions were written by {', '.join(order)}." in text
    assert "prompt of the judge" not in text

    manifest["recipe"]["generate"] = {"model": "org/m", "revision": "v1"}
    manifest["recipe"]["rank"] = [{"ranker": "annotations"}, {"ranker": "judge", "model": "judge|<b>"}]
    manifest["judge_prompts"] = {"pairwise.txt": "0123abcd"}
    counts["model"]["noise:word_swap"] = 9
    text = card.render(built, manifest, source, counts)
    assert "the license of [org/m](https://huggingface.co/org/m) at v1, which completed them" in text
    assert "They were scored by judge&#124;&#60;b&#62; (judge)." in text
    assert "| pairwise.txt | `0123abcd` |" in text
    assert "noise" not in text.split("Completions were written by ")[1].split("\n")[0]
    assert MarkdownIt().enable("table").render(text.split("---\n", 2)[2]).count("0123abcd") == 1

    manifest["recipe"]["generate"] |= {"engine": "openai", "revision": None}
    text = card.render(built, manifest, source, counts)
    assert "the license of org/m, which completed them" in text  # a name of that server, not of the hub

    assert "source_datasets" not in card.front_matter(manifest, source)  # a file, wherever it is from
    manifest["recipe"]["source"]["path"] = None
    assert card.front_matter(manifest, source)["source_datasets"] == ["openbmb/UltraFeedback"]


def test_hostile_texts_stay_in_fences(tmp_path: Path) -> None:
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
