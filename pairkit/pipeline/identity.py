"""What determines the bytes of a build, and of each of its stages: recipe, input, models, libraries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairkit.engines.local import fingerprint
from pairkit.engines.table import ENGINES, UNPUBLISHED, library_versions
from pairkit.masking import masked
from pairkit.mining.filters.stage import blocks
from pairkit.mining.filters.table import FILTERS
from pairkit.models.names import public_name
from pairkit.pipeline import templates
from pairkit.pipeline.changes import Identity
from pairkit.pipeline.prepass import benchmarks
from pairkit.pipeline.prepass import run as prepass
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.rankers import table
from pairkit.rankers.table import RANKERS, Ranking, name_of
from pairkit.schema import short_hash
from pairkit.sources import Opened
from pairkit.version import __version__

# Libraries that determine bytes (the writer) or rows (the kernels): an unfinished build continues only with
# the same versions.
LIBRARIES = ("pyarrow", "polars")
# The blocks that take sets out by their prompts or values.
PREPASS = ("dedup", "decontaminate", "filter")


def portable(recipe: BuildRecipe) -> dict[str, Any]:
    """Return the resolved recipe as plain values, the paths of input, models and tokenizer cut to names.

    Where they are on this machine, and where a server is, changes no row and is not to be published.
    """
    # Without `calls` and `card`, because how a server is asked and what the card says changes no row.
    content = recipe.model_dump(mode="json", exclude={"calls", "card"})
    for block in [content["source"]] if recipe.source else [each["source"] for each in content["sources"]]:
        if block["path"] is not None:
            block["path"] = Path(block["path"]).name
    if content["generate"] is not None:
        for block in content["generate"].get("models", [content["generate"]]):
            _publish(block, {"model": public_name})
    blocks = content["rank"] if isinstance(content["rank"], list) else [content["rank"]]
    for block in blocks:
        _publish(block, RANKERS[block["ranker"]].public)
    content |= _prepass(recipe)
    for key in PREPASS:
        # Absent where nothing is asked for, because an empty value would be a difference to earlier builds.
        if not content[key]:
            del content[key]
    swap = recipe.mine.noise.token_swap
    if swap is not None:
        content["mine"]["noise"]["token_swap"]["tokenizer"] = public_name(swap.tokenizer)
    return masked(content)


def _prepass(recipe: BuildRecipe) -> dict[str, Any]:
    content: dict[str, Any] = recipe.model_dump(mode="json", include=set(PREPASS))
    content["filter"] = {name: block for name, block in content["filter"].items() if block is not None}
    if recipe.dedup is not None and recipe.dedup.model is not None:
        content["dedup"]["model"] = public_name(recipe.dedup.model)
    if recipe.decontaminate is not None:
        content["decontaminate"]["against"] = [
            benchmarks.published_name(each) for each in recipe.decontaminate.against
        ]
    return content


def _publish(block: dict[str, Any], public: Mapping[str, Any]) -> None:
    for key, name in public.items():
        if block.get(key) is not None:
            block[key] = name(block[key])
    if "template" in block:
        block["template"] = templates.published(block["template"])
    for key in UNPUBLISHED & block.keys():
        del block[key]


def identify_build(recipe: BuildRecipe, opened: Opened) -> Identity:
    """Return what determines the bytes of a build: recipe, input, model and library versions."""
    content = portable(recipe)
    prompts: dict[str, str] = {}
    for block in recipe.rankings:
        prompts |= RANKERS[block.ranker].prompts(block)
    libraries = [*LIBRARIES, *_engine_libraries(recipe)]
    libraries += [name for block in table.asking(recipe.rankings) for name in table.libraries(block)]
    libraries += prepass.libraries(recipe.prepass)
    return {
        "recipe": content,
        # Of the portable recipe, so that it is the same on every machine.
        "recipe_hash": short_hash(content),
        "input": {
            "fingerprint": opened.fingerprint,
            **_models(recipe),
            **_templates(recipe),
            **_prepass_inputs(recipe),
            **_ranking_files(recipe),
        },
        # Absent without a judge, because an empty value would be a difference to builds that never had one.
        **({"judge_prompts": prompts} if prompts else {}),
        "pairkit": __version__,
        "versions": library_versions(libraries),
    }


def prepass_key(recipe: BuildRecipe, identity: Identity) -> str:
    """Return a hash of everything that determines which sets leave before a model is asked."""
    content, inputs = identity["recipe"], identity["input"]
    before = {name for name, row in FILTERS.items() if row.before}
    filters = {name: block for name, block in content.get("filter", {}).items() if name in before}
    about = [
        content.get("dedup"),
        content.get("decontaminate"),
        filters,
        inputs.get("benchmarks"),
        inputs.get("dedup_model"),
    ]
    if recipe.dedup is not None and recipe.dedup.exact == "merge":
        about.append(recipe.prepass.reranked)
    libraries = library_versions([*LIBRARIES, *prepass.libraries(recipe.prepass)])
    # The seed draws and orders the sets of several sources; those of one do not depend on it.
    sources = [content["source"]] if recipe.source else [content["sources"], content["seed"]]
    return short_hash([*about, *sources, inputs["fingerprint"], identity["pairkit"], libraries])


def stage_keys(recipe: BuildRecipe, identity: Identity) -> dict[str, str]:
    """Return a hash per stage that asks a model, of everything that determines the sets after it.

    Stages are in order, and a stage's hash contains that of the stage before it. Two builds with the same
    hash for a stage get the same sets from it, whatever else differs in their recipes.
    """
    content, inputs = identity["recipe"], identity["input"]
    before = short_hash(
        [
            content["source"] if recipe.source else content["sources"],
            # A model in a batch of other rows may round otherwise, so the size of a unit is part of it.
            content["unit_rows"],
            content["seed"],
            inputs["fingerprint"],
            identity["pairkit"],
            library_versions(LIBRARIES),
        ]
    )
    settings = recipe.prepass
    if settings.whole or blocks(settings.filters, before=True):
        before = short_hash([before, prepass_key(recipe, identity)])
    keys: dict[str, str] = {}
    files = inputs.get("templates", {})
    if recipe.generate is not None:
        versions = library_versions(_engine_libraries(recipe))
        models = inputs.get("models") or inputs.get("model")
        templates_of = [files[name] for name in recipe.writers if name in files]
        # Of one model as it always was: its file, or None.
        file = templates_of if "models" in content["generate"] else files.get("generate")
        about = [content["generate"], models, file, versions]
        before = keys["generate"] = short_hash([before, *about])
    rank_settings = content["rank"] if isinstance(content["rank"], list) else [content["rank"]]
    for block, settings in zip(recipe.rankings, rank_settings, strict=True):
        # It asks no model: its scores are computed again, and change no answer after it.
        if RANKERS[block.ranker].load is None:
            continue
        name = name_of(block)
        model = inputs.get("ranking_models", {}).get(name)
        about = [
            settings,
            model,
            files.get(f"rank.{name}"),
            RANKERS[block.ranker].prompts(block),
            library_versions(table.libraries(block)),
        ]
        before = keys[f"rank.{name}"] = short_hash([before, *about])
    return keys


def _engine_libraries(recipe: BuildRecipe) -> tuple[str, ...]:
    names = [name for block in recipe.writers.values() for name in ENGINES[block.engine].libraries]
    return tuple(dict.fromkeys(names))


def _models(recipe: BuildRecipe) -> dict[str, Any]:
    """Return hashes of the models that are directories; the recipe names the others."""
    hashes: dict[str, Any] = {}
    writers = {name: block for name, block in recipe.writers.items() if ENGINES[block.engine].local}
    if "generate" in writers:
        hashes |= fingerprint(writers["generate"].model)
    elif of_pool := {
        name.removeprefix("generate."): model_hashes["model"]
        for name, block in writers.items()
        if (model_hashes := fingerprint(block.model))
    }:
        hashes["models"] = of_pool
    local = [block for block in table.asking(recipe.rankings) if _is_local(block)]
    by_name = {name_of(block): fingerprint(getattr(block, "model", "")).get("model") for block in local}
    if any(by_name.values()):
        hashes["ranking_models"] = by_name
    return hashes


def _templates(recipe: BuildRecipe) -> dict[str, Any]:
    hashes = templates.file_hashes(recipe)
    # Absent without files, because an empty value would be a difference to builds that never had one.
    return {"templates": hashes} if hashes else {}


def _ranking_files(recipe: BuildRecipe) -> dict[str, Any]:
    hashes: dict[str, str] = {}
    for block in recipe.rankings:
        hashes |= RANKERS[block.ranker].files(block)
    return {"ranking_files": hashes} if hashes else {}


def _prepass_inputs(recipe: BuildRecipe) -> dict[str, Any]:
    """Return hashes of the benchmarks' prompts, and of the model of `dedup` if it is a directory."""
    hashes: dict[str, Any] = {}
    if recipe.decontaminate is not None:
        hashes["benchmarks"] = dict(benchmarks.load(recipe.decontaminate.against).hashes)
    if recipe.dedup is not None and recipe.dedup.model is not None:
        model = fingerprint(recipe.dedup.model).get("model")
        hashes |= {"dedup_model": model} if model else {}
    return hashes


def _is_local(block: Ranking) -> bool:
    engine = getattr(block, "engine", None)
    return engine is None or ENGINES[engine].local
