"""A trained model as it is published: the folder that the run saved, a card, and a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairkit.dataset.card_settings import CardSettings, settings_of
from pairkit.dataset.layout import CARD
from pairkit.dataset.mixed import title_of
from pairkit.errors import InputError, ModelError
from pairkit.files import parsed, read_json, read_record, sha256, undamaged
from pairkit.hub import content, model_card
from pairkit.hub.card_check import front_matter
from pairkit.hub.content import Content, File
from pairkit.models.names import is_local, public_name
from pairkit.models.resolve import ADAPTER_CONFIG, resolve
from pairkit.progress import progress
from pairkit.schema import MANIFEST
from pairkit.training.output.layout import HASHES, METRICS, MODEL, RECORD, RECORD_OF_EXPORT, TAKEN
from pairkit.version import __version__

# Files in which libraries record where a model came from: a path of the machine that trained it.
_WITH_PATHS = (ADAPTER_CONFIG, "config.json", "tokenizer_config.json")
# The card is pairkit's, not the one that peft writes.
_UNSENT = frozenset({CARD, MANIFEST, HASHES, RECORD_OF_EXPORT})
# Files of text besides JSON, and those with the words of a tokenizer, which may look like anything.
_TEXTS = (".jinja", ".txt", ".md", ".py", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".csv", ".log", "")
_WORDS = frozenset({"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json"})
_NAMED = ("model", "reference", "tokenizer")  # fields of the recipe that may be a directory


def trained_model(
    folder: Path,
    name: str,
    *,
    force: bool = False,
    saved: Path | None = None,
    settings: CardSettings | None = None,
) -> Content:
    """Check the model of a run that `pairkit train` wrote and list what the repository `name` gets.

    Args:
        force: publish a model that was changed by hand, if it is complete.
        saved: the directory that is published instead of the run's `model/`: its merged model.
        settings: fields of the card that replace those of the run's recipe.

    Raises:
        InputError: an unfinished run, no model, weights that are damaged or not safetensors, a file that is
            missing or was changed.
    """
    for path in (folder / RECORD, folder / METRICS, *([] if saved else [folder / MODEL])):
        content.inside(path, folder)
    record = _record(folder)
    content.check_secrets(folder / RECORD, record["recipe"])
    if settings is not None:
        content.check_secrets("--card", settings.given())
    saved = saved or folder / MODEL
    if not saved.is_dir():
        raise InputError(
            f"{folder}: the run has no {MODEL}/ yet; run the same `pairkit train` command to finish it"
        )
    for path in saved.rglob("*"):
        content.inside(path, saved)
    paths = {path.relative_to(saved).as_posix(): path for path in sorted(saved.rglob("*")) if path.is_file()}
    paths = {name: path for name, path in paths.items() if name not in _UNSENT and not _hidden(name)}
    _check(saved, paths)
    _check_texts(saved, paths)
    files: dict[str, File] = {}
    with progress(f"checking {saved}", len(paths), unit="files") as advance:
        for published, path in paths.items():
            files[published] = content.on_disk(path)
            advance()
    changed = _changed(saved, files)
    if changed and not force:
        raise InputError(
            f"{saved}: changed by hand since it was trained: {', '.join(changed)}; train it again, or use "
            "--force to publish it as it is, with a manifest that lists the changes"
        )
    # After the comparison with the hashes, because removing a path is not a change by hand.
    # All that is read of the record, which anybody may have written.
    with undamaged(folder / RECORD, "train the model again"):
        files |= {name: _without_paths(path, record["recipe"]) or files[name] for name, path in paths.items()}
        about = _about(folder, record, files) | ({"changed_by_hand": changed} if changed else {})
        set_in_card = {**record["recipe"].get("card", {}), **(settings.given() if settings else {})}
        if of_author := settings_of(set_in_card).given():
            about["card"] = of_author
        card = model_card.render(about, name, adapters=ADAPTER_CONFIG in files)
    notes = [f"changed by hand: {', '.join(changed)}"] if changed else []
    return Content("model", {**files, MANIFEST: content.as_json(about)}, notes).with_card(card)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _changed(saved: Path, files: Mapping[str, File]) -> list[str]:
    """List the files that are not as the run saved them."""
    # Without the list all files count as changed, because nothing shows that they are not.
    hashes = _json(saved / HASHES) if (saved / HASHES).is_file() else {}
    for name in hashes.keys() - files.keys() - _UNSENT:
        raise InputError(f"{saved / name}: is missing; train the model again")
    return [name for name, file in files.items() if file.sha256 != hashes.get(name)]


def _record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        record = read_json(path)
        keys = {"recipe", "data", "plan", "starts"} - record.keys()
        record |= {"recipe": dict(record["recipe"]), "plan": dict(record["plan"])} if not keys else {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the record of a training run: {error}") from error
    if keys:
        raise InputError(f"{path}: not the record of a training run: it lacks {', '.join(sorted(keys))}")
    _check_finished(folder, record)
    return record  # type: ignore[no-any-return]


def _check_finished(folder: Path, record: Mapping[str, Any]) -> None:
    """Refuse a run with steps left, whatever is in its `model/`. Raises `InputError`."""
    again = "run the same `pairkit train` command to finish it"
    with undamaged(folder / RECORD, again):
        steps = record["plan"]["steps"]
        step_count = record.get(TAKEN, steps)  # older versions did not write it
    if step_count != steps:
        raise InputError(f"{folder}: the run of {steps} steps has not finished; {again}")
    if (folder / MODEL / RECORD_OF_EXPORT).exists():
        raise InputError(
            f"{folder / MODEL}: was exported and is not the model of this run; move it elsewhere, and {again}"
        )


def _check(saved: Path, paths: Mapping[str, Path]) -> None:
    """Check that the model is complete and loadable, and that loading it runs no code."""
    from safetensors import SafetensorError, safe_open

    if not {"config.json", ADAPTER_CONFIG} & paths.keys():
        raise InputError(f"{saved}: holds no config.json; train the model again")
    for name, path in paths.items():
        # Loading a pickle runs whatever code is in it.
        if path.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt"):
            raise InputError(f"{path}: pickled weights cannot be published; save them as safetensors")
        if path.suffix == ".json":
            _json(path)
        if path.suffix == ".safetensors":
            try:
                with safe_open(
                    path, framework="numpy"
                ):  # reads the header and compares it with the file's length
                    pass
            except (SafetensorError, OSError) as error:
                raise InputError(
                    f"{path}: the weights are damaged ({error}); train the model again"
                ) from error
        if name.endswith(".safetensors.index.json"):
            for part in sorted(set(_json(path).get("weight_map", {}).values()) - paths.keys()):
                raise InputError(f"{saved / part}: is missing but listed in {name}; train the model again")
    if not any(name.endswith(".safetensors") for name in paths):
        raise InputError(f"{saved}: holds no weights (*.safetensors); train the model again")


def _check_texts(saved: Path, paths: Mapping[str, Path]) -> None:
    """Refuse secrets in the files of text that are sent, with any flag. Raises `InputError`."""
    for path in paths.values():
        if path.suffix == ".json" and path.name not in _WORDS and not path.name.endswith(".index.json"):
            content.check_secrets(path, _json(path))
        elif path.suffix in _TEXTS and path.name not in _WORDS:
            content.check_text(path, content.read_text(path))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not JSON ({error}); train the model again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a mapping; train the model again")
    return value


def _without_paths(path: Path, recipe: Mapping[str, Any]) -> File | None:
    """Replace the run's directories in a file with public names; None where it has none."""
    if path.name not in _WITH_PATHS:
        return None
    config = _json(path)
    content.check_secrets(path, config)
    names = {recipe[key] for key in _NAMED if recipe.get(key)}
    private = {
        key: value
        for key, value in config.items()
        # Adapters name what was loaded, which the recipe may name by a run or by other adapters.
        if isinstance(value, str) and (value in names or key == "base_model_name_or_path")
    }
    public = {key: public_name(value, local=is_local(value)) for key, value in private.items()}
    if public == private:
        return None
    return content.made((json.dumps({**config, **public}, indent=2, sort_keys=True) + "\n").encode())


def _about(folder: Path, record: Mapping[str, Any], files: Mapping[str, File]) -> dict[str, Any]:
    """Describe the run for programs and for the card, without directories of this machine."""
    # Without the card, which changes no weight and is published as what it makes.
    recipe = {key: value for key, value in record["recipe"].items() if key != "card"}
    from_scratch = str(recipe["model"]).endswith(".json")
    base = None if from_scratch else _base_model(recipe["model"])
    local = base is not None and is_local(base)
    if not isinstance(recipe["data"], str):
        recipe["data"] = title_of(recipe["data"])
    for key in ("data", *_NAMED):
        if recipe.get(key):
            recipe[key] = public_name(recipe[key], local=is_local(recipe[key]))
    plan = record["plan"]
    return {
        "pairkit": __version__,
        "recipe": recipe,
        # A directory has no page to link to.
        "base_model": None if base is None else {"name": public_name(base, local=local), "local": local},
        "license": _license(Path(base)) if base is not None and local else None,
        "data": {"manifest_sha256": record["data"], **_data(record["recipe"]["data"], record["data"])},
        "plan": {key: value for key, value in plan.items() if key not in ("data", "model")},
        "starts": record["starts"],
        "metrics": _metrics(folder),
        "files": {name: file.describe() for name, file in files.items()},
    }


def _base_model(name: str) -> str:
    """Return the model below adapters, or the name itself, also where it is no longer on this machine."""
    try:
        return resolve(name, ask_hub=False).base
    except ModelError:
        return name


def _data(data: Any, digest: str) -> dict[str, Any]:
    """Describe the dataset, if it is still as the run read it."""
    # Of a mixture no manifest is that of all of it.
    folder = Path(data) if isinstance(data, str) else Path()
    manifest = folder / MANIFEST
    if not isinstance(data, str) or not manifest.is_file() or sha256(manifest) != digest:
        return {"source": None, "recipe_hash": None, "license": None}
    content = read_record(manifest, "build the dataset again")
    with undamaged(manifest, "build the dataset again"):
        recipe = dict(content.get("recipe", {}))
        source = dict(recipe.get("source", {}))
        names = [entry["name"] or entry["source"]["name"] for entry in recipe.get("sources", ())]
    return {
        "source": " + ".join(names) or source.get("name"),
        "recipe_hash": content.get("recipe_hash"),
        "license": _license(folder),
    }


def _license(folder: Path) -> str | None:
    """Read the license from the card of a dataset or model in a directory, if it has one."""
    try:
        name = front_matter(str(folder / CARD), content.read_card(folder / CARD)).get("license")
    except InputError:  # because a card is optional here
        return None
    return name if isinstance(name, str) else None


def _metrics(folder: Path) -> dict[str, Any]:
    """Read the first and last held-out evaluation and the last training step, as far as they exist."""
    entries: dict[str, list[dict[str, Any]]] = {"eval": [], "train": []}
    path = folder / METRICS
    if path.is_file():
        # What follows the last line break is empty, or a line that a kill cut off.
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            entry = parsed(line)
            entries.setdefault(entry["kind"], []).append(entry)
    evaluations, steps = entries["eval"], entries["train"]
    metrics = {
        # One evaluation alone is the last one and shows no change.
        "before": evaluations[0] if len(evaluations) > 1 else None,
        "held_out": evaluations[-1] if evaluations else None,
        "train": steps[-1] if steps else None,
    }
    return {key: value for key, value in metrics.items() if value is not None}
