"""What is wrong with an online training, before anything is generated or trained."""

from __future__ import annotations

from pathlib import Path

from pairkit.engines.table import ENGINES, library_versions
from pairkit.errors import InputError, ModelError, RecipeError
from pairkit.losses import build
from pairkit.models.chat.settings import TemplateSettings
from pairkit.models.names import cannot_load
from pairkit.models.resolve import check_local, check_writes, resolve
from pairkit.models.tokenizer import open_tokenizer
from pairkit.models.vocabulary import check_same_tokens
from pairkit.online.recipe import OnlineRecipe
from pairkit.online.serve import check_serve
from pairkit.pipeline import validate


def check(recipe: OnlineRecipe) -> None:
    """Raise the first mistake that can be found without loading weights.

    Raises `RecipeError` for fields that do not fit together, `ModelError` for a model that cannot take part,
    `InputError` for a file that does not exist, `MissingExtraError` for an engine that is not installed.
    """
    _check_order(recipe)
    _check_choice(recipe)
    _check_start(recipe)
    # The stages of a build, with the first policy; a server's model is the same directory.
    validate.check(recipe.build)
    if recipe.serve is not None:
        check_serve(recipe.serve)
    else:
        library_versions(ENGINES[recipe.generate.engine].libraries)
    config = recipe.launch.config
    if config is not None and not Path(config).is_file():
        raise InputError(f"launch.config: {config}: no such file")
    if recipe.restart and recipe.train.lora and not recipe.train.lora.merge:
        raise RecipeError(
            "restart: optimizer begins each segment with the last policy as a whole model: set "
            "train.lora.merge=true, or remove restart, so that the adapters are trained on"
        )
    if recipe.restart and recipe.train.tokens:
        raise RecipeError(
            "restart: optimizer begins each segment with the last policy, which has the tokens of "
            "train.tokens.add already: remove restart, or add them in a training before this one, as with "
            "pairkit train --loss sft"
        )
    _check_tokenizer(recipe)


def _check_order(recipe: OnlineRecipe) -> None:
    """Refuse a ranker that would find neither ranks nor scores: the policy writes completions without any."""
    loss = build(recipe.train.loss_name, **recipe.train.loss_parameters)
    needs = ("scores" if any("scores" in need for need in loss.needs) else "ranks") + " of completions"
    if recipe.build.orders_by == "annotations" and not recipe.generate.keep_source:
        raise RecipeError(
            f"build.rank: annotations reads the ranks and scores of the source, and the policy's completions "
            f"have none, but {loss.name} needs {needs}: set build.rank.ranker to one that gives them, such "
            "as verifier, reward_model, pairrm or judge"
        )


def _check_choice(recipe: OnlineRecipe) -> None:
    """Refuse samples of which none of the sets could have a choice, before they are paid for."""
    if recipe.completions == 1 and recipe.build.mine.require_choice and not recipe.generate.keep_source:
        raise RecipeError(
            "build.generate.samples gives one completion per prompt, which leaves no choice: set n to 2 or "
            "more, or build.mine.require_choice=false for a loss that takes the chosen completion alone"
        )


def _check_start(recipe: OnlineRecipe) -> None:
    if recipe.model.endswith(".json"):
        raise ModelError(
            f"the model {recipe.model!r} is a configuration: random weights write nothing that could be "
            "ranked; train them first, as with pairkit train --loss sft"
        )
    check_local("model", recipe.model)
    check_writes(recipe.model)
    # Its weights are loaded when the first segment trains.
    if recipe.train.reference is not None:
        check_writes(recipe.train.reference)


def _check_tokenizer(recipe: OnlineRecipe) -> None:
    """Refuse a model without a chat template, and a reference to which its ids mean other tokens."""
    train = recipe.train
    name = train.tokenizer or recipe.model
    place, revision = resolve(name, train.revision_of(name)).tokenizer()
    try:
        tokenizer = open_tokenizer(place, revision=revision, trust_remote_code=train.trust_remote_code)
    except Exception as error:  # one of a dozen types of transformers, tokenizers and the hub
        raise cannot_load("tokenizer", name, error) from error
    uses_model_template = isinstance(train.template, TemplateSettings) and train.template.file is None
    if uses_model_template and not tokenizer.chat_template:
        raise ModelError(
            f"the model {recipe.model!r} has no chat template: set train.template.file to one, which the "
            "policy is then prompted with too, or train.template=none for a model that continues raw text"
        )
    if train.reference is not None:
        check_same_tokens(
            tokenizer,
            train.reference,
            what="the reference",
            remedy="use a reference with the tokenizer of the model, or leave train.reference out",
            revision=None,
            trust_remote_code=train.trust_remote_code,
        )
