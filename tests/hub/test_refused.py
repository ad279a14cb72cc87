"""Pushes that the hub refuses, or that pairkit refuses because of what is on the hub."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.hub_server import READ_TOKEN, TOKEN, Hub
from support.published import published

from pairkit.errors import ExistingOutputError, HubError, PairkitError, RecipeError
from pairkit.hub.push import describe, push
from pairkit.hub.repository import check_name, check_reference

NAME, KEY = "user/sets", ("dataset", "user/sets")
ALWAYS = float("inf")
# huggingface_hub's own, of the library that it sends with
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


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


@pytest.mark.parametrize("reason", ["no token", "no network"])
def test_a_dry_run_needs_no_hub(
    made: Path, hub: Hub, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if reason == "no token":
        without_token(monkeypatch, tmp_path)
    else:
        nobody_listens(monkeypatch)
    pushed = push(made, NAME, dry_run=True)
    assert pushed.changes is None
    assert describe(pushed, dry_run=True).count("  unknown ") == len(published(made))
    assert hub.calls == []


def test_a_missing_token_is_explained(
    made: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_token(monkeypatch, tmp_path)
    with pytest.raises(HubError, match="no token; log in with `hf auth login`, or set HF_TOKEN"):
        push(made, NAME)
    assert hub.calls == []
    (tmp_path / "token").write_text(TOKEN + "\n")  # where `hf auth login` puts it
    push(made, NAME)


def test_unreachable_hub(made: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody_listens(monkeypatch)
    with pytest.raises(HubError, match=r"cannot be reached \(.+\); check the network and HF_ENDPOINT"):
        push(made, NAME)


@pytest.mark.parametrize(
    ("token", "name", "fault", "part"),
    [
        ("hf_wrong", NAME, None, "the hub does not accept the token; log in with `hf auth login`"),
        (READ_TOKEN, NAME, None, "the token has no write access (you don't have the rights)"),
        (TOKEN, "another/sets", None, "an organization where you may write (got 'another')"),
        (TOKEN, NAME, ("POST .*/preupload", 401), "the hub does not accept the token"),
        (TOKEN, NAME, ("POST .*/preupload", 403), "the token has no write access (out of order)"),
        (TOKEN, NAME, ("POST .*/batch", 500), "the hub fails with status 500"),
        (TOKEN, NAME, ("POST .*/create", 500), "the hub fails with status 500"),
        (TOKEN, NAME, ("GET /api/datasets/user/sets", 502), "the hub fails with status 502"),
        (TOKEN, NAME, ("PUT /storage", 403), "the token has no write access"),
        (TOKEN, NAME, ("POST .*/commit", 400), "the hub refuses with status 400: out of order"),
        (TOKEN, NAME, ("POST .*/create", 429), "too many requests"),
        (TOKEN, NAME, ("POST .*/validate-yaml", 400), "refuses the front matter of README.md"),
    ],
)
def test_refusals_of_the_hub(
    made: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    name: str,
    fault: tuple[str, int] | None,
    part: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    if fault:
        hub.fault(*fault, times=ALWAYS)
    with pytest.raises(PairkitError) as refused:
        push(made, name)
    message = str(refused.value)
    assert part in message
    assert message.startswith(f"{name} on {hub.endpoint}: ")
    assert "\n" not in message
    assert token not in message


def test_a_server_cannot_make_a_message_show_the_token(
    made: Path, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.fault("POST .*/commit", 422, times=ALWAYS, message=f"what is Bearer {TOKEN}?")
    with pytest.raises(HubError, match=r"status 422: what is Bearer <token>\?") as refused:
        push(made, NAME)
    assert TOKEN not in str(refused.value)
    assert TOKEN not in caplog.text


def test_visibility_never_changes_by_accident(made: Path, hub: Hub) -> None:
    push(made, NAME, private=False)
    assert not hub.repos[KEY].private
    with pytest.raises(ExistingOutputError, match=r"is public: use --public"):
        push(made, NAME)
    hub.repos[KEY].private = True
    with pytest.raises(ExistingOutputError, match=r"is private: use --private"):
        push(made, NAME, private=False)


def test_a_repository_with_other_files(made: Path, hub: Hub) -> None:
    theirs = {"README.md": b"---\n{}\n---\n", "data/train-00000-of-00002.parquet": b"theirs"}
    hub.add(*KEY, theirs, private=True)
    for dry_run in (True, False):
        with pytest.raises(ExistingOutputError, match=r"did not push \(data/train-00000-of-00002\.parquet\)"):
            push(made, NAME, dry_run=dry_run)
    assert hub.files(*KEY) == theirs
    push(made, NAME, force=True)
    assert hub.files(*KEY) == {**theirs, **published(made)}


NAMES = [
    "sets", "user/", "/sets", "a/b/c", "user/two--dashes", "user/two..dots", "user/-dash", "user/dot.",
    "user/sp ace", "user/ü", "user/x.git", "user/" + "x" * 97, "https://huggingface.co/user/sets",
]  # fmt: skip


def test_invalid_names(hub: Hub, tmp_path: Path) -> None:
    for name in NAMES:
        with pytest.raises(RecipeError, match="repository name"):
            push(tmp_path, name)
    assert hub.calls == []


def test_valid_names() -> None:
    for name in ("u/s", "User-1/data.set_2", "user/" + "x" * 90):
        check_name(name)


def test_invalid_branches() -> None:
    for name in ("", "-x", "a..b", "a b", "x.lock", "a//b", "x/", "ü:"):
        with pytest.raises(RecipeError, match="not a valid branch name"):
            check_reference("--revision", name)
    for name in ("x" * 251, "v" + "ü" * 125):
        with pytest.raises(RecipeError, match=r"--tag '[xvü]{20}\.\.\.': 251 bytes are too many"):
            check_reference("--tag", name)
    check_reference("--tag", "x" * 250)
