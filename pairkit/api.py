"""The functions of pairkit's public face; `import pairkit` offers them without importing what they need.

Each is the function behind a command of the same name, and takes plain values: names, paths, mappings.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    import pyarrow as pa

    from pairkit.dataset.reader import BuiltData
    from pairkit.files import OnExisting
    from pairkit.hub.card_on_hub import HubCard
    from pairkit.hub.push import Pushed
    from pairkit.pipeline.executors.ray.settings import RaySettings
    from pairkit.pipeline.recipe import BuildRecipe
    from pairkit.training.recipe import TrainRecipe

Location = str | os.PathLike[str]


def build(
    recipe: BuildRecipe | Mapping[str, Any] | Location,
    out: Location,
    *,
    on_existing: OnExisting = "resume",
    workers: int | None = None,
    cache: Location | None = None,
    retry_failed: bool = False,
    cluster: RaySettings | Mapping[str, Any] | None = None,
    allow_code: Iterable[str] = (),
    allow_key: Iterable[str] = (),
    **fields: Any,
) -> BuiltData:
    """Build a dataset of candidate sets in the directory `out`, or continue a build, and open it.

    `out` may be the address of a store (`s3://bucket/folder`): the dataset is then published there.

    Args:
        recipe: a recipe, its fields, the name of a shipped one, or a YAML file.
        on_existing: what happens if `out` is not empty: "resume", "delete" or "raise".
        workers: units worked on at a time; None = one per CPU core, four at most.
        cache: the file of answered model calls; None = calls.sqlite next to `out`.
        retry_failed: repeat model calls that failed before.
        cluster: the Ray cluster that runs the stages, as {"address": "auto", "engines": 8}: the fields of
            `pairkit build --executor ray` without `ray_`; None = this process.
        allow_code: modules whose functions a YAML file may name. What a recipe object, a mapping or `fields`
            name is the caller's own code and needs no permission.
        allow_key: keys that a YAML file may have sent to a server, as "VARIABLE@URL"; the caller's
            own need no permission.
        fields: fields of the recipe that replace those of `recipe`; mappings are merged.

    Raises:
        PairkitError: see `pairkit.errors`; the message states what to do.

    >>> import json, pathlib, pairkit
    >>> rows = [{"prompt": f"{n} + 1 =", "chosen": str(n + 1), "rejected": str(n)} for n in range(40)]
    >>> _ = pathlib.Path("sums.jsonl").write_text("\\n".join(map(json.dumps, rows)))
    >>> recipe = {"source": {"name": "files", "path": "sums.jsonl"}}
    >>> data = pairkit.build(recipe, "sums", test_fraction=0.2)
    >>> data.rows("train") + data.rows("test")
    40
    """
    # In the function, as everywhere here: `import pairkit` must not load pyarrow, polars or torch.
    from pairkit.dataset import reader
    from pairkit.pipeline.build import build as build_folder
    from pairkit.pipeline.distributed.to_store import build_to_store
    from pairkit.pipeline.recipe import BuildRecipe, load
    from pairkit.stores.address import is_address

    _check_on_existing(on_existing)
    if workers is not None:
        _check_counts(workers=workers)
    overrides = _plain(fields)
    from_file = isinstance(recipe, str | os.PathLike)
    if isinstance(recipe, str | os.PathLike):
        with _code_of_file(from_file, allow_code, overrides):
            build_recipe = load(os.fspath(recipe), overrides, {}, allow_keys=allow_key)
    # A recipe that was validated stays as it is; with other fields it is validated again below.
    elif isinstance(recipe, BuildRecipe) and not fields:
        build_recipe = recipe
    else:
        build_recipe = load(None, _content(recipe), overrides)
    with _code_of_file(from_file, allow_code, overrides):
        store = is_address(out)
        run = partial(build_to_store, out=os.fspath(out)) if store else partial(build_folder, out=Path(out))
        run(
            build_recipe,
            on_existing=on_existing,
            workers=workers,
            cache=None if cache is None else Path(cache),
            retry_failed=retry_failed,
            cluster=_cluster(cluster),
        )
    return reader.load(out)


def load(folder: Location) -> BuiltData:
    """Open a dataset that `build` wrote, in a directory or on a store. Reads its manifest only.

    What an address (`s3://bucket/folder`) names is downloaded first.

    The result has `manifest`, `splits` and `rows(split)`; `tables(split)` iterates its candidate sets and
    `pairs(split)` its pairs, as Arrow tables of some hundred rows. Raises `InputError`.

    >>> import pairkit
    >>> data = pairkit.load("sums")
    >>> data.splits
    ['test', 'train']
    >>> sets = next(data.tables("train"))
    >>> [completion["text"] for completion in sets["completions"][0].as_py()]  # the best first
    ['1', '0']
    >>> next(data.pairs("train")).column_names
    ['prompt', 'chosen', 'rejected', 'score_chosen', 'score_rejected']
    """
    from pairkit.dataset import reader

    return reader.load(folder)


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
    _check_on_existing(on_existing)
    from_file = isinstance(recipe, str | os.PathLike)
    content = recipes.read(os.fspath(recipe), "train") if from_file else _content(recipe)  # type: ignore[arg-type]
    overrides = _plain(fields)
    settings = recipes.merge(content, overrides)
    check_requests(settings, overrides if from_file else settings)
    with _code_of_file(from_file, allow_code, overrides):
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
    _check_counts(**{name: number for name, number in counts.items() if number is not None})
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


def push(
    folder: Location,
    name: str,
    *,
    private: bool = True,
    revision: str = "main",
    message: str | None = None,
    card: Mapping[str, Any] | None = None,
    hub_card: HubCard = "merge",
    tag: str | None = None,
    collection: str | None = None,
    quarantine: bool = False,
    merge: bool = False,
    trust_remote_code: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> Pushed:
    """Publish a dataset or a trained model on the Hugging Face Hub, with its card, in one commit.

    Args:
        folder: what `build` or `train` wrote.
        name: the repository, user/name.
        private: visibility of a new repository; an existing one must already have it.
        revision: the branch; created if it does not exist.
        message: commit message; None = what changes, in numbers.
        card: fields of the card that replace those of the recipe, such as {"license": "cc-by-4.0"}.
        hub_card: what happens to edits of the card on the hub: "merge", "keep" (they also win where both
            changed) or "replace".
        tag: a git tag for the commit.
        collection: the title or the address of a collection of the hub to add the repository to.
        quarantine: also publish the rows that could not be used.
        merge: publish a run's adapters as a whole model, merged into their base model.
        trust_remote_code: for that, run code that comes with the model, if the run did.
        force: publish files that were changed by hand, or into a repository that holds something else.
        dry_run: check everything and compare with the hub, but send nothing.

    Raises:
        PairkitError: see `pairkit.errors`; the message states what to do.

    >>> import pairkit
    >>> pushed = pairkit.push("run", "me/sums-dpo", dry_run=True)
    >>> sorted(pushed.content.files)[:3]
    ['README.md', 'chat_template.jinja', 'config.json']
    """
    from pairkit.hub.push import push as run

    return run(
        Path(folder),
        name,
        private=private,
        revision=revision,
        message=message,
        card=card,
        hub_card=hub_card,
        tag=tag,
        collection=collection,
        quarantine=quarantine,
        merge=merge,
        trust_remote_code=trust_remote_code,
        force=force,
        dry_run=dry_run,
    )


def _code_of_file(
    from_file: bool, allow_code: Iterable[str], fields: Mapping[str, Any]
) -> AbstractContextManager[None]:
    """Import for a recipe file only what the caller names; a recipe of the caller's own is free to."""
    from pairkit.trust import only_trusted

    return only_trusted(fields, allow_code) if from_file else nullcontext()


def _cluster(settings: RaySettings | Mapping[str, Any] | None) -> RaySettings | None:
    from pairkit.pipeline.executors.ray.settings import RaySettings
    from pairkit.recipes import validate

    if settings is None or isinstance(settings, RaySettings):
        return settings
    return validate(RaySettings, settings)


def _check_on_existing(value: str) -> None:
    from pairkit.errors import unknown
    from pairkit.files import OnExisting

    if value not in get_args(OnExisting):
        raise unknown("value of on_existing", value, get_args(OnExisting))


def _check_counts(**counts: Any) -> None:
    from pairkit.errors import RecipeError

    for name, number in counts.items():
        if not isinstance(number, int) or number < 1:
            raise RecipeError(f"{name} must be a whole number of at least 1, got {number!r}")


def _content(recipe: Any) -> dict[str, Any]:
    """Return the fields that a recipe sets. Raises `RecipeError` for what is not a recipe."""
    from pairkit.errors import RecipeError
    from pairkit.recipes import Strict

    if not isinstance(recipe, Mapping | Strict):
        kinds = "a recipe object, a mapping of its fields, the name of a shipped recipe, or a YAML file"
        raise RecipeError(f"cannot read the recipe {recipe!r}: expected {kinds}")
    if isinstance(recipe, Mapping) and not all(isinstance(key, str) for key in recipe):
        raise RecipeError(f"the keys of a recipe must be text, got {list(recipe)!r}")
    # Only fields that were set, because others must not overwrite a recipe that is merged with them.
    return _plain(recipe if isinstance(recipe, Mapping) else recipe.model_dump(exclude_unset=True))


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Replace paths and datasets by their names, as a recipe file has them."""
    return {
        key: _plain(value)
        if isinstance(value, Mapping)
        else os.fspath(value)
        if isinstance(value, os.PathLike)
        else value
        for key, value in fields.items()
    }
