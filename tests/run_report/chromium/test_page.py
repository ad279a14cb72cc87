"""The page in a real Chromium: it loads nothing, fits a telephone, is readable in both styles, unfolds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.evaluations import measured, write_evaluation
from support.recorded import write_online, write_run

from pairkit.run_report.report import report

pytestmark = pytest.mark.chromium
HOSTILE = "<img src=x onerror=document.title='taken'> \u202eabc <script>document.title='taken'</script>"
# Contrast of a color with the one that is behind it, as WCAG 2 defines it.
CONTRAST = """([selector]) => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const color = parse(getComputedStyle(each).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll(selector)].filter(each => each.checkVisibility()).map(each => {
    const levels = [light(parse(getComputedStyle(each).color)), light(behind(each))];
    return (Math.max(...levels) + 0.05) / (Math.min(...levels) + 0.05);
  });
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two seeds, an online training and a reward model, with evaluations and hostile texts."""
    folder = tmp_path_factory.mktemp("report")
    runs = [write_run(folder / "dpo" / f"seed-{seed}", seed=seed, steps=300, text=HOSTILE) for seed in (0, 1)]
    runs += [
        write_online(folder / "online", text=HOSTILE),
        write_run(folder / "reward", {"name": "reward_bt"}),
    ]
    for place, name in enumerate(("dpo", "start")):
        scores = [float(prompt % (place + 2) > 0) for prompt in range(40)]
        write_evaluation(folder / "eval" / name, [measured("strict", scores)], model=name)
    report(runs, folder / "page.html", evaluated=[folder / "eval"])
    return folder / "page.html"


@pytest.fixture
def opened(chromium: Any, page_file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page in a window of a width and a style, and that nothing went wrong and nothing was asked for."""
    width, scheme = getattr(request, "param", (1280, "light"))
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    asked, problems = [], []
    page.on("request", lambda each: asked.append(each.url))
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(page_file.as_uri())
    yield page
    assert asked == [page_file.as_uri()]
    assert problems == []
    context.close()


@pytest.mark.parametrize("opened", [(1280, "light"), (400, "light"), (400, "dark")], indirect=True)
def test_the_page_fits_its_window(opened: Any) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    narrow = opened.viewport_size["width"] < 600
    drawings = opened.locator("figure svg")
    visible = [drawings.nth(place) for place in range(drawings.count()) if drawings.nth(place).is_visible()]
    assert len(visible) > 15
    for each in visible:
        box = each.bounding_box()
        # In both widths letters have about the size of the page's small ones.
        size = each.locator("text").first.evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
        scale = box["width"] / float(each.get_attribute("viewBox").split()[2])
        assert 8 < size * scale < 17, (size, scale)
        assert box["width"] <= (opened.viewport_size["width"] if narrow else 1280)


@pytest.mark.parametrize("opened", [(1280, "light"), (1280, "dark")], indirect=True)
def test_texts_stand_out_in_both_styles(opened: Any) -> None:
    for selector in ("p, td, th, summary, a, h1, h2, figcaption", "ins, del", ".badge", ".column small"):
        found = opened.evaluate(CONTRAST, [selector])
        assert found, selector
        assert min(found) >= 4.5, selector


def test_sections_are_linked_and_numbers_unfold(opened: Any) -> None:
    opened.locator("nav a", has_text="What do the models write?").click()
    assert opened.locator("section:target h2").inner_text() == "What do the models write?"
    fold = opened.locator("details", has_text="Numbers of figure 20: steps").first
    rows = fold.locator("tbody tr")
    assert not rows.first.is_visible()
    fold.locator("summary").click()
    assert rows.first.is_visible()
    assert rows.count() == 200


def test_texts_of_models_are_shown_and_do_nothing(opened: Any) -> None:
    assert opened.title() == "pairkit report"
    assert opened.locator("img, script, iframe").count() == 0
    shown = opened.locator(".column .text").first.inner_text()
    assert "<img src=x onerror=document.title='taken'>" in shown
    assert "\u202e" not in shown
    assert opened.locator("ins").count() > 0


def test_evaluations_have_their_differences(opened: Any) -> None:
    section = opened.locator("section", has=opened.locator("h2", has_text="How good are the models?"))
    assert section.locator("td", has_text="dpo − start").count() > 0
    assert section.locator(".badge").first.is_visible()
