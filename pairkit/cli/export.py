"""`pairkit export`: a built dataset in the file format of another library, or a model of a run."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from pairkit.cli.options import OnExisting, TrustFlag
from pairkit.cli.printing import say
from pairkit.dataset.formats import FORMATS
from pairkit.errors import InputError, RecipeError, UsageError
from pairkit.stores.address import is_address


def export(
    folder: Annotated[
        str,
        typer.Argument(
            help="A dataset that `pairkit build` wrote, on disk or on a store (s3://...); or a run of "
            "`pairkit train`, one of its checkpoints, or adapters.",
            metavar="DIR",
        ),
    ],
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            help=f"The format of a dataset: {', '.join(FORMATS)}; or model.  [default: model, for what "
            "`pairkit train` wrote]",
            metavar="FORMAT",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split to export.")] = "train",
    out: Annotated[
        Path | None,
        typer.Option(help="File or directory to write; default runs/export/NAME-FORMAT.", show_default=False),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N sets.")] = None,
    rejected: Annotated[
        str | None,
        typer.Option(
            help="Rejected completion: worst, quantile, random, all or policy; default: that of the recipe."
        ),
    ] = None,
    best: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="Of a run: the checkpoint with the best held-out loss, reward_accuracy, reward_margin, "
            "chosen_logp or chosen_logp_per_token.",
        ),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge adapters into their base model, in float32.")
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Of a model's saved weights: float32, bfloat16, float16; default: as in its files."
        ),
    ] = None,
    trust_remote_code: TrustFlag = False,
    on_existing: Annotated[
        OnExisting, typer.Option(help="Keep an identical export of the split, write it again, or refuse.")
    ] = OnExisting.resume,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check --out, convert and count everything, write nothing.")
    ] = False,
) -> None:
    """Write a dataset in the file format of another library, or a model that everything loads.

    The formats, and what reads them:

    \b
    {formats}
      model      transformers, vLLM, pairkit: of a run, of a checkpoint, of adapters

    A set that makes no pair is left out and counted. Parquet or JSON lines, as the library expects. A
    directory holds one file per split.

    Examples:

    \b
      pairkit export runs/data/ultrafeedback --as trl
      pairkit export runs/data/ultrafeedback --as openai --out dpo.jsonl --limit 1000
      pairkit export runs/data/nectar --as nemo_rl --split test --rejected worst
      pairkit export s3://bucket/nectar --as trl --out nectar-trl
      pairkit export runs/train/nectar-dpo/checkpoints/step-000100 --as model --out models/at-100
      pairkit export runs/train/nectar-dpo --best reward_accuracy --merge
    """
    model_flags = best is not None or merge or dtype is not None
    if is_address(folder) and (as_ == "model" or model_flags):
        raise RecipeError(f"{folder}: a model is exported from a directory; download the run first")
    if not is_address(folder) and _is_model(Path(folder), as_, model_flags):
        for flag, value in (("--limit", limit), ("--rejected", rejected)):
            if value is not None:
                raise RecipeError(f"{flag} {value}: is for datasets, and {folder} is exported as a model")
        _export_model(Path(folder), out, best, merge, dtype, trust_remote_code, on_existing, dry_run)
        return
    if as_ is None:
        raise UsageError(
            f"--as is missing; choose a format: {', '.join(FORMATS)}; or model, for a training run"
        )
    from pairkit.arrow import without_pandas

    without_pandas()
    from pairkit.dataset.export import describe
    from pairkit.dataset.export import export as write

    export_result = write(
        folder,
        as_,
        out,
        split=split,
        limit=limit,
        # Any text: `export` checks it and names the choices.
        rejected=cast("Any", rejected),
        on_existing=cast("Any", on_existing.value),
        dry_run=dry_run,
    )
    say(describe(export_result, dry_run=dry_run))


def _is_model(folder: Path, as_: str | None, model_flags: bool) -> bool:
    """Tell whether a model is exported, by the flags and by what the directory holds."""
    from pairkit.models.resolve import is_training_output

    trained = is_training_output(folder)
    if as_ in (None, "model") and not trained and (folder / "config.json").is_file():
        raise InputError(
            f"{folder}: is a whole model, which transformers, vLLM and pairkit load as it is; export the "
            "training run (the directory with run.json) to write its model in another --dtype"
        )
    if as_ not in (None, "model"):
        if trained:
            raise RecipeError(f"--as {as_}: {folder} holds what was trained; export it with --as model")
        if model_flags:
            raise RecipeError(f"--as {as_}: --best, --merge and --dtype are for models; leave them out")
        return False
    if as_ == "model" or model_flags:
        if not trained and folder.exists():
            raise InputError(
                f"{folder}: neither a training run (no run.json), nor a checkpoint (no step.json), nor "
                "adapters (no adapter_config.json)"
            )
        return True
    return trained


def _export_model(
    folder: Path,
    out: Path | None,
    best: str | None,
    merge: bool,
    dtype: str | None,
    trust_remote_code: bool,
    on_existing: OnExisting,
    dry_run: bool,
) -> None:
    from pairkit.training.export.model import export_model

    export_result = export_model(
        folder,
        out,
        best=best,
        merge=merge,
        save_dtype=dtype,
        trust_remote_code=trust_remote_code,
        on_existing=cast("Any", on_existing.value),
        dry_run=dry_run,
    )
    kind = "adapters" if export_result.adapters else "a whole model"
    result = "nothing was written (--dry-run)" if dry_run else export_result.folder
    say(f"{kind} of {export_result.source}\n{result}")


# After the definition, because a docstring cannot be an f-string and typer prints it as the help. Without its
# indentation first, because the lines that replace the field have none.
export.__doc__ = cleandoc(str(export.__doc__)).format(
    formats="\n".join(f"  {name:<10} {row_format.consumer}" for name, row_format in FORMATS.items())
)
