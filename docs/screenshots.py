"""Make the pictures of docs/viewing.md, in a real Chromium, of a small dataset that is made up here.

.ci/chromium environment && PYTHONPATH=tests:.venv-chromium/packages python docs/screenshots.py
"""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from support.tiny import candidate_sets, completion, write_data

from pairkit.view.viewing import viewing

OUT = Path(__file__).parent / "viewing"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
WIDE, NARROW = {"width": 1360, "height": 850}, {"width": 400, "height": 850}

TOPICS = {
    "why the sky is blue": (
        "Sunlight holds every color. Air scatters blue light far more than red, so blue reaches your eyes "
        "from all over the sky.\n\nTry it: shine a lamp "
        "through a glass of water with a drop of milk, and look from the side."
    ),
    "how a bicycle stays upright": (
        "A moving bicycle steers into its own fall: when it leans, the front wheel turns the same way and "
        "brings the wheels back under you.\n\nTry it: roll an empty bicycle forward, and watch the handlebar."
    ),
    "what compound interest is": (
        "Interest is paid on the money you put in, and then on the interest too, so it grows faster every "
        "year.\n\n"
        "Try it: fold a sheet of paper again and again, and count the layers."
    ),
    "how vaccines work": (
        "A vaccine shows your body a harmless piece of a germ. Your body learns to fight it, and remembers "
        "how when the real germ comes.\n\nTry it: hide a key, and find it a second time."
    ),
}
MODELS = ("org/large-instruct", "org/medium-instruct", "org/small-instruct")


def written(text: str, worse: int, draw: random.Random) -> str:
    """Return a text as a worse model might write it: words left out, and the last line too."""
    lines = text.split("\n\n")[: 2 if worse < 2 else 1]
    kept = [" ".join(word for word in line.split() if draw.random() > 0.09 * worse) for line in lines]
    return ("Sure! " if worse else "") + "\n\n".join(kept)


def dataset(folder: Path) -> Path:
    """Write 660 sets of three completions with scores of three rankers."""
    draw = random.Random(0)
    rows: list[tuple[str | list[dict[str, str]], list[dict[str, Any]]]] = []
    for number in range(660):
        topic, text = list(TOPICS.items())[number % len(TOPICS)]
        quality = sorted((draw.gauss(7.5 - 1.4 * place, 0.9) for place in range(3)), reverse=True)
        completions = [
            completion(
                written(text, place, draw), place + 1, score=round(score, 2), model=MODELS[place],
                scores=[
                    {"name": "helpfulness", "value": round(score + draw.gauss(0, 0.6), 2)},
                    {"name": "honesty", "value": round(draw.gauss(7, 1), 2)},
                    {"name": "judge", "value": round(score / 10, 3)},
                ],
                sampling={"temperature": 0.7, "top_p": 0.95, "seed": number, "max_tokens": 512},
                finish_reason="stop", origin="generated",
            )
            for place, score in enumerate(quality)
        ]  # fmt: skip
        ask = f"Explain {topic} to a ten-year-old, in {3 + number % 4} sentences, with something to try."
        rows.append(
            (
                [
                    {"role": "system", "content": "You are a patient teacher."},
                    {"role": "user", "content": ask},
                ],
                completions,
            )
        )
    sets = candidate_sets(rows)
    return write_data(folder, sets.slice(0, 600), sets.slice(600))


def page_of(browser: Browser, address: str, size: Any, scheme: Any) -> Page:
    page = browser.new_page(viewport=size, color_scheme=scheme)
    page.goto(address)
    page.locator("[role=option]:not(.waiting)").first.wait_for()
    page.wait_for_timeout(900)  # until the lengths are read, too
    return page


def main() -> None:
    """Write all pictures."""
    OUT.mkdir(exist_ok=True)
    program = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = dataset(Path(temporary) / "explanations")
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        with viewing(folder) as running:
            page = page_of(browser, f"{running.address}&in.margin=1..&diff=1", WIDE, "light")
            page.locator("[role=option]").nth(1).click()
            page.locator(".diff").first.wait_for()
            page.screenshot(path=OUT / "set-light.png")
            page = page_of(browser, running.address, NARROW, "dark")
            page.locator("[role=option]").nth(1).click()
            page.locator(".completion").first.wait_for()
            page.screenshot(path=OUT / "narrow-dark.png")
        with viewing(folder, annotate="maria") as running:
            page = page_of(browser, running.address, WIDE, "light")
            for number, keys in enumerate((["n", "n", "Alt+ArrowUp"], ["a"], ["n", "n", "n", "Alt+ArrowUp"])):
                page.locator("[role=option]").nth(number).click()
                page.wait_for_timeout(300)
                for key in keys:
                    page.keyboard.press(key)
                page.wait_for_timeout(300)
            page.keyboard.press("g")
            page.get_by_role("dialog", name="Agreement").wait_for()
            page.screenshot(path=OUT / "agreement-light.png")
        browser.close()


if __name__ == "__main__":
    main()
