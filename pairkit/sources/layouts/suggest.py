"""A map that the names and types of columns suggest: a proposal for a person, never a reading."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from pairkit.arrow import is_json, is_list, is_number, is_text
from pairkit.progress import shell_quoted
from pairkit.sources.layouts.paths import Types
from pairkit.sources.reading.contents import TEXT_KEYS


def _list(words: str) -> list[str]:
    return words.split()


def _set(words: str) -> frozenset[str]:
    return frozenset(_list(words))


BETTER = _set(
    "chosen good better best preferred accepted accept win winner winning positive pos correct right real "
    "desired liked safe safer w"
)
WORSE = _set(
    "rejected reject bad worse worst dispreferred unpreferred refused lose loser losing negative neg wrong "
    "incorrect fake generated undesired disliked unsafe l"
)
NOT = _set("non not un dis")
PROMPT = _list(
    "prompt prompts instruction instructions question questions query request problem task input user human "
    "message messages conversation conversations dialogue dialog context history post title q"
)
COMPLETION = _set(
    "completion completions response responses reply replies answer answers output outputs generation "
    "generations candidate candidates solution solutions assistant bot gpt llm chatbot sample samples result "
    "results text texts summary summaries translation translations target"
)
SCORE = _set("score scores rating ratings reward rewards grade grades points")
RANK = _set("rank ranks ranking position order")
WINNER = _set("winner preference preferred better best verdict label choice vote chosen pick")
# What is about a completion and is none.
ABOUT = _set(
    "model models id ids uid hash source name type category language lang date time url link reason "
    "rationale rationales explanation critique feedback comment annotator judge tokens token length "
    "count is dataset system tag tags topic domain split status version"
)
TURN_KEYS = ({"role", "content"}, {"from", "value"})
DEPTH = 3  # of objects in objects


class Candidate(NamedTuple):
    """A path of the rows: its words, and whether it is a text, messages, texts, objects or a number."""

    path: str
    kind: str
    words: tuple[str, ...]

    def has(self, words: Sequence[str] | frozenset[str]) -> bool:
        return any(word in words for word in self.words)

    @property
    def is_about(self) -> bool:
        """Whether it tells something about a completion: `output_model` does, `model_output` is one."""
        last = next((word for word in reversed(self.words) if not word.isdigit()), "")
        return self.has(ABOUT) and last not in COMPLETION

    @property
    def side(self) -> str:
        """`chosen`, `rejected` or nothing, by its words."""
        better, worse = self.has(BETTER), self.has(WORSE)
        if better and self.has(NOT):
            better, worse = False, True
        return "" if better == worse else "chosen" if better else "rejected"

    @property
    def stem(self) -> tuple[str, ...]:
        """Its words without those that tell alternatives apart."""
        apart = BETTER | WORSE | NOT
        return tuple(
            word for word in self.words if word not in apart and len(word) > 1 and not word.isdigit()
        )


def suggest(columns: Types) -> dict[str, str]:
    """Return a map of prompt and completions; empty if no column looks like a completion."""
    candidates = list(_candidates(columns))
    texts = [each for each in candidates if each.kind not in ("number", "numbers") and not each.is_about]
    prompt = _prompt(texts)
    rest = [each for each in texts if each is not prompt]
    fields = _pair(rest, candidates) or _several(rest, candidates) or _one(rest)
    if not fields:
        return {}
    if prompt is None:
        # The only other text, whatever it is called.
        others = [each for each in rest if each.kind == "text" and each.path not in "+".join(fields.values())]
        prompt = others[0] if len(others) == 1 else None
    if prompt is None:
        # Dialogues hold their prompt; a reply alone does not.
        return {} if "completion" in fields else fields
    parts = [prompt.path]
    if prompt.path == "instruction" and any(each.path == "input" for each in rest):
        parts.append("input")  # Alpaca's: what the instruction is about
    return {"prompt": "+".join(parts), **fields}


def written(mapped: Mapping[str, Any]) -> str:
    """Return a map as the value of `--map`, quoted for a shell where it has to be."""
    return shell_quoted(",".join(f"{field}={written_value(value)}" for field, value in mapped.items()))


def written_value(value: Any) -> str:
    """Return the value of a field of a map as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {role}" for name, role in value.items()) + "}"
    return str(value)


def _candidates(columns: Types) -> Iterator[Candidate]:
    for name, kinds in columns.items():
        # A comma would end the value of --map.
        if "," not in name:
            for kind in kinds:
                yield from _inside(name, kind, DEPTH)


def _inside(path: str, kind: pa.DataType, depth: int) -> Iterator[Candidate]:
    name = _kind(kind)
    if name:
        yield Candidate(path, name, _words(path))
    elif pa.types.is_struct(kind) and depth:
        for field in kind:
            yield from _inside(f"{path}.{field.name}", field.type, depth - 1)


def _kind(kind: pa.DataType) -> str:
    """Return what a type may be to a set: "" for what is looked into, or is nothing."""
    if is_text(kind) or is_json(kind):
        return "text"
    if is_number(kind) or pa.types.is_boolean(kind):
        return "number"
    if pa.types.is_struct(kind):
        return "text" if any(keys <= _keys(kind) for keys in TURN_KEYS) else ""
    if not is_list(kind):
        return ""
    item = kind.value_type
    if is_text(item):
        return "texts"
    if is_number(item):
        return "numbers"
    if any(keys <= _keys(item) for keys in TURN_KEYS):
        return "messages"
    return "objects" if _keys(item) & set(TEXT_KEYS) else ""


def _keys(kind: pa.DataType) -> set[str]:
    return {field.name for field in kind} if pa.types.is_struct(kind) else set()


def _words(path: str) -> tuple[str, ...]:
    """Return the words of a path in lower case: those of `goodAnswer_1` are good, answer and 1."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path)
    return tuple(word.lower() for word in re.findall(r"[^\W\d_]+|\d+", apart))


def _prompt(texts: Sequence[Candidate]) -> Candidate | None:
    possible = [
        each for each in texts if each.kind in ("text", "messages") and not each.side and each.has(PROMPT)
    ]
    # A name such as `user_reply` or `input_text` is rather the other thing if there is a plainer one.
    places = {word: place for place, word in enumerate(PROMPT)}

    def order(each: Candidate) -> tuple[bool, int]:
        return each.has(COMPLETION - {"text"}), min(places[word] for word in each.words if word in places)

    return min(possible, key=order, default=None)


def _pair(texts: Sequence[Candidate], all_: Sequence[Candidate]) -> dict[str, str]:
    single = [each for each in texts if each.kind in ("text", "messages")]
    worse = [each for each in texts if each.side == "rejected" and each.kind != "objects"]
    kinds = {("text", "text"), ("messages", "messages"), ("text", "texts")}
    better = [each for each in single if each.side == "chosen"]
    pairs = [
        (candidate, other) for candidate in better for other in worse if (candidate.kind, other.kind) in kinds
    ]
    # `answer` next to `bad_answer`.
    pairs = pairs or [
        (candidate, other)
        for candidate in single
        for other in worse
        if not candidate.side
        and (candidate.stem, candidate.kind) == (other.stem, other.kind)
        and candidate.stem
    ]
    if not pairs:
        return {}
    # Of several the two whose names differ in nothing else.
    chosen, rejected = min(
        pairs, key=lambda pair: (pair[0].stem != pair[1].stem, not pair[0].has(COMPLETION))
    )
    fields = {"chosen": chosen.path, "rejected": rejected.path}
    numbers = [each for each in all_ if each.kind == "number" and each.has(SCORE)]
    scores = {f"score_{each.side}": each.path for each in numbers if each.side}
    return {**fields, **(scores if len(scores) == 2 else {})}


def _several(texts: Sequence[Candidate], all_: Sequence[Candidate]) -> dict[str, str]:
    """Return lists of completions, or columns whose names differ in a number or a letter only."""
    lists = [each for each in texts if each.kind in ("texts", "objects") and each.has(COMPLETION)]
    if lists:
        numbers = [each for each in all_ if each.kind == "numbers"]
        scores = [each.path for each in numbers if each.has(SCORE)]
        ranks = [each.path for each in numbers if each.has(RANK)]
        extra = {"scores": scores[0]} if scores else {"ranks": ranks[0]} if ranks else {}
        return {"completions": lists[0].path, **extra}
    columns = [each for each in texts if each.kind in ("text", "messages") and each.has(COMPLETION)]
    alike: dict[tuple[str, ...], list[str]] = {}
    for each in columns:
        if not each.side and "+" not in each.path:
            alike.setdefault(each.stem, []).append(each.path)
    paths = max(alike.values(), key=len, default=[])
    if len(paths) < 2:
        return {}
    winners = [each.path for each in all_ if each.has(WINNER) and each.path not in paths and _tells(each)]
    scores = [each.path for each in all_ if each.kind == "number" and each.has(SCORE)]
    extra = {"winner": winners[0]} if winners else {}
    if len(scores) == len(paths):
        extra = {"scores": "+".join(scores)}
    return {"completions": "+".join(paths), **extra}


def _tells(candidate: Candidate) -> bool:
    return candidate.kind in ("text", "number") and not candidate.has(COMPLETION)


def _one(texts: Sequence[Candidate]) -> dict[str, str]:
    single = [each for each in texts if each.kind in ("text", "messages")]
    replies = [each for each in single if each.side == "chosen"] or [
        each for each in single if each.has(COMPLETION)
    ]
    return {"completion": replies[0].path} if replies else {}
