"""`pairkit train`: train a model on a built dataset with any preference loss."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairkit.cli.built import DATA, built
from pairkit.cli.defaults import TRAIN
from pairkit.cli.options import AllowCodeFlag, OnExisting, OnExistingFlag, RecipeFlag, field_flag
from pairkit.cli.overrides import given_flags, overrides
from pairkit.cli.printing import say
from pairkit.errors import InputError

if TYPE_CHECKING:
    from pairkit.training.recipe import TrainRecipe

# For data that people or API models wrote, where nothing names a model: small, and its license is open.
DEFAULT_MODEL = "Qwen/Qwen3-0.6B"
RUNS = Path("runs/train")

_flag = partial(field_flag, TRAIN)


def train(
    context: typer.Context,
    loss: Annotated[
        str | None,
        _flag(
            "loss.name",
            "LOSS",
            "A loss of `pairkit losses`, a sum such as dpo:0.8+sft:0.2, or module:function. Keywords are "
            "--loss.KEY VALUE; for one part of a sum, --loss.dpo.KEY VALUE.",
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR[:WEIGHT]",
            help="A built dataset: a directory, org/name on the Hub, or an address (s3://...); may be "
            "repeated, each with its weight, to mix several.  [default: the newest under runs/data]",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A Hub id, a directory, or a configuration file (.json) to start from random weights.  "
            f"[default: the model that generated the dataset, else {DEFAULT_MODEL}]",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        _flag(
            "tokenizer",
            "MODEL|bpe:N",
            "Tokenizer to use instead of the model's; bpe:N trains one with N tokens on the data.",
            null="the model's",
        ),
    ] = None,
    reference: Annotated[
        str | None,
        _flag("reference", "MODEL", "Reference model.", null="the model that training starts from"),
    ] = None,
    recipe: RecipeFlag = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run directory.  [default: runs/train/DATA-LOSS]")
    ] = None,
    learning_rate: Annotated[
        float | None,
        _flag(
            "optimizer.learning_rate",
            "RATE",
            "Peak learning rate.",
            null="5e-7, with --lora 5e-6; of sft 2e-5, with --lora 2e-4; from random weights 3e-4",
        ),
    ] = None,
    sets_per_step: Annotated[
        int | None, _flag("sets_per_step", "N", "Candidate sets per optimizer step (the global batch).")
    ] = None,
    tokens_per_micro_batch: Annotated[
        int | None,
        _flag("tokens_per_micro_batch", "N", "Tokens per micro-batch; lower it when memory runs out."),
    ] = None,
    max_steps: Annotated[
        int | None,
        _flag(
            "max_steps",
            "N",
            "Optimizer steps, instead of --epochs; may be raised to continue a run.",
            null="those of --epochs",
        ),
    ] = None,
    epochs: Annotated[
        float | None, _flag("epochs", "N", "Passes over the data; may be raised to continue a run.")
    ] = None,
    limit: Annotated[int | None, _flag("limit", "N", "Use only the first N sets.", null="all")] = None,
    seed: Annotated[
        int | None,
        _flag("seed", "N", "Random seed for data order, negative sampling and weight initialization."),
    ] = None,
    eval_every: Annotated[
        int | None,
        _flag(
            "eval_every", "N", "Steps between evaluations.", null="before the first step and after the last"
        ),
    ] = None,
    save_every: Annotated[
        str | None,
        _flag(
            "save_every",
            "N|epoch",
            "Steps between checkpoints; epoch keeps the default and saves a model after each epoch.",
            null="a tenth of the run, at least 10",
        ),
    ] = None,
    sample_every: Annotated[
        str | None,
        _flag(
            "record.samples.every",
            "N|epoch",
            "Steps, or an epoch, between samples of the policy on held-out prompts.",
            null="no samples",
        ),
    ] = None,
    keep_best: Annotated[
        str | None,
        _flag(
            "keep_best",
            "METRIC",
            "Also keep the checkpoint with the best held-out loss, reward_accuracy or other metric.",
            null="only the last ones",
        ),
    ] = None,
    bf16: Annotated[
        bool | None, _flag("bf16", "", "Compute in bfloat16 (autocast).", "--bf16/--no-bf16")
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        _flag(
            "gradient_checkpointing",
            "",
            "Use less memory and more time.",
            "--gradient-checkpointing/--no-gradient-checkpointing",
        ),
    ] = None,
    compile: Annotated[
        bool | None, _flag("compile", "", "Compile each layer with torch.compile.", "--compile/--no-compile")
    ] = None,
    shard: Annotated[
        bool | None,
        _flag(
            "shard",
            "",
            "Shard the weights over the processes.",
            "--shard/--no-shard",
            null="as `accelerate launch` is configured",
        ),
    ] = None,
    lora: Annotated[
        bool | None, typer.Option("--lora", help="Train LoRA adapters; their fields are lora.KEY=VALUE.")
    ] = None,
    tracker: Annotated[
        list[str] | None,
        _flag(
            "trackers", "NAME", "tensorboard, wandb or trackio; may be repeated. trackers=[] turns all off."
        ),
    ] = None,
    trust_remote_code: Annotated[
        bool | None,
        _flag("trust_remote_code", "", "Run code that comes with the model.", "--trust-remote-code"),
    ] = None,
    allow_code: AllowCodeFlag = None,
    on_existing: OnExistingFlag = OnExisting.resume,
    allow_changed_data: Annotated[
        bool,
        typer.Option(
            "--allow-changed-data",
            help="Train on a dataset whose files are not those that its manifest lists.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and the recipe; train nothing.")
    ] = False,
) -> None:
    """Train a model on a built dataset with a preference loss.

    Any field of the training recipe can follow the flags as KEY=VALUE, such as optimizer.warmup=0. A recipe
    given with --recipe replaces the defaults shown below, and flags replace both. To resume a run that
    stopped, run the same command again.

    Examples:

    \b
      pairkit train --loss mcpo
      pairkit train --loss dpo --loss.beta 0.05 --negatives.sampling random --lora lora.r=64
      pairkit train --loss dpo:0.8+bco:0.2+sft:1.0 --loss.dpo.beta 0.05 --eval-every 50 --keep-best loss
      pairkit train --loss simpo --model config.json --tokenizer bpe:4096 --max-steps 300 --learning-rate 1e-3
      pairkit train --loss dpo --data runs/data/nectar:0.7 --data org/name:0.3
      pairkit train --recipe mcpo-nectar --data runs/data/nectar optimizer.learning_rate=1e-6
    """
    flags = {
        "data": _data(data), "model": model, "tokenizer": tokenizer, "reference": reference,
        "sets_per_step": sets_per_step, "tokens_per_micro_batch": tokens_per_micro_batch,
        "max_steps": max_steps, "epochs": epochs, "limit": limit, "seed": seed,
        "eval_every": eval_every, "save_every": save_every, "keep_best": keep_best, "bf16": bf16,
        "gradient_checkpointing": gradient_checkpointing, "compile": compile, "shard": shard,
        # typer gives an empty list for a flag that was not used.
        "trust_remote_code": trust_remote_code, "trackers": tracker or None,
    }  # fmt: skip
    content = given_flags(flags)
    if loss is not None:
        content["loss"] = {"name": loss}
    if sample_every is not None:
        content["record"] = {"samples": {"every": sample_every}}
    if lora:
        # An empty block is LoRA with its defaults.
        content["lora"] = {}
    if learning_rate is not None:
        content["optimizer"] = {"learning_rate": learning_rate}
    train_recipe = _resolve(recipe, content, context, allow_code or [], write=not dry_run)
    from pairkit.arrow import without_pandas
    from pairkit.dataset.mixed import title_of

    if not allow_code:  # functions of other modules may use pandas
        without_pandas()
    name = re.sub(r"[^\w.+-]", "-", train_recipe.loss_name)  # the colons of a sum or of module:function
    folder = out or RUNS / f"{title_of(train_recipe.data)}-{name}"
    if dry_run:
        _print_plan(train_recipe, folder, allow_changed_data)
        return
    # Only now, because torch is not needed for a wrong flag.
    from pairkit.evaluation.during_training import benchmark_of
    from pairkit.training.distributed.processes import current_processes
    from pairkit.training.run import train as run

    model_folder = run(
        train_recipe,
        folder,
        on_existing=on_existing.value,
        allow_changed_data=allow_changed_data,
        benchmarks=benchmark_of,
    )
    # One of several processes prints.
    if current_processes().main:
        say(f"model: {model_folder}\nmetrics: {folder / 'metrics.jsonl'}")


def _data(values: list[str] | None) -> str | list[str] | None:
    """Return one dataset as its name, and several as a list."""
    return values[0] if values and len(values) == 1 and ":" not in values[0] else values or None


def _resolve(
    recipe: str | None,
    flags: dict[str, Any],
    context: typer.Context,
    allow_code: list[str],
    *,
    write: bool,
) -> TrainRecipe:
    from pairkit.recipes import validate
    from pairkit.training.recipe import TrainRecipe

    return validate(TrainRecipe, fields_of(recipe, flags, context, allow_code, write=write))


def fields_of(
    recipe: str | None,
    flags: dict[str, Any],
    context: typer.Context,
    allow_code: list[str],
    *,
    write: bool = True,
) -> dict[str, Any]:
    """Lay the flags over the recipe; find data and model where neither names them, and print which.

    A dataset on the hub that pairkit did not build is built, unless nothing may be written.
    """
    from pairkit import recipes
    from pairkit.training.recipe import TrainRecipe
    from pairkit.trust import check_requests, only_trusted

    content = recipes.read(recipe, "train") if recipe else {}
    typed = recipes.merge(flags, overrides(context, TrainRecipe))
    content = recipes.merge(content, typed)
    check_requests(content, typed, remote_code=bool(flags.get("trust_remote_code")))
    context.with_resource(only_trusted(typed, allow_code))
    if "data" not in content:
        content["data"] = str(_newest())
        # On stderr, because it is a remark and not the result.
        say(f"data: {content['data']} (the newest under {DATA})", err=True)
    content["data"] = built(content["data"], write=write)
    if "model" not in content:
        content["model"] = _named_model(content["data"]) or DEFAULT_MODEL
        say(f"model: {content['model']}", err=True)
    return content


def _newest() -> Path:
    from pairkit.schema import MANIFEST

    # By the manifest's time, because it is written last: a build in progress has none.
    manifests = sorted(DATA.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    if not manifests:
        raise InputError(
            f"no built dataset under {DATA}; name one with --data, or run: pairkit build --source NAME"
        )
    return manifests[-1].parent


def _named_model(data: Any) -> str | None:
    """Return the model that generated the dataset's completions; None if a model did not, or several did."""
    from pairkit.dataset.layout import read_manifest
    from pairkit.dataset.remote.on_hub import folder_of

    if not isinstance(data, str):
        return None
    manifest = read_manifest(folder_of(data))
    generate = manifest.get("recipe", {}).get("generate") or {}
    if "model" in manifest.get("input", {}):  # a directory: a dataset names only the end of its path
        raise InputError(
            f"{data}: generated by the local model {generate['model']}; "
            "give its path, or another model, with --model"
        )
    return str(generate["model"]) if "model" in generate else None


def _print_plan(recipe: TrainRecipe, folder: Path, allow_changed_data: bool) -> None:
    import yaml

    from pairkit.masking import masked
    from pairkit.progress import log
    from pairkit.training.cost.dry_run import estimate
    from pairkit.training.plan import plan
    from pairkit.training.tokens.store import TokenStore

    # Read but not written: a dry run may use a store and leaves none.
    store = TokenStore(folder.parent / "tokens", write=False)
    run_plan = plan(recipe, store, allow_changed_data=allow_changed_data)
    for note in run_plan.notes:
        log(note)
    description = {"out": str(folder), **estimate(run_plan), "recipe": masked(recipe.model_dump(mode="json"))}
    say(yaml.safe_dump(description, sort_keys=False), end="")
