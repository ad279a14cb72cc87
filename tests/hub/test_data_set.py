"""`pairkit push` of data sets against a strict hub: what arrives, what is not sent twice, what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.hub_server import READ_TOKEN, TOKEN, Hub, environment, process, sha256
from support.raw import ultrafeedback
from typer.testing import CliRunner

from pairkit.cli import app
from pairkit.errors import ExistingOutputError, HubError, InputError, PairkitError, RecipeError
from pairkit.hub.push import push
from pairkit.hub.repository import check_branch, check_name
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
from pairkit.schema import short_hash

NAME, KEY = "user/sets", ("dataset", "user/sets")
ALWAYS = float("inf")
# huggingface_hub's own, of the library that it sends with
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def raw_build(folder: Path, rows: int, **fields: Any) -> Path:
    """A data set of several shards a split."""
    folder.mkdir(parents=True, exist_ok=True)
    path = ultrafeedback(folder / "raw.jsonl", rows)
    source = {"source": {"name": "ultrafeedback", "path": str(path)}}
    recipe = load(None, source | {"test_fraction": 0.2, "unit_rows": 20, "shard_mb": 0.02} | fields, {})
    build(recipe, folder / "out", on_existing="delete")
    return folder / "out"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return raw_build(tmp_path_factory.mktemp("made"), 120)


@pytest.fixture
def built(made: Path, tmp_path: Path) -> Path:
    """A data set that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "built"))


def published(folder: Path, *, quarantine: bool = False) -> dict[str, bytes]:
    """The files of a data set that a push sends, by their names."""
    names = [*json.loads((folder / "pairkit.json").read_text())["files"], "pairkit.json"]
    return {
        name: (folder / name).read_bytes() for name in names if quarantine or name != "quarantine.parquet"
    }


def rows(folder: Path, kind: str, split: str) -> pa.Table:
    return pa.concat_tables(map(pq.read_table, sorted((folder / kind).glob(f"{split}-*"))))


LOAD = """
import sys
from datasets import load_dataset
for config, kind in (("candidates", "data"), ("pairs", "pairs")):
    for split, rows in load_dataset(sys.argv[1], config).items():
        rows.to_parquet(f"{sys.argv[2]}/{kind}-{split}.parquet")
print("default", load_dataset(sys.argv[1]).column_names["train"])
"""


@pytest.mark.parametrize("debug", ["0", "1"])
def test_pushed_loaded_and_pushed_again(made: Path, hub: Hub, tmp_path: Path, debug: str) -> None:
    """As typed, each in a process of its own; with HF_DEBUG the library logs every request."""
    variables = environment(hub, tmp_path / "home", HF_DEBUG=debug)
    first = process(variables, "-m", "pairkit", "push", str(made), NAME)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == f"{hub.endpoint}/datasets/{NAME} (private)"
    repo = hub.repos[KEY]
    assert repo.private
    assert hub.files(*KEY) == published(made)
    large = [name for name in published(made) if name.endswith(".parquet")]
    assert len(large) > 6
    assert sorted(hub.received) == sorted(sha256((made / name).read_bytes()) for name in large)

    loaded = process(environment(hub, tmp_path / "fresh"), "-c", LOAD, NAME, str(tmp_path))
    assert loaded.returncode == 0, loaded.stderr
    assert "default ['set_id'" in loaded.stdout
    for kind in ("data", "pairs"):
        for split in ("train", "test"):
            found = pq.read_table(tmp_path / f"{kind}-{split}.parquet").replace_schema_metadata()
            expected = rows(made, kind, split)
            assert found.to_pylist() == expected.to_pylist()

    again = process(variables, "-m", "pairkit", "push", str(made), NAME)
    assert again.returncode == 0, again.stderr
    assert "nothing has changed: no commit" in again.stdout
    assert len(repo.messages) == 2  # the hub's own, and the first push
    assert len(hub.received) == len(large)
    for done in (first, loaded, again):
        assert TOKEN not in done.stdout + done.stderr
    assert ("curl" in first.stderr) == (debug == "1")
    assert not any(TOKEN.encode() in path.read_bytes() for path in made.rglob("*") if path.is_file())


def test_only_what_changed_is_sent_and_old_shards_go(hub: Hub, tmp_path: Path) -> None:
    folder = raw_build(tmp_path / "work", 120)
    before = published(folder)
    push(folder, NAME)
    repo = hub.repos[KEY]
    theirs = {"notes.md": b"notes", "data/extra.csv": b"a,b\n", ".gitattributes": b"changed\n"}
    hub.commit(repo, "main", {**hub.files(*KEY), **theirs}, "somebody else's")
    hub.received.clear()

    raw_build(tmp_path / "work", 120, shard_mb=100)
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


def test_a_changed_card_alone_sends_the_card_alone(built: Path, hub: Hub) -> None:
    push(built, NAME)
    hub.received.clear()
    (built / "README.md").write_text((built / "README.md").read_text() + "\nA word of mine.\n")
    pushed = push(built, NAME, force=True, message="A word")
    assert pushed.changes is not None
    assert pushed.changes.sent == ["README.md", "pairkit.json"]
    assert hub.received == []
    assert hub.repos[KEY].messages[-1] == "A word"


def test_a_failed_upload_goes_on(made: Path, hub: Hub) -> None:
    hub.fault("^PUT /storage/", 500, skip=2, times=ALWAYS)
    with pytest.raises(HubError, match=r"the hub fails \(500\).*what has arrived is not sent"):
        push(made, NAME)
    assert len(hub.received) == 2
    assert hub.files(*KEY) == {}
    hub.faults.clear()
    push(made, NAME)
    assert hub.files(*KEY) == published(made)
    assert len(hub.received) == len(set(hub.received)) == len([n for n in published(made) if ".parquet" in n])


def test_a_hub_that_fails_for_a_while(made: Path, hub: Hub) -> None:
    hub.fault("^PUT /storage/", 503, times=3)
    hub.fault("^POST .*/commit/main", 500)
    hub.fault("^POST .*/preupload/main", seconds=0.3)
    push(made, NAME)
    assert hub.files(*KEY) == published(made)
    assert len(hub.repos[KEY].messages) == 2


def test_a_commit_whose_answer_is_lost_is_not_made_twice(made: Path, hub: Hub) -> None:
    def arrives() -> None:
        repo = hub.repos[KEY]
        hub.commit(repo, "main", published(made), "arrived")

    hub.fault("^POST .*/commit/main", 500, then=arrives)
    assert push(made, NAME).commit is None
    assert hub.repos[KEY].messages == ["initial commit", "arrived"]


def test_somebody_commits_meanwhile(built: Path, hub: Hub) -> None:
    """The server compares the parent that a commit names with its head; the push looks again, once."""

    def other() -> None:
        repo = hub.repos[KEY]
        hub.commit(repo, "main", {**hub.files(*KEY), f"{len(repo.commits)}.md": b"theirs"}, "theirs")

    push(built, NAME)
    (built / "README.md").write_text((built / "README.md").read_text() + "\nMore.\n")
    hub.fault("^POST .*/commit/main", then=other)
    push(built, NAME, force=True)
    assert hub.files(*KEY).keys() == {*published(built), "2.md"}
    assert b"More." in hub.files(*KEY)["README.md"]
    (built / "README.md").write_text((built / "README.md").read_text() + "\nYet more.\n")
    hub.fault("^POST .*/commit/main", then=other, times=2)
    with pytest.raises(HubError, match="somebody else changes it at the same time"):
        push(built, NAME, force=True)
    assert hub.files(*KEY).keys() == {*published(built), "2.md", "4.md", "5.md"}


@pytest.mark.parametrize("status", [409, 412, 500])
def test_a_commit_that_is_refused_is_tried_once_more(made: Path, hub: Hub, status: int) -> None:
    hub.fault("^POST .*/commit/main", status)
    push(made, NAME)
    assert hub.files(*KEY) == published(made)


def test_a_branch_is_made_and_main_stays(made: Path, hub: Hub) -> None:
    hub.add(*KEY, {".gitattributes": b""}, private=True)
    pushed = push(made, NAME, revision="v2/first")
    assert pushed.repository.link.endswith(f"/datasets/{NAME}/tree/v2/first")
    assert hub.files(*KEY) == {}
    assert hub.files(*KEY, "v2/first") == published(made)
    assert push(made, NAME, revision="v2/first").commit is None


def test_the_quarantine_is_published_where_it_is_asked_for(made: Path, hub: Hub) -> None:
    push(made, NAME, quarantine=True)
    assert hub.files(*KEY) == published(made, quarantine=True)
    pushed = push(made, NAME)
    assert pushed.changes is not None
    assert pushed.changes.deleted == ["quarantine.parquet"]
    assert hub.files(*KEY) == published(made)


def test_public_is_public_and_never_by_accident(made: Path, hub: Hub) -> None:
    push(made, NAME, private=False)
    assert not hub.repos[KEY].private
    with pytest.raises(ExistingOutputError, match=r"is public: give --public"):
        push(made, NAME)
    hub.repos[KEY].private = True
    with pytest.raises(ExistingOutputError, match=r"is private: give --private"):
        push(made, NAME, private=False)


def test_a_repository_of_something_else(made: Path, hub: Hub) -> None:
    theirs = {"README.md": b"---\n{}\n---\n", "data/train-00000-of-00002.parquet": b"theirs"}
    hub.add(*KEY, theirs, private=True)
    for dry_run in (True, False):
        with pytest.raises(ExistingOutputError, match=r"did not push \(data/train-00000-of-00002\.parquet\)"):
            push(made, NAME, dry_run=dry_run)
    assert hub.files(*KEY) == theirs
    push(made, NAME, force=True)
    assert hub.files(*KEY) == {**theirs, **published(made)}


def typed(*words: str) -> str:
    result = CliRunner().invoke(app, ["push", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_dry_run_says_what_would_be_sent(made: Path, hub: Hub) -> None:
    shown = typed(str(made), NAME, "--dry-run")
    size = (made / "README.md").stat().st_size
    assert f"  new      {size:>15,}  README.md\n" in shown
    assert shown.endswith(f"nothing was sent (--dry-run)\n{hub.endpoint}/datasets/{NAME} (private)\n")
    assert not hub.repos
    push(made, NAME, quarantine=True)
    repo = hub.repos[KEY]
    hub.commit(repo, "main", {**hub.files(*KEY), "README.md": b"other"}, "by hand")
    count = len(published(made))
    shown = typed(str(made), NAME, "--dry-run")
    assert f"  changed  {size:>15,}  README.md\n" in shown
    assert f"  deleted  {'':>15}  quarantine.parquet\n" in shown
    assert f"{count - 1} of {count} files were there already\n" in shown
    assert len(repo.messages) == 3
    assert not [call for call in hub.calls if call.startswith("POST") and call.endswith("/create")][1:]


@pytest.mark.parametrize("why", ["no token", "no network"])
def test_a_dry_run_needs_no_hub(
    made: Path, hub: Hub, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if why == "no token":
        without_token(monkeypatch, tmp_path)
    else:
        nobody_listens(monkeypatch)
    shown = typed(str(made), NAME, "--dry-run")
    assert shown.count("  unknown ") == len(published(made))
    assert hub.calls == []


def without_token(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))


def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")


def test_without_a_token_the_error_says_how_to_get_one(
    made: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_token(monkeypatch, tmp_path)
    with pytest.raises(HubError, match="no token; log in with `hf auth login`, or set HF_TOKEN"):
        push(made, NAME)
    assert hub.calls == []
    (tmp_path / "token").write_text(TOKEN + "\n")  # where `hf auth login` puts it
    push(made, NAME)


def test_a_hub_that_cannot_be_reached(made: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody_listens(monkeypatch)
    with pytest.raises(HubError, match=r"cannot be reached \(.+\); check the network and HF_ENDPOINT"):
        push(made, NAME)


@pytest.mark.parametrize(
    ("token", "name", "fault", "says"),
    [
        ("hf_wrong", NAME, None, "the hub does not accept the token; log in with `hf auth login`"),
        (READ_TOKEN, NAME, None, "may not write there (you don't have the rights)"),
        (TOKEN, "another/sets", None, "'another' has to be you or an organisation that lets you"),
        (TOKEN, NAME, ("POST .*/preupload", 401), "the hub does not accept the token"),
        (TOKEN, NAME, ("POST .*/preupload", 403), "may not write there (out of order)"),
        (TOKEN, NAME, ("POST .*/batch", 500), "the hub fails (500)"),
        (TOKEN, NAME, ("POST .*/create", 500), "the hub fails (500)"),
        (TOKEN, NAME, ("GET /api/datasets/user/sets", 502), "the hub fails (502)"),
        (TOKEN, NAME, ("PUT /storage", 403), "may not write there"),
        (TOKEN, NAME, ("POST .*/commit", 400), "the hub refuses (400): out of order"),
        (TOKEN, NAME, ("POST .*/create", 429), "the hub wants fewer requests"),
        (TOKEN, NAME, ("POST .*/validate-yaml", 400), "refuses the front matter of README.md"),
    ],
)
def test_what_the_hub_refuses(
    made: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    name: str,
    fault: tuple[str, int] | None,
    says: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    if fault:
        hub.fault(*fault, times=ALWAYS)
    with pytest.raises(PairkitError) as refused:
        push(made, name)
    message = str(refused.value)
    assert says in message
    assert message.startswith(f"{name} on {hub.endpoint}: ")
    assert "\n" not in message
    assert token not in message


def test_what_a_server_says_cannot_show_the_token(
    made: Path, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.fault("POST .*/commit", 422, times=ALWAYS, message=f"what is Bearer {TOKEN}?")
    with pytest.raises(HubError, match=r"\(422\): what is Bearer <token>\?") as refused:
        push(made, NAME)
    assert TOKEN not in str(refused.value)
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_stopped_while_files_are_sent(
    made: Path, hub: Hub, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    """What had arrived when the process ended is not sent again, and nothing was to be seen of it."""
    hub.fault("^PUT /storage/", seconds=1, skip=2, times=ALWAYS)
    stopped = subprocess.Popen(
        [sys.executable, "-m", "pairkit", "push", str(made), NAME],
        env=environment(hub, tmp_path / "home"),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(hub.received) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    stopped.send_signal(sent)
    _, errors = stopped.communicate(timeout=60)
    assert stopped.returncode == code
    if sent == signal.SIGINT:
        says = "stopped; what has arrived is not sent again: the same command goes on"
        assert errors.splitlines()[-1] == f"error: {says}"
        assert "Traceback" not in errors
    assert hub.files(*KEY) == {}
    time.sleep(1.2)  # the server still takes what is on its way
    hub.faults.clear()
    arrived = set(hub.received)
    large = {sha256(content) for name, content in published(made).items() if name.endswith(".parquet")}
    assert len(arrived) < len(large)
    push(made, NAME)
    assert hub.files(*KEY) == published(made)
    assert sorted(hub.received) == sorted(large)


@pytest.mark.parametrize(
    "name",
    [
        "sets", "user/", "/sets", "a/b/c", "user/two--dashes", "user/two..dots", "user/-dash", "user/dot.",
        "user/sp ace", "user/ü", "user/x.git", "user/" + "x" * 97, "https://huggingface.co/user/sets",
    ],
)  # fmt: skip
def test_names_that_the_hub_refuses(name: str, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="repository name"):
        push(tmp_path, name)
    assert hub.calls == []


@pytest.mark.parametrize("name", ["u/s", "User-1/data.set_2", "user/" + "x" * 90])
def test_names_that_the_hub_takes(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "-x", "a..b", "a b", "x.lock", "a//b", "x/", "ü:"])
def test_branches_that_git_refuses(name: str) -> None:
    with pytest.raises(RecipeError, match="not the name of a branch"):
        check_branch(name)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "pairkit.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def first(folder: Path, kind: str = "data") -> Path:
    return sorted((folder / kind).glob("train-*"))[0]


def drop_rows(folder: Path) -> None:
    table = pq.read_table(first(folder))
    pq.write_table(table.slice(1), first(folder))


def other_schema(folder: Path) -> None:
    table = pq.read_table(first(folder))
    pq.write_table(table.drop_columns(["metadata"]), first(folder))


def other_type(folder: Path) -> None:
    table = pq.read_table(first(folder, "pairs"))
    column = table.schema.get_field_index("score_chosen")
    scores = table["score_chosen"].cast(pa.float32())
    pq.write_table(table.set_column(column, "score_chosen", scores), first(folder, "pairs"))


def no_origin(folder: Path) -> None:
    sets = pq.read_table(first(folder)).to_pylist()
    sets[0]["completions"][0]["origin"] = "me"
    pq.write_table(pa.Table.from_pylist(sets, schema=pq.read_schema(first(folder))), first(folder))


def card(folder: Path, old: str, new: str) -> None:
    path = folder / "README.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def added(folder: Path) -> None:
    shutil.copy(first(folder), folder / "data" / "train-extra.parquet")


def unfinished(folder: Path) -> None:
    (folder / "pairkit.json").unlink()
    (folder / ".build").mkdir()
    (folder / ".build" / "pairkit.lock").touch()


CHANGED = [
    (lambda f: card(f, "# ", "# My "), "README.md"),
    (drop_rows, "data/train-00000-of-"),
    (added, "data/train-extra.parquet"),
    (lambda f: edit_manifest(f, lambda m: m["recipe"].update(seed=7)), "pairkit.json"),
]


@pytest.mark.parametrize(("change", "what"), CHANGED)
def test_what_was_changed_by_hand_is_refused(
    built: Path, hub: Hub, change: Callable[[Path], Any], what: str
) -> None:
    change(built)
    with pytest.raises(InputError, match=f"changed by hand since it was built: {what}"):
        push(built, NAME)
    assert hub.calls == []


@pytest.mark.parametrize(
    ("change", "force", "says"),
    [
        (
            unfinished,
            False,
            "its build stopped before the end: the same `pairkit build` command",
        ),
        (lambda f: first(f).unlink(), True, "is missing; build the data set again"),
        (lambda f: (f / "README.md").unlink(), True, "README.md: is missing"),
        (lambda f: half(first(f)), True, "not a Parquet file"),
        (other_schema, True, "field 'metadata': is missing"),
        (other_type, True, "field 'score_chosen': is float, not double"),
        (no_origin, True, "row 1, field 'completions.origin': is none of source, generated, noise"),
        (drop_rows, True, "correct num_examples in its dataset_info"),
        (lambda f: card(f, "---\n", ""), True, "does not begin with front matter"),
        (lambda f: card(f, "configs:", "configs: ["), True, "front matter is not YAML"),
        (lambda f: card(f, "configs:", "configured:"), True, "has no `configs`"),
        (lambda f: card(f, "path: data/train-*", "path: data/dev-*"), True, "'data/dev-*', which is no file"),
        (lambda f: edit_manifest(f, lambda m: m["files"].update({"../x": {}})), True, "names no files"),
        (
            lambda f: edit_manifest(f, lambda m: m["files"].update({"../x": {"bytes": 1, "sha256": ""}})),
            True,
            "names a file that is not one of a data set: '../x'",
        ),
        (
            lambda f: edit_manifest(f, lambda m: m.update(schema_version=9)),
            True,
            "of schema version 9, not 1",
        ),
        (lambda f: (f / "pairkit.json").write_text("{"), True, "pairkit.json: not JSON"),
        (shutil.rmtree, False, "no such directory"),
        (lambda f: (shutil.rmtree(f), f.mkdir()), False, "neither a built data set (no pairkit.json)"),
        (lambda f: (shutil.rmtree(f), f.write_text("")), False, "is a file; give the directory"),
    ],
)
def test_directories_that_cannot_be_pushed(
    built: Path, hub: Hub, change: Callable[[Path], Any], force: bool, says: str
) -> None:
    change(built)
    with pytest.raises(InputError) as refused:
        push(built, NAME, force=force)
    assert says in str(refused.value)
    assert hub.calls == []


def test_a_data_set_changed_by_hand_says_so(built: Path, hub: Hub, tmp_path: Path) -> None:
    drop_rows(built)
    before = json.loads((built / "pairkit.json").read_text())["counts"]["train"]["sets"]
    card(built, f"num_examples: {before}", f"num_examples: {before - 1}")
    push(built, NAME, force=True)
    there = hub.files(*KEY)
    manifest = json.loads(there["pairkit.json"])
    name = str(first(built).relative_to(built))
    assert manifest["changed_by_hand"] == sorted([name, "README.md"], key=list(manifest["files"]).index)
    for file, about in manifest["files"].items():
        if file != "quarantine.parquet":
            assert about["sha256"] == sha256(there[file])
    loaded = process(environment(hub, tmp_path / "fresh"), "-c", LOAD, NAME, str(tmp_path))
    assert loaded.returncode == 0, loaded.stderr
    assert pq.read_metadata(tmp_path / "data-train.parquet").num_rows == before - 1
    assert short_hash(manifest["recipe"]) == manifest["recipe_hash"]
