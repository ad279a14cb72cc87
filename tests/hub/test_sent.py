"""`pairkit push` of datasets against a strict hub: what arrives, and what is not sent twice."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.hub_server import TOKEN, Hub, environment, process, sha256
from support.published import build_shards, published
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.hub.push import push

NAME, KEY = "user/sets", ("dataset", "user/sets")
# huggingface_hub's own, of the library that it sends with
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def rows(folder: Path, kind: str, split: str) -> pa.Table:
    return pa.concat_tables(map(pq.read_table, sorted((folder / kind).glob(f"{split}-*"))))


def test_push_then_load_then_push_again(
    made: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As typed, in a process of its own; with HF_DEBUG the library logs every request."""
    variables = environment(hub, tmp_path / "home", HF_DEBUG="1")
    first = process(variables, "-m", "pairkit", "push", str(made), NAME)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == f"{hub.endpoint}/datasets/{NAME} (private)"
    repo = hub.repos[KEY]
    assert repo.private
    assert hub.files(*KEY) == published(made)
    large = [name for name in published(made) if name.endswith(".parquet")]
    assert len(large) > 4
    assert sorted(hub.received) == sorted(sha256((made / name).read_bytes()) for name in large)

    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
    for config, kind in (("candidates", "data"), ("pairs", "pairs")):
        for split, table in datasets.load_dataset(NAME, config, cache_dir=str(tmp_path / "cache")).items():
            assert table.to_list() == rows(made, kind, split).to_pylist()
    default = datasets.load_dataset(NAME, split="test", cache_dir=str(tmp_path / "cache"))
    assert default.column_names[0] == "set_id"

    assert push(made, NAME).commit is None
    assert len(repo.messages) == 2  # the hub's own, and the first push
    assert len(hub.received) == len(large)
    assert TOKEN not in first.stdout + first.stderr
    assert "curl" in first.stderr
    assert not any(TOKEN.encode() in path.read_bytes() for path in made.rglob("*") if path.is_file())


def test_changed_files_are_sent_and_old_shards_deleted(hub: Hub, tmp_path: Path) -> None:
    folder = build_shards(tmp_path / "work", 60)
    before = published(folder)
    push(folder, NAME)
    repo = hub.repos[KEY]
    theirs = {"notes.md": b"notes", "data/extra.csv": b"a,b\n", ".gitattributes": b"changed\n"}
    hub.commit(repo, "main", {**hub.files(*KEY), **theirs}, "somebody else's")
    hub.received.clear()

    build_shards(tmp_path / "work", 60, shard_mb=100)
    after = published(folder)
    assert before.keys() - after.keys()
    pushed = push(folder, NAME)
    assert pushed.changes is not None
    assert set(pushed.changes.deleted) == before.keys() - after.keys()
    assert hub.files(*KEY) == {**after, "notes.md": b"notes", "data/extra.csv": b"a,b\n"}
    assert sorted(hub.received) == sorted(
        {sha256(content) for name, content in after.items() if name.endswith(".parquet")}
        - {sha256(content) for content in before.values()}
    )
    assert repo.messages[-1].startswith("Push with pairkit ")


def test_only_a_changed_card_is_sent(built: Path, hub: Hub) -> None:
    push(built, NAME)
    hub.received.clear()
    (built / "README.md").write_text((built / "README.md").read_text() + "\nA word of mine.\n")
    pushed = push(built, NAME, force=True, message="A word")
    assert pushed.changes is not None
    assert pushed.changes.sent == ["README.md", "pairkit.json"]
    assert hub.received == []
    assert hub.repos[KEY].messages[-1] == "A word"


def test_a_new_branch_leaves_main_alone(made: Path, hub: Hub) -> None:
    hub.add(*KEY, {".gitattributes": b""}, private=True)
    pushed = push(made, NAME, revision="v2/first")
    assert pushed.repository.link.endswith(f"/datasets/{NAME}/tree/v2/first")
    assert hub.files(*KEY) == {}
    assert hub.files(*KEY, "v2/first") == published(made)
    assert push(made, NAME, revision="v2/first").commit is None


def test_the_quarantine_is_published_on_request(made: Path, hub: Hub) -> None:
    push(made, NAME, quarantine=True)
    assert hub.files(*KEY) == published(made, quarantine=True)
    pushed = push(made, NAME)
    assert pushed.changes is not None
    assert pushed.changes.deleted == ["quarantine.parquet"]
    assert hub.files(*KEY) == published(made)


def typed(*words: str) -> str:
    result = CliRunner().invoke(app, ["push", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_dry_run_lists_what_would_be_sent(made: Path, hub: Hub) -> None:
    shown = typed(str(made), NAME, "--dry-run")
    size = (made / "README.md").stat().st_size
    assert f"  new      {size:>15,}  README.md\n" in shown
    assert shown.endswith(f"nothing was sent (--dry-run)\n{hub.endpoint}/datasets/{NAME} (private)\n")
    assert not hub.repos
    push(made, NAME, quarantine=True)
    repo = hub.repos[KEY]
    hub.commit(repo, "main", {**hub.files(*KEY), "README.md": b"other"}, "by hand")
    count = len(published(made))
    shown = typed(str(made), NAME, "--dry-run", "--hub-card", "replace")
    assert f"  changed  {size:>15,}  README.md\n" in shown
    assert f"  deleted  {'':>15}  quarantine.parquet\n" in shown
    assert f"{count - 1} of {count} files are already on the hub\n" in shown
    assert len(repo.messages) == 3
    assert not [call for call in hub.calls if call.startswith("POST") and call.endswith("/create")][1:]
