"""The chat templates that a recipe names as files: checked before a build, and part of what identifies it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairkit.errors import RecipeError
from pairkit.files import sha256
from pairkit.models.chat.settings import TemplateSettings
from pairkit.pipeline.recipe import BuildRecipe
from pairkit.rankers.table import name_of


def template_files(recipe: BuildRecipe) -> dict[str, Path]:
    """Return the file of each stage that has one, by its name: "generate", "generate.NAME", "rank.NAME"."""
    blocks: dict[str, Any] = {f"rank.{name_of(block)}": block for block in recipe.rankings}
    blocks |= recipe.writers
    templates = {name: getattr(block, "template", None) for name, block in blocks.items()}
    return {
        name: Path(template.file)
        for name, template in templates.items()
        if isinstance(template, TemplateSettings) and template.file is not None
    }


def check_files(recipe: BuildRecipe) -> None:
    """Raise a `RecipeError` for a template file that does not exist."""
    for name, file in template_files(recipe).items():
        if not file.is_file():
            key = name if name.startswith("generate") else "rank"
            raise RecipeError(f"recipe key '{key}.template.file': {file}: no such file")


def file_hashes(recipe: BuildRecipe) -> dict[str, str]:
    """Return the sha256 of each template file, by stage."""
    return {name: sha256(file) for name, file in template_files(recipe).items()}


def published(template: Any) -> Any:
    """Return a `template:` block as it is published: a path would name the folders of this machine."""
    if not isinstance(template, Mapping) or template.get("file") is None:
        return template
    return {**template, "file": Path(template["file"]).name}
