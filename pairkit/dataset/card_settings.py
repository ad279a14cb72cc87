"""What the author of a dataset or a model sets in its card: license, languages, name, tags, own words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import field_validator

from pairkit.dataset.card_text import join, split
from pairkit.dataset.languages import is_language
from pairkit.dataset.licenses import license_fields
from pairkit.dataset.markdown import cell
from pairkit.recipes import Strict, validate

# Comments in Markdown, which show where words of the author are, so that they can be replaced.
_BEGIN, _END = "<!-- pairkit: {} -->", "<!-- pairkit: end of {} -->"
_TITLE = re.compile(r"\s*# .*\n\n?")
# Pairkit's own of every dataset.
TAGS = ("preference", "candidate-sets", "dpo", "mc-po", "pairkit")
# The front matter begins with these, because they are what a person looks for.
_FIRST = ("pretty_name", "license", "license_name", "license_link", "language")


class CardSettings(Strict):
    """What a card states besides what pairkit knows.

    license      an identifier of the hub, such as cc-by-4.0, or other:NAME; null: the source's or the base
                 model's.
    language     codes of ISO 639, such as en.
    pretty_name  the title.
    tags         in addition to pairkit's own.
    description  Markdown below the title.
    text         Markdown before the section on loading, such as sections on intended use.

    >>> CardSettings(license="cc-by-4.0", language="en, de").language
    ('en', 'de')

    Raises `pydantic.ValidationError`.
    """

    license: str | None = None
    language: tuple[str, ...] = ()
    pretty_name: str | None = None
    tags: tuple[str, ...] = ()
    description: str | None = None
    text: str | None = None

    def given(self) -> dict[str, Any]:
        """Return the fields that are set, as plain values."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @field_validator("license")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            # A RecipeError is a ValueError, so that pydantic passes its message on.
            license_fields(value)
        return value

    @field_validator("language", "tags", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("language")
    @classmethod
    def _codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for code in value:
            if not is_language(code):
                raise ValueError(
                    f"card.language: {code!r} is not the code of a language; write one of ISO 639, such as "
                    "en or zh, or code, or multilingual"
                )
        return value

    @field_validator("tags")
    @classmethod
    def _lines(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for tag in value:
            if not tag.strip() or "\n" in tag:
                raise ValueError(f"card.tags: {tag!r} is not a tag; write words, such as math")
        return value

    @field_validator("pretty_name")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and "\n" in value.strip():
            raise ValueError(f"card.pretty_name must be one line, got {value!r}")
        return (value or "").strip() or None

    @field_validator("description", "text")
    @classmethod
    def _markdown(cls, value: str | None) -> str | None:
        text = (value or "").replace("\r\n", "\n").strip()
        if "<!-- pairkit:" in text:
            raise ValueError(
                "card.description and card.text must not contain '<!-- pairkit:', with which a card marks "
                "where they are; remove it"
            )
        return text or None


class Carded(Strict):
    """A recipe of nothing but a card: what `pairkit push` takes."""

    card: CardSettings = CardSettings()


def settings_of(content: Mapping[str, Any]) -> CardSettings:
    """Read the settings of a card from plain values. Raises `RecipeError`."""
    return validate(Carded, {"card": content}).card


def with_settings(card: str, settings: CardSettings, before: CardSettings | None = None) -> str:
    """Return a card with the settings in its front matter, title and text.

    Args:
        before: settings that the card has already and that these replace.
    """
    if not settings.given():
        return card
    parts = split(card)
    body = parts.body
    if settings.pretty_name:
        body = _with_title(body, settings.pretty_name)
    if settings.description:
        body = _with_description(body, settings.description)
    if settings.text:
        body = _with_text(body, settings.text)
    return join(_matter(parts.matter(), settings, before.tags if before else ()), body)


def _matter(matter: dict[str, Any], settings: CardSettings, replaced: tuple[str, ...]) -> dict[str, Any]:
    additions: dict[str, Any] = {}
    if settings.license:
        # A name or link that is there belongs to the license that is replaced.
        matter = {key: value for key, value in matter.items() if key not in ("license_name", "license_link")}
        additions |= license_fields(settings.license)
    if settings.language:
        additions["language"] = list(settings.language)
    # Only datasets have one: the hub knows none of models.
    if settings.pretty_name and "pretty_name" in matter:
        additions["pretty_name"] = settings.pretty_name
    if settings.tags:
        tags = [tag for tag in matter.get("tags") or [] if tag not in replaced or tag in TAGS]
        additions["tags"] = list(dict.fromkeys([*tags, *settings.tags]))
    together = {**matter, **additions}
    return {key: together[key] for key in (*_FIRST, *together) if key in together}


def _with_title(body: str, title: str) -> str:
    # Only at the beginning, because in code a line of this form is a comment.
    old = _TITLE.match(body)
    return f"\n# {cell(title)}\n\n{body[old.end() if old else 0 :]}"


def _with_description(body: str, words: str) -> str:
    start, end = _description(body)
    # A card that was edited may have no title, and then begins with the description.
    gap = "" if end > start else "\n\n"
    return f"{body[:start]}{_block('description', words)}{gap}{body[end:]}"


def _with_text(body: str, words: str) -> str:
    # After the title and the author's description, which may have headings of its own.
    head = _description(body)[1]
    load = re.compile(r"^## Load$", re.MULTILINE).search(body, head)
    # Only before that line, because the examples after it are data, which may contain anything.
    there = _marked("text").search(body, head, load.start() if load else len(body))
    if there:
        return body[: there.start()] + _block("text", words) + body[there.end() :]
    if load is None:
        return f"{body.rstrip()}\n\n{_block('text', words)}\n"
    return f"{body[: load.start()]}{_block('text', words)}\n\n{body[load.start() :]}"


def _description(body: str) -> tuple[int, int]:
    """Find where the author's description is, or where it belongs."""
    title = _TITLE.match(body)
    start = title.end() if title else 0
    there = _marked("description").match(body, start)
    return start, there.end() if there else start


def _block(name: str, words: str) -> str:
    return f"{_BEGIN.format(name)}\n{words}\n{_END.format(name)}"


def _marked(name: str) -> re.Pattern[str]:
    return re.compile(f"{re.escape(_BEGIN.format(name))}.*?{re.escape(_END.format(name))}", re.DOTALL)
