"""The data card: what a built dataset is, where it comes from, and how to load and build it.

The hub's viewer and `datasets` read its front matter. Everything in it follows from recipe and input. Texts
of the data are untrusted: they are in fences that they cannot close, or escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.dataset import extras, views
from pairkit.dataset.card_settings import TAGS, settings_of, with_settings
from pairkit.dataset.histograms import Histograms, summary
from pairkit.dataset.licenses import LICENSES
from pairkit.dataset.markdown import CUT, cell, environment, to_yaml
from pairkit.errors import listed
from pairkit.rankers.human.describe import describe_people
from pairkit.rankers.judge.statistics import describe_judges
from pairkit.rankers.panel.agreement import describe_panel
from pairkit.schema import DROPPED, SETS, VERDICTS
from pairkit.sources import Source, find_source

CONFIGS = {"candidates": "data", "pairs": "pairs", "verdicts": "verdicts", "dropped": "dropped"}
# Enough to see the shape of a set; the card is read in a browser and must stay short.
EXAMPLES = 3
COMPLETIONS_SHOWN = 4
MODELS_SHOWN = 30
DISTRIBUTIONS = {
    "completions_a_set": "completions per set",
    "prompt_characters": "prompt, characters",
    "completion_characters": "completion, characters",
    "chosen_characters": "chosen, characters",
    "rejected_characters": "rejected, characters",
    "score": "score",
}
# The hub's own names.
_SIZES = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]


def render(folder: Path, manifest: Mapping[str, Any], source: Source, histograms: Histograms) -> str:
    """Render the card of the dataset whose Parquet files are in `folder`, as Markdown."""
    splits = _splits(manifest)
    sums = {what: sum(split[what] for split in splits) for what in ("sets", "completions", "pairs")}
    card = (
        environment()
        .get_template("card.md.jinja")
        .render(
            front_matter=to_yaml(front_matter(manifest, source)),
            title=f"{_title(manifest)}: candidate sets",
            manifest=manifest,
            **sums,
            splits=splits,
            held=_held(manifest),
            stages=_stages(manifest["counts"]),
            source_link=_link(source, manifest),
            license=source.license,
            citation=source.citation,
            writers=_writers(histograms),
            model_link=_model_link(manifest),
            rankers=_rankers(manifest["recipe"]["rank"]),
            judge_prompts=manifest.get("judge_prompts", {}),
            judged=[*describe_judges(manifest), *describe_people(manifest), *describe_panel(manifest)],
            distributions=_distributions(histograms),
            shares=_shares(histograms),
            examples=_examples(folder, manifest),
            cut=CUT,
            shown=MODELS_SHOWN,
            recipe=to_yaml(manifest["recipe"]),
            from_files=any(block["path"] is not None for _, block in _sources(manifest)),
            several=len(_sources(manifest)) > 1,
            generate=manifest["recipe"]["generate"],
            local_model="model" in manifest["input"],
        )
    )
    return with_settings(card, settings_of(manifest.get("card", {})))


def front_matter(manifest: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """Make what the hub and `datasets` read: configurations, columns, sizes, license, tags."""
    license = source.license.lower().replace(" ", "-")
    other = {"license": "other", "license_name": "see-the-card"}
    license_field = {"license": license} if license in LICENSES else other
    configs, infos = [], []
    pairs = views.CHAT_PAIRS if any(_held(manifest).values()) else views.PAIRS
    schemas = {"candidates": SETS, "pairs": pairs, "verdicts": VERDICTS, "dropped": DROPPED}
    for name, kind in CONFIGS.items():
        files = _files(manifest, kind)
        if not files:
            continue
        # `all` becomes `train` because `datasets` does not allow `all` as the name of a split.
        paths = [{"split": split.replace("all", "train"), "path": f"{kind}/{split}-*"} for split in files]
        default = {"default": True} if kind == "data" else {}
        configs.append({"config_name": name, "data_files": paths, **default})
        infos.append({"config_name": name, "features": _features(schemas[name]), **_info(files)})
    sets = sum(split["sets"] for split in _splits(manifest))
    return {
        "pretty_name": f"{_title(manifest)}: candidate sets",
        **license_field,
        **_source_data_sets(manifest, source),
        "task_categories": ["text-generation", "reinforcement-learning"],
        "tags": list(TAGS),
        "size_categories": [next((size for bound, size in _SIZES if sets < bound), "1M<n<10M")],
        "configs": configs,
        "dataset_info": infos,
    }


def _splits(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    counts = manifest["counts"]
    return [{"name": name, **counts[name]} for name in ("train", "test") if name in counts]


def _held(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Count the sets of all splits that hold more than roles and contents, by what they hold."""
    counts = {
        extra: sum(split.get(f"sets_with_{extra}", 0) for split in _splits(manifest))
        for extra in extras.EXTRAS
    }
    return {extra.replace("_", " "): number for extra, number in counts.items() if number}


def _files(manifest: Mapping[str, Any], kind: str) -> dict[str, list[Mapping[str, Any]]]:
    """Group the files of a kind by split; splits without rows are left out."""
    by_split: dict[str, list[Mapping[str, Any]]] = {}
    for name, about in manifest["files"].items():
        if name.startswith(f"{kind}/"):
            by_split.setdefault(name.removeprefix(f"{kind}/").split("-")[0], []).append(about)
    return by_split


def _info(files: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, Any]:
    def total(parts: list[Mapping[str, Any]], what: str) -> int:
        return sum(part[what] for part in parts)

    splits = [
        {
            "name": split.replace("all", "train"),
            # What `datasets` calls num_bytes is the size in memory, not that of the files.
            "num_bytes": total(parts, "uncompressed_bytes"),
            "num_examples": total(parts, "rows"),
        }
        for split, parts in files.items()
    ]
    everything = [part for parts in files.values() for part in parts]
    sizes = {"bytes": "download_size", "uncompressed_bytes": "dataset_size"}
    return {"splits": splits, **{size: total(everything, what) for what, size in sizes.items()}}


def _features(schema: pa.Schema) -> list[dict[str, Any]]:
    return [{"name": field.name, **_feature(field.type)} for field in schema]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """Write an Arrow type as the `features` of a card."""
    if pa.types.is_struct(kind):
        return {"struct": _features(kind)}
    if pa.types.is_list(kind):
        item = _feature(kind.value_type)
        # YAML has `list: string` for a plain type and `list: [fields]` for structs.
        return {"list": item.get("struct") or item.get("dtype") or item}
    if isinstance(kind, pa.JsonType):
        return {"dtype": "json"}
    # Arrow prints this type as "double", `datasets` knows it as float64.
    return {"dtype": "float64" if pa.types.is_float64(kind) else str(kind)}


def _stages(counts: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    order = ("source", "generate", "rank", "mine")  # as they run; the manifest has them by name
    return [
        {"stage": stage, "what": what.replace("_", " "), "number": number}
        for stage in (*order, *(name for name in counts if name not in (*order, "train", "test")))
        for what, number in counts.get(stage, {}).items()
        if number
    ]


def _sources(manifest: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """List the sources of a build, each with its name and its block."""
    recipe = manifest["recipe"]
    entries = recipe.get("sources") or [{"name": None, "source": recipe["source"]}]
    return [(entry["name"] or entry["source"]["name"], entry["source"]) for entry in entries]


def _title(manifest: Mapping[str, Any]) -> str:
    return listed((name for name, _ in _sources(manifest)), separator=" + ")


def _link(source: Source, manifest: Mapping[str, Any]) -> str:
    blocks = _sources(manifest)
    # Of a mixture, `source` is all of them together.
    sources = [source] if len(blocks) == 1 else [find_source(block["name"]) for _, block in blocks]
    return ", ".join(_link_one(each, block) for each, (_, block) in zip(sources, blocks, strict=True))


def _link_one(source: Source, block: Mapping[str, Any]) -> str:
    name, revision = cell(block["name"]), block["revision"]
    # A homepage may have a remark after its address, which must not become part of the link.
    address, _, where = source.homepage.partition(" ")
    link = f"[{name}]({address}) {cell(where)}".rstrip() if address else name
    return f"{link} at {cell(revision)}" if revision else link


def _source_data_sets(manifest: Mapping[str, Any], source: Source) -> dict[str, list[str]]:
    """Name the hub datasets that the rows were read from, if they were."""
    blocks = _sources(manifest)
    of_name = [source] if len(blocks) == 1 else [find_source(block["name"]) for _, block in blocks]
    ids = [
        block["name"] if "/" in block["name"] else each.hub_id
        for each, (_, block) in zip(of_name, blocks, strict=True)
        if block["path"] is None
    ]
    hub_ids = list(dict.fromkeys(hub_id for hub_id in ids if hub_id))
    return {"source_datasets": hub_ids} if hub_ids else {}


def _model_link(manifest: Mapping[str, Any]) -> str:
    """Link the models that completed the prompts."""
    generate = manifest["recipe"]["generate"] or {}
    blocks = generate.get("models", [generate] if generate else [])
    local = manifest["input"].get("models", {}).keys()
    return ", ".join(
        _link_model(
            block, local="model" in manifest["input"] or (block.get("name") or block["model"]) in local
        )
        for block in blocks
    )


def _link_model(block: Mapping[str, Any], *, local: bool) -> str:
    """Link a model; a directory, listed in the manifest's input, has no page."""
    name = cell(block["model"])
    # A server's name for a model need not exist on the hub.
    on_hub = block.get("engine") != "openai" and not local
    link = f"[{name}](https://huggingface.co/{name})" if on_hub else name
    return f"{link} at {cell(block['revision'])}" if block.get("revision") else link


def _rankers(rank: Mapping[str, Any] | list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """List the rankers that are models."""
    blocks = rank if isinstance(rank, list) else [rank]
    return [{"name": block["ranker"], "model": block["model"]} for block in blocks if block.get("model")]


def _writers(histograms: Histograms) -> list[str]:
    """List who wrote completions, the most frequent first; noise has no author."""
    counts = histograms.get("model") or Counter()
    names = [name for name in counts if not name.startswith("noise:")]
    # By name between equal counts, because the card must not depend on the order of units.
    return sorted(names, key=lambda name: (-counts[name], name))


def _distributions(histograms: Histograms) -> list[dict[str, Any]]:
    return [
        {"name": title, "numbers": list(summary(histograms[name]).values())}
        for name, title in DISTRIBUTIONS.items()
        if histograms.get(name)
    ]


def _shares(histograms: Histograms) -> list[dict[str, Any]]:
    tables = []
    for name in ("rank", "origin", "model"):
        counts = histograms.get(name) or Counter()
        total = sum(counts.values())
        # Ranks in their order; names by how often they occur.
        order = sorted(counts, key=lambda value: (0, value) if name == "rank" else (-counts[value], value))
        rows = [{"value": v, "count": counts[v], "share": counts[v] / total} for v in order[:MODELS_SHOWN]]
        if len(order) > MODELS_SHOWN:
            rest = sum(counts[value] for value in order[MODELS_SHOWN:])
            others = f"{len(order) - MODELS_SHOWN} others"
            rows.append({"value": others, "count": rest, "share": rest / total})
        if rows:
            tables.append({"name": name, "rows": rows})
    return tables


def _examples(folder: Path, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the first sets of the first split."""
    # That is train, unless all sets fell to test.
    first = next(name for name in manifest["files"] if name.startswith("data/"))
    with pq.ParquetFile(folder / first) as file:
        sets = next(file.iter_batches(batch_size=EXAMPLES)).to_pylist()
    return [row | {"completions": row["completions"][:COMPLETIONS_SHOWN]} for row in sets]
