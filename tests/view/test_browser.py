"""The page is opened in a browser by way of a private file, because the address has the token."""

from __future__ import annotations

import stat
import webbrowser
from pathlib import Path
from urllib.parse import urlparse

import pytest
from support.parsed_page import Page

from pairkit.view.browser import open_page

ADDRESS = "http://127.0.0.1:8000/?token=a\"b'><script>x</script>&c=d"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that a browser was asked to open."""
    files: list[Path] = []

    def opened(address: str) -> bool:
        files.append(Path(urlparse(address).path))
        return True

    monkeypatch.setattr(webbrowser, "open", opened)
    return files


def test_the_address_is_in_a_file_that_nobody_else_reads(files: list[Path]) -> None:
    with open_page(ADDRESS, True):
        (file,) = files
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        page = Page(file.read_text(encoding="utf-8"))
    assert not file.parent.exists()
    assert [attributes["href"] for tag, attributes in page.tags if tag == "a"] == [ADDRESS]
    assert {"http-equiv": "refresh", "content": f"0; url={ADDRESS}"} in [found for _, found in page.tags]
    assert "script" not in {tag for tag, _ in page.tags}
    # The name of the private file is not sent to the server.
    assert {"name": "referrer", "content": "no-referrer"} in [found for _, found in page.tags]


def test_no_browser_is_opened_where_none_is_wanted(files: list[Path]) -> None:
    with open_page(ADDRESS, False):
        pass
    assert files == []


def test_a_machine_without_a_browser_is_told_the_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    with open_page(ADDRESS, True):
        pass
    assert "no browser found; open the address above in one" in capsys.readouterr().err
