"""Pushes that fail half-way: nothing is half published, and nothing is sent twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.hub_server import Hub, environment, sha256
from support.published import published

from pairkit.errors import HubError
from pairkit.hub.push import push

NAME, KEY = "user/sets", ("dataset", "user/sets")
ALWAYS = float("inf")
# huggingface_hub's own, of the library that it sends with
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_a_failed_upload_continues(made: Path, hub: Hub) -> None:
    hub.fault("^PUT /storage/", 500, skip=2, times=ALWAYS)
    with pytest.raises(HubError, match=r"status 500 after several retries; .* arrived are not sent"):
        push(made, NAME)
    assert len(hub.received) == 2
    assert hub.files(*KEY) == {}
    hub.faults.clear()
    push(made, NAME)
    assert hub.files(*KEY) == published(made)
    assert len(hub.received) == len(set(hub.received)) == len([n for n in published(made) if ".parquet" in n])


def test_failures_that_end(made: Path, hub: Hub) -> None:
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


def test_a_commit_of_somebody_else_meanwhile(built: Path, hub: Hub) -> None:
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
    with pytest.raises(HubError, match="somebody else is changing the repository"):
        push(built, NAME, force=True)
    assert hub.files(*KEY).keys() == {*published(built), "2.md", "4.md", "5.md"}


@pytest.mark.parametrize("status", [pytest.param(409, marks=pytest.mark.full), 412, 500])
def test_a_refused_commit_is_tried_once_more(made: Path, hub: Hub, status: int) -> None:
    hub.fault("^POST .*/commit/main", status)
    push(made, NAME)
    assert hub.files(*KEY) == published(made)


@pytest.mark.full
@pytest.mark.parametrize(
    ("sent", "code"), [pytest.param(signal.SIGKILL, -9, marks=pytest.mark.full), (signal.SIGINT, 130)]
)
def test_a_stopped_push_continues(
    made: Path, hub: Hub, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    """Files that arrived before the process ended are not sent again, and no reader has seen any."""
    hub.fault("^PUT /storage/", seconds=0.5, skip=2, times=ALWAYS)
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
        message = "stopped; run the same command to continue: files that arrived are not sent again"
        assert errors.splitlines()[-1] == f"error: {message}"
        assert "Traceback" not in errors
    assert hub.files(*KEY) == {}
    while hub.open and time.monotonic() < deadline:  # the server still takes what is on its way
        time.sleep(0.05)
    hub.faults.clear()
    arrived = set(hub.received)
    large = {sha256(content) for name, content in published(made).items() if name.endswith(".parquet")}
    assert len(arrived) < len(large)
    push(made, NAME)
    assert hub.files(*KEY) == published(made)
    assert sorted(hub.received) == sorted(large)
