"""Errors: each is one of pairkit's and one of Python's own, with the place and what to do."""

from __future__ import annotations

import pytest

from pairkit import errors
from pairkit.errors import (
    InputError,
    Interrupted,
    PairkitError,
    RecipeError,
    UsageError,
    listed,
    located,
    quoted,
    shortened,
    unknown,
)

CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, PairkitError)
]


def test_every_error_is_in_the_tree_of_the_docstring():
    assert errors.__doc__ is not None
    for kind in CLASSES:
        assert f" {kind.__name__}" in errors.__doc__
        assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.RecipeError, ValueError),
        (errors.ModelError, ValueError),
        (errors.HubError, ConnectionError),
        (errors.OutputError, OSError),
        (errors.ExistingOutputError, FileExistsError),
        (errors.MissingExtraError, ImportError),
        (errors.TrainingError, RuntimeError),
    ],
)
def test_an_error_can_be_caught_as_the_builtin_and_keeps_its_message(kind: type, builtin: type):
    with pytest.raises(builtin) as caught:
        raise kind("what is wrong and what to do")
    assert isinstance(caught.value, PairkitError)
    assert str(caught.value) == "what is wrong and what to do"


def test_the_exit_code_is_1_but_for_usage_and_interrupts():
    others = {Interrupted: 130, UsageError: 2}
    assert {kind: kind.exit_code for kind in CLASSES} == dict.fromkeys(CLASSES, 1) | others


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({}, "is null"),
        ({"file": "a.jsonl"}, "a.jsonl: is null"),
        ({"row": 3}, "row 3: is null"),
        ({"file": "a.jsonl", "row": 1, "field": "prompt"}, "a.jsonl, row 1, field 'prompt': is null"),
    ],
)
def test_an_input_error_names_the_place(place: dict[str, object], message: str):
    assert str(InputError.at("is null", **place)) == message  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("dop", ["dpo", "sft"], "unknown loss 'dop'; did you mean 'dpo'? Known: dpo, sft"),
        ("zzz", ["sft", "dpo"], "unknown loss 'zzz'; known: dpo, sft"),
        ("any", [], "unknown loss 'any'; known: none"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_one(name: str, known: list[str], message: str):
    error = unknown("loss", name, known)
    assert isinstance(error, RecipeError)
    assert str(error) == message


@pytest.mark.parametrize("length", [0, 1, 200, 201, 10**6])
def test_what_messages_quote_is_cut_and_counted(length: int) -> None:
    text = "n" * length
    for shown in (shortened(text), quoted(text), listed([text]), located("is missing", field=text)):
        assert len(shown) < 300
        if length > 200:
            assert f"({length - 200:,} characters more)" in shown


def test_lists_of_names_say_how_many_are_left_out() -> None:
    assert listed([f"c{number}" for number in range(100_000)], 12) == "c0, c1, c2 and 99,997 more"
    assert listed([]) == ""
    assert listed(["a" * 300, "b"]).endswith("(100 characters more) and 1 more")


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = str(InputError("rows.json: " + "n" * 10**6 + "; correct the file"))
    assert len(message) < 4100
    assert message.startswith("rows.json: nnn")
    assert "(996,029 characters left out)" in message
    assert message.endswith("nnn; correct the file")
