"""What a person passes as a model: what it is, and what of it is loaded.

One function for `--model`, `--reference`, engines, rankers and pushes:

    a hub id                 the model of that name, or adapters and the model below them
    a directory of a model   itself
    a directory of adapters  the base model that its adapter_config.json names, and the adapters
    a run of `pairkit train` its `model/`
    a configuration (.json)  itself: random weights

Checkpoints, unfinished runs, single files of weights and GGUF are refused, with what to do instead. Imports
no torch, and looks at files only, so that a dry run can afford it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pairkit.errors import ModelError
from pairkit.files import read_json
from pairkit.models.names import FILES, cannot_load, is_path
from pairkit.progress import shell_quoted, visible

# The names of a run's files, by which a run and its checkpoints are recognized.
RUN_RECORD, RUN_MODEL, CHECKPOINT_RECORD = "run.json", "model", "step.json"
ADAPTER_CONFIG = "adapter_config.json"
CLASSIFIER = "ForSequenceClassification"  # in the names of transformers' classes that read and do not write
GGUF = (
    "GGUF weights are quantized for llama.cpp and are not loaded; pass the checkpoint that they were made "
    "from, or serve them with llama.cpp and set engine=openai"
)


@dataclass(frozen=True)
class Place:
    """What is loaded for a name.

    Attributes:
        base: a hub id, a directory with a config.json, or a configuration file.
        revision: of `base` on the hub.
        adapters: directories or hub ids of adapters over it, the innermost first; mostly none.
        adapters_revision: of the last of them on the hub.
    """

    base: str
    revision: str | None = None
    adapters: tuple[str, ...] = ()
    adapters_revision: str | None = None

    @property
    def top(self) -> str:
        """What the name itself points to: the last adapters, or else the model."""
        return self.adapters[-1] if self.adapters else self.base

    def tokenizer(self) -> tuple[str, str | None]:
        """Return where the tokenizer is, and its revision: with the adapters if they have one."""
        for adapter in reversed(self.adapters):
            if any((Path(adapter) / file).is_file() for file in FILES["tokenizer"]):
                return adapter, None
        return self.base, self.revision

    def folders(self) -> Iterator[Path]:
        """Yield the directories that are loaded, without what comes from the hub."""
        yield from (Path(name) for name in (self.base, *self.adapters) if os.path.isdir(name))


def resolve(name: str, revision: str | None = None, *, ask_hub: bool = True) -> Place:
    """Find what is loaded for the name of a model.

    A path that does not exist, or a directory without a configuration, is returned as it is: whoever loads it
    has the error for that (`names.cannot_load`).

    Args:
        revision: of a hub id; a model below adapters has the one that they name.
        ask_hub: whether to find out if a hub id is one of adapters; otherwise it is taken for a model.

    Raises:
        ModelError: a checkpoint, an unfinished run, a file of weights, GGUF, adapters without a base model.
    """
    return _resolve(name, revision, (), ask_hub)


def check_local(what: Literal["model", "tokenizer"], name: str) -> None:
    """Raise the `ModelError` of a path that does not exist or does not hold what it has to.

    This opens no model and asks no hub, so it is cheap enough for a dry run.
    """
    place = resolve(name, ask_hub=False)
    location = place.base if what == "model" else place.tokenizer()[0]
    path = Path(location)
    missing = not any((path / file).is_file() for file in FILES[what])
    if (path.is_dir() and missing) or (not path.exists() and is_path(location)):
        raise cannot_load(what, location, FileNotFoundError(f"it has no {FILES[what][0]}"))


def check_writes(name: str) -> None:
    """Raise the `ModelError` of a directory whose model gives rewards or classes and writes no text.

    Like `check_local`, this opens no model and asks no hub.
    """
    place = resolve(name, ask_hub=False)
    for folder in place.folders():
        file = folder / (ADAPTER_CONFIG if is_adapter(str(folder)) else "config.json")
        try:
            content = dict(read_json(file))
            kinds = [str(each) for each in content.get("architectures") or ()]
        except (OSError, ValueError, TypeError, RecursionError):
            continue  # damaged: whoever loads it has the error
        if content.get("task_type") == "SEQ_CLS":
            raise reads_only(name, "adapters with a head of rewards or classes")
        if kinds and all(CLASSIFIER in kind for kind in kinds):
            raise reads_only(name, kinds[0])


def reads_only(name: str, kind: str) -> ModelError:
    """Make the error for a reward model in the place of a language model."""
    return ModelError(
        f"the model {name!r} is a reward model or a classifier ({kind}) and writes no text: pass a model "
        "that generates; to rank with this one, set rank.ranker=reward_model and rank.model"
    )


def is_adapter(name: str) -> bool:
    """Return whether a directory holds adapters and no model of its own."""
    folder = Path(name)
    return os.path.isfile(folder / ADAPTER_CONFIG) and not os.path.isfile(folder / "config.json")


def is_training_output(path: Path) -> bool:
    """Return whether a path is a run, one of its checkpoints, or a directory of adapters."""
    records = (path / RUN_RECORD, path / CHECKPOINT_RECORD)
    return any(map(os.path.isfile, records)) or is_adapter(str(path))


def _resolve(name: str, revision: str | None, above: tuple[str, ...], ask_hub: bool) -> Place:
    path = Path(name)
    if os.path.isfile(path):
        _check_file(path)
    elif os.path.isdir(path):
        if (path / RUN_RECORD).is_file():
            name = str(_run_model(path))
        _check_folder(Path(name))
    adapters = _adapter_config(name, revision, ask_hub)
    if adapters is None:
        return Place(name, revision)
    base = adapters.get("base_model_name_or_path")
    if not base or name in above:
        raise ModelError(
            f"the adapters {name!r} name no base model: write its hub id or its directory to "
            f"base_model_name_or_path in their {ADAPTER_CONFIG}"
        )
    if is_path(base) and not os.path.exists(base):
        raise ModelError(
            f"the adapters {name!r} were trained on {base!r}, which does not exist here; write where that "
            f"model is to base_model_name_or_path in their {ADAPTER_CONFIG}"
        )
    below = _resolve(base, adapters.get("revision"), (*above, name), ask_hub)
    return Place(below.base, below.revision, (*below.adapters, name), revision)


def _check_file(path: Path) -> None:
    """Refuse a file that is no configuration."""
    if path.suffix.lower() == ".gguf":
        raise ModelError(f"the model {str(path)!r} cannot be loaded: {GGUF}")
    if path.suffix != ".json":
        raise ModelError(
            f"the model {str(path)!r} cannot be loaded: it is a file; pass the directory that contains it "
            "(with its config.json), or a configuration file (.json) to start from random weights"
        )


def _run_model(run: Path) -> Path:
    """Return the directory of a finished run's model."""
    model = run / RUN_MODEL
    if not model.is_dir():
        checkpoints = sorted(run.glob(f"checkpoints/step-*/{CHECKPOINT_RECORD}"))
        export = f", or export its last checkpoint: {_export(checkpoints[-1].parent)}" if checkpoints else ""
        raise ModelError(
            f"the model {str(run)!r} cannot be loaded: it is a training run that has not finished; run the "
            f"same `pairkit train` command to finish it{export}"
        )
    return model


def _check_folder(folder: Path) -> None:
    """Refuse a directory that holds something else than a model, where it shows what that is."""
    where = f"the model {str(folder)!r} cannot be loaded"
    if (folder / CHECKPOINT_RECORD).is_file():
        raise ModelError(f"{where}: it is a checkpoint of a training run; export it: {_export(folder)}")
    _check_generation(folder / "generation_config.json", where)
    if (folder / "config.json").is_file() or (folder / ADAPTER_CONFIG).is_file():
        return
    steps = sorted(folder.glob(f"step-*/{CHECKPOINT_RECORD}"))
    if steps:
        raise ModelError(
            f"{where}: it holds the checkpoints of a training run; export one: {_export(steps[-1].parent)}"
        )
    if any(folder.glob("*.gguf")):
        raise ModelError(f"{where}: {GGUF}")


def _check_generation(path: Path, where: str) -> None:
    """Refuse a damaged file, which transformers would ignore, and with it the tokens that end an answer."""
    if not path.is_file():
        return
    try:
        content = read_json(path)
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ModelError(f"{where}: its {path.name} is damaged; get the file again, or remove it")
    ends = content.get("eos_token_id")
    for end in ends if isinstance(ends, list) else [ends]:
        if end is not None and (not isinstance(end, int) or isinstance(end, bool) or not 0 <= end < 2**31):
            raise ModelError(
                f"{where}: the eos_token_id of its {path.name} must be ids of tokens, got "
                f"{visible(repr(ends), 80)}; get the file again, or remove it"
            )


def _export(checkpoint: Path) -> str:
    return f"pairkit export {shell_quoted(str(checkpoint))} --as model --out DIR"


def _adapter_config(name: str, revision: str | None, ask_hub: bool) -> dict[str, Any] | None:
    """Read the adapter_config.json of a directory or a hub id; None where there is a model, or nothing."""
    if os.path.exists(name):
        path = Path(name) / ADAPTER_CONFIG if is_adapter(name) else None
    else:
        path = _hub_file(name, revision) if ask_hub and not is_path(name) else None
    if path is None:
        return None
    try:
        content = read_json(path)
        return dict(content)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"the adapters {name!r} cannot be loaded: {path} is damaged ({error})") from error


@lru_cache(maxsize=64)  # a run asks for one name several times, and each would be a request
def _hub_file(name: str, revision: str | None) -> Path | None:
    """Return the adapter_config.json of a hub id without a config.json; None for a model, or no answer."""
    from transformers.utils import cached_file

    # Missing files and a hub out of reach alike: whoever loads the name then reports what is wrong.
    quiet = {
        "_raise_exceptions_for_gated_repo": False,
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
    }
    try:
        for file in ("config.json", ADAPTER_CONFIG):
            path = cached_file(name, file, revision=revision, **quiet)
            if path is not None:
                return None if file == "config.json" else Path(path)
    # An unknown repository or a name that is none: the same, reported by whoever loads it.
    except OSError:
        return None
    return None
