"""`pairkit train`: train a model on a built data set with any preference loss."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pairkit.cli.build import OnExisting
from pairkit.cli.overrides import overrides
from pairkit.errors import InputError

if TYPE_CHECKING:
    from pairkit.training.recipe import TrainRecipe

# What a data set of model-written completions is tried on when nothing names a model.
DEFAULT_MODEL = "Qwen/Qwen3-0.6B"
DATA, RUNS = Path("runs/data"), Path("runs/train")


def train(
    context: typer.Context,
    loss: Annotated[
        str | None,
        typer.Option(
            help="A loss of `pairkit losses`, a sum such as dpo:0.8+sft:0.2, or module:function; "
            "keywords as --loss.KEY VALUE, of one part of a sum as --loss.dpo.KEY VALUE."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A built data set; default the newest under runs/data.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A hub id, a directory, or a configuration (.json) to start from scratch; default the "
            f"model that the data set names, else {DEFAULT_MODEL}."
        ),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Of another model, or bpe:N for one of N tokens trained on the data.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Reference model; default the one that training starts from.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A shipped recipe's name, or a YAML file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/train/DATA-LOSS.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its peak; default 5e-7.")] = None,
    sets_per_step: Annotated[int | None, typer.Option(help="The global batch; default 128.")] = None,
    tokens_per_micro_batch: Annotated[
        int | None, typer.Option(help="Lower it when memory runs out; default 8192.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Optimizer steps, instead of --epochs.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data; default 1.")] = None,
    limit: Annotated[int | None, typer.Option(help="Train on the first so many sets.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of order, draws and fresh weights.")] = None,
    eval_every: Annotated[
        int | None, typer.Option(help="Steps; default before the first and after the last.")
    ] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints.")] = None,
    bf16: Annotated[bool | None, typer.Option("--bf16/--no-bf16", help="bfloat16 autocast.")] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option("--gradient-checkpointing/--no-gradient-checkpointing", help="Less memory, more time."),
    ] = None,
    compile: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="torch.compile each layer.")
    ] = None,
    shard: Annotated[
        bool | None,
        typer.Option("--shard/--no-shard", help="Each of several processes holds a part of the weights."),
    ] = None,
    lora: Annotated[
        bool | None, typer.Option("--lora", help="Train adapters; lora.r=16 and others as KEY=VALUE.")
    ] = None,
    tracker: Annotated[
        list[str] | None,
        typer.Option(
            help="tensorboard (the default), wandb or trackio; again for more; trackers=[] for none."
        ),
    ] = None,
    trust_remote_code: Annotated[
        bool | None, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = None,
    on_existing: Annotated[
        OnExisting, typer.Option(help="Go on with the run in --out, start it anew, or refuse.")
    ] = OnExisting.resume,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and the resolved recipe, train nothing.")
    ] = False,
) -> None:
    """Train a model on a built data set with a preference loss.

    Any field of the training recipe can follow the flags as KEY=VALUE, such as optimizer.warmup=0.

    Examples:

    \b
      pairkit train --loss mcpo
      pairkit train --loss mcpo --loss.negatives 3 --loss.sampling max --data runs/data/nectar
      pairkit train --loss dpo --loss.beta 0.05 --negatives.sampling random --model Qwen/Qwen3-0.6B
      pairkit train --loss dpo:0.8+bco:0.2+sft:1.0 --loss.dpo.beta 0.05
      pairkit train --loss my_losses:hinge --loss.beta 0.1 --negatives.sampling all
      pairkit train --loss simpo --model config.json --tokenizer bpe:4096 --max-steps 300 --learning-rate 1e-3
      pairkit train --recipe mcpo-nectar --data runs/data/nectar optimizer.learning_rate=1e-6
    """
    flags = {
        "data": data, "model": model, "tokenizer": tokenizer, "reference": reference,
        "sets_per_step": sets_per_step, "tokens_per_micro_batch": tokens_per_micro_batch,
        "max_steps": max_steps, "epochs": epochs, "limit": limit, "seed": seed,
        "eval_every": eval_every, "save_every": save_every, "bf16": bf16,
        "gradient_checkpointing": gradient_checkpointing, "compile": compile, "shard": shard,
        "trust_remote_code": trust_remote_code, "trackers": tracker or None,
    }  # fmt: skip
    content: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
    if loss is not None:
        content["loss"] = {"name": loss}
    if lora:
        content["lora"] = {}
    if learning_rate is not None:
        content["optimizer"] = {"learning_rate": learning_rate}
    resolved = _resolve(recipe, content, context)
    name = re.sub(r"[^\w.+-]", "-", resolved.loss_name)  # a sum and a module have colons
    folder = out or RUNS / f"{Path(resolved.data).name}-{name}"
    if dry_run:
        _print_plan(resolved, folder)
        return
    from pairkit.training.distributed.processes import current_processes
    from pairkit.training.run import train as run

    trained = run(resolved, folder, on_existing=on_existing.value)
    if current_processes().main:
        typer.echo(f"model: {trained}\nmetrics: {folder / 'metrics.jsonl'}")


def _resolve(recipe: str | None, flags: dict[str, Any], context: typer.Context) -> TrainRecipe:
    """The recipe with the flags over it, and what is neither given nor defaulted found and said."""
    from pairkit import recipes
    from pairkit.training.recipe import TrainRecipe

    content = recipes.read(recipe, "train") if recipe else {}
    content = recipes.merge(content, recipes.merge(flags, overrides(context, TrainRecipe)))
    if "data" not in content:
        content["data"] = str(_newest())
        typer.secho(f"data: {content['data']} (the newest under {DATA})", err=True)
    if "model" not in content:
        content["model"] = _named_model(Path(content["data"])) or DEFAULT_MODEL
        typer.secho(f"model: {content['model']}", err=True)
    return recipes.validate(TrainRecipe, content)


def _newest() -> Path:
    built = sorted(DATA.glob("*/pairkit.json"), key=lambda path: path.stat().st_mtime)
    if not built:
        raise InputError(f"no built data set under {DATA}; give --data, or run: pairkit build --source NAME")
    return built[-1].parent


def _named_model(data: Path) -> str | None:
    """The model that the data set's recipe generated with, if it did."""
    from pairkit.dataset.layout import read_manifest

    manifest = read_manifest(data)
    generate = manifest.get("recipe", {}).get("generate") or {}
    if "model" in manifest.get("input", {}):  # a directory, of which a data set names the last parts only
        raise InputError(
            f"{data}: generated by the local model {generate['model']}; name a model with --model"
        )
    return str(generate["model"]) if "model" in generate else None


def _print_plan(recipe: TrainRecipe, folder: Path) -> None:
    import yaml

    from pairkit.training.cost.dry_run import estimate
    from pairkit.training.plan import plan
    from pairkit.training.tokens.store import TokenStore

    planned = plan(recipe, TokenStore(folder.parent / "tokens", write=False))
    described = {"out": str(folder), **estimate(planned), "recipe": recipe.model_dump(mode="json")}
    typer.echo(yaml.safe_dump(described, sort_keys=False), nl=False)
