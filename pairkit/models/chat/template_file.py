"""A template in a file of the user's own."""

from __future__ import annotations

from pairkit.errors import RecipeError
from pairkit.models.chat.limits import check_length, limited
from pairkit.user_text import read_user_text


def read_template(file: str) -> str:
    """Read a template file. Raises `RecipeError` for one that cannot be read or is not a template."""
    import jinja2
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        text = read_user_text(file)
    except (OSError, ValueError) as error:
        raise RecipeError(f"template.file {file!r} cannot be read: {error}") from error
    if not text.strip():
        raise RecipeError(f"template.file {file!r} is empty; for raw text set template=none")
    try:
        check_length(text)
        with limited():
            render_jinja_template([[{"role": "user", "content": "a"}]], chat_template=text)
    except RecipeError as error:
        raise RecipeError(f"template.file {file!r}: {error}") from error
    except jinja2.TemplateSyntaxError as error:
        raise RecipeError(f"template.file {file!r}, line {error.lineno}: {error.message}") from error
    except Exception:  # of a program that runs, but not on this prompt, which is not a mistake of the file
        return text
    return text
