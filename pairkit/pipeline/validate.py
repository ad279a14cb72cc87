"""Check a whole recipe first: a mistake in the last stage should not be found after an expensive first one.

`check` opens no model, imports neither torch nor transformers, and is part of a dry run. `open_noise` is for
a build only. Models are loaded by `model_stages.ask_models`, all of them before the first completion.
"""

from __future__ import annotations

from pairkit.engines.table import ENGINES
from pairkit.mining.noise import token_backend
from pairkit.models.resolve import check_local, check_writes
from pairkit.pipeline import templates
from pairkit.pipeline.prepass import run as prepass
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.rankers.table import RANKERS


def check(recipe: BuildRecipe) -> None:
    """Raise the first mistake that can be found without loading a model.

    That is a verifier's check that does not exist or cannot be imported, a judge's prompt that cannot be
    used, a template's file that does not exist, and models and tokenizers whose directories do not exist or
    lack files.

    Raises `RecipeError`, `InputError` or `ModelError`.
    """
    # A server's model name can only be checked by the server.
    for writer in recipe.writers.values():
        if ENGINES[writer.engine].local:
            check_local("model", writer.model)
            check_writes(writer.model)
    templates.check_files(recipe)
    generate = recipe.generate
    prepass.check(recipe.prepass, generated=generate is not None and not generate.keep_source)
    for block in recipe.rankings:
        RANKERS[block.ranker].check(block)
    swap = recipe.mine.noise.token_swap
    if swap is not None:
        check_local("tokenizer", swap.tokenizer)


def open_noise(recipe: BuildRecipe) -> None:
    """Load the tokenizer of `token_swap`, which then stays in memory. Raises `ModelError`."""
    swap = recipe.mine.noise.token_swap
    if swap is not None:
        token_backend(swap.tokenizer, swap.revision)
