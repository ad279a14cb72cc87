"""`pairkit online`: train on what the policy itself writes, in segments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from pairkit.cli.defaults import BUILD, ONLINE, TRAIN
from pairkit.cli.mapping import mapping
from pairkit.cli.options import (
    AllowCodeFlag,
    AllowKeyFlag,
    OnExisting,
    OnExistingFlag,
    RecipeFlag,
    TrustFlag,
    field_flag,
)
from pairkit.cli.overrides import given_flags, overrides
from pairkit.cli.printing import say
from pairkit.errors import Interrupted

if TYPE_CHECKING:
    from pairkit.online.recipe import OnlineRecipe

RUNS = Path("runs/online")
# The first model of the shipped quickstarts, which `pairkit quickstart` makes too.
QUICKSTART = Path("runs/quickstart")

_build, _flag, _train = (partial(field_flag, table) for table in (BUILD, ONLINE, TRAIN))


def online(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The first policy: a Hub id or a directory.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Prompts: a name of `pairkit sources`, or a dataset id on the Hub."
        ),
    ] = None,
    recipe: RecipeFlag = None,
    path: Annotated[
        str | None, _build("source.path", "PATH", "File, folder or glob to read instead of the Hub.")
    ] = None,
    split: Annotated[
        str | None, _build("source.split", "NAME", "Split of the source.", null="the source's first")
    ] = None,
    limit: Annotated[
        int | None, _build("source.limit", "N", "Read only the first N raw rows.", null="all")
    ] = None,
    map_: Annotated[
        str | None,
        _build("source.map", "FIELD=COLUMN,...", "As in `pairkit build`.", "--map", null="as in the layout"),
    ] = None,
    layout: Annotated[
        str | None, _build("source.layout", "NAME", "As in `pairkit build`.", null="recognized")
    ] = None,
    loss: Annotated[
        str | None,
        _train("loss.name", "LOSS", "A loss of `pairkit losses`; its keywords are train.loss.KEY=VALUE."),
    ] = None,
    segments: Annotated[
        int | None, _flag("segments", "N", "Parts, each with completions of the newest policy.")
    ] = None,
    prompts_per_segment: Annotated[
        int | None,
        _flag("prompts_per_segment", "N", "Prompts per segment.", null="as many as its steps need"),
    ] = None,
    reference: Annotated[
        str | None,
        _flag("reference", "start|previous", "The first policy, or that of the segment before."),
    ] = None,
    learning_rate: Annotated[
        float | None,
        _train("optimizer.learning_rate", "RATE", "Peak learning rate.", null="as in `pairkit train`"),
    ] = None,
    sets_per_step: Annotated[
        int | None, _train("sets_per_step", "N", "Candidate sets per optimizer step (the global batch).")
    ] = None,
    max_steps: Annotated[
        int | None,
        _train(
            "max_steps",
            "N",
            "Optimizer steps of all segments, instead of --epochs.",
            null="those of --epochs",
        ),
    ] = None,
    epochs: Annotated[float | None, _train("epochs", "N", "Passes over the prompts.")] = None,
    seed: Annotated[int | None, _flag("seed", "N", "Random seed of everything.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Output directory.  [default: runs/online/RECIPE, or SOURCE-LOSS there]"
        ),
    ] = None,
    allow_code: AllowCodeFlag = None,
    allow_key: AllowKeyFlag = None,
    trust_remote_code: TrustFlag = False,
    on_existing: OnExistingFlag = OnExisting.resume,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and the recipe; write nothing.")
    ] = False,
) -> None:
    """Train on what the policy itself writes, in segments.

    In each segment the policy completes new prompts, a ranker orders the completions, and the policy trains
    on the sets, in one run with one optimizer state and one schedule.

    Any field of a build recipe can follow the flags as build.KEY=VALUE, any of a training recipe as
    train.KEY=VALUE. A recipe given with --recipe replaces the defaults shown below, and flags replace both.
    To resume after a stop, run the same command again.

    Examples:

    \b
      pairkit online --recipe onmcpo-quickstart
      pairkit online --model DIR --source gsm8k --loss mcpo build.rank.ranker=verifier build.rank.check=number
      pairkit online --recipe iterative-dpo --model DIR --segments 5 build.generate.engine=transformers
      pairkit online --recipe onmcpo-quickstart --segments 10 mix.earlier=0.5 --out runs/online/mixed
      pairkit online --recipe onmcpo-quickstart --dry-run
    """
    from pairkit.arrow import without_pandas
    from pairkit.online import recipe as recipes
    from pairkit.recipes import merge
    from pairkit.trust import only_trusted

    if not allow_code:  # functions of other modules may use pandas
        without_pandas()
    source_flags = {
        "name": source, "path": path, "split": split, "limit": limit, "map": mapping(map_), "layout": layout
    }  # fmt: skip
    flags = {
        "model": model,
        "segments": segments,
        "prompts_per_segment": prompts_per_segment,
        "reference": reference,
        "seed": seed,
        "build": {"source": source_flags},
        "train": {
            "loss": {"name": loss},
            "optimizer": {"learning_rate": learning_rate},
            "sets_per_step": sets_per_step,
            "max_steps": max_steps,
            "epochs": epochs,
        },
    }
    typed = merge(given_flags(flags), overrides(context, recipes.OnlineRecipe))
    if trust_remote_code:
        typed = merge(typed, {"train": {"trust_remote_code": True}})
    fields = {**typed.get("build", {}), **typed.get("train", {})}
    context.with_resource(only_trusted(fields, allow_code or []))
    online_recipe = recipes.load(recipe, typed, remote_code=trust_remote_code, allow_keys=allow_key or [])
    # The last part, because a hub id has a slash, which would be a folder.
    name = (
        Path(recipe).stem
        if recipe
        else f"{online_recipe.build.title.split('/')[-1]}-{online_recipe.loss_name}"
    )
    folder = out or RUNS / name

    def begun_with(model: str) -> OnlineRecipe:
        over = merge(typed, {"model": model})
        return recipes.load(recipe, over, remote_code=trust_remote_code, allow_keys=allow_key or [])

    try:
        if dry_run:
            _print_plan(online_recipe, folder, begun_with)
        else:
            _run(online_recipe, folder, on_existing)
    except KeyboardInterrupt as error:  # while torch is imported, or the recipe is checked
        raise Interrupted(f"{folder}: stopped; {_status(folder)}") from error


def _run(recipe: OnlineRecipe, folder: Path, on_existing: OnExisting) -> None:
    if _begins_with_quickstart(recipe):
        from pairkit.quickstart.run import first_model
        from pairkit.quickstart.settings import Settings

        first_model(QUICKSTART, Settings())
    # Only now, because torch is not needed for a wrong flag.
    from pairkit.online import run

    model = run.online(recipe, folder, on_existing=on_existing.value)
    say(f"model: {model}\nsegments: {folder / 'segments.jsonl'}\nmetrics: {folder / 'metrics.jsonl'}")


def _print_plan(recipe: OnlineRecipe, folder: Path, begun_with: Callable[[str], OnlineRecipe]) -> None:
    import yaml

    from pairkit.online import run

    with TemporaryDirectory() as start:
        checked = recipe
        # A dry run trains nothing, but all that is checked of the model is known before.
        if _begins_with_quickstart(recipe):
            from pairkit.quickstart.model import save_start

            save_start(Path(start))
            checked = begun_with(start)
        plan = run.planned(recipe, folder, checked=checked)
    say(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True), end="")


def _begins_with_quickstart(recipe: OnlineRecipe) -> bool:
    """Return whether the first policy is that of a quickstart, which is not there yet."""
    first = QUICKSTART / "sft" / "model"
    return Path(recipe.model) == first and not first.exists()


def _status(folder: Path) -> str:
    if (folder / "online.json").exists():
        return "what was there is kept; run the same command again to continue"
    return "nothing was done yet; run the same command again to begin"
