"""What determines the bytes of a build: recipe, input, models and library versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairkit import __version__
from pairkit.engines.local import fingerprint, library_version
from pairkit.models.names import public_name
from pairkit.pipeline.directory import Identity
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.rankers import table
from pairkit.rankers.table import name_of
from pairkit.schema import short_hash
from pairkit.sources import Opened


def portable(recipe: BuildRecipe) -> dict[str, Any]:
    """The resolved recipe as plain values, the paths of input, models and tokenizer cut down to names.

    Where they lie on this machine, and where a server is, neither changes the rows nor belongs into what is
    published.
    """
    content = recipe.model_dump(mode="json", exclude={"calls"})
    if recipe.source.path is not None:
        content["source"]["path"] = Path(recipe.source.path).name
    ranks = content["rank"] if isinstance(content["rank"], list) else [content["rank"]]
    for block in [content["generate"] or {}, *ranks]:
        if "model" in block:
            block["model"] = public_name(block["model"])
        for key in ("prompt", "aspects"):
            if block.get(key) is not None:
                block[key] = _names(block[key])
        block.pop("base_url", None)
        block.pop("api_key_env", None)
    swap = recipe.mine.noise.token_swap
    if swap is not None:
        content["mine"]["noise"]["token_swap"]["tokenizer"] = public_name(swap.tokenizer)
    return content


def _names(prompts: str | list[str]) -> str | list[str]:
    """A judge's prompts, the paths of files cut down to names."""
    return Path(prompts).name if isinstance(prompts, str) else [Path(one).name for one in prompts]


# Libraries that determine bytes (the writer) or rows (the kernels): an unfinished build continues with the
# same ones only.
LIBRARIES = ("pyarrow", "polars")


# And those that determine what a model answers, for each engine; rankers with a model run in transformers.
ENGINE_LIBRARIES = {"transformers": ("torch", "transformers"), "vllm": ("vllm",), "openai": ()}


def identify_build(recipe: BuildRecipe, opened: Opened) -> Identity:
    """What determines the bytes of a build: recipe, input, model and library versions."""
    content = portable(recipe)
    models = _models(recipe)
    prompts = table.judge_prompts(recipe.rankings)
    libraries = dict.fromkeys(LIBRARIES)
    if recipe.generate is not None:
        libraries |= dict.fromkeys(ENGINE_LIBRARIES[recipe.generate.engine])
    for block in table.asking(recipe.rankings):
        libraries |= dict.fromkeys(ENGINE_LIBRARIES[getattr(block, "engine", "transformers")])
    return {
        "recipe": content,
        "recipe_hash": short_hash(content),
        "input": {"fingerprint": opened.fingerprint, **models},
        **({"judge_prompts": prompts} if prompts else {}),
        "pairkit": __version__,
        "versions": {name: library_version(name) for name in libraries},
    }


def _models(recipe: BuildRecipe) -> dict[str, Any]:
    """Hashes of the models that are directories; the others are named by the recipe."""
    found: dict[str, Any] = {}
    if recipe.generate is not None and recipe.generate.engine != "openai":
        found |= fingerprint(recipe.generate.model)
    local = [block for block in table.asking(recipe.rankings) if getattr(block, "engine", "") != "openai"]
    prints = {name_of(block): fingerprint(getattr(block, "model", "")).get("model") for block in local}
    if any(prints.values()):
        found["ranking_models"] = prints
    return found
