"""Images, audio and video next to a text: their rows go to quarantine by the name of what attaches them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.row_files import write_lines

from pairkit.sources import SourceRecipe, open_source

USER = {"role": "user", "content": "What is it?"}
TEXTS = {"chosen": "A cat.", "rejected": "A dog."}
PLAIN = {"prompt": [USER], **TEXTS}


def found(folder: Path, *rows: dict[str, Any]) -> tuple[list[str], int]:
    """Return the fields that details name, and how many sets were made."""
    path = folder / "rows.jsonl"
    write_lines(path, list(rows))
    (batch,) = open_source(SourceRecipe(name="files", path=str(path))).batches()
    quarantine = batch.quarantine.to_pylist()
    assert {row["reason"] for row in quarantine} <= {"unsupported_content"}
    assert all("which are not supported" in row["detail"] for row in quarantine)
    return [row["detail"].split("'")[1] for row in quarantine], batch.sets.num_rows


@pytest.mark.default("images-value2", "image-a.png", "audio-x.wav", "video-value5", "image_url-value7")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image", "a.png"),
        ("images", ["a.png"]),
        ("images", [{"bytes": "AA==", "path": None}]),
        ("audio", "x.wav"),
        ("audios", ["x.wav"]),
        ("video", {"url": "x.mp4"}),
        ("videos", ["x.mp4"]),
        ("image_url", {"url": "https://a"}),
        ("image_urls", ["https://a"]),
        ("audio_path", "x.wav"),
        ("videoFile", "x.mp4"),
    ],
)
def test_a_medium_of_a_message_or_a_row_is_named(tmp_path: Path, name: str, value: Any) -> None:
    attached = {"prompt": [{**USER, name: value}], **TEXTS}
    assert found(tmp_path, PLAIN, attached, PLAIN | {name: value}) == ([f"prompt.{name}", name], 1)


def test_a_medium_of_a_reply_or_a_completion_is_named(tmp_path: Path) -> None:
    reply = {"role": "assistant", "content": "A cat.", "images": ["a.png"]}
    other = {"role": "assistant", "content": "A dog."}
    assert found(tmp_path, {"chosen": [USER, reply], "rejected": [USER, other]}) == (["chosen.images"], 0)
    assert found(tmp_path, {"messages": [USER, reply]}) == (["messages.images"], 0)
    completions = [{"text": "A cat.", "image": "a.png"}, {"text": "A dog."}]
    assert found(tmp_path, {"prompt": "What is it?", "completions": completions}) == (
        ["completions.image"],
        0,
    )


def test_a_key_without_a_medium_refuses_nothing(tmp_path: Path) -> None:
    """Loaders write the key into every message, and a name or a count is no medium."""
    empty = {"prompt": [{**USER, "images": [], "audio": None, "video": ""}], **TEXTS}
    counted = PLAIN | {"image_id": 7, "video_title": "Cats", "imagery": "vivid"}
    assert found(tmp_path, empty, counted) == ([], 2)
