"""A push follows no link out of its directory, whatever the flags, and publishes no secret."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.hub_server import Hub
from support.published import first_shard

from pairkit.errors import InputError
from pairkit.hub.push import push
from pairkit.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def moved_out(path: Path, outside: Path) -> None:
    """Replace a file or folder by a link to it elsewhere, so that its content stays the same."""
    target = outside / path.name
    shutil.move(path, target)
    path.symlink_to(target)


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "a shard": lambda folder, outside: moved_out(first_shard(folder), outside),
    "the folder of shards": lambda folder, outside: moved_out(folder / "data", outside),
    "the card": lambda folder, outside: moved_out(folder / "README.md", outside),
    "the manifest": lambda folder, outside: moved_out(folder / "pairkit.json", outside),
    "the quarantine": lambda folder, outside: moved_out(folder / "quarantine.parquet", outside),
    "a shard of a stranger": lambda folder, outside: (folder / "data" / "more.parquet").symlink_to(
        Path(shutil.copy(first_shard(folder), outside / "x.parquet"))
    ),
}


@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS.keys())
@pytest.mark.parametrize("force", [False, True])
def test_a_link_out_of_a_dataset(
    link: Callable[[Path, Path], None], force: bool, built: Path, hub: Hub, tmp_path: Path
) -> None:
    (outside := tmp_path / "outside").mkdir()
    link(built, outside)
    with pytest.raises(InputError, match=r"is a link out of .*, and a push follows none"):
        push(built, "user/sets", quarantine=True, force=force)
    assert not hub.repos


def test_a_link_within_a_dataset_and_to_it_is_followed(built: Path, hub: Hub, tmp_path: Path) -> None:
    shard = first_shard(built)
    (built / "kept").mkdir()
    moved_out(shard, built / "kept")
    (tmp_path / "link").symlink_to(built)
    pushed = push(tmp_path / "link", "user/sets", dry_run=True)
    assert f"data/{shard.name}" in pushed.content.files


@pytest.fixture(scope="module")
def trained(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pairkit.training.recipe import TrainRecipe

    folder = tmp_path_factory.mktemp("trained") / "run"
    fields = {"max_steps": 1, "sets_per_step": 2, "trackers": (), "max_length": 64}
    train(TrainRecipe(data=str(data), model=str(model), loss={"name": "dpo"}, **fields), folder)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "model/model.safetensors",
        "model/config.json",
        "model",
        "run.json",
        "metrics.jsonl",
        "model/notes",
        "model/d",
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_a_link_out_of_a_run(name: str, force: bool, trained: Path, hub: Hub, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (outside := tmp_path / "outside").mkdir()
    if name == "model/notes":
        (run / name).write_text("private")
    if name == "model/d":
        (run / name).mkdir()
        (run / name / "private").write_text("private")
    moved_out(run / name, outside)
    with pytest.raises(InputError, match=r"is a link out of .*, and a push follows none"):
        push(run, "user/model", force=force)
    assert not hub.repos


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_secret_in_the_files_of_a_model(name: str, trained: Path, hub: Hub, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    path = run / "model" / name
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_auth_token": "anything"}))
    with pytest.raises(InputError, match=r"the key 'use_auth_token' holds what looks like a secret"):
        push(run, "user/model", force=True)
    assert not hub.repos


def test_a_secret_in_the_fields_of_a_card(built: Path, hub: Hub) -> None:
    with pytest.raises(InputError, match=r"the key 'text' holds what looks like a secret") as refused:
        push(built, "user/sets", card={"text": "made with sk-0123456789abcdef"})
    assert "0123456789" not in str(refused.value)
    assert not hub.repos
