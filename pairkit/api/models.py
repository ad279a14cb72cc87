"""Models: trained, and their log-probs of candidate sets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pairkit.api.arguments import (
    Location,
    check_counts,
    check_on_existing,
    code_of_file,
    plain,
    recipe_fields,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from pairkit.dataset.reader import BuiltData
    from pairkit.files import OnExisting
    from pairkit.training.recipe import TrainRecipe


def train(
    recipe: TrainRecipe | Mapping[str, Any] | Location,
    out: Location,
    *,
    on_existing: OnExisting = "resume",
    allow_code: Iterable[str] = (),
    allow_changed_data: bool = False,
    **fields: Any,
) -> Path:
    """Train a model on a built dataset in the run directory `out`, or continue a run.

    Args:
        recipe: a recipe, its fields, the name of a shipped one, or a YAML file.
        on_existing: what happens if `out` is not empty: "resume", "delete" or "raise".
        allow_code: as in `build`.
        allow_changed_data: train on files that are not those that the dataset's manifest lists.
        fields: fields of the recipe that replace those of `recipe`; mappings are merged.

    Returns:
        The directory of the trained model and its tokenizer, `out`/model.

    Raises:
        PairkitError: see `pairkit.errors`; the message states what to do.

    >>> import json, pathlib, pairkit
    >>> config = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32,
    ...           "num_hidden_layers": 1, "num_attention_heads": 2}
    >>> _ = pathlib.Path("config.json").write_text(json.dumps(config))
    >>> recipe = {"loss": "dpo", "model": "config.json", "tokenizer": "bpe:300", "max_steps": 2}
    >>> str(pairkit.train(recipe, "run", data=pairkit.load("sums"), sets_per_step=4, trackers=[]))
    'run/model'
    """
    from pairkit import recipes
    from pairkit.evaluation.during_training import benchmark_of
    from pairkit.training.recipe import TrainRecipe
    from pairkit.training.run import train as run
    from pairkit.trust import check_requests

    # A recipe object is taken apart, so that `fields` are checked together with it.
    check_on_existing(on_existing)
    from_file = isinstance(recipe, str | os.PathLike)
    content = recipes.read(os.fspath(recipe), "train") if from_file else recipe_fields(recipe)  # type: ignore[arg-type]
    overrides = plain(fields)
    settings = recipes.merge(content, overrides)
    check_requests(settings, overrides if from_file else settings)
    with code_of_file(from_file, allow_code, overrides):
        train_recipe = recipes.validate(TrainRecipe, settings)
        return run(
            train_recipe,
            Path(out),
            on_existing=on_existing,
            allow_changed_data=allow_changed_data,
            benchmarks=benchmark_of,
        )


def score(
    model: Location,
    data: Location | BuiltData | pa.Table,
    *,
    split: str = "train",
    limit: int | None = None,
    tokenizer: str | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    max_length: int = 2048,
    tokens_per_micro_batch: int = 8192,
    trust_remote_code: bool = False,
) -> pa.Table:
    """Compute the log-prob of every completion of candidate sets under a model.

    A score is a log-prob here, because that is what every loss, reference and importance weight starts from;
    the numbers of rankers are already in the sets, as `score` of their completions. Tokens, template and
    lengths are those of training, so that the sums are those that a loss gets.

    Args:
        model: a hub id or a directory.
        data: a built dataset, or a table of its sets.
        split: of a dataset.
        limit: only the first N sets of the split; None = all.
        tokenizer: the tokenizer of another model; None = the model's.
        max_length: tokens of a prompt with its completion; longer ones are cut as in training.
        tokens_per_micro_batch: lower it when memory runs out.

    Returns:
        One row per set, in order: `set_id`, `logps` (nats, summed over a completion's tokens) and `tokens`
        (their number), one entry per completion each, and `reason`, why a set has neither.

    Raises:
        InputError: a dataset that cannot be read, or has no such split.
        ModelError: a model or tokenizer that cannot be loaded.

    >>> import pairkit
    >>> scores = pairkit.score("run/model", "sums", split="test")
    >>> scores.column_names
    ['set_id', 'logps', 'tokens', 'reason']
    >>> chosen, rejected = scores["logps"][0].as_py()  # the best completion is first
    >>> chosen < 0 and rejected < 0
    True
    """
    import pyarrow as pa

    from pairkit.dataset import reader
    from pairkit.errors import unknown
    from pairkit.schema import check_sets
    from pairkit.training.logprobs.score_sets import score_sets
    from pairkit.training.recipe import TrainRecipe

    counts = {"limit": limit, "max_length": max_length, "tokens_per_micro_batch": tokens_per_micro_batch}
    check_counts(**{name: number for name, number in counts.items() if number is not None})
    dtypes = get_args(TrainRecipe.model_fields["dtype"].annotation)
    if dtype not in dtypes:
        raise unknown("dtype", dtype, dtypes)
    tables: Iterable[pa.Table]
    if isinstance(data, pa.Table):
        # Checked here, because a table of the caller may have any columns.
        tables, count = [check_sets(data)[:limit]], data.num_rows
    else:
        # A dataset that is open already is not opened twice.
        dataset = data if isinstance(data, reader.BuiltData) else reader.load(data)
        dataset.require(split)
        tables, count = dataset.tables(split, limit), dataset.rows(split)
    return score_sets(
        os.fspath(model),
        tables,
        # The smaller one, because a limit may be above the number of sets.
        count=count if limit is None else min(limit, count),
        tokenizer=tokenizer,
        revision=revision,
        dtype=dtype,
        max_length=max_length,
        tokens_per_micro_batch=tokens_per_micro_batch,
        trust_remote_code=trust_remote_code,
    )
