"""Models of what a run left: a checkpoint, its best one, or its adapters merged into their base model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairkit import recipes
from pairkit.dataset.mixed import open_data
from pairkit.errors import InputError, ModelError, RecipeError, unknown
from pairkit.files import OnExisting, admit, names_in, read_json, read_record, sha256, stoppable
from pairkit.losses.building import trained_by
from pairkit.models.adapters import merged
from pairkit.models.chat.saved import saved_template
from pairkit.models.load import hub_commit, load_for_generation, load_tokenizer
from pairkit.models.new_tokens import new_ids
from pairkit.models.resolve import CHECKPOINT_RECORD, is_adapter, resolve
from pairkit.ownership import none_empty, outside_others, owned_name
from pairkit.recipes.differences import changed_values
from pairkit.schema import short_hash
from pairkit.training.export.source import find_source
from pairkit.training.kinds import KINDS
from pairkit.training.models import start_model
from pairkit.training.output.checkpoint import CHECKPOINTS, WEIGHTS_FILE
from pairkit.training.output.layout import HASHES, MODEL, RECORD, RECORD_OF_EXPORT
from pairkit.training.output.longer import shorter
from pairkit.training.output.save import save_model
from pairkit.training.plan import chat_format
from pairkit.training.recipe import TrainRecipe
from pairkit.version import __version__

RUNS = Path("runs/export")
DTYPES = ("float32", "bfloat16", "float16")
LOADED = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model")  # files of a model and its tokenizer


@dataclass(frozen=True)
class ExportedModel:
    """An exported model.

    Attributes:
        folder: the model's directory.
        source: the checkpoint, or the directory of the model, that it was made of.
        adapters: whether it holds adapters, which need their base model.
    """

    folder: Path
    source: Path
    adapters: bool


def export_model(
    path: Path,
    out: Path | None = None,
    *,
    best: str | None = None,
    merge: bool = False,
    save_dtype: str | None = None,
    trust_remote_code: bool = False,
    on_existing: OnExisting = "resume",
    dry_run: bool = False,
) -> ExportedModel:
    """Write the model of a run, of a checkpoint or of adapters as a directory that everything loads.

    Args:
        path: a run (its model, or its last checkpoint if it has not finished), a checkpoint, or adapters.
        out: the directory to write; None: under runs/export.
        best: a metric of `BEST`; of a run, the checkpoint with the best value on the held-out sets.
        merge: merge adapters into their base model, in float32.
        save_dtype: of the saved weights; None: as the run's recipe says, or as in the base model's files.
        trust_remote_code: run code that comes with the model, if the run did; its record alone, which may
            come from anywhere, runs nothing.

    Raises:
        RecipeError: an unknown metric, or one for what is no run; a model whose code is not trusted.
        InputError: no such checkpoint, or a damaged one.
        ModelError: a base model that cannot be loaded.
        ExistingOutputError: `out` contains something else.
        OutputError: `out` cannot be written.
    """
    source = find_source(path, best)
    _check_code(source, trust_remote_code)
    adapters = _has_adapters(source) and not merge
    _check(source, merge=merge, save_dtype=save_dtype)
    target = out or RUNS / _name(source, merge=merge)
    if target.resolve() in (path.resolve(), source.resolve()):
        raise RecipeError(f"--out {target}: is what is exported; choose another --out")
    # Before the hashing, and in a dry run too.
    outside_others(target)
    settings = {
        "from": str(source.resolve()),
        "weights": _digest(source),
        "merge": merge,
        "dtype": save_dtype,
    }
    exported = ExportedModel(target, source, adapters)
    with stoppable(target, lambda: f"{target}: stopped; the same command exports it again"):
        if _complete(target, settings, on_existing) or dry_run:
            return exported
        with none_empty(target.parent), owned_name(target):
            # Asked again, because another export may have ended while this one came to the lock.
            if _complete(target, settings, on_existing):
                return exported
            model, tokenizer, recipe = _load(source, merge=merge)
            if save_dtype:
                recipe = recipe.model_copy(update={"save_dtype": save_dtype})
            # Only now, because an export that fails must leave the one before it.
            shutil.rmtree(target, ignore_errors=True)
            # The version is recorded and not compared: an export stays the same under a newer one.
            record = {"pairkit": __version__, **settings}
            save_model(model, tokenizer, target, recipe, records={RECORD_OF_EXPORT: record})
    return exported


def _check(source: Path, *, merge: bool, save_dtype: str | None) -> None:
    """Refuse what would have no effect."""
    if save_dtype is not None and save_dtype not in DTYPES:
        raise unknown("dtype", save_dtype, DTYPES)
    checkpoint = (source / CHECKPOINT_RECORD).is_file()
    if merge and not _has_adapters(source):
        raise RecipeError(f"--merge: {source} is a whole model and has no adapters; leave it out")
    if not checkpoint and not merge and is_adapter(str(source)):
        raise RecipeError(
            f"{source}: holds adapters, which peft, vLLM and pairkit load as they are; use --merge to write "
            "a whole model"
        )


def _check_code(source: Path, trust_remote_code: bool) -> None:
    """Refuse a run that was trained with code of its model, unless the caller trusts it too."""
    for run in (source.parent, source.parent.parent):
        if (run / RECORD).is_file() and _recipe(run).trust_remote_code and not trust_remote_code:
            raise RecipeError(
                f"{run / RECORD}: asks to run code that comes with the model; read the code, then add "
                "--trust-remote-code"
            )


def _load(source: Path, *, merge: bool) -> tuple[nn.Module, Any, TrainRecipe]:
    """Load what is exported, its tokenizer, and the recipe that says how it is saved."""
    if (source / CHECKPOINT_RECORD).is_file():
        recipe = _recipe(source.parent.parent)
        return _checkpoint_model(source, recipe, merge=merge)
    run = source.parent
    # Of the recipe only what saving reads: adapters of elsewhere have none.
    recipe = _recipe(run) if (run / RECORD).is_file() else TrainRecipe(data="", model=str(source))
    recipe = recipe.model_copy(update={"model": str(source)})
    code = recipe.trust_remote_code
    if KINDS[recipe.trains].format is None:
        tokenizer = load_tokenizer(str(source), revision=None, trust_remote_code=code, texts=iter(()))
    else:
        tokenizer = chat_format(recipe, iter(())).tokenizer
    if recipe.trains == "policy":
        dtype = "float32" if merge else "auto"
        return load_for_generation(str(source), None, dtype=dtype, trust_remote_code=code), tokenizer, recipe
    kind = KINDS[recipe.trains]
    model = kind.load(
        str(source), revision=None, dtype="float32", trust_remote_code=code, attention=None, vocabulary=None,
        seed=0,
    )  # fmt: skip
    kind.finish(model, tokenizer, (recipe.max_length, recipe.max_prompt_length))
    return model, tokenizer, recipe


def _checkpoint_model(
    checkpoint: Path, recipe: TrainRecipe, *, merge: bool
) -> tuple[nn.Module, Any, TrainRecipe]:
    format = chat_format(recipe, _texts(recipe))  # read only for a tokenizer that was trained on them
    tokenizer = format.tokenizer
    tokenizer.chat_template = saved_template(format)
    vocabulary = len(tokenizer) if recipe.model.endswith(".json") else None
    tokens = new_ids(tokenizer, recipe.tokens)
    model = start_model(recipe, vocabulary, new_ids=tokens, tokenizer=tokenizer)
    weights = torch.load(checkpoint / WEIGHTS_FILE, weights_only=True, map_location="cpu")
    current = model.state_dict()
    for name, value in weights.items():
        if name not in current or current[name].shape != value.shape:
            raise ModelError(
                f"{checkpoint}: holds {name}, which the model {recipe.model!r} does not have in that shape; "
                "it is not the model that the run started from"
            )
    model.load_state_dict(weights, strict=False)  # not strict, because frozen weights are not among them
    if recipe.lora is not None and (merge or recipe.lora.merge):
        model = merged(model)
    return model, tokenizer, recipe


def _texts(recipe: TrainRecipe) -> Any:
    if not str(recipe.tokenizer).startswith("bpe:"):
        return iter(())
    return open_data(recipe.data, recipe.train_split, recipe.seed).texts(recipe.train_split, recipe.limit)


def _recipe(run: Path) -> TrainRecipe:
    """Read the recipe of a run from its record."""
    path = run / RECORD
    try:
        content = dict(read_json(path)["recipe"])
        trained = trained_by(content["loss"]["name"])
    except FileNotFoundError as error:
        raise InputError(
            f"{run}: has no {RECORD}, by which a checkpoint is exported; give the checkpoint within its run"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the record of a training run: {error}") from error
    # No loss is computed, so that none is imported; and no kernels of the Hub are needed.
    unused: dict[str, Any] = {"negatives": {}, "expand": None, "attention": None}
    if trained == "policy":
        unused["loss"] = {"name": "sft"}
    return recipes.validate(TrainRecipe, content | unused)


def _has_adapters(source: Path) -> bool:
    if not (source / CHECKPOINT_RECORD).is_file():
        return is_adapter(str(source))
    lora = _recipe(source.parent.parent).lora
    return lora is not None and not lora.merge


def _digest(source: Path) -> str:
    """Hash all that an export is made of: the checkpoint or adapters, the models below them, tokenizers."""
    name, revision, code, record = str(source), None, False, ""
    if (source / CHECKPOINT_RECORD).is_file():
        recipe = _recipe(source.parent.parent)
        name, revision, code = recipe.model, recipe.revision, recipe.trust_remote_code
        record = sha256(source / CHECKPOINT_RECORD)  # which holds the hashes of its other files
    elif (source.parent / RECORD).is_file():
        code = _recipe(source.parent).trust_remote_code
    place = resolve(name, revision)
    files = [path for folder in place.folders() for path in _files(folder)]
    if os.path.isfile(place.base):
        files.append(Path(place.base))
    # The commit, because on the hub a name stays the same when its weights change.
    commit = None if os.path.exists(place.base) else hub_commit(place.base, place.revision, code)
    # The content, because a file that is written again in place may keep its size, and a copy its time.
    return short_hash([record, commit, *((path.name, sha256(path)) for path in files)])


def _files(folder: Path) -> list[Path]:
    """List the files of a model from which it is loaded."""
    return sorted({path for kind in LOADED for path in folder.glob(kind) if path.name != HASHES})


def _name(source: Path, *, merge: bool) -> str:
    """Name the export after its run, and its step."""
    path = source.resolve()
    if path.parent.name == CHECKPOINTS:
        name = f"{path.parent.parent.name}-{path.name}"
    elif path in shorter(path.parent).values():
        name = f"{path.parent.name}-{path.name.removeprefix(f'{MODEL}-')}"
    else:
        name = path.parent.name if path.name == MODEL else path.name
    return f"{name}-merged" if merge else f"{name}-model"


def _complete(target: Path, settings: Mapping[str, Any], on_existing: OnExisting) -> bool:
    """Return whether this very export is in `target` already."""
    record = target / RECORD_OF_EXPORT
    if not names_in(target):
        return False
    holds = "an exported model" if record.is_file() else None

    def differences() -> list[str]:
        before = read_record(record, "use --on-existing delete")
        return changed_values(before, settings, lambda key: key.split(".")[0] not in settings)

    return admit(target, on_existing, holds=holds, differences=differences) == "resume"
